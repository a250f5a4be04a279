"""Each process while the database is away: it says so once, goes on trying, says once that it is back, and works."""

from __future__ import annotations

import contextlib
import logging
import pathlib
import sqlite3
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from controller import outages
from controller.db import database
from controller.health_manager import manager, receiver, watcher
from controller.housekeeping import periodic
from tests.functional import heartbeat_fleet, small_flows, test_conductor

pytestmark = pytest.mark.lengthy

PAST = "The database answers again"


class Faint:
    """Makes a database go away and come back."""

    def __init__(self, db: database.Database, monkeypatch: pytest.MonkeyPatch) -> None:
        self.away = False
        self.tries = 0
        for name in ("begin", "read"):
            monkeypatch.setattr(db, name, self._wrapped(getattr(db, name)))

    def _wrapped(self, real: Any) -> Any:
        @contextlib.contextmanager
        def transaction() -> Iterator[Any]:
            if self.away:
                self.tries += 1
                raise sa.exc.OperationalError("SELECT 1", {}, sqlite3.OperationalError(f"unable to open database file, try {self.tries}"))
            with real() as tx:
                yield tx

        return transaction


@pytest.fixture
def db(tmp_path: pathlib.Path) -> Iterator[database.Database]:
    made = small_flows.new_database(tmp_path, None)
    yield made
    made.close()


@pytest.fixture
def faint(db: database.Database, monkeypatch: pytest.MonkeyPatch) -> Faint:
    monkeypatch.setattr(outages._SERVICES, "_since", {})
    return Faint(db, monkeypatch)


@pytest.fixture
def worker(db: database.Database, tmp_path: pathlib.Path) -> Iterator[None]:
    with test_conductor.working(small_flows.Services(db, tmp_path)):
        yield


@pytest.fixture
def housekeeping(db: database.Database) -> Iterator[None]:
    def work(_may_go_on: Any) -> None:
        with db.read():
            pass

    made = periodic.Housekeeper(periodic.Leadership(db, "me", 0.3), [periodic.Duty("sweep", 0.1, work), periodic.Duty("purge", 0.1, work)])
    made.start()
    yield
    made.stop()


@pytest.fixture
def health_manager(db: database.Database) -> Iterator[None]:
    listening = receiver.open_socket("127.0.0.1", 0, 65536)
    options = manager.Settings(watcher=watcher.Settings(health_check_interval=0.1), repair_grace=0.2)
    agents: Any = None  # nobody is silent, so nobody is asked
    made = manager.HealthManager(db, listening, (heartbeat_fleet.KEY,), agents, lambda: None, options)
    made.start()
    yield
    made.stop()
    listening.close()


@pytest.mark.parametrize("process", ["worker", "housekeeping", "health_manager"])
def test_a_process_says_once_that_the_database_is_away_and_once_that_it_is_back(
    request: pytest.FixtureRequest, faint: Faint, caplog: pytest.LogCaptureFixture, process: str
) -> None:
    caplog.set_level(logging.INFO)
    request.getfixturevalue(process)
    time.sleep(0.5)
    caplog.clear()
    faint.away = True
    time.sleep(3.0)
    faint.away = False
    deadline = time.monotonic() + 15
    while not any(PAST in record.getMessage() for record in caplog.records):
        assert time.monotonic() < deadline, caplog.text
        time.sleep(0.05)
    loud = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record.getMessage()[:30] for record in loud] == ["The database does not answer: ", "The database answers again, af"]
    assert not any(record.exc_info for record in caplog.records)
    assert 2 <= faint.tries < 60
    assert threading.active_count() < 200


def test_a_worker_works_after_the_database_was_away(faint: Faint, db: database.Database, tmp_path: pathlib.Path, worker: None) -> None:
    faint.away = True
    time.sleep(1.5)
    faint.away = False
    key = "steps-1"
    small_flows.add_load_balancer(db, key)
    small_flows.change(db, key)
    services = small_flows.Services(db, tmp_path)
    test_conductor.eventually(lambda: test_conductor.is_settled(services, key))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_a_connection_that_the_server_has_ended_is_a_loss_and_nothing_else_is(
    kind: str, tmp_path: pathlib.Path, request: pytest.FixtureRequest
) -> None:
    name, which, end = {
        "postgresql": ("postgres", "SELECT pg_backend_pid()", "SELECT pg_terminate_backend({})"),
        "mariadb": ("test", "SELECT CONNECTION_ID()", "KILL {}"),
    }[kind]
    url = str(request.getfixturevalue(f"{kind}_server")) % name
    made, other = small_flows.new_database(tmp_path, url), sa.create_engine(url)
    try:
        with contextlib.suppress(sa.exc.DBAPIError), made.read() as tx:
            tx.connection.exec_driver_sql("SELECT nothing")
        assert made.losses == 0
        with made.read() as tx:
            ours = tx.connection.exec_driver_sql(which).scalar_one()
        with other.begin() as connection:
            connection.exec_driver_sql(end.format(ours))
        with made.read() as tx:
            assert tx.connection.exec_driver_sql(which).scalar_one() != ours
            assert made.losses == 1, "it was idle, and found out by the question before its use"
        for transaction in (made.read, made.begin):
            with contextlib.ExitStack() as stack:
                lost = stack.enter_context(pytest.raises(sa.exc.DBAPIError))
                tx = stack.enter_context(transaction())
                ours = tx.connection.exec_driver_sql(which).scalar_one()
                with other.begin() as connection:
                    connection.exec_driver_sql(end.format(ours))
                tx.connection.exec_driver_sql(which)
            assert database.is_transient(lost.value)
        assert made.losses == 3
        with made.begin() as tx:
            assert tx.connection.exec_driver_sql(which).scalar_one() != ours
    finally:
        other.dispose()
        made.close()
