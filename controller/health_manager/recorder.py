"""Verified heartbeats -> rows: times in batches, the first heartbeat of an amphora at once, statuses on change, counters.

The first heartbeat has the shortest way, because a create flow is suspended on it: one transaction writes it and wakes the load balancer's
jobs, then the workers are rung.
"""

import dataclasses
import logging
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from amphora_agent.protocol import heartbeat as protocol
from controller import clock as clocks
from controller import outages
from controller.db import database
from controller.health_manager import batches, extents, paces, reports, restarts
from controller.health_manager import receiver as receiving
from controller.health_manager.statuses import Statuses
from controller.model import heartbeat as model
from controller.model import load_balancer, status

LOG = logging.getLogger(__name__)

_LOOK_UP_AGAIN = 300.0  # seconds for which what a row said of an amphora is believed
_IGNORED_FOR = 30.0
_EVALUATED_AT_ONCE = 100
_FORGOTTEN_AFTER = 3600.0
_TOLD_EVERY = 10.0
"""Seconds between two tales of restarts in one amphora, even of the first ones: what happens at once is told in one sentence."""
_MOST_COUNTS = 20_000
"""So many counts of an amphora are remembered, so that what is said again is not written again."""
_NOBODY = "00000000-0000-0000-0000-000000000000"
"""What is written of it changes no row, and succeeds if the database can be written at all."""


@dataclasses.dataclass(slots=True, eq=False)
class _Known:
    """An amphora that has a row. Times by the monotonic clock."""

    load_balancer_id: str | None
    looked_up_at: float
    heard_at: float
    digest: bytes = b""  # of the report that was judged last
    body: bytes = b""  # the newest report, compressed: a decoded one is ten times as large
    counted: set[str] = dataclasses.field(default_factory=set)  # listeners that have a row of counters
    programs: Mapping[str, model.ProgramReport] = dataclasses.field(default_factory=dict)  # whose restarts were told
    told_at: float = float("-inf")
    order: tuple[str, ...] = ()  # of the listeners whose counters come in beats
    counters: bytes = b""  # those that a beat brought last, since the report
    counts: dict[bytes, bytes] = dataclasses.field(default_factory=dict)  # of pools and members, as they were written last


@dataclasses.dataclass(slots=True, eq=False)
class _Reported:
    """A report that is to be written."""

    amphora_id: str
    known: _Known
    received: receiving.Received
    report: model.Report


