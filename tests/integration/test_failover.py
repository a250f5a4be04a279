"""The death of an amphora, alone or as half of a pair, heals by itself."""

from __future__ import annotations

import time

import pytest

from controller.dev.client import eventually
from tests.integration.site import Balancer, Site, agent_pids

pytestmark = [pytest.mark.integration]


def _replaced(balancer: Balancer, dead: str, count: int) -> bool:
    ids = [one["id"] for one in balancer.amphorae()]
    return len(ids) == count and dead not in ids


def test_a_single_amphora_that_dies_is_replaced_and_serves_again(site: Site) -> None:
    balancer = site.balancer(("web-1", "web-2"))
    (victim,) = balancer.amphorae()
    with site.traffic(balancer.vip, rate=50, timeout=2) as traffic:
        site.kill(victim["pids"])
        eventually(lambda: _replaced(balancer, victim["id"], 1), 60, "it was not replaced")
        balancer.wait_active()
        balancer.serves({"web-1", "web-2"})
        time.sleep(0.5)
    assert traffic["longest_silence"] < 60, traffic  # the figure is the benchmark's
    balancer.delete()


def test_a_planned_failover_replaces_the_amphora(site: Site) -> None:
    balancer = site.balancer(("web-1", "web-2"))
    (old,) = balancer.amphorae()
    site.api.put(f"/loadbalancers/{balancer.id}/failover")
    eventually(lambda: _replaced(balancer, old["id"], 1), 60, "it was not replaced")
    balancer.wait_active()
    balancer.serves({"web-1", "web-2"})
    balancer.delete()


def test_a_killed_agent_comes_back_and_traffic_never_notices(site: Site) -> None:
    balancer = site.balancer(("web-1", "web-2"))
    (amphora,) = balancer.amphorae()
    agents = agent_pids(amphora)
    assert agents
    with site.traffic(balancer.vip, rate=100) as traffic:
        site.kill(agents)
        (member, *_) = balancer.members().values()
        site.api.put(f"{balancer.members_path}/{member['id']}", {"member": {"weight": 7}})
        balancer.wait_active()
        time.sleep(1)
    assert traffic["failed"] == 0, traffic
    assert [one["id"] for one in balancer.amphorae()] == [amphora["id"]], "the amphora was replaced for nothing"
    balancer.delete()


def test_a_killed_health_manager_replaces_nobody_when_it_comes_back(site: Site) -> None:
    balancer = site.balancer(("web-1",))
    (amphora,) = balancer.amphorae()
    site.kill(site.machine.status()["processes"]["health_manager"])
    time.sleep(6)  # longer than the heartbeat time-out of this site
    site.machine.restart("health_manager")
    time.sleep(6)
    assert [one["id"] for one in balancer.amphorae()] == [amphora["id"]]
    (member,) = balancer.members().values()
    eventually(lambda: balancer.show()["operating_status"] == "ONLINE", 60)
    assert member["operating_status"] == "NO_MONITOR"
    balancer.delete()
