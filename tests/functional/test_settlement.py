"""The rows at the end of a flow, and those of amphorae, on a real database."""

from __future__ import annotations

import dataclasses
import datetime
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
import sqlalchemy as sa
from oslo_config import cfg

from controller import conf, exceptions, jobs, services
from controller.db import database, recent, rows, tables
from controller.db.repositories import settlement
from controller.drivers.compute import fake as fake_compute
from controller.model import load_balancer as model
from controller.model.status import AmphoraStatus, OperatingStatus, ProvisioningStatus, Role, Topology
from tests import databases
from tests.functional import flow_site

R = TypeVar("R", bound=model.Resource)
FAULT = model.Fault(code="compute", message="no valid host was found", step="Boot", request_id="req-1")


def _settle(rows: settlement.Settlement, lease: jobs.Lease) -> None:
    rows.settle(lease.load_balancer_id, 1, lease)


def _fail(rows: settlement.Settlement, lease: jobs.Lease) -> None:
    rows.fail(lease.load_balancer_id, 1, FAULT, lease)


def _remove(rows: settlement.Settlement, lease: jobs.Lease) -> None:
    rows.remove(lease.load_balancer_id, lease)


def a_lease(site: flow_site.Site, load_balancer_id: str) -> jobs.Lease:
    with site.db.begin() as tx:
        lease = tx.leases.take(load_balancer_id, "worker", 30.0)
    assert lease is not None
    return lease


def test_settling_goes_by_generation(site: flow_site.Site) -> None:
    load_balancer_id = site.accept_load_balancer()
    site.accept(load_balancer_id, flow_site.a_listener(80))
    later = site.accept(load_balancer_id, flow_site.a_listener(81))
    lease = a_lease(site, load_balancer_id)
    with site.db.begin() as tx:
        assert not tx.settlement.settle(load_balancer_id, later - 1, lease)
    snapshot = site.snapshot(load_balancer_id)
    assert {one.protocol_port: one.provisioning_status for one in snapshot.listeners} == {
        80: ProvisioningStatus.ACTIVE,
        81: ProvisioningStatus.PENDING_CREATE,
    }
    assert snapshot.load_balancer.provisioning_status is ProvisioningStatus.PENDING_UPDATE
    with site.db.begin() as tx:
        assert tx.settlement.settle(load_balancer_id, later, lease)
    assert site.state(load_balancer_id) is ProvisioningStatus.ACTIVE
    assert site.snapshot(load_balancer_id).load_balancer.applied_generation == later


def test_an_older_settlement_does_not_turn_the_applied_generation_back(site: flow_site.Site) -> None:
    load_balancer_id = site.accept_load_balancer()
    newest = site.accept(load_balancer_id, flow_site.a_listener(80))
    lease = a_lease(site, load_balancer_id)
    with site.db.begin() as tx:
        tx.settlement.settle(load_balancer_id, newest, lease)
        tx.settlement.settle(load_balancer_id, 1, lease)
    assert site.snapshot(load_balancer_id).load_balancer.applied_generation == newest


def test_one_with_an_amphora_missing_is_not_active(site: flow_site.Site) -> None:
    load_balancer_id = site.accept_load_balancer()
    with site.db.begin() as tx:
        assert not tx.settlement.settle(load_balancer_id, 1, a_lease_in(tx, load_balancer_id), complete=False)
    assert site.state(load_balancer_id) is ProvisioningStatus.PENDING_UPDATE


def a_lease_in(tx: database.Transaction, load_balancer_id: str) -> jobs.Lease:
    lease = tx.leases.take(load_balancer_id, "worker", 30.0)
    assert lease is not None
    return lease


def test_settling_never_revives_what_is_being_deleted(site: flow_site.Site) -> None:
    load_balancer_id = site.accept_load_balancer()
    site.accept_delete(load_balancer_id)
    lease = a_lease(site, load_balancer_id)
    with site.db.begin() as tx:
        assert not tx.settlement.settle(load_balancer_id, 99, lease)
        tx.settlement.fail(load_balancer_id, 99, FAULT, lease)
    assert site.state(load_balancer_id) is ProvisioningStatus.PENDING_DELETE


