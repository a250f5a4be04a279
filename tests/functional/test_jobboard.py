"""The jobboard: the table that the conductor claims from."""

from __future__ import annotations

import concurrent.futures
import pathlib
import threading
import time
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from controller import exceptions, jobs
from controller.db import database, tables
from controller.jobs import turns
from controller.model import status
from tests.functional import small_flows

UPDATE = jobs.UpdateLoadBalancer(load_balancer_id="steps-1")


@pytest.fixture
def db(tmp_path: pathlib.Path, database_url: str | None) -> Iterator[database.Database]:
    made = small_flows.new_database(tmp_path, database_url)
    small_flows.add_load_balancer(made, "steps-1")
    yield made
    made.close()


def post(db: database.Database, job: jobs.Job = UPDATE, **options: object) -> str:
    with db.begin() as tx:
        return tx.jobs.post(job, **options)  # type: ignore[arg-type]


def claim(db: database.Database, job_id: str, owner: str = "one", expiry: float = 5.0, now: float | None = None) -> jobs.Claim | None:
    with db.begin() as tx:
        return tx.jobs.claim(job_id, owner, expiry, now)


def due(db: database.Database, limit: int = 10, now: float | None = None) -> list[str]:
    with db.read() as tx:
        return [one.id for one in tx.jobs.claimable(limit, now)]


# The table


def test_a_posted_job_is_due_and_comes_back_as_it_was(db: database.Database) -> None:
    job = jobs.CreateLoadBalancer(load_balancer_id="steps-1", topology=status.Topology.SINGLE, amphora_ids=("a",))
    job_id = post(db, job, request_id="req-7")
    assert due(db) == [job_id]
    claimed = claim(db, job_id)
    assert claimed is not None
    assert claimed.job == job
    assert (claimed.request_id, claimed.attempts, claimed.owner) == ("req-7", 1, "one")


def test_a_second_post_finds_the_first_and_makes_it_due_earlier(db: database.Database) -> None:
    later = time.time() + 100
    job_id = post(db, available_at=later, request_id="req-1")
    assert due(db) == []
    assert post(db, request_id="req-2", priority=jobs.URGENT) == job_id
    assert due(db) == [job_id]
    assert post(db, available_at=later) == job_id
    assert due(db) == [job_id]
    with db.read() as tx:
        (row,) = tx.jobs.page(10)
    assert (row["request_id"], row["priority"]) == ("req-2", jobs.URGENT)


def test_a_claimed_job_is_not_found_by_a_second_post(db: database.Database) -> None:
    job_id = post(db)
    claim(db, job_id)
    assert post(db) != job_id


def test_jobs_of_another_kind_or_amphora_are_others(db: database.Database) -> None:
    failovers = [
        jobs.FailoverAmphora(load_balancer_id="steps-1", amphora_id=amphora, replacement_id="r", role=status.Role.MASTER)
        for amphora in "ab"
    ]
    assert (
        len({post(db), *(post(db, failover) for failover in failovers), post(db, jobs.DeleteLoadBalancer(load_balancer_id="steps-1"))}) == 4
    )


def test_an_unknown_priority_is_refused(db: database.Database) -> None:
    with pytest.raises(ValueError, match="priority 7"):
        post(db, priority=7)


def test_urgent_jobs_come_first_and_then_those_that_were_due_first(db: database.Database) -> None:
    for number in range(4):
        small_flows.add_load_balancer(db, f"lb-{number}")
    order = [(0, jobs.NORMAL, 20.0), (1, jobs.NORMAL, 10.0), (2, jobs.LATER, 5.0), (3, jobs.URGENT, 30.0)]
    ids = {
        number: post(db, jobs.UpdateLoadBalancer(load_balancer_id=f"lb-{number}"), priority=priority, available_at=at)
        for number, priority, at in order
    }
    assert due(db) == [ids[3], ids[1], ids[0], ids[2]]
    assert due(db, limit=2) == [ids[3], ids[1]]


def test_projects_take_turns_where_more_is_due_than_there_are_places(db: database.Database) -> None:
    for number in range(8):
        small_flows.add_load_balancer(db, f"lb-{number}", "few" if number > 5 else "much")
    ids = [post(db, jobs.UpdateLoadBalancer(load_balancer_id=f"lb-{number}"), available_at=1.0 + number) for number in range(8)]
    with db.read() as tx:
        chosen = tx.jobs.claimable(4)
        beside = tx.jobs.claimable(2, standing=turns.Standing({"few": 1}))
        everything = tx.jobs.claimable(8, standing=turns.Standing({"much": 5}))
    assert [one.id for one in chosen] == [ids[0], ids[6], ids[1], ids[7]]
    assert [one.id for one in beside] == [ids[0], ids[1]]
    assert [one.id for one in everything] == ids
    assert [one.project_id for one in chosen] == ["much", "few", "much", "few"]


