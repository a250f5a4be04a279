"""A taskflow engine whose steps may wait without holding a thread, and which stops at once when its worker has lost the lease.

Three things differ from taskflow's own engines:

- Steps run on one pool of threads that all flows of the worker share (taskflow's parallel engine makes one per run and takes about a second
  to end it). A flow's thread only waits for its steps meanwhile.
- A step that raises `NotYet` goes back to PENDING, as if it had not begun. When nothing else of the flow can go on, the flow is SUSPENDED.
  Taskflow treats a cancelled step just so; therefore the step's future is cancelled here. See `tasks/retries.py` for how to write one.
- `StaleLease` in a step is not a failure: undoing would destroy what the new owner builds. The flow is left as it is. Nor is a database
  that is away or busy: the step waits for it like for anything else.
"""

import dataclasses
import enum
import functools
import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

from taskflow import atom, states
from taskflow import flow as taskflow_flow
from taskflow import storage as taskflow_storage
from taskflow import task as taskflow_task
from taskflow.engines.action_engine import engine as action_engine
from taskflow.engines.action_engine import executor
from taskflow.types import failure

from controller import exceptions, jobs
from controller.db import database
from controller.tasks import retries
from controller.worker import persistence

LOG = logging.getLogger(__name__)

_WAITED, _LOOKED_AT = persistence.WAITED, "looked_at"
_LONGEST_GAP = 60.0
"""Seconds between two looks that count as waiting, at most: more is a clock that was set, or a worker that was away."""
_DEFAULT_PATIENCE = 600.0
"""Seconds for a step that raises NotYet without being a `retries.Patient`."""


class Outcome(enum.Enum):
    """How a run of a flow ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed and was reverted"
    BROKEN = "failed, and so did its revert"
    WAITING = "waits"
    STOPPED = "was put aside, because the worker stops"
    INTERRUPTED = "was put aside, because the database did not answer"
    LOST = "was left, because another worker has taken the load balancer over"


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """`code`, `words` and `step` tell a failure; `words` also what is waited for, `patience` how many seconds longer."""

    outcome: Outcome
    code: str = ""
    words: str = ""
    step: str = ""
    patience: float = 0.0


class FlowEngine(action_engine.ActionEngine):
    """Runs one flow, once."""

    def __init__(
        self,
        flow: taskflow_flow.Flow,
        opened: persistence.OpenFlow,
        pool: futures.Executor,
        should_stop: Callable[[], bool] = lambda: False,
        is_lost: Callable[[], bool] = lambda: False,
    ) -> None:
        super().__init__(flow, opened.detail, opened, {"gather_statistics": False})
        self._task_executor = _Executor(self, pool)
        self._should_stop = should_stop
        self._is_lost = is_lost
        self.stale = False
        self.waiting: dict[str, tuple[str, float]] = {}

    @functools.cached_property
    def storage(self) -> taskflow_storage.Storage:
        """States and results of the steps."""
        return _Storage(self._flow_detail, backend=self._backend, scope_fetcher=self._scopes)

    def _scopes(self, name: str) -> Any:
        return self._runtime.fetch_scopes_for(name) if self._compiled else None

    def advance(self) -> Result:
        """Run as far as the flow can go now."""
        crash: Exception | None = None
        engine_states: Iterator[str] = self.run_iter()
        try:
            state = next(engine_states)
            while True:
                # A flow in which steps wait ends SUSPENDED without having been asked to; taskflow wants the asking for its books.
                stop = state == states.SUSPENDED or self.stale or self._is_lost() or self._should_stop()
                state = engine_states.send(stop)  # type: ignore[attr-defined]
        except StopIteration:
            pass
        except Exception as exc:  # reverted flows end with their failure; a broken engine with anything
            crash = exc
        return self._result(crash)

    def _result(self, crash: Exception | None) -> Result:
        if self.stale or self._is_lost() or isinstance(crash, exceptions.StaleLease):
            return Result(Outcome.LOST)
        if database.is_transient(crash):
            return Result(Outcome.INTERRUPTED, words=str(crash))
        state = self.storage.get_flow_state()
        if crash is None and state == states.SUCCESS:
            return Result(Outcome.SUCCEEDED)
        if crash is None and state == states.SUSPENDED:
            if self.waiting and not self._should_stop():
                words = "; ".join(sorted(words for words, _ in self.waiting.values()))
                return Result(Outcome.WAITING, words=words, patience=min(patience for _, patience in self.waiting.values()))
            return Result(Outcome.STOPPED)
        outcome = Outcome.FAILED if state == states.REVERTED else Outcome.BROKEN
        failures = self.storage.get_revert_failures() if outcome is Outcome.BROKEN else {}
        failures = failures or self.storage.get_execute_failures()
        if failures:
            step, first = next(iter(failures.items()))
            code, words = retries.explain(first)
            return Result(outcome, code, words, step)
        if outcome is Outcome.BROKEN and crash is not None:
            LOG.error("job %s: the engine broke", self.storage.flow_uuid, exc_info=crash)
        return Result(outcome, *retries.explain_error(crash or exceptions.ControllerError("the flow failed without saying why")))

    def may_wait(self, task: taskflow_task.Task, words: str) -> bool:
        """Put a step that can't go on yet back to PENDING; False if its patience is at an end."""
        now, meta = time.time(), self._meta(task)
        gap = now - (meta.get(_LOOKED_AT) or now)
        patience = getattr(task, "patience", _DEFAULT_PATIENCE)
        # Between two looks a clock may have been set: that must not be more than half of what the step can wait.
        waited = (meta.get(_WAITED) or 0.0) + min(max(gap, 0.0), _LONGEST_GAP, patience / 2)
        if waited >= patience:
            self.no_longer_waits(task)
            return False
        self.storage.update_atom_metadata(task.name, {_WAITED: waited, _LOOKED_AT: now})
        self.storage.set_atom_state(task.name, states.PENDING)
        self.waiting[task.name] = (words, patience - waited)
        return True

    def no_longer_waits(self, task: taskflow_task.Task) -> None:
        """Start a step's patience anew, should it ever run again."""
        if self._meta(task).get(_WAITED) is not None:
            self.storage.update_atom_metadata(task.name, {_WAITED: None, _LOOKED_AT: None})

    def _meta(self, task: taskflow_task.Task) -> dict[str, Any]:
        detail = self._flow_detail.find(self.storage.get_atom_uuid(task.name))
        return detail.meta or {}


