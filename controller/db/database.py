"""The engine, and the two kinds of transaction: `begin()` writes, `read()` only looks.

A transaction waits for its turn, for a connection, and for what others hold locked, never longer than `deadlines` allow. Each engine has a
time-out of its own, which belongs to the connection. It is set anew only when it is off by more than a second, so that a request which
waits for nobody asks the database nothing more.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import orjson
import sqlalchemy as sa

from controller import deadlines, jobs, outages
from controller.db import clock as clocks
from controller.db import rows
from controller.db.repositories.amphorae import Amphorae
from controller.db.repositories.certificates import Certificates
from controller.db.repositories.faults import Faults
from controller.db.repositories.flow_records import FlowRecords
from controller.db.repositories.health import Health
from controller.db.repositories.housekeeping import Housekeeping
from controller.db.repositories.jobs import Jobs
from controller.db.repositories.l7policies import L7Policies, L7Rules
from controller.db.repositories.leaders import Leaders
from controller.db.repositories.leases import Leases
from controller.db.repositories.load_balancers import Listeners, LoadBalancers
from controller.db.repositories.member_statistics import MemberStatistics
from controller.db.repositories.offerings import AvailabilityZoneProfiles, AvailabilityZones, FlavorProfiles, Flavors, Placements
from controller.db.repositories.pools import HealthMonitors, Members, Pools
from controller.db.repositories.quotas import Quotas
from controller.db.repositories.replacements import Replacements
from controller.db.repositories.served_before import ServedBefore
from controller.db.repositories.settlement import Settlement
from controller.db.repositories.snapshots import Snapshots
from controller.db.repositories.statistics import Statistics
from controller.db.repositories.tenant_certificates import TenantCertificates

LOG = logging.getLogger(__name__)
_KEY = "figlina_waits"
_PRECISION = 1.0
_CONNECT = 10
"""Seconds that a server may take to accept a connection."""
_LONGEST_JOURNAL = 64 * 1024 * 1024
"""Bytes of SQLite's write-ahead log after which a writer waits for those who read in it, so that it begins anew."""
_LOOKED_AT_EVERY = 256
"""Writes between two looks at how long it is."""
_PATIENCE_WITH_READERS = 1.0
"""Seconds that such a writer waits, and others wait for it. Pages of lists take milliseconds."""

R = TypeVar("R", bound=rows.Repository)


def _queries(kind: type[R]) -> functools.cached_property[R]:
    """The queries of one resource, made when a transaction asks for them first."""
    return functools.cached_property(lambda tx: kind(tx.connection))


class Transaction:
    """Valid inside the `with` block of `Database.begin()` or `Database.read()`: `tx.load_balancers`, `tx.jobs` and so on."""

    def __init__(self, connection: sa.Connection) -> None:
        self.connection = connection

    load_balancers = _queries(LoadBalancers)
    listeners = _queries(Listeners)
    pools = _queries(Pools)
    members = _queries(Members)
    health_monitors = _queries(HealthMonitors)
    l7policies = _queries(L7Policies)
    l7rules = _queries(L7Rules)
    quotas = _queries(Quotas)
    amphorae = _queries(Amphorae)
    certificates = _queries(Certificates)
    tenant_certificates = _queries(TenantCertificates)
    served_before = _queries(ServedBefore)
    flavors = _queries(Flavors)
    flavor_profiles = _queries(FlavorProfiles)
    availability_zones = _queries(AvailabilityZones)
    availability_zone_profiles = _queries(AvailabilityZoneProfiles)
    placements = _queries(Placements)
    snapshots = _queries(Snapshots)
    settlement = _queries(Settlement)  # the end of a flow
    leases = _queries(Leases)
    jobs = _queries(Jobs)
    flow_records = _queries(FlowRecords)
    faults = _queries(Faults)
    health = _queries(Health)
    replacements = _queries(Replacements)
    housekeeping = _queries(Housekeeping)
    statistics = _queries(Statistics)
    member_statistics = _queries(MemberStatistics)
    leaders = _queries(Leaders)


