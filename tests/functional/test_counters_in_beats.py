"""Statistics travel in beats: how old they are does not follow from how often a whole report comes."""

from __future__ import annotations

from typing import Any

import pytest

from amphora_agent.protocol import heartbeat
from controller.db import database
from controller.model import load_balancer as model
from tests.functional import heartbeat_fleet, hostile_reports
from tests.functional.hostile_reports import Amphora, Manager


@pytest.fixture
def snapshot(db: database.Database) -> model.Snapshot:
    return hostile_reports.a_stored_load_balancer(db, listeners=3)


def counters(snapshot: model.Snapshot, **values: Any) -> bytes:
    return heartbeat.NO_ANSWER + heartbeat.encode_counters(heartbeat_fleet.a_report(snapshot, **values))


def sums(manager: Manager, snapshot: model.Snapshot) -> list[tuple[int, int]]:
    with manager.db.read() as tx:
        found = [tx.statistics.of_listener(listener.id) for listener in snapshot.listeners]
    return [(one.bytes_in, one.active_connections) for one in found]


def test_a_beat_with_counters_is_as_good_as_a_report(manager: Manager, snapshot: model.Snapshot) -> None:
    amphora = Amphora(snapshot)
    manager.take(*amphora.report())
    manager.take(amphora.sign(body=counters(snapshot, bytes_in=77, active_connections=5)))
    assert sums(manager, snapshot) == [(77, 5)] * 3
    manager.take(amphora.sign(body=counters(snapshot, bytes_in=99, active_connections=0)))
    assert sums(manager, snapshot) == [(99, 0)] * 3
    assert manager.recorder.dropped == 0


def test_a_report_that_comes_later_wins_also_within_one_turn(manager: Manager, snapshot: model.Snapshot) -> None:
    amphora = Amphora(snapshot)
    manager.take(*amphora.report())
    beat = amphora.sign(body=counters(snapshot, active_connections=5))
    report = amphora.report(heartbeat_fleet.a_report(snapshot, active_connections=1))
    manager.take(*report, beat)
    assert sums(manager, snapshot) == [(0, 1)] * 3
    manager.receive(amphora.sign(body=counters(snapshot, active_connections=6)))
    manager.receive(*amphora.report(heartbeat_fleet.a_report(snapshot, active_connections=2)))
    manager.take()
    assert sums(manager, snapshot) == [(0, 2)] * 3


def test_counters_of_a_state_that_is_not_known_are_left_and_asked_for(manager: Manager, snapshot: model.Snapshot) -> None:
    amphora = Amphora(snapshot)
    manager.take(amphora.sign(body=counters(snapshot, bytes_in=77)))
    assert sums(manager, snapshot) == [(0, 0)] * 3
    assert manager.wire.sent, "a report is asked for"


@pytest.mark.parametrize("size", [1, 39, 40, 119, 121, 160, 4000])
def test_counters_of_more_or_fewer_listeners_than_reported_are_refused(manager: Manager, snapshot: model.Snapshot, size: int) -> None:
    amphora = Amphora(snapshot)
    manager.take(*amphora.report())
    manager.take(amphora.sign(body=heartbeat.NO_ANSWER + b"\xff" * size))
    assert sums(manager, snapshot) == [(0, 0)] * 3
    assert manager.recorder.dropped == 1


def test_the_largest_counters_and_listeners_of_others_do_no_harm(manager: Manager, db: database.Database) -> None:
    mine, other = (hostile_reports.a_stored_load_balancer(db) for _ in range(2))
    liar, honest = Amphora(mine), Amphora(other)
    both = heartbeat_fleet.a_report(mine)
    both["listeners"] |= heartbeat_fleet.a_report(other)["listeners"]
    manager.take(*liar.report(both), *honest.report())
    manager.take(liar.sign(body=heartbeat.NO_ANSWER + b"\xff" * 80))
    assert sums(manager, mine) == [(2**63 - 1, 2**63 - 1)]
    assert sums(manager, other) == [(0, 0)]
