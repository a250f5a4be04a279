"""What heartbeats tell of pools and members is added up over amphorae, never falls, and costs little."""

from __future__ import annotations

import uuid

import pytest
import sqlalchemy as sa

from amphora_agent.protocol import heartbeat
from controller.db import database, tables
from controller.db.repositories.statistics import Counters
from controller.model import load_balancer as model
from controller.model.status import Topology
from tests import builders
from tests.functional import flow_site, heartbeat_fleet, hostile_reports
from tests.functional.hostile_reports import Amphora, Manager

MOST = 2**63 - 1


@pytest.fixture
def snapshot(db: database.Database) -> model.Snapshot:
    return hostile_reports.a_stored_load_balancer(db, topology=Topology.ACTIVE_STANDBY)


def counts(**by_id: tuple[int, int, int, int, int]) -> dict[bytes, bytes]:
    return {uuid.UUID(key).bytes: heartbeat.pack_counters(values) for key, values in by_id.items()}


def say(amphora: Amphora, **by_id: tuple[int, int, int, int, int]) -> list[bytes]:
    return [amphora.sign(heartbeat.COUNTS, body) for body in heartbeat.encode_counts(counts(**by_id))]


def told(manager: Manager, snapshot: model.Snapshot) -> tuple[Counters, Counters]:
    """Of the first pool and its first member."""
    pool = snapshot.pools[0].id
    with manager.db.read() as tx:
        return tx.member_statistics.of_pool(pool), tx.member_statistics.of_member(pool, member(snapshot))


def member(snapshot: model.Snapshot) -> str:
    return snapshot.members_by_pool[snapshot.pools[0].id][0].id


def counters(*values: int) -> Counters:
    return Counters(**dict(zip(heartbeat.COUNTERS, values, strict=True)))


def writes(manager: Manager) -> list[str]:
    """What is written to the table from now on."""
    found: list[str] = []

    @sa.event.listens_for(manager.db.engine, "before_cursor_execute")
    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith(("UPDATE member_statistics", "INSERT INTO member_statistics")):
            found.append(statement)

    return found


def test_what_both_halves_of_a_pair_counted_is_added_up(manager: Manager, snapshot: model.Snapshot) -> None:
    one, other = Amphora(snapshot), Amphora(snapshot, 1)
    pool = snapshot.pools[0].id
    manager.take(*one.report(), *other.report())
    manager.take(*say(one, **{pool: (10, 20, 3, 4, 5), member(snapshot): (1, 2, 3, 4, 5)}), *say(other, **{pool: (1, 1, 1, 1, 1)}))
    assert told(manager, snapshot) == (counters(11, 21, 4, 5, 6), counters(1, 2, 3, 4, 5))
    assert manager.recorder.dropped == 0


def test_counters_of_listeners_in_the_beat_behind_them_count_too(manager: Manager, snapshot: model.Snapshot) -> None:
    amphora = Amphora(snapshot)
    manager.take(*amphora.report())
    body = heartbeat.NO_ANSWER + heartbeat.encode_counters(heartbeat_fleet.a_report(snapshot, bytes_in=77))
    manager.take(*say(amphora, **{member(snapshot): (70, 0, 0, 0, 0)}), amphora.sign(body=body))
    assert (manager.bytes_in(snapshot), told(manager, snapshot)[1].bytes_in) == (77, 70)


def test_counters_never_fall_but_for_what_is_open(manager: Manager, snapshot: model.Snapshot) -> None:
    amphora = Amphora(snapshot)
    manager.take(*amphora.report())
    manager.take(*say(amphora, **{member(snapshot): (100, 100, 10, 100, 100)}))
    manager.take(*say(amphora, **{member(snapshot): (99, 101, 0, 0, 200)}))
    assert told(manager, snapshot)[1] == counters(100, 101, 0, 100, 200)


def test_what_is_said_again_is_not_written_again(manager: Manager, snapshot: model.Snapshot) -> None:
    amphora = Amphora(snapshot)
    manager.take(*amphora.report())
    said = {member(snapshot): (1, 2, 3, 4, 5), snapshot.pools[0].id: (1, 1, 1, 1, 1)}
    manager.take(*say(amphora, **said))
    written = writes(manager)
    for _ in range(3):
        manager.take(*say(amphora, **said))
    assert written == []
    manager.take(*say(amphora, **said | {member(snapshot): (2, 2, 3, 4, 5)}))
    assert len(written) == 1


