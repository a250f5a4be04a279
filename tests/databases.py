"""Empty SQLite databases, lent to one test after another.

An engine that has served knows its statements and the types of its columns; to compile them anew took longer than most tests do.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import pathlib
import tempfile
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from controller.db import database, tables

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


@contextlib.contextmanager
def lent() -> Iterator[database.Database]:
    """All tables and no rows, until the block ends."""
    if not _RESTING:
        path = pathlib.Path(_folder().name) / f"{next(_NUMBERS)}.db"
        _RESTING.append((database.Database(f"sqlite:///{path}"), path))
    lending, path = _RESTING.pop()
    write_empty(path)
    try:
        yield lending
    finally:
        lending.close()
        for left in path.parent.glob(f"{path.name}*"):  # whoever has it open still has it for himself
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
