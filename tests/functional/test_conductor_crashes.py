"""Real worker processes are killed, with SIGKILL, at every task of a flow: the next one goes on, and nothing is left."""

from __future__ import annotations

import functools
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa

from controller import jobs
from controller.db import tables
from tests.functional import small_flows

pytestmark = pytest.mark.lengthy

ROOT = pathlib.Path(__file__).parent.parent.parent


@pytest.fixture
def services(tmp_path: pathlib.Path) -> Iterator[small_flows.Services]:
    made = small_flows.Services(small_flows.new_database(tmp_path), tmp_path)
    (tmp_path / "figlina.conf").write_text(
        f"""
[database]
connection = sqlite:///{tmp_path}/figlina.db
[controller_worker]
host = test
claim_expiry = 30
retry_backoff = 0.2
retry_backoff_max = 0.4
[task_flow]
poll_interval = 0.1
wakeup_directory = {tmp_path}/bells
"""
    )
    yield made
    made.close()


@pytest.fixture
def start(services: small_flows.Services) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts worker processes; those that still run at the end are killed."""
    started: list[subprocess.Popen[str]] = []

    def start_one(*options: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(ROOT / "tests/crashing_worker.py"), *options, "--catalog", "tests.functional.small_flows"]
        environment = {**os.environ, "SMALL_FLOWS": str(services.folder), "PYTHONPATH": str(ROOT)}
        with open(services.folder / f"worker-{len(started)}.log", "w", encoding="utf-8") as log:
            process = subprocess.Popen(
                [*command, "--config-file", str(services.folder / "figlina.conf")],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        started.append(process)
        return process

    yield start_one
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def post(services: small_flows.Services, load_balancer_id: str) -> None:
    small_flows.add_load_balancer(services.db, load_balancer_id)
    with services.db.begin() as tx:
        tx.jobs.post(jobs.UpdateLoadBalancer(load_balancer_id=load_balancer_id))


def eventually(is_so: Callable[[], object], within: float = 60.0) -> None:
    end = time.monotonic() + within
    while not is_so():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def settled(services: small_flows.Services) -> bool:
    with services.db.read() as tx:
        rows = tx.connection.execute(sa.select(tables.load_balancers)).mappings().all()
        clean = not tx.jobs.page(1) and not tx.flow_records.page(10)
    return clean and all(
        row["provisioning_status"] == "ACTIVE" and row["lease_owner"] is None and row["applied_generation"] == 2 for row in rows
    )


@pytest.mark.parametrize("when", ["finished", pytest.param("started", marks=pytest.mark.slow)])
def test_a_flow_survives_the_death_of_its_worker_at_every_task(
    services: small_flows.Services, start: Callable[..., subprocess.Popen[str]], when: str
) -> None:
    """Each worker finishes (or begins) one task and dies; the next one takes over at once, because it sees that the other is dead."""
    post(services, "steps-1")
    deaths = 0
    for _ in range(10):
        worker = start("--after", "1" if when == "finished" else "2", "--when", when)
        eventually(functools.partial(lambda process: process.poll() is not None or settled(services), worker))
        if settled(services):
            break
        assert worker.returncode == -signal.SIGKILL
        deaths += 1
    else:
        pytest.fail("the flow made no headway")
    assert deaths >= 4
    journal = services.journal("steps-1")
    once = [name for index, name in enumerate(journal) if journal.index(name) == index]
    assert once == ["load", "two", "three", "settle"]


@pytest.mark.slow
def test_a_revert_survives_the_death_of_its_worker_at_every_task(
    services: small_flows.Services, start: Callable[..., subprocess.Popen[str]]
) -> None:
    (services.folder / "broken").touch()
    post(services, "fails-1")
    for _ in range(10):
        worker = start("--after", "1")
        eventually(functools.partial(lambda process: process.poll() is not None, worker))
        assert worker.returncode == -signal.SIGKILL
        if any(line.startswith("undo fault") for line in services.journal("fails-1")):
            break
    else:
        pytest.fail("the revert made no headway")
    assert [line for line in services.journal("fails-1") if line.startswith("undo")] == [
        "undo fourth",
        "undo three",
        "undo two",
        "undo load",
        "undo fault: no machine today",
    ]
    row = small_flows.state(services.db, "fails-1")
    assert row["provisioning_status"] == "ERROR"
    (services.folder / "broken").unlink()
    start("--list")
    eventually(lambda: settled(services))


def test_a_worker_of_another_host_takes_over_when_the_claim_has_expired(
    services: small_flows.Services, start: Callable[..., subprocess.Popen[str]]
) -> None:
    path = services.folder / "figlina.conf"
    path.write_text(path.read_text().replace("claim_expiry = 30", "claim_expiry = 2"))
    post(services, "steps-1")
    first = start("--after", "2")
    eventually(lambda: first.poll() is not None)
    path.write_text(path.read_text().replace("host = test", "host = other"))
    start("--list")
    eventually(lambda: settled(services))
    assert services.journal("steps-1") == ["load", "two", "three", "settle"]


def test_sigterm_ends_the_worker_within_seconds_with_nothing_half_done(
    services: small_flows.Services, start: Callable[..., subprocess.Popen[str]]
) -> None:
    for number in range(3):
        post(services, f"slow-{number}")
    worker = start("--list")
    eventually(lambda: any("begin" in line for line in services.journal()))
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=15) == 0
    with services.db.read() as tx:
        assert tx.jobs.owners() == []
        assert tx.connection.execute(sa.select(tables.load_balancers).where(tables.load_balancers.c.lease_owner.is_not(None))).all() == []
    begun = [line for line in services.journal() if "begin" in line]
    assert len(begun) == len([line for line in services.journal() if " end " in line])
    assert not list((services.folder / "bells").iterdir())
    start("--list")
    eventually(lambda: settled(services))
    assert len([line for line in services.journal() if "begin" in line]) == 3


def test_the_launcher_lists_the_tasks_that_ran(services: small_flows.Services, start: Callable[..., subprocess.Popen[str]]) -> None:
    post(services, "steps-1")
    worker = start("--list")
    eventually(lambda: settled(services))
    worker.send_signal(signal.SIGTERM)
    out, _ = worker.communicate(timeout=15)
    assert out.splitlines() == [f"small {name} SUCCESS" for name in ("fault", "load", "two", "three", "settle")]


@pytest.mark.slow
def test_two_workers_that_die_again_and_again_finish_everything(
    services: small_flows.Services, start: Callable[..., subprocess.Popen[str]]
) -> None:
    """Thirty flows, some of which wait; workers die after a few tasks each, in the middle of several flows at once."""
    names = [f"steps-{number}" for number in range(20)] + [f"waits-{number}" for number in range(10)]
    for name in names:
        post(services, name)
    dying = [start("--after", str(number)) for number in (20, 30)]
    eventually(lambda: all(process.poll() is not None for process in dying), within=60)
    (services.folder / "signal").touch()
    dying = [start("--after", "25", "--when", "started")]
    eventually(lambda: all(process.poll() is not None for process in dying), within=60)
    start("--list")
    eventually(lambda: settled(services), within=60)
    for name in names:
        journal = services.journal(name)
        middle = ["signal"] if name.startswith("waits") else []
        assert not [line for line in journal if line.startswith("undo")]
        finally_done = [line for index, line in enumerate(journal) if line not in journal[index + 1 :] and line != "no signal"]
        assert finally_done in (["load", "two", *middle, "three", "settle"], ["load", "two", "three", "settle"])
