"""Small real flows, a catalog of them, and rows for them: what the tests of conductor and persistence run.

What a load balancer's flow does is told by the first word of its id: `steps-1` runs five steps, `waits-1` waits in the middle for a
file, `fails-1` fails at its fourth step as long as a file exists, and so on. Every step writes a line into a journal, a file that
outlives the worker.
"""

from __future__ import annotations

import datetime
import os
import pathlib
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from taskflow import flow as taskflow_flow
from taskflow import task
from taskflow.patterns import linear_flow, unordered_flow

from controller import exceptions, jobs
from controller.db import database, tables
from controller.drivers.amphora import waiting
from controller.model import load_balancer as model
from controller.model import status
from controller.tasks import passes, retries
from tests import databases


class Services:
    """The database, and a folder for the journal and the files that flows look for."""

    def __init__(self, db: database.Database, folder: pathlib.Path) -> None:
        self.db = db
        self.folder = folder
        self.waiting = waiting.Waiting()

    def write(self, line: str) -> None:
        """Append a line to the journal, at once."""
        with open(self.folder / "journal", "a", encoding="utf-8") as journal:
            journal.write(f"{line}\n")

    def journal(self, load_balancer_id: str | None = None) -> list[str]:
        """The journal's lines: of one load balancer without its id, or all."""
        path = self.folder / "journal"
        lines = path.read_text().splitlines() if path.exists() else []
        if load_balancer_id is None:
            return lines
        return [line.partition(" ")[2] for line in lines if line.startswith(f"{load_balancer_id} ")]

    def close(self) -> None:
        """Close the database."""
        self.db.close()


