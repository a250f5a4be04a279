"""An amphora stands in a tenant's network: whatever it signs, it harms at most its own load balancer."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import pytest
import sqlalchemy as sa

from amphora_agent.protocol import heartbeat
from controller.db import database
from controller.db.repositories import health
from controller.health_manager import repairs, replay, statuses, verdict
from controller.model import load_balancer as model
from controller.model.status import OperatingStatus
from tests import builders, databases
from tests.functional import heartbeat_fleet
from tests.functional.hostile_reports import Amphora, Manager, a_stored_load_balancer, with_listeners

MIB = 1024 * 1024


@pytest.fixture
def db(database_of_each_kind: database.Database) -> database.Database:
    return database_of_each_kind


@pytest.fixture
def honest(db: database.Database) -> Amphora:
    return Amphora(a_stored_load_balancer(db))


@pytest.fixture
def liar(db: database.Database) -> Amphora:
    return Amphora(a_stored_load_balancer(db))


@contextlib.contextmanager
def memory_of_at_most(size: int) -> Iterator[None]:
    """Fails if more is allocated at any moment of the block than before it."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < size
    finally:
        tracemalloc.stop()


def a_body(text: bytes) -> bytes:
    return zlib.compress(text, 9)


def a_large_load_balancer(db: database.Database) -> model.Snapshot:
    """A hundred listeners with one pool of two thousand members, which each listener reports on by itself."""
    made = builders.a_serving_snapshot(members=2000, monitor="HTTP", operating_status=OperatingStatus.OFFLINE)
    (pool,) = made.pools
    listeners = tuple(builders.a_listener(default_pool_id=pool.id, protocol_port=1000 + number) for number in range(100))
    snapshot = dataclasses.replace(made, listeners=listeners)
    heartbeat_fleet.store(db, snapshot)
    return snapshot


@pytest.mark.lengthy
def test_a_large_amphora_is_believed_among_liars_who_copy_it(manager: Manager, db: database.Database, liar: Amphora) -> None:
    large = Amphora(a_large_load_balancer(db))
    manager.take(large.sign(), liar.sign())
    bodies = heartbeat.encode_report(heartbeat_fleet.a_report(large.snapshot))
    assert len(bodies) > 64
    for _ in range(2):  # the first one is larger than anybody's whose load balancer was not looked at
        for part, body in enumerate(bodies):
            manager.receive(liar.sign(heartbeat.REPORT, body, part, len(bodies)))
        manager.take(*large.report(bytes_in=7))
        assert manager.receiver._assemblies.size <= replay.ROOM
    assert (manager.operating_status(large.snapshot), manager.bytes_in(large.snapshot)) == ("ONLINE", 7)
    assert manager.operating_status(liar.snapshot) == "OFFLINE"


def test_a_listener_named_nul_stops_nobody(manager: Manager, honest: Amphora, liar: Amphora) -> None:
    manager.take(*liar.report(with_listeners(liar.snapshot, ["\0"])), *honest.report(bytes_in=5))
    assert (manager.operating_status(honest.snapshot), manager.bytes_in(honest.snapshot)) == ("ONLINE", 5)
    assert manager.operating_status(liar.snapshot) == "ONLINE"


@pytest.mark.parametrize("name", ["", "'; drop table members; --", "x" * 1000, "\ufffe", "%s", "listener:pool"])
def test_names_that_no_row_knows_are_left_out(manager: Manager, honest: Amphora, liar: Amphora, name: str) -> None:
    other = honest.snapshot.listeners[0].id
    with databases.counted(manager.db) as statements:
        manager.take(*liar.report(with_listeners(liar.snapshot, [name, other, other.upper()])), *honest.report())
    assert manager.operating_status(honest.snapshot) == "ONLINE"
    assert manager.rows_of(liar.snapshot)["listener_statistics"][0][:2] == (liar.snapshot.listeners[0].id, liar.id)
    assert len(manager.rows_of(liar.snapshot)["listener_statistics"]) == len(manager.rows_of(honest.snapshot)["listener_statistics"]) == 1
    assert len(statements) < 80


def test_a_listener_that_was_just_made_is_counted_at_once(manager: Manager, db: database.Database) -> None:
    whole = a_stored_load_balancer(db, listeners=2, word="grows")
    amphora = Amphora(whole)
    first, second = (item.id for item in whole.listeners)
    with mock.patch.object(health.Health, "extents", _without(second)):
        manager.take(*amphora.report(bytes_in=1))
    assert {row[0] for row in manager.rows_of(whole)["listener_statistics"]} == {first}
    manager.recorder._extents._known.clear()
    manager.take(*amphora.report(bytes_in=2))
    assert {row[0] for row in manager.rows_of(whole)["listener_statistics"]} == {first, second}


