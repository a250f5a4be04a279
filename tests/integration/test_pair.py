"""A VRRP pair: the gap is short, and the lost half comes back by itself."""

from __future__ import annotations

import subprocess
import time
from typing import Any

import pytest

from controller.dev.client import eventually
from tests.integration.site import Balancer, Site

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

TOPOLOGY = "ACTIVE_STANDBY"


def _holder(site: Site, balancer: Balancer) -> dict[str, Any]:
    """The amphora that has the VIP now."""
    for amphora in balancer.amphorae():
        command = [*site.machine.entrance(amphora["id"]), "ip", "netns", "exec", "haproxy", "ip", "-brief", "address"]
        if f" {balancer.vip}/" in subprocess.run(command, capture_output=True, text=True, check=False).stdout:
            return amphora
    return {}


def test_the_death_of_the_master_is_a_short_gap_and_the_pair_is_completed(site: Site) -> None:
    balancer = site.balancer(("web-1", "web-2"))
    eventually(lambda: bool(_holder(site, balancer)), 20, "nobody has the VIP")
    victim = _holder(site, balancer)
    assert len(balancer.amphorae()) == 2
    with site.traffic(balancer.vip, rate=100) as traffic:
        site.kill(victim["pids"])
        time.sleep(3)
    assert traffic["longest_silence"] < 1.5, traffic
    ids = lambda: [one["id"] for one in balancer.amphorae()]  # noqa: E731
    eventually(lambda: len(ids()) == 2 and victim["id"] not in ids(), 60, "the lost half was not replaced")
    balancer.wait_active()
    balancer.serves({"web-1", "web-2"})
    balancer.delete()


def test_member_changes_reach_both_halves(site: Site) -> None:
    balancer = site.balancer(("web-1",))
    site.api.post(balancer.members_path, {"member": {"name": "web-2", "address": site.web["web-2"], "protocol_port": 80}})
    balancer.wait_active()
    balancer.serves({"web-1", "web-2"})
    eventually(lambda: bool(_holder(site, balancer)), 20)
    site.kill(_holder(site, balancer)["pids"])
    balancer.serves({"web-1", "web-2"})
    balancer.delete()


def test_a_planned_failover_of_a_pair_keeps_serving(site: Site) -> None:
    balancer = site.balancer(("web-1", "web-2"))
    before = {one["id"] for one in balancer.amphorae()}
    with site.traffic(balancer.vip, rate=50) as traffic:
        site.api.put(f"/loadbalancers/{balancer.id}/failover")
        eventually(lambda: not before & {one["id"] for one in balancer.amphorae()}, 90, "an old amphora is left")
        balancer.wait_active(90)
    assert traffic["longest_silence"] < 3, traffic
    balancer.serves({"web-1", "web-2"})
    balancer.delete()
