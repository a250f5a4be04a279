"""What a loop that outlives errors says of them: a sentence when they begin, one when they are over, and nothing at each turn between.

Loops of one process that need the same service speak of it once. A loop keeps an `Outage`, tells it of each error (`met`, which says how
long to wait before the next try) and of each turn that came to its end (`over`).
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable
from typing import Any

from controller import exceptions

FIRST_WAIT, LONGEST_WAIT = 0.5, 5.0
"""Seconds between tries: twice as long each time, up to this."""

DATABASE, SCHEMA = "The database", "The database's schema"
UPGRADE = "figlina-db-manage --config-file FILE upgrade"
_GONE = {
    DATABASE: "%s does not answer: %s. It is tried again, and its return will be told",
    SCHEMA: "%s can't be worked with: %s. It is tried again, and its return will be told",
}
_BACK = {DATABASE: "%s answers again, after %.1f s", SCHEMA: "%s is that of this program again, after %.1f s"}
_MOST_KINDS = 20
_NO_SUCH_PLACE = frozenset({"42P01", "42703"})  # PostgreSQL: undefined_table, undefined_column
_NO_SUCH_PLACE_OF_MARIADB = (1054, 1146)  # ER_BAD_FIELD_ERROR, ER_NO_SUCH_TABLE
_SQLITE_ERROR = 1  # of whatever is wrong with a statement; SQLite's words say what
_WORDS_OF_SQLITE = re.compile(r"no such (?:table|column): |table \S+ has no column named ").match


class _Services:
    """Since when services that several loops of this process need have been away."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}
        self._lock = threading.Lock()

    def gone(self, name: str, now: float) -> bool:
        """Note it; True if that is news."""
        with self._lock:
            if name in self._since:
                return False
            self._since[name] = now
            return True

    def back(self, name: str, now: float) -> float | None:
        """The seconds for which it was away; None if somebody has said that it is back."""
        with self._lock:
            since = self._since.pop(name, None)
            return None if since is None else now - since


_SERVICES = _Services()


class Outage:
    """Outlives, in one loop, whatever goes wrong outside, and tells its beginning and its end once. Not for several threads."""

    def __init__(
        self,
        log: logging.Logger,
        loop: str,
        *,
        longest_wait: float = LONGEST_WAIT,
        clock: Callable[[], float] = time.monotonic,
        services: _Services = _SERVICES,
    ) -> None:
        """`loop` names the loop at the beginning of a sentence."""
        self._log = log
        self._loop = loop
        self._longest_wait = longest_wait
        self._clock = clock
        self._services = services
        self._since: float | None = None
        self._tries = 0
        self._told: set[tuple[str, str]] = set()
        self._away: set[str] = set()

    def outlives(self, turn: Callable[[], object]) -> float:
        """Do a turn of the loop: seconds to wait before the next try, 0 if it came to its end."""
        try:
            turn()
        except Exception as exc:
            return self.met(exc)
        self.over()
        return 0.0

    def met(self, error: BaseException) -> float:
        """Seconds to wait before the next try."""
        now = self._clock()
        if self._since is None:
            self._since = now
        self._tries += 1
        if (name := _of_the_database(error)) is not None:
            self._away.add(name)
            if self._services.gone(name, now):
                self._log.error(_GONE[name], name, words(error))
        elif (kind := (type(error).__name__, _place(error))) not in self._told and len(self._told) < _MOST_KINDS:
            self._told.add(kind)
            expected = isinstance(error, (exceptions.Transient, OSError))
            told = "%s met an error, and goes on trying; it will be told when all is well again: %s"
            self._log.error(told, self._loop, words(error), exc_info=None if expected else error)
        return min(self._longest_wait, FIRST_WAIT * 2.0 ** min(self._tries - 1, 10))

    def over(self) -> None:
        """A turn did all that it should."""
        if self._since is None:
            return
        now = self._clock()
        for name in self._away:
            seconds = self._services.back(name, now)
            if seconds is not None:
                self._log.warning(_BACK[name], name, seconds)
        if self._told:
            self._log.warning("%s is well again, after %.1f s and %d failed tries", self._loop, now - self._since, self._tries)
        self._since, self._tries, self._told, self._away = None, 0, set(), set()


def is_of_another_schema(error: BaseException | None) -> bool:
    """Whether the database lacks a table or a column: its schema is older or newer than this program. By the codes of its drivers, which
    have their home in `db`, as SQLAlchemy has.
    """
    cause: Any = getattr(error, "orig", None)
    if cause is None or type(error).__module__ != "sqlalchemy.exc":
        return False
    if (code := getattr(cause, "sqlite_errorcode", None)) is not None:
        return code == _SQLITE_ERROR and bool(_WORDS_OF_SQLITE(str(cause)))
    return getattr(cause, "sqlstate", None) in _NO_SUCH_PLACE or next(iter(cause.args), None) in _NO_SUCH_PLACE_OF_MARIADB


def words(error: BaseException) -> str:
    """The error's own words, without the statement or the traceback that met it; what to do, where it is the schema."""
    own = str(getattr(error, "orig", None) or error).strip() or type(error).__name__
    said = " ".join(own.split())[:500].rstrip(".")
    if is_of_another_schema(error):
        return f"{said}: the schema is older or newer than this program. `{UPGRADE}` brings an older one on; a newer one needs its release"
    return said


def _of_the_database(error: BaseException) -> str | None:
    """Another schema; away, busy, or out of connections: by its name."""
    if is_of_another_schema(error):
        return SCHEMA
    kind = type(error)
    is_away = kind.__name__ in ("OperationalError", "InterfaceError", "TimeoutError") or getattr(error, "connection_invalidated", False)
    return DATABASE if kind.__module__ == "sqlalchemy.exc" and is_away else None


def _place(error: BaseException) -> str:
    """Where it was raised, so that two errors of one kind are told apart."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