def _without(listener_id: str) -> Callable[..., Any]:
    real = health.Health.extents

    def extents(self: health.Health, ids: Any) -> dict[str, health.Extent]:
        return {
            key: health.Extent(listeners=extent.listeners - {listener_id}, views=extent.views) for key, extent in real(self, ids).items()
        }

    return extents


def poisoned(real: Callable[..., Any], bad: str, error: Exception | None = None) -> Callable[..., Any]:
    """A function that fails whenever `bad` is anywhere in its arguments."""

    def method(*arguments: Any) -> Any:
        if bad in repr(arguments[1:]):
            raise error or ValueError("what the database does not take")
        return real(*arguments)

    return method


@pytest.mark.parametrize("method", ["count", "heard", "set_operating_statuses"])
def test_what_the_database_refuses_of_one_is_dropped_and_all_others_are_written(
    manager: Manager, db: database.Database, liar: Amphora, method: str
) -> None:
    fleet = [Amphora(a_stored_load_balancer(db)) for _ in range(9)]
    manager.take(liar.sign(), *(amphora.sign() for amphora in fleet))
    bad = liar.snapshot.load_balancer.id if method == "set_operating_statuses" else liar.id
    with mock.patch.object(health.Health, method, poisoned(getattr(health.Health, method), bad)):
        for turn in range(1, 4):
            datagrams = [datagram for amphora in (*fleet[:5], liar, *fleet[5:]) for datagram in amphora.report(bytes_in=turn)]
            manager.take(*datagrams)
    assert {manager.operating_status(amphora.snapshot) for amphora in fleet} == {"ONLINE"}
    assert {manager.bytes_in(amphora.snapshot) for amphora in fleet} == {3}
    expected = {"count": "report_dropped", "heard": "beat_dropped", "set_operating_statuses": "not_judged"}
    assert manager.events() == [expected[method]]
    manager.take(*liar.report(bytes_in=9))
    assert manager.operating_status(liar.snapshot) == "ONLINE"


def test_a_load_balancer_that_can_not_be_judged_keeps_no_other_from_it(manager: Manager, honest: Amphora, liar: Amphora) -> None:
    judged = verdict.operating_statuses

    def judge(snapshot: model.Snapshot, *rest: Any) -> verdict.Statuses:
        if snapshot.load_balancer.id == liar.snapshot.load_balancer.id:
            raise KeyError("a mistake of ours")
        return judged(snapshot, *rest)

    with mock.patch.object(verdict, "operating_statuses", judge):
        manager.take(*liar.report(), *honest.report())
    assert manager.operating_status(honest.snapshot) == "ONLINE"
    assert manager.events() == ["not_judged"]


@pytest.mark.parametrize(
    "error",
    [
        sa.exc.OperationalError("UPDATE", {}, Exception("the server closed the connection")),
        sa.exc.ProgrammingError("UPDATE", {}, Exception("relation listener_statistics does not exist")),
    ],
    ids=["away", "broken"],
)
def test_a_database_that_takes_nothing_makes_nobody_a_liar(manager: Manager, honest: Amphora, liar: Amphora, error: Exception) -> None:
    with mock.patch.object(health.Health, "count", side_effect=error), contextlib.suppress(type(error)):
        manager.take(*liar.report(bytes_in=1), *honest.report(bytes_in=2))
        pytest.fail("it should have been kept for another try")
    assert manager.bytes_in(honest.snapshot) == 0
    manager.take()
    assert (manager.bytes_in(honest.snapshot), manager.bytes_in(liar.snapshot)) == (2, 1)
    assert manager.events() == []


@pytest.mark.lengthy
def test_a_report_that_names_more_than_its_load_balancer_has_is_refused_before_it_is_unpacked(
    manager: Manager, honest: Amphora, liar: Amphora
) -> None:
    names = [os.urandom(16).hex() for _ in range(200_000)]
    many = liar.report(with_listeners(liar.snapshot, names))
    few = [liar.sign(heartbeat.REPORT, a_body(b'{"generation":1,"hash":"","pools":{},"listeners":{' + b'"a":1,' * 5_000_000 + b'"b":1}}'))]
    manager.take(liar.sign())
    with memory_of_at_most(4 * MIB), databases.counted(manager.db) as statements:
        for datagram in (*many, *few):
            manager.take(datagram)
        manager.take(*honest.report(bytes_in=5))
    assert manager.bytes_in(honest.snapshot) == 5
    assert manager.events() == ["report_refused"]
    assert len(statements) < 40 + 4 * len(many)