@dataclasses.dataclass(eq=False)
class Recorder:
    """One thread (`run`) writes; `lost` and `statuses` may be used by others. `ring` tells workers that there is something to do.

    What can't be written though the database is well is dropped, with an event, so that it stops nobody else.
    """

    db: database.Database
    receiver: receiving.Receiver
    ring: Callable[[], None]
    interval: float = 1.0
    clock: clocks.Clock = clocks.SYSTEM

    def __post_init__(self) -> None:
        self._known: dict[str, _Known] = {}
        self._extents = extents.Extents(self.db, self.clock)
        self._ignored: dict[str, float] = {}  # amphora id -> when to look it up again
        self._said = paces.Pace(few=1, clock=self.clock)  # by the id of an amphora or load balancer, and the code of an event
        self._told = paces.Pace(clock=self.clock)  # of restarts in an amphora
        self._backlog = receiving.Batch()
        self._untold: dict[str, Mapping[str, model.ProgramReport]] = {}  # by amphora id: how its programs fare, where that is news
        self._to_judge: dict[str, None] = {}  # load balancer ids, in the order of their news
        self._judge_lock = threading.Lock()
        self._pruned_at = self.clock.monotonic()
        self.statuses = Statuses(self.db, self._report_of, clock=self.clock, heard_at=self.receiver.heard_at)
        self.dropped = 0  # beats, reports and load balancers that could not be written, and were given up

    def run(self, stop: threading.Event) -> None:
        """Write until told to stop, then write what is left."""
        outage = outages.Outage(LOG, "The record of heartbeats")
        while not stop.is_set():
            # What could not be written is kept for the next try.
            if pause := outage.outlives(lambda: self.turn(0.0 if self._to_judge else self.interval)):
                stop.wait(max(self.interval, pause))
        try:
            self.turn(0.0)
        except Exception as exc:
            known = database.is_transient(exc)
            LOG.error("The last heartbeats could not be written: %s", outages.words(exc), exc_info=None if known else exc)

    def turn(self, timeout: float) -> None:
        """Take what was received since the last turn, and write it. If the database does not take it, it is kept for the next turn."""
        self._backlog.add(self.receiver.take(timeout))
        self._record_beats()
        self._make_room()
        self._record_reports()
        self._tell_restarts()
        for load_balancer_id in self.statuses.undecided():
            self._news_of(load_balancer_id)
        self._record_counters()
        self._judge()
        self._record_counts()
        if self.clock.monotonic() - self._pruned_at > _FORGOTTEN_AFTER / 6:
            self._prune()

    def lost(self, amphora_id: str, load_balancer_id: str) -> None:
        """An amphora was found dead: the statuses of its load balancer have to say so."""
        if self.statuses.set_silent(amphora_id):
            self.judge_again(load_balancer_id)

    def judge_again(self, load_balancer_id: str) -> None:
        """Look at the rows of a load balancer once more, soon."""
        self._news_of(load_balancer_id)
        self.receiver.wake()

    def _record_beats(self) -> None:
        backlog, monotonic, now = self._backlog, self.clock.monotonic(), self.db.now()
        ages = {key: max(0.0, monotonic - sender.heard_at) for key, sender in {**backlog.heard, **backlog.fresh}.items()}
        poison = batches.write(
            list(ages),
            lambda ids: self._write_beats({key: ages[key] for key in ids}, backlog.fresh.keys(), monotonic, now),
            lambda: self._probe(lambda tx: tx.health.heard({_NOBODY: now})),
        )
        for amphora_id, exc in poison:
            self._give_up(amphora_id, None, "beat_dropped", "its heartbeat could not be written and was dropped", exc)
        backlog.fresh, backlog.heard = {}, {}

    def _write_beats(self, ages: Mapping[str, float], fresh: Collection[str], monotonic: float, now: float) -> None:
        heard = {key: now - age for key, age in ages.items()}
        doubtful = [amphora_id for amphora_id in heard if self._is_doubtful(amphora_id, monotonic, amphora_id in fresh)]
        woken: set[str] = set()
        with self.db.begin() as tx:
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
            self.ring()
        for amphora_id in newcomers:
            LOG.info("Amphora %s was heard for the first time", amphora_id)
        for amphora_id in living:
            self._learn(amphora_id, found[amphora_id].load_balancer_id, monotonic)
        for amphora_id in gone:
            self._known.pop(amphora_id, None)
            self._ignored[amphora_id] = monotonic + _IGNORED_FOR
        for amphora_id in later:
            self._heard_again(amphora_id, monotonic, complete, monotonic - ages[amphora_id])

    def _is_doubtful(self, amphora_id: str, now: float, fresh: bool) -> bool:
        known = self._known.get(amphora_id)
        if known is not None:
            return fresh or known.load_balancer_id is None or now - known.looked_up_at > _LOOK_UP_AGAIN
        return fresh or self._ignored.get(amphora_id, now) <= now

    def _learn(self, amphora_id: str, load_balancer_id: str | None, now: float) -> None:
        self._ignored.pop(amphora_id, None)
        known = self._known.get(amphora_id)
        if known is None:
            self._known[amphora_id] = _Known(load_balancer_id, now, now)
        else:
            if known.load_balancer_id != load_balancer_id:
                known.digest, known.counted, known.counts = b"", set(), {}
            known.load_balancer_id, known.looked_up_at = load_balancer_id, now

    def _heard_again(self, amphora_id: str, now: float, complete: bool, heard_at: float) -> None:
        known = self._known.get(amphora_id)
        if known is None:
            return
        known.heard_at = now
        if not complete:
            known.looked_up_at = float("-inf")  # its row may have been begun anew
        if self.statuses.set_heard(amphora_id, heard_at) and known.load_balancer_id:
            LOG.info("Amphora %s is heard again", amphora_id)
            self._news_of(known.load_balancer_id)

    def _speak_of(self, add_event: Callable[..., None], gone: Collection[str], found: Mapping[str, Any]) -> None:
        """Of each amphora that beats though no row, or a DELETED one, explains it: orphan collection deals with its machine."""
        for amphora_id in gone:
            if not self._said.take((amphora_id, "zombie")):
                continue
            row = found.get(amphora_id)
            if row is None:
                LOG.warning("Amphora %s beats with a valid key, and the database does not know it", amphora_id)
                continue
            LOG.warning("Amphora %s still beats though it is DELETED", amphora_id)
            event = load_balancer.Fault(
                code="zombie", message="still beats though it was deleted: its machine is left to the orphan collection"
            )
            add_event(row.load_balancer_id, "amphora", amphora_id, event)

    def _make_room(self) -> None:
        """Look again at the load balancers whose reports were too large for what was known of them."""
        known = {key: self._known.get(key) for key in self._backlog.cramped}
        owners = {key: one.load_balancer_id for key, one in known.items() if one is not None and one.load_balancer_id}
        before = {owner: room.room for owner, room in self._extents.look_up(set(owners.values())).items()}
        found = self._extents.look_up(set(owners.values()), doubted=True)
        for amphora_id, owner in owners.items():
            self.receiver.allow(amphora_id, found[owner].room)
            if found[owner].room <= before[owner]:
                self._refuse(amphora_id, owner, "it is larger than all that its load balancer has")
        self._backlog.cramped = {}

    def _record_reports(self) -> None:
        for item, exc in batches.write(self._decoded(), self._write_reports, self._probe_counters):
            words = "a report could not be written and was dropped"
            self._give_up(item.amphora_id, item.known.load_balancer_id, "report_dropped", words, exc)
        self._backlog.reports = {}

    def _decoded(self) -> list[_Reported]:
        """What the reports of the backlog say, as far as it is news and of what their load balancers have."""
        news: list[tuple[str, _Known, receiving.Received]] = []
        for amphora_id, received in self._backlog.reports.items():
            known = self._known.get(amphora_id)
            if known is not None and (known.body != received.body or known.digest != received.digest):
                news.append((amphora_id, known, received))
        found = self._extents.look_up({known.load_balancer_id for _, known, _ in news if known.load_balancer_id})
        decoded = []
        for amphora_id, known, received in news:
            owner = known.load_balancer_id
            extent = found[owner] if owner else extents.NOTHING
            try:
                report = _decode(received, extent)
                if owner and (report is None or report.strays):
                    extent = self._extents.look_up([owner], doubted=True)[owner]
                    report = _decode(received, extent)
                self.receiver.allow(amphora_id, extent.room)
                if report is None:
                    raise protocol.Rejected("it is larger than all that its load balancer has")
            except protocol.Rejected as exc:
                self._refuse(amphora_id, owner, str(exc))
                continue
            decoded.append(_Reported(amphora_id, known, received, report))
        return decoded

    def _write_reports(self, items: Sequence[_Reported]) -> None:
        counters: list[dict[str, Any]] = []
        begin: list[dict[str, Any]] = []
        for item in items:
            if owner := item.known.load_balancer_id:
                for listener_id, listener in item.report.listeners.items():
                    target = counters if listener_id in item.known.counted else begin
                    target.append(_counters(item.amphora_id, owner, listener_id, listener))
        if counters or begin:
            with self.db.begin() as tx:
                tx.health.count(counters, begin)
        for item in items:
            known, received = item.known, item.received
            changed, known.digest, known.body = received.digest != known.digest, received.digest, received.body
            known.order, known.counters = item.report.named, b""
            if known.load_balancer_id:
                known.counted = set(item.report.listeners)
                if changed:
                    self._news_of(known.load_balancer_id)
                if item.report.programs != known.programs:
                    self._untold[item.amphora_id] = item.report.programs

    def _tell_restarts(self) -> None:
        """Say which programs were started again; what comes too fast is told together with what follows."""
        now = self.clock.monotonic()
        for amphora_id, programs in list(self._untold.items()):
            known = self._known.get(amphora_id)
            if known is not None and known.load_balancer_id and not (now - known.told_at >= _TOLD_EVERY and self._told.allows(amphora_id)):
                continue
            if known is not None and known.load_balancer_id:
                self._tell(amphora_id, known.load_balancer_id, known, programs)
            del self._untold[amphora_id]

    def _tell(self, amphora_id: str, load_balancer_id: str, known: _Known, programs: Mapping[str, model.ProgramReport]) -> None:
        try:
            with self.db.begin() as tx:
                if restarts.tell(tx, load_balancer_id, amphora_id, programs):
                    known.told_at = self.clock.monotonic()
                    self._told.note(amphora_id)
        except Exception as exc:
            if database.is_transient(exc):
                raise
            LOG.exception("Amphora %s: what became of its programs could not be told", amphora_id)
        known.programs = programs

    def _record_counters(self) -> None:
        """Write what beats say of listeners that the last report named; without that report nobody knows whose they are."""
        items: list[tuple[str, _Known, bytes, list[dict[str, Any]]]] = []
        for amphora_id, received in self._backlog.counters.items():
            known = self._known.get(amphora_id)
            if known is None or known.load_balancer_id is None or known.digest != received.digest:
                continue
            if len(received.body) != len(known.order) * protocol.COUNTERS_SIZE:
                self._refuse(amphora_id, known.load_balancer_id, "a beat has counters of other listeners than its last report")
            elif rows := _changed_counters(amphora_id, known, received.body):
                items.append((amphora_id, known, received.body, rows))
        for (amphora_id, known, *_), exc in batches.write(items, self._write_counters, self._probe_counters):
            words = "the counters of a beat could not be written and were dropped"
            self._give_up(amphora_id, known.load_balancer_id, "report_dropped", words, exc)
        self._backlog.counters = {}

    def _write_counters(self, items: Sequence[tuple[str, _Known, bytes, list[dict[str, Any]]]]) -> None:
        with self.db.begin() as tx:
            tx.health.count([row for *_, rows in items for row in rows], [])
        for _, known, body, _ in items:
            known.counters = body

    def _record_counts(self) -> None:
        """Write what was counted on pools and members, as far as it is news."""
        items: list[tuple[str, _Known, dict[bytes, bytes]]] = []
        for amphora_id, counts in self._backlog.counts.items():
            known = self._known.get(amphora_id)
            if known is not None and known.load_balancer_id is not None:
                news = {key: counters for key, counters in counts.items() if known.counts.get(key) != counters}
                if news:
                    items.append((amphora_id, known, news))
        for (amphora_id, known, _), exc in batches.write(items, self._write_counts, self._probe_counters):
            words = "what it counted on pools and members could not be written and was dropped"
            self._give_up(amphora_id, known.load_balancer_id, "report_dropped", words, exc)
        self._backlog.counts = {}

    def _write_counts(self, items: Sequence[tuple[str, _Known, dict[bytes, bytes]]]) -> None:
        with self.db.begin() as tx:
            tx.member_statistics.count({amphora_id: (known.load_balancer_id or "", news) for amphora_id, known, news in items})
        for _, known, news in items:
            known.counts = {**known.counts, **news} if len(known.counts) + len(news) < _MOST_COUNTS else news

    def _judge(self) -> None:
        with self._judge_lock:
            due = list(self._to_judge)[:_EVALUATED_AT_ONCE]
            for load_balancer_id in due:  # before they are judged, so that news that come meanwhile are not lost
                del self._to_judge[load_balancer_id]
        try:
            poison = batches.write(due, self.statuses.evaluate, lambda: self._probe(lambda tx: tx.health.generations([_NOBODY])))
        except Exception:
            for load_balancer_id in due:
                self._news_of(load_balancer_id)
            raise
        for load_balancer_id, exc in poison:
            words = "its operating statuses could not be judged by the newest reports, and stay as they are"
            self._give_up(load_balancer_id, load_balancer_id, "not_judged", words, exc, kind="load_balancer")

    def _probe_counters(self) -> None:
        self._probe(lambda tx: tx.health.count([_counters(_NOBODY, _NOBODY, _NOBODY, _NO_COUNTERS)], []))

    def _probe(self, write: Callable[[database.Transaction], object]) -> None:
        """Write something that changes nothing."""
        with self.db.begin() as tx:
            write(tx)

    def _refuse(self, amphora_id: str, load_balancer_id: str | None, reason: str) -> None:
        """A report that is not to be believed."""
        self.dropped += 1
        if self._said.take((amphora_id, "report_refused")):
            printable = "".join(letter if " " <= letter <= "~" else "?" for letter in reason[:200])  # a stranger may have chosen some
            self._say(amphora_id, load_balancer_id, "report_refused", f"a report of its own is refused: {printable}", "amphora")

    def _give_up(
        self, object_id: str, load_balancer_id: str | None, code: str, words: str, error: Exception, kind: str = "amphora"
    ) -> None:
        """Something that the database does not take, and takes of others."""
        self.dropped += 1
        if self._said.take((object_id, code)):
            LOG.error("%s %s: %s", kind, object_id, words, exc_info=error)
            self._say(object_id, load_balancer_id, code, f"{words} ({type(error).__name__})", kind)

    def _say(self, object_id: str, load_balancer_id: str | None, code: str, message: str, kind: str) -> None:
        LOG.warning("%s %s: %s", kind, object_id, message)
        try:
            with self.db.begin() as tx:
                tx.faults.add_event(load_balancer_id, kind, object_id, load_balancer.Fault(code=code, message=message))
        except Exception as exc:  # the log has what it says
            LOG.error("An event could not be written: %s", outages.words(exc), exc_info=None if database.is_transient(exc) else exc)

    def _news_of(self, load_balancer_id: str) -> None:
        with self._judge_lock:
            self._to_judge[load_balancer_id] = None

    def _report_of(self, amphora_id: str, listeners: Collection[str]) -> model.Report | None:
        known = self._known.get(amphora_id)
        return reports.decode(known.body, listeners) if known is not None and known.body else None

    def _prune(self) -> None:
        self._pruned_at = now = self.clock.monotonic()
        before = now - _FORGOTTEN_AFTER
        self.receiver.prune(before)
        self._known = {key: known for key, known in self._known.items() if known.heard_at >= before}
        with self.db.read() as tx:
            rows = tx.health.lookup(self.statuses.silent)
        self.statuses.forget({key for key in self.statuses.silent if key not in rows or not _lives(rows[key].status)})
        self._ignored = {key: until for key, until in self._ignored.items() if until >= before}
        self._said.prune()
        self._told.prune()
        self._extents.prune({known.load_balancer_id for known in self._known.values() if known.load_balancer_id})


