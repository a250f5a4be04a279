"""One amphora in wrong hands among many honest ones, and a whole health manager that runs: the liar harms its own load balancer alone."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import threading
import time
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from amphora_agent.protocol import heartbeat
from controller.db import database, tables
from controller.health_manager import watcher
from controller.model import load_balancer as model
from tests.functional import heartbeat_fleet, small_flows
from tests.functional.heartbeat_fleet import SimulatedAmphora, a_report
from tests.functional.test_health_manager import Bench, a_stored_load_balancer, eventually

pytestmark = pytest.mark.lengthy

SETTINGS = watcher.Settings(
    heartbeat_interval=0.3, heartbeat_timeout=2.0, health_check_interval=0.1, record_interval=0.5, question_timeout=0.5
)
HONEST = 20
SECONDS = 6.0


@pytest.fixture
def bench(tmp_path: pathlib.Path, database_url: str | None) -> Iterator[Bench]:
    db = small_flows.new_database(tmp_path, database_url)
    made = Bench(db)
    made.agents.be_silent(calls=10**6)
    yield made
    made.stop()
    db.close()


class Liar(threading.Thread):
    """Sends all that it can think of, again and again, with its own key."""

    def __init__(self, amphora: SimulatedAmphora, mine: model.Snapshot, other: model.Snapshot) -> None:
        super().__init__(daemon=True)
        self.amphora, self.mine, self.other = amphora, mine, other
        self.ended = threading.Event()
        self.sent = 0

    def run(self) -> None:
        bodies = list(self._bodies())
        while not self.ended.is_set():
            for body in bodies:
                parts = [body[start : start + 50_000] for start in range(0, len(body), 50_000)][:64]
                for part, each in enumerate(parts):
                    self.amphora.report = {**a_report(self.mine), "generation": self.sent}  # another digest each time
                    self._send(heartbeat.REPORT, each, part, len(parts))
                if self.sent % 3 == 0:
                    self.amphora.reboot()
                    self._send(heartbeat.REPORT, os.urandom(50_000), 0, 2)
                self._send(heartbeat.BEAT, b"")
                self.ended.wait(0.002)

    def say_nul(self) -> None:
        """The last word: nothing newer of the same amphora takes its place."""
        report = a_report(self.mine)
        report["listeners"] |= {"\0": next(iter(report["listeners"].values()))}
        self.amphora.report = {**a_report(self.mine), "generation": self.sent}
        self._send(heartbeat.REPORT, zlib.compress(json.dumps(report).encode()))

    def _send(self, kind: int, body: bytes, part: int = 0, parts: int = 1) -> None:
        self.sent += 1
        self.amphora.send(self.amphora.datagram(kind, body, part, parts))

    def _bodies(self) -> Iterator[bytes]:
        mine, other = a_report(self.mine, bytes_in=10**18), a_report(self.other, bytes_in=10**18)
        item = next(iter(mine["listeners"].values()))
        reports: list[Any] = [
            other,
            {**mine, "listeners": mine["listeners"] | other["listeners"], "pools": mine["pools"] | other["pools"]},
            {**mine, "listeners": mine["listeners"] | {"\0": item}},
            {**mine, "listeners": {os.urandom(16).hex(): item for _ in range(20_000)}},
            {**mine, "generation": 10**30},
            {**mine, "generation": -1, "listeners": {}},
            a_report(self.mine, members={member.id: "DOWN" for member in self.mine.members}),
            {"generation": "x"},
            [],
        ]
        yield from (zlib.compress(json.dumps(report).encode()) for report in reports)
        yield zlib.compress(bytes(50 * 1024 * 1024), 9)
        yield zlib.compress(b"[" * 30_000)
        yield os.urandom(1000)


def _rows(db: database.Database, snapshots: list[model.Snapshot]) -> dict[str, Any]:
    owners = [snapshot.load_balancer.id for snapshot in snapshots]
    with db.read() as tx:
        return {
            table.name: sorted(
                tx.connection.execute(
                    sa.select(table.c.id, table.c.operating_status).where(
                        (table.c.id if table is tables.load_balancers else table.c.load_balancer_id).in_(owners)
                    )
                ).all()
            )
            for table in (tables.load_balancers, tables.listeners, tables.pools, tables.members, tables.health_monitors)
        }


def test_a_liar_among_honest_ones_harms_its_own_load_balancer_alone(bench: Bench) -> None:
    honest = [a_stored_load_balancer(bench) for _ in range(HONEST)]
    lying = a_stored_load_balancer(bench)
    # Long enough that a busy machine makes the manager doubt neither itself nor anybody else.
    running = bench.start(dataclasses.replace(SETTINGS, heartbeat_timeout=20.0), repair_grace=0.2)
    fleet = [bench.amphora(snapshot) for snapshot in honest]
    for amphora in fleet:
        amphora.send_report()
    eventually(lambda: all(bench.operating(tables.load_balancers, one.load_balancer.id) == "ONLINE" for one in honest))
    eventually(lambda: _counted(bench, honest[0]) == 0)
    before = _rows(bench.db, honest)
    liar = Liar(bench.amphora(lying), lying, honest[0])
    liar.start()
    try:
        end, turn = time.monotonic() + SECONDS, 0
        while time.monotonic() < end:
            turn += 1
            for amphora, snapshot in zip(fleet, honest, strict=True):
                amphora.report = a_report(snapshot, bytes_in=turn)
                amphora.send_report()
            time.sleep(0.3)
    finally:
        liar.ended.set()
        liar.join()
    eventually(lambda: all(_told(bench, *each) for each in zip(fleet, honest, strict=True)))
    time.sleep(0.5)
    liar.say_nul()
    for amphora, snapshot in zip(fleet, honest, strict=True):
        amphora.report = a_report(snapshot, bytes_in=turn + 1)
        amphora.send_report()
    eventually(lambda: {_counted(bench, snapshot) for snapshot in honest} == {turn + 1})
    assert liar.sent > 200
    assert _rows(bench.db, honest) == before
    ours = {snapshot.load_balancer.id for snapshot in honest}
    with bench.db.read() as tx:
        assert {row["load_balancer_id"] for row in bench.board()} <= {lying.load_balancer.id}
        told = tx.connection.execute(sa.select(tables.events.c.load_balancer_id, tables.events.c.code)).all()
    assert {owner for owner, _ in told} <= {lying.load_balancer.id}, told
    assert not ours & {owner for owner, _ in told}
    assert len(told) <= 4
    assert running.receiver._assemblies.size <= 256 * 1024
    assert running.receiver.fleet == HONEST + 1


def _told(bench: Bench, amphora: SimulatedAmphora, snapshot: model.Snapshot) -> bool:
    """Whether what an amphora reports is counted. It says so again, as agents do: while others flood, a datagram may be lost."""
    (listener,) = amphora.report["listeners"].values()
    if _counted(bench, snapshot) == listener["stats"]["bytes_in"]:
        return True
    amphora.send_report()
    return False


def _counted(bench: Bench, snapshot: model.Snapshot) -> int:
    with bench.db.read() as tx:
        return tx.statistics.of_listener(snapshot.listeners[0].id).bytes_in


def test_the_honest_ones_are_heard_while_a_liar_floods(bench: Bench) -> None:
    honest, lying = a_stored_load_balancer(bench), a_stored_load_balancer(bench)
    liar = bench.amphora(lying)
    # Signed before anybody waits for the honest one, which takes seconds on a busy machine.
    flood = [liar.datagram(heartbeat.REPORT, heartbeat.encode_report(heartbeat_fleet.a_report(lying))[0]) for _ in range(20_000)]
    settings = dataclasses.replace(SETTINGS, heartbeat_timeout=4.0)
    bench.start(settings)
    liar.target = ("127.0.0.1", bench.port)
    amphora = bench.amphora(honest)
    amphora.send_report()
    eventually(lambda: bench.operating(tables.load_balancers, honest.load_balancer.id) == "ONLINE")
    end = time.monotonic() + settings.heartbeat_timeout * 1.5
    place = 0
    while time.monotonic() < end:
        liar.send(*flood[place : place + 200])
        place = (place + 200) % len(flood)
        amphora.beat()
        time.sleep(0.02)
    assert [row for row in bench.failovers() if row["load_balancer_id"] == honest.load_balancer.id] == []
    amphora.report = a_report(honest, bytes_in=7)
    eventually(lambda: _told(bench, amphora, honest))
