"""A whole Figlina on this machine, for tests: real processes, agents, HAProxy and keepalived in network namespaces, seen from outside."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import pathlib
import signal
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from controller.dev import client, instance, processes, settings
from controller.dev.client import eventually
from tests import databases
from tests.integration.lineage import program_and_child
from tests.ports import free_port
from tests.walks.place import Place, printed

_numbers = itertools.count(1)
COMPUTE = os.environ.get("FIGLINA_TEST_COMPUTE", "namespace")
"""What amphorae are: `qemu` for virtual machines of the image in `FIGLINA_IMAGE_FOLDER`, or in `build/image` (CONTRIBUTING.md)."""
IMAGE = pathlib.Path(os.environ.get("FIGLINA_IMAGE_FOLDER", "build/image")) / "amphora.qcow2"

QUICK_MONITOR = {"type": "HTTP", "url_path": "/health", "delay": 1, "timeout": 1, "max_retries": 1, "max_retries_down": 1}
_SLOWNESS = {"namespace": 1.0, "qemu": 5.0}
"""How many times as long things may take: an emulated machine boots for twenty seconds, for more where others use the host."""


class _Api(client.Api):
    """Waits for as long as what amphorae are may need."""

    def __init__(self, url: str, slowness: float) -> None:
        super().__init__(url)
        self._slowness = slowness

    def wait_active(self, load_balancer_id: str, within: float = 60.0) -> dict[str, Any]:
        return super().wait_active(load_balancer_id, within * self._slowness)


class Balancer:
    """A load balancer that a test made, with its listener on port 80 and its pool."""

    def __init__(self, site: Site, load_balancer: dict[str, Any]) -> None:
        self.site = site
        self.id: str = load_balancer["id"]
        self.vip: str = load_balancer["vip_address"]
        self.listener_id: str = load_balancer["listeners"][0]["id"]
        self.pool_id: str = load_balancer["pools"][0]["id"]

    @property
    def members_path(self) -> str:
        return f"/pools/{self.pool_id}/members"

    def members(self) -> dict[str, dict[str, Any]]:
        """Members by name."""
        return {member["name"]: member for member in self.site.api.get(self.members_path)["members"]}

    def show(self) -> dict[str, Any]:
        found: dict[str, Any] = self.site.api.get(f"/loadbalancers/{self.id}")["loadbalancer"]
        return found

    def wait_active(self, within: float = 60) -> dict[str, Any]:
        return self.site.api.wait_active(self.id, within)

    def amphorae(self) -> list[dict[str, Any]]:
        return [one for one in self.site.machine.status()["amphorae"] if one["load_balancer_id"] == self.id]

    def workers(self) -> set[int]:
        """HAProxy's master and worker in its one amphora, once workers of before have ended: a further reload makes another one."""
        found: set[int] = set()

        def are_two() -> bool:
            (amphora,) = self.amphorae()
            found.clear()
            found.update(haproxy_workers(amphora))
            return len(found) == 2

        eventually(are_two, 60, "a former worker does not end")
        return found

    def serves(self, names: Iterable[str], within: float = 60) -> None:
        """Wait until exactly these web servers answer on the VIP."""
        wanted = set(names)
        seen: set[str] = set()

        def only_they() -> bool:
            seen.clear()
            seen.update(self.site.fetch(self.vip) for _ in range(2 * len(wanted)))
            return seen == wanted

        eventually(only_they, within, lambda: f"{sorted(seen)} answer, not {sorted(wanted)}")

    def delete(self) -> None:
        with contextlib.suppress(client.ApiError):
            self.site.api.delete(f"/loadbalancers/{self.id}?cascade=true")
        self.site.api.wait_gone(f"/loadbalancers/{self.id}")


