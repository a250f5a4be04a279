"""A VIP of type direct (SR-IOV), guarded by the amphora alone: its port is a cable here, on which the network filters nothing."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from controller.dev.client import eventually
from tests.integration.site import Site, agent_pids

pytestmark = [pytest.mark.integration]
ELSEWHERE = "203.0.113.0/24"


def _flavor(site: Site, **data: Any) -> str:
    profile = {"name": str(uuid.uuid4()), "provider_name": "amphora", "flavor_data": json.dumps({"sriov_vip": True, **data})}
    made = site.api.post("/flavorprofiles", {"flavorprofile": profile})["flavorprofile"]
    return str(site.api.post("/flavors", {"flavor": {"name": profile["name"], "flavor_profile_id": made["id"]}})["flavor"]["id"])


@pytest.mark.parametrize("topology", ["SINGLE", "ACTIVE_STANDBY"])
def test_allowed_ranges_hold_on_a_direct_vip_and_a_pair_hears_itself(site: Site, topology: str) -> None:
    balancer = site.balancer(("web-1", "web-2"), flavor_id=_flavor(site, loadbalancer_topology=topology))
    assert balancer.show()["vip_vnic_type"] == "direct"
    ours = [port for port in site.machine.network.list_ours() if port.name.startswith("octavia-lb-vrrp-")]
    assert {port.vnic_type for port in ours if port.device_id in {one["id"] for one in balancer.amphorae()}} == {"direct"}
    listener = f"/listeners/{balancer.listener_id}"
    for cidrs, is_served in (([ELSEWHERE], False), ([ELSEWHERE, _client(site)], True), ([], True), ([ELSEWHERE], False), (None, True)):
        site.api.put(listener, {"listener": {"allowed_cidrs": cidrs}})
        balancer.wait_active()
        answers = {site.fetch(balancer.vip) for _ in range(4)}
        assert answers == ({"web-1", "web-2"} if is_served else {""}), cidrs
    if topology == "ACTIVE_STANDBY":  # each hears the other, so one holds the VIP; the other one takes it over
        first = next(one for one in balancer.amphorae() if one["role"] == "MASTER")
        site.kill(first["pids"])
        balancer.serves({"web-1", "web-2"}, within=60)
        site.api.wait_active(balancer.id, 120)
    else:
        site.kill(agent_pids(*balancer.amphorae()))
        eventually(lambda: bool(agent_pids(*balancer.amphorae())), 60, "the agent does not come back")
    site.api.put(listener, {"listener": {"allowed_cidrs": [ELSEWHERE]}})
    balancer.wait_active(120)
    assert {site.fetch(balancer.vip) for _ in range(3)} == {""}
    balancer.delete()


def _client(site: Site) -> str:
    return f"{site.machine.settings.tenants['client']}/32"
