"""Connections live for as long as their clients and members want, whatever is changed meanwhile; only want of memory ends them."""

from __future__ import annotations

import pathlib
import socket
import time
from collections.abc import Iterator
from concurrent import futures

import pytest

from tests.integration import agent_amphora
from tests.integration.agent_amphora import Amphora, config, eventually

pytestmark = pytest.mark.integration


def _text(server: str, changes: int) -> str:
    """A configuration that differs from that of another number by more than HAProxy takes at run time."""
    return (
        config(f"m1 {server} weight 1", extra=f"    timeout tunnel {3600 + changes}s")
        .replace("mode http", "mode tcp")
        .replace("    option idle-close-on-response\n", "")
        .replace("    http-reuse safe\n", "")
        .replace("timeout client 20s", "timeout client 3600s")
        .replace("timeout server 20s", "timeout server 3600s")
    )


@pytest.fixture
def amphora(tmp_path: pathlib.Path) -> Iterator[Amphora]:
    with agent_amphora.running(tmp_path / "amphora") as amphora:
        yield amphora


@pytest.fixture
def cramped(tmp_path: pathlib.Path) -> Iterator[Amphora]:
    """One that wants more memory than any machine has."""
    with agent_amphora.running(tmp_path / "amphora", memory_reserve=2_000_000) as amphora:
        yield amphora


def _ask(connection: object) -> bytes:
    """The member that answers; an empty string if the connection was cut, of which we hear by its end, or by a reset for what we sent."""
    answer = b""
    try:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")  # type: ignore[attr-defined]
        while not answer.endswith(b"9001"):
            chunk = connection.recv(4096)  # type: ignore[attr-defined]
            if not chunk:
                return b""
            answer += chunk
    except (ConnectionResetError, BrokenPipeError):
        return b""
    return answer[-4:]


@pytest.mark.slow
def test_connections_outlive_more_reloads_than_anybody_counts(amphora: Amphora) -> None:
    one = amphora.web(9001)
    assert amphora.apply(1, _text(one, 0)) == "reload"
    quiet, busy = amphora.connect(timeout=30), amphora.connect(timeout=30)
    assert _ask(quiet) == _ask(busy) == b"9001"
    for number in range(1, 21):
        assert amphora.apply(number + 1, _text(one, number)) == "reload"
        if number % 5 == 0:
            assert _ask(busy) == b"9001"
    assert _ask(quiet) == _ask(busy) == b"9001"
    quiet.close()
    busy.close()
    eventually(lambda: len(amphora.workers()) == 1, within=60)


def _said(connection: socket.socket, request: str) -> bytes:
    """What comes back of a WebSocket."""
    connection.sendall(request.encode())
    return connection.recv(len(request))


def _all_of(connection: socket.socket) -> bytes:
    """A download, until its end."""
    connection.sendall(b"GET /download HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.slow
def test_a_hundred_reloads_cut_neither_websockets_nor_a_download(amphora: Amphora) -> None:
    one = amphora.web(9001)

    def text(number: int) -> str:
        plain = config(f"m1 {one} weight 1", extra=f"    timeout tunnel {3600 + number}s")
        return plain.replace("timeout client 20s", "timeout client 3600s").replace("timeout server 20s", "timeout server 3600s")

    assert amphora.apply(1, text(0)) == "reload"
    talking, quiet = amphora.connect(timeout=30), amphora.connect(timeout=30)
    key = "Sec-WebSocket-Key: eCBpcyBub3Qgc2VjcmV0IQ=="
    opening = f"GET /socket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{key}\r\n\r\n".encode()
    for each in (talking, quiet):
        each.sendall(opening)
        assert each.recv(4096).startswith(b"HTTP/1.1 101 ")
    with futures.ThreadPoolExecutor(1) as aside:
        download = aside.submit(_all_of, amphora.connect(timeout=60))
        for number in range(1, 101):
            assert amphora.apply(number + 1, text(number)) == "reload"
            assert amphora.fetch() == "9001"
            assert _said(talking, "more") == b"more"
        assert _said(quiet, "after all") == b"after all"
        assert not download.done()
        amphora.release(9001)
        assert download.result(60).endswith(b"\r\n0\r\n\r\n")
    for each in (talking, quiet):
        each.close()
    eventually(lambda: len(amphora.workers()) == 1, within=60)


def test_whoever_was_idle_for_longest_goes_first_where_memory_is_short(cramped: Amphora) -> None:
    one, beats = cramped.web(9001), cramped.beats()
    cramped.apply(1, _text(one, 0))
    held = cramped.connect(timeout=30)
    assert _ask(held) == b"9001"
    cramped.apply(2, _text(one, 1))
    told = beats.report(lambda report: report["programs"].get("former", {}).get("died", 0) >= 1)
    assert told["programs"]["haproxy"]["died"] == 0
    assert _ask(held) == b"", "it was cut"
    assert _ask(cramped.connect(timeout=30)) == b"9001"


def test_another_limit_of_connections_needs_no_reload(amphora: Amphora) -> None:
    one, beats = amphora.web(9001), amphora.beats()
    plain = config(f"m1 {one} weight 1")
    amphora.apply(1, plain)
    workers, held = amphora.workers(), amphora.connect()
    assert amphora.apply(2, plain.replace("maxconn 2000", "maxconn 1")) == "runtime"
    beats.report(lambda report: report["listeners"].get("l1", {}).get("status") == "FULL")
    assert amphora.apply(3, plain.replace("maxconn 2000", "maxconn 3000")) == "runtime"
    beats.report(lambda report: report["listeners"]["l1"]["status"] == "OPEN")
    assert amphora.fetch() == "9001"
    assert amphora.apply(4, plain.replace("maxconn 2000", "maxconn 70000")) == "reload", "the process was started for fewer"
    held.close()
    time.sleep(0.1)
    assert amphora.apply(5, plain.replace("maxconn 2000", "maxconn 65000")) in ("runtime", "reload")
    assert amphora.workers() != workers