class Database:
    """One per process; threads share it, each transaction has its own connection.

    On SQLite a writing transaction takes the write lock at once (BEGIN IMMEDIATE), so that it never fails half-way for want of it; the
    journal is a write-ahead log, and `synchronous = NORMAL`: a commit survives the death of every process, though not a loss of power.
    SQLite begins that log anew when nobody reads in it: with readers that follow each other without a gap it would grow (`_Journal`).

    Elsewhere writers lock the load balancer's row first and must see from then on what others committed before (READ COMMITTED; MySQL's
    own default would show them the rows as they were before the lock), while readers see one moment (REPEATABLE READ).
    """

    def __init__(self, url: str, busy_timeout: float = 30.0) -> None:
        """`busy_timeout`: seconds at most that anything is waited for; a thread's deadline (`deadlines`) may say less."""
        self._url = sa.make_url(url)
        self.is_sqlite = self._url.get_backend_name() == "sqlite"
        backend = self._url.get_backend_name()
        if self.is_sqlite and self._url.database in (None, "", ":memory:"):
            raise ValueError("an in-memory SQLite database can't be shared by threads: name a file")
        self._turns = _Turns(busy_timeout) if self.is_sqlite else None
        self._journal = _Journal(f"{self._url.database}-wal")
        self._clock = clocks.DatabaseClock(backend)
        self.engine = sa.create_engine(
            self._url,
            execution_options={clocks.OPTION: self._clock},
            connect_args=_arguments(backend, busy_timeout, self._url.query),
            json_deserializer=orjson.loads,  # a page of a list reads hundreds
            poolclass=_Pool,
            pool_pre_ping=not self.is_sqlite,
            pool_timeout=busy_timeout,
            pool_size=20,
            max_overflow=40,
            **{} if self.is_sqlite else {"isolation_level": "READ COMMITTED"},
        )
        self.losses = 0
        """How often a connection was found lost: what comes back may be another server, or a copy that lacks the last transactions."""
        sa.event.listen(self.engine, "handle_error", self._note_loss)
        self._limiter = _limit(self.engine, busy_timeout)
        if self.is_sqlite:
            sa.event.listen(self.engine, "connect", _prepare_sqlite)
        elif backend == "postgresql":
            sa.event.listen(self.engine, "connect", _prepare_postgresql)

    @contextlib.contextmanager
    def begin(self, lease: jobs.Lease | None = None) -> Iterator[Transaction]:
        """Write: commits at the end of the block, rolls back if an error leaves it. With a lease, its row is held from the first moment on.

        :raises StaleLease: another worker has taken the load balancer over.
        """
        with self._turns.taken() if self._turns else contextlib.nullcontext(), self.engine.connect() as connection:
            with connection.begin():
                if self.is_sqlite:  # its clock is this machine's
                    self._limiter.before_writing(connection)
                    connection.exec_driver_sql("BEGIN IMMEDIATE")
                else:
                    self._clock.look(connection)
                tx = Transaction(connection)
                if lease is not None:
                    tx.leases.check(lease)
                yield tx
            if self.is_sqlite and self._journal.is_too_long():
                self._limiter.say(connection, _PATIENCE_WITH_READERS)
                self._journal.begin_anew(connection)

    @contextlib.contextmanager
    def read(self) -> Iterator[Transaction]:
        """Look: one consistent view of the rows, never waiting for a writer on SQLite."""
        with self.engine.connect() as connection:
            if self.is_sqlite:  # and closing it ends what it began
                connection.begin()
                connection.connection.driver_connection.execute("BEGIN")  # type: ignore[union-attr] # waits for nothing, unlike a writer's
                yield Transaction(connection)
                return
            with connection.execution_options(isolation_level="REPEATABLE READ").begin():
                self._clock.look(connection)
                yield Transaction(connection)

    def now(self) -> float:
        """The time (seconds since the epoch) by which leases, claims and next tries are compared, the same for all hosts."""
        return self._clock.now()

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()

    def _note_loss(self, context: sa.engine.ExceptionContext) -> None:
        self.losses += context.is_disconnect


def is_transient(error: BaseException | None) -> bool:
    """Whether the database was away, busy, saw a deadlock or has a schema that an operator is about to bring on: the same transaction may
    be tried again."""
    if outages.is_of_another_schema(error) or isinstance(error, (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError)):
        return True
    return isinstance(error, sa.exc.DBAPIError) and error.connection_invalidated


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves
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


class _Pool(sa.pool.QueuePool):
    """Connections that are waited for until the deadline."""

    _most = 30.0

    @property
    def _timeout(self) -> float:
        return deadlines.left(self._most)

    @_timeout.setter
    def _timeout(self, seconds: float) -> None:
        self._most = seconds


class _Turns:
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


class _Journal:
    """SQLite's write-ahead log (sqlite.org/wal.html, "Avoiding Excessively Large WAL Files"), as its writers see it, one at a time."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._writes = 0

    def is_too_long(self) -> bool:
        """Whether it is time to see to it."""
        self._writes += 1
        if self._writes < _LOOKED_AT_EVERY:
            return False
        self._writes = 0
        try:
            return os.stat(self._path).st_size > _LONGEST_JOURNAL
        except OSError:
            return False

    def begin_anew(self, connection: sa.Connection) -> None:
        """Wait for readers for a moment, and empty it; while somebody reads for longer, it goes on growing, and is looked at again."""
        try:
            connection.connection.driver_connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()  # type: ignore[union-attr]
        except Exception as exc:  # the transaction is over, and well: a full disk, say, is told to the next one
            LOG.warning("The write-ahead log of SQLite could not be begun anew: %s", exc)


def _arguments(backend: str, most: float, query: Any) -> dict[str, Any]:
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
        wanted = {"timeout": most, "check_same_thread": False}
    return {name: value for name, value in wanted.items() if name not in query}


def _limit(engine: sa.Engine, most: float) -> _Limiter:
    """Have every statement of an engine wait no longer than `most` seconds, and no longer than its thread's deadline.

    SQLite waits at the beginning of a transaction that writes only, and there the limiter has to be asked: an engine that anybody listens
    to takes a tenth longer for everything.
    """
    backend = engine.url.get_backend_name()
    limiter = _Limiter(most, {"sqlite": _sqlite, "postgresql": _postgresql}.get(backend, _mysql))
    if backend != "sqlite":
        sa.event.listen(engine, "before_cursor_execute", limiter.on_statement)
        sa.event.listen(engine, "rollback", limiter.on_rollback)
    return limiter


class _Limiter:
    def __init__(self, most: float, say: Callable[[float], str]) -> None:
        self._most = most
        self._say = say

    def before_writing(self, connection: sa.Connection) -> None:
        wanted = self._changed(connection)
        if wanted is not None:
            self.say(connection, wanted)

    def say(self, connection: sa.Connection, seconds: float) -> None:
        connection.info[_KEY] = seconds
        connection.connection.driver_connection.execute(self._say(seconds))  # type: ignore[union-attr]

    def on_statement(self, connection: sa.Connection, cursor: Any, *_: Any) -> None:
        wanted = self._changed(connection)
        if wanted is not None:
            cursor.execute(self._say(wanted))

    def on_rollback(self, connection: sa.Connection) -> None:
        """PostgreSQL takes a setting back with its transaction. Of a connection that was lost nothing is known, and to ask is an error that
        would take the place of that of the loss."""
        if not connection.invalidated:
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
