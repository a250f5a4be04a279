"""What a heartbeat costs: `python -m benchmarks.heartbeats`. Real datagrams on the loopback, a real (SQLite) database, about 40 seconds.

Cases: small beats at 20,000 a second; amphorae of 10 listeners x 10 members, of whose datagrams one in six is a full report with new
counters, at 15,000 a second; the same with new counters in all other datagrams, too; as many beats as one receiver can take; and ten times
more than a receiver can take (it is slowed down for this, for no sender on the same machine is ten times as fast), while the agents do not
answer over TLS either, so that nothing but the manager's distrust of itself stands between a lost datagram and a false failover. The
amphorae have answered before, so that the manager knows their clocks; what they sign says when it will be sent, but for a constant.

The sender is a process of its own and signs everything before the clock starts. CPU seconds are those of the manager's process, its
database work included.
"""

from __future__ import annotations

import itertools
import json
import logging
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from amphora_agent.protocol import heartbeat
from benchmarks import harness
from controller.db import database, tables
from controller.drivers.amphora import fake
from controller.health_manager import manager, receiver, watcher
from controller.model import load_balancer as model
from controller.model.status import OperatingStatus
from tests import builders
from tests.functional import heartbeat_fleet

_BUFFER = 64 * 1024 * 1024
_REPORT_EACH = 6  # datagrams: a report a minute at a beat each ten seconds


def main() -> None:
    """All cases, one JSON line each; exit code 1 if a live amphora was failed over."""
    logging.disable(logging.ERROR)
    calibration = harness.calibrate()
    _steady("small", {"amphorae": 10_000, "listeners": 0, "rate": 20_000, "seconds": 6, "reports": False}, calibration, goal=20_000)
    _steady(
        "10 listeners x 10 members", {"amphorae": 1500, "listeners": 10, "rate": 15_000, "seconds": 6, "reports": True}, calibration, 15_000
    )
    busy = {"amphorae": 1500, "listeners": 10, "rate": 15_000, "seconds": 6, "reports": True, "counters": True}
    _steady("10 listeners x 10 members, new counters in each beat", busy, calibration, 15_000)
    _steady("as fast as it goes", {"amphorae": 10_000, "listeners": 0, "rate": 0, "seconds": 4, "reports": False}, calibration, goal=None)
    if _overload(calibration):
        sys.exit(1)


def _steady(name: str, case: Mapping[str, Any], calibration: float, goal: int | None) -> None:
    with (
        _running(case, watcher.Settings(heartbeat_timeout=600.0, record_interval=2.0)) as running,
        _Sender(case, running.receiver.port) as sender,
    ):
        running.start()
        sender.introduce()
        _settled(running, case["amphorae"])
        running.know_all_clocks(sender.base)
        received, skipped, dropped = running.receiver.received, running.receiver.skipped, running.receiver.dropped
        with harness.measured() as watch:
            started = time.monotonic()
            sent, seconds = sender.send()
            seconds = max(seconds, _drained(running, received + sent) - started)
        taken = running.receiver.received - received
        harness.emit(
            "heartbeats",
            case=name,
            sent=sent,
            taken=taken,
            superfluous=running.receiver.skipped - skipped,
            lost=running.receiver.dropped - dropped,
            refused=sum(running.receiver.rejected.values()),
            seconds=seconds,
            per_second=taken / seconds,
            cpu_seconds=watch.cpu_seconds,
            cpu_ms_each=watch.cpu_seconds / taken * 1000,
            calibration_seconds=calibration,
            goal_per_second=goal,
            goal_cpu_ms_each=0.05 if case["listeners"] == 0 else None,
        )


class _SlowReceiver(receiver.Receiver):
    """Takes at most so many datagrams a second, as on a machine that is too small."""

    capacity = 1000.0

    def turn(self) -> int:
        count = super().turn()
        time.sleep(min(count / self.capacity, 0.3))
        return count