def test_a_project_with_thousands_of_jobs_hides_nobody_else(db: database.Database) -> None:
    """All of them have been due for longer."""
    thousands = [{"id": f"job-{number}", "subject": f"subject-{number}", "available_at": float(number)} for number in range(2500)]
    same = {"kind": jobs.UpdateLoadBalancer.kind, "load_balancer_id": "gone", "details": {}, "posted_at": 1.0}
    with db.begin() as tx:
        tx.connection.execute(sa.insert(tables.jobs), [same | one for one in thousands])
    small_flows.add_load_balancer(db, "lb-1", "few")
    last = post(db, jobs.UpdateLoadBalancer(load_balancer_id="lb-1"), available_at=5000.0)
    assert last in due(db, limit=2)


def test_urgent_jobs_may_have_places_of_their_own(db: database.Database) -> None:
    for number in range(4):
        small_flows.add_load_balancer(db, f"lb-{number}")
    urgent = [post(db, jobs.UpdateLoadBalancer(load_balancer_id=f"lb-{number}"), priority=jobs.URGENT) for number in range(2)]
    normal = [post(db, jobs.UpdateLoadBalancer(load_balancer_id=f"lb-{number}")) for number in (2, 3)]
    with db.read() as tx:
        found = [{one.id for one in tx.jobs.claimable(limit, urgent=more)} for limit, more in ((0, 2), (2, 1), (3, 1))]
        (first,) = tx.jobs.claimable(0, urgent=1)
    assert found[:2] == [set(urgent), set(urgent)]
    assert found[2] > set(urgent)
    assert len(found[2] & set(normal)) == 1
    assert first.id in urgent


def test_the_board_tells_when_the_next_job_becomes_due(db: database.Database) -> None:
    with db.read() as tx:
        assert tx.jobs.next_due(100.0) is None
    post(db, available_at=300.0)
    post(db, jobs.DeleteLoadBalancer(load_balancer_id="steps-1"), available_at=200.0, priority=jobs.LATER)
    with db.read() as tx:
        assert tx.jobs.next_due(100.0) == 200.0
        assert tx.jobs.next_due(250.0) == 300.0


def test_a_claim_excludes_others_until_it_expires(db: database.Database) -> None:
    job_id = post(db)
    first = claim(db, job_id, "one", expiry=10.0, now=1000.0)
    assert first is not None
    assert claim(db, job_id, "two", now=1009.0) is None
    assert due(db, now=1009.0) == []
    assert due(db, now=1010.5) == [job_id]
    second = claim(db, job_id, "two", expiry=10.0, now=1010.5)
    assert second is not None
    assert second.token > first.token
    with db.begin() as tx:
        assert not tx.jobs.extend(first, 10.0)
        assert not tx.jobs.release(first)
        assert not tx.jobs.consume(first)
        assert tx.jobs.extend(second, 10.0, now=1015.0)
    assert due(db, now=1024.0) == []
    assert due(db, now=1026.0) == [job_id]


def test_a_released_job_is_due_when_it_is_said_to_be(db: database.Database) -> None:
    job_id = post(db)
    held = claim(db, job_id)
    assert held is not None
    with db.begin() as tx:
        assert tx.jobs.release(held, time.time() + 50)
    assert due(db) == []
    assert due(db, now=time.time() + 51) == [job_id]


def test_a_wake_up_makes_a_parked_job_due(db: database.Database) -> None:
    job_id = post(db, available_at=time.time() + 100)
    with db.begin() as tx:
        assert tx.jobs.wake("steps-1") == 1
        assert tx.jobs.wake("another") == 0
    assert due(db) == [job_id]


def test_a_wake_up_during_a_claim_is_not_lost(db: database.Database) -> None:
    job_id = post(db)
    held = claim(db, job_id)
    assert held is not None
    with db.begin() as tx:
        tx.jobs.wake("steps-1")
    assert due(db) == []
    with db.begin() as tx:
        assert tx.jobs.extend(held, 5.0)
        assert tx.jobs.release(held, time.time() + 100)
    assert due(db) == [job_id]