class _Storage(taskflow_storage.Storage):
    """Keeps no progress: nobody reads it, and it is half of all that taskflow would save."""

    def set_task_progress(self, task_name: str, progress: float, details: Any = None) -> None:
        """Progress is not kept: nobody reads it."""


class _Executor(executor.ParallelThreadTaskExecutor):
    """Runs steps on the shared pool."""

    def __init__(self, engine: FlowEngine, pool: futures.Executor) -> None:
        super().__init__(executor=pool)
        self._engine = engine

    def execute_task(
        self, task: taskflow_task.Task, task_uuid: str, arguments: dict[str, Any], progress_callback: Any = None
    ) -> futures.Future[Any]:
        return self._submit(task, functools.partial(executor._execute_task, task, arguments))

    def revert_task(
        self,
        task: taskflow_task.Task,
        task_uuid: str,
        arguments: dict[str, Any],
        result: Any,
        failures: dict[str, failure.Failure],
        progress_callback: Any = None,
    ) -> futures.Future[Any]:
        return self._submit(task, functools.partial(executor._revert_task, task, arguments, result, failures))

    def _submit(self, task: taskflow_task.Task, work: Callable[[], tuple[str, Any]]) -> futures.Future[Any]:
        future = self._executor.submit(self._run, task, work)
        future.atom = task
        # A flow that is put aside cancels what has not begun, and then takes a flow without begun steps for a reverted one.
        future.cancel = lambda: False
        return future  # type: ignore[no-any-return]

    def _run(self, task: taskflow_task.Task, work: Callable[[], tuple[str, Any]]) -> tuple[str, Any]:
        began = time.monotonic()
        outcome, result = work()
        reason = result.exception if isinstance(result, failure.Failure) else None
        if isinstance(reason, exceptions.StaleLease):
            self._engine.stale = True
            raise futures.CancelledError
        if outcome == executor.EXECUTED and (isinstance(reason, exceptions.NotYet) or database.is_transient(reason)):
            if self._engine.may_wait(task, str(reason)):
                LOG.debug("job %s: %s waits: %s", self._engine.storage.flow_uuid, task.name, reason)
                raise futures.CancelledError
            result = failure.Failure.from_exception(exceptions.TimedOut(f"waited too long: {reason}"))
        elif outcome == executor.EXECUTED:
            self._engine.no_longer_waits(task)
        self._log(task, outcome, result, time.monotonic() - began)
        return outcome, result

    def _log(self, task: taskflow_task.Task, outcome: str, result: Any, seconds: float) -> None:
        job_id = self._engine.storage.flow_uuid
        if not isinstance(result, failure.Failure):
            LOG.debug("job %s: %s %s in %.3f s", job_id, task.name, outcome, seconds)
            return
        expected = isinstance(result.exception, exceptions.ControllerError)
        code, words = retries.explain(result)
        LOG.warning(
            "job %s: %s could not be %s (%s): %s", job_id, task.name, outcome, code, words, exc_info=None if expected else result.exc_info
        )


def definition(flow: taskflow_flow.Flow, job: jobs.Job) -> str:
    """A digest of job and steps: a record with another digest can't be resumed, because it tells of other steps."""
    steps = sorted((step.name, type(step).__qualname__, sorted(step.requires), sorted(step.provides)) for step in _steps(flow))
    return hashlib.sha256(json.dumps([job.kind, jobs.dump(job), steps], sort_keys=True).encode()).hexdigest()


def _steps(flow: taskflow_flow.Flow) -> Iterator[atom.Atom]:
    if flow.retry is not None:
        yield flow.retry
    for child, _ in flow.iter_nodes():
        if isinstance(child, taskflow_flow.Flow):
            yield from _steps(child)
        else:
            yield child
