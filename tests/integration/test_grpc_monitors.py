"""Health monitors that ask by gRPC, with members that are real servers of it: over TCP, over TLS, and about one service."""

from __future__ import annotations

import functools
import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from controller.dev.client import eventually
from controller.drivers.secrets import bundles
from tests import tls_material
from tests.integration.site import Site

grpc_member = pytest.importorskip("tests.integration.grpc_member", reason="needs grpcio, which `make install` brings")

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it makes network namespaces"),
]

ROOT = tls_material.issue("root.example", is_ca=True)
GOOD = tls_material.issue("member.example", ROOT, names=["member.example"])
MONITOR = {"delay": 2, "timeout": 1, "max_retries": 1, "max_retries_down": 1}
PORTS = {
    "serving": grpc_member.SERVING,
    "refusing": grpc_member.REFUSING,
    "shop": grpc_member.SHOP,
    "secure": grpc_member.SECURE,
    "away": 12009,
    "web": 80,  # speaks HTTP/1.1 alone
}


@pytest.fixture
def member(site: Site, tmp_path: pathlib.Path) -> Iterator[subprocess.Popen[str]]:
    """Takes lines that change what it says of its health."""
    (tmp_path / "member.pem").write_bytes(bundles.pem(GOOD.bundle))
    program = [sys.executable, "-m", "tests.integration.grpc_member", site.web["web-1"], str(tmp_path / "member.pem")]
    command = [*site.machine.entrance("web-1"), *program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        yield running
        running.kill()


def _listener(site: Site, name: str, at: int, protocol: str, monitor: dict[str, Any], **pool: Any) -> dict[str, Any]:
    members = [{"name": one, "address": site.web["web-1"], "protocol_port": port} for one, port in PORTS.items()]
    below = {"name": name, "protocol": protocol, "lb_algorithm": "ROUND_ROBIN", "members": members, "healthmonitor": MONITOR | monitor}
    return {"name": name, "protocol": protocol, "protocol_port": at, "default_pool": {**below, **pool}}


def test_members_serve_while_they_say_so_by_grpc(site: Site, member: subprocess.Popen[str]) -> None:
    ca = site.api.post("/secrets", {"secret": {"kind": "ca", "payload": ROOT.pem.decode()}})["secret"]["ref"]
    named = {"domain_name": "member.example", "http_version": 1.1}
    listeners = [
        _listener(site, "all", 1001, "TCP", {"type": "HTTP", "grpc_service": ""}),
        _listener(site, "one", 1002, "TCP", {"type": "HTTP", "grpc_service": grpc_member.SERVICE, **named}),
        _listener(site, "tls", 1003, "TCP", {"type": "HTTPS", "grpc_service": ""}),
        _listener(
            site, "verified", 1004, "HTTP", {"type": "HTTPS", "grpc_service": "", **named}, tls_enabled=True, ca_tls_container_ref=ca
        ),
    ]
    body = {"name": "grpc", "vip_subnet_id": site.subnet_id, "listeners": listeners}
    made = site.api.post("/loadbalancers", {"loadbalancer": body})["loadbalancer"]
    site.api.wait_active(made["id"])

    def serving() -> dict[str, list[str]]:
        tree = site.api.get(f"/loadbalancers/{made['id']}/status")["statuses"]["loadbalancer"]
        pools = [pool for listener in tree["listeners"] for pool in listener["pools"]]
        assert {one["operating_status"] for pool in pools for one in pool["members"]} <= {"ONLINE", "ERROR", "NO_MONITOR", "OFFLINE"}
        return {pool["name"]: [one["name"] for one in pool["members"] if one["operating_status"] == "ONLINE"] for pool in pools}

    fit = {"all": ["serving"], "one": ["shop"], "tls": ["secure"], "verified": ["secure"]}
    eventually(lambda: serving() == fit, 60, lambda: str(serving()))
    assert member.stdin is not None
    for word, now in (("NOT_SERVING", {name: ["shop"] if name == "one" else [] for name in fit}), ("SERVING", fit)):
        print(word, file=member.stdin, flush=True)
        eventually(functools.partial(lambda wanted: serving() == wanted, now), 60, lambda: str(serving()))
    (monitor,) = (one for one in site.api.get("/healthmonitors")["healthmonitors"] if one["pools"][0]["id"] == _pool(made, "all"))
    assert monitor["grpc_service"] == ""
    site.api.put(f"/healthmonitors/{monitor['id']}", {"healthmonitor": {"grpc_service": grpc_member.SERVICE}})
    site.api.wait_active(made["id"])
    eventually(lambda: serving() == fit | {"all": ["shop"]}, 60, lambda: str(serving()))
    site.api.put(f"/healthmonitors/{monitor['id']}", {"healthmonitor": {"grpc_service": None}})
    site.api.wait_active(made["id"])
    eventually(lambda: serving() == fit | {"all": ["web"]}, 60, lambda: str(serving()))
    site.api.delete(f"/loadbalancers/{made['id']}?cascade=true")


def _pool(balancer: dict[str, Any], name: str) -> str:
    return str(next(one["id"] for one in balancer["pools"] if one["name"] == name))
