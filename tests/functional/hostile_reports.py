"""A health manager without threads, and amphorae that send it what they like. Databases are real, the socket is a list."""

from __future__ import annotations

import collections
import functools
import os
import struct
import sys
import time
import types
import uuid
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from amphora_agent.protocol import heartbeat
from controller.db import database, tables
from controller.health_manager import receiver as receiving
from controller.health_manager import recorder as recording
from controller.model import load_balancer as model
from controller.model.status import OperatingStatus
from tests import builders, clocks
from tests.functional import heartbeat_fleet

ADDRESS = ("192.0.2.7", 5000)


class Wire:
    """Stands for the socket: what was put in is received, what was sent is kept."""

    def __init__(self) -> None:
        self.waiting: list[bytes] = []
        self.sent: list[bytes] = []

    def recvfrom(self, _: int) -> tuple[bytes, Any]:
        if not self.waiting:
            raise BlockingIOError
        return self.waiting.pop(0), ADDRESS

    def sendto(self, data: bytes, address: Any) -> None:
        self.sent.append(data)
        del self.sent[:-100]

    def getsockopt(self, *_: int) -> bytes:
        return struct.pack("9I", *[0] * 9)


class Manager:
    """Receiver and recorder, turned by hand."""

    def __init__(self, db: database.Database) -> None:
        self.db = db
        self.clock = clocks.SetClock()
        self.wire = Wire()
        self.receiver = receiving.Receiver(
            self.wire,  # type: ignore[arg-type]
            (heartbeat_fleet.KEY,),
            record_interval=0.0,
            clock=self.clock,
        )
        self.recorder = recording.Recorder(db, self.receiver, lambda: None, clock=self.clock)

    def receive(self, *datagrams: bytes) -> None:
        """Receive, and record nothing yet."""
        self.wire.waiting.extend(datagrams)
        while self.receiver.turn():
            pass

    def take(self, *datagrams: bytes) -> None:
        """Receive, record, judge."""
        self.receive(*datagrams)
        self.recorder.turn(0.0)
        self.recorder.turn(0.0)

    def events(self) -> list[str]:
        """Codes, in order."""
        with self.db.read() as tx:
            return list(tx.connection.execute(sa.select(tables.events.c.code).order_by(tables.events.c.occurred_at)).scalars())

    def operating_status(self, snapshot: model.Snapshot) -> str:
        """Of the load balancer."""
        column = tables.load_balancers.c
        with self.db.read() as tx:
            return str(tx.connection.execute(sa.select(column.operating_status).where(column.id == snapshot.load_balancer.id)).scalar_one())

    def bytes_in(self, snapshot: model.Snapshot) -> int:
        """Of the first listener."""
        with self.db.read() as tx:
            return tx.statistics.of_listener(snapshot.listeners[0].id).bytes_in

    def held(self) -> int:
        """Bytes of all that it remembers."""
        return _size_of([vars(self.receiver), vars(self.recorder)], {id(self.db), id(self.clock), id(self.wire)})

    def rows_of(self, *snapshots: model.Snapshot, without: Collection[str] = ()) -> dict[str, list[tuple[Any, ...]]]:
        """Everything that the database holds of some load balancers, but for the times of heartbeats and some columns."""
        owners = tuple(snapshot.load_balancer.id for snapshot in snapshots)
        amphorae = tuple(amphora.id for snapshot in snapshots for amphora in snapshot.amphorae)
        with self.db.read() as tx:
            questions = _questions(owners, amphorae, frozenset(without))
            return {name: sorted(map(tuple, tx.connection.execute(question)), key=repr) for name, question in questions.items()}


@functools.cache
def _questions(owners: Sequence[str], amphorae: Sequence[str], without: Collection[str]) -> Mapping[str, sa.Select[Any]]:
    """By table. To put a question together takes as long as to ask it."""
    found = {}
    for table in tables.metadata.sorted_tables:
        if table is tables.load_balancers:
            mine: sa.ColumnElement[bool] = table.c.id.in_(owners)
        elif table is tables.amphora_health:
            mine = table.c.amphora_id.in_(amphorae)
        elif "load_balancer_id" in table.c:
            mine = table.c.load_balancer_id.in_(owners)
        else:
            continue
        columns = [column for column in table.c if column.name not in ("last_heartbeat_at", *without)]
        found[table.name] = sa.select(*columns).where(mine)
    return found


class Amphora:
    """Signs whatever it is told to."""

    def __init__(self, snapshot: model.Snapshot, place: int = 0) -> None:
        self.snapshot = snapshot
        self.id = snapshot.amphorae[place].id
        self.key = heartbeat.derive_key(heartbeat_fleet.KEY, self.id)
        self.boot_id = os.urandom(8)
        self.sequence = 0
        self.digest = os.urandom(16)
        self.ahead = 0.0

    def sign(self, kind: int = heartbeat.BEAT, body: bytes = b"", part: int = 0, parts: int = 1, age: float = 0.0) -> bytes:
        """The next datagram."""
        self.sequence += 1
        at = time.time() + self.ahead - age
        header = heartbeat.Header(kind, uuid.UUID(self.id).bytes, self.boot_id, self.sequence, at, self.digest, part, parts)
        return heartbeat.pack(header, body, self.key)

    def report(self, report: Mapping[str, Any] | None = None, **fields: Any) -> list[bytes]:
        """A report in as many datagrams as it takes; by default, that all is well (`fields` are those of `heartbeat_fleet.a_report`)."""
        self.digest = os.urandom(16)
        bodies = heartbeat.encode_report(dict(report if report is not None else heartbeat_fleet.a_report(self.snapshot, **fields)))
        return [self.sign(heartbeat.REPORT, body, part, len(bodies)) for part, body in enumerate(bodies)]

    def reboot(self) -> None:
        """A new boot restarts the sequence."""
        self.boot_id, self.sequence = os.urandom(8), 0


def _size_of(item: Any, seen: set[int]) -> int:
    if id(item) in seen or isinstance(item, type | types.FunctionType | types.MethodType | types.ModuleType):
        return 0
    seen.add(id(item))
    inner: list[Any] = []
    if isinstance(item, Mapping):
        inner = [*item.keys(), *item.values()]
    elif isinstance(item, list | tuple | set | frozenset | collections.deque):
        inner = list(item)
    elif not isinstance(item, str | bytes | int | float):
        inner = [getattr(item, name) for cls in type(item).__mro__ for name in getattr(cls, "__slots__", ()) if hasattr(item, name)]
        inner.append(getattr(item, "__dict__", {}))
    return sys.getsizeof(item) + sum(_size_of(each, seen) for each in inner)


def a_stored_load_balancer(db: database.Database, **fields: Any) -> model.Snapshot:
    """An ACTIVE one with an amphora in service, OFFLINE as long as nothing was reported."""
    snapshot = builders.a_serving_snapshot(**{"monitor": "HTTP", "operating_status": OperatingStatus.OFFLINE} | fields)
    heartbeat_fleet.store(db, snapshot)
    return snapshot


def with_listeners(snapshot: model.Snapshot, names: Collection[str]) -> dict[str, Any]:
    """A report that all is well, which also names these listeners."""
    report = heartbeat_fleet.a_report(snapshot)
    item = next(iter(report["listeners"].values()))
    return report | {"listeners": report["listeners"] | dict.fromkeys(names, item)}
