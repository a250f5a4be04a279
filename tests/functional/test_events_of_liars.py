"""Whatever an amphora signs, in whatever rhythm: the events that it causes stay few, and nothing that happened is lost."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from controller.db import database, tables
from controller.drivers.amphora import fake
from controller.health_manager import paces, watcher
from tests.functional import heartbeat_fleet
from tests.functional.hostile_reports import Amphora, Manager, a_stored_load_balancer

BURST, EACH = 150, 20.0
"""So many lies, seconds apart: 50 minutes in which everything could be told. Then one an hour, which is as bad as more."""
HOURS = 24
MOST = paces.FEW + 1 + HOURS


def restarts(number: int) -> dict[str, Any]:
    return {"programs": {"haproxy": {"state": "runs", "died": number, "hung": 0}}}


def cuts(number: int) -> dict[str, Any]:
    return {"programs": {"former": {"state": "runs", "died": number, "hung": 0}}}


def all_programs(number: int) -> dict[str, Any]:
    names = ("agent", "haproxy", "keepalived", "former")
    return {"programs": {name: {"state": "runs", "died": number, "hung": number} for name in names}}


def falling_counts(number: int) -> dict[str, Any]:
    return restarts(10 if number % 2 else 0)


def nonsense(number: int) -> dict[str, Any]:
    return {"generation": f"none {number}"}


def changing_words(number: int) -> dict[str, Any]:
    return {"hash": f"{number:064x}"}


LIES: dict[Callable[[int], dict[str, Any]], int] = {
    restarts: MOST,
    cuts: MOST,
    all_programs: 8 * MOST,  # each of four programs died and hung
    falling_counts: MOST,
    nonsense: MOST,
    changing_words: 0,
}


def _numbers(manager: Manager) -> Iterator[int]:
    for number in range(1, BURST):
        manager.clock.passed += EACH
        yield number
    for hour in range(HOURS):
        manager.clock.passed += 3600.0
        yield BURST + hour


@pytest.mark.lengthy
@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
def test_a_liar_fills_no_table(db: database.Database, lie: Callable[[int], dict[str, Any]]) -> None:
    manager, liar = Manager(db), Amphora(a_stored_load_balancer(db))
    liar_report = heartbeat_fleet.a_report(liar.snapshot)
    last = 0
    for last in _numbers(manager):
        liar.ahead = manager.clock.passed
        manager.take(*liar.report(liar_report | lie(last)))
    events = manager.events()
    assert len(events) <= LIES[lie]
    if lie in (restarts, cuts):
        assert events[:5], "the first are told"
        assert _told(db) == last, "what was not told at once was told later, in one sum"


def _told(db: database.Database) -> int:
    with db.read() as tx:
        messages = tx.connection.execute(sa.select(tables.events.c.message)).scalars().all()
    return sum(int(found[1]) if (found := re.search(r"(\d+) (?:times|processes)", text)) else 1 for text in messages)


def test_heartbeats_that_come_and_go_are_told_a_few_times_and_then_seldom(db: database.Database) -> None:
    """It answers over TLS and beats once in a time-out: each time it was lost and is back, for ever."""
    manager, liar = Manager(db), Amphora(a_stored_load_balancer(db))
    settings = watcher.Settings(heartbeat_interval=10.0, heartbeat_timeout=60.0, record_interval=10.0)
    watch = watcher.Watcher(db, manager.receiver, manager.recorder, fake.FakeAmphora(), lambda: None, settings, clock=manager.clock)
    cases: list[watcher._Case] = []

    def lost(number: int) -> None:
        item = watcher._Silent(_row(liar), manager.clock.monotonic() - 70.0)
        case = watch._cases.setdefault(liar.id, watcher._Case())
        watch._spare(item, case)
        cases.append(case)

    for number in _numbers(manager):
        lost(number)
        liar.ahead = manager.clock.passed
        manager.receive(liar.sign())
        watch._say_who_is_back(watch._forget_cases_but(set()), manager.clock.monotonic())
    events = manager.events()
    assert len(events) <= 2 * MOST
    assert events.count("heartbeats_lost") == events.count("heartbeats_back"), "a story without its end"
    assert events[:2] == ["heartbeats_lost", "heartbeats_back"]


def _row(amphora: Amphora) -> Any:
    from controller.db.repositories import health

    (one,) = amphora.snapshot.amphorae
    return health.Silent(amphora_id=one.id, load_balancer_id=one.load_balancer_id, role=one.role, last_heartbeat_at=0.0)


def test_a_manager_that_stops_again_and_again_says_so_seldom_but_never_hides_that_it_stands(db: database.Database) -> None:
    manager = Manager(db)
    watch = watcher.Watcher(
        db, manager.receiver, manager.recorder, fake.FakeAmphora(), lambda: None, watcher.Settings(), clock=manager.clock
    )
    for _ in range(100):
        manager.clock.passed += 30.0
        watch._say("many are silent")
        watch._say(None)
    assert len(manager.events()) <= 2 * (paces.FEW + 1)
    assert manager.events().count("FAILOVER_STOPPED") == manager.events().count("FAILOVER_RESUMED")
