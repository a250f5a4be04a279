"""kill -9 of the worker after every task of create, failover and delete on a real cloud: nothing stays PENDING, nothing is left there."""

from __future__ import annotations

import itertools
import sys

import pytest

from controller import jobs
from controller.dev.client import eventually
from controller.model.status import Topology
from tests.cloud import inventory
from tests.cloud.site import BOOT, Site
from tests.integration import killing

pytestmark = [pytest.mark.cloud, pytest.mark.timeout(1200)]

_NAMES = killing.task_names(Topology.SINGLE)
_KINDS = [job.kind for job in (jobs.CreateLoadBalancer, jobs.FailoverLoadBalancer, jobs.DeleteLoadBalancer)]
CASES = list(itertools.zip_longest(*([f"{number}-{name}" for number, name in enumerate(_NAMES[kind], 1)] for kind in _KINDS)))
"""The n-th tasks of the three flows, as far as each goes: one load balancer is made, failed over and deleted for each n."""


def _die_after(site: Site, number: int) -> None:
    if site.alive("worker"):
        site.stop("worker")
    site.start("worker", program=[sys.executable, str(killing.CRASHING_WORKER), "--after", str(number)])


def _next_worker(site: Site) -> None:
    eventually(lambda: not site.alive("worker"), BOOT, "the worker did not reach the task at which it dies", 0.1)
    assert "crash at" in site.said("worker"), site.said("worker")
    site.start("worker")


@pytest.mark.parametrize(("number", "names"), [pytest.param(n, c, id="+".join(map(str, c))) for n, c in enumerate(CASES, 1)])
def test_a_killed_worker_leaves_nothing_undone(site: Site, number: int, names: tuple[str | None, ...]) -> None:
    before = inventory.of(site.users.admin)
    created, failed_over, deleted = (name is not None for name in names)
    subnet_id = site.users.tenant.network.get_network(site.network("private")).subnet_ids[0]
    if created:
        _die_after(site, number)
    made = site.create(subnet_id, [])
    if created:
        _next_worker(site)
    site.active(made["id"], 2 * BOOT)
    if failed_over:
        (lost,) = site.amphorae(made["id"])
        _die_after(site, number)
        site.admin_api.put(f"/loadbalancers/{made['id']}/failover")
        _next_worker(site)

        def replaced() -> bool:
            now = site.amphorae(made["id"])
            return [one["status"] for one in now] == ["ALLOCATED"] and now[0]["id"] != lost["id"]

        eventually(replaced, 2 * BOOT, lambda: f"it was not failed over: {site.show(made['id'])}", 1)
        site.active(made["id"])
    if deleted:
        _die_after(site, number)
        site.api.delete(f"/loadbalancers/{made['id']}?cascade=true")
        _next_worker(site)
        site.api.wait_gone(f"/loadbalancers/{made['id']}", BOOT)
    else:
        site.delete(made["id"])
    eventually(lambda: not _left(site, before), 120, lambda: f"left in the cloud: {_left(site, before)}", 1)


def _left(site: Site, before: inventory.Inventory) -> dict[str, list[str]]:
    return inventory.left(before, inventory.of(site.users.admin))