@pytest.mark.parametrize("write", [_settle, _fail, _remove])
def test_who_has_lost_the_lease_writes_nothing(site: flow_site.Site, write: Callable[[settlement.Settlement, jobs.Lease], object]) -> None:
    load_balancer_id = site.accept_load_balancer()
    stale = dataclasses.replace(a_lease(site, load_balancer_id), token=0)
    with site.db.begin() as tx, pytest.raises(exceptions.StaleLease):
        write(tx.settlement, stale)
    assert site.state(load_balancer_id) is ProvisioningStatus.PENDING_CREATE
    assert site.faults(load_balancer_id) == {}


def test_a_second_failure_replaces_the_first_reason_and_adds_an_event(site: flow_site.Site) -> None:
    load_balancer_id = site.accept_load_balancer()
    lease = a_lease(site, load_balancer_id)
    with site.db.begin() as tx:
        tx.settlement.fail(load_balancer_id, 1, FAULT, lease)
        tx.settlement.fail(load_balancer_id, 1, dataclasses.replace(FAULT, code="quota"), lease)
    assert site.faults(load_balancer_id)[load_balancer_id].code == "quota"
    assert site.events(load_balancer_id) == ["quota", "compute"]


def test_tries_that_fail_alike_are_an_event_once_an_hour(site: flow_site.Site, monkeypatch: pytest.MonkeyPatch) -> None:
    load_balancer_id = site.accept_load_balancer()
    lease = a_lease(site, load_balancer_id)
    now = datetime.datetime.now(datetime.UTC)
    others: dict[int, Any] = {70: {"code": "quota"}, 80: {"request_id": "req-2"}}
    for minute in range(0, 130, 5):
        at = now + datetime.timedelta(minutes=minute)
        monkeypatch.setattr(rows, "now", lambda at=at: at)
        fault = dataclasses.replace(FAULT, message=f"no host, by answer {minute}", occurred_at=at, **others.get(minute, {}))
        with site.db.begin() as tx:
            tx.settlement.fail(load_balancer_id, 1, fault, lease)
            if minute == 100:
                tx.settlement.settle(load_balancer_id, 1, lease)
                continue
        assert site.faults(load_balancer_id)[load_balancer_id].message == fault.message, "the fault is that of the last try"
    with site.db.read() as tx:
        said = [(row["code"], int(row["message"].rpartition(" ")[2])) for row in tx.faults.events(load_balancer_id) if row["step"]]
    assert said == [("compute", 105), ("compute", 80), ("quota", 70), ("compute", 60), ("compute", 0)]


def test_a_first_success_and_one_after_a_failure_are_events_and_no_other(site: flow_site.Site) -> None:
    load_balancer_id = site.accept_load_balancer()
    lease = a_lease(site, load_balancer_id)
    with site.db.begin() as tx:
        tx.settlement.settle(load_balancer_id, 1, lease)
        tx.settlement.settle(load_balancer_id, 1, lease)
        tx.settlement.fail(load_balancer_id, 1, FAULT, lease)
        tx.settlement.settle(load_balancer_id, 1, lease)
    assert site.events(load_balancer_id) == ["recovered", "compute", "built"]


def test_many_children_are_settled_and_removed_in_few_statements(site: flow_site.Site) -> None:
    load_balancer_id = site.accept_load_balancer()
    site.accept_tree(load_balancer_id, listeners=10, pools=10, members=20)
    lease = a_lease(site, load_balancer_id)
    with databases.counted(site.db) as statements, site.db.begin() as tx:
        tx.settlement.settle(load_balancer_id, 2, lease)
    assert len(statements) <= 10
    snapshot = site.snapshot(load_balancer_id)
    gone = [flow_site.gone(tables.pools, one.id) for one in snapshot.pools]
    generation = site.accept(load_balancer_id, *gone)
    with databases.counted(site.db) as statements, site.db.begin() as tx:
        tx.settlement.settle(load_balancer_id, generation, lease)
    assert len(statements) <= 20
    assert (site.snapshot(load_balancer_id).pools, site.snapshot(load_balancer_id).members) == ((), ())