class Site:
    """One instance of `figlina dev`, with names and a port of its own."""

    def __init__(
        self, folder: pathlib.Path, topology: str = "SINGLE", options: dict[str, str] | None = None, compute: str = COMPUTE
    ) -> None:
        prefix = f"figlina-t{os.getpid()}-{next(_numbers)}"
        where = {} if databases.KIND == "sqlite" else {"database.connection": databases.new_url(folder)}
        chosen = settings.Settings(
            prefix=prefix,
            api_port=free_port(),
            topology=topology,
            compute=compute,
            image=settings.image_of(compute, IMAGE) or "",
            options={**where, **(options or {})},
        )
        self.folder = folder
        self.machine = instance.Instance(folder, chosen)
        self.api = _Api(chosen.api_url, _SLOWNESS[compute])

    def up(self) -> None:
        self.machine.up()
        status = self.machine.status()
        self.subnet_id: str = status["subnet_id"]
        self.web: dict[str, str] = {name: server["address"] for name, server in status["web"].items()}

    @property
    def place(self) -> Place:
        """For walks that are taken elsewhere, too."""
        return Place(subnet_id=self.subnet_id, web=self.web, run=lambda where, command: printed([*self.machine.entrance(where), *command]))

    def down(self) -> None:
        self.machine.down()

    def balancer(
        self,
        members: Iterable[str] = ("web-1", "web-2"),
        monitor: dict[str, Any] | None = None,
        name: str = "t",
        flavor_id: str | None = None,
    ) -> Balancer:
        """A load balancer that is ACTIVE and serves these members over HTTP on port 80."""
        names = list(members)
        pool: dict[str, Any] = {
            "name": "pool",
            "protocol": "HTTP",
            "lb_algorithm": "ROUND_ROBIN",
            "members": [{"name": one, "address": self.web[one], "protocol_port": 80} for one in names],
        }
        if monitor:
            pool["healthmonitor"] = monitor
        listener = {"name": "http", "protocol": "HTTP", "protocol_port": 80, "default_pool": pool}
        body = {"name": name, "vip_subnet_id": self.subnet_id, "listeners": [listener]} | ({"flavor_id": flavor_id} if flavor_id else {})
        made = self.api.post("/loadbalancers", {"loadbalancer": body})["loadbalancer"]
        found = Balancer(self, self.api.wait_active(made["id"]))
        if names:
            found.serves(names)
        return found

    def fetch(self, address: str, port: int = 80, scheme: str = "http", path: str = "/") -> str:
        """The web server that answers one request from the client's namespace; an empty string if none does.

        Kernels take connections without a program's help, so that nobody is there is known soon; who is there may be busy.
        """
        url = f"{scheme}://{address}:{port}{path}"
        command = [*self.machine.entrance("client"), "curl", "--silent", "--insecure", "--connect-timeout", "2", "--max-time", "10", url]
        return (subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines() or [""])[0]

    @contextlib.contextmanager
    def traffic(
        self, address: str, rate: float = 200, seconds: float = 120, timeout: float = 20, inside: Sequence[str] = ()
    ) -> Iterator[dict[str, Any]]:
        """Requests in the background, each on a connection of its own; the summary is filled in once the block has ended.

        They come from the client's namespace, or from where the command prefix `inside` leads. One that is not answered within `timeout`
        seconds has failed; a busy machine takes its time, and how long is the benchmarks' matter.
        """
        options = {"rate": rate, "seconds": seconds, "timeout": timeout}
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        program = processes.python("controller.dev.traffic", f"http://{address}/", *words)
        command = [*(inside or self.machine.entrance("client")), *program]
        summary: dict[str, Any] = {}
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as asking:
            try:
                time.sleep(0.5)
                yield summary
            finally:
                out, _ = asking.communicate(timeout=60)
            summary.update(json.loads(out))

    def kill(self, pids: Iterable[int]) -> None:
        """kill -9."""
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def log(self, name: str) -> str:
        """What a process of ours wrote."""
        path = self.machine.processes.log(name)
        return path.read_text(errors="replace") if path.exists() else ""

    def last_words(self) -> list[tuple[str, str]]:
        """The end of every log; before, the processes are asked what their threads are doing."""
        for name in ("worker", "health_manager", "housekeeping"):
            for pid in self.machine.processes.pids(name)[:1]:
                os.kill(pid, signal.SIGUSR1)
        time.sleep(0.5)
        words = [(name, self.log(name)[-8000:]) for name in settings.PROCESSES]
        consoles = sorted(self.folder.glob("embedded/amphorae/*/console.log"))
        return words + [(f"amphora {path.parent.name}", path.read_text(errors="replace")[-2000:]) for path in consoles]


def haproxy_workers(amphora: dict[str, Any]) -> set[int]:
    """HAProxy's master and workers in an amphora: a reload makes a new one.

    Not what a worker has begun, such as the program of a PING check before its exec, nor one that checks a configuration.
    """
    return set(program_and_child(pid for pid in amphora["pids"] if _command(pid) == "haproxy" and " -W " in _command_line(pid)))


def agent_pids(amphora: dict[str, Any]) -> list[int]:
    """The agent's own processes in an amphora."""
    return [pid for pid in amphora["pids"] if "figlina-agent" in _command_line(pid) and _command(pid) not in ("sh", "unshare", "nsenter")]


def keepalived_pids(amphora: dict[str, Any]) -> list[int]:
    """Its keepalived, and the child of that; not a script that the child runs, which for a moment is keepalived, too."""
    return program_and_child(pid for pid in amphora["pids"] if _command_line(pid).split(" ")[0].rpartition("/")[2] == "keepalived")


def _command(pid: int) -> str:
    try:
        return pathlib.Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _command_line(pid: int) -> str:
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


def in_threads(count: int, work: Any) -> list[BaseException]:
    """Call `work(index)` in `count` threads at once; returns what they raised."""
    raised: list[BaseException] = []

    def guarded(index: int) -> None:
        try:
            work(index)
        except BaseException as exc:
            raised.append(exc)

    threads = [threading.Thread(target=guarded, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised
