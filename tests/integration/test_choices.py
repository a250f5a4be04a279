"""A flavor makes a pair where the deployment makes one amphora; and what an agent is told about its own life, it lives by."""

from __future__ import annotations

import json
import pathlib
import time
from typing import Any

import pytest

from controller.dev import instance
from controller.dev.client import eventually
from tests.integration import site as sites
from tests.integration.site import Site

pytestmark = [pytest.mark.integration]

OPTIONS = {"health_manager.heartbeat_interval": "1", "health_manager.heartbeat_timeout": "30"}
AMPHORAE = "/v2/octavia/amphorae"
_WINDOW = 6.0


def _a_flavor(site: Site, name: str, **data: str) -> str:
    profile = {"name": name, "provider_name": "amphora", "flavor_data": json.dumps(data)}
    made = site.api.post("/flavorprofiles", {"flavorprofile": profile})["flavorprofile"]
    flavor = {"name": name, "flavor_profile_id": made["id"]}
    return str(site.api.post("/flavors", {"flavor": flavor})["flavor"]["id"])


def _a_zone(site: Site, name: str, **data: str) -> str:
    profile = {"name": name, "provider_name": "amphora", "availability_zone_data": json.dumps(data)}
    made = site.api.post("/availabilityzoneprofiles", {"availability_zone_profile": profile})["availability_zone_profile"]
    zone = {"name": name, "availability_zone_profile_id": made["id"]}
    return str(site.api.post("/availabilityzones", {"availability_zone": zone})["availability_zone"]["name"])


def _amphorae(site: Site, load_balancer_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = site.api.get(f"{AMPHORAE}?loadbalancer_id={load_balancer_id}")["amphorae"]
    return found


def test_a_flavor_makes_a_pair_of_machines_that_say_where_and_what_they_are(site: Site) -> None:
    flavor_id = _a_flavor(site, "pair", loadbalancer_topology="ACTIVE_STANDBY", compute_flavor="namespace", amp_image_tag="amphora")
    zone = _a_zone(site, "here", compute_zone="nova")
    body = {"name": "t", "vip_subnet_id": site.subnet_id, "flavor_id": flavor_id, "availability_zone": zone}
    made = site.api.post("/loadbalancers", {"loadbalancer": body})["loadbalancer"]
    site.api.wait_active(made["id"])
    found = _amphorae(site, made["id"])
    assert sorted(one["role"] for one in found) == ["BACKUP", "MASTER"]
    assert {(one["compute_flavor"], one["cached_zone"]) for one in found} == {("namespace", "nova")}
    assert len({one["image_id"] for one in found} - {None}) == 1
    site.api.delete(f"/loadbalancers/{made['id']}?cascade=true")
    site.api.wait_gone(f"/loadbalancers/{made['id']}")


def test_a_pushed_interval_is_lived_by_at_once_and_after_a_restart_of_the_agent(site: Site) -> None:
    balancer = site.balancer(("web-1",))
    (amphora,) = balancer.amphorae()
    assert _beats(amphora) >= _WINDOW / 2
    changed = instance.choose(site.folder, {"options": {"health_manager.heartbeat_interval": "5"}})
    changed.up()
    assert _beats(amphora) >= _WINDOW / 2, "it was not told yet"
    site.api.put(f"{AMPHORAE}/{amphora['id']}/config")
    kept = site.folder / "embedded" / "amphorae" / amphora["id"] / "state" / "agent.json"
    eventually(lambda: kept.exists() and json.loads(kept.read_bytes())["heartbeat_interval"] == 5.0, 60, "the agent was not told")
    time.sleep(1.5)  # the report that a change brings
    assert _beats(amphora) <= 2
    sent = _sent(amphora)
    site.kill(sites.agent_pids(amphora))
    eventually(lambda: _sent(*balancer.amphorae()) > sent, 60, "the agent does not come back")
    time.sleep(3)  # what it says first
    assert _beats(*balancer.amphorae()) <= 2
    assert [one["id"] for one in balancer.amphorae()] == [amphora["id"]]
    balancer.serves({"web-1"})
    balancer.delete()


def _beats(amphora: dict[str, Any]) -> int:
    """How many datagrams the amphora sends in a while."""
    before = _sent(amphora)
    time.sleep(_WINDOW)
    return _sent(amphora) - before


def _sent(amphora: dict[str, Any]) -> int:
    """By the kernel's count for the agent's own network namespace."""
    pid = amphora["pids"][1]  # process 1, which is in the same one
    names, values = (line.split()[1:] for line in pathlib.Path(f"/proc/{pid}/net/snmp").read_text().splitlines() if line.startswith("Udp:"))
    return int(dict(zip(names, values, strict=True))["OutDatagrams"])