def test_jobs_of_a_leased_load_balancer_are_not_due(db: database.Database) -> None:
    job_id = post(db)
    with db.begin() as tx:
        lease = tx.leases.take("steps-1", "one", 60.0)
        assert lease is not None
    assert due(db) == []
    assert due(db, now=time.time() + 61) == [job_id]
    with db.begin() as tx:
        tx.leases.release(lease)
    assert due(db) == [job_id]


def test_a_consumed_job_goes_with_the_record_of_its_flow(db: database.Database) -> None:
    from controller.db.repositories import flow_records

    job_id = post(db)
    held = claim(db, job_id)
    assert held is not None
    with db.begin() as tx:
        assert tx.flow_records.put(flow_records.FlowRecord(job_id, "d", 1, b"{}"))
        assert tx.jobs.consume(held)
    with db.read() as tx:
        assert not tx.jobs.page(10)
        assert tx.flow_records.get(job_id) is None


def test_what_the_dead_held_is_freed_and_nothing_else(db: database.Database) -> None:
    small_flows.add_load_balancer(db, "steps-2")
    mine, others = post(db), post(db, jobs.UpdateLoadBalancer(load_balancer_id="steps-2"))
    claim(db, mine, "dead")
    claim(db, others, "alive")
    with db.begin() as tx:
        tx.leases.take("steps-1", "dead", 60.0)
        tx.leases.take("steps-2", "alive", 60.0)
        assert sorted(tx.jobs.owners()) == ["alive", "dead"]
        assert tx.jobs.free_owner(["dead"]) == [mine]
    assert due(db) == [mine]
    with db.read() as tx:
        leased = tx.connection.execute(sa.select(tables.load_balancers.c.lease_owner)).scalars().all()
    assert sorted(leased, key=str) == [None, "alive"]


def test_many_claimers_never_get_one_job_twice(db: database.Database) -> None:
    for number in range(40):
        small_flows.add_load_balancer(db, f"lb-{number}")
        post(db, jobs.UpdateLoadBalancer(load_balancer_id=f"lb-{number}"))
    start = threading.Barrier(6)

    def claim_all(owner: str) -> list[str]:
        start.wait()
        taken = []
        while found := due(db, limit=5):
            taken += [job_id for job_id in found if claim(db, job_id, owner, expiry=60.0) is not None]
        return taken

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        taken = [job_id for mine in pool.map(claim_all, [f"worker-{number}" for number in range(6)]) for job_id in mine]
    assert len(taken) == len(set(taken)) == 40


def test_a_page_shows_the_jobs_of_all_or_of_one_load_balancer(db: database.Database) -> None:
    ids = {post(db, jobs.UpdateLoadBalancer(load_balancer_id=f"lb-{number}")) for number in range(7)}
    with db.read() as tx:
        assert {row["id"] for row in tx.jobs.page(10)} == ids
        assert len(tx.jobs.page(3)) == 3
        assert [row["load_balancer_id"] for row in tx.jobs.page(10, load_balancer_id="lb-3")] == ["lb-3"]


def test_a_job_of_an_unknown_kind_can_not_be_read(db: database.Database) -> None:
    with db.begin() as tx:
        job_id = small_flows.put_job(tx, "polish", {}, "steps-1", "polish")
    claimed = claim(db, job_id)
    assert claimed is not None
    with pytest.raises(exceptions.NotSupported):
        _ = claimed.job


# Leaders


def test_one_leads_until_it_resigns_or_expires(db: database.Database) -> None:
    with db.begin() as tx:
        assert tx.leaders.acquire("housekeeping", "one", 10.0, now=100.0)
        assert not tx.leaders.acquire("housekeeping", "two", 10.0, now=105.0)
        assert tx.leaders.acquire("housekeeping", "one", 10.0, now=108.0)
        assert tx.leaders.current("housekeeping", now=117.0) == "one"
        assert tx.leaders.acquire("housekeeping", "two", 10.0, now=119.0)
        assert not tx.leaders.resign("housekeeping", "one")
        assert tx.leaders.resign("housekeeping", "two")
        assert tx.leaders.current("housekeeping", now=119.5) is None
        assert tx.leaders.acquire("housekeeping", "one", 10.0, now=119.5)
        assert tx.leaders.acquire("other", "two", 10.0, now=119.5)
