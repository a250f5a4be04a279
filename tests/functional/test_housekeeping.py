"""Housekeeping on a real (SQLite) database and a cloud in memory: nothing is forgotten, nothing leaks, nothing living is touched."""

from __future__ import annotations

import dataclasses
import datetime
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from controller import jobs
from controller.db import database, tables
from controller.db.repositories import statistics
from controller.drivers.compute import fake as fake_compute
from controller.drivers.compute import interface as compute
from controller.housekeeping import orphans, periodic, purge, sweeper
from controller.model import load_balancer as model
from controller.model.amphora import Amphora
from controller.model.network import VipRequest
from controller.model.status import AmphoraStatus, ProvisioningStatus, Role, Topology
from tests import builders, fake_network
from tests.functional import heartbeat_fleet


def always() -> bool:
    return True


def stored(db: database.Database, amphorae: list[Amphora] | None = None, **fields: object) -> model.Snapshot:
    snapshot = builders.a_snapshot(builders.a_load_balancer(**fields), amphorae=amphorae)
    heartbeat_fleet.store(db, snapshot)
    return snapshot


def board(db: database.Database) -> list[tuple[str, str]]:
    with db.read() as tx:
        return sorted((row["kind"], row["load_balancer_id"]) for row in tx.jobs.page(1000))


def change(db: database.Database, table: sa.Table, key: str, **values: object) -> None:
    with db.begin() as tx:
        tx.connection.execute(sa.update(table).where(table.c.id == key).values(**values))


def count(db: database.Database, table: sa.Table) -> int:
    with db.read() as tx:
        return tx.connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()


class Rings:
    count = 0

    def __call__(self) -> None:
        self.count += 1


def a_sweeper(db: database.Database, ring: Callable[[], None] = lambda: None, page_size: int = 100) -> sweeper.Sweeper:
    return sweeper.Sweeper(db, ring, page_size=page_size, unfinished_after=600.0)


@pytest.mark.parametrize(
    ("provisioning_status", "kind"),
    [
        (ProvisioningStatus.PENDING_CREATE, jobs.CreateLoadBalancer.kind),
        (ProvisioningStatus.PENDING_UPDATE, jobs.UpdateLoadBalancer.kind),
        (ProvisioningStatus.PENDING_DELETE, jobs.DeleteLoadBalancer.kind),
        (ProvisioningStatus.ERROR, jobs.UpdateLoadBalancer.kind),
    ],
)
def test_a_row_that_owes_work_gets_its_job_back_and_workers_are_rung(
    db: database.Database, provisioning_status: ProvisioningStatus, kind: str
) -> None:
    building = provisioning_status is ProvisioningStatus.PENDING_CREATE
    snapshot = stored(db, amphorae=[] if building else None, provisioning_status=provisioning_status, generation=2, applied_generation=1)
    rings = Rings()
    a_sweeper(db, rings).sweep(always)
    assert board(db) == [(kind, snapshot.load_balancer.id)]
    assert rings.count == 1
    a_sweeper(db, rings).sweep(always)
    assert len(board(db)) == 1


def test_every_lost_job_is_found_whatever_the_page_size(db: database.Database) -> None:
    for _ in range(25):
        stored(db, provisioning_status=ProvisioningStatus.PENDING_UPDATE)
    a_sweeper(db, page_size=4).sweep(always)
    assert len(board(db)) == 25


def test_a_leader_that_was_another_for_a_moment_does_not_go_on(db: database.Database) -> None:
    for _ in range(5):
        stored(db, provisioning_status=ProvisioningStatus.PENDING_UPDATE)
    leads = iter([True, True, True, False])  # for the page and two of its rows; then again
    a_sweeper(db).sweep(lambda: next(leads, True))
    assert len(board(db)) == 2


def test_what_is_settled_leased_carried_or_not_due_is_left_alone(db: database.Database) -> None:
    stored(db)
    leased = stored(db, provisioning_status=ProvisioningStatus.PENDING_UPDATE).load_balancer.id
    carried = stored(db, provisioning_status=ProvisioningStatus.PENDING_UPDATE).load_balancer.id
    waiting = stored(db, provisioning_status=ProvisioningStatus.ERROR).load_balancer.id
    with db.begin() as tx:
        assert tx.leases.take(leased, "worker", 60.0)
        tx.jobs.post(jobs.UpdateLoadBalancer(load_balancer_id=carried))
    change(db, tables.load_balancers, waiting, next_try_at=time.time() + 100)
    a_sweeper(db).sweep(always)
    assert board(db) == [(jobs.UpdateLoadBalancer.kind, carried)]


