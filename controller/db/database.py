"""The engine, and the two kinds of transaction: `begin()` writes, `read()` only looks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import orjson
import sqlalchemy as sa

from controller.db import clock as clocks
from controller.db import transaction, waits


class Database:
    """One per process; threads share it, each transaction has its own connection.

    On SQLite a writing transaction takes the write lock at once (BEGIN IMMEDIATE), so that it never fails half-way for want of it; the
    journal is a write-ahead log, and `synchronous = NORMAL`: a commit survives the death of every process, though not a loss of power.

    Elsewhere writers lock the load balancer's row first and must see from then on what others committed before (READ COMMITTED; MySQL's
    own default would show them the rows as they were before the lock), while readers see one moment (REPEATABLE READ).
    """

    def __init__(self, url: str, busy_timeout: float = 30.0) -> None:
        """`busy_timeout`: seconds at most that anything is waited for; a thread's deadline (`deadlines`) may say less."""
        self._url = sa.make_url(url)
        self.is_sqlite = self._url.get_backend_name() == "sqlite"
        backend = self._url.get_backend_name()
        arguments: dict[str, Any] = {"pool_pre_ping": not self.is_sqlite, "poolclass": waits.Pool, "pool_timeout": busy_timeout}
        arguments["connect_args"] = waits.arguments(backend, busy_timeout, self._url.query)
        if self.is_sqlite:
            arguments["connect_args"] = {"timeout": busy_timeout, "check_same_thread": False}
            if self._url.database in (None, "", ":memory:"):
                raise ValueError("an in-memory SQLite database can't be shared by threads: name a file")
        arguments["json_deserializer"] = orjson.loads  # a page of a list reads hundreds
        arguments["pool_size"], arguments["max_overflow"] = 20, 40
        if not self.is_sqlite:
            arguments["isolation_level"] = "READ COMMITTED"
        self._reading: dict[str, Any] = {} if self.is_sqlite else {"isolation_level": "REPEATABLE READ"}
        self._turns = waits.Turns(busy_timeout) if self.is_sqlite else None
        self._clock = clocks.DatabaseClock(self._url.get_backend_name())
        self.engine = sa.create_engine(self._url, execution_options={clocks.OPTION: self._clock}, **arguments)
        waits.limit(self.engine, busy_timeout)
        if self.is_sqlite:
            sa.event.listen(self.engine, "connect", _prepare_sqlite)
            sa.event.listen(self.engine, "begin", _begin_sqlite)
        elif self._url.get_backend_name() == "postgresql":
            sa.event.listen(self.engine, "connect", _prepare_postgresql)

    @contextlib.contextmanager
    def begin(self) -> Iterator[transaction.Transaction]:
        """Write: commits at the end of the block, rolls back if an error leaves it."""
        with self._turns.taken() if self._turns else contextlib.nullcontext(), self.engine.connect() as connection:
            connection.execution_options(figlina_write=True)
            with connection.begin():
                self._clock.look(connection)
                yield transaction.Transaction(connection)

    @contextlib.contextmanager
    def read(self) -> Iterator[transaction.Transaction]:
        """Look: one consistent view of the rows, never waiting for a writer on SQLite."""
        with self.engine.connect() as connection:
            connection.execution_options(**self._reading)
            with connection.begin():
                self._clock.look(connection)
                yield transaction.Transaction(connection)

    def now(self) -> float:
        """The time (seconds since the epoch) by which leases, claims and next tries are compared, the same for all hosts."""
        return self._clock.now()

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()


def is_transient(error: BaseException | None) -> bool:
    """Whether the database was away, busy or saw a deadlock: the same transaction may be tried again."""
    if isinstance(error, (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError)):
        return True
    return isinstance(error, sa.exc.DBAPIError) and error.connection_invalidated


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves, see `_begin_sqlite`
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _prepare_postgresql(connection: Any, _record: Any) -> None:
    """Every statement of ours is short and goes by index. Its planner takes some for long ones, and reads whole tables, with helpers."""
    cursor = connection.cursor()
    for option, value in (("random_page_cost", "1.1"), ("max_parallel_workers_per_gather", "0"), ("jit", "off")):
        cursor.execute(f"SET {option} = {value}")
    cursor.close()
    connection.commit()


def _begin_sqlite(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("figlina_write") else "BEGIN")
