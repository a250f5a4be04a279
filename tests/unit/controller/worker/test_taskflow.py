"""What `controller/worker/engine.py` takes for granted of taskflow, though taskflow promises it to nobody.

When a new release of taskflow breaks the worker, this fails first and says where to look. setup.cfg names the releases that it passes with.
"""

from __future__ import annotations

import importlib.metadata
import inspect
import pathlib
import threading
from collections.abc import Callable
from concurrent import futures
from typing import Any

from packaging import requirements, version
from taskflow import states, storage, task
from taskflow.engines.action_engine import engine as action_engine
from taskflow.engines.action_engine import executor
from taskflow.patterns import unordered_flow
from taskflow.persistence import models
from taskflow.persistence.backends import impl_memory
from taskflow.types import failure

ERROR = RuntimeError("this is how it fails")


class Step(task.Task):
    """Does what it is told."""

    def __init__(self, work: Callable[[], object] = lambda: "done", name: str = "step") -> None:
        super().__init__(name=name)
        self.work = work

    def execute(self) -> object:
        return self.work()

    def revert(self, **_: Any) -> str:
        return "undone"


def fail() -> str:
    raise ERROR


def steps_are_executed_by_a_function() -> str:
    """`executor._execute_task(task, arguments)` gives (EXECUTED, what execute() returned, or its Failure)."""
    outcome, result = executor._execute_task(Step(), {})
    failed, reason = executor._execute_task(Step(fail), {})
    right = (outcome, result, failed) == (executor.EXECUTED, "done", executor.EXECUTED)
    return "" if right and isinstance(reason, failure.Failure) and reason.exception is ERROR else f"{outcome, result, failed, reason}"


def steps_are_reverted_by_a_function() -> str:
    """`executor._revert_task(task, arguments, result, failures)` gives (REVERTED, what revert() returned)."""
    found = executor._revert_task(Step(), {}, "done", {})
    return "" if found == (executor.REVERTED, "undone") else f"{found}"


def an_executor_takes_a_pool_and_leaves_it_open() -> str:
    """`ParallelThreadTaskExecutor(executor=pool)` keeps it as `_executor`, calls our methods by these names, and does not end it."""
    with futures.ThreadPoolExecutor(1) as pool:
        made = executor.ParallelThreadTaskExecutor(executor=pool)
        made.start()
        if made._executor is not pool:
            return "the pool is not in `_executor`"
        made.stop()
        if pool.submit(lambda: 7).result() != 7:
            return "stop() ended the pool"
    wanted = {"execute_task": ["task", "task_uuid", "arguments"], "revert_task": ["task", "task_uuid", "arguments", "result", "failures"]}
    for name, parameters in wanted.items():
        if (has := list(inspect.signature(getattr(executor.ParallelThreadTaskExecutor, name)).parameters)[1:-1]) != parameters:
            return f"{name}() is called with {has}"
    return ""


class Executor(executor.ParallelThreadTaskExecutor):
    """As ours: it submits itself, marks what it submits, and can say of a step that it has not begun."""

    def __init__(self, made: action_engine.ActionEngine, pool: futures.Executor, cancel: Callable[[], bool]) -> None:
        super().__init__(executor=pool)
        self._made, self._cancel = made, cancel

    def execute_task(self, task: Any, task_uuid: str, arguments: Any, progress_callback: Any = None) -> Any:
        def work() -> Any:
            outcome, result = executor._execute_task(task, arguments)
            if isinstance(result, failure.Failure):
                self._made.storage.set_atom_state(task.name, states.PENDING)
                raise futures.CancelledError
            return outcome, result

        future = self._executor.submit(work)
        future.atom = task
        future.cancel = self._cancel
        return future