def _overload(calibration: float) -> bool:
    """Whether a live amphora was failed over."""
    case = {"amphorae": 4000, "listeners": 0, "rate": 20_000, "seconds": 8, "reports": False}
    settings = watcher.Settings(
        heartbeat_interval=0.2,
        heartbeat_timeout=1.5,
        health_check_interval=0.1,
        record_interval=0.5,
        question_timeout=0.1,
        failovers_per_minute=1000,
    )
    original, receiver.Receiver = receiver.Receiver, _SlowReceiver  # type: ignore[misc]
    try:
        with _running(case, settings, buffer=256 * 1024) as running, _Sender(case, running.receiver.port) as sender:
            running.start()
            running.receiver.capacity = 1e9  # type: ignore[attr-defined]
            sender.introduce()
            running.know_all_clocks(sender.base)
            running.receiver.capacity = 1000.0  # type: ignore[attr-defined]
            before = running.receiver.received, running.receiver.dropped
            with harness.measured() as watch:
                sent, seconds = sender.send()
            taken, lost = running.receiver.received - before[0], running.receiver.dropped - before[1]
            false = _failovers(running.db)
            harness.emit(
                "heartbeats",
                case="ten times more than the receiver can take",
                sent=sent,
                taken=taken,
                lost=lost,
                seconds=seconds,
                failed_over=false,
                goal_failed_over=0,
                cpu_seconds=watch.cpu_seconds,
                calibration_seconds=calibration,
            )
    finally:
        receiver.Receiver = original  # type: ignore[misc]
    return false > 0


class _Running(manager.HealthManager):
    db: database.Database
    is_started = False

    def start(self) -> None:
        self.is_started = True
        super().start()

    def know_all_clocks(self, base: float) -> None:
        """As if every amphora had answered: what it signed for the time `base` is of now."""
        for sender in list(self.receiver._senders.values()):
            sender.offset = time.monotonic() - base


@contextmanager
def _running(case: Mapping[str, Any], settings: watcher.Settings, buffer: int = _BUFFER) -> Iterator[_Running]:
    with tempfile.TemporaryDirectory(prefix="figlina-bench-") as folder:
        db = heartbeat_fleet.make_database(f"{folder}/figlina.db")
        for some in _batches(_snapshots(case), 500):
            heartbeat_fleet.store(db, *some)
        agents = fake.FakeAmphora()
        agents.be_silent(calls=10**9)
        sock = receiver.open_socket("127.0.0.1", 0, buffer)
        running = _Running(db, sock, [heartbeat_fleet.KEY], agents, lambda: None, manager.Settings(watcher=settings))
        running.db = db
        try:
            yield running
        finally:
            if running.is_started:
                running.stop(10.0)
            db.close()


def _snapshots(case: Mapping[str, Any]) -> Iterator[model.Snapshot]:
    for number in range(case["amphorae"]):
        yield builders.a_serving_snapshot(
            listeners=case["listeners"], members=10, monitor="HTTP", word=f"heartbeats-{number}", operating_status=OperatingStatus.ONLINE
        )


def _batches(items: Iterator[model.Snapshot], size: int) -> Iterator[list[model.Snapshot]]:
    while some := list(itertools.islice(items, size)):
        yield some


def _failovers(db: database.Database) -> int:
    with db.read() as tx:
        return int(tx.connection.execute(sa.select(sa.func.count()).select_from(tables.jobs)).scalar_one())


def _settled(running: _Running, count: int) -> None:
    """Wait until so many were received, and all of that is written and judged."""
    _drained(running, count)
    deadline, same, last = time.monotonic() + 60, 0, -1.0
    while same < 3 and time.monotonic() < deadline:
        cpu = time.process_time()
        same = same + 1 if cpu - last < 0.02 else 0
        last = cpu
        time.sleep(0.5)


def _drained(running: _Running, count: int) -> float:
    """Wait until so many datagrams were received, or nothing has come for some seconds; when the last one came."""
    last, seen_at = -1, time.monotonic()
    while running.receiver.received < count and time.monotonic() - seen_at < 3.0:
        if running.receiver.received != last:
            last, seen_at = running.receiver.received, time.monotonic()
        time.sleep(0.02)
    return seen_at


class _Sender:
    """The other process."""

    def __init__(self, case: Mapping[str, Any], port: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.heartbeats", json.dumps({**case, "port": port})],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> _Sender:
        self.base = float(self._answer()["base"])  # everything is signed
        return self

    def introduce(self) -> None:
        """Let every amphora send a report, slowly."""
        self._tell()

    def send(self) -> tuple[int, float]:
        """Let them beat; how many datagrams that were, in how many seconds."""
        answer = self._tell()
        return answer["sent"], answer["seconds"]

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)

    def _tell(self) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        return dict(json.loads(self._process.stdout.readline()))


