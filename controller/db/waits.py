"""How long a transaction waits: for its turn, for a connection, for what others hold locked. Never longer than `deadlines` allow.

Each engine has a time-out of its own, which belongs to the connection. It is set anew only when it is off by more than a second, so that a
request which waits for nobody asks the database nothing more.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import sqlalchemy as sa

from controller import deadlines

_KEY = "figlina_waits"
_PRECISION = 1.0
_CONNECT = 10
"""Seconds that a server may take to accept a connection."""


class Pool(sa.pool.QueuePool):
    """Connections that are waited for until the deadline."""

    _most = 30.0

    @property
    def _timeout(self) -> float:
        return deadlines.left(self._most)

    @_timeout.setter
    def _timeout(self, seconds: float) -> None:
        self._most = seconds


class Turns:
    """One writer of this process after the other, for SQLite: its writers wait for each other by sleeping longer and longer, unfairly."""

    def __init__(self, most: float) -> None:
        self._most = most
        self._lock = threading.RLock()

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """:raises sqlalchemy.exc.TimeoutError: the others took too long."""
        if not self._lock.acquire(timeout=deadlines.left(self._most)):
            raise sa.exc.TimeoutError("other writers of this process took too long")
        try:
            yield
        finally:
            self._lock.release()


def arguments(backend: str, most: float, query: Any) -> dict[str, Any]:
    """What the driver needs so that a server that vanished is noticed; what the URL says counts more."""
    if backend == "postgresql":
        wanted: dict[str, Any] = {
            "connect_timeout": _CONNECT,
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": int(most * 1000),
        }
    elif backend in ("mysql", "mariadb"):
        wanted = {"connect_timeout": _CONNECT, "read_timeout": int(most) + 5, "write_timeout": int(most) + 5}
    else:
        wanted = {}
    return {name: value for name, value in wanted.items() if name not in query}


def limit(engine: sa.Engine, most: float) -> None:
    """Have every statement of an engine wait no longer than `most` seconds, and no longer than its thread's deadline."""
    backend = engine.url.get_backend_name()
    if backend == "sqlite":
        sa.event.listen(engine, "begin", _Limiter(most, _sqlite).on_begin)
        return
    limiter = _Limiter(most, _postgresql if backend == "postgresql" else _mysql)
    sa.event.listen(engine, "before_cursor_execute", limiter.on_statement)
    sa.event.listen(engine, "rollback", limiter.on_rollback)


class _Limiter:
    def __init__(self, most: float, say: Callable[[float], str]) -> None:
        self._most = most
        self._say = say

    def on_begin(self, connection: sa.Connection) -> None:
        """SQLite waits at the beginning of a transaction only."""
        if connection.get_execution_options().get("figlina_write"):
            wanted = self._changed(connection)
            if wanted is not None:
                connection.connection.driver_connection.execute(self._say(wanted))  # type: ignore[union-attr]

    def on_statement(self, connection: sa.Connection, cursor: Any, *_: Any) -> None:
        wanted = self._changed(connection)
        if wanted is not None:
            cursor.execute(self._say(wanted))

    def on_rollback(self, connection: sa.Connection) -> None:
        """PostgreSQL takes a setting back with its transaction."""
        connection.info.pop(_KEY, None)

    def _changed(self, connection: sa.Connection) -> float | None:
        """The time-out that the connection should have and has not.

        :raises sqlalchemy.exc.TimeoutError: the deadline has passed.
        """
        wanted = deadlines.left(self._most)
        if not wanted:
            raise sa.exc.TimeoutError("the request's time is over")
        if abs(wanted - connection.info.get(_KEY, -10.0)) <= _PRECISION:
            return None
        connection.info[_KEY] = wanted
        return wanted


def _sqlite(seconds: float) -> str:
    return f"PRAGMA busy_timeout = {int(seconds * 1000)}"


def _postgresql(seconds: float) -> str:
    milliseconds = max(1, int(seconds * 1000))
    return f"SET lock_timeout = {milliseconds}; SET statement_timeout = {milliseconds + 1000}"


def _mysql(seconds: float) -> str:
    whole = max(1, round(seconds))  # it knows no parts of a second
    return f"SET SESSION innodb_lock_wait_timeout = {whole}, lock_wait_timeout = {whole}"
