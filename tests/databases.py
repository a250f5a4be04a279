"""Empty databases, lent to one test after another: SQLite, or what the environment variable FIGLINA_TEST_DATABASE names.

An engine that has served knows its statements and the types of its columns; to compile them anew took longer than most tests do.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import itertools
import os
import pathlib
import tempfile
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from controller.db import database, tables

KIND = os.environ.get("FIGLINA_TEST_DATABASE") or "sqlite"
"""`sqlite`, `postgresql` or `mariadb`; the servers are started for the run, and are of nobody else."""

_RESTING: list[tuple[database.Database, pathlib.Path]] = []
_NUMBERS = itertools.count(1)


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    """Where they lie; it goes when this process ends."""
    return tempfile.TemporaryDirectory(prefix="figlina-t-databases-")


@functools.cache
def _empty() -> bytes:
    path = pathlib.Path(_folder().name) / "empty.db"
    made = database.Database(f"sqlite:///{path}")
    tables.metadata.create_all(made.engine)
    with made.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    made.close()
    return path.read_bytes()


def write_empty(path: pathlib.Path) -> None:
    """Put a file there with all tables and no rows."""
    path.write_bytes(_empty())


@functools.cache
def _server() -> str:
    """The URL of a server for this process, with `%s` in the place of a database's name."""
    from tests.functional import mariadb, postgresql

    running = {"postgresql": postgresql, "mariadb": mariadb}[KIND].server()
    url: str = running.__enter__()
    atexit.register(running.__exit__, None, None, None)
    return url


def new_url(folder: pathlib.Path) -> str:
    """The URL of a database that is there, and in which there is nothing; on SQLite a file in this folder."""
    if KIND == "sqlite":
        return f"sqlite:///{folder}/figlina.db"
    name = f"t{os.getpid()}_{next(_NUMBERS)}"
    root = sa.create_engine(_server() % {"postgresql": "postgres", "mariadb": "test"}[KIND], isolation_level="AUTOCOMMIT")
    with root.connect() as connection:
        exactly = " CHARACTER SET utf8mb4 COLLATE utf8mb4_bin" if KIND == "mariadb" else ""
        connection.exec_driver_sql(f"CREATE DATABASE {name}{exactly}")
    root.dispose()
    return _server() % name


@contextlib.contextmanager
def _lent_of_server() -> Iterator[database.Database]:
    if not _OF_SERVER:
        made = database.Database(new_url(pathlib.Path()))
        tables.metadata.create_all(made.engine)
        _OF_SERVER.append(made)
    lending = _OF_SERVER.pop()
    try:
        yield lending
    finally:
        lending.close()
        _empty_tables(lending)
    _OF_SERVER.append(lending)


_OF_SERVER: list[database.Database] = []


def _empty_tables(db: database.Database) -> None:
    names = [table.name for table in tables.metadata.sorted_tables]
    with db.engine.begin() as connection:
        if KIND == "postgresql":
            connection.exec_driver_sql(f"TRUNCATE {', '.join(names)} RESTART IDENTITY CASCADE")
            return
        connection.exec_driver_sql("SET FOREIGN_KEY_CHECKS = 0")
        for name in names:
            connection.exec_driver_sql(f"DELETE FROM {name}")
        connection.exec_driver_sql("SET FOREIGN_KEY_CHECKS = 1")


@contextlib.contextmanager
def lent() -> Iterator[database.Database]:
    """All tables and no rows, until the block ends."""
    if KIND != "sqlite":
        with _lent_of_server() as db:
            yield db
        return
    if not _RESTING:
        path = pathlib.Path(_folder().name) / f"{next(_NUMBERS)}.db"
        _RESTING.append((database.Database(f"sqlite:///{path}"), path))
    lending, path = _RESTING.pop()
    write_empty(path)
    try:
        yield lending
    finally:
        lending.close()
        for left in path.parent.glob(f"{path.name}*"):  # whoever has it open still has it for themselves
            left.unlink()
    _RESTING.append((lending, path))


@contextlib.contextmanager
def counted(db: database.Database) -> Iterator[list[str]]:
    """The SQL statements that the block executes."""
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        seen.append(statement)

    sa.event.listen(db.engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        sa.event.remove(db.engine, "before_cursor_execute", note)