def _send(case: Mapping[str, Any]) -> None:
    """The sender's main: introduce the fleet, then send at the wanted rate; each on a line from standard input."""
    snapshots = list(_snapshots(case))
    first = heartbeat_fleet.SimulatedAmphora(snapshots[0].amphorae[0].id, ("127.0.0.1", case["port"]))
    fleet = []
    for number, snapshot in enumerate(snapshots):
        amphora = heartbeat_fleet.SimulatedAmphora.__new__(heartbeat_fleet.SimulatedAmphora)
        amphora.id, amphora.target, amphora.socket = snapshot.amphorae[0].id, first.target, first.socket
        amphora.answers, amphora.clock = first.answers, time.time
        amphora.key, amphora.report = heartbeat.derive_key(heartbeat_fleet.KEY, amphora.id), heartbeat_fleet.a_report(snapshot)
        amphora.reboot()
        fleet.append(amphora)
        snapshots[number] = snapshot if case["reports"] else snapshots[0]
    first.socket.setblocking(True)
    first.socket.connect(first.target)
    introductions = [amphora.datagram(heartbeat.REPORT, heartbeat.encode_report(amphora.report)[0]) for amphora in fleet]
    total = int((case["rate"] or 60_000) * case["seconds"])
    digests = {amphora.id: heartbeat_fleet.digest(amphora.report) for amphora in fleet}
    heartbeat_fleet.digest = lambda report: b""
    datagrams = []
    base, rate = time.time(), case["rate"] or 60_000
    for number in range(total):
        amphora = fleet[number % len(fleet)]
        turn = number // len(fleet) + number % len(fleet)  # so that reports are spread evenly
        if case["reports"] and turn % _REPORT_EACH == 0:
            amphora.report = heartbeat_fleet.a_report(snapshots[number % len(fleet)], bytes_in=number)
            datagrams.append(_made(amphora, heartbeat.REPORT, heartbeat.encode_report(amphora.report)[0], digests, base + number / rate))
        else:
            body = _beat(amphora, number) if case.get("counters") else heartbeat.NO_ANSWER
            datagrams.append(_made(amphora, heartbeat.BEAT, body, digests, base + number / rate))
    print(json.dumps({"base": base}), flush=True)
    sys.stdin.readline()
    _paced(first.socket.send, introductions, 8000)
    print(json.dumps({}), flush=True)
    sys.stdin.readline()
    seconds = _paced(first.socket.send, datagrams, case["rate"])
    print(json.dumps({"sent": total, "seconds": seconds}), flush=True)
    sys.stdin.readline()


def _beat(amphora: heartbeat_fleet.SimulatedAmphora, bytes_in: int) -> bytes:
    """A beat's body with news of every listener."""
    for listener in amphora.report["listeners"].values():
        listener["stats"]["bytes_in"] = bytes_in
    return heartbeat.NO_ANSWER + heartbeat.encode_counters(amphora.report)


def _made(amphora: heartbeat_fleet.SimulatedAmphora, kind: int, body: bytes, digests: Mapping[str, bytes], at: float) -> bytes:
    amphora.sequence += 1
    header = heartbeat.Header(kind, uuid.UUID(amphora.id).bytes, amphora.boot_id, amphora.sequence, at, digests[amphora.id])
    return heartbeat.pack(header, body, amphora.key)


def _paced(send: Any, datagrams: list[bytes], rate: int) -> float:
    """Send in steps of a hundredth of a second (or at once, at rate 0); how long it took."""
    started = time.monotonic()
    step = max(1, rate // 100) if rate else len(datagrams)
    for place in range(0, len(datagrams), step):
        for datagram in datagrams[place : place + step]:
            send(datagram)
        if rate:
            time.sleep(max(0.0, started + (place + step) / rate - time.monotonic()))
    return time.monotonic() - started


if __name__ == "__main__":
    if len(sys.argv) > 1:
        _send(json.loads(sys.argv[1]))
    else:
        main()
