"""Checks of members by datagrams on loopback, which refuses as often as it is asked: who hears of a refusal, and what a check costs."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import resource
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from amphora_agent import member_checks, system
from amphora_agent.member_checks import Key, MemberChecks, Target
from amphora_agent.protocol import datagrams

CHECK = datagrams.Check(type=datagrams.UDP_CONNECT, delay=1, timeout=1, rise=1, fall=1)


@pytest.fixture
def checks() -> Iterator[MemberChecks]:
    made = MemberChecks("", lambda: None)
    yield made
    made.set({}, {})


@contextlib.contextmanager
def _listening(*addresses: str, port: int = 0) -> Iterator[int]:
    """The port on which somebody has these addresses of IPv4."""
    with contextlib.ExitStack() as stack:
        for address in addresses:
            sock = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            sock.bind((address, port))
            port = sock.getsockname()[1]
        yield port


def _found(checks: MemberChecks, within: float = 30.0) -> dict[Key, bool | None]:
    checks.wait(within)
    return checks.states()


def _files() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_thousands_of_checks_hold_one_descriptor(checks: MemberChecks) -> None:
    checks.set({}, {})
    with _listening("0.0.0.0") as port:
        alive = {("l", f"m-{at}"): Target(f"127.9.{at // 250}.{at % 250 + 1}", port, CHECK) for at in range(1500)}
        targets = {(listener, member): target for (_, member), target in alive.items() for listener in ("l", "k", "j")}
        targets["l", "dead"] = Target("127.9.200.1", _closed(), CHECK)
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (_files() + 20, before[1]))
        try:
            checks.set(targets, {})
            states = _found(checks, 60.0)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert {key for key, up in states.items() if not up} == {("l", "dead")}


@pytest.mark.lengthy
def test_who_has_no_descriptor_left_tells_nothing_of_members(checks: MemberChecks) -> None:
    with _listening("127.0.0.1") as port, contextlib.ExitStack() as stack:
        tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        targets = {
            ("l", "udp"): Target("127.0.0.1", port, CHECK),
            ("l", "tcp"): Target("127.0.0.1", tcp.getsockname()[1], dataclasses.replace(CHECK, type=datagrams.TCP)),
        }
        checks.set({("l", "other"): Target("::1", _closed(), CHECK)}, {})  # so that the thread is there
        _found(checks)
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (_files(), before[1]))
        try:
            full: list[int] = []
            with contextlib.suppress(OSError):
                while True:
                    full.append(os.dup(0))
            checks.set(targets, dict.fromkeys(targets, True))
            threading.Event().wait(2.5)
            assert checks.states() == dict.fromkeys(targets, True)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
            for descriptor in full:
                os.close(descriptor)


@pytest.mark.lengthy
def test_all_who_check_a_place_hear_of_its_refusal(checks: MemberChecks) -> None:
    other = dataclasses.replace(CHECK, timeout=2)
    with _listening("127.0.0.2") as port:  # so that nobody who takes any port of all addresses gets this one meanwhile
        here = Target("127.0.0.1", port, CHECK)
        targets = {("l", "m"): here, ("k", "m"): here, ("j", "m"): Target("127.0.0.1", port, other)}
        with _listening("127.0.0.1", port=port):
            checks.set(targets, {})
            assert _found(checks) == dict.fromkeys(targets, True)
        assert system.wait_until(lambda: not any(checks.states().values()), 30.0)
        with _listening("127.0.0.1", port=port):
            assert system.wait_until(lambda: all(checks.states().values()), 30.0)


@pytest.mark.lengthy
def test_an_agent_that_was_held_up_calls_no_living_member_down(checks: MemberChecks, monkeypatch: pytest.MonkeyPatch) -> None:
    with _listening("127.0.0.1") as port, _answering_http() as http:
        targets = {
            ("l", "udp"): Target("127.0.0.1", port, CHECK),
            ("l", "tcp"): Target("127.0.0.1", http, dataclasses.replace(CHECK, type=datagrams.TCP)),
            ("l", "http"): Target("127.0.0.1", http, dataclasses.replace(CHECK, type=datagrams.HTTP, codes=((204, 204),))),
        }
        heard: list[tuple[Target, bool]] = []
        checks.set({("l", "other"): Target("::1", _closed(), CHECK)}, {})  # so that the thread is there
        probes = checks._probes
        assert probes is not None
        check = probes._check

        async def held_up(target: Target, since: float) -> bool:  # as a machine would be that has no time for it
            time.sleep(1.1)  # longer than its time-out, between its beginning and what it sends
            return await check(target, since)

        monkeypatch.setattr(probes, "_check", held_up)
        monkeypatch.setattr(probes, "_take", lambda target, good: heard.append((target, good)))
        checks.set(targets, {})
        assert system.wait_until(lambda: {target for target, _ in heard} >= set(targets.values()), 60.0), heard
        assert [one for one in heard if not one[1] and one[0] in targets.values()] == []


@pytest.mark.lengthy
def test_a_member_that_says_nothing_is_down_also_for_an_agent_that_is_held_up(checks: MemberChecks) -> None:
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):  # what is more is not answered
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(full.getsockname())
        checks.set({("l", "m"): Target("127.0.0.1", full.getsockname()[1], dataclasses.replace(CHECK, type=datagrams.TCP))}, {})
        while checks.states() != {("l", "m"): False}:
            assert checks._probes is not None
            checks._probes._loop.call_soon_threadsafe(time.sleep, 0.1)
            threading.Event().wait(0.2)


def test_a_listener_that_joins_knows_what_is_known(checks: MemberChecks) -> None:
    dead = Target("127.0.0.1", _closed(), dataclasses.replace(CHECK, delay=60))
    checks.set({("l", "m"): dead}, {})
    assert _found(checks) == {("l", "m"): False}
    checks.set({("l", "m"): dead, ("k", "m"): dead}, {("k", "m"): True})
    assert checks.states() == {("l", "m"): False, ("k", "m"): False}


def test_what_clients_hear_counts_for_every_check_of_that_place_by_datagrams() -> None:
    checks = MemberChecks("", lambda: None)
    health = {
        name: member_checks._Health(Target("192.0.2.1", port, dataclasses.replace(CHECK, **fields)))
        for name, port, fields in (("a", 53, {}), ("b", 53, {"delay": 5}), ("c", 54, {}), ("d", 53, {"type": datagrams.TCP}))
    }
    checks._found = {one.target: one for one in health.values()}
    checks.accuse({("192.0.2.1", 53)})
    assert {name for name, one in health.items() if not one.take(True) or not one.up} == {"a", "b"}


def test_a_thread_that_can_not_be_started_ends_neither_the_probe_nor_what_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = threading.Semaphore(0)
    checks = MemberChecks("", heard.release)
    target = Target("203.0.113.1", 53, CHECK)
    checks._found[target] = member_checks._Health(target)

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        checks._take(target, True)
    checks._take(target, False)
    assert heard.acquire(timeout=30), "the next change is told of"


@contextlib.contextmanager
def _answering_http() -> Iterator[int]:
    """The port of a server on a thread of its own that says 204 to everything, until it is closed."""

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = server.accept()
                with client:
                    client.recv(4096)
                    client.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
    thread.join()


def _closed() -> int:
    with _listening("127.0.0.1") as port:
        return port
