"""An accepted change has its effect, whatever the health of the servers was: on the real HAProxy, for every field that can be changed.

After the change HAProxy is compared with one that was started afresh with the same text, as soon as the checks of both have run.
"""

from __future__ import annotations

import asyncio
import contextlib
import csv
import dataclasses
import http.client
import io
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from amphora_agent import haproxy, haproxy_config, haproxy_states, system
from amphora_agent.protocol import rest
from controller import render
from controller.model import load_balancer as model
from tests import builders
from tests.integration import effects
from tests.integration.effects import Cell

pytestmark = [pytest.mark.integration, pytest.mark.slow]
NETWORKS = render.Networks(vips=(render.VipSubnet(cidr=builders.VIP_SUBNET_CIDR, gateway_ip=builders.VIP_GATEWAY, mtu=1450),))
OWNER = builders.a_load_balancer(id=builders.an_id("effects"))
_WEB = """\
defaults
    mode http
    timeout client 60s
frontend web
    bind 0.0.0.0:{port}
    http-request return status 503 if {{ path /health }} {{ dst {sick}.0/24 }}
    http-request return status 503 if {{ path /other }} {{ dst {well}.0/24 }}
    http-request return status 200 content-type text/plain lf-string "%[dst] %[req.hdr(X-Forwarded-For)]"
"""
_SHOWN = (
    *("status", "weight", "act", "bck", "slim", "qlimit", "type", "rate_lim", "check_status", "check_rise", "check_fall"),
    *("check_health", "addr", "cookie", "mode", "algo", "uweight"),
)


class Machine:
    """A namespace with web servers on all addresses of a network, and the agent's HAProxy among them."""

    def __init__(self) -> None:
        self.namespace = f"figlina-t-{uuid.uuid4().hex[:8]}"
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="figlina-t-"))
        self.folder.chmod(0o755)
        self._web: subprocess.Popen[bytes] | None = None
        self._loop = asyncio.new_event_loop()
        self._released = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.haproxy = haproxy.HAProxy(haproxy.Places(self.folder / "state", self.folder / "run"), "haproxy", self.namespace)

    def make(self) -> None:
        for command in (["netns", "add", self.namespace], ["-n", self.namespace, "link", "set", "lo", "up"]):
            system.run(["ip", *command])
        system.run(["ip", "-n", self.namespace, "address", "add", "198.19.0.0/16", "dev", "lo"])  # the kernel answers for each of them
        web = self.folder / "web.cfg"
        web.write_text(_WEB.format(port=effects.WEB_PORT, sick=effects.SICK, well=effects.WELL))
        self._web = subprocess.Popen(["ip", "netns", "exec", self.namespace, "haproxy", "-db", "-f", str(web)], stderr=subprocess.DEVNULL)
        self._thread.start()
        listening = system.inside_namespace(self.namespace, lambda: socket.create_server(("0.0.0.0", effects.SLOW_PORT), backlog=4096))
        asyncio.run_coroutine_threadsafe(asyncio.start_server(self._serve, sock=listening), self._loop).result(10)

    def destroy(self) -> None:
        self.haproxy.stop()
        if self._web is not None:
            self._web.kill()
            self._web.wait(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        for pid in system.run(["ip", "netns", "pids", self.namespace]).split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), 9)
        with contextlib.suppress(system.CommandFailed):
            system.run(["ip", "netns", "delete", self.namespace])
        shutil.rmtree(self.folder, ignore_errors=True)

    def let_slow_servers_answer(self) -> None:
        self._loop.call_soon_threadsafe(self._released.set)

    def apply(self, parts: Sequence[effects.Parts]) -> str:
        """Bring HAProxy to these cells' objects, and say how."""
        found = effects.snapshot(OWNER, iter(parts))
        config = text(found)
        peer = found.amphorae[0].id
        wanted = rest.WantedState(load_balancer_id="lb", generation=1, peer_name=peer)
        self.haproxy.check(config, wanted)
        return self.haproxy.apply(config, wanted)

    def rows(self) -> dict[haproxy_states.Key, haproxy_states.Row]:
        return haproxy_states.rows(self.haproxy.runtime.server_states())

    def statistics(self) -> dict[tuple[str, str], dict[str, str]]:
        table = csv.DictReader(io.StringIO(self.haproxy.runtime.ask("show stat").removeprefix("# ")))
        return {(row["pxname"], row["svname"]): row for row in table}

    def answers(self, cells: Sequence[Cell]) -> list[Any]:
        """What clients of each cell see, in a comparable form."""
        return system.inside_namespace(self.namespace, lambda: [_answers(cell) for cell in cells])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if b" /health" in head:
                    await self._released.wait()
                name = writer.get_extra_info("sockname")[0].encode() + b" "
                body = b"" if head.startswith(b"HEAD") else name
                if b"X-Forwarded-For" in head.title():
                    body += builders.a_vip().address.encode()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nContent-Type: text/plain\r\n\r\n%b" % (len(body), body))
                await writer.drain()
        writer.close()