def test_another_manager_that_heard_less_takes_nothing_away(manager: Manager, db: database.Database, snapshot: model.Snapshot) -> None:
    amphora, second = Amphora(snapshot), Manager(db)
    for one in (manager, second):
        one.take(*amphora.report())
    manager.take(*say(amphora, **{member(snapshot): (7, 7, 0, 7, 7)}))
    second.take(*say(amphora, **{snapshot.pools[0].id: (9, 9, 0, 9, 9)}))
    second.take(*say(amphora, **{member(snapshot): (5, 8, 0, 5, 5)}))
    assert told(manager, snapshot) == (counters(9, 9, 0, 9, 9), counters(7, 8, 0, 7, 7))


def test_counts_of_two_thousand_members_cost_one_row(manager: Manager, db: database.Database) -> None:
    snapshot = hostile_reports.a_stored_load_balancer(db, members=2000)
    amphora = Amphora(snapshot)
    manager.take(*amphora.report())
    written = writes(manager)
    ids = [one.id for one in snapshot.members]
    said = say(amphora, **{key: (number, 1, 0, 1, 0) for number, key in enumerate(ids)})
    assert len(said) == 2
    manager.take(*said)
    assert len(written) == 2, "a row is begun and filled"
    with manager.db.read() as tx:
        assert [tx.member_statistics.of_member("", key).bytes_in for key in ids] == list(range(2000))
    assert manager.recorder.dropped == 0


def test_members_of_others_and_hostile_numbers_do_no_harm(manager: Manager, db: database.Database, snapshot: model.Snapshot) -> None:
    other = hostile_reports.a_stored_load_balancer(db)
    liar, honest = Amphora(snapshot), Amphora(other)
    manager.take(*liar.report(), *honest.report())
    strangers = {builders.an_id(f"stranger-{number}"): (1, 1, 1, 1, 1) for number in range(5000)}
    manager.take(*say(liar, **strangers, **{member(other): (9, 9, 9, 9, 9), member(snapshot): (2**64,) * 5}))
    manager.take(liar.sign(heartbeat.COUNTS, b"\xff" * 57), liar.sign(heartbeat.COUNTS, b""))
    assert told(manager, other)[1] == counters(0, 0, 0, 0, 0)
    assert told(manager, snapshot)[1] == counters(*[MOST] * 5)
    with db.read() as tx:
        sizes = [len(one) for one in tx.connection.execute(sa.select(tables.member_statistics.c.counts)).scalars()]
    assert sizes == [heartbeat.COUNT_SIZE], "whom no row knows is not kept"


@pytest.mark.lengthy
def test_a_liar_fills_no_memory_while_the_database_is_away(manager: Manager, snapshot: model.Snapshot) -> None:
    amphora = Amphora(snapshot)
    manager.take(*amphora.report())
    before = manager.held()
    for number in range(200):
        lies = {builders.an_id(f"lie-{number}-{place}"): (1, 1, 1, 1, 1) for place in range(500)}
        manager.receive(*say(amphora, **lies))
        manager.recorder._backlog.add(manager.receiver.take(0.0))
    assert manager.held() - before < 8 << 20
    manager.take()
    assert manager.recorder.dropped == 0


def test_an_amphora_that_serves_nothing_or_another_one_counts_for_nobody(manager: Manager, snapshot: model.Snapshot) -> None:
    amphora = Amphora(snapshot)
    manager.take(*amphora.report())
    with manager.db.begin() as tx:
        tx.member_statistics.count({amphora.id: (builders.an_id("another"), counts(**{member(snapshot): (1, 1, 1, 1, 1)}))})
        tx.member_statistics.count({builders.an_id("unknown"): (snapshot.load_balancer.id, counts(**{member(snapshot): (1, 1, 1, 1, 1)}))})
    assert told(manager, snapshot)[1] == counters(0, 0, 0, 0, 0)


