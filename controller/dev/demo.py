"""`figlina demo`: the main job, told as it goes, each step observed from the client's side. It leaves nothing behind.

A load balancer is created, serves two web servers, drains one, gets a third, loses its amphora while requests go on, and is removed.
"""

import collections
import contextlib
import fcntl
import itertools
import json
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import IO, Any, NoReturn

import rich.console
import rich.markup

from controller.dev import client, instance, processes, settings
from controller.embedded import qemu

OUT = rich.console.Console(highlight=False, soft_wrap=True)
PREFIX = "figlina-demo"
GREATEST_GAP = {"namespace": 15.0, "qemu": 150.0}
"""Seconds without an answer that the story allows when a single amphora dies. A virtual machine may have to boot by emulation."""


class Unseen(Exception):
    """A step was not observed; the message says what was seen instead."""


class Story:
    """The steps in their order. Each says what it does, does it, looks, and says how long it took."""

    def __init__(self, machine: instance.Instance) -> None:
        self._machine = machine
        self._api = client.Api(machine.settings.api_url)
        self._began = time.monotonic()
        self._gap = GREATEST_GAP[machine.settings.compute]
        self._patience = 60.0 + self._gap

    def tell(self) -> None:
        """Tell the whole story.

        :raises Unseen: a step was not observed.
        """
        status = self._machine.status()
        web = {name: str(server["address"]) for name, server in status["web"].items()}
        load_balancer, pool = self._create(status["subnet_id"], web)
        vip = load_balancer["vip_address"]
        self._alternate(vip)
        self._drain(vip, pool, web)
        self._add(vip, pool, web)
        self._kill(vip, load_balancer["id"])
        self._remove(load_balancer["id"])

    @contextlib.contextmanager
    def _step(self, words: str) -> Iterator[list[str]]:
        """Time a step; what is put on the list is told at its end."""
        OUT.print(f"[dim]{time.monotonic() - self._began:5.1f} s[/dim]  [bold]{words}[/bold]")
        started, seen = time.monotonic(), list[str]()
        yield seen
        for line in seen:
            OUT.print(f"          {line}")
        OUT.print(f"          [green]done[/green] in {time.monotonic() - started:.2f} s")

    def _create(self, subnet_id: str, web: dict[str, str]) -> tuple[dict[str, Any], str]:
        with self._step("A load balancer: listener on port 80, pool with web-1 and web-2, health monitor, in one call") as seen:
            members = [{"name": name, "address": web[name], "protocol_port": 80} for name in ("web-1", "web-2")]
            monitor = {"type": "HTTP", "url_path": "/health", "delay": 1, "timeout": 1, "max_retries": 1, "max_retries_down": 2}
            pool = {"name": "servers", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN", "members": members, "healthmonitor": monitor}
            listener = {"name": "http", "protocol": "HTTP", "protocol_port": 80, "default_pool": pool}
            body = {"name": "demo", "vip_subnet_id": subnet_id, "listeners": [listener]}
            accepted = self._api.post("/loadbalancers", {"loadbalancer": body})["loadbalancer"]
            seen.append(f"accepted: {accepted['provisioning_status']}, VIP {accepted['vip_address']}")
            active = self._api.wait_active(accepted["id"], self._patience)
            (amphora,) = self._machine.status()["amphorae"]
            place = f"namespace {amphora['namespace']}" if amphora["namespace"] else "a virtual machine"
            seen.append(f"ACTIVE: amphora {amphora['id']} in {place}, processes {amphora['pids']}")
        return active, str(active["pools"][0]["id"])

    def _alternate(self, vip: str) -> None:
        with self._step("Ten requests from the client's namespace through the VIP") as seen:
            self._eventually_serves(vip, {"web-1", "web-2"})
            answers = [self._ask(vip) for _ in range(10)]
            seen.append(" ".join(answers))
            if any(one == other for one, other in itertools.pairwise(answers)):
                raise Unseen(f"the answers do not alternate: {answers}")

    def _drain(self, vip: str, pool: str, web: dict[str, str]) -> None:
        with self._step("web-1 is drained: weight 0") as seen:
            path = f"/pools/{pool}/members"
            (member,) = [one for one in self._api.get(path)["members"] if one["address"] == web["web-1"]]
            self._api.put(f"{path}/{member['id']}", {"member": {"weight": 0}})
            seen.append(f"web-1 left the rotation {self._eventually_serves(vip, {'web-2'}) * 1000:.0f} ms after the API's answer")

    def _add(self, vip: str, pool: str, web: dict[str, str]) -> None:
        with self._step("web-3 is added") as seen:
            member = {"name": "web-3", "address": web["web-3"], "protocol_port": 80}
            self._api.post(f"/pools/{pool}/members", {"member": member})
            took = self._eventually_serves(vip, {"web-2", "web-3"})
            seen.append(f"web-3 answered {took * 1000:.0f} ms after the API's answer")

    def _kill(self, vip: str, load_balancer_id: str) -> None:
        with self._step("The amphora is killed (kill -9 of all its processes) while 100 requests/s go on") as seen:
            self._api.wait_active(load_balancer_id)
            (victim,) = self._machine.status()["amphorae"]
            with self._traffic(vip) as traffic:
                time.sleep(1)
                for pid in victim["pids"]:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                killed = time.monotonic()
                client.eventually(lambda: self._replaced(victim["id"]), self._patience, "no other amphora took over")
                self._api.wait_active(load_balancer_id, self._patience)
                seen.append(f"a new amphora is ACTIVE {time.monotonic() - killed:.1f} s after the death, the old one is gone")
                time.sleep(1)
            summary = traffic[0]
            errors = ", ".join(f"{count} {reason}" for reason, count in sorted(summary["errors"].items())) or "none"
            share = f"{summary['failed']} of {summary['requests']} requests failed ({errors})"
            seen.append(f"{share}; nobody answered for {summary['longest_gap']:.1f} s, then everything was as before")
            if summary["ok"] == 0 or summary["longest_gap"] > self._gap:
                raise Unseen(f"the gap was longer than {self._gap:.0f} s: {summary}")
            self._eventually_serves(vip, {"web-2", "web-3"})

    def _remove(self, load_balancer_id: str) -> None:
        with self._step("Everything is removed") as seen:
            self._api.delete(f"/loadbalancers/{load_balancer_id}?cascade=true")
            self._api.wait_gone(f"/loadbalancers/{load_balancer_id}")
            left = self._machine.status()["amphorae"]
            if left:
                raise Unseen(f"amphorae are left: {left}")
            seen.append("the API answers 404, no amphora is left")

    def _ask(self, vip: str) -> str:
        """One request from the client's namespace; the name of the web server that answered, or an empty string."""
        command = [*self._machine.entrance("client"), "curl", "--silent", "--max-time", "2", f"http://{vip}/"]
        return (subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines() or [""])[0]

    def _eventually_serves(self, vip: str, names: set[str]) -> float:
        """Wait until exactly these web servers answer; returns after how many seconds the first round of only them began."""
        started = time.monotonic()
        seen: collections.deque[str] = collections.deque(maxlen=2 * len(names))
        since: list[float] = []

        def only_they() -> bool:
            asked = time.monotonic()
            seen.append(self._ask(vip))
            since.append(asked)
            return len(seen) == seen.maxlen and set(seen) == names

        client.eventually(only_they, self._patience, lambda: f"the answers come from {list(seen)}, not from {sorted(names)}", every=0)
        return since[-len(seen)] - started

    def _replaced(self, old: str) -> bool:
        amphorae = self._machine.status()["amphorae"]
        return bool(amphorae) and all(one["id"] != old for one in amphorae)

    @contextlib.contextmanager
    def _traffic(self, vip: str) -> Iterator[list[dict[str, Any]]]:
        """Requests in the background; the summary is on the list once the block has ended."""
        program = processes.python("controller.dev.traffic", f"http://{vip}/", "--rate", "100", "--seconds", f"{self._patience + 30:.0f}")
        command = [*self._machine.entrance("client"), *program]
        summary: list[dict[str, Any]] = []
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as asking:
            try:
                yield summary
            finally:
                out, _ = asking.communicate(timeout=30)
            summary.append(json.loads(out))


def run(compute: str = "namespace", image: pathlib.Path | None = None) -> int:
    """Put an instance up in a folder of its own, tell the story, take it down; 0 only if every step was observed."""
    _on_endings(_interrupt)
    began = time.monotonic()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="figlina-demo-"))
    chosen = settings.Settings(prefix=PREFIX, api_port=_free_port(), compute=compute, image=settings.image_of(compute, image) or "")
    machine = instance.Instance(folder, chosen, lambda words: None)
    OUT.print("[bold]Figlina's main job[/bold], in network namespaces of its own; this machine's network is not touched.\n")
    if compute == "qemu" and not qemu.has_kvm():
        OUT.print("There is no KVM here: virtual machines are emulated, and take half a minute to boot.\n")
    alive = _sign_of_life(folder)
    code = 1
    try:
        _take_away_a_dead_demo(machine.owner())
        with _told("Bringing up API, worker, health manager, housekeeping and four web servers"):
            machine.up()
        Story(machine).tell()
        code = 0
    except (Unseen, client.ApiError, client.NeverHappened, instance.DevError, subprocess.SubprocessError, OSError) as exc:
        OUT.print(f"\n[red bold]Not observed:[/red bold] {rich.markup.escape(str(exc))}")
        _last_words(machine)
    except KeyboardInterrupt:
        OUT.print("\nInterrupted: taking everything down")
    finally:
        _on_endings(signal.SIG_IGN)
        with _told("Taking everything down"):
            machine.down()
        alive.close()
    if code == 0:
        OUT.print(f"\n[green bold]Every step was observed[/green bold], in {time.monotonic() - began:.0f} s. Next: make dev")
    return code


