"""The conductor on a real database, with small real flows."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from controller import exceptions, jobs
from controller.db import database, tables
from controller.jobs import wakeup
from controller.worker import conductor
from tests.functional import small_flows

QUICK = conductor.Options(
    host="test", max_workers=4, poll_interval=0.1, claim_expiry=5.0, retry_backoff=0.2, retry_backoff_max=0.4, shutdown_timeout=10.0
)


@pytest.fixture
def services(tmp_path: pathlib.Path, database_url: str | None) -> Iterator[small_flows.Services]:
    made = small_flows.Services(small_flows.new_database(tmp_path, database_url), tmp_path)
    yield made
    made.close()


@contextlib.contextmanager
def working(services: small_flows.Services, options: conductor.Options = QUICK) -> Iterator[conductor.Conductor]:
    worker = conductor.Conductor(services, small_flows, options)
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        yield worker
    finally:
        worker.stop()
        thread.join(timeout=20)
        assert not thread.is_alive()


def eventually(is_so: Callable[[], object], within: float = 60.0) -> None:
    end = time.monotonic() + within
    while not is_so():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def is_settled(services: small_flows.Services, load_balancer_id: str) -> bool:
    row = small_flows.state(services.db, load_balancer_id)
    return bool(row["provisioning_status"] == "ACTIVE" and row["generation"] == row["applied_generation"])


def nothing_is_left(services: small_flows.Services) -> bool:
    """No job, no record, no lease."""
    with services.db.read() as tx:
        leased = tx.connection.execute(sa.select(tables.load_balancers.c.id).where(tables.load_balancers.c.lease_owner.is_not(None))).all()
        return not tx.jobs.page(1) and not tx.flow_records.page(10) and not leased


def post(services: small_flows.Services, load_balancer_id: str, project_id: str = "p") -> str:
    small_flows.add_load_balancer(services.db, load_balancer_id, project_id)
    with services.db.begin() as tx:
        return tx.jobs.post(jobs.UpdateLoadBalancer(load_balancer_id=load_balancer_id), request_id="req-1")


def test_a_posted_job_is_run_and_leaves_nothing(services: small_flows.Services) -> None:
    post(services, "steps-1")
    with working(services):
        eventually(lambda: is_settled(services, "steps-1") and nothing_is_left(services))
    assert services.journal("steps-1") == ["load", "two", "three", "settle"]


def test_a_job_for_which_there_was_no_thread_is_run_once_there_is_one(
    services: small_flows.Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start
    refused: list[str] = []

    def refuse_first(thread: threading.Thread) -> None:
        if thread.name.startswith("flow") and not refused:
            refused.append(thread.name)
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse_first)
    post(services, "steps-1")
    with working(services):
        eventually(lambda: is_settled(services, "steps-1") and nothing_is_left(services))
    assert len(refused) == 1
    assert services.journal("steps-1") == ["load", "two", "three", "settle"]


HANGING = 2 * QUICK.max_workers + 1


def test_steps_wait_for_a_thread_where_there_is_no_further_one(
    services: small_flows.Services, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    start = threading.Thread.start
    refused: list[str] = []

    def refuse_all_but_one(thread: threading.Thread) -> None:
        if thread.name.startswith("step") and thread.name != "step_0":
            refused.append(thread.name)
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse_all_but_one)
    hang(services)
    with working(services):
        eventually(lambda: refused)
        (services.folder / "hanging").unlink()
        eventually(lambda: all(is_settled(services, f"hangs-{number}") for number in range(HANGING)) and nothing_is_left(services))
    assert "no further thread" in caplog.text
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


def hang(services: small_flows.Services, project_id: str = "p") -> None:
    """Work for more amphorae that do not answer than there are places; the file lets them answer."""
    (services.folder / "hanging").touch()
    for number in range(HANGING):
        post(services, f"hangs-{number}", project_id)


def hangs(services: small_flows.Services) -> int:
    """Whose work is under way, and waits for an answer."""
    return sum(line.endswith(" hangs") for line in services.journal())


def test_amphorae_that_hang_hold_up_nobody_else(services: small_flows.Services) -> None:
    hang(services)
    with working(services):
        eventually(lambda: hangs(services) == HANGING)
        post(services, "steps-1")
        eventually(lambda: is_settled(services, "steps-1"))
        assert not any(is_settled(services, f"hangs-{number}") for number in range(HANGING))
        (services.folder / "hanging").unlink()
        eventually(lambda: nothing_is_left(services))
    assert all(is_settled(services, f"hangs-{number}") for number in range(HANGING))


def test_so_many_flows_wait_for_agents_besides_as_may_and_failovers_go_on_all_the_same(services: small_flows.Services) -> None:
    hang(services)
    options = dataclasses.replace(QUICK, max_waiting=2)
    with working(services, options):
        eventually(lambda: hangs(services) == options.max_workers + options.max_waiting)
        small_flows.add_load_balancer(services.db, "steps-1")
        with services.db.begin() as tx:
            tx.jobs.post(jobs.UpdateLoadBalancer(load_balancer_id="steps-1"), priority=jobs.URGENT)
        eventually(lambda: is_settled(services, "steps-1"))
        assert hangs(services) == options.max_workers + options.max_waiting
        (services.folder / "hanging").unlink()
        eventually(lambda: nothing_is_left(services))


def test_a_project_with_much_to_do_holds_up_no_other_one(services: small_flows.Services) -> None:
    """With one place: whoever does not hold it is next."""
    names = [f"steps-{number}" for number in range(20)]
    for name in names:
        post(services, name, "much")
    post(services, "steps-other", "few")
    with working(services, dataclasses.replace(QUICK, max_workers=1)):
        eventually(lambda: nothing_is_left(services))
    ended = [line.partition(" ")[0] for line in services.journal() if line.endswith(" settle")]
    assert set(ended) == {*names, "steps-other"}
    assert ended.index("steps-other") <= 1


def test_what_is_not_owed_any_more_is_not_run(services: small_flows.Services) -> None:
    post(services, "steps-1")
    with services.db.begin() as tx:
        tx.connection.execute(sa.update(tables.load_balancers).values(provisioning_status="ACTIVE", applied_generation=2))
    with working(services):
        eventually(lambda: nothing_is_left(services))
    assert services.journal("steps-1") == []


def test_a_job_without_its_load_balancer_is_dropped(services: small_flows.Services) -> None:
    with services.db.begin() as tx:
        tx.jobs.post(jobs.UpdateLoadBalancer(load_balancer_id="gone"))
    with working(services):
        eventually(lambda: nothing_is_left(services))


def test_a_job_of_a_newer_version_is_left_on_the_board(services: small_flows.Services) -> None:
    small_flows.add_load_balancer(services.db, "steps-1")
    with services.db.begin() as tx:
        job_id = small_flows.put_job(tx, "polish-load-balancer", {}, "steps-1", "polish/steps-1")
    with working(services):
        eventually(lambda: _row(services, job_id)["attempts"] == 1 and _row(services, job_id)["owner"] is None)
    assert _row(services, job_id)["available_at"] > time.time() + 10


def _row(services: small_flows.Services, job_id: str) -> dict[str, Any]:
    with services.db.read() as tx:
        (found,) = [row for row in tx.jobs.page(1000) if row["id"] == job_id]
    return dict(found)


@pytest.mark.lengthy
def test_a_failed_flow_is_reverted_told_and_tried_again_until_it_succeeds(services: small_flows.Services) -> None:
    (services.folder / "broken").touch()
    post(services, "fails-1")
    with working(services):
        eventually(lambda: small_flows.state(services.db, "fails-1")["failures"] >= 2)
        row = small_flows.state(services.db, "fails-1")
        assert row["provisioning_status"] == "ERROR"
        assert row["next_try_at"] > time.time() - 5
        with services.db.read() as tx:
            fault = tx.connection.execute(sa.select(tables.faults)).mappings().first()
        assert fault is not None
        assert (fault["code"], fault["message"]) == ("compute", "no machine today")
        assert fault["next_try_at"] is not None
        (services.folder / "broken").unlink()
        eventually(lambda: is_settled(services, "fails-1") and nothing_is_left(services))
    assert services.journal("fails-1")[:6] == ["load", "two", "three", "undo fourth", "undo three", "undo two"]
    assert small_flows.state(services.db, "fails-1")["failures"] == 0


def _faults(services: small_flows.Services) -> list[str]:
    with services.db.read() as tx:
        return list(tx.connection.execute(sa.select(tables.faults.c.message)).scalars())


@pytest.mark.lengthy
@pytest.mark.parametrize("load_balancer_id", ["holds-1", "forgetful-1"])
def test_a_run_that_has_lost_its_lease_does_not_touch_the_next_run_of_its_job_in_the_same_worker(
    services: small_flows.Services, load_balancer_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    """As where a worker got no processor time for longer than its claims live: it takes its own job again while a step still runs."""
    job_id = post(services, load_balancer_id)

    def journal(line: str) -> bool:
        return line in services.journal(load_balancer_id)

    def let(*runs: int) -> None:
        for number in runs:
            (services.folder / f"go-{number}").touch()

    with working(services), contextlib.ExitStack() as whatever_happens:
        whatever_happens.callback(let, 1, 2, 3)
        eventually(lambda: journal("hold 1"))
        with services.db.begin() as tx:
            tx.connection.execute(sa.update(tables.load_balancers).values(lease_expires_at=0.0))
            tx.connection.execute(sa.update(tables.jobs).values(claim_expires_at=0.0, available_at=0.0))
        eventually(lambda: journal("hold 2"))
        let(1)
        eventually(lambda: "another worker has taken the load balancer over" in caplog.text)
        until = _row(services, job_id)["claim_expires_at"]
        eventually(lambda: _row(services, job_id)["claim_expires_at"] != until)  # the second run's claim is still renewed
        let(2)
        eventually(lambda: is_settled(services, load_balancer_id) and nothing_is_left(services))
    assert not _faults(services)
    assert small_flows.state(services.db, load_balancer_id)["failures"] == 0
    assert services.journal(load_balancer_id)[-3:] == ["held 2", "fourth", "settle"]


def test_a_flow_whose_revert_fails_too_still_tells_why(services: small_flows.Services) -> None:
    (services.folder / "broken").touch()
    post(services, "stubborn-1")
    with working(services):
        eventually(lambda: small_flows.state(services.db, "stubborn-1")["provisioning_status"] == "ERROR")
        eventually(lambda: _faults(services) == ["it stays"])
        (services.folder / "broken").unlink()
        eventually(lambda: is_settled(services, "stubborn-1") and nothing_is_left(services))


def test_a_mistake_in_building_a_flow_backs_off_and_does_not_end_the_worker(services: small_flows.Services) -> None:
    post(services, "bug-1")
    with working(services):
        eventually(lambda: small_flows.state(services.db, "bug-1")["failures"] >= 1)
        post(services, "steps-1")
        eventually(lambda: is_settled(services, "steps-1"))
    assert small_flows.state(services.db, "bug-1")["provisioning_status"] == "ERROR"


def test_a_flow_that_changes_nothing_is_not_run_without_pause(services: small_flows.Services) -> None:
    post(services, "lazy-1")
    with working(services):
        eventually(lambda: small_flows.state(services.db, "lazy-1")["failures"] >= 2)
        assert len(services.journal("lazy-1")) <= small_flows.state(services.db, "lazy-1")["failures"] + 2


def test_a_waiting_flow_is_put_aside_and_goes_on_where_it_waited_when_woken(services: small_flows.Services) -> None:
    job_id = post(services, "waits-1")
    slow_poll = dataclasses.replace(QUICK, poll_interval=30.0, wakeup_directory=str(services.folder / "bells"))
    with working(services, slow_poll):
        eventually(lambda: services.journal("waits-1") and _row(services, job_id)["owner"] is None)
        assert small_flows.state(services.db, "waits-1")["lease_owner"] is None
        (services.folder / "signal").touch()
        with services.db.begin() as tx:
            assert tx.jobs.wake("waits-1") == 1
        assert wakeup.ring(slow_poll.wakeup_directory) == 1
        eventually(lambda: is_settled(services, "waits-1") and nothing_is_left(services), within=10)
    assert services.journal("waits-1") == ["load", "two", "no signal", "signal", "three", "settle"]


def test_a_waiting_flow_is_looked_at_again_without_a_wake_up(services: small_flows.Services) -> None:
    post(services, "waits-1")
    with working(services):
        eventually(lambda: services.journal("waits-1").count("no signal") >= 2)
        (services.folder / "signal").touch()
        eventually(lambda: is_settled(services, "waits-1") and nothing_is_left(services))
    assert services.journal("waits-1").count("two") == 1


def test_more_flows_wait_than_there_are_places(services: small_flows.Services) -> None:
    names = [f"waits-{number}" for number in range(10)]
    for name in names:
        post(services, name)
    with working(services):
        eventually(lambda: all("no signal" in services.journal(name) for name in names))
        (services.folder / "signal").touch()
        eventually(lambda: nothing_is_left(services))
    assert all(is_settled(services, name) for name in names)


def test_one_branch_waits_while_the_other_goes_on(services: small_flows.Services) -> None:
    post(services, "pair-1")
    with working(services):
        eventually(lambda: "plug-b" in services.journal("pair-1") and "no signal" in services.journal("pair-1"))
        (services.folder / "signal").touch()
        eventually(lambda: nothing_is_left(services))
    assert services.journal("pair-1").count("boot-a") == services.journal("pair-1").count("plug-b") == 1


def test_branches_go_side_by_side(services: small_flows.Services) -> None:
    post(services, "beside-1")
    with working(services):
        eventually(lambda: is_settled(services, "beside-1"))
    assert sorted(services.journal("beside-1")) == ["a", "b", "load", "settle"]


def test_who_waits_too_long_fails_and_is_reverted(services: small_flows.Services) -> None:
    post(services, "expires-1")
    with working(services):
        eventually(lambda: small_flows.state(services.db, "expires-1")["provisioning_status"] == "ERROR")
    journal = services.journal("expires-1")
    assert "undo two" in journal
    assert "undo fault: waited too long: signal was not seen yet" in journal


def test_a_step_that_finds_its_lease_stolen_undoes_nothing(services: small_flows.Services) -> None:
    job_id = post(services, "stolen-1")
    with working(services):
        eventually(lambda: (services.folder / "stolen").exists())
        time.sleep(0.3)
        assert services.journal("stolen-1") == ["load", "two"]
        assert small_flows.state(services.db, "stolen-1")["lease_owner"] == "somebody-else"
        with services.db.begin() as tx:  # somebody else dies, and so the terms of both pass
            tx.connection.execute(sa.update(tables.load_balancers).values(lease_expires_at=0.0))
            tx.connection.execute(sa.update(tables.jobs).where(tables.jobs.c.id == job_id).values(claim_expires_at=0.0, available_at=0.0))
        eventually(lambda: is_settled(services, "stolen-1") and nothing_is_left(services))
    assert services.journal("stolen-1") == ["load", "two", "three", "settle"]


@pytest.mark.lengthy
def test_a_worker_that_lost_its_claim_leaves_the_flow_to_the_other(services: small_flows.Services) -> None:
    job_id = post(services, "holds-1")
    worker_options = dataclasses.replace(QUICK, claim_expiry=1.0, poll_interval=20.0)
    with working(services, worker_options), contextlib.ExitStack() as whatever_happens:
        whatever_happens.callback((services.folder / "go-1").touch)
        eventually(lambda: "hold 1" in services.journal("holds-1"))
        with services.db.begin() as tx:
            tx.connection.execute(
                sa.update(tables.jobs)
                .where(tables.jobs.c.id == job_id)
                .values(owner="other", claim_token=99, claim_expires_at=time.time() + 60)
            )
            tx.connection.execute(
                sa.update(tables.load_balancers).values(lease_owner="other", lease_token=99, lease_expires_at=time.time() + 60)
            )
        (services.folder / "go-1").touch()
        eventually(lambda: "held 1" in services.journal("holds-1"))
        time.sleep(0.3)
        assert "settle" not in services.journal("holds-1")
        assert _row(services, job_id)["owner"] == "other"


@pytest.mark.lengthy
def test_what_a_dead_worker_of_the_same_host_held_is_taken_over_by_one_that_lives(services: small_flows.Services) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", "from controller.worker import owner; print(owner.name('test'))"], capture_output=True, text=True, check=True
    ).stdout.strip()
    with working(services):
        small_flows.add_load_balancer(services.db, "steps-1")
        with services.db.begin() as tx:  # it dies with a claim that will hold for long
            lease = tx.leases.take("steps-1", ended, 1000.0)
            claim = tx.jobs.claim(tx.jobs.post(jobs.UpdateLoadBalancer(load_balancer_id="steps-1")), ended, 1000.0)
            assert lease is not None
            assert claim is not None
        eventually(lambda: is_settled(services, "steps-1") and nothing_is_left(services), within=10)


@pytest.mark.lengthy
def test_changes_during_a_run_cause_one_more_run_and_a_hundred_coalesce(services: small_flows.Services) -> None:
    post(services, "slow-1")
    with working(services):
        eventually(lambda: services.journal("slow-1"))
        began = time.monotonic()
        for _ in range(100):
            small_flows.change(services.db, "slow-1")
        runs_meanwhile = int((time.monotonic() - began) / 0.5)  # each run takes half a second, however slow the machine writes
        eventually(lambda: is_settled(services, "slow-1") and nothing_is_left(services))
    assert small_flows.state(services.db, "slow-1")["applied_generation"] == 102
    assert services.journal("slow-1").count("settle") <= runs_meanwhile + 3  # the first, one cut in two by the clock, the last


@pytest.mark.lengthy
def test_jobs_of_one_load_balancer_never_overlap_on_two_workers(services: small_flows.Services) -> None:
    post(services, "slow-1")
    with services.db.begin() as tx:
        for _ in range(3):
            small_flows.put_job(tx, "update-load-balancer", {"load_balancer_id": "slow-1"}, "slow-1", "another")
    with working(services), working(services):
        for _ in range(4):
            small_flows.change(services.db, "slow-1")
            time.sleep(0.3)
        eventually(lambda: is_settled(services, "slow-1") and nothing_is_left(services))
    marks = [line.split()[0] for line in services.journal("slow-1") if line.startswith(("begin", "end"))]
    assert marks == ["begin", "end"] * (len(marks) // 2)
    assert len(marks) >= 4


@pytest.mark.lengthy
def test_many_load_balancers_are_served_by_two_workers_once_each(services: small_flows.Services) -> None:
    names = [f"steps-{number}" for number in range(30)]
    for name in names:
        post(services, name)
    with working(services), working(services):
        eventually(lambda: nothing_is_left(services))
    assert all(services.journal(name) == ["load", "two", "three", "settle"] for name in names)


def test_a_worker_that_stops_ends_the_step_and_puts_the_flow_aside(services: small_flows.Services) -> None:
    job_id = post(services, "holds-1")
    with working(services) as worker, contextlib.ExitStack() as whatever_happens:
        whatever_happens.callback((services.folder / "go-1").touch)
        eventually(lambda: "hold 1" in services.journal("holds-1"))
        worker.stop()
    assert services.journal("holds-1") == ["load", "two", "hold 1", "held 1"]
    assert _row(services, job_id)["owner"] is None
    assert small_flows.state(services.db, "holds-1")["lease_owner"] is None
    with working(services):
        eventually(lambda: is_settled(services, "holds-1") and nothing_is_left(services))
    assert services.journal("holds-1") == ["load", "two", "hold 1", "held 1", "fourth", "settle"]


def test_an_upgraded_flow_is_run_from_the_beginning(services: small_flows.Services, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = post(services, "waits-1")
    with working(services):
        eventually(lambda: "no signal" in services.journal("waits-1"))
        eventually(lambda: _row(services, job_id)["owner"] is None)
    (services.folder / "signal").touch()
    old = small_flows.build
    monkeypatch.setattr(small_flows, "build", lambda services, job, seen: old(services, job, seen).add(small_flows.Step(services, "new")))
    with working(services):
        eventually(lambda: is_settled(services, "waits-1") and nothing_is_left(services))
    assert services.journal("waits-1")[-6:] == ["load", "two", "signal", "three", "settle", "new"]


def test_a_stale_lease_can_neither_settle_nor_fail_anything(services: small_flows.Services) -> None:
    small_flows.add_load_balancer(services.db, "steps-1")
    with services.db.begin() as tx:
        old = tx.leases.take("steps-1", "one", 0.0, now=1.0)
        new = tx.leases.take("steps-1", "two", 60.0)
        assert old is not None
        assert new is not None
        assert tx.leases.take("steps-1", "three", 60.0) is None
        with pytest.raises(exceptions.StaleLease):
            tx.leases.check(old)
        with pytest.raises(exceptions.StaleLease):
            tx.settlement.settle("steps-1", 2, old)
        tx.leases.note_failure(old, 1.0)
        assert not tx.leases.release(old)
        assert not tx.leases.refresh(old, 60)
        tx.leases.check(new)
    assert small_flows.state(services.db, "steps-1")["failures"] == 0


def test_a_folder_for_bells_that_can_not_be_made_costs_the_wake_ups_only(services: small_flows.Services) -> None:
    (services.folder / "file").touch()
    post(services, "steps-1")
    with working(services, dataclasses.replace(QUICK, wakeup_directory=str(services.folder / "file" / "bells"))):
        eventually(lambda: is_settled(services, "steps-1"))


@pytest.mark.lengthy
def test_a_database_that_is_busy_undoes_nothing(tmp_path: pathlib.Path) -> None:
    """Somebody else holds SQLite's lock again and again, for longer than the worker waits for it."""
    small_flows.new_database(tmp_path).close()
    services = small_flows.Services(database.Database(f"sqlite:///{tmp_path}/figlina.db", busy_timeout=0.02), tmp_path)
    patient = small_flows.Services(database.Database(f"sqlite:///{tmp_path}/figlina.db"), tmp_path)
    names = [f"steps-{number}" for number in range(8)]
    for name in names:
        post(patient, name)
    with working(services):
        for _ in range(15):
            with patient.db.begin():
                time.sleep(0.1)
            time.sleep(0.02)
        eventually(lambda: nothing_is_left(patient), within=40)
    assert all(is_settled(patient, name) for name in names)
    assert not [line for line in patient.journal() if "undo" in line]
    assert all(small_flows.state(patient.db, name)["failures"] == 0 for name in names)
    services.close()
    patient.close()