# Amphorae


def test_an_amphora_s_row_is_found_as_it_is_and_begun_anew_once_it_is_deleted(site: flow_site.Site) -> None:
    load_balancer_id = site.accept_load_balancer()
    with site.db.begin() as tx:
        tx.amphorae.ensure("a", load_balancer_id, Role.STANDALONE)
        tx.amphorae.update("a", compute_id="machine", status=AmphoraStatus.BOOTING)
        tx.health.first({"a": 1.0})
        assert tx.amphorae.ensure("a", load_balancer_id, Role.STANDALONE).compute_id == "machine"
        tx.amphorae.set_status(["a"], AmphoraStatus.PENDING_DELETE)
        tx.amphorae.mark_deleted("a")
        assert tx.amphorae.of_load_balancer(load_balancer_id) == ()
        again = tx.amphorae.ensure("a", load_balancer_id, Role.STANDALONE)
    assert (again.status, again.compute_id, again.first_heartbeat_at) == (AmphoraStatus.PENDING_CREATE, None, None)


def test_a_deleted_amphora_changes_no_more(site: flow_site.Site) -> None:
    with site.db.begin() as tx:
        tx.amphorae.ensure("a", "lb", Role.STANDALONE)
        tx.amphorae.set_status(["a"], AmphoraStatus.PENDING_DELETE)
        tx.amphorae.mark_deleted("a")
        tx.amphorae.confirm({"a": "hash-a"}, 5)
        tx.amphorae.set_status(["a"], AmphoraStatus.ERROR)
        with pytest.raises(exceptions.NotFound):
            tx.amphorae.update("a", compute_id="machine")
        assert tx.amphorae.get("a").status is AmphoraStatus.DELETED


def test_a_late_receipt_brings_no_amphora_back_that_is_being_deleted(site: flow_site.Site) -> None:
    """A push is under way while somebody deletes the amphora."""
    with site.db.begin() as tx:
        tx.amphorae.ensure("a", "lb", Role.STANDALONE)
        tx.amphorae.update("a", compute_id="machine", status=AmphoraStatus.BOOTING)
        tx.amphorae.set_status(["a"], AmphoraStatus.PENDING_DELETE)
        tx.amphorae.confirm({"a": "hash-a"}, 5)
        tx.amphorae.update("a", image_id="image", status=AmphoraStatus.BOOTING)
        found = tx.amphorae.get("a")
    assert (found.status, found.applied_generation, found.image_id) == (AmphoraStatus.PENDING_DELETE, 5, "image")


def test_a_batch_brings_no_member_back_that_is_being_deleted(site: flow_site.Site) -> None:
    load_balancer_id = site.built()
    gone, stays = (member.id for member in site.snapshot(load_balancer_id).members)
    with site.db.begin() as tx:
        at = tx.load_balancers.advance(load_balancer_id)
        tx.members.mark_deleted(gone, at)
        tx.members.change_many([{"id": gone, "weight": 7}, {"id": stays, "weight": 7}], at)
    found = {member.id: (member.provisioning_status, member.weight) for member in site.snapshot(load_balancer_id).members}
    assert found == {gone: (ProvisioningStatus.PENDING_DELETE, 1), stays: (ProvisioningStatus.PENDING_UPDATE, 7)}


def test_rows_are_not_removed_of_a_load_balancer_that_nobody_deletes(site: flow_site.Site) -> None:
    load_balancer_id = site.built()
    lease = a_lease(site, load_balancer_id)
    with pytest.raises(exceptions.Conflict, match="is not being deleted"), site.db.begin() as tx:
        tx.settlement.remove(load_balancer_id, lease)
    assert site.snapshot(load_balancer_id).members


