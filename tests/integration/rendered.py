"""A rendered text in a real, running HAProxy, without an agent, in a network namespace of its own."""

from __future__ import annotations

import csv
import io
import os
import pathlib
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Callable
from typing import Any, TypeVar

from amphora_agent import system
from controller import render
from controller.model import load_balancer as model
from tests import builders

_T = TypeVar("_T")
NETWORKS = render.Networks(vips=(render.VipSubnet(cidr=builders.VIP_SUBNET_CIDR, gateway_ip=builders.VIP_GATEWAY, mtu=1450),))
_PREAMBLE = """global
    master-worker
    stats socket {folder}/haproxy.sock mode 600 level admin expose-fd listeners
    server-state-file {folder}/servers-state

"""


def eventually(probe: Callable[[], bool], within: float = 60.0) -> bool:
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

    def start(self, snapshot: model.Snapshot, **settings: Any) -> None:
        """Start with the text for a snapshot's first amphora."""
        (self._folder / "servers-state").write_text("1\n")
        _run("ip", "netns", "add", self.namespace)
        _run("ip", "-n", self.namespace, "link", "set", "lo", "up")
        _run("ip", "-n", self.namespace, "address", "add", f"{snapshot.load_balancer.vip.address}/32", "dev", "lo")
        peer = self.write(snapshot, **settings)
        command = ["ip", "netns", "exec", self.namespace, "haproxy", "-W", "-L", peer, "-f", str(self._folder / "haproxy.cfg")]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=(self._folder / "log").open("wb"))
        assert eventually(self.answers), (self._folder / "log").read_text()

    def write(self, snapshot: model.Snapshot, **settings: Any) -> str:
        """Put the text for a snapshot in its place, and say which peer it is for."""
        wanted = render.wanted_state(snapshot, snapshot.amphorae[0], NETWORKS, render.Settings(**settings))
        assert "haproxy" in wanted.programs
        assert wanted.peer_name is not None
        (self._folder / "haproxy.cfg").write_text(_PREAMBLE.format(folder=self._folder) + wanted.programs["haproxy"])
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

    def inside(self, action: Callable[[], _T]) -> _T:
        """Do something in the namespace; sockets that are made by it stay there."""
        return system.inside_namespace(self.namespace, action)

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


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
