"""A connection that memory was too short for is told in an event, as is a program that died: from the process to the API."""

from __future__ import annotations

import contextlib
import socket

import pytest

from amphora_agent import system
from controller.dev.client import eventually
from tests.integration.site import Balancer, Site, haproxy_workers

pytestmark = [pytest.mark.integration, pytest.mark.slow]

OPTIONS = {"haproxy_amphora.memory_reserve": "1000000"}
"""MiB: more than any machine of a test has, so that memory is always short."""


def _told(site: Site, balancer: Balancer, code: str) -> list[str]:
    found = site.api.get(f"/loadbalancers/{balancer.id}/events?limit=1000")["events"]
    return [event["message"] for event in found if event["code"] == code]


def _is_ended(connection: socket.socket) -> bool:
    """Whether the other side has closed it: whoever reads comes to its end, and does not wait until the time-out."""
    connection.settimeout(60)
    with contextlib.suppress(ConnectionResetError):
        while connection.recv(1000):
            pass
    return True


def test_events_say_that_connections_were_cut_and_that_a_program_was_started_again(site: Site) -> None:
    balancer = site.balancer(("web-1",))
    (amphora,) = balancer.amphorae()
    before = haproxy_workers(amphora)
    with system.inside_namespace(
        site.machine.settings.namespace("client"), lambda: socket.create_connection((balancer.vip, 80), 30)
    ) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")  # and no end of it: the connection is in use
        site.api.put(f"/listeners/{balancer.listener_id}", {"listener": {"timeout_client_data": 60000}})
        balancer.wait_active()
        eventually(lambda: bool(_told(site, balancer, "connections_cut")), 60, "nobody was told of the connection")
        assert _is_ended(connection)
    (cut,) = _told(site, balancer, "connections_cut")
    assert "its memory is short: a process of HAProxy" in cut
    assert _told(site, balancer, "restarted") == [], "that one was not to be started again"
    balancer.serves({"web-1"})
    (amphora,) = balancer.amphorae()
    site.kill(haproxy_workers(amphora) - before)
    eventually(lambda: bool(_told(site, balancer, "restarted")), 60, "nobody was told of the death")
    assert _told(site, balancer, "restarted") == ["HAProxy died and was started again"]
    balancer.serves({"web-1"})
    balancer.delete()
