"""The records of flows: small, written once a task, and enough to go on."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import orjson
import pytest
from taskflow import exceptions as taskflow_exceptions
from taskflow import retry, states, task
from taskflow.patterns import linear_flow

from controller import exceptions, jobs
from controller.db import database
from controller.db.repositories import flow_records
from controller.worker import engine, persistence
from tests.functional import small_flows

JOB = jobs.UpdateLoadBalancer(load_balancer_id="lb")


@pytest.fixture
def db(tmp_path: pathlib.Path, database_url: str | None) -> Iterator[database.Database]:
    made = small_flows.new_database(tmp_path, database_url)
    small_flows.add_load_balancer(made, "lb")
    yield made
    made.close()


@pytest.fixture
def lease(db: database.Database) -> jobs.Lease:
    with db.begin() as tx:
        taken = tx.leases.take("lb", "one", 600.0)
    assert taken is not None
    return taken


@pytest.fixture
def pool() -> Iterator[futures.Executor]:
    with futures.ThreadPoolExecutor(4) as made:
        yield made


class Number(task.Task):
    """Gives its number; counts its runs."""

    runs: list[str]

    def __init__(self, number: int, runs: list[str], result: Any = None) -> None:
        super().__init__(name=f"step-{number}", provides=f"result_{number}")
        self.runs, self.result = runs, result

    def execute(self) -> Any:
        self.runs.append(self.name)
        if isinstance(self.result, Exception):
            raise self.result
        return self.name if self.result is None else self.result

    def revert(self, **_: Any) -> None:
        self.runs.append(f"undo {self.name}")


def advance(db: database.Database, lease: jobs.Lease, flow: linear_flow.Flow, pool: futures.Executor) -> engine.Result:
    """A run by a worker that has nothing in memory."""
    opened = persistence.Records(db).open("job", flow.name, engine.definition(flow, JOB), lease)
    return engine.FlowEngine(flow, opened, pool).advance()


def record(db: database.Database) -> flow_records.FlowRecord | None:
    with db.read() as tx:
        return tx.flow_records.get("job")


def test_a_record_is_written_once_a_task(db: database.Database, lease: jobs.Lease, pool: futures.Executor) -> None:
    records = persistence.Records(db)
    flow = linear_flow.Flow("f").add(*[Number(number, []) for number in range(10)])
    opened = records.open("job", flow.name, engine.definition(flow, JOB), lease)
    writes: list[str] = []
    write = opened.write

    def counting() -> None:
        writes.append(opened.detail.uuid)
        write()

    opened.write = counting  # type: ignore[method-assign]
    assert engine.FlowEngine(flow, opened, pool).advance().outcome is engine.Outcome.SUCCEEDED
    assert len(writes) == 10
    records.close(opened)
    with pytest.raises(taskflow_exceptions.NotFound):
        opened.get_connection().update_flow_details(opened.detail)


def test_a_flow_of_twenty_tasks_has_a_small_record(db: database.Database, lease: jobs.Lease, pool: futures.Executor) -> None:
    flow = linear_flow.Flow("f").add(*[Number(number, [], {"id": "0" * 36, "address": "198.19.0.1"}) for number in range(20)])
    advance(db, lease, flow, pool)
    kept = record(db)
    assert kept is not None
    assert len(kept.data) < 8 * 1024


def test_a_failure_with_endless_words_has_a_small_record(db: database.Database, lease: jobs.Lease, pool: futures.Executor) -> None:
    flow = linear_flow.Flow("f").add(Number(0, []), Number(1, [], exceptions.ComputeFault("no " * 100_000)))
    result = advance(db, lease, flow, pool)
    assert result.outcome is engine.Outcome.FAILED
    kept = record(db)
    assert kept is not None
    assert len(kept.data) < persistence.SIZE_WARNED


def test_a_resumed_flow_runs_only_what_is_left_and_knows_the_results(
    db: database.Database, lease: jobs.Lease, pool: futures.Executor
) -> None:
    runs: list[str] = []

    class Last(task.Task):
        def execute(self, result_0: str, result_1: str) -> None:
            if len(runs) < 3:
                runs.append("not yet")
                raise exceptions.NotYet("not yet")
            runs.append(f"{result_0} {result_1}")

    def flow() -> linear_flow.Flow:
        return linear_flow.Flow("f").add(Number(0, runs), Number(1, runs), Last(name="last"))

    first = advance(db, lease, flow(), pool)
    assert first.outcome is engine.Outcome.WAITING
    assert first.words == "not yet"
    assert advance(db, lease, flow(), pool).outcome is engine.Outcome.SUCCEEDED
    assert runs == ["step-0", "step-1", "not yet", "step-0 step-1"]


def test_a_flow_found_failed_is_reverted(db: database.Database, lease: jobs.Lease, pool: futures.Executor) -> None:
    """The worker died between a failure and its consequences: they are drawn from the record."""
    runs: list[str] = []

    def flow() -> linear_flow.Flow:
        return linear_flow.Flow("f").add(Number(0, runs), Number(1, runs, exceptions.ComputeFault("no machine")))

    class Dies(Exception):
        pass

    opened = persistence.Records(db).open("job", "f", engine.definition(flow(), JOB), lease)
    write = opened.write

    def dying() -> None:
        write()
        if any(atom.state == states.FAILURE for atom in opened.detail):
            raise Dies

    opened.write = dying  # type: ignore[method-assign]
    engine.FlowEngine(flow(), opened, pool).advance()
    assert runs == ["step-0", "step-1"]

    result = advance(db, lease, flow(), pool)
    assert (result.outcome, result.code, result.words, result.step) == (engine.Outcome.FAILED, "compute", "no machine", "step-1")
    assert runs == ["step-0", "step-1", "undo step-1", "undo step-0"]
    again = advance(db, lease, flow(), pool)  # ... or after the last revert
    assert (again.outcome, again.code, again.words) == (engine.Outcome.FAILED, "compute", "no machine")
    assert runs[4:] == []


def test_a_retry_controller_keeps_its_count(db: database.Database, lease: jobs.Lease, pool: futures.Executor) -> None:
    runs: list[str] = []

    class Flaky(task.Task):
        def execute(self) -> None:
            runs.append("try")
            if len(runs) < 3:
                raise exceptions.Transient("busy")
            if len(runs) == 3:
                raise exceptions.NotYet("wait")

    def flow() -> linear_flow.Flow:
        return linear_flow.Flow("f", retry=retry.Times(4, name="times")).add(Flaky(name="flaky"))

    assert advance(db, lease, flow(), pool).outcome is engine.Outcome.WAITING
    kept = record(db)
    assert kept is not None
    assert "busy" in kept.data.decode()
    assert advance(db, lease, flow(), pool).outcome is engine.Outcome.SUCCEEDED
    assert len(runs) == 4


def test_another_definition_or_job_is_run_from_the_beginning(db: database.Database, lease: jobs.Lease, pool: futures.Executor) -> None:
    runs: list[str] = []
    advance(db, lease, linear_flow.Flow("f").add(Number(0, runs)), pool)
    advance(db, lease, linear_flow.Flow("f").add(Number(0, runs), Number(1, runs)), pool)
    assert runs == ["step-0", "step-0", "step-1"]
    one = linear_flow.Flow("f").add(Number(0, runs))
    other = jobs.DeleteLoadBalancer(load_balancer_id="lb")
    assert engine.definition(one, JOB) != engine.definition(one, other)
    assert engine.definition(one, JOB) == engine.definition(linear_flow.Flow("f").add(Number(0, [])), JOB)


def test_a_stale_owner_can_not_write(db: database.Database, lease: jobs.Lease, pool: futures.Executor) -> None:
    runs: list[str] = []

    class Steal(task.Task):
        def execute(self) -> None:
            with db.begin() as tx:
                tx.leases.release(lease)
                assert tx.leases.take("lb", "two", 60.0)

    result = advance(db, lease, linear_flow.Flow("f").add(Number(0, runs), Steal(name="steal"), Number(1, runs)), pool)
    assert result.outcome is engine.Outcome.LOST
    assert runs == ["step-0"]  # neither goes on nor undoes anything
    kept = record(db)
    assert kept is not None
    assert [atom["name"] for atom in orjson.loads(kept.data)["atoms"] if atom["state"] == states.SUCCESS] == ["step-0"]


def test_an_older_token_does_not_overwrite_a_newer_one(db: database.Database) -> None:
    with db.begin() as tx:
        assert tx.flow_records.put(flow_records.FlowRecord("job", "d", 5, b"new"))
        assert not tx.flow_records.put(flow_records.FlowRecord("job", "d", 4, b"old"))
        assert tx.flow_records.put(flow_records.FlowRecord("job", "d", 6, b"newer"))
    kept = record(db)
    assert kept is not None
    assert kept.data == b"newer"


def test_a_result_that_can_not_be_kept_is_no_success(db: database.Database, lease: jobs.Lease, pool: futures.Executor) -> None:
    result = advance(db, lease, linear_flow.Flow("f").add(Number(0, [], lease)), pool)
    assert result.outcome is engine.Outcome.BROKEN
