"""A schema that is older or newer than the program is told as what it is, with what to do, whatever kind of database it is of."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from controller import outages
from controller.db import database
from controller.housekeeping import periodic
from tests import databases
from tests.functional.api.conftest import an_api

RENAMED = {
    "a column": (
        "ALTER TABLE load_balancers RENAME COLUMN name TO later",
        "ALTER TABLE load_balancers RENAME COLUMN later TO name",
    ),
    "a table": ("ALTER TABLE leaders RENAME TO later", "ALTER TABLE later RENAME TO leaders"),
}
UPGRADE = "`figlina-db-manage --config-file FILE upgrade`"


@pytest.fixture
def db() -> Iterator[database.Database]:
    with databases.lent() as made:
        yield made


@contextlib.contextmanager
def _without(db: database.Database, what: str) -> Iterator[None]:
    there, back = RENAMED[what]
    with db.engine.begin() as connection:
        connection.exec_driver_sql(there)
    try:
        yield
    finally:
        with db.engine.begin() as connection:
            connection.exec_driver_sql(back)


def _asked(db: database.Database, statement: str) -> sa.exc.DBAPIError:
    with pytest.raises(sa.exc.DBAPIError) as met, db.engine.connect() as connection:
        connection.exec_driver_sql(statement)
    return met.value


@pytest.mark.parametrize("statement", ["SELECT later FROM load_balancers", "SELECT 1 FROM later", "INSERT INTO leaders (later) VALUES (1)"])
def test_a_place_that_is_not_there_is_one_of_another_schema_and_tried_again(db: database.Database, statement: str) -> None:
    error = _asked(db, statement)
    assert outages.is_of_another_schema(error)
    assert database.is_transient(error)
    assert "later" in outages.words(error)
    assert UPGRADE in outages.words(error)


def test_what_is_wrong_otherwise_is_no_other_schema(db: database.Database) -> None:
    for statement in ("SELECT SELECT", "INSERT INTO leaders (name) VALUES (NULL)"):
        error = _asked(db, statement)
        assert not outages.is_of_another_schema(error), error
        assert UPGRADE not in outages.words(error)
    assert not outages.is_of_another_schema(OSError("no such table: x"))
    assert not outages.is_of_another_schema(sa.exc.StatementError("", "SELECT 1", {}, ValueError([1054])))


@pytest.mark.parametrize("path", ["/loadbalancers", "//network/v2.0/lbaas/loadbalancers"])
def test_a_request_is_told_that_the_schema_does_not_fit(caplog: pytest.LogCaptureFixture, path: str) -> None:
    with an_api() as api:
        with _without(api.db, "a column"):
            answer = api.send("GET", path)
        assert answer.status_code == 503
        assert "schema is not that of this program" in answer.get_data(as_text=True)
        assert "busy or away" not in answer.get_data(as_text=True)
        assert "load_balancers" not in answer.get_data(as_text=True), "its words are for the log"
        assert answer.headers["Retry-After"].isdigit()
        assert any(UPGRADE in record.getMessage() for record in caplog.records)
        assert api.send("GET", path).status_code == 200


@pytest.mark.lengthy
def test_a_loop_says_once_that_the_schema_does_not_fit_and_once_that_it_does(
    db: database.Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(outages._SERVICES, "_since", {})
    made = periodic.Housekeeper(periodic.Leadership(db, "me", 0.3), [])
    with _without(db, "a table"):
        made.start()
        time.sleep(1.0)
    deadline = time.monotonic() + 15
    while not any("again, after" in record.getMessage() for record in caplog.records):
        assert time.monotonic() < deadline, caplog.text
        time.sleep(0.05)
    made.stop()
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert said[0].startswith("The database's schema can't be worked with: ")
    assert UPGRADE in said[0]
    assert said[1].startswith("The database's schema is that of this program again, after ")
    assert len(said) == 2
    assert not any(record.exc_info for record in caplog.records)