def _run(*steps: Step, suspend_at: str = states.SUSPENDED, cancel: Callable[[], bool] = bool) -> Any:
    """An engine with an executor of ours that has run a flow of these steps side by side, and was asked to suspend at a state."""
    with futures.ThreadPoolExecutor(2) as pool:
        flow = unordered_flow.Flow("canary").add(*steps)
        backend = impl_memory.MemoryBackend()
        book, detail = models.LogBook("canary"), models.FlowDetail("canary", "canary")
        book.add(detail)
        backend.get_connection().save_logbook(book)
        made = action_engine.ActionEngine(flow, detail, backend, {"gather_statistics": False})
        made._task_executor = Executor(made, pool, cancel)
        engine_states = made.run_iter()
        try:
            state = next(engine_states)
            while True:
                state = engine_states.send(state in (suspend_at, states.SUSPENDED))
        except StopIteration:
            return made


def an_engine_runs_what_our_executor_submits() -> str:
    """A subclass of `ActionEngine` takes another `_task_executor`, and `run_iter()` yields states."""
    made = _run(Step())
    return "" if made.storage.get_flow_state() == states.SUCCESS else f"the flow is {made.storage.get_flow_state()}"


def a_cancelled_step_has_not_begun() -> str:
    """A future that raises CancelledError leaves its step to be run again, and its flow SUSPENDED: so a step waits without a thread."""
    made = _run(Step(fail))
    found = made.storage.get_flow_state()
    left = [one.name for one, _ in made._runtime.selector.iter_next_atoms()]
    return "" if (found, left) == (states.SUSPENDED, ["step"]) else f"the flow is {found}, and to be run are {left}"


def a_suspended_flow_cancels_by_the_method_of_the_future() -> str:
    """What has not ended when a flow is put aside is cancelled by `future.cancel()`, which we replace in the future itself."""
    asked = threading.Event()

    def cancel() -> bool:
        asked.set()
        return False

    made = _run(Step(), Step(lambda: asked.wait(5), "slow"), suspend_at=states.WAITING, cancel=cancel)
    found = made.storage.get_flow_state()
    return "" if asked.is_set() and found == states.SUCCESS else f"asked: {asked.is_set()}; the flow is {found}"


def an_engine_has_the_parts_that_ours_overrides() -> str:
    """`storage` is a property of the engine made of `_flow_detail`, `_backend`, `_runtime.fetch_scopes_for` and `_compiled`."""
    made = _run(Step())
    missing = [name for name in ("_flow_detail", "_backend", "_runtime", "_compiled", "_task_executor") if not hasattr(made, name)]
    if missing or not hasattr(made._runtime, "fetch_scopes_for") or not hasattr(type(made), "storage"):
        return f"missing: {missing or 'storage or fetch_scopes_for'}"
    uses = {"get_flow_state", "get_revert_failures", "get_execute_failures", "update_atom_metadata", "set_atom_state", "get_atom_uuid"}
    gone = [name for name in sorted(uses | {"inject", "set_task_progress"}) if not hasattr(storage.Storage, name)]
    return f"storage has no {gone}" if gone else ""


CHECKS = (
    steps_are_executed_by_a_function,
    steps_are_reverted_by_a_function,
    an_executor_takes_a_pool_and_leaves_it_open,
    an_engine_runs_what_our_executor_submits,
    a_cancelled_step_has_not_begun,
    a_suspended_flow_cancels_by_the_method_of_the_future,
    an_engine_has_the_parts_that_ours_overrides,
)


def _found(check: Callable[[], str]) -> str:
    try:
        return check()
    except Exception as exc:
        return f"{type(exc).__name__}: {exc}"


def test_taskflow_is_still_what_the_worker_rests_on() -> None:
    broken = [f"{check.__name__}: {found}\n    we rest on this: {check.__doc__}" for check in CHECKS if (found := _found(check))]
    release = importlib.metadata.version("taskflow")
    assert not broken, f"taskflow {release} is not what controller/worker/engine.py rests on; see there, and setup.cfg:\n" + "\n".join(
        broken
    )


def test_a_release_that_nobody_has_tried_is_not_installed() -> None:
    text = (pathlib.Path(__file__).parents[4] / "setup.cfg").read_text()
    (wanted,) = (requirements.Requirement(line.strip()) for line in text.splitlines() if line.strip().startswith("taskflow>"))
    release = version.Version(importlib.metadata.version("taskflow"))
    assert release in wanted.specifier
    assert version.Version(f"{release.major}.{release.minor + 1}") not in wanted.specifier, "raise the bound once the test above has passed"
