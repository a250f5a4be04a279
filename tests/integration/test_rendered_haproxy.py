"""Rendered texts in a real, running HAProxy: what can only be seen at run time, in a network namespace of the test's own."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from controller import render
from controller.model import load_balancer as model
from tests import builders
from tests.integration.rendered import NETWORKS, RunningHaproxy, eventually

pytestmark = pytest.mark.integration


@pytest.fixture
def haproxy(tmp_path: pathlib.Path) -> Iterator[RunningHaproxy]:
    running = RunningHaproxy(tmp_path)
    yield running
    running.stop()


def _with_pool(snapshot: model.Snapshot, **fields: object) -> model.Snapshot:
    pools = tuple(dataclasses.replace(pool, **fields) for pool in snapshot.pools)  # type: ignore[arg-type]
    return dataclasses.replace(snapshot, pools=pools)


def _lines(snapshot: model.Snapshot) -> list[str]:
    text = render.wanted_state(snapshot, snapshot.amphorae[0], NETWORKS).programs.get("haproxy") or ""
    return [line.strip() for line in text.splitlines()]


@pytest.mark.parametrize("algorithm", ["ROUND_ROBIN", "LEAST_CONNECTIONS", "SOURCE_IP"])
@pytest.mark.parametrize("monitor", [None, "HTTP", "HTTPS", "TCP", "TLS-HELLO"])
def test_every_server_line_is_accepted_at_run_time(haproxy: RunningHaproxy, algorithm: str, monitor: str | None) -> None:
    snapshot = _with_pool(builders.a_serving_snapshot(members=1, monitor=monitor), lb_algorithm=algorithm, protocol="PROXYV2", slow_start=9)
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


@pytest.mark.parametrize("short", ["timeout_client_data", "timeout_member_connect", "timeout_member_data"])
def test_each_time_out_ends_what_it_is_about(haproxy: RunningHaproxy, short: str) -> None:
    """The one is short, and the others are longer than the test waits."""
    snapshot = builders.a_serving_snapshot(members=1)
    [listener], [member], vip = snapshot.listeners, snapshot.members, snapshot.load_balancer.vip.address
    fields: dict[str, Any] = dict.fromkeys(("timeout_client_data", "timeout_member_connect", "timeout_member_data"), 600_000) | {short: 300}
    members = (dataclasses.replace(member, address="127.0.0.9", protocol_port=8080),)
    haproxy.start(dataclasses.replace(snapshot, listeners=(dataclasses.replace(listener, **fields),), members=members))
    with contextlib.ExitStack() as ends:
        silent = ends.enter_context(haproxy.inside(lambda: socket.create_server(("127.0.0.9", 8080), backlog=0)))
        if short == "timeout_member_connect":  # nobody accepts whom it has, and it has no room for others
            ends.enter_context(haproxy.inside(lambda: socket.create_connection(silent.getsockname(), 10)))
        client = ends.enter_context(haproxy.inside(lambda: socket.create_connection((vip, listener.protocol_port), 60)))
        if short != "timeout_client_data":
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        said = {"timeout_client_data": b"HTTP/1.1 408", "timeout_member_connect": b"HTTP/1.1 503", "timeout_member_data": b"HTTP/1.1 504"}[
            short
        ]
        assert client.recv(4096)[:12] == said
