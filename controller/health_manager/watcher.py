"""Silent amphorae: asked over TLS, and replaced if they are silent there too. Judges nobody while it has reason to distrust itself.

Failovers are jobs like others: a worker retries one that fails, several managers post the same one once, and as long as an amphora is
silent and no job of its failover is on the board, another one is posted.
"""

import collections
import contextlib
import dataclasses
import logging
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence

from controller import clock as clocks
from controller import exceptions, jobs, outages
from controller.db import database
from controller.db.repositories import health
from controller.drivers.amphora import interface as driver
from controller.health_manager import paces, verdict
from controller.health_manager import receiver as receiving
from controller.health_manager import recorder as recording
from controller.model import load_balancer as model
from controller.model import status

LOG = logging.getLogger(__name__)

_PAGE = 1000
_FLEET_COUNTED_EVERY = 60.0
_BETWEEN_QUESTIONS = 0.1
"""Seconds, on average, between two questions to amphorae whose beats are lost on the way: each is asked as often as it would be judged by
its beats, unless there are so many that this would take all our time."""
_POSTED_AGAIN_AFTER = 10.0
_STOPPED = "FAILOVER_STOPPED"
_BOARD = 50
_COVERING = frozenset({jobs.FailoverLoadBalancer.kind, jobs.DeleteLoadBalancer.kind})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Options of [health_manager]; times in seconds. `record_interval` is how old a row's time may be though the amphora beats."""

    heartbeat_interval: float = 10.0
    heartbeat_timeout: float = 60.0
    health_check_interval: float = 3.0
    record_interval: float = 10.0
    failover_threshold: int | None = None
    failover_threads: int = 10
    failovers_per_minute: int = 60
    question_timeout: float = 5.0


@dataclasses.dataclass(frozen=True, slots=True)
class _Silent:
    """A silent amphora, and when it was last heard, by the monotonic clock."""

    row: health.Silent
    heard_at: float


@dataclasses.dataclass(slots=True, eq=False)
class _Case:
    """A silent amphora. `alive`: it answered over TLS; `failover_posted`: it is to be replaced; `next_look` by the monotonic clock."""

    next_look: float = float("-inf")
    asking: bool = False
    alive: bool = False
    told: bool = False  # that only its heartbeats are lost
    failover_posted: bool = False


