"""Rendered texts in a real, running HAProxy: what can only be seen at run time, in a network namespace of the test's own."""

from __future__ import annotations

import csv
import dataclasses
import io
import os
import pathlib
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator

import pytest

from controller import render
from controller.model import load_balancer as model
from tests import builders

pytestmark = pytest.mark.integration

NETWORKS = render.Networks(vip=render.VipSubnet(cidr=builders.VIP_SUBNET_CIDR, gateway_ip=builders.VIP_GATEWAY, mtu=1450))
_PREAMBLE = """global
    master-worker
    stats socket {folder}/haproxy.sock mode 600 level admin expose-fd listeners
    server-state-file {folder}/servers-state

"""


def eventually(probe: Callable[[], bool], within: float = 20.0) -> bool:
    """Whether a probe succeeds before a generous time is over."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if probe():
            return True
        time.sleep(0.05)
    return False


class RunningHaproxy:
    """A HAProxy with a rendered configuration, in a namespace that has nothing but a loopback and the VIP."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.namespace = f"figlina-t-{uuid.uuid4().hex[:8]}"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, snapshot: model.Snapshot) -> None:
        """Start with the text for a snapshot's first amphora."""
        (self._folder / "servers-state").write_text("1\n")
        _run("ip", "netns", "add", self.namespace)
        _run("ip", "-n", self.namespace, "link", "set", "lo", "up")
        _run("ip", "-n", self.namespace, "address", "add", f"{snapshot.load_balancer.vip.address}/32", "dev", "lo")
        peer = self.write(snapshot)
        command = ["ip", "netns", "exec", self.namespace, "haproxy", "-W", "-L", peer, "-f", str(self._folder / "haproxy.cfg")]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=(self._folder / "log").open("wb"))
        assert eventually(self.answers), (self._folder / "log").read_text()

    def write(self, snapshot: model.Snapshot) -> str:
        """Put the text for a snapshot in its place, and say which peer it is for."""
        wanted = render.wanted_state(snapshot, snapshot.amphorae[0], NETWORKS)
        assert wanted.haproxy_config is not None
        assert wanted.peer_name is not None
        (self._folder / "haproxy.cfg").write_text(_PREAMBLE.format(folder=self._folder) + wanted.haproxy_config)
        return wanted.peer_name

    def reload(self) -> None:
        """Have the master start a new worker, and wait until it answers."""
        assert self._process is not None
        old = self.info("Pid")
        for _ in range(10):
            # A master of HAProxy 2.6 that was started a moment ago may note the signal and go to sleep on it: another one wakes it up.
            self._process.send_signal(signal.SIGUSR2)
            if eventually(lambda: b"Reloading HAProxy" in (self._folder / "log").read_bytes(), within=1):
                break
        assert eventually(lambda: self.answers() and self.info("Pid") != old), (self._folder / "log").read_text()

    def stop(self) -> None:
        """End it, and leave nothing behind."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(10)
        for pid in subprocess.run(["ip", "netns", "pids", self.namespace], capture_output=True, text=True, check=False).stdout.split():
            os.kill(int(pid), signal.SIGKILL)
        subprocess.run(["ip", "netns", "delete", self.namespace], capture_output=True, check=False)

    def ask(self, command: str) -> str:
        """A command on the runtime socket, and its answer."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(str(self._folder / "haproxy.sock"))
            connection.sendall(command.encode() + b"\n")
            return connection.makefile("r").read().strip()

    def answers(self) -> bool:
        try:
            return bool(self.ask("show info"))
        except OSError:
            return False

    def info(self, key: str) -> str:
        return dict(line.split(": ", 1) for line in self.ask("show info").splitlines() if ": " in line)[key]

    def servers(self) -> dict[str, dict[str, str]]:
        rows = csv.DictReader(io.StringIO(self.ask("show stat").removeprefix("# ")))
        return {row["svname"]: row for row in rows if row["svname"] not in ("FRONTEND", "BACKEND")}


@pytest.fixture
def haproxy(tmp_path: pathlib.Path) -> Iterator[RunningHaproxy]:
    running = RunningHaproxy(tmp_path)
    yield running
    running.stop()


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def _with_pool(snapshot: model.Snapshot, **fields: object) -> model.Snapshot:
    pools = tuple(dataclasses.replace(pool, **fields) for pool in snapshot.pools)  # type: ignore[arg-type]
    return dataclasses.replace(snapshot, pools=pools)


