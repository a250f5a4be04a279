"""An agent with more than a thousand files open."""

from __future__ import annotations

import fcntl
import pathlib
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from amphora_agent import haproxy_runtime, heartbeat, report
from amphora_agent.protocol import boot
from amphora_agent.protocol import heartbeat as protocol

AMPHORA = "2f9c1f39-1a47-4b07-9b0b-3a2c5a2f7a10"
HIGH = 1500
"""A descriptor that select(2) does not know."""


@pytest.fixture(autouse=True)
def _room() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before[0], HIGH + 100), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def _high(sock: socket.socket) -> socket.socket:
    with sock:
        return socket.socket(fileno=fcntl.fcntl(sock.fileno(), fcntl.F_DUPFD_CLOEXEC, HIGH))


def test_the_heart_hears_requests_and_nudges() -> None:
    key = protocol.derive_key(b"deployment", AMPHORA)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as manager:
        manager.bind(("127.0.0.1", 0))
        config = boot.AgentConfig(health_managers=(manager.getsockname(),), heartbeat_key=key.hex())
        heart = heartbeat.Heart(
            AMPHORA,
            config,
            lambda: report.make(0, "", []),
            open_socket=lambda family: _high(socket.socket(family, socket.SOCK_DGRAM)),
        )
        heart.turn()
        beat, sender = manager.recvfrom(65536)
        asked = protocol.Header(
            protocol.REPORT_WANTED, protocol.unpack(beat, key)[0].amphora_id, b"\0" * 8, 1, time.time(), b"q" * 16, part=0, parts=1
        )
        manager.sendto(protocol.pack(asked, b"", key), sender)
        heart._wait(5.0)
        assert [*heart._questions] == [b"q" * 16]
        heart.nudge()
        began = time.monotonic()
        heart._wait(5.0)
        assert time.monotonic() - began < 4.0, "a nudge ends the wait"


def test_a_worker_of_haproxy_is_asked() -> None:
    ours, theirs = socket.socketpair()
    session = haproxy_runtime.Session(_high(ours))
    with theirs:
        assert session.ask_again("show info") is None, "no answer yet"
        theirs.sendall(b"Pid: 7\n\n> ")
        assert session.ask_again("show info") == "Pid: 7\n"


@pytest.mark.parametrize("hard", [1_500, 3_000])
def test_the_agent_takes_as_many_as_it_may_have(tmp_path: pathlib.Path, hard: int) -> None:
    program = (
        f"import pathlib, resource; resource.setrlimit(resource.RLIMIT_NOFILE, (1024, {hard}))\n"
        f"from amphora_agent import main; main.live(pathlib.Path({str(tmp_path / 'none')!r}), None)\n"
        "print(resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == f"({hard}, {hard})\n"