@dataclasses.dataclass(eq=False)
class Watcher:
    """One thread (`run`), and one more for each question that is under way, at most `failover_threads`."""

    db: database.Database
    receiver: receiving.Receiver
    recorder: recording.Recorder
    amphora: driver.AmphoraDriver
    ring: Callable[[], None]
    settings: Settings
    manager_id: str | None = None
    clock: clocks.Clock = clocks.SYSTEM

    def __post_init__(self) -> None:
        self._id = self.manager_id or str(uuid.uuid4())
        self._started_at = self._last_turn = self.clock.monotonic()
        self._seen: dict[str, tuple[float, float]] = {}  # by amphora id: the time in its row, and since when that has been the same
        self._gaps: collections.deque[tuple[float, float]] = collections.deque(maxlen=1000)
        self._cases: dict[str, _Case] = {}
        self._lock = threading.Lock()
        self._questions = 0
        self._posted: collections.deque[float] = collections.deque(maxlen=self.settings.failovers_per_minute)
        self._stopped_because: str | None = None
        self._told_of_stop = False
        self._pace = paces.Pace(clock=self.clock)  # of what amphorae cause that fall silent and come back, by id, and of our own stops
        self._fleet, self._fleet_counted_at = 0, float("-inf")

    def run(self, stop: threading.Event) -> None:
        """Look for silent amphorae every `health_check_interval` seconds, until told to stop; whatever fails in a turn is logged."""
        self._started_at = self._last_turn = self.clock.monotonic()
        outage = outages.Outage(LOG, "The watch over silent amphorae")
        while not stop.wait(self.settings.health_check_interval):  # always: a pause would look like a manager that lags
            outage.outlives(self.turn)

    def turn(self) -> None:
        """Look once at the amphorae that nobody heard."""
        monotonic = self.clock.monotonic()
        self._gaps.append((monotonic, monotonic - self._last_turn - self.settings.health_check_interval))
        self._last_turn = monotonic
        silent = self._silent(monotonic)
        self._say_who_is_back(self._forget_cases_but({item.row.amphora_id for item in silent}), monotonic)
        unheard = [item for item in silent if not self._is_explained(item.row.amphora_id)]
        if not self._trusts_itself(unheard, monotonic):
            return
        for item in silent:
            self._look_into(item, monotonic)

    def condition(self, silent: Sequence[_Silent], monotonic: float) -> verdict.Condition:
        """What this manager knows of itself."""
        load = self.receiver.load()
        window = monotonic - self.settings.heartbeat_timeout
        own_lag = max((gap for at, gap in self._gaps if at >= window), default=0.0)
        return verdict.Condition(
            uptime=monotonic - self._started_at,
            lag=max(load.lag, own_lag),
            received=load.received,
            dropped=load.dropped,
            fleet=max(self._fleet, len(silent)),
            silent=len(silent),
            longest_silence=max((monotonic - item.heard_at for item in silent), default=0.0),
        )

    def _silent(self, monotonic: float) -> list[_Silent]:
        """Silent for us and, as far as rows tell, for all other managers."""
        now, timeout = self.db.now(), self.settings.heartbeat_timeout
        with self.db.read() as tx:
            found = tx.health.longest_unheard(now + timeout / 2, _PAGE)
            if monotonic - self._fleet_counted_at > (_FLEET_COUNTED_EVERY if self._fleet > _PAGE else 0.0):
                self._fleet, self._fleet_counted_at = tx.health.fleet(), monotonic
        seen = {item.amphora_id: (item.last_heartbeat_at, monotonic) for item in found}
        for amphora_id, (at, _) in seen.items():
            if (before := self._seen.get(amphora_id)) is not None and before[0] == at:
                seen[amphora_id] = before
        self._seen = seen
        heard = [_Silent(item, monotonic - self._silence(item, monotonic, now)) for item in found]
        return [item for item in heard if verdict.failover_verdict(item.heard_at, monotonic, timeout).decision]

    def _silence(self, item: health.Silent, monotonic: float, now: float) -> float:
        """For how long nobody has heard an amphora, as far as is certain.

        A manager that heard it itself knows by its own clock, unless its row changes, because another one hears it. One that did not has
        only the row, whose time is of another clock, or of ours before that was set. So it must have stood unchanged under our eyes for a
        good while before it is taken at its word, and a time that lies ahead counts as the moment at which it was first seen.
        """
        unchanged = monotonic - self._seen[item.amphora_id][1]
        heard_at = self.receiver.heard_at(item.amphora_id)
        if heard_at is not None:
            silence = monotonic - heard_at
            return silence if unchanged > self.settings.record_interval else min(silence, unchanged)
        told = now - item.last_heartbeat_at
        silence = told if told > unchanged >= self.settings.heartbeat_timeout / 2 else unchanged
        return silence - self.settings.record_interval  # its row may be behind by so much

    def _trusts_itself(self, silent: Sequence[_Silent], monotonic: float) -> bool:
        timeout = self.settings.heartbeat_timeout
        condition = self.condition(silent, monotonic)
        if silent:
            condition = dataclasses.replace(condition, silent=max(condition.silent, self._falling_silent(monotonic)))
            condition = dataclasses.replace(condition, fleet=max(condition.fleet, condition.silent))
        doubt = verdict.distrust(condition, timeout, self.settings.failover_threshold)
        reason = doubt.sentence if doubt.decision and silent and condition.uptime >= timeout else None
        is_news = (reason is None) != (self._stopped_because is None) and not (doubt.decision and reason is None)
        if is_news or (reason is not None and not self._told_of_stop and self._pace.allows(_STOPPED)):
            self._say(reason)
            self._stopped_because = reason
        return not doubt.decision

    def _falling_silent(self, now: float) -> int:
        """How many amphorae in service have missed beats and will be silent next.

        When the network breaks, they pass the time-out one after the other, in the order of their last beats: whoever counted only those
        that have passed it would take the first ones for dead before it sees how many they are.
        """
        timeout = self.settings.heartbeat_timeout
        missed = self.receiver.falling_silent(now - 2 * timeout, now - max(timeout / 2, timeout - self.settings.heartbeat_interval))
        missed = [amphora_id for amphora_id in missed if not self._is_explained(amphora_id)]
        asked = missed[:_PAGE]
        with self.db.read() as tx:
            serving = sum(row.status in status.SERVING for row in tx.health.lookup(asked).values())
        return serving * len(missed) // len(asked) if asked else 0

    def _say(self, reason: str | None) -> None:
        if reason is None:
            code, message = "FAILOVER_RESUMED", "the health manager trusts itself again: silent amphorae are failed over"
        else:
            code, message = _STOPPED, f"the health manager fails nobody over for now: {reason}"
        LOG.warning("%s: %s", code, message)
        if reason is not None:
            self._told_of_stop = self._pace.take(code)
        if not self._told_of_stop:  # nor is the end told of what was not told
            return
        with self.db.begin() as tx:
            tx.faults.add_event(None, "health_manager", self._id, model.Fault(code=code, message=message))

    def _look_into(self, item: _Silent, monotonic: float) -> None:
        amphora_id = item.row.amphora_id
        if item.row.load_balancer_id is None or item.row.role is None:
            return
        with self._lock:
            case = self._cases.setdefault(amphora_id, _Case())
            if case.asking or monotonic < case.next_look or self._questions >= self.settings.failover_threads:
                return
            if self._is_too_fast(monotonic):
                return
            case.asking = True
            self._questions += 1
        # Threads that die with the process: a question under way must not delay its end.
        try:
            threading.Thread(target=self._question, args=(item, case), name=f"ask-{amphora_id}", daemon=True).start()
        except RuntimeError as exc:
            LOG.error("Amphora %s is silent, and there is no thread to look into it, which is tried again: %s", amphora_id, exc)
            self._asked(case)

    def _question(self, item: _Silent, case: _Case) -> None:
        try:
            if (words := self._ask(item.row.amphora_id)) is None:
                self._spare(item, case)
            else:
                self._fail_over(item, case, words)
        except Exception as exc:
            known = database.is_transient(exc) or isinstance(exc, exceptions.HostFault)
            words = "Amphora %s is silent, and looking into it failed: it is tried again: %s"
            LOG.error(words, item.row.amphora_id, outages.words(exc) if known else exc, exc_info=None if known else exc)
            case.next_look = self.clock.monotonic() + _POSTED_AGAIN_AFTER
        finally:
            self._asked(case)

    def _asked(self, case: _Case) -> None:
        with self._lock:
            case.asking = False
            self._questions -= 1

    def _ask(self, amphora_id: str) -> str | None:
        """Ask the amphora over TLS: None if it answers that all is well; else what is wrong with it."""
        with self.db.read() as tx:
            amphora = tx.amphorae.get(amphora_id)
        try:
            info = self.amphora.info(amphora, self.settings.question_timeout)
        except exceptions.AmphoraUnreachable as exc:
            return f"asked over TLS it did not answer either ({exc.reason})"
        except exceptions.AmphoraRefused as exc:
            LOG.warning("Amphora %s answers over TLS, though with a refusal: %s", amphora_id, exc)
            return None
        # An agent whose HAProxy does not come up stops its heartbeats, so that it is replaced; asked, it is honest.
        if amphora.applied_generation > 0 and amphora.load_balancer_id not in info.load_balancers:
            return "asked over TLS it answered that its load balancer does not run there"
        return None

    def _spare(self, item: _Silent, case: _Case) -> None:
        """It lives: only its heartbeats are lost."""
        now, row = self.clock.monotonic(), item.row
        with self._lock:
            lost = sum(one.alive for one in self._cases.values())
        case.next_look = now + max(self.settings.heartbeat_timeout, lost * _BETWEEN_QUESTIONS)
        with self._lock:
            if case.told or not self._pace.allows(row.amphora_id):
                case.alive = True
                return
            self._pace.note(row.amphora_id)
            case.alive = case.told = True
        sentence = verdict.failover_verdict(item.heard_at, now, self.settings.heartbeat_timeout).sentence
        message = f"UDP path lost: {sentence}, but it answers over TLS, so it is not failed over"
        LOG.warning("Amphora %s: %s", row.amphora_id, message)
        with self.db.begin() as tx:
            event = model.Fault(code="heartbeats_lost", message=message)
            tx.faults.add_event(row.load_balancer_id, "amphora", row.amphora_id, event)

    def _fail_over(self, item: _Silent, case: _Case, words: str) -> None:
        now, row = self.clock.monotonic(), item.row
        case.next_look = now + _POSTED_AGAIN_AFTER
        heard_at = self.receiver.heard_at(row.amphora_id)
        if heard_at is not None and now - heard_at < self.settings.heartbeat_timeout:
            return  # heard while it was being asked
        sentence = verdict.failover_verdict(item.heard_at, now, self.settings.heartbeat_timeout).sentence
        with self.db.begin() as tx:
            posted = post_failover(tx, row.amphora_id, f"failed over: {sentence}; {words}")
        if posted:
            self._posted.append(now)
            self.ring()
        case.failover_posted = True
        if row.load_balancer_id is not None:
            self.recorder.lost(row.amphora_id, row.load_balancer_id)

    def _is_too_fast(self, monotonic: float) -> bool:
        full = len(self._posted) == self.settings.failovers_per_minute and monotonic - self._posted[0] < 60.0
        if full:
            LOG.warning("%d failovers in the last minute: the others wait", len(self._posted))
        return full

    def _is_explained(self, amphora_id: str) -> bool:
        """Whether its silence was looked into already, so that it says nothing about this manager."""
        case = self._cases.get(amphora_id)
        return case is not None and (case.alive or case.failover_posted)

    def _forget_cases_but(self, amphora_ids: set[str]) -> list[str]:
        """Close the cases of all others; those of which it was told that their heartbeats alone were lost."""
        with self._lock:
            closed = {key: case for key, case in self._cases.items() if key not in amphora_ids and not case.asking}
            self._cases = {key: case for key, case in self._cases.items() if key not in closed}
            self._pace.prune()
        return [key for key, case in closed.items() if case.told]

    def _say_who_is_back(self, amphora_ids: Sequence[str], now: float) -> None:
        """End the story of lost heartbeats, unless the amphora went instead."""
        heard = [
            key for key in amphora_ids if (at := self.receiver.heard_at(key)) is not None and now - at < self.settings.heartbeat_timeout
        ]
        if not heard:
            return
        with self.db.begin() as tx:
            for amphora_id, row in tx.health.lookup(heard).items():
                event = model.Fault(code="heartbeats_back", message="its heartbeats arrive again")
                tx.faults.add_event(row.load_balancer_id, "amphora", amphora_id, event)