@pytest.mark.parametrize(
    "made",
    [
        lambda: a_body(bytes(100 * MIB)),
        lambda: a_body(b" " * (100 * MIB) + b"{}"),
        lambda: a_body(b"[" * 30_000),
        lambda: a_body(b'{"a":' * 30_000),
        lambda: a_body(b'{"generation":' + b"9" * 30_000 + b',"hash":"","listeners":{},"pools":{}}'),
        lambda: a_body(b'{"generation":1,"hash":"","listeners":{},"pools":{}}') + bytes(200_000),
    ],
    ids=["zeros", "spaces", "depth of lists", "depth of objects", "digits", "more behind it"],
)
def test_a_bomb_costs_its_sender_the_report_and_nothing_else(
    manager: Manager, honest: Amphora, liar: Amphora, made: Callable[[], bytes]
) -> None:
    body = made()
    parts = [body[start : start + 50_000] for start in range(0, len(body), 50_000)]
    with memory_of_at_most(4 * MIB):
        for part, each in enumerate(parts):
            manager.take(liar.sign(heartbeat.REPORT, each, part, len(parts)))
        manager.take(*honest.report(bytes_in=5))
    assert manager.bytes_in(honest.snapshot) == 5
    assert manager.operating_status(liar.snapshot) == "OFFLINE"


@pytest.mark.parametrize("value", [-1, 2**63, 2**64, 10**400, 1.5, 1e300, True, None, "7", [1], {"a": 1}], ids=repr)
def test_whatever_a_counter_is_no_other_row_is_touched_and_the_statistics_can_be_read(
    manager: Manager, honest: Amphora, liar: Amphora, value: Any
) -> None:
    before = manager.rows_of(honest.snapshot)
    manager.take(*liar.report(bytes_in=value, active_connections=value), *liar.report(bytes_in=1))
    assert manager.rows_of(honest.snapshot) == before
    assert manager.bytes_in(liar.snapshot) >= 0


def test_sums_of_the_largest_counters_can_be_read(manager: Manager, db: database.Database) -> None:
    amphora = Amphora(a_stored_load_balancer(db, listeners=3))
    manager.take(*amphora.report(bytes_in=2**63, total_connections=2**64, active_connections=2**63))
    with db.read() as tx:
        assert tx.statistics.of_load_balancer(amphora.snapshot.load_balancer.id).bytes_in >= 2**63 - 1


def test_a_liar_who_is_refused_for_hours_is_one_event(manager: Manager, liar: Amphora) -> None:
    for _ in range(100):
        manager.take(*liar.report({"generation": "none"}))
    assert manager.events() == ["report_refused"]


def test_an_amphora_that_boots_all_the_time_wakes_nobody_all_the_time_and_grows_nothing(manager: Manager, liar: Amphora) -> None:
    manager.take(liar.sign(age=200.0))
    with memory_of_at_most(MIB):
        for number in range(3000):
            liar.reboot()
            manager.receive(liar.sign(age=150.0 - number / 30))
        assert len(manager.receiver._batch.fresh) == 1
        manager.receiver.take(0.0)
        liar.reboot()
        manager.receive(liar.sign())
        assert not manager.receiver._urgent


def test_reports_of_one_amphora_are_taken_at_a_pace(manager: Manager, honest: Amphora, liar: Amphora) -> None:
    manager.take(liar.sign())
    with databases.counted(manager.db) as statements:
        for _ in range(300):
            manager.take(*liar.report())
    assert len(statements) < 1500
    manager.take(*honest.report(bytes_in=5))
    assert manager.bytes_in(honest.snapshot) == 5


def test_a_load_balancer_that_went_while_its_amphora_was_to_be_repaired_keeps_no_other_from_it(
    manager: Manager, honest: Amphora, liar: Amphora
) -> None:
    clinic = repairs.Repairs(manager.db, manager.recorder, lambda: None, grace=0.0, boot_timeout=60.0, interval=1.0)
    for owner, amphora in (("a load balancer without a row", liar), (honest.snapshot.load_balancer.id, honest)):
        found = statuses.Mismatch(amphora_id=amphora.id, load_balancer_id=owner, sentence="it runs something else", since=0.0)
        manager.recorder.statuses._mismatches[amphora.id] = found
    clinic.turn()
    clinic.turn()
    assert manager.events() == ["repair"]
    manager.take()
    assert liar.id not in {item.amphora_id for item in manager.recorder.statuses.mismatches()}


def test_an_amphora_that_is_right_and_wrong_in_turns_is_not_repaired_each_time(manager: Manager, liar: Amphora) -> None:
    clinic = repairs.Repairs(manager.db, manager.recorder, lambda: None, grace=0.0, boot_timeout=60.0, interval=1.0)
    for _ in range(10):
        found = statuses.Mismatch(
            amphora_id=liar.id, load_balancer_id=liar.snapshot.load_balancer.id, sentence="it runs something else", since=0.0
        )
        manager.recorder.statuses._mismatches[liar.id] = found
        clinic.turn()
        clinic.turn()
        manager.recorder.statuses._mismatches.clear()
        clinic.turn()
    assert manager.events() == ["repair"]