def test_only_what_may_change_changes(site: flow_site.Site) -> None:
    with site.db.begin() as tx, pytest.raises(TypeError, match="load_balancer_id"):
        tx.amphorae.update("a", load_balancer_id="another")


@pytest.mark.parametrize("column", ["provisioning_status", "operating_status"])
def test_a_change_gives_no_status(site: flow_site.Site, column: str) -> None:
    load_balancer_id = site.built()
    member = site.snapshot(load_balancer_id).members[0]
    with site.db.begin() as tx:
        at = tx.load_balancers.advance(load_balancer_id)
        with pytest.raises(TypeError, match=column):
            tx.members.change(member.id, {column: "ERROR"}, at)
        with pytest.raises(TypeError, match=column):
            tx.members.change_many([{"id": member.id, column: "ERROR"}], at)
    found = site.snapshot(load_balancer_id).members[0]
    assert (found.provisioning_status, found.operating_status) == (member.provisioning_status, member.operating_status)


def test_amphorae_of_a_load_balancer_are_those_that_are_not_deleted(site: flow_site.Site) -> None:
    with site.db.begin() as tx:
        for name, owner in (("a", "lb-1"), ("b", "lb-2"), ("c", "lb-1")):
            tx.amphorae.ensure(name, owner, Role.STANDALONE)
        tx.amphorae.set_status(["c"], AmphoraStatus.PENDING_DELETE)
        tx.amphorae.mark_deleted("c")
        assert [one.id for one in tx.amphorae.of_load_balancer("lb-1")] == ["a"]


# What is remembered


def test_a_remembered_snapshot_is_the_one_in_the_rows(site: flow_site.Site) -> None:
    load_balancer_id = site.built(Topology.ACTIVE_STANDBY)
    kept = recent.RecentSnapshots(site.db)
    assert kept.get(load_balancer_id) == site.snapshot(load_balancer_id)
    with site.db.begin() as tx:
        tx.amphorae.set_status(list(site.amphorae(load_balancer_id).values()), AmphoraStatus.ERROR)
    assert kept.get(load_balancer_id) == site.snapshot(load_balancer_id)
    site.accept(load_balancer_id, flow_site.a_listener(81))
    assert kept.get(load_balancer_id) == site.snapshot(load_balancer_id)


def test_nothing_is_remembered_over_a_loss_of_the_database(site: flow_site.Site) -> None:
    """A server takes over that lacks the last transactions, and gives their generation to another change."""
    load_balancer_id = site.built()
    first, second = (one.id for one in site.snapshot(load_balancer_id).members)
    kept = recent.RecentSnapshots(site.db)
    with site.db.begin() as tx:
        before = tx.connection.execute(sa.select(tables.members.c.weight).where(tables.members.c.id == first)).scalar_one()
    site.accept(load_balancer_id, (tables.members, {"id": first, "weight": 7}))
    generation = kept.get(load_balancer_id).generation
    with site.db.begin() as tx:
        for member, weight in ((first, before), (second, 9)):
            tx.connection.execute(sa.update(tables.members).where(tables.members.c.id == member).values(weight=weight))
    site.db.losses += 1  # as `test_database_away.py` sees it of real servers
    found = kept.get(load_balancer_id)
    assert (found.generation, {one.id: one.weight for one in found.members}) == (generation, {first: before, second: 9})


def wanted(snapshot: model.Snapshot) -> model.Snapshot:
    """Without the statuses of what is below, and the times when they changed, which may be older."""

    def plain(some: tuple[R, ...]) -> tuple[R, ...]:
        return tuple(
            dataclasses.replace(
                one, provisioning_status=ProvisioningStatus.ACTIVE, operating_status=OperatingStatus.OFFLINE, updated_at=None
            )
            for one in some
        )

    return dataclasses.replace(
        snapshot,
        listeners=plain(snapshot.listeners),
        pools=plain(snapshot.pools),
        members=plain(snapshot.members),
        health_monitors=plain(snapshot.health_monitors),
    )


