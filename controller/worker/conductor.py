"""The worker's loop: claim a due job, take its load balancer's lease, run its flow, settle.

Claim and lease are taken in one transaction, so of the jobs of one load balancer one runs at a time. A flow that waits is put aside with
its record and holds neither. Whatever ends a flow - success, failure, a wait, a stop - is written in one transaction with the fate of its
job and the lease's release. A worker that dies writes nothing: claim and lease expire, and the next one goes on from the record, or begins
anew where the flow has none.

A flow that waits for an agent's answer holds its lease, and for the first second a place; then the place is lent to others, so that an
amphora that hangs delays nobody else's work. Where more is due than there are places, projects take turns.
"""

import collections
import contextlib
import dataclasses
import datetime
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent import futures
from typing import Any, Protocol

from taskflow import flow as taskflow_flow

from controller import exceptions, jobs, outages, threads
from controller.db import database
from controller.drivers.amphora import waiting
from controller.jobs import owed, turns, wakeup
from controller.model import load_balancer as model
from controller.tasks import passes, retries
from controller.worker import engine, owner, pacing, persistence
from controller.worker.run import Renewer, Run

LOG = logging.getLogger(__name__)

_UNKNOWN_KIND_DELAY = 60.0
_LOOKS_FOR_DEAD = 6
"""So often within the term of a claim a worker looks whether another one of its host has died."""
_SET_BACK = 1.0
"""Seconds by which the clock of leases and claims must have fallen behind to have been set back."""
_LENT_AFTER = 1.0
"""Seconds for which a flow has waited for an agent when its place is lent. Nearly all answers come sooner."""
_PER_URGENT = 4
"""Of so many places there is one more for urgent jobs alone, at least one."""
_STEPS_PER_FLOW = 2
"""Threads for steps, per flow that may be under way: an amphora pair's two branches go side by side."""