def _lives(amphora_status: status.AmphoraStatus) -> bool:
    return amphora_status is not status.AmphoraStatus.DELETED


def _changed_counters(amphora_id: str, known: _Known, body: bytes) -> list[dict[str, Any]]:
    """Rows for the listeners whose counters are others than in the last beat."""
    size, owner = protocol.COUNTERS_SIZE, known.load_balancer_id or ""
    parts = ((listener_id, place * size) for place, listener_id in enumerate(known.order) if listener_id in known.counted)
    changed = ((listener_id, body[at : at + size]) for listener_id, at in parts if body[at : at + size] != known.counters[at : at + size])
    return [_counters(amphora_id, owner, listener_id, reports.counters(part)) for listener_id, part in changed]


def _counters(amphora_id: str, load_balancer_id: str, listener_id: str, item: model.ListenerReport) -> dict[str, Any]:
    return {
        "key_listener": listener_id,
        "key_amphora": amphora_id,
        "key_load_balancer": load_balancer_id,
        **{name: getattr(item, name) for name in protocol.COUNTERS},
    }


_NO_COUNTERS = model.ListenerReport(status="", **dict.fromkeys(protocol.COUNTERS, 0))


def _decode(received: receiving.Received, extent: extents.Known) -> model.Report | None:
    """The report as far as the rows know what it speaks of; None if it is too large for that.

    :raises protocol.Rejected: it is not one.
    """
    try:
        return reports.decode(received.body, extent.listeners, extent.room)
    except reports.TooLarge:
        return None
