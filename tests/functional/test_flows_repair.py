"""What is not as it was left is written once more; and a database that is older than what it has built gets over it."""

from __future__ import annotations

import dataclasses

import pytest
import sqlalchemy as sa

from controller import exceptions, jobs
from controller.db import tables
from controller.model.network import AccessRule
from controller.model.order import Order
from controller.model.status import ProvisioningStatus, Topology
from controller.worker import engine
from tests.functional import flow_site


@pytest.mark.parametrize("topology", list(Topology))
def test_a_repair_writes_what_differs_though_the_rows_owe_nothing(site: flow_site.Site, topology: Topology) -> None:
    load_balancer_id = site.built(topology)
    snapshot = site.snapshot(load_balancer_id)
    right = {one.id: site.amphora.running(one.id, load_balancer_id) for one in snapshot.amphorae}
    access = site.network.vip_access(load_balancer_id)
    for one in snapshot.amphorae:
        newest = right[one.id]
        assert newest is not None
        assert newest.hash == one.confirmed_hash
        site.amphora.apply(one, dataclasses.replace(newest, programs={}), {})
    site.network.set_vip_access(load_balancer_id, snapshot.load_balancer.vip, [AccessRule("tcp", 22)])
    site.succeed(jobs.RepairLoadBalancer(load_balancer_id=load_balancer_id))
    assert {one.id: site.amphora.running(one.id, load_balancer_id) for one in snapshot.amphorae} == right
    assert site.network.vip_access(load_balancer_id) == access
    assert site.is_whole(load_balancer_id)


def test_a_repair_of_a_load_balancer_that_lacks_an_amphora_builds_it(site: flow_site.Site) -> None:
    load_balancer_id = site.built(Topology.ACTIVE_STANDBY)
    with site.db.begin() as tx:
        tx.connection.execute(sa.update(tables.amphorae).where(tables.amphorae.c.role == "MASTER").values(status="ERROR"))
    site.succeed(jobs.RepairLoadBalancer(load_balancer_id=load_balancer_id))
    assert site.is_whole(load_balancer_id)


def test_nothing_of_a_deleted_load_balancer_is_repaired(site: flow_site.Site) -> None:
    load_balancer_id = site.built()
    site.accept_delete(load_balancer_id)
    site.succeed(flow_site.a_deletion(load_balancer_id))
    assert site.work(jobs.RepairLoadBalancer(load_balancer_id=load_balancer_id)) is None


@pytest.mark.parametrize("topology", list(Topology))
def test_a_database_that_was_restored_from_a_backup_catches_up_with_what_it_has_built(site: flow_site.Site, topology: Topology) -> None:
    load_balancer_id = site.built(topology)
    pool_id = site.snapshot(load_balancer_id).pools[0].id
    for number in range(5):
        site.accept(load_balancer_id, flow_site.a_member(pool_id, f"198.19.40.{number + 1}"))
        site.succeed(flow_site.an_update(load_balancer_id))
    with site.db.begin() as tx:  # as it was before that
        tx.connection.execute(sa.update(tables.load_balancers).values(generation=2, applied_generation=2, lease_token=1))
        tx.connection.execute(sa.update(tables.amphorae).values(applied_generation=2))
        for table in (tables.listeners, tables.pools):
            tx.connection.execute(sa.update(table).values(generation=2))
        tx.connection.execute(sa.delete(tables.members).where(tables.members.c.generation > 2))
        tx.connection.execute(sa.update(tables.members).values(generation=2))
    site.accept(load_balancer_id, flow_site.a_listener(8081))
    first = site.work(flow_site.an_update(load_balancer_id))
    assert first is not None
    assert (first.outcome, first.code) == (engine.Outcome.FAILED, "stale_order")
    assert "stale_order" in site.events(load_balancer_id)
    site.settle(load_balancer_id)
    assert site.is_whole(load_balancer_id)
    assert len(site.snapshot(load_balancer_id).members) == 2


def test_numbers_that_no_database_ever_gave_are_not_believed(site: flow_site.Site) -> None:
    """An amphora stands in a tenant's network: what it claims brings no number to its end."""
    load_balancer_id = site.built()
    amphora = site.snapshot(load_balancer_id).amphorae[0]
    running = site.amphora.running(amphora.id, load_balancer_id)
    assert running is not None
    site.amphora.apply(amphora, running, {}, Order(load_balancer_id, 2**63 - 1))
    site.accept(load_balancer_id, flow_site.a_listener(8081))
    for _ in range(2):
        result = site.work(flow_site.an_update(load_balancer_id))
        assert result is not None
        assert result.code == exceptions.StaleOrder.code
    assert site.state(load_balancer_id) is ProvisioningStatus.ERROR
    with site.db.read() as tx:
        row = tx.connection.execute(sa.select(tables.load_balancers)).mappings().one()
    assert (row["order_floor"], row["lease_token"] < 100) == (0, True)