def test_an_active_load_balancer_that_lost_an_amphora_is_completed(db: database.Database) -> None:
    half = builders.an_amphora(role=Role.MASTER)
    snapshot = stored(db, amphorae=[half], topology=Topology.ACTIVE_STANDBY)
    a_sweeper(db).sweep(always)
    assert board(db) == [(jobs.CreateLoadBalancer.kind, snapshot.load_balancer.id)]


def test_an_amphora_that_never_came_to_serve_is_given_up_when_nobody_builds_it_any_more(db: database.Database) -> None:
    old = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1)
    serving, begun = builders.an_amphora(), builders.an_amphora(status=AmphoraStatus.BOOTING, created_at=old, updated_at=old)
    snapshot = stored(db, amphorae=[serving, begun])
    a_sweeper(db).sweep(always)
    with db.read() as tx:
        assert tx.amphorae.get(begun.id).status is AmphoraStatus.ERROR
        assert tx.amphorae.get(serving.id).status is AmphoraStatus.ALLOCATED
    assert board(db) == [(jobs.CreateLoadBalancer.kind, snapshot.load_balancer.id)]


def test_a_claim_of_a_dead_worker_is_freed(db: database.Database) -> None:
    snapshot = stored(db, provisioning_status=ProvisioningStatus.PENDING_UPDATE)
    with db.begin() as tx:
        job_id = tx.jobs.post(jobs.UpdateLoadBalancer(load_balancer_id=snapshot.load_balancer.id))
        assert tx.jobs.claim(job_id, "a worker that died", expiry=-60.0)
    rings = Rings()
    a_sweeper(db, rings).sweep(always)
    with db.read() as tx:
        assert [row["owner"] for row in tx.jobs.page(10)] == [None]
        assert [due.id for due in tx.jobs.claimable(10)] == [job_id]
    assert rings.count == 1


def a_purge(db: database.Database, **ages: float) -> purge.Purge:
    wanted: dict[str, Any] = {"load_balancer_age": 100.0, "amphora_age": 100.0, "event_age": 100.0, "page_size": 3} | ages
    return purge.Purge(db, **wanted)


def test_rows_of_deleted_things_are_purged_when_their_time_is_over_and_not_before(db: database.Database) -> None:
    now = time.time()
    for age in (1000, 1000, 1000, 1000, 10):
        gone = builders.an_amphora(status=AmphoraStatus.DELETED)
        snapshot = stored(db, amphorae=[gone], provisioning_status=ProvisioningStatus.DELETED)
        change(db, tables.load_balancers, snapshot.load_balancer.id, deleted_at=now - age)
        change(db, tables.amphorae, gone.id, deleted_at=now - age)
        with db.begin() as tx:
            tx.faults.add_event(snapshot.load_balancer.id, "load_balancer", snapshot.load_balancer.id, model.Fault(code="x", message="y"))
            tx.connection.execute(
                sa.insert(tables.listener_statistics).values(
                    listener_id=builders.an_id(), amphora_id=gone.id, load_balancer_id=snapshot.load_balancer.id
                )
            )
    stored(db)
    a_purge(db).purge(always)
    assert count(db, tables.load_balancers) == 2
    assert count(db, tables.amphorae) == 2
    assert count(db, tables.events) == 1
    assert count(db, tables.listener_statistics) == 1


def test_a_deleted_load_balancer_of_which_much_was_said_holds_nobody_up(db: database.Database) -> None:
    for _ in range(2):
        one = stored(db, amphorae=[], provisioning_status=ProvisioningStatus.DELETED).load_balancer.id
        change(db, tables.load_balancers, one, deleted_at=time.time() - 1000)
        with db.begin() as tx:
            for _ in range(20):
                tx.faults.add_event(one, "load_balancer", one, model.Fault(code="x", message="y"))
    deleted: list[int] = []

    def note(*called: Any) -> None:
        cursor, statement = called[1:3]
        if statement.startswith("DELETE FROM events"):
            deleted.append(cursor.rowcount)

    sa.event.listen(db.engine, "after_cursor_execute", note)
    a_purge(db).purge(always)
    assert (sum(deleted), count(db, tables.events), count(db, tables.load_balancers)) == (40, 0, 0)
    assert max(deleted) <= 3