class Catalog(Protocol):
    """What the conductor needs of `flows.catalog`."""

    def look(self, services: Any, tx: database.Transaction, job: jobs.Job) -> passes.Look:
        """The load balancer of a job that was claimed, as far as it has to be known."""

    def admit(self, snapshot: model.Snapshot, job: jobs.Job) -> jobs.Job | None:
        """The job to run in place of the one that was claimed, by the load balancer's outline; None if nothing of it is owed any more."""

    def build(self, services: Any, job: jobs.Job, seen: passes.Look | None = None) -> taskflow_flow.Flow:
        """The job's flow, which may go on with what was seen."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Values of [controller_worker] and [task_flow]; times are seconds."""

    host: str
    max_workers: int = 16
    max_waiting: int = 256
    poll_interval: float = 1.0
    coalesce_interval: float = 0.1
    claim_expiry: float = 30.0
    retry_backoff: float = 5.0
    retry_backoff_max: float = 300.0
    shutdown_timeout: float = 30.0
    wakeup_directory: str = ""

    @property
    def urgent(self) -> int:
        """Places for urgent jobs alone."""
        return max(1, self.max_workers // _PER_URGENT)

    @property
    def most(self) -> int:
        """Flows that can be under way at once, on places that were lent, too."""
        return self.max_workers + self.urgent + self.max_waiting


class Conductor:
    """Runs jobs until it is stopped."""

    def __init__(
        self,
        services: Any,
        catalog: Catalog,
        options: Options,
        listener_factories: Sequence[Callable[[engine.FlowEngine], contextlib.AbstractContextManager[Any]]] = (),
    ) -> None:
        """Of the `services` it needs `db` and `waiting`; flows get the whole. Each factory makes a taskflow listener for each run."""
        self.owner = owner.name(options.host)
        self._services = services
        self._db: database.Database = services.db
        self._waiting: waiting.Waiting = services.waiting
        self._catalog = catalog
        self._options = options
        self._listener_factories = listener_factories
        self._records = persistence.Records(self._db)
        self._bell = _bell(options.wakeup_directory)
        self._renewer = Renewer(self._db, options.claim_expiry)
        self._flows = futures.ThreadPoolExecutor(options.most, thread_name_prefix="flow")
        self._steps = threads.Pool(options.most * _STEPS_PER_FLOW, thread_name_prefix="step")
        self._resting: collections.deque[float] = collections.deque()  # when load balancers that rest may be leased again
        self._running: dict[futures.Future[None], Run] = {}
        self._turns = turns.Turns()
        self._look_for_dead_at = 0.0
        self._clock_ahead = float("inf")  # of the monotonic clock, as of the last look
        self._stopping = threading.Event()
        self._outage = outages.Outage(LOG, f"Worker {self.owner}")
        self._outage_of_takeovers = outages.Outage(LOG, "The look for jobs of dead workers")
        self._outage_of_times = outages.Outage(LOG, "The look for times that lie ahead")

    def run(self) -> bool:
        """Run jobs until `stop`; True if everything under way came to a clean end."""
        self._renewer.start()
        LOG.info("worker %s takes jobs, at most %d side by side", self.owner, self._options.max_workers)
        try:
            while not self._stopping.is_set():
                self._bell.wait(self._turn())
        finally:
            clean = self._shut_down()
        return clean

    def stop(self) -> None:
        """Take no more jobs, put flows aside after the steps that are under way; may be called from a signal handler."""
        self._stopping.set()
        self._bell.ring()

    def _turn(self) -> float:
        """Start what is due; returns how long to wait for the next turn."""
        if time.monotonic() >= self._look_for_dead_at:
            self._look_for_dead_at = time.monotonic() + self._options.claim_expiry / _LOOKS_FOR_DEAD
            self._outage_of_takeovers.outlives(self._take_over_from_the_dead)  # otherwise what the dead held waits until it expires
            if self._outage_of_times.outlives(self._mind_the_clock):
                self._clock_ahead = float("inf")
        try:
            self._running = {future: run for future, run in self._running.items() if not future.done()}
            busy = self._busy()
            free = max(0, self._options.max_workers - len(busy))
            urgent = max(0, self._options.max_workers + self._options.urgent - len(busy)) - free
            if not free + urgent:
                return min(self._options.poll_interval, _LENT_AFTER)
            standing = self._turns.standing(run.project_id for run in busy)
            with self._db.read() as tx:
                due, next_due = tx.jobs.claimable(free, urgent=urgent, standing=standing), tx.jobs.next_due()
            started = sum(self._start(each) for each in due)
            if started and len(due) >= free:
                return 0.0
            self._outage.over()
            pause = self._pause(self._db.now(), next_due)
            return pause if free else min(pause, _LENT_AFTER)
        except Exception as exc:  # the loop must outlive a database that is away
            return max(self._options.poll_interval, self._outage.met(exc))

    def _busy(self) -> list[Run]:
        """What is under way on places that are not lent to others."""
        wait = [run for run in self._running.values() if self._waiting.seconds(run.lease.load_balancer_id) >= _LENT_AFTER]
        lent = set(wait[: self._options.max_waiting])
        return [run for run in self._running.values() if run not in lent]

    def _pause(self, now: float, next_due: float | None) -> float:
        """How long there is nothing to do, as far as this worker knows."""
        while self._resting and self._resting[0] <= now:
            self._resting.popleft()
        known = [self._options.poll_interval]
        known += [next_due - now] if next_due is not None else []
        known += [self._resting[0] - now] if self._resting else []
        return max(0.01, min(known))

    def _start(self, due: turns.Due) -> bool:
        """Lease a load balancer, claim its job, and hand it to a thread; False if another one was faster."""
        try:
            with self._db.begin() as tx:
                lease = tx.leases.take(due.load_balancer_id, self.owner, self._options.claim_expiry)
                if lease is None:
                    return False
                claim = tx.jobs.claim(due.id, self.owner, self._options.claim_expiry)
                if claim is None:
                    tx.leases.release(lease)
                    return False
        except exceptions.NotFound:
            self._drop(due.id, due.load_balancer_id)
            return False
        run = Run(claim, lease, due.project_id)
        self._renewer.add(run)
        try:
            future = self._flows.submit(self._run, run)
        except RuntimeError:  # there is no thread at present; one that gets free may still come to it, and finds it lost
            run.lost = True
            self._renewer.remove(run)
            self._put_aside(run, self._db.now() + self._options.poll_interval)
            raise
        self._running[future] = run
        self._turns.had(due.project_id)
        future.add_done_callback(lambda _: self._bell.ring())  # a place is free, and so is the load balancer
        return True

    def _drop(self, job_id: str, load_balancer_id: str) -> None:
        """Take a job off the board whose load balancer was purged."""
        with self._db.begin() as tx:
            claim = tx.jobs.claim(job_id, self.owner, self._options.claim_expiry)
            if claim is not None:
                tx.jobs.consume(claim)
                LOG.warning("load balancer %s: job %s (%s): there is no such load balancer; dropped", load_balancer_id, job_id, claim.kind)

    def _run(self, run: Run) -> None:
        try:
            self._work(run)
        except exceptions.StaleLease:
            LOG.warning("%s: another worker has taken the load balancer over; leaving it", run)
        except exceptions.ControllerError as exc:  # raised on purpose: its words say all
            LOG.error("%s: failed outside its flow: %s (%s)", run, exc, exc.code)
            self._fail_outside_flow(run, exc)
        except Exception as exc:  # a mistake of ours must neither end the worker nor be tried without pause
            if database.is_transient(exc):
                self._interrupt(run, exc)
            else:
                LOG.exception("%s: failed outside its flow", run)
                self._fail_outside_flow(run, exc)
        finally:
            if run.flow is not None:
                self._records.close(run.flow)
            self._renewer.remove(run)

    def _work(self, run: Run) -> None:
        try:
            claimed = run.claim.job
        except exceptions.NotSupported as exc:
            LOG.warning("%s: left to a worker of another version: %s", run, exc)
            self._put_aside(run, self._db.now() + _UNKNOWN_KIND_DELAY)
            return
        with self._db.read() as tx:
            look = self._catalog.look(self._services, tx, claimed)
        before = look.snapshot
        job = self._catalog.admit(before, claimed)
        if job is None:
            LOG.info("%s: nothing of it is owed any more", run)
            self._end(run)
            return
        began = time.monotonic()
        ending = _Ending(self, run, before)
        result = self._run_flow(run, job, look, ending)
        words = f"{result.outcome.value} after {time.monotonic() - began:.3f} s"
        if run.ended:  # by its last step, whatever came after that
            LOG.info("%s: %s ended after %.3f s", run, job.kind, time.monotonic() - began)
            return
        match result.outcome:
            case engine.Outcome.SUCCEEDED:
                LOG.info("%s: %s %s", run, job.kind, words)
                self._settle(ending) if job.settles else self._end(run)
            case engine.Outcome.FAILED | engine.Outcome.BROKEN:
                LOG.warning("%s: %s %s: %s: %s (%s)", run, job.kind, words, result.step, result.words, result.code)
                if job.settles:
                    self._retry_later(run, job, result, before.generation)
                else:
                    self._retry_aside(run)
            case engine.Outcome.WAITING:
                first = run.claim.attempts == 1
                LOG.log(logging.INFO if first else logging.DEBUG, "%s: %s %s: %s", run, job.kind, words, result.words)
                self._put_aside(run, self._db.now() + min(self._options.poll_interval, result.patience))
            case engine.Outcome.STOPPED:
                LOG.info("%s: %s %s", run, job.kind, words)
                self._put_aside(run)
            case engine.Outcome.INTERRUPTED:
                LOG.warning("%s: %s %s: %s", run, job.kind, words, result.words)
                self._put_aside(run, self._db.now() + self._options.poll_interval)
            case engine.Outcome.LOST:
                LOG.warning("%s: %s %s", run, job.kind, words)

    def _run_flow(self, run: Run, job: jobs.Job, seen: passes.Look, ending: passes.Ending) -> engine.Result:
        flow = self._catalog.build(self._services, job, seen)
        recorded = getattr(flow, "recorded", True)
        run.flow = self._records.open(run.claim.id, flow.name, engine.definition(flow, job), run.lease, recorded)
        flow_engine = engine.FlowEngine(flow, run.flow, self._steps, self._stopping.is_set, lambda: run.lost)
        fields = {field.name: getattr(job, field.name) for field in dataclasses.fields(job)}
        known = {"lease": run.lease, "request_id": run.claim.request_id, "ending": ending if job.settles else None}
        flow_engine.storage.inject({**fields, **known}, transient=True)
        with contextlib.ExitStack() as listeners:
            for factory in self._listener_factories:
                listeners.enter_context(factory(flow_engine))
            return flow_engine.advance()

    def _settle(self, ending: passes.Ending) -> None:
        """The flow succeeded, and its last step did not say that its job is done."""
        with self._db.begin() as tx:
            ending.write(tx)
        ending.done()

    def succeed(self, tx: database.Transaction, run: Run, before: model.Snapshot) -> None:
        """The flow succeeded: its job is done. If the rows ask for more by now, that is posted with the same request id.

        :raises StaleLease: another worker has claim or lease; nothing of this transaction may stand.
        """
        tx.leases.check(run.lease)
        after = tx.snapshots.outline(run.claim.load_balancer_id)
        more = owed.owed(after, datetime.datetime.fromtimestamp(self._db.now(), datetime.UTC))
        if more is not None and pacing.standing(before) == pacing.standing(after):
            # A flow that succeeds and changes nothing would be run again at once, for ever.
            next_try_at = self._note_failure(tx, run)
            LOG.error("%s: succeeded, but the load balancer owes what it did before", run)
        else:
            tx.leases.note_success(run.lease)
            next_try_at = 0.0
        if more is not None:
            tx.jobs.post(more, request_id=run.claim.request_id, available_at=next_try_at)
        self._close(tx, run, rest=self._options.coalesce_interval if isinstance(more, jobs.UpdateLoadBalancer) else 0.0)

    def ended(self, run: Run) -> None:
        """What `succeed` wrote is committed: the load balancer may be another worker's by now."""
        run.ended = True
        if run.flow is not None:
            run.flow.end()
        self._renewer.remove(run)

    def _interrupt(self, run: Run, error: Exception) -> None:
        """The database is away or busy, or has another schema: look again soon. If not even that can be written, claim and lease expire by
        themselves."""
        LOG.warning("%s: interrupted by the database: %s", run, outages.words(error))
        try:
            self._put_aside(run, self._db.now() + self._options.poll_interval)
        except Exception:
            LOG.warning("%s: the database still does not answer; the claim expires by itself", run)

    def _end(self, run: Run) -> None:
        with self._db.begin(run.lease) as tx:
            self._close(tx, run)

    def _retry_later(self, run: Run, job: jobs.Job, result: engine.Result, generation: int) -> None:
        """The flow was reverted, and has said so in the rows: try again after a while that grows with each failure in a row."""
        with self._db.begin(run.lease) as tx:
            if result.outcome is engine.Outcome.BROKEN:  # then the reverts that should have said so did not come to it
                tx.settlement.fail(
                    run.claim.load_balancer_id, generation, self._fault(run, result.code, result.words, result.step), run.lease
                )
            next_try_at = self._note_failure(tx, run)
            tx.jobs.post(job, request_id=run.claim.request_id, priority=run.claim.priority, available_at=next_try_at)
            self._close(tx, run)
        LOG.info("%s: next try in %.1f s", run, next_try_at - self._db.now())

    def _retry_aside(self, run: Run) -> None:
        """Try again later what the load balancer's row does not owe, and say nothing in it."""
        next_try_at = self._db.now() + pacing.backoff(run.claim.attempts - 1, self._options.retry_backoff, self._options.retry_backoff_max)
        with self._db.begin(run.lease) as tx:
            tx.flow_records.delete(run.claim.id)
            tx.leases.release(run.lease)
            tx.jobs.release(run.claim, next_try_at)
        LOG.info("%s: next try in %.1f s", run, next_try_at - self._db.now())

    def _fail_outside_flow(self, run: Run, error: Exception) -> None:
        """Not the flow but what is around it failed: the record is dropped, because it may be the cause, and the job backs off."""
        try:
            with self._db.begin(run.lease) as tx:
                generation = tx.settlement.generation(run.claim.load_balancer_id)
                code, words = retries.explain_error(error)
                tx.settlement.fail(run.claim.load_balancer_id, generation, self._fault(run, code, words, ""), run.lease)
                next_try_at = self._note_failure(tx, run)
                tx.flow_records.delete(run.claim.id)
                tx.leases.release(run.lease)
                tx.jobs.release(run.claim, next_try_at)
        except exceptions.StaleLease:
            LOG.warning("%s: another worker has taken the load balancer over; leaving it", run)
        except Exception:  # claim and lease expire by themselves
            LOG.exception("%s: its failure could not be written down", run)

    def _fault(self, run: Run, code: str, words: str, step: str) -> model.Fault:
        now = datetime.datetime.now(datetime.UTC)
        return model.Fault(
            code=code, message=words or "an unknown error", step=step or None, request_id=run.claim.request_id, occurred_at=now
        )

    def _note_failure(self, tx: database.Transaction, run: Run) -> float:
        failures = tx.leases.failures(run.claim.load_balancer_id)
        next_try_at = self._db.now() + pacing.backoff(failures, self._options.retry_backoff, self._options.retry_backoff_max)
        tx.leases.note_failure(run.lease, next_try_at)
        return next_try_at

    def _close(self, tx: database.Transaction, run: Run, rest: float = 0.0) -> None:
        """The end of a job: off the board, with its record, and the lease is free; after a rest, if writes are coming in just now.

        :raises StaleLease: the claim was lost; nothing of this transaction may stand.
        """
        if rest:
            tx.leases.rest(run.lease, rest)
            self._resting.append(self._db.now() + rest)
        else:
            tx.leases.release(run.lease)
        if not tx.jobs.consume(run.claim):
            raise exceptions.StaleLease(run.claim.load_balancer_id)

    def _put_aside(self, run: Run, available_at: float = 0.0) -> None:
        with self._db.begin() as tx:
            tx.leases.release(run.lease)
            tx.jobs.release(run.claim, available_at)

    def _take_over_from_the_dead(self) -> None:
        """Free at once what workers of this host held that have ended: nobody need wait for it to expire."""
        with self._db.read() as tx:
            dead = [name for name in tx.jobs.owners() if owner.is_dead(name, self._options.host)]
        if not dead:
            return
        with self._db.begin() as tx:
            freed = tx.jobs.free_owner(dead)
        if freed:
            LOG.warning("worker %s takes over %d jobs of dead workers: %s", self.owner, len(freed), ", ".join(freed))

    def _mind_the_clock(self) -> None:
        """At the start, and whenever the clock was set back: what was written by it before would be waited for as much longer."""
        before, self._clock_ahead = self._clock_ahead, self._db.now() - time.monotonic()
        if self._clock_ahead > before - _SET_BACK:
            return
        longest = 2 * max(self._options.retry_backoff_max, _UNKNOWN_KIND_DELAY)
        with self._db.begin() as tx:
            count = tx.leases.bring_back(self._options.claim_expiry, longest) + tx.jobs.bring_back(self._options.claim_expiry, longest)
        if count:
            LOG.warning("worker %s brought %d times back that lay ahead: a clock was set back", self.owner, count)

    def _shut_down(self) -> bool:
        LOG.info("worker %s stops; %d jobs are under way", self.owner, len(self._running))
        _, left = futures.wait(self._running, timeout=self._options.shutdown_timeout)
        self._flows.shutdown(wait=not left, cancel_futures=True)
        self._steps.shutdown(wait=not left, cancel_futures=True)
        self._renewer.stop()
        self._bell.close()
        if left:
            LOG.warning("worker %s leaves %d jobs whose steps did not end in time; their claims expire", self.owner, len(left))
        else:
            LOG.info("worker %s has stopped; nothing is under way", self.owner)
        return not left


class _Ending:
    """The end of one job, for the last step of its flow to write."""

    def __init__(self, worker: Conductor, run: Run, before: model.Snapshot) -> None:
        self._worker, self._run, self._before = worker, run, before

    def write(self, tx: database.Transaction) -> None:
        """The job is done, and what follows is posted."""
        self._worker.succeed(tx, self._run, self._before)

    def done(self) -> None:
        """Nothing more is written for it."""
        self._worker.ended(self._run)


def _bell(directory: str) -> wakeup.Bell:
    try:
        return wakeup.Bell(directory)
    except OSError as exc:
        LOG.warning("no wake-ups: there can be no bell in [task_flow] wakeup_directory %s: %s", directory, exc)
        return wakeup.Bell()