def _lines(snapshot: model.Snapshot) -> list[str]:
    text = render.wanted_state(snapshot, snapshot.amphorae[0], NETWORKS).haproxy_config or ""
    return [line.strip() for line in text.splitlines()]


@pytest.mark.parametrize("algorithm", ["ROUND_ROBIN", "LEAST_CONNECTIONS", "SOURCE_IP"])
@pytest.mark.parametrize("monitor", [None, "HTTP", "HTTPS", "TCP", "TLS-HELLO"])
def test_every_server_line_is_accepted_at_run_time(haproxy: RunningHaproxy, algorithm: str, monitor: str | None) -> None:
    snapshot = _with_pool(builders.a_serving_snapshot(members=1, monitor=monitor), lb_algorithm=algorithm, protocol="PROXYV2")
    if monitor == "HTTPS":
        monitors = tuple(dataclasses.replace(one, domain_name="web.example", http_version=1.1) for one in snapshot.health_monitors)
        snapshot = dataclasses.replace(snapshot, health_monitors=monitors)
    haproxy.start(snapshot)
    new = builders.a_member(
        pool_id=snapshot.pools[0].id, address="10.0.0.1", monitor_address="10.0.0.2", monitor_port=81, backup=True, weight=0
    )
    [line] = [line for line in _lines(dataclasses.replace(snapshot, members=(new,))) if line.startswith("server ")]
    backend = f"{snapshot.pools[0].id}:{snapshot.listeners[0].id}"
    assert haproxy.ask(f"add server {backend}/{line.removeprefix('server ')}") == "New server registered."
    assert haproxy.servers()[new.id]["bck"] == "1"


def test_a_server_that_came_at_run_time_gets_the_cookie_that_a_reload_gives_it(haproxy: RunningHaproxy) -> None:
    persistence = model.SessionPersistence(type="HTTP_COOKIE")
    snapshot = _with_pool(builders.a_serving_snapshot(members=2), session_persistence=persistence)
    fewer = dataclasses.replace(snapshot, members=snapshot.members[:1])
    haproxy.start(fewer)
    backend = f"{snapshot.pools[0].id}:{snapshot.listeners[0].id}"
    [line] = set(_lines(snapshot)) - set(_lines(fewer))
    [key] = [line.split()[1] for line in _lines(snapshot) if line.startswith("dynamic-cookie-key")]
    haproxy.ask(f"add server {backend}/{line.removeprefix('server ')}")
    haproxy.ask(f"set dynamic-cookie-key backend {backend} {key}")
    at_run_time = {name: row["cookie"] for name, row in haproxy.servers().items()}
    haproxy.write(snapshot)
    haproxy.reload()
    assert {name: row["cookie"] for name, row in haproxy.servers().items()} == at_run_time
    assert len(set(at_run_time.values())) == 2
    assert all(at_run_time.values())


@pytest.mark.slow
def test_persistent_sessions_of_a_single_amphora_outlive_a_reload(haproxy: RunningHaproxy) -> None:
    persistence = model.SessionPersistence(type="SOURCE_IP")
    snapshot = _with_pool(builders.a_serving_snapshot(members=1), session_persistence=persistence)
    haproxy.start(snapshot)
    table = f"{snapshot.pools[0].id}:{snapshot.listeners[0].id}"
    said = haproxy.ask(f"set table {table} key 2001:db8::77")
    assert "2001:db8::77" in haproxy.ask(f"show table {table}"), said
    # In the first ten seconds of its life HAProxy still waits for others to teach it, and teaches nobody.
    assert eventually(lambda: " resync_timeout=<PAST>" in haproxy.ask("show peers"), within=60), haproxy.ask("show peers")
    haproxy.write(dataclasses.replace(snapshot, listeners=(dataclasses.replace(snapshot.listeners[0], timeout_client_data=7000),)))
    haproxy.reload()
    assert eventually(lambda: "2001:db8::77" in haproxy.ask(f"show table {table}")), haproxy.ask(f"show table {table}")
