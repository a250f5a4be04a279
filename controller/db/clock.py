"""What time it is for all processes that share a database: leases, claims and next tries are compared by this clock alone.

A database that is a server has a clock, and everybody goes by it, however wrong the clock of their own host is. It is asked now and then;
between, the monotonic clock counts on, so that nobody who sets the clock of a host changes anything. Processes that share an SQLite file
share a machine, and its clock.
"""

from __future__ import annotations

import threading

import sqlalchemy as sa

from controller import clock as clocks

_ASKED_EVERY = 30.0
_QUESTIONS = {
    "postgresql": "SELECT extract(epoch FROM clock_timestamp())",
    "mysql": "SELECT unix_timestamp(sysdate(6))",
    "mariadb": "SELECT unix_timestamp(sysdate(6))",
}
OPTION = "figlina_clock"


class DatabaseClock:
    """Threads share it. Seconds since the epoch."""

    def __init__(self, backend: str, clock: clocks.Clock = clocks.SYSTEM) -> None:
        self._question = _QUESTIONS.get(backend)
        self._clock = clock
        self._lock = threading.Lock()
        self._ahead: float | None = None  # of the monotonic clock
        self._asked_at = float("-inf")

    def now(self) -> float:
        """The database's time, as far as it is known."""
        ahead = self._ahead
        return self._clock.wall() if ahead is None else self._clock.monotonic() + ahead

    def look(self, connection: sa.Connection) -> None:
        """Ask the database, unless that was done just now; call it at the begin of a transaction."""
        if self._question is None:
            return
        before = self._clock.monotonic()
        with self._lock:
            if before - self._asked_at < _ASKED_EVERY:
                return
            self._asked_at = before
        told = float(connection.exec_driver_sql(self._question).scalar_one())
        # It answered between the question and its return.
        self._ahead = told - (before + self._clock.monotonic()) / 2


def now(connection: sa.Connection) -> float:
    """The time by the clock of a connection's database."""
    clock = connection.get_execution_options().get(OPTION)
    return clock.now() if clock is not None else clocks.SYSTEM.wall()