def _on_endings(handler: Callable[[int, Any], Any] | signal.Handlers) -> None:
    """What ends us does this from now on."""
    for ending in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, handler)


def _interrupt(_number: int, _frame: Any) -> NoReturn:
    """End the story, once: whoever is impatient while things are taken down would be left with the half of them."""
    _on_endings(signal.SIG_IGN)
    raise KeyboardInterrupt


def _sign_of_life(folder: pathlib.Path) -> IO[bytes]:
    """A file that is locked for as long as we live, however we end."""
    file = (folder / instance.DEMO_LIFE).open("wb")
    fcntl.flock(file, fcntl.LOCK_EX)
    return file


def _take_away_a_dead_demo(folder: str) -> None:
    """Take down what a demo left that was killed: `folder` is the state folder of whoever uses our names.

    :raises DevError: that demo is alive.
    """
    if not (pathlib.Path(folder) / instance.DEMO_LIFE).is_file():
        return
    with (pathlib.Path(folder) / instance.DEMO_LIFE).open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise instance.DevError(f"another demo is under way, in {folder}: wait for its end") from exc
        dead = instance.find(pathlib.Path(folder))
    if dead is not None:
        with _told("Taking away what a demo left that was killed"):
            dead.down()


@contextlib.contextmanager
def _told(words: str) -> Iterator[None]:
    started = time.monotonic()
    OUT.print(f"         [bold]{words}[/bold]")
    yield
    OUT.print(f"          [green]done[/green] in {time.monotonic() - started:.2f} s")


def _last_words(machine: instance.Instance) -> None:
    """The end of each process's log, for whoever wants to know why."""
    for name in settings.PROCESSES:
        with contextlib.suppress(OSError):
            OUT.print(f"\n[bold]{name}[/bold]\n{machine.processes.last_words(name)}", markup=False)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
