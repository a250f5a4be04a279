"""kill -9 of the worker after every task of create, failover and delete on a real cloud: nothing stays PENDING, nothing is left there."""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Callable
from typing import Any

import pytest

from controller import jobs
from controller.dev.client import eventually
from controller.model.status import Topology
from tests.cloud import inventory
from tests.cloud.site import BOOT, Site
from tests.integration import killing

pytestmark = [pytest.mark.cloud, pytest.mark.timeout(2400)]

OPTIONS = {
    "controller_worker": {"claim_expiry": "6"},
    "health_manager": {"heartbeat_interval": "5", "heartbeat_timeout": "40"},
}
"""A dead worker's job is another's after so many seconds: most of what these tests wait for. An amphora that is slow beside others that
boot, but was heard lately, is not taken for dead.
"""

_ALL = 1_000_000  # lines of a log
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


class Life:
    """What is done to one load balancer, whose machines serve throughout."""

    def __init__(self, site: Site, topology: Topology) -> None:
        self.site = site
        self._topology = topology
        private = site.network("private")
        self._client, self._web = site.machine(private), site.machine(private)
        self._made: dict[str, Any] = {}
        self._lost: set[str] = set()

    def acts(self) -> dict[str, tuple[Callable[[], None], Callable[[], None]]]:
        """By kind of job, in the order of a life: what posts it, and what waits for its end."""
        return {
            jobs.CreateLoadBalancer.kind: (self._create, self._serves),
            jobs.FailoverAmphora.kind: (self._fail_amphora_over, self._replaced),
            jobs.FailoverLoadBalancer.kind: (self._fail_over, self._replaced),
            jobs.DeleteLoadBalancer.kind: (self._delete, self._gone),
        }

    def close(self) -> None:
        """The machines of the tenant go."""
        for machine in (self._client, self._web):
            machine.close()

    def _create(self) -> None:
        members = [{"name": "web", "address": self._web.addresses[0], "protocol_port": 80}]
        more = {"flavor_id": self.site.pair} if self._topology is Topology.ACTIVE_STANDBY else {}
        self._made = self.site.create(self._client.port.fixed_ips[0]["subnet_id"], members, **more)

    def _fail_amphora_over(self) -> None:
        (first,) = [one["id"] for one in self.site.amphorae(self._id) if one["role"] != "BACKUP"]
        self._lost = {first}
        self.site.admin_api.put(f"/v2/octavia/amphorae/{first}/failover")

    def _fail_over(self) -> None:
        self._lost = {one["id"] for one in self.site.amphorae(self._id)}
        self.site.admin_api.put(f"/loadbalancers/{self._id}/failover")

    def _delete(self) -> None:
        self.site.api.delete(f"/loadbalancers/{self._id}?cascade=true")

    def _replaced(self) -> None:
        def are_others() -> bool:
            now = self.site.amphorae(self._id)
            whole = [one["status"] for one in now] == ["ALLOCATED"] * len(self._topology.roles)
            return whole and not self._lost & {one["id"] for one in now}

        eventually(are_others, 2 * BOOT, lambda: f"not replaced: {self.site.amphorae(self._id)} of {self.site.show(self._id)}", 1)
        self._serves()

    def _serves(self) -> None:
        self.site.active(self._id, 2 * BOOT)
        eventually(lambda: self._client.fetch(self._made["vip_address"]) == self._web.name, 60, "it is ACTIVE and does not serve", 0.2)

    def _gone(self) -> None:
        self.site.api.wait_gone(f"/loadbalancers/{self._id}", BOOT)

    @property
    def _id(self) -> str:
        return str(self._made["id"])


LIVES = [(Topology.SINGLE, {jobs.FailoverAmphora.kind}), (Topology.ACTIVE_STANDBY, {*_KINDS, jobs.FailoverAmphora.kind})]


@pytest.mark.parametrize(("topology", "kinds"), LIVES, ids=["an amphora's failover", "a pair's whole life"])
def test_no_worker_lives_for_more_than_one_task(site: Site, topology: Topology, kinds: set[str]) -> None:
    """A fresh worker does each task, and is killed after it: all that the next one knows is what was written down.

    Once the new amphorae serve and no old one is left, an update does the rest. In a pair, workers die after those last tasks of an
    amphora's failover, too, once each.
    """
    names, life = killing.task_names(topology), Life(site, topology)
    before = inventory.of(site.users.admin)
    for kind, (post, ended) in life.acts().items():
        if kind not in kinds:
            post()
            ended()
            continue
        left = _die_again_and_again(site, kind, names[kind], post)
        ended()
        if topology is Topology.ACTIVE_STANDBY and kind == jobs.FailoverAmphora.kind:
            for name in left:
                _die_after(site, names[kind].index(name) + 1)
                post()
                _next_worker(site)
                ended()
    life.close()
    eventually(lambda: not _left(site, before), 120, lambda: f"left in the cloud: {_left(site, before)}", 1)


def _die_again_and_again(site: Site, kind: str, names: list[str], post: Callable[[], None]) -> list[str]:
    """Returns when a worker has died after each task of the flow, with one that stays; the last tasks that were not done by this flow."""
    told, deaths = len(site.said("worker", _ALL)), 0

    def died() -> list[tuple[str, str]]:
        return re.findall(r"^crash at (\S+) (.+) SUCCESS$", site.said("worker", _ALL)[told:], re.MULTILINE)

    def left() -> list[str]:
        return [name for name in names if (kind, name) not in died()]

    site.stop("worker")
    post()
    try:
        while left() and {flow for flow, _ in died()} <= {kind}:
            deaths += 1
            assert deaths < 3 * len(names), f"{deaths} workers have died, and none after {left()}"
            site.start("worker", program=[sys.executable, str(killing.CRASHING_WORKER), "--after", "1"])
            eventually(lambda: not site.alive("worker"), BOOT, lambda: f"nobody does {left()}: {site.said('worker')}", 0.1)
    finally:
        if site.alive("worker"):
            site.stop("worker")
        site.start("worker")
    print(f"\n{kind}: {deaths} workers died; not after {left()}")
    assert left() == names[len(names) - len(left()) :]
    assert not left() or names[-len(left()) - 1].startswith(("DeletePredecessors", "Push"))
    return left()


def _left(site: Site, before: inventory.Inventory) -> dict[str, list[str]]:
    return inventory.left(before, inventory.of(site.users.admin))
