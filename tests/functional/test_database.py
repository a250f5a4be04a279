"""What transactions promise, on each engine."""

from __future__ import annotations

import contextlib
import pathlib
import threading

import pytest
import sqlalchemy as sa

from controller.db import database, tables
from tests.functional import small_flows


@pytest.fixture
def db(database_of_each_kind: database.Database) -> database.Database:
    return database_of_each_kind


def test_a_reader_sees_one_moment_however_much_is_written_meanwhile(db: database.Database) -> None:
    small_flows.add_load_balancer(db, "lb")
    with db.read() as reader:
        before = reader.settlement.generation("lb")
        small_flows.change(db, "lb")
        assert reader.settlement.generation("lb") == before
    with db.read() as reader:
        assert reader.settlement.generation("lb") == before + 1


def test_two_health_managers_that_write_the_same_rows_do_not_block_each_other(db: database.Database) -> None:
    ids = [f"amphora-{number:03}" for number in range(200)]
    with db.begin() as tx:
        tx.health.first(dict.fromkeys(ids, 1.0))
    raised: list[Exception] = []

    def manage(order: list[str]) -> None:
        try:
            for turn in range(15):
                with db.begin() as tx:
                    tx.health.heard(dict.fromkeys(order, 2.0 + turn))
        except Exception as exc:
            raised.append(exc)

    threads = [threading.Thread(target=manage, args=(order,)) for order in (ids, ids[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert raised == []
    with db.read() as tx:
        assert set(tx.connection.execute(sa.select(tables.amphora_health.c.last_heartbeat_at)).scalars()) == {16.0}


def test_the_time_of_a_beat_never_falls_unless_a_clock_was_set_back(db: database.Database) -> None:
    with db.begin() as tx:
        tx.health.first({"a": 10_000.0})
        for at, then in ((10_010.0, 10_010.0), (10_005.0, 10_010.0), (6_400.0, 6_400.0), (6_401.0, 6_401.0)):
            tx.health.heard({"a": at})
            assert tx.connection.execute(sa.select(tables.amphora_health.c.last_heartbeat_at)).scalar_one() == then


def test_the_log_of_a_file_has_a_bound_though_somebody_always_reads(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_LONGEST_JOURNAL", 1024 * 1024)
    monkeypatch.setattr(database, "_LOOKED_AT_EVERY", 8)
    db, over = small_flows.new_database(tmp_path, None), threading.Event()
    small_flows.add_load_balancer(db, "lb")

    def read() -> None:
        """Each begins before the one before it ends."""
        with contextlib.ExitStack() as before:
            while not over.wait(0.03):
                with contextlib.ExitStack() as reading:
                    reading.enter_context(db.read()).settlement.generation("lb")
                    before.close()
                    before.push(reading.pop_all())

    reader, longest = threading.Thread(target=read), 0
    reader.start()
    try:
        for turn in range(200):
            with db.begin() as tx:
                tx.connection.execute(sa.update(tables.load_balancers).values(description=chr(65 + turn % 26) * 100_000))
            longest = max(longest, sum(path.stat().st_size for path in tmp_path.glob("*-wal")))
    finally:
        over.set()
        reader.join()
        db.close()
    assert 1024 * 1024 < longest < 4 * 1024 * 1024