def test_a_load_balancer_that_rests_is_leased_by_nobody_until_its_rest_is_over(services: small_flows.Services) -> None:
    post(services, "steps-1")
    with services.db.begin() as tx:
        lease = tx.leases.take("steps-1", "one", 30.0, now=100.0)
        assert lease is not None
        assert tx.leases.rest(lease, 0.5, now=100.0)
        assert not tx.leases.refresh(lease, 30.0, now=100.1)
        assert tx.leases.take("steps-1", "two", 30.0, now=100.4) is None
        assert tx.leases.take("steps-1", "two", 30.0, now=100.6) is not None


@pytest.mark.parametrize(
    ("error", "traceback"),
    [(exceptions.Misconfigured("[section] option is not set"), False), (KeyError("a mistake"), True)],
    ids=["on purpose", "a mistake"],
)
def test_what_fails_outside_a_flow_is_logged_in_its_words_and_with_a_traceback_only_if_nobody_foresaw_it(
    services: small_flows.Services, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception, traceback: bool
) -> None:
    def admit(*_: object) -> None:
        raise error

    monkeypatch.setattr(small_flows, "admit", admit)
    post(services, "steps-1")
    with working(services):
        eventually(lambda: small_flows.state(services.db, "steps-1")["provisioning_status"] == "ERROR")
    said = [one for one in caplog.records if "failed outside its flow" in one.getMessage()]
    assert said
    assert all(bool(one.exc_info) is traceback for one in said)
    if not traceback:
        assert str(error) in said[0].getMessage()
