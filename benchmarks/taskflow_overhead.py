"""What a task costs beyond its own work: a flow of ten empty tasks, with its record on SQLite, and a whole job from post to consumption.

Reference figures, CPU per task (taskflow 6.5 by itself): serial engine in memory 3 ms, its `dir` back end 8 ms, its SQLAlchemy back end on
SQLite 31 to 60 ms; its parallel engine takes a second more per run unless it is given a pool.
"""

from __future__ import annotations

import pathlib
import tempfile
import threading
import time
import uuid
from concurrent import futures
from typing import Any

from taskflow import engines, task
from taskflow.patterns import linear_flow

from benchmarks import harness
from controller import jobs
from controller.db import database
from controller.model import load_balancer as model
from controller.tasks import passes
from controller.worker import conductor, engine, persistence
from tests.functional import small_flows

_TASKS = 10
_RUNS = 50
_GOAL_SECONDS_PER_TASK = 0.005


class Empty(task.Task):
    """Does nothing, and says so."""

    def execute(self, load_balancer_id: str) -> str:
        """Nothing."""
        return load_balancer_id


def _flow() -> linear_flow.Flow:
    return linear_flow.Flow("ten").add(*[Empty(name=f"step-{number}", provides=f"result-{number}") for number in range(_TASKS)])


def in_memory() -> harness.Stopwatch:
    """taskflow's own serial engine, without a record."""
    with harness.measured() as watch:
        for _ in range(_RUNS):
            engines.run(_flow(), store={"load_balancer_id": "lb"}, engine="serial")
    return watch


def recorded(db: database.Database) -> harness.Stopwatch:
    """Our engine, on the shared pool, with a record of each task."""
    with db.begin() as tx:
        lease = tx.leases.take("lb", "benchmark", 3600.0)
    assert lease is not None
    records = persistence.Records(db)
    job = jobs.UpdateLoadBalancer(load_balancer_id="lb")
    with futures.ThreadPoolExecutor(4) as pool, harness.measured() as watch:
        for _ in range(_RUNS):
            flow, job_id = _flow(), str(uuid.uuid4())
            opened = records.open(job_id, flow.name, engine.definition(flow, job), lease)
            runner = engine.FlowEngine(flow, opened, pool)
            runner.storage.inject({"load_balancer_id": "lb"}, transient=True)
            result = runner.advance()
            assert result.outcome is engine.Outcome.SUCCEEDED, result
            records.close(opened)
    return watch


class _Catalog:
    def look(self, services: Any, tx: database.Transaction, job: jobs.Job) -> passes.Look:
        """Nothing is below these load balancers."""
        return small_flows.look(services, tx, job)

    def admit(self, snapshot: model.Snapshot, job: jobs.Job) -> jobs.Job | None:
        """All are wanted."""
        return job

    def build(self, services: Any, job: jobs.Job, seen: passes.Look | None = None) -> linear_flow.Flow:
        """Ten empty tasks."""
        return _flow()


def whole_jobs(db: database.Database, folder: pathlib.Path) -> harness.Stopwatch:
    """From post to consumption: claim, lease, snapshot, flow, settlement; many load balancers at once."""
    services = small_flows.Services(db, folder)
    worker = conductor.Conductor(services, _Catalog(), conductor.Options(host="benchmark"))
    names = [f"steps-{number}" for number in range(_RUNS)]
    for name in names:
        small_flows.add_load_balancer(db, name)
        with db.begin() as tx:  # nothing is owed, so that one run is all
            tx.leases.take(name, "benchmark", 0.0)
            lease = tx.leases.take(name, "benchmark", 60.0)
            assert lease is not None
            tx.settlement.settle(name, 2, lease)
            tx.leases.release(lease)
    thread = threading.Thread(target=worker.run)
    with harness.measured() as watch:
        for name in names:
            with db.begin() as tx:
                tx.jobs.post(jobs.UpdateLoadBalancer(load_balancer_id=name))
        thread.start()
        while _waiting(db):
            time.sleep(0.02)
        worker.stop()
        thread.join()
    return watch


def _waiting(db: database.Database) -> int:
    with db.read() as tx:
        return len(tx.jobs.page(1))


def main() -> None:
    """Print the figures."""
    calibration = harness.calibrate()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        db = small_flows.new_database(folder)
        small_flows.add_load_balancer(db, "lb")
        cases = {
            "taskflow's serial engine, no record": in_memory(),
            "our engine, recorded on SQLite": recorded(db),
            "whole job, post to consumption": whole_jobs(db, folder),
        }
        db.close()
    for case, watch in cases.items():
        per_task = watch.cpu_seconds / _RUNS / _TASKS
        harness.emit(
            "taskflow_overhead",
            case=case,
            tasks=_TASKS,
            flows=_RUNS,
            cpu_seconds_per_task=per_task,
            wall_seconds_per_task=watch.wall_seconds / _RUNS / _TASKS,
            calibration_seconds=calibration,
            ratio=per_task / calibration,
            goal_cpu_seconds_per_task=None if case.startswith("taskflow") else _GOAL_SECONDS_PER_TASK,
        )


if __name__ == "__main__":
    main()