def test_no_deletion_reads_a_whole_table(db: database.Database) -> None:
    """They are read in all their length while others wait to write, for each amphora that goes."""
    gone = builders.an_amphora(status=AmphoraStatus.PENDING_DELETE)
    snapshot = stored(db, amphorae=[gone], provisioning_status=ProvisioningStatus.DELETED)
    change(db, tables.load_balancers, snapshot.load_balancer.id, deleted_at=time.time() - 1000)
    said: dict[str, Any] = {}

    def note(*called: Any) -> None:
        statement, parameters = called[2:4]
        said[statement] = parameters

    sa.event.listen(db.engine, "before_cursor_execute", note)
    with db.begin() as tx:
        tx.amphorae.mark_deleted(gone.id)
        assert tx.statistics.of_amphora(gone.id) == []
    change(db, tables.amphorae, gone.id, deleted_at=time.time() - 1000)
    a_purge(db).purge(always)
    sa.event.remove(db.engine, "before_cursor_execute", note)
    assert count(db, tables.amphorae) == count(db, tables.load_balancers) == 0
    with db.read() as tx:
        read = [
            step.detail
            for statement, parameters in said.items()
            if statement.startswith(("SELECT", "UPDATE", "DELETE")) and "ORDER BY events.id" not in statement
            for step in tx.connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        ]
    whole = {step.partition(" USING ")[0] for step in read if step.startswith("SCAN")}
    assert whole <= {"SCAN flow_records", "SCAN CONSTANT ROW"}, "the records are few, and pages of events begin at the oldest"


def test_counters_of_a_purged_amphora_stay_with_their_load_balancer(db: database.Database) -> None:
    gone = builders.an_amphora(status=AmphoraStatus.DELETED)
    snapshot = stored(db, amphorae=[builders.an_amphora(), gone])
    change(db, tables.amphorae, gone.id, deleted_at=time.time() - 1000)
    with db.begin() as tx:
        row = {"listener_id": builders.an_id(), "amphora_id": gone.id, "load_balancer_id": snapshot.load_balancer.id, "bytes_in": 5}
        tx.connection.execute(sa.insert(tables.listener_statistics).values(row))
    a_purge(db).purge(always)
    with db.read() as tx:
        assert tx.statistics.of_load_balancer(snapshot.load_balancer.id).bytes_in == 5


def fail_over(db: database.Database, load_balancer_id: str, listeners: Collection[str], **counters: int) -> None:
    """An amphora has counted this on each of these listeners, and is gone for long."""
    amphora_id = builders.an_id()
    with db.begin() as tx:
        tx.amphorae.ensure(amphora_id, load_balancer_id, Role.STANDALONE)
        rows = [{"listener_id": one, "amphora_id": amphora_id, "load_balancer_id": load_balancer_id, **counters} for one in listeners]
        tx.connection.execute(sa.insert(tables.listener_statistics), rows)
    change(db, tables.amphorae, amphora_id, status=AmphoraStatus.DELETED, deleted_at=time.time() - 1000)


def test_counters_of_purged_amphorae_take_one_row_of_a_listener_however_many_there_were(db: database.Database) -> None:
    load_balancer_id, listeners = stored(db).load_balancer.id, [builders.an_id(), builders.an_id()]
    for failovers in (1, 1, 5):  # more than a page of them, too
        for _ in range(failovers):
            fail_over(db, load_balancer_id, listeners, bytes_in=5, total_connections=1, active_connections=3)
        a_purge(db).purge(always)
        assert count(db, tables.listener_statistics) == 2
    with db.read() as tx:
        found = tx.statistics.of_listener(listeners[1])
        assert (found.bytes_in, found.bytes_out, found.total_connections, found.active_connections) == (35, 0, 7, 0)
        assert tx.statistics.of_load_balancer(load_balancer_id).bytes_in == 70