def text(snapshot: model.Snapshot) -> str:
    """What HAProxy is to run."""
    return render.wanted_state(snapshot, snapshot.amphorae[0], NETWORKS).programs.get("haproxy") or ""


def _answers(cell: Cell) -> Any:
    connection = http.client.HTTPConnection(OWNER.vip.address, cell.port, timeout=10)
    seen = []
    try:
        for path in (path for path in cell.paths for _ in range(6)):
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read().decode()
            seen.append(
                (
                    path,
                    response.status,
                    body if response.status == 200 else "",
                    response.getheader("Location"),
                    (response.getheader("Set-Cookie") or "")[:4],
                )
            )
    except ConnectionRefusedError:
        return "refused"
    finally:
        connection.close()
    if cell.sticky:  # where a client comes to first is chance
        return {(path, status, cookie) for path, status, _, _, cookie in seen}, len({one[2] for one in seen})
    return set(seen)


@dataclasses.dataclass
class Outcome:
    """What a push led to, and what a HAProxy that was started with the same text shows."""

    applied: str
    wrong_before: list[str]
    differences: Mapping[str, list[str]]


RUNS = ("runtime", "runtime-drain", "reload")


def _chosen(run: str, cells: Sequence[Cell]) -> list[Cell]:
    if run == "reload":
        return list(cells)
    drained = run == "runtime-drain"
    return [cell for cell in cells if (cell.state == "drain") == drained and _needs_no_reload(cell)]


def _needs_no_reload(cell: Cell) -> bool:
    old, new = (text(effects.snapshot(OWNER, iter([parts]))) for parts in (cell.before, cell.after))
    return old != new and haproxy_config.plan(old, new) is not None


@pytest.fixture(scope="module", params=RUNS)
def outcome(request: pytest.FixtureRequest) -> Iterator[tuple[list[Cell], Outcome]]:
    """One push that changes all cells at once."""
    if os.geteuid() != 0:
        pytest.skip("needs root: it makes network namespaces")
    cells = _chosen(request.param, effects.cells())
    changed, fresh = Machine(), Machine()
    try:
        changed.make()
        fresh.make()
        yield cells, _push(changed, fresh, cells)
    finally:
        changed.destroy()
        fresh.destroy()


def _push(changed: Machine, fresh: Machine, cells: Sequence[Cell]) -> Outcome:
    changed.apply([effects.without_maintenance(cell) for cell in cells])
    changed.apply([cell.before for cell in cells])
    for backend, server in (cell.server for cell in cells if cell.state == "drain"):
        changed.haproxy.runtime.ask(f"set server {backend}/{server} state drain")
    fresh.let_slow_servers_answer()
    wrong = _wait_for(_Unprepared(changed, cells))
    applied = changed.apply([cell.after for cell in cells])
    fresh.apply([cell.after for cell in cells])
    changed.let_slow_servers_answer()
    _wait_for(lambda: _unchecked(changed) or _unchecked(fresh))
    differences = _wait_for(_Remaining(changed, fresh, cells))
    return Outcome(applied, wrong, differences)


def _wait_for(find: Any, within: float = 30) -> Any:
    """What is left of what is wrong, when it has had its time."""
    until = time.monotonic() + within
    while (found := find()) and time.monotonic() < until:
        time.sleep(0.3)
    return found


def _unchecked(machine: Machine) -> list[haproxy_states.Key]:
    return [key for key, row in machine.rows().items() if row.unchecked and int(row.columns[13]) & 0x4 and not row.maintenance]


class _Remaining:
    """Which cells have not been found equal since all checks have run. (In a busy moment some wait for one that is under way.)"""

    def __init__(self, changed: Machine, fresh: Machine, cells: Sequence[Cell]) -> None:
        self._changed, self._fresh, self._cells = changed, fresh, list(cells)

    def __call__(self) -> dict[str, list[str]]:
        found = _differences(self._changed, self._fresh, self._cells)
        self._cells = [cell for cell in self._cells if cell.name in found]
        return found


class _Unprepared:
    """Which cells have not been found in the state that they are to be changed from; nobody is checked who is not to be. (In a busy moment
    some wait for a check that is under way.)
    """

    def __init__(self, machine: Machine, cells: Sequence[Cell]) -> None:
        self._machine = machine
        self._cells = [cell for cell in cells if not cell.change.before and not cell.change.new]

    def __call__(self) -> list[str]:
        rows = self._machine.rows()
        wrong = [cell for cell in self._cells if not _in_state(cell, rows)]
        self._cells = [cell for cell in self._cells if cell in wrong or cell.state == "unchecked"]
        return [cell.name for cell in wrong]


