"""A health manager whose wall clock jumps, and rows that were written by other clocks: the living are left alone, the dead are found."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
import sqlalchemy as sa

from controller.db import database, tables
from controller.health_manager import watcher
from tests.functional import heartbeat_fleet
from tests.functional.test_health_manager import Bench, a_stored_load_balancer, eventually, keep_beating

pytestmark = pytest.mark.lengthy

JUMPS = pytest.mark.parametrize("jump", [-600.0, 600.0], ids=["set back", "set forward"])
SETTINGS = watcher.Settings(
    heartbeat_interval=0.1, heartbeat_timeout=0.9, health_check_interval=0.05, record_interval=0.2, question_timeout=0.5
)
_REAL = time.time


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    db = heartbeat_fleet.make_database(str(tmp_path / "figlina.db"))
    made = Bench(db)
    made.agents.be_silent(calls=1000)
    yield made
    made.stop()
    db.close()


class Shift:
    """The wall clock of this process, set by a test."""

    seconds = 0.0


@pytest.fixture
def shift() -> Iterator[Shift]:
    made = Shift()
    with mock.patch("time.time", side_effect=lambda: _REAL() + made.seconds):
        yield made


def set_rows(db: database.Database, at: float) -> None:
    with db.begin() as tx:
        tx.connection.execute(sa.update(tables.amphora_health).values(last_heartbeat_at=at))


@JUMPS
def test_a_dead_amphora_is_found_though_the_managers_clock_jumped(bench: Bench, shift: Shift, jump: float) -> None:
    snapshot = a_stored_load_balancer(bench)
    bench.start(SETTINGS)
    amphora = bench.amphora(snapshot)
    amphora.send_report()
    keep_beating(amphora, seconds=1.5)
    shift.seconds = jump
    eventually(bench.failovers, within=6.0)


@JUMPS
def test_a_living_amphora_is_left_alone_though_the_managers_clock_jumps(bench: Bench, shift: Shift, jump: float) -> None:
    snapshot = a_stored_load_balancer(bench)
    bench.start(SETTINGS)
    amphora = bench.amphora(snapshot)
    amphora.answers, amphora.clock = True, _REAL
    amphora.send_report()
    keep_beating(amphora, seconds=1.2)
    shift.seconds = jump
    keep_beating(amphora, seconds=2.0)
    shift.seconds = 0.0
    keep_beating(amphora, seconds=2.0)
    assert bench.failovers() == []
    assert "heartbeats_lost" not in bench.events()


@JUMPS
def test_the_clock_of_an_amphora_jumps_and_it_is_left_alone(bench: Bench, shift: Shift, jump: float) -> None:
    snapshot = a_stored_load_balancer(bench)
    bench.start(SETTINGS)
    amphora = bench.amphora(snapshot)
    amphora.answers = True
    amphora.send_report()
    keep_beating(amphora, seconds=1.2)
    amphora.clock = lambda: _REAL() + jump
    keep_beating(amphora, seconds=2.0)
    amphora.reboot()
    keep_beating(amphora, seconds=2.0)
    assert bench.failovers() == []


@pytest.mark.parametrize("ahead", [-600.0, -5.0, 5.0, 600.0])
def test_a_dead_amphora_whose_row_was_written_by_another_clock_is_found_by_a_manager_that_never_heard_it(
    bench: Bench, ahead: float
) -> None:
    a_stored_load_balancer(bench)
    with bench.db.begin() as tx:
        tx.health.presume_heard(time.time(), "", 10)
    set_rows(bench.db, time.time() + ahead)
    started = time.monotonic()
    bench.start(SETTINGS)
    eventually(bench.failovers, within=6.0)
    assert time.monotonic() - started > SETTINGS.heartbeat_timeout


@pytest.mark.parametrize("ahead", [-600.0, 600.0])
def test_one_that_another_manager_hears_by_another_clock_is_left_alone(bench: Bench, ahead: float) -> None:
    a_stored_load_balancer(bench)
    with bench.db.begin() as tx:
        tx.health.presume_heard(time.time(), "", 10)
    stop = threading.Event()

    def hear() -> None:
        while not stop.wait(0.15):
            set_rows(bench.db, time.time() + ahead)

    other = threading.Thread(target=hear)
    other.start()
    try:
        bench.start(SETTINGS)
        time.sleep(3.0)
        assert bench.failovers() == []
    finally:
        stop.set()
        other.join()
    eventually(bench.failovers, within=6.0)