def test_a_report_that_waited_until_its_amphora_was_purged_counts_nothing_twice(db: database.Database) -> None:
    """A health manager was paused between its look at the amphora and its write."""
    snapshot = builders.a_serving_snapshot()
    heartbeat_fleet.store(db, snapshot)
    load_balancer_id, listener = snapshot.load_balancer.id, snapshot.listeners[0].id
    fail_over(db, load_balancer_id, [listener], bytes_in=5)
    with db.read() as tx:
        (amphora_id,) = tx.connection.execute(sa.select(tables.listener_statistics.c.amphora_id)).scalars()
    a_purge(db).purge(always)
    late = {"key_listener": listener, "key_amphora": amphora_id, "key_load_balancer": load_balancer_id, "active_connections": 1}
    with db.begin() as tx:
        tx.health.count([], [late | dict.fromkeys(statistics.GROWING, 5)])
    with db.read() as tx:
        assert tx.statistics.of_listener(listener).bytes_in == 5


def test_counters_that_no_number_could_hold_together_stay_apart(db: database.Database) -> None:
    """An amphora may claim what it likes, and the purge has to go on."""
    load_balancer_id, listener = stored(db).load_balancer.id, builders.an_id()
    for claimed in (2**63 - 1, 7, 2**63 - 1, 8):
        fail_over(db, load_balancer_id, [listener], bytes_in=claimed)
        a_purge(db).purge(always)
    assert count(db, tables.listener_statistics) == 3  # what can be added is
    with db.read() as tx:
        assert tx.statistics.of_listener(listener).bytes_in == 2 * (2**63 - 1) + 15


def test_old_events_are_purged(db: database.Database) -> None:
    old = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=1000)
    with db.begin() as tx:
        for when in [old] * 7 + [None] * 2:
            tx.faults.add_event(None, "amphora", builders.an_id(), model.Fault(code="x", message="y", occurred_at=when))
    a_purge(db).purge(always)
    assert count(db, tables.events) == 2


def test_events_of_a_clock_that_was_far_ahead_do_not_keep_old_ones_for_ever(db: database.Database) -> None:
    """Those that come first fill a page, and would be young for a year."""
    now = datetime.datetime.now(datetime.UTC)
    times = [now + datetime.timedelta(days=365)] * 4 + [now - datetime.timedelta(seconds=1000)] * 4 + [now] * 2
    for when in times:
        with db.begin() as tx:
            tx.faults.add_event(None, "amphora", builders.an_id(), model.Fault(code="x", message="y", occurred_at=when))
    a_purge(db).purge(always)
    assert count(db, tables.events) == 2