def test_what_a_dead_amphora_counted_stays_and_what_it_had_open_does_not(manager: Manager, snapshot: model.Snapshot) -> None:
    one, other = Amphora(snapshot), Amphora(snapshot, 1)
    manager.take(*one.report(), *other.report())
    for amphora in (one, other):
        manager.take(*say(amphora, **{member(snapshot): (5, 5, 2, 5, 5)}))
    owner = snapshot.load_balancer.id
    with manager.db.begin() as tx:
        tx.connection.execute(sa.update(tables.amphorae).where(tables.amphorae.c.id == one.id).values(status="DELETED", deleted_at=1.0))
    assert told(manager, snapshot)[1] == counters(10, 10, 2, 10, 10)
    for victim in (one, other):
        with manager.db.begin() as tx:
            tx.connection.execute(
                sa.update(tables.amphorae).where(tables.amphorae.c.id == victim.id).values(status="DELETED", deleted_at=1.0)
            )
            assert tx.housekeeping.purge_amphorae(2.0, 100) == [victim.id]
        with manager.db.begin() as tx:  # what a health manager has still to write of it
            tx.member_statistics.count({victim.id: (owner, counts(**{member(snapshot): (9, 9, 9, 9, 9)}))})
    assert told(manager, snapshot)[1] == counters(10, 10, 0, 10, 10)
    with manager.db.read() as tx:
        assert list(tx.connection.execute(sa.select(tables.member_statistics.c.amphora_id)).scalars()) == [owner]


def test_who_was_deleted_is_forgotten_when_somebody_comes(manager: Manager, snapshot: model.Snapshot) -> None:
    amphora = Amphora(snapshot)
    manager.take(*amphora.report())
    first, second = (one.id for one in snapshot.members_by_pool[snapshot.pools[0].id][:2])
    manager.take(*say(amphora, **{first: (1, 1, 1, 1, 1)}))
    with manager.db.begin() as tx:
        tx.connection.execute(sa.delete(tables.members).where(tables.members.c.id == first))
    manager.take(*say(amphora, **{second: (2, 2, 2, 2, 2)}))
    with manager.db.read() as tx:
        (kept,) = tx.connection.execute(sa.select(tables.member_statistics.c.counts)).scalars()
    assert [str(uuid.UUID(bytes=key)) for key, _ in heartbeat.decode_counts(kept)] == [second]


def test_of_what_purged_amphorae_counted_only_what_is_there_is_kept(manager: Manager, snapshot: model.Snapshot) -> None:
    """Members that come and go, and a failover now and then, would fill the row of the sums otherwise."""
    one, other = Amphora(snapshot), Amphora(snapshot, 1)
    manager.take(*one.report(), *other.report())
    first, second = (one.id for one in snapshot.members_by_pool[snapshot.pools[0].id][:2])
    for amphora in (one, other):
        manager.take(*say(amphora, **{first: (1, 1, 1, 1, 1), second: (2, 2, 2, 2, 2)}))
        with manager.db.begin() as tx:
            mine = tables.amphorae.c.id == amphora.id
            tx.connection.execute(sa.update(tables.amphorae).where(mine).values(status="DELETED", deleted_at=1.0))
            if amphora is other:
                tx.connection.execute(sa.delete(tables.members).where(tables.members.c.id == first))
            assert tx.housekeeping.purge_amphorae(2.0, 100) == [amphora.id]
    with manager.db.read() as tx:
        (kept,) = tx.connection.execute(sa.select(tables.member_statistics.c.counts)).scalars()
        assert tx.member_statistics.of_member(snapshot.pools[0].id, second).bytes_in == 4
    assert [str(uuid.UUID(bytes=key)) for key, _ in heartbeat.decode_counts(kept)] == [second]


def test_the_rows_go_with_their_load_balancer(site: flow_site.Site) -> None:
    load_balancer_id = site.built(Topology.SINGLE)
    snapshot = site.snapshot(load_balancer_id)
    for amphora_id in site.amphorae(load_balancer_id).values():
        with site.db.begin() as tx:
            tx.member_statistics.count({amphora_id: (load_balancer_id, counts(**{snapshot.pools[0].id: (1, 1, 1, 1, 1)}))})
    with site.db.read() as tx:
        assert tx.member_statistics.of_pool(snapshot.pools[0].id).bytes_in == 1
    site.accept_delete(load_balancer_id)
    site.succeed(flow_site.a_deletion(load_balancer_id))
    with site.db.read() as tx:
        assert tx.connection.execute(sa.select(tables.member_statistics)).all() == []
