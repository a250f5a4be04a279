"""Simulated amphorae for the tests and benchmarks of the health manager: real datagrams, real signatures, rows in a real database."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import hashlib
import json
import os
import pathlib
import socket
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import sqlalchemy as sa

from amphora_agent.protocol import heartbeat
from controller.db import database, tables
from controller.model import load_balancer as model
from tests import databases

KEY = b"an example key of the tests, and of nothing else"


def make_database(path: str) -> database.Database:
    """An SQLite database with all tables."""
    databases.write_empty(pathlib.Path(path))
    return database.Database(f"sqlite:///{path}")


def store(db: database.Database, *snapshots: model.Snapshot) -> None:
    """Write whole load balancers as they are, without asking anybody."""
    rows: dict[sa.Table, list[dict[str, Any]]] = {}
    for snapshot in snapshots:
        for table, items in (
            (tables.load_balancers, (snapshot.load_balancer,)),
            (tables.pools, snapshot.pools),
            (tables.listeners, snapshot.listeners),
            (tables.members, snapshot.members),
            (tables.health_monitors, snapshot.health_monitors),
            (tables.amphorae, snapshot.amphorae),
        ):
            rows.setdefault(table, []).extend(_row(table, item, snapshot.load_balancer.id) for item in items)
    with db.begin() as tx:
        for table, values in rows.items():
            if values:
                tx.connection.execute(sa.insert(table), values)


def _row(table: sa.Table, item: Any, load_balancer_id: str) -> dict[str, Any]:
    fields = {field.name: getattr(item, field.name) for field in dataclasses.fields(item)}
    if "vip" in fields:
        of_vip = ("address", "subnet_id", *(field.name for field in dataclasses.fields(item.vip)))
        fields |= {f"vip_{name}": getattr(item.vip, name) for name in of_vip} | {"additional_vips": item.vip.additional}
    if "load_balancer_id" in table.c:
        fields["load_balancer_id"] = load_balancer_id
    row = {name: value for name, value in fields.items() if name in table.c and value is not None}
    for name in ("vip_sg_ids", "allowed_cidrs"):
        if name in row:
            row[name] = list(row[name])
    optional = {column.name for column in table.c if column.nullable}
    row |= {name: None for name in optional if name not in row}
    row["created_at"] = fields.get("created_at") or datetime.datetime.now(datetime.UTC)
    return row


def a_report(
    snapshot: model.Snapshot, generation: int | None = None, members: Mapping[str, str] | None = None, **counters: int
) -> dict[str, Any]:
    """What a healthy amphora of this load balancer reports; `members` are words by id, `counters` those of each listener."""
    stats = {"bytes_in": 0, "bytes_out": 0, "active_connections": 0, "total_connections": 0, "request_errors": 0} | counters
    words = {item.id: "UP" if item.pool_id in snapshot.health_monitor_by_pool else "no check" for item in snapshot.members} | dict(
        members or {}
    )
    pools = {}
    for listener in snapshot.listeners:
        if listener.default_pool_id is not None:
            own = {item.id: words[item.id] for item in snapshot.members_by_pool.get(listener.default_pool_id, ())}
            down = bool(own) and all(word == "DOWN" for word in own.values())
            pools[f"{listener.default_pool_id}:{listener.id}"] = {"status": "DOWN" if down else "UP", "members": own}
    return {
        "generation": snapshot.generation if generation is None else generation,
        "hash": "0" * 64,
        "listeners": {listener.id: {"status": "OPEN", "stats": dict(stats)} for listener in snapshot.listeners},
        "pools": pools,
    }


def digest(report: Mapping[str, Any]) -> bytes:
    """Equal for reports that differ in counters only."""
    state = {**report, "listeners": {key: value["status"] for key, value in report["listeners"].items()}}
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).digest()[:16]


class SimulatedAmphora:
    """Sends what an agent would send; `target` is the manager's address. Without a report it is a fresh amphora.

    One that `answers` repeats the numbers of requests, as agents do since they know of it; `clock` is the amphora's.
    """

    def __init__(
        self,
        amphora_id: str,
        target: tuple[str, int],
        report: Mapping[str, Any] | None = None,
        key: bytes = KEY,
        answers: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.answers = answers
        self.clock = clock
        self.id = amphora_id
        self.target = target
        self.report = dict(report or {"generation": 0, "hash": "", "listeners": {}, "pools": {}})
        self.key = heartbeat.derive_key(key, amphora_id)
        self.sequence = 0
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.reboot()

    def reboot(self) -> None:
        """A new boot restarts the sequence."""
        self.boot_id, self.sequence = os.urandom(8), 0

    def beat(self) -> None:
        """Send a small beat, and before that one for each request that came."""
        if not self.answers:
            self.send(self.datagram(heartbeat.BEAT, b""))
            return
        for number in [*self._requests(), heartbeat.NO_ANSWER]:
            self.send(self.datagram(heartbeat.BEAT, number))

    def send_report(self) -> None:
        """Send the report, in as many parts as it takes."""
        bodies = heartbeat.encode_report(self.report)
        for part, body in enumerate(bodies):
            self.send(self.datagram(heartbeat.REPORT, body, part, len(bodies)))

    def datagram(self, kind: int, body: bytes, part: int = 0, parts: int = 1, sent_at: float | None = None) -> bytes:
        """The next datagram, not sent."""
        self.sequence += 1
        at = self.clock() if sent_at is None else sent_at
        header = heartbeat.Header(kind, uuid.UUID(self.id).bytes, self.boot_id, self.sequence, at, digest(self.report), part, parts)
        return heartbeat.pack(header, body, self.key)

    def send(self, *datagrams: bytes) -> None:
        """Send datagrams as they are."""
        for datagram in datagrams:
            self.socket.sendto(datagram, self.target)

    def was_asked_for_a_report(self) -> bool:
        """Whether the manager asked since the last call."""
        return bool(self._requests())

    def _requests(self) -> list[bytes]:
        """The numbers of the requests that came since the last call."""
        numbers = []
        with contextlib.suppress(BlockingIOError):
            while True:
                header, _ = heartbeat.unpack(self.socket.recv(2048), self.key)
                if header.kind == heartbeat.REPORT_WANTED:
                    numbers.append(header.digest)
        return numbers

    def close(self) -> None:
        """Give the socket back."""
        self.socket.close()


def fleet(ids: Iterable[str], target: tuple[str, int]) -> list[SimulatedAmphora]:
    """Fresh amphorae."""
    return [SimulatedAmphora(amphora_id, target) for amphora_id in ids]