class Step(task.Task):
    """Writes its name."""

    def __init__(self, services: Services, name: str, **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.services = services

    def execute(self, load_balancer_id: str) -> str:
        self.services.write(f"{load_balancer_id} {self.name}")
        return str(self.name)

    def revert(self, load_balancer_id: str, **_: Any) -> None:
        self.services.write(f"{load_balancer_id} undo {self.name}")


class Fault(task.Task):
    """First in a flow, so reverted last: says in the rows why the flow failed, as the real one does."""

    def __init__(self, services: Services) -> None:
        super().__init__(name="fault")
        self.services = services

    def execute(self, load_balancer_id: str) -> int:
        with self.services.db.read() as tx:
            return tx.snapshots.get(load_balancer_id).generation

    def revert(self, load_balancer_id: str, lease: jobs.Lease, result: int, flow_failures: dict[str, Any], **_: Any) -> None:
        code, words = retries.explain(next(iter(flow_failures.values())))
        fault = model.Fault(code=code, message=words, occurred_at=datetime.datetime.now(datetime.UTC))
        with self.services.db.begin() as tx:
            tx.settlement.fail(load_balancer_id, result, fault, lease)
        self.services.write(f"{load_balancer_id} undo fault: {words}")


class Settle(Step):
    """Marks what was applied."""

    def execute(self, load_balancer_id: str, lease: jobs.Lease, generation: int) -> None:  # type: ignore[override]  # a flow gives what a step asks for
        # In this order: a worker that dies in between settles again, while a settled row would never be settled a second time.
        self.services.write(f"{load_balancer_id} settle")
        with self.services.db.begin() as tx:
            tx.settlement.settle(load_balancer_id, generation, lease)


class Load(Step):
    """Reads the generation that is to be applied."""

    default_provides = "generation"

    def execute(self, load_balancer_id: str) -> int:  # type: ignore[override]
        super().execute(load_balancer_id)
        with self.services.db.read() as tx:
            return tx.snapshots.get(load_balancer_id).generation


class Await(retries.Patient):
    """Waits for a file."""

    def __init__(self, services: Services, word: str, patience: float = 60.0) -> None:
        super().__init__(name=f"await-{word}", patience=patience)
        self.services, self.word = services, word

    def execute(self, load_balancer_id: str) -> str:
        if not (self.services.folder / self.word).exists():
            self.services.write(f"{load_balancer_id} no {self.word}")
            raise exceptions.NotYet(f"{self.word} was not seen yet")
        self.services.write(f"{load_balancer_id} {self.word}")
        return self.word


class FailWhile(Step):
    """Fails as long as a file exists."""

    def execute(self, load_balancer_id: str) -> str:
        if (self.services.folder / "broken").exists():
            raise exceptions.ComputeFault("no machine today")
        return super().execute(load_balancer_id)


class Slow(Step):
    """Takes half a second, and says when it began and ended."""

    def execute(self, load_balancer_id: str) -> str:
        self.services.write(f"{load_balancer_id} begin {os.getpid()}")
        time.sleep(0.5)
        self.services.write(f"{load_balancer_id} end {os.getpid()}")
        return str(self.name)


class Hold(Step):
    """Holds its thread until there is a file of its run's number, and says when it began and ended."""

    def execute(self, load_balancer_id: str) -> str:
        number = 1 + sum(line.startswith("hold ") for line in self.services.journal(load_balancer_id))
        self.services.write(f"{load_balancer_id} hold {number}")
        while not (self.services.folder / f"go-{number}").exists():
            time.sleep(0.01)
        self.services.write(f"{load_balancer_id} held {number}")
        return str(self.name)


class Hang(Step):
    """Waits for an agent that does not answer as long as a file exists."""

    def execute(self, load_balancer_id: str) -> str:
        self.services.write(f"{load_balancer_id} hangs")
        with self.services.waiting.of(load_balancer_id):
            while (self.services.folder / "hanging").exists():
                time.sleep(0.01)
        return super().execute(load_balancer_id)


class Meet(Step):
    """Two of them succeed only side by side."""

    barrier = threading.Barrier(2)

    def execute(self, load_balancer_id: str) -> str:
        self.barrier.wait(timeout=10)
        return super().execute(load_balancer_id)


class Stubborn(Step):
    """Can't be undone."""

    def revert(self, load_balancer_id: str, **_: Any) -> None:
        raise exceptions.ComputeFault("it stays")


class Stolen(Step):
    """Another worker takes the load balancer over while this step runs, as long as a file exists."""

    def execute(self, load_balancer_id: str, lease: jobs.Lease) -> str:  # type: ignore[override]
        stolen = self.services.folder / "stolen"
        if not stolen.exists():
            stolen.touch()
            with self.services.db.begin() as tx:
                tx.leases.release(lease)
                assert tx.leases.take(load_balancer_id, "somebody-else", 30)
            with self.services.db.begin() as tx:
                tx.leases.check(lease)
        return super().execute(load_balancer_id)


def admit(snapshot: model.Snapshot, job: jobs.Job) -> jobs.Job | None:
    """Nothing is owed once the newest generation is applied."""
    owner = snapshot.load_balancer
    settled = owner.provisioning_status is status.ProvisioningStatus.ACTIVE and owner.generation == owner.applied_generation
    return None if settled else job


def look(_services: Any, tx: database.Transaction, job: jobs.Job) -> passes.Look:
    """Nothing is below these load balancers."""
    return passes.Look(tx.snapshots.outline(job.load_balancer_id), is_whole=False)


def build(services: Any, job: jobs.Job, _seen: passes.Look | None = None) -> taskflow_flow.Flow:
    """The flow that the load balancer's id tells. A worker process finds its folder in the environment."""
    if not isinstance(services, Services):
        services = Services(services.db, pathlib.Path(os.environ["SMALL_FLOWS"]))

    def step(name: str, kind: type[Step] = Step) -> Step:
        return kind(services, name)

    middles: dict[str, Callable[[], list[Any]]] = {
        "steps": lambda: [step("two"), step("three")],
        "waits": lambda: [step("two"), Await(services, "signal"), step("three")],
        "pair": lambda: [
            unordered_flow.Flow("pair").add(
                linear_flow.Flow("a").add(step("boot-a"), Await(services, "signal"), step("plug-a")),
                linear_flow.Flow("b").add(step("boot-b"), step("plug-b")),
            )
        ],
        "expires": lambda: [step("two"), Await(services, "signal", patience=0.3)],
        "fails": lambda: [step("two"), step("three"), step("fourth", FailWhile)],
        "slow": lambda: [step("two", Slow)],
        "holds": lambda: [step("two"), step("three", Hold), step("fourth")],
        "hangs": lambda: [step("two", Hang)],
        "forgetful": lambda: [step("two"), step("three", Hold), step("fourth")],
        "beside": lambda: [unordered_flow.Flow("both").add(step("a", Meet), step("b", Meet))],
        "stubborn": lambda: [step("two", Stubborn), step("three", FailWhile)],
        "stolen": lambda: [step("two"), step("three", Stolen)],
        "bug": lambda: [][1],
        "lazy": list,
    }
    middle = middles[job.load_balancer_id.partition("-")[0]]()
    flow = linear_flow.Flow("small").add(Fault(services), Load(services, "load"), *middle)
    if not job.load_balancer_id.startswith("lazy"):
        flow.add(Settle(services, "settle"))
    if job.load_balancer_id.startswith("forgetful"):
        flow.recorded = False
    return flow


def put_job(tx: database.Transaction, kind: str, details: dict[str, str], load_balancer_id: str, subject: str) -> str:
    """A row on the board as another version may have written it, whatever else waits there; its id."""
    times = {"available_at": 0.0, "posted_at": tx.jobs._now()}
    values = {"kind": kind, "details": details, "load_balancer_id": load_balancer_id, "subject": subject}
    made = str(uuid.uuid4())
    tx.connection.execute(sa.insert(tables.jobs).values(id=made, **values, **times))
    return made


def add_load_balancer(db: database.Database, load_balancer_id: str, project_id: str = "p") -> None:
    """A load balancer that is complete but for a change that was accepted: generation 2, and 1 is applied."""
    now = datetime.datetime.now(datetime.UTC)
    with db.begin() as tx:
        tx.connection.execute(
            sa.insert(tables.load_balancers).values(
                id=load_balancer_id,
                project_id=project_id,
                provisioning_status="PENDING_UPDATE",
                operating_status="ONLINE",
                generation=2,
                applied_generation=1,
                created_at=now,
                provider="amphora",
                topology="SINGLE",
                vip_address="198.19.10.10",
                vip_port_id="port",
                vip_subnet_id="subnet",
                vip_network_id="network",
                vip_sg_ids=[],
            )
        )
        tx.connection.execute(
            sa.insert(tables.amphorae).values(
                id=f"a-{load_balancer_id}", load_balancer_id=load_balancer_id, status="ALLOCATED", role="STANDALONE", created_at=now
            )
        )


def change(db: database.Database, load_balancer_id: str) -> str:
    """Accept another change and post its job, as the API does; returns the job's id."""
    with db.begin() as tx:
        tx.load_balancers.advance(load_balancer_id)
        return tx.jobs.post(jobs.UpdateLoadBalancer(load_balancer_id=load_balancer_id), request_id="req-1")


def state(db: database.Database, load_balancer_id: str) -> Any:
    """The load balancer's row."""
    with db.read() as tx:
        return (
            tx.connection.execute(sa.select(tables.load_balancers).where(tables.load_balancers.c.id == load_balancer_id)).mappings().one()
        )


def new_database(folder: pathlib.Path, url: str | None = None) -> database.Database:
    """An empty database with all tables: SQLite in a folder, or at another URL, where what an earlier test left is taken away."""
    if url is None:
        databases.write_empty(folder / "figlina.db")
        return database.Database(f"sqlite:///{folder}/figlina.db")
    db = database.Database(url)
    tables.metadata.drop_all(db.engine)
    tables.metadata.create_all(db.engine)
    return db
