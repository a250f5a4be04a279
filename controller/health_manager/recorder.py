"""Verified heartbeats -> rows: times in batches, the first heartbeat of an amphora at once, statuses on change, counters.

The first heartbeat has the shortest way, because a create flow is suspended on it: one transaction writes it and wakes the load balancer's
jobs, then the workers are rung.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from amphora_agent.protocol import heartbeat as protocol
from controller.db import database
from controller.health_manager import receiver as receiving
from controller.health_manager import reports
from controller.health_manager.statuses import Statuses
from controller.model import heartbeat as model
from controller.model import load_balancer, status

LOG = logging.getLogger(__name__)

_LOOK_UP_AGAIN = 300.0  # seconds for which what a row said of an amphora is believed
_IGNORED_FOR = 30.0
_EVALUATED_AT_ONCE = 100
_FORGOTTEN_AFTER = 3600.0


@dataclasses.dataclass(slots=True, eq=False)
class _Known:
    """An amphora that has a row."""

    load_balancer_id: str | None
    looked_up_at: float
    heard_at: float
    digest: bytes = b""  # of the report that was judged last
    body: bytes = b""  # the newest report, compressed: a decoded one is ten times as large
    counted: set[str] = dataclasses.field(default_factory=set)  # listeners that have a row of counters


class Recorder:
    """One thread (`run`) writes; `lost` and `statuses` may be used by others. `ring` tells workers that there is something to do."""

    def __init__(self, db: database.Database, receiver: receiving.Receiver, ring: Callable[[], None], interval: float = 1.0) -> None:
        self._db = db
        self._receiver = receiver
        self._ring = ring
        self._interval = interval
        self._known: dict[str, _Known] = {}
        self._ignored: dict[str, float] = {}  # amphora id -> when to look it up again
        self._named: set[str] = set()  # amphorae without a living row that were spoken of
        self._backlog = receiving.Batch()
        self._to_judge: dict[str, None] = {}  # load balancer ids, in the order of their news
        self._judge_lock = threading.Lock()
        self._pruned_at = time.time()
        self.statuses = Statuses(db, self._report_of)
        self.zombies = 0

    def run(self, stop: threading.Event) -> None:
        """Write until told to stop, then write what is left."""
        while not stop.is_set():
            try:
                self.turn(0.0 if self._to_judge else self._interval)
            except Exception:
                LOG.exception("Heartbeats could not be written: they are kept for the next try")
                stop.wait(self._interval)
        try:
            self.turn(0.0)
        except Exception:
            LOG.exception("The last heartbeats could not be written")

    def turn(self, timeout: float) -> None:
        """Take what was received since the last turn, and write it. If the database does not take it, it is kept for the next turn."""
        batch = self._receiver.take(timeout)
        self._backlog.fresh.extend(batch.fresh)
        self._backlog.heard.update(batch.heard)
        self._backlog.reports.update(batch.reports)
        self._record_beats()
        self._record_reports()
        self._judge()
        if time.time() - self._pruned_at > _FORGOTTEN_AFTER / 6:
            self._prune()

    def lost(self, amphora_id: str, load_balancer_id: str) -> None:
        """An amphora was found dead: the statuses of its load balancer have to say so."""
        if self.statuses.set_silent(amphora_id, True):
            self.judge_again(load_balancer_id)

    def judge_again(self, load_balancer_id: str) -> None:
        """Look at the rows of a load balancer once more, soon."""
        self._news_of(load_balancer_id)
        self._receiver.wake()

    def _record_beats(self) -> None:
        backlog, now = self._backlog, time.time()
        fresh = {sender.amphora_id for sender in backlog.fresh}
        heard = {sender.amphora_id: sender.heard_at for sender in (*backlog.heard.values(), *backlog.fresh)}
        if not heard:
            return
        doubtful = [amphora_id for amphora_id in heard if self._is_doubtful(amphora_id, now, amphora_id in fresh)]
        woken: set[str] = set()
        with self._db.begin() as tx:
            found = tx.health.lookup(doubtful)
            newcomers = {key: heard[key] for key, row in found.items() if row.first_heartbeat_at is None and _lives(row.status)}
            if newcomers:
                tx.health.first(newcomers)
                woken = {owner for key in newcomers if (owner := found[key].load_balancer_id)}
                for load_balancer_id in woken:
                    tx.jobs.wake(load_balancer_id)
            living = {key for key, row in found.items() if _lives(row.status)}
            gone = set(doubtful) - living
            self._speak_of(tx.faults.add_event, gone, found)
            later = {
                key: at for key, at in heard.items() if key not in newcomers and key not in gone and (key in found or key in self._known)
            }
            complete = tx.health.heard(later)
        if woken:
            self._ring()
        for amphora_id in newcomers:
            LOG.info("Amphora %s was heard for the first time", amphora_id)
        for amphora_id in living:
            self._learn(amphora_id, found[amphora_id].load_balancer_id, now)
        for amphora_id in gone:
            self._known.pop(amphora_id, None)
            self._ignored[amphora_id] = now + _IGNORED_FOR
        for amphora_id in later:
            self._heard_again(amphora_id, now, complete)
        backlog.fresh, backlog.heard = [], {}

    def _is_doubtful(self, amphora_id: str, now: float, fresh: bool) -> bool:
        known = self._known.get(amphora_id)
        if known is not None:
            return fresh or known.load_balancer_id is None or now - known.looked_up_at > _LOOK_UP_AGAIN
        return fresh or self._ignored.get(amphora_id, 0.0) <= now

    def _learn(self, amphora_id: str, load_balancer_id: str | None, now: float) -> None:
        self._ignored.pop(amphora_id, None)
        known = self._known.get(amphora_id)
        if known is None:
            self._known[amphora_id] = _Known(load_balancer_id, now, now)
        else:
            if known.load_balancer_id != load_balancer_id:
                known.digest, known.counted = b"", set()
            known.load_balancer_id, known.looked_up_at = load_balancer_id, now

    def _heard_again(self, amphora_id: str, now: float, complete: bool) -> None:
        known = self._known.get(amphora_id)
        if known is None:
            return
        known.heard_at = now
        if not complete:
            known.looked_up_at = 0.0  # its row may have been begun anew
        if self.statuses.set_silent(amphora_id, False) and known.load_balancer_id:
            LOG.info("Amphora %s is heard again", amphora_id)
            self._news_of(known.load_balancer_id)

    def _speak_of(self, add_event: Callable[..., None], gone: Collection[str], found: Mapping[str, Any]) -> None:
        """Once for each amphora that beats though no row, or a DELETED one, explains it: orphan collection deals with its machine."""
        for amphora_id in gone:
            if amphora_id in self._named:
                continue
            self._named.add(amphora_id)
            self.zombies += 1
            row = found.get(amphora_id)
            if row is None:
                LOG.warning("Amphora %s beats with a valid key, and the database does not know it", amphora_id)
                continue
            LOG.warning("Amphora %s still beats though it is DELETED", amphora_id)
            event = load_balancer.Fault(
                code="zombie", message="still beats though it was deleted: its machine is left to the orphan collection"
            )
            add_event(row.load_balancer_id, "amphora", amphora_id, event)

    def _record_reports(self) -> None:
        counters: list[dict[str, Any]] = []
        begin: list[dict[str, Any]] = []
        started: list[tuple[_Known, set[str]]] = []
        taken: list[tuple[_Known, receiving.Received]] = []
        for amphora_id, received in self._backlog.reports.items():
            known = self._known.get(amphora_id)
            if known is None or (known.body == received.body and known.digest == received.digest):
                continue
            try:
                report = reports.decode(received.body)
            except protocol.Rejected as exc:
                LOG.warning("Amphora %s: %s", amphora_id, exc)
                continue
            taken.append((known, received))
            if known.load_balancer_id:
                new = report.listeners.keys() - known.counted
                for listener_id, item in report.listeners.items():
                    target = begin if listener_id in new else counters
                    target.append(_counters(amphora_id, known.load_balancer_id, listener_id, item))
                started.append((known, set(report.listeners)))
        if counters or begin:
            with self._db.begin() as tx:
                tx.health.count(counters, begin)
        for known, listeners in started:
            known.counted = listeners
        for known, received in taken:
            changed, known.digest, known.body = received.digest != known.digest, received.digest, received.body
            if changed and known.load_balancer_id:
                self._news_of(known.load_balancer_id)
        self._backlog.reports = {}

    def _judge(self) -> None:
        with self._judge_lock:
            due = list(self._to_judge)[:_EVALUATED_AT_ONCE]
            for load_balancer_id in due:  # before they are judged, so that news that come meanwhile are not lost
                del self._to_judge[load_balancer_id]
        if not due:
            return
        try:
            self.statuses.evaluate(due)
        except Exception:
            for load_balancer_id in due:
                self._news_of(load_balancer_id)
            raise

    def _news_of(self, load_balancer_id: str) -> None:
        with self._judge_lock:
            self._to_judge[load_balancer_id] = None

    def _report_of(self, amphora_id: str) -> model.Report | None:
        known = self._known.get(amphora_id)
        return reports.decode(known.body) if known is not None and known.body else None

    def _prune(self) -> None:
        self._pruned_at = time.time()
        before = self._pruned_at - _FORGOTTEN_AFTER
        self._receiver.prune(before)
        self._known = {key: known for key, known in self._known.items() if known.heard_at >= before}
        self._ignored = {key: until for key, until in self._ignored.items() if until >= before}


def _lives(amphora_status: status.AmphoraStatus) -> bool:
    return amphora_status is not status.AmphoraStatus.DELETED


def _counters(amphora_id: str, load_balancer_id: str, listener_id: str, item: model.ListenerReport) -> dict[str, Any]:
    return {
        "key_listener": listener_id,
        "key_amphora": amphora_id,
        "key_load_balancer": load_balancer_id,
        "bytes_in": item.bytes_in,
        "bytes_out": item.bytes_out,
        "active_connections": item.active_connections,
        "total_connections": item.total_connections,
        "request_errors": item.request_errors,
    }