def test_what_is_remembered_follows_what_came_changed_and_went(site: flow_site.Site) -> None:
    load_balancer_id = site.built()
    kept = recent.RecentSnapshots(site.db)
    kept.get(load_balancer_id)
    pool_id = site.snapshot(load_balancer_id).pools[0].id
    first, second = (one.id for one in site.snapshot(load_balancer_id).members)
    changes = [
        [flow_site.a_member(pool_id, "198.19.10.150"), flow_site.a_listener(81, default_pool_id=pool_id)],
        [(tables.members, {"id": first, "weight": 7})],
        [flow_site.gone(tables.members, second), flow_site.a_member(pool_id, "198.19.10.151")],
        [flow_site.gone(tables.pools, pool_id)],
        [flow_site.a_listener(82)],
    ]
    for settled_in_between in (False, True):
        for change in changes:
            site.accept(load_balancer_id, *[(table, dict(values)) for table, values in change])
            if settled_in_between:  # by another worker, so that rows are gone before this one ever saw them go
                site.settle(load_balancer_id)
            assert wanted(kept.get(load_balancer_id)) == wanted(site.snapshot(load_balancer_id))
        if not settled_in_between:
            site.settle(load_balancer_id)
            site.accept_tree(load_balancer_id)
            pool_id = site.snapshot(load_balancer_id).pools[0].id
            first, second = (one.id for one in site.snapshot(load_balancer_id).members)
            changes = [
                [flow_site.a_member(pool_id, "198.19.10.152")],
                [flow_site.gone(tables.members, second), (tables.members, {"id": first, "weight": 9})],
                [flow_site.gone(tables.pools, pool_id)],
                [flow_site.a_listener(83)],
            ]


def test_what_is_remembered_gives_way_to_a_database_that_was_restored(site: flow_site.Site) -> None:
    load_balancer_id = site.built()
    kept = recent.RecentSnapshots(site.db)
    site.accept(load_balancer_id, flow_site.a_listener(81))
    kept.get(load_balancer_id)
    with site.db.begin() as tx:
        tx.connection.execute(sa.update(tables.load_balancers).values(generation=2))
        tx.connection.execute(sa.delete(tables.listeners).where(tables.listeners.c.protocol_port == 81))
        tx.connection.execute(sa.update(tables.members).values(weight=9))
    assert kept.get(load_balancer_id) == site.snapshot(load_balancer_id)


def test_only_so_much_is_remembered(site: flow_site.Site) -> None:
    ids = [site.accept_load_balancer() for _ in range(3)]
    kept = recent.RecentSnapshots(site.db, objects=2)
    for load_balancer_id in ids:
        kept.get(load_balancer_id)
    assert list(kept._kept) == ids[1:]


# Services


def a_conf(site: flow_site.Site, **drivers: str) -> cfg.ConfigOpts:
    made = conf.load([], config_files=[])
    made.set_override("connection", str(site.db.engine.url), group="database")
    for name, value in drivers.items():
        made.set_override(name, value, group="controller_worker")
    return made


def test_drivers_are_found_by_name_and_made_when_first_used(site: flow_site.Site) -> None:
    loaded = services.Services.load(a_conf(site, compute_driver="fake", network_driver="no such thing"))
    first = loaded.compute
    assert isinstance(first, fake_compute.FakeCompute)
    assert loaded.compute is first
    with pytest.raises(LookupError, match="network_driver"):
        loaded.network.list_ours()
    loaded.close()


def test_threads_get_one_driver_of_each_kind(site: flow_site.Site) -> None:
    loaded = services.Services.load(a_conf(site, amphora_driver="fake"))
    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(loaded.amphora)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(one) for one in found}) == 1
    loaded.close()
