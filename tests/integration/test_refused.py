"""A configuration that HAProxy refuses leaves the old one serving, and its words reach the API."""

from __future__ import annotations

import pathlib
import stat

import pytest

from controller.dev.client import eventually
from tests.integration.site import Site

pytestmark = [pytest.mark.integration]

POISON = 4242
"""A connection limit that the HAProxy of this module refuses."""

_PICKY = pathlib.Path(__file__).parent / "picky_haproxy.sh"
OPTIONS = {"haproxy_amphora.haproxy_cmd": str(_PICKY)}


def test_a_refused_configuration_leaves_the_old_one_serving_and_says_why(site: Site) -> None:
    assert _PICKY.stat().st_mode & stat.S_IXUSR
    balancer = site.balancer(("web-1", "web-2"))
    body = {"loadbalancer_id": balancer.id, "protocol": "TCP", "protocol_port": 81, "connection_limit": POISON, "name": "poison"}
    with site.traffic(balancer.vip, rate=50) as traffic:
        listener = site.api.post("/listeners", {"listener": body})["listener"]
        path = f"/listeners/{listener['id']}"
        eventually(lambda: site.api.get(path)["listener"]["provisioning_status"] == "ERROR", 60, "the listener is not shown as ERROR")
    assert traffic["failed"] == 0, traffic
    shown = site.api.get(path)["listener"]
    assert "unknown keyword 'frob'" in shown["fault"]["message"]
    assert shown["fault"]["code"] == "config_refused"
    assert balancer.show()["provisioning_status"] == "ERROR"
    balancer.serves({"web-1", "web-2"})

    site.api.delete(path)
    balancer.wait_active()
    assert "fault" not in balancer.show()
    balancer.serves({"web-1", "web-2"})
    balancer.delete()