def _in_state(cell: Cell, rows: Mapping[haproxy_states.Key, haproxy_states.Row]) -> bool:
    row, second = rows[cell.server].columns, rows[cell.server[0], cell.before["second"].id].columns
    operation, admin, weight, checked = row[5], int(row[6]), row[7], row[11]
    match cell.state:
        case "maint":
            return bool(admin & haproxy_states.MAINTENANCE)
        case "drain":
            return bool(admin & 0x08)
        case "weight-0":
            return weight == "0" and checked == "3"
        case "unchecked":
            return checked == "0"
        case "backup":
            return operation == "0" and second[5] == "2" and second[11] == "3"
    return (operation, checked) == (("0", "2") if cell.state == "down" else ("2", "3"))


def _differences(changed: Machine, fresh: Machine, cells: Sequence[Cell]) -> dict[str, list[str]]:
    """By cell, what is otherwise in the HAProxy that was changed than in the one that was started afresh."""
    found: dict[str, list[str]] = {cell.name: [] for cell in cells}
    answers = zip(cells, changed.answers(cells), fresh.answers(cells), strict=True)
    for cell, seen, expected in answers:
        if seen != expected:
            found[cell.name].append(f"clients see {seen}, not {expected}")
    by_listener = {cell.before["listener"].id: cell.name for cell in cells}
    for what, mine, theirs in (
        ("servers state", _states(changed.rows()), _states(fresh.rows())),
        ("stat", _statuses(changed.statistics()), _statuses(fresh.statistics())),
    ):
        for key in mine.keys() | theirs.keys():
            if mine.get(key) != theirs.get(key):
                cell_name = by_listener.get(key[0].rpartition(":")[2])
                if cell_name is not None:
                    found[cell_name].append(f"show {what} of {key}: {mine.get(key)}, not {theirs.get(key)}")
    return {name: said for name, said in found.items() if said}


def _states(rows: Mapping[haproxy_states.Key, haproxy_states.Row]) -> dict[tuple[str, str], Any]:
    """Without times and numbers that HAProxy gives, and without results (there is none while a check is under way, but its status and
    the health); of the administrative state, whether the server is in or out. In maintenance no check runs, so what the last one
    found means nothing.
    """
    return {
        key: (*row.columns[4:6], _switch(row), row.columns[7], *(() if row.maintenance else row.columns[10:13:2]), *row.columns[17:24])
        for key, row in rows.items()
    }


def _switch(row: haproxy_states.Row) -> str:
    return "maint" if row.maintenance else f"{int(row.columns[6]) & 0x18}"


def _statuses(table: Mapping[tuple[str, str], Mapping[str, str]]) -> dict[tuple[str, str], Any]:
    return {key: {name: row[name].removeprefix("* ") for name in _shown(row)} for key, row in table.items()}


def _shown(row: Mapping[str, str]) -> list[str]:
    """What counts of a row.

    HAProxy takes the new weight of a server in maintenance into account only when it comes back; `uweight` is what it was given. The
    `slim` of a backend is its `fullconn`, which HAProxy takes from the frontends' limits at its start and uses for servers with a
    `minconn` alone (Configuration Manual, "fullconn"); we send none.
    """
    names = [name for name in _SHOWN if row["status"] != "MAINT" or not (name == "weight" or name.startswith("check_"))]
    return [name for name in names if (name, row["svname"]) != ("slim", "BACKEND")]


def test_no_server_has_a_limit_that_depends_on_those_of_frontends() -> None:
    goldens = (pathlib.Path(__file__).parents[1] / "golden").glob("*.cfg")
    assert not [path.name for path in goldens if "minconn" in path.read_text()]


def test_each_change_is_asked_of_a_server_in_the_state_that_it_is_about(outcome: tuple[list[Cell], Outcome]) -> None:
    cells, found = outcome
    assert cells
    assert found.wrong_before == []


def test_what_needs_no_reload_makes_none(outcome: tuple[list[Cell], Outcome], request: pytest.FixtureRequest) -> None:
    _, found = outcome
    # A server that somebody drained by hand is not as the configuration says: runtime commands do not lead there, a reload does.
    assert found.applied == ("runtime" if request.node.callspec.params["outcome"] == "runtime" else "reload")


def test_a_changed_haproxy_is_as_one_that_was_started_afresh(outcome: tuple[list[Cell], Outcome]) -> None:
    _, found = outcome
    said = [f"{name}: {sentence}" for name, sentences in found.differences.items() for sentence in sentences]
    assert not said, "\n".join([f"{len(found.differences)} cells", *said[:40]])