def test_a_clock_that_is_far_behind_takes_no_events(db: database.Database, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(5):
        with db.begin() as tx:
            tx.faults.add_event(None, "amphora", builders.an_id(), model.Fault(code="x", message="y"))
    monkeypatch.setattr(db, "now", lambda: 1000.0)
    a_purge(db).purge(always)
    assert count(db, tables.events) == 5


class Cloud:
    """A cloud in memory, with a clock that the test moves."""

    def __init__(self, db: database.Database, name: str) -> None:
        self.compute = fake_compute.FakeCompute(name)
        self.network = fake_network.FakeNetwork(name)
        self.now = 0.0
        self._arguments = (db, self.compute, self.network)

    def collector(self, delete: bool = True) -> orphans.Orphans:
        return orphans.Orphans(*self._arguments, grace=100.0, delete=delete, clock=lambda: self.now)

    def boot(self, amphora_id: str) -> None:
        port = self.network.ensure_management_port(amphora_id)
        self.compute.boot(compute.BootRequest(amphora_id=amphora_id, name=f"amphora-{amphora_id}", files={}, ports=[port]))

    def vip(self, load_balancer_id: str) -> None:
        self.network.allocate_vip(load_balancer_id, "project", VipRequest(subnet_id=self.network.subnet_id))

    def holds(self) -> set[str]:
        machines = {instance.amphora_id for instance in self.compute.list_ours()}
        return machines | {port.device_id for port in self.network.list_ours()}


@pytest.fixture
def cloud(db: database.Database, tmp_path: Path) -> Iterator[Cloud]:
    name = str(tmp_path)
    yield Cloud(db, name)
    fake_compute.FakeCompute.forget(name)
    fake_network.FakeNetwork.forget(name)


def test_orphans_are_deleted_when_seen_twice_with_time_between_and_nothing_else_is(db: database.Database, cloud: Cloud) -> None:
    snapshot = stored(db)
    explained = {snapshot.amphorae[0].id, f"lb-{snapshot.load_balancer.id}"}
    cloud.boot(snapshot.amphorae[0].id)
    cloud.vip(snapshot.load_balancer.id)
    orphan, orphan_owner = builders.an_id(), builders.an_id()
    cloud.boot(orphan)
    cloud.vip(orphan_owner)
    collector = cloud.collector()
    collector.collect(always)
    cloud.now = 99.0
    collector.collect(always)
    assert cloud.holds() == explained | {orphan, f"lb-{orphan_owner}"}
    cloud.now = 101.0
    collector.collect(always)
    assert cloud.holds() == explained
    with db.read() as tx:
        said = tx.connection.execute(sa.select(tables.events.c.object_id).where(tables.events.c.code == "orphan")).scalars()
        assert set(said) == {orphan, orphan_owner}


def test_a_group_of_machines_that_no_load_balancer_explains_is_deleted(db: database.Database, cloud: Cloud) -> None:
    explained, orphan = stored(db).load_balancer.id, builders.an_id()
    for owner in (explained, orphan):
        cloud.compute.ensure_server_group(owner)
    collector = cloud.collector()
    collector.collect(always)
    assert set(cloud.compute.list_server_groups()) == {explained, orphan}, "it may be somebody's who has only begun"
    cloud.now = 101.0
    collector.collect(always)
    assert list(cloud.compute.list_server_groups()) == [explained]


def test_machines_of_deleted_amphorae_are_orphans(db: database.Database, cloud: Cloud) -> None:
    gone = builders.an_amphora(status=AmphoraStatus.DELETED)
    stored(db, amphorae=[builders.an_amphora(), gone])
    cloud.boot(gone.id)
    collector = cloud.collector()
    collector.collect(always)
    cloud.now = 101.0
    collector.collect(always)
    assert cloud.holds() == set()


def test_an_amphora_left_by_a_deleted_load_balancer_is_taken_apart_and_its_row_says_so(db: database.Database, cloud: Cloud) -> None:
    old = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1)
    left = dataclasses.replace(builders.an_amphora(status=AmphoraStatus.PENDING_DELETE), updated_at=old)
    stored(db, amphorae=[left], provisioning_status=ProvisioningStatus.DELETED)
    cloud.boot(left.id)
    collector = cloud.collector()
    collector.collect(always)
    cloud.now = 101.0
    collector.collect(always)
    assert cloud.holds() == set()
    with db.read() as tx:
        assert tx.amphorae.get(left.id).status is AmphoraStatus.DELETED


def test_orphans_are_only_reported_when_deleting_is_turned_off(db: database.Database, cloud: Cloud) -> None:
    stored(db)
    cloud.boot(builders.an_id())
    collector = cloud.collector(delete=False)
    for cloud.now in (0.0, 30.0, 60.0, 101.0, 202.0, 303.0):  # seen often within the grace, too
        collector.collect(always)
    assert len(cloud.holds()) == 1
    assert count(db, tables.events) == 1


def test_nothing_is_deleted_while_the_database_knows_no_load_balancer(db: database.Database, cloud: Cloud) -> None:
    cloud.boot(builders.an_id())
    collector = cloud.collector()
    for cloud.now in (0.0, 101.0, 202.0):
        collector.collect(always)
    assert len(cloud.holds()) == 1


def test_one_housekeeping_leads_and_another_takes_over_when_it_resigns(db: database.Database) -> None:
    first, second = periodic.Leadership(db, "first", 60.0), periodic.Leadership(db, "second", 60.0)
    assert first.renew()
    assert not second.renew()
    assert (first.leads(), second.leads()) == (True, False)
    first.resign()
    assert second.renew()
    assert not first.renew()


@pytest.mark.lengthy
def test_duties_are_done_by_the_leader_only_and_go_on_after_an_error(db: database.Database) -> None:
    done: list[str] = []

    def work(may_go_on: Callable[[], bool]) -> None:
        assert may_go_on()
        done.append("leader")
        raise RuntimeError("a bad turn")

    def never(_: Callable[[], bool]) -> None:
        done.append("stand-by")

    leader = periodic.Housekeeper(periodic.Leadership(db, "first", 60.0), [periodic.Duty("work", 0.01, work)])
    leader.start()
    deadline = time.monotonic() + 10
    while len(done) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    stand_by = periodic.Housekeeper(periodic.Leadership(db, "second", 60.0), [periodic.Duty("never", 0.01, never)])
    stand_by.start()
    time.sleep(0.2)
    assert stand_by.stop(5.0)
    assert leader.stop(5.0)
    assert len(done) >= 3
    assert set(done) == {"leader"}
