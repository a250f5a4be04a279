"""API and worker together on a cloud of fakes: what the API posts is what the flows need, and what they settle is what the API shows."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from controller.db import tables
from controller.model.status import ProvisioningStatus
from tests.functional import flow_site
from tests.functional.api.worked_site import Worked

_MONITOR = {"type": "HTTP", "delay": 5, "timeout": 3, "max_retries": 2}


@pytest.fixture
def worked(site: flow_site.Site) -> Worked:
    """An API with its worker."""
    return Worked(site)


@pytest.mark.lengthy
def test_a_whole_load_balancer_is_built_changed_healed_and_removed(worked: Worked) -> None:
    pool = {"name": "web", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN", "healthmonitor": _MONITOR}
    members = [{"address": f"10.0.0.{n}", "protocol_port": 80} for n in (1, 2)]
    made = worked.load_balancer(listeners=[{"protocol": "HTTP", "protocol_port": 80, "default_pool": pool | {"members": members}}])
    owner, pool_id = made["id"], made["pools"][0]["id"]
    assert worked.statuses(owner) == {"PENDING_CREATE"}
    assert worked.work() == ["create-load-balancer"]
    assert worked.statuses(owner) == {"ACTIVE"}
    (amphora,) = worked.ok("GET", f"//v2/octavia/amphorae?loadbalancer_id={owner}")["amphorae"]
    assert (amphora["status"], amphora["role"], amphora["ha_ip"]) == ("ALLOCATED", "STANDALONE", made["vip_address"])

    member = worked.member(pool_id, "10.0.0.3")["id"]
    worked.ok("PUT", f"/pools/{pool_id}/members/{member}", {"member": {"weight": 0}})
    assert worked.work() == ["update-load-balancer"]
    assert worked.statuses(owner) == {"ACTIVE"}

    worked.ok("DELETE", f"/pools/{pool_id}/members/{member}", status=204)
    worked.ok("DELETE", f"/healthmonitors/{made['pools'][0]['healthmonitor_id']}", status=204)
    worked.work()
    assert worked.refused(404, "GET", f"/pools/{pool_id}/members/{member}") == f"Member {member} not found."
    assert "healthmonitor_id" not in worked.get("pool", f"/pools/{pool_id}")

    worked.ok("PUT", f"//v2/octavia/amphorae/{amphora['id']}/failover", status=202)
    assert worked.work() == ["failover-amphora"]
    (healed,) = worked.ok("GET", f"//v2/octavia/amphorae?loadbalancer_id={owner}")["amphorae"]
    assert healed["id"] != amphora["id"]
    worked.ok("PUT", f"/loadbalancers/{owner}/failover", status=202)
    assert worked.work() == ["failover-load-balancer"]
    assert worked.statuses(owner) == {"ACTIVE"}

    worked.ok("DELETE", f"/pools/{pool_id}", status=204)
    worked.work()
    assert worked.refused(404, "GET", f"/pools/{pool_id}") == f"Pool {pool_id} not found."
    worked.ok("DELETE", f"/loadbalancers/{owner}?cascade=true", status=204)
    assert worked.work() == ["delete-load-balancer"]
    assert worked.refused(404, "GET", f"/loadbalancers/{owner}") == f"Load Balancer {owner} not found."
    assert worked.ok("GET", "/listeners")["listeners"] == []
    assert worked.site.leaks() == []


def test_a_load_balancer_that_is_deleted_before_it_was_built_leaves_nothing(worked: Worked) -> None:
    made = worked.load_balancer()["id"]
    worked.ok("DELETE", f"/loadbalancers/{made}", status=204)
    worked.work()
    assert worked.row(tables.load_balancers, made)["provisioning_status"] == ProvisioningStatus.DELETED
    assert list(worked.network.list_ours()) == []


@pytest.mark.lengthy
def test_a_broken_amphora_that_is_deleted_is_replaced(worked: Worked) -> None:
    made = worked.load_balancer()["id"]
    worked.work()
    (amphora,) = worked.ok("GET", "//v2/octavia/amphorae")["amphorae"]
    worked.write(sa.update(tables.amphorae).values(status="ERROR"))
    worked.ok("DELETE", f"//v2/octavia/amphorae/{amphora['id']}", status=204)
    worked.work()
    worked.site.settle(made)
    (other,) = worked.ok("GET", "//v2/octavia/amphorae")["amphorae"]
    assert other["id"] != amphora["id"]
    assert worked.site.is_whole(made)
