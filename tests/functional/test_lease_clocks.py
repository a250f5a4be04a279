"""Leases, claims, waits and next tries when the clock of a host is wrong, or jumps ten minutes: work goes on, and is done once."""

from __future__ import annotations

import dataclasses
import pathlib
import time
from collections.abc import Iterator
from unittest import mock

import pytest
import sqlalchemy as sa

from controller import jobs
from controller.db import database, tables
from controller.housekeeping import periodic
from tests.functional import small_flows
from tests.functional.test_conductor import QUICK, eventually, is_settled, post, working

SHORT = dataclasses.replace(QUICK, claim_expiry=1.0)
JUMPS = pytest.mark.parametrize("jump", [-600.0, 600.0], ids=["set back", "set forward"])
_REAL = time.time


class Shift:
    """The wall clock of this host, set by a test."""

    seconds = 0.0


@pytest.fixture
def services(tmp_path: pathlib.Path, database_url: str | None) -> Iterator[small_flows.Services]:
    made = small_flows.Services(small_flows.new_database(tmp_path, database_url), tmp_path)
    yield made
    made.close()


@pytest.fixture
def shift() -> Iterator[Shift]:
    made = Shift()
    with mock.patch("time.time", side_effect=lambda: _REAL() + made.seconds):
        yield made


@JUMPS
def test_what_a_dead_worker_held_is_taken_over_though_the_clock_jumped(services: small_flows.Services, shift: Shift, jump: float) -> None:
    job_id = post(services, "steps-1")
    with services.db.begin() as tx:
        assert tx.leases.take("steps-1", "another host:1:1", SHORT.claim_expiry)
        assert tx.jobs.claim(job_id, "another host:1:1", SHORT.claim_expiry)
    shift.seconds = jump
    with working(services, SHORT):
        eventually(lambda: is_settled(services, "steps-1"), within=8.0)


@JUMPS
def test_work_goes_on_though_the_clock_jumps_under_a_worker(services: small_flows.Services, shift: Shift, jump: float) -> None:
    with working(services, SHORT):
        post(services, "waits-1")
        eventually(lambda: services.journal("waits-1")[2:])
        shift.seconds = jump
        (services.folder / "signal").touch()
        eventually(lambda: is_settled(services, "waits-1"), within=8.0)
        post(services, "steps-2")
        eventually(lambda: is_settled(services, "steps-2"), within=8.0)
        shift.seconds = 0.0
        post(services, "steps-3")
        eventually(lambda: is_settled(services, "steps-3"), within=8.0)


def test_a_step_does_not_lose_its_patience_by_a_jump_of_the_clock(services: small_flows.Services, shift: Shift) -> None:
    with working(services, SHORT):
        post(services, "waits-1")
        eventually(lambda: services.journal("waits-1")[2:])
        shift.seconds = 600.0
        seen = len(services.journal("waits-1"))
        eventually(lambda: len(services.journal("waits-1")) > seen + 2)
        assert small_flows.state(services.db, "waits-1")["provisioning_status"] == "PENDING_UPDATE"
        (services.folder / "signal").touch()
        eventually(lambda: is_settled(services, "waits-1"), within=8.0)


def test_a_failed_try_comes_again_though_the_clock_was_set_back(services: small_flows.Services, shift: Shift) -> None:
    (services.folder / "broken").touch()
    with working(services, dataclasses.replace(SHORT, retry_backoff_max=100.0, retry_backoff=60.0)):
        post(services, "fails-1")
        eventually(lambda: small_flows.state(services.db, "fails-1")["failures"] == 1)
    (services.folder / "broken").unlink()
    shift.seconds = -600.0
    if not services.db.is_sqlite:
        _set_back_in_rows(services.db)  # as if it were the clock of the server
    with working(services, dataclasses.replace(SHORT, retry_backoff_max=100.0)):
        eventually(lambda: is_settled(services, "fails-1"), within=8.0)


def _set_back_in_rows(db: database.Database) -> None:
    load_balancers, board = tables.load_balancers, tables.jobs
    with db.begin() as tx:
        later = sa.update(board).where(board.c.available_at > 0).values(available_at=board.c.available_at + 600)
        tx.connection.execute(later)
        tx.connection.execute(sa.update(load_balancers).values(next_try_at=load_balancers.c.next_try_at + 600))


@JUMPS
def test_a_host_whose_clock_is_wrong_takes_nothing_from_a_living_worker(
    services: small_flows.Services, shift: Shift, database_url: str | None, jump: float
) -> None:
    if database_url is None:
        pytest.skip("processes that share an SQLite file share a machine, and its clock")
    job_id = post(services, "steps-1")
    with services.db.begin() as tx:
        assert tx.leases.take("steps-1", "a", 30.0)
        assert tx.jobs.claim(job_id, "a", 30.0)
    post(services, "steps-2")
    with services.db.begin() as tx:
        tx.connection.execute(sa.update(tables.jobs).where(tables.jobs.c.load_balancer_id == "steps-2").values(available_at=_REAL() - 0.1))
    shift.seconds = jump
    other = database.Database(database_url)
    try:
        with other.begin() as tx:
            assert [due.load_balancer_id for due in tx.jobs.claimable(10)] == ["steps-2"]
            assert tx.leases.take("steps-1", "b", 30.0) is None
            assert not tx.leaders.acquire("x", "b", 5.0) or tx.leaders.current("x") == "b"
        assert other.now() == pytest.approx(_REAL(), abs=5.0)
    finally:
        other.close()


@JUMPS
def test_a_dead_leader_is_followed_though_the_clock_jumped(services: small_flows.Services, shift: Shift, jump: float) -> None:
    first, second = (periodic.Leadership(services.db, name, expiry=0.6) for name in ("first", "second"))
    assert first.renew()
    shift.seconds = jump
    eventually(second.renew, within=5.0)
    assert not first.renew()


def test_leases_that_lie_ahead_count_as_taken_now(services: small_flows.Services) -> None:
    job_id = post(services, "steps-1")
    now = services.db.now()
    with services.db.begin() as tx:
        lease = tx.leases.take("steps-1", "a", 1.0, now + 600)
        tx.jobs.claim(job_id, "a", 1.0, now + 600)
    assert lease is not None
    with services.db.begin() as tx:
        assert tx.leases.bring_back(1.0, 60.0) + tx.jobs.bring_back(1.0, 60.0) == 2
        assert tx.jobs.claimable(10) == []
        assert [due.id for due in tx.jobs.claimable(10, services.db.now() + 1.5)] == [job_id]
        assert tx.leases.refresh(lease, 1.0)
        assert tx.leases.bring_back(1.0, 60.0) + tx.jobs.bring_back(1.0, 60.0) == 0


def test_what_waits_as_long_as_it_may_is_left_alone(services: small_flows.Services) -> None:
    small_flows.add_load_balancer(services.db, "steps-1")
    with services.db.begin() as tx:
        tx.jobs.post(jobs.UpdateLoadBalancer(load_balancer_id="steps-1"), available_at=services.db.now() + 50.0)
        assert tx.leases.bring_back(1.0, 60.0) + tx.jobs.bring_back(1.0, 60.0) == 0