def post_failover(tx: database.Transaction, amphora_id: str, message: str) -> bool:
    """Post the failover of an amphora with an event that says why, unless one is on the board or there is nothing to fail over."""
    with contextlib.suppress(exceptions.NotFound):
        amphora = tx.amphorae.get(amphora_id)
        if amphora.load_balancer_id is None or amphora.role is None or amphora.status not in status.SERVING:
            return False
        if tx.load_balancers.get(amphora.load_balancer_id).provisioning_status in status.IN_DELETION:
            return False
        job = jobs.FailoverAmphora(load_balancer_id=amphora.load_balancer_id, amphora_id=amphora_id, role=amphora.role)
        waiting: Sequence[Mapping[str, object]] = tx.jobs.page(_BOARD, load_balancer_id=job.load_balancer_id)
        if any(row["subject"] == job.subject or row["kind"] in _COVERING for row in waiting):
            return False  # its replacement waits or is under way, alone or with the whole load balancer's
        tx.jobs.post(job, priority=jobs.URGENT)
        tx.faults.add_event(job.load_balancer_id, "amphora", amphora_id, model.Fault(code="failover", message=message, step=job.kind))
        LOG.warning("Amphora %s of load balancer %s is %s", amphora_id, job.load_balancer_id, message)
        return True
    return False
