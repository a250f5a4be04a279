"""What a request costs over real HTTP: CPU of all processes of `figlina-api`, and the time that 1 and 8 clients wait.

    python -m benchmarks.api_http [--also CHECKOUT]... [--only NAME]...

`--also` names other checkouts of this project (`git worktree add --detach ../before a3d14de`): their API is measured in turns with ours in
the same run, by the Python of their `.venv` if they have one, over a schema of their own; a line more for each says by how much ours is
better, as the median of the pairs of rounds. The database is SQLite in a file, the network service is in memory, connections are kept open.
The load balancer of `status_tree` and `create_whole` has 10 listeners, each with a pool of 10 members and a health monitor.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import itertools
import os
import pathlib
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import orjson

from benchmarks import api, harness
from controller.drivers.network import fake
from controller.embedded import linux
from tests import databases, ports

HERE = pathlib.Path(__file__).parents[1]
SUBNET = fake.subnet_id(fake.TENANT_NETWORK, fake.TENANT_SUBNET)
ROUNDS = 5
CLIENTS = (1, 8)
REPEATS = {
    "get_one": 400,
    "get_one_on_a_new_connection": 300,
    "list_20": 200,
    "list_1000": 8,
    "status_tree": 60,
    "create_member": 120,
    "replace_100_members": 40,
    "create_whole": 16,
}
"""Requests in one measured round."""

LIBERAL = (
    "[api_settings]\nbind_port = {port}\nauth_strategy = noauth\nnoauth_project_id = bench\nhealthcheck_enabled = true\n"
    "workers = {workers}\n"
)


class Client:
    """One connection that is kept open, and as little else as HTTP allows."""

    def __init__(self, port: int, timeout: float = 60) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __call__(self, method: str, path: str, body: Any = None) -> bytes:
        """Send a request; the body of its answer.

        :raises RuntimeError: the answer is no success.
        """
        sent = b"" if body is None else orjson.dumps(body)
        length = f"Content-Type: application/json\r\nContent-Length: {len(sent)}\r\n" if sent else ""
        self._socket.sendall(
            f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/json\r\nX-Auth-Token: t\r\n{length}\r\n".encode() + sent
        )
        head, _, content = self._until(b"\r\n\r\n").partition(b"\r\n\r\n")
        left = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0] or 0) - len(content)
        parts = [content]
        while left > 0:
            part = self._socket.recv(262144)
            if not part:
                raise RuntimeError("the connection ended within an answer")
            parts.append(part)
            left -= len(part)
        answer = b"".join(parts)
        if not head.startswith(b"HTTP/1.1 2"):
            raise RuntimeError(f"{method} {path}: {head!r}: {answer!r}")
        return answer

    def _until(self, end: bytes) -> bytes:
        found = b""
        while end not in found:
            part = self._socket.recv(65536)
            if not part:
                raise RuntimeError(f"the connection ended after {found!r}")
            found += part
        return found

    def close(self) -> None:
        """End the connection."""
        self._socket.close()


@dataclasses.dataclass
class Server:
    """A running API."""

    process: subprocess.Popen[bytes]
    port: int

    def cpu_seconds(self) -> float:
        """Of the process and all its descendants."""
        return sum(_cpu_of(pid) for pid in linux.descendants(self.process.pid))


def _cpu_of(pid: int) -> float:
    """By the scheduler, which counts nanoseconds; a thread that ended meanwhile is not counted."""
    threads = pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9


@contextlib.contextmanager
def running(checkout: pathlib.Path = HERE, *, workers: int = 1, more: str = "", module: str = "controller.cmd.api") -> Iterator[Server]:
    """`figlina-api` of a checkout over an empty database, until the block ends; `more` are lines of its `[api_settings]`.

    :raises RuntimeError: it does not answer.
    """
    with tempfile.TemporaryDirectory(prefix="figlina-b-") as name:
        folder, port = pathlib.Path(name), ports.free_port()
        python, environment = _python(checkout), {**os.environ, "PYTHONPATH": str(checkout)}
        if checkout == HERE:
            databases.write_empty(folder / "figlina.db")
        else:
            migrate = [python, "-m", "controller.cmd.db_manage", "--connection", f"sqlite:///{folder}/figlina.db", "upgrade"]
            subprocess.run(migrate, cwd=checkout, env=environment, check=True, capture_output=True)
        (folder / "figlina.conf").write_text(
            f"[database]\nconnection = sqlite:///{folder}/figlina.db\n[controller_worker]\nnetwork_driver = fake\n"
            f"[task_flow]\nwakeup_directory = {folder / 'bells'}\n{LIBERAL.format(port=port, workers=workers)}{more}"
        )
        command = [python, "-m", module, "--config-file", str(folder / "figlina.conf")]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=checkout, env=environment)
        try:
            _wait(process, port, folder / "log")
            yield Server(process, port)
        finally:
            process.terminate()
            process.wait(60)


def _python(checkout: pathlib.Path) -> str:
    own = checkout / ".venv/bin/python"
    return str(own) if own.exists() else sys.executable


def _wait(process: subprocess.Popen[bytes], port: int, log: pathlib.Path) -> None:
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError, RuntimeError):
            Client(port)("GET", "/healthcheck")
            return
        time.sleep(0.1)
    raise RuntimeError(f"the API does not answer: {log.read_text()}")


def requests(port: int) -> dict[str, Callable[[Client], object]]:
    """What is measured, by name, after the objects that it needs have been made."""
    client = Client(port)

    def made(word: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = orjson.loads(client("POST", path, {word: body}))[word]
        return found

    def whole() -> dict[str, Any]:
        return {"name": "bench", "vip_subnet_id": SUBNET, **api.whole()}

    full = made("loadbalancer", "/v2/lbaas/loadbalancers", whole())
    bare = {"name": "bench", "vip_subnet_id": SUBNET}
    parent = made("loadbalancer", "/v2/lbaas/loadbalancers", bare)["id"]
    batch = made("pool", "/v2/lbaas/pools", {"loadbalancer_id": parent, "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"})["id"]
    for _ in range(998):
        made("loadbalancer", "/v2/lbaas/loadbalancers", bare)
    client.close()
    pool_id, numbers = full["pools"][0]["id"], itertools.count(1)

    def create_member(send: Client) -> object:
        number = next(numbers)
        address = f"10.{3 + number // 62500}.{number // 250 % 250}.{number % 250 + 1}"
        return send("POST", f"/v2/lbaas/pools/{pool_id}/members", {"member": {"address": address, "protocol_port": 80}})

    def get_on_a_new_connection(_: Client) -> None:
        own = Client(port)
        own("GET", f"/v2/lbaas/loadbalancers/{parent}")
        own.close()

    return {
        "get_one_on_a_new_connection": get_on_a_new_connection,
        "get_one": lambda send: send("GET", f"/v2/lbaas/loadbalancers/{parent}"),
        "list_20": lambda send: send("GET", "/v2/lbaas/loadbalancers?limit=20"),
        "list_1000": lambda send: send("GET", "/v2/lbaas/loadbalancers"),
        "status_tree": lambda send: send("GET", f"/v2/lbaas/loadbalancers/{full['id']}/status"),
        "create_member": create_member,
        "replace_100_members": lambda send: send("PUT", f"/v2/lbaas/pools/{batch}/members", api.members(next(numbers) % 256)),
        "create_whole": lambda send: send("POST", "/v2/lbaas/loadbalancers", {"loadbalancer": whole()}),
    }


@dataclasses.dataclass
class Outcome:
    """By the number of clients: CPU seconds per request of each round, and how many seconds each request took."""

    cpu: dict[int, list[float]] = dataclasses.field(default_factory=lambda: {count: [] for count in CLIENTS})
    waited: dict[int, list[float]] = dataclasses.field(default_factory=lambda: {count: [] for count in CLIENTS})


def measure(server: Server, work: Callable[[Client], object], repeats: int, outcome: Outcome) -> None:
    """One round, by one client and by eight."""
    for count in CLIENTS:
        clients = [Client(server.port) for _ in range(count)]
        for client in clients:
            work(client)
        before = server.cpu_seconds()
        waited = _together(clients, work, max(1, repeats // count))
        outcome.cpu[count].append((server.cpu_seconds() - before) / len(waited))
        outcome.waited[count] += waited
        for client in clients:
            client.close()


def _together(clients: list[Client], work: Callable[[Client], object], each: int) -> list[float]:
    waited: list[float] = []

    def repeat(client: Client) -> None:
        for _ in range(each):
            started = time.perf_counter()
            work(client)
            waited.append(time.perf_counter() - started)

    threads = [threading.Thread(target=repeat, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(waited) != each * len(clients):
        raise RuntimeError("a client did not get its answers")
    return waited


def main() -> None:
    """Print one line per kind of request and checkout."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--also", action="append", default=[], type=pathlib.Path, help="another checkout to measure beside this one")
    parser.add_argument("--only", action="append", choices=REPEATS, help="kinds of requests (default: all)")
    options = parser.parse_args()
    calibration = harness.calibrate()
    with contextlib.ExitStack() as stack:
        servers = {str(path): stack.enter_context(running(path.resolve())) for path in (HERE, *options.also)}
        work = {name: requests(server.port) for name, server in servers.items()}
        for kind in options.only or REPEATS:
            outcomes = {name: Outcome() for name in servers}
            for number in range(ROUNDS):
                for name in list(servers)[:: 1 if number % 2 else -1]:  # who is measured first is not always the same
                    measure(servers[name], work[name][kind], REPEATS[kind], outcomes[name])
            for name, outcome in outcomes.items():
                _emit(kind, name, outcome, calibration)
            for name in servers.keys() - {str(HERE)}:
                _compare(kind, outcomes[str(HERE)], name, outcomes[name])


def _emit(kind: str, checkout: str, outcome: Outcome, calibration: float) -> None:
    times = {
        f"p{share}_with_{count}_seconds": harness.percentile(outcome.waited[count], share / 100) for count in CLIENTS for share in (50, 99)
    }
    cpu = {f"cpu_seconds_with_{count}": statistics.median(outcome.cpu[count]) for count in CLIENTS}
    place = "this checkout" if checkout == str(HERE) else checkout
    harness.emit(f"api_http_{kind}", checkout=place, **cpu, **times, calibration_seconds=calibration)


def _compare(kind: str, ours: Outcome, checkout: str, theirs: Outcome) -> None:
    """Their CPU divided by ours."""
    pairs = {count: zip(theirs.cpu[count], ours.cpu[count], strict=True) for count in CLIENTS}
    times = {f"times_with_{count}": statistics.median(their / our for their, our in pairs[count]) for count in CLIENTS}
    harness.emit(f"api_http_{kind}_compared", checkout=checkout, **times)


if __name__ == "__main__":
    main()
