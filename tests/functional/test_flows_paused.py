"""A worker stands still before each of its writes to the outside until another one has finished, and goes on: the newest state stays.

The cases are made by the flows: each is run with one write more before it stands still, until none is left. Beside, a tenant changes the
load balancer, or deletes it, while the worker stands still.
"""

from __future__ import annotations

import dataclasses
import threading
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from controller import jobs
from controller import services as services_module
from controller.db import tables
from controller.housekeeping import orphans
from controller.model.network import QosPolicy
from controller.model.status import Topology
from tests import pausing
from tests.functional import flow_site

WITHIN = 30.0
pytestmark = pytest.mark.slow


class Pause:
    """Stands still before the n-th write."""

    def __init__(self, at: int) -> None:
        self.at, self.seen = at, 0
        self.stands, self.may_go_on = threading.Event(), threading.Event()
        self.where = ""
        self._lock = threading.Lock()

    def __call__(self, name: str, count: int) -> None:
        with self._lock:
            self.seen += 1
            mine = self.seen == self.at
        if mine:
            self.where = f"{name} ({count})"
            self.stands.set()
            assert self.may_go_on.wait(WITHIN)


def watched_services(site: flow_site.Site, before: pausing.Before) -> services_module.Services:
    """Another worker's: the same database and cloud, through drivers that tell of each write."""
    own = services_module.Services(site.db, site.compute, site.network, site.amphora, site.services.ca, settings=site.services.settings)
    pausing.watch(own, before)
    return own


def prepared(site: flow_site.Site, topology: Topology, kind: str) -> tuple[str, jobs.Job]:
    """A load balancer that asks for every kind of thing outside, and a job of that kind which is owed."""
    load_balancer_id = site.accept_load_balancer(topology)
    site.accept_tree(load_balancer_id)
    pool_id = site.snapshot(load_balancer_id).pools[0].id
    site.network.create_network("members")
    subnet_id = site.network.create_subnet("members", "members-subnet", "10.77.0.0/24")
    group_id, policy = site.network.create_security_group("mine", flow_site.PROJECT), QosPolicy(str(uuid.uuid4()), "slow")
    site.network.create_qos_policy(policy)
    with site.db.begin() as tx:
        asked = {"vip_sg_ids": [group_id], "vip_generation": 1, "vip_qos_policy_id": policy.id, "qos_generation": 1}
        tx.connection.execute(tables.load_balancers.update().values(asked))
    site.accept(load_balancer_id, flow_site.a_member(pool_id, "10.77.0.9", subnet_id=subnet_id))
    create = flow_site.a_create(load_balancer_id, topology)
    if kind == create.kind:
        return load_balancer_id, create
    site.succeed(create)
    serving = site.amphorae(load_balancer_id)
    role = topology.roles[0]
    fresh = tuple(str(uuid.uuid4()) for _ in topology.roles)
    jobs_by_kind: dict[str, jobs.Job] = {
        job.kind: job
        for job in (
            flow_site.an_update(load_balancer_id),
            jobs.RepairLoadBalancer(load_balancer_id=load_balancer_id),
            jobs.ConfigureAmphora(load_balancer_id=load_balancer_id, amphora_id=serving[role]),
            jobs.RenewCertificate(load_balancer_id=load_balancer_id, amphora_id=serving[role]),
            jobs.FailoverAmphora(load_balancer_id=load_balancer_id, amphora_id=serving[role], replacement_id=fresh[0], role=role),
            jobs.FailoverLoadBalancer(load_balancer_id=load_balancer_id, topology=topology, replacement_ids=fresh),
            flow_site.a_deletion(load_balancer_id),
        )
    }
    if kind == jobs.UpdateLoadBalancer.kind:  # both what opens the VIP and what takes a port back
        away = next(one for one in site.snapshot(load_balancer_id).members if one.subnet_id)
        listener = site.snapshot(load_balancer_id).listeners[0]
        site.accept(load_balancer_id, flow_site.gone(tables.members, away.id), opened(listener.id, []))
    if kind == jobs.DeleteLoadBalancer.kind:
        site.accept_delete(load_balancer_id)
    return load_balancer_id, jobs_by_kind[kind]


def opened(listener_id: str, cidrs: list[str]) -> tuple[Any, dict[str, Any]]:
    return tables.listeners, {"id": listener_id, "allowed_cidrs": cidrs}


def narrowed(site: flow_site.Site, load_balancer_id: str) -> None:
    """What the tenant does meanwhile: the VIP is closed to all but one, and members change."""
    snapshot = site.snapshot(load_balancer_id)
    member = next(one for one in snapshot.members if not one.subnet_id)
    site.accept(load_balancer_id, opened(snapshot.listeners[0].id, ["203.0.113.7/32"]), (tables.members, {"id": member.id, "weight": 7}))


def deleted(site: flow_site.Site, load_balancer_id: str) -> None:
    site.accept_delete(load_balancer_id)


def nothing(site: flow_site.Site, load_balancer_id: str) -> None:
    """The tenant does nothing."""


