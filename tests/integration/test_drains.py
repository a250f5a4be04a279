"""Members that are to serve no more finish what they have begun for as long as their pool allows, whatever happens meanwhile."""

from __future__ import annotations

import contextlib
import http.client
import pathlib
import socket
import time
from collections.abc import Iterator

import pytest

from tests.integration import agent_amphora
from tests.integration.agent_amphora import Amphora, config, eventually, kill

pytestmark = pytest.mark.integration
LIMIT = 4  # seconds
LATE = 20  # seconds more, on a busy machine: the agent looks once a second, and another agent has to begin
OUT = {"removed": None, "weight 0": "{address} weight 0", "off": "{address} weight 1 disabled"}


def _tcp(*servers: str, limit: int | None = LIMIT, reloads: int = 0) -> str:
    """A pool that lets servers finish; another number of `reloads` makes one needed."""
    extra = f"    timeout tunnel {3600 + reloads}s" + (f"\n    # drain-timeout {limit}" if limit else "")
    text = config(*servers, extra=extra).replace("mode http", "mode tcp").replace("    option idle-close-on-response\n", "")
    return (
        text.replace("    http-reuse safe\n", "")
        .replace("timeout client 20s", "timeout client 3600s")
        .replace("server 20s", "server 3600s")
    )


@pytest.fixture
def amphora(tmp_path: pathlib.Path) -> Iterator[Amphora]:
    with agent_amphora.running(tmp_path / "amphora") as amphora:
        yield amphora


def _held(amphora: Amphora, port: str) -> socket.socket:
    """A connection that a member holds."""
    while True:
        connection = amphora.connect(timeout=60)
        if _answer(connection) == port:
            return connection
        connection.close()


def _answer(connection: socket.socket) -> str:
    """The member that answers; nothing if the connection was cut."""
    try:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = connection.recv(4096)
        while answer and not answer.endswith((b"9001", b"9002")):
            answer += connection.recv(4096)
        return answer[-4:].decode()
    except (ConnectionResetError, BrokenPipeError):
        return ""


def _cut_after(connection: socket.socket, began: float) -> float:
    """Seconds until nothing more comes of it."""
    with contextlib.suppress(ConnectionResetError):
        assert connection.recv(1) == b""
    return time.monotonic() - began


@pytest.mark.parametrize("meanwhile", ["nothing", "a reload", "another agent", "a reload and another agent"])
@pytest.mark.parametrize("how", OUT)
def test_connections_are_cut_when_the_time_is_over_and_no_others(amphora: Amphora, how: str, meanwhile: str) -> None:
    one, two = (f"{name} {amphora.web(port)} weight 1" for name, port in (("m1", 9001), ("m2", 9002)))
    out = [] if OUT[how] is None else [f"m1 {str(OUT[how]).format(address=one.split()[1])}"]
    amphora.apply(1, _tcp(one, two))
    leaving, staying = _held(amphora, "9001"), _held(amphora, "9002")
    began = time.monotonic()
    assert amphora.apply(2, _tcp(*out, two)) == "runtime"
    assert _answer(leaving) == "9001"
    if "reload" in meanwhile:
        assert amphora.apply(3, _tcp(*out, two, reloads=1)) == "reload"
    if "agent" in meanwhile:
        kill(amphora.agent_pid())
        eventually(lambda: amphora.call("GET", "/")[0] == 200)
    if (passed := time.monotonic() - began) < LIMIT - 1:
        assert _answer(leaving) == "9001", passed
    assert LIMIT - 0.1 <= _cut_after(leaving, began) <= LIMIT + LATE
    assert _answer(staying) == "9002"
    assert amphora.fetch_all() == {"9002"}
    assert amphora.apply(4, _tcp(one, two, reloads=int("reload" in meanwhile))) == "runtime"
    eventually(lambda: amphora.fetch_all() == {"9001", "9002"})
    again = _held(amphora, "9001")
    time.sleep(LIMIT + 1.5)
    assert _answer(again) == "9001", "it drains no more"


def test_who_comes_back_in_time_is_not_cut(amphora: Amphora) -> None:
    one, two = (f"{name} {amphora.web(port)} weight 1" for name, port in (("m1", 9001), ("m2", 9002)))
    amphora.apply(1, _tcp(one, two))
    held = _held(amphora, "9001")
    amphora.apply(2, _tcp(one.replace("weight 1", "weight 0"), two))
    time.sleep(1)
    amphora.apply(3, _tcp(one, two))
    time.sleep(LIMIT + 1.5)
    assert _answer(held) == "9001"


def test_without_a_limit_nobody_is_cut_and_one_that_is_set_later_counts_from_then(amphora: Amphora) -> None:
    one, two = (f"{name} {amphora.web(port)} weight 1" for name, port in (("m1", 9001), ("m2", 9002)))
    amphora.apply(1, _tcp(one, two, limit=None))
    held = _held(amphora, "9001")
    drained = one.replace("weight 1", "weight 0")
    amphora.apply(2, _tcp(drained, two, limit=None))
    time.sleep(LIMIT + 1.5)
    assert _answer(held) == "9001"
    began = time.monotonic()
    assert amphora.apply(3, _tcp(drained, two)) == "runtime"
    assert LIMIT - 0.1 <= _cut_after(held, began) <= LIMIT + LATE


def test_a_configuration_that_is_refused_begins_nothing(amphora: Amphora) -> None:
    one, two = (f"{name} {amphora.web(port)} weight 1" for name, port in (("m1", 9001), ("m2", 9002)))
    amphora.apply(1, _tcp(one, two))
    held = _held(amphora, "9001")
    refused = _tcp(two, reloads=1).replace("balance roundrobin", "balance nothing-known")
    assert amphora.put(amphora.wanted(2, refused))[0] == 422
    time.sleep(LIMIT + 1.5)
    assert _answer(held) == "9001"


def test_clients_that_are_kept_on_a_member_go_elsewhere_once_its_time_is_over(amphora: Amphora) -> None:
    cookie = f"    cookie S insert indirect nocache dynamic\n    dynamic-cookie-key key\n    # drain-timeout {LIMIT}"
    one, two = (f"{name} {amphora.web(port)} weight 1" for name, port in (("m1", 9001), ("m2", 9002)))
    amphora.apply(1, config(one, two, extra=cookie))

    def ask(said: str | None = None) -> tuple[str, str]:
        connection = http.client.HTTPConnection("x")
        connection.sock = amphora.connect()
        connection.request("GET", "/", headers={"Cookie": said} if said else {})
        answer = connection.getresponse()
        found = answer.read().decode(), (answer.getheader("Set-Cookie") or "").partition(";")[0]
        connection.close()
        return found

    known = next(said for who, said in iter(ask, None) if who == "9001")
    drained = config(one.replace("weight 1", "weight 0"), two, extra=cookie)
    began, served = time.monotonic(), set()
    assert amphora.apply(2, drained) == "runtime"
    answer = ask(known)[0]
    while time.monotonic() - began < LIMIT:  # what was answered before the end of its time
        served.add(answer)
        answer = ask(known)[0]
    assert served <= {"9001"}
    time.sleep(LIMIT + 2)
    eventually(lambda: {ask(known)[0] for _ in range(20)} == {"9002"})
    assert amphora.apply(3, drained) == "none"
    assert amphora.apply(4, drained.replace("timeout server 20s", "timeout server 21s")) == "reload"
    eventually(lambda: {ask(known)[0] for _ in range(20)} == {"9002"}, within=60)
