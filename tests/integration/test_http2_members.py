"""Members that speak HTTP/2 over TLS, another HAProxy here: by which protocol requests reach them, and of whom they are told."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import http.client
import pathlib
import socket
import subprocess
from collections.abc import Iterator
from concurrent import futures

import pytest

from controller.drivers.secrets import bundles
from tests import builders, tls_material
from tests.integration.rendered import RunningHaproxy, eventually

pytestmark = pytest.mark.integration

CLIENTS = [f"127.0.0.{number}" for number in range(2, 7)]
REQUESTS = 20
MEMBER, PORT = "127.0.0.9", 8443
_MEMBER = """
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
frontend member
    bind {address}:{port} ssl crt {pem} alpn {protocols}{proxy}
    http-request return status 200 content-type text/plain lf-string %[req.ver]/%[src]
"""


@pytest.fixture
def haproxy(tmp_path: pathlib.Path) -> Iterator[RunningHaproxy]:
    running = RunningHaproxy(tmp_path)
    yield running
    running.stop()


@pytest.mark.parametrize(("offered", "version"), [(("h2", "http/1.1"), "2.0"), (("http/1.1",), "1.1")])
@pytest.mark.parametrize("protocol", ["HTTP", "PROXY", "PROXYV2"])
def test_each_request_reaches_the_member_by_http2_and_in_its_own_clients_name(
    haproxy: RunningHaproxy, tmp_path: pathlib.Path, protocol: str, offered: tuple[str, ...], version: str
) -> None:
    snapshot = builders.a_serving_snapshot(members=1)
    [pool], [member], [listener] = snapshot.pools, snapshot.members, snapshot.listeners
    vip = snapshot.load_balancer.vip.address
    pools = (dataclasses.replace(pool, protocol=protocol, tls_enabled=True, alpn_protocols=offered),)
    members = (dataclasses.replace(member, address=MEMBER, protocol_port=PORT),)
    haproxy.start(dataclasses.replace(snapshot, pools=pools, members=members))
    proxy = "" if protocol == "HTTP" else " accept-proxy"
    pem, config = tmp_path / "member.pem", tmp_path / "member.cfg"
    pem.write_bytes(bundles.pem(tls_material.issue("member.example").bundle))
    config.write_text(_MEMBER.format(address=MEMBER, port=PORT, pem=pem, protocols="h2,http/1.1", proxy=proxy))
    command = ["ip", "netns", "exec", haproxy.namespace, "haproxy", "-db", "-f", str(config)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        try:
            assert eventually(lambda: _asked(haproxy, vip, listener.protocol_port, CLIENTS[0], 1)[0].startswith(version))
            with futures.ThreadPoolExecutor(len(CLIENTS)) as clients:
                asked = [clients.submit(_asked, haproxy, vip, listener.protocol_port, one, REQUESTS) for one in CLIENTS]
                told = [collections.Counter(one.result()) for one in asked]
        finally:
            running.terminate()
    of_whom = CLIENTS if proxy else ["127.0.0.1"] * len(CLIENTS)
    assert told == [{f"{version}/{one}": REQUESTS} for one in of_whom]


def _asked(haproxy: RunningHaproxy, vip: str, port: int, source: str, count: int) -> list[str]:
    """What the member says to so many requests of one client, on one connection."""
    with contextlib.closing(http.client.HTTPConnection(vip, port)) as connection:
        connection.sock = haproxy.inside(lambda: socket.create_connection((vip, port), 20, (source, 0)))
        answers = []
        for _ in range(count):
            connection.request("GET", "/")
            answers.append(connection.getresponse().read().decode())
        return answers