def outside(site: flow_site.Site, load_balancer_id: str) -> dict[str, Any]:
    """All that can be seen outside of the database."""
    machines = sorted(site.compute.list_ours(), key=lambda one: one.amphora_id)
    ports = sorted(site.network.list_ours(), key=lambda one: one.id)
    found: dict[str, Any] = {
        "states": {one.amphora_id: site.amphora.running(one.amphora_id, load_balancer_id) for one in machines},
        "configurations": {one.amphora_id: site.amphora.configurations.get(one.amphora_id) for one in machines},
        "access": site.network.vip_access(load_balancer_id),
        "ports": [(port, site.network.groups_of(port.id)) for port in ports],
        "plugged": {one.amphora_id: sorted(port.id for port in site.compute.plugged(one.id)) for one in machines},
    }
    return found


def rows(site: flow_site.Site, load_balancer_id: str) -> object:
    snapshot = site.snapshot(load_balancer_id)
    amphorae = [dataclasses.replace(one, updated_at=None) for one in snapshot.amphorae]
    children = (snapshot.listeners, snapshot.pools, snapshot.members)
    states = [(one.id, one.generation, one.provisioning_status) for some in children for one in some]
    return snapshot.load_balancer.provisioning_status, snapshot.load_balancer.applied_generation, amphorae, states


def board(site: flow_site.Site, load_balancer_id: str) -> None:
    """Do what stands on the board, as the worker that is left does."""
    for _ in range(5):
        with site.db.read() as tx:
            waiting = tx.jobs.page(10, load_balancer_id=load_balancer_id)
        for row in waiting:
            site.work(jobs.load(row["kind"], row["details"]), row["id"])
            with site.db.begin() as tx:
                tx.connection.execute(tables.jobs.delete().where(tables.jobs.c.id == row["id"]))
    site.settle(load_balancer_id)


def one_case(topology: Topology, kind: str, at: int, meanwhile: Callable[[flow_site.Site, str], None]) -> str | None:
    """Stand still before the n-th write; where that was, or None if there are not so many."""
    site = flow_site.Site()
    try:
        load_balancer_id, job = prepared(site, topology, kind)
        pause = Pause(at)
        job_id = str(uuid.uuid4())
        late = watched_services(site, pause)
        ended: list[object] = []
        worker = threading.Thread(target=lambda: ended.append(site.work(job, job_id, services=late)), daemon=True)
        worker.start()
        while not pause.stands.wait(0.005):
            if not worker.is_alive():
                return None
        meanwhile(site, load_balancer_id)
        site.work(job, job_id)
        site.settle(load_balancer_id)
        newest, settled = outside(site, load_balancer_id), rows(site, load_balancer_id)
        pause.may_go_on.set()
        worker.join(WITHIN)
        assert not worker.is_alive(), pause.where
        late.pushers.shutdown()
        board(site, load_balancer_id)
        _collect_orphans(site)
        assert rows(site, load_balancer_id) == settled, f"{kind}, before {pause.where}: {ended}"
        assert outside(site, load_balancer_id) == newest, f"{kind}, before {pause.where}: {ended}"
        assert site.leaks() == [], f"{kind}, before {pause.where}"
        return pause.where
    finally:
        site.close()


def _collect_orphans(site: flow_site.Site) -> None:
    collector = orphans.Orphans(site.db, site.compute, site.network, grace=0.0)
    for _ in range(2):
        collector.collect(lambda: True)


def all_cases(topology: Topology, kind: str, meanwhile: Callable[[flow_site.Site, str], None]) -> list[str]:
    found: list[str] = []
    while (where := one_case(topology, kind, len(found) + 1, meanwhile)) is not None:
        found.append(where)
    return found


KINDS = sorted(jobs.KINDS)


@pytest.mark.parametrize("topology", list(Topology))
@pytest.mark.parametrize("kind", KINDS)
def test_a_worker_that_stood_still_undoes_nothing_of_its_successor(topology: Topology, kind: str) -> None:
    meanwhile = nothing if kind == jobs.DeleteLoadBalancer.kind else narrowed
    assert all_cases(topology, kind, meanwhile), "this kind of job writes nothing outside"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != jobs.DeleteLoadBalancer.kind])
def test_a_worker_that_stood_still_leaves_nothing_of_a_load_balancer_that_was_deleted_meanwhile(kind: str) -> None:
    assert all_cases(Topology.SINGLE, kind, deleted)


def test_every_writing_method_of_a_worker_is_met() -> None:
    """The matrix is empty where a fence is most needed if its flows never come to a method."""
    met = {where.split(" ")[0] for kind in KINDS for where in all_writes(Topology.ACTIVE_STANDBY, kind)}
    met |= {where.split(" ")[0] for kind in KINDS for where in all_writes(Topology.SINGLE, kind)}
    of_workers = {f"{kind}.{name}" for kind in ("amphora", "compute", "network") for name in pausing.writes(kind)}
    of_others = {"network.allocate_vip", "network.restore_vip_address", "network.delete_vip_access"}  # the API's, and housekeeping's
    assert of_workers - met == of_others


def all_writes(topology: Topology, kind: str) -> list[str]:
    """The writes of one undisturbed run."""
    site = flow_site.Site()
    said: list[str] = []
    try:
        _, job = prepared(site, topology, kind)
        site.work(job, services=watched_services(site, lambda name, count: said.append(f"{name} ({count})")))
        return said
    finally:
        site.close()
