"""The jobboard's rows: posting, claiming, waking. Everything that two workers could do at once is one conditional UPDATE.

Whoever locks both a load balancer's row and one of its jobs in a transaction locks the load balancer's first, or two wait for each other.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from controller import exceptions, jobs
from controller.db import rows, tables
from controller.jobs import turns

_JOBS = tables.jobs.c
_LOAD_BALANCERS = tables.load_balancers.c
_AWAKE = 0.0
"""`available_at` of a job that was woken. `release` leaves it alone, so that a wake-up during a claim is not lost."""


# Statements that run all the time are made once: SQLAlchemy takes longer to make one than SQLite to run it.
_NOW: sa.BindParameter[float] = sa.bindparam("now")
_FREE = sa.or_(_LOAD_BALANCERS.lease_owner.is_(None), _LOAD_BALANCERS.lease_expires_at <= _NOW)
_CLAIMABLE = (
    sa.select(_JOBS.id, _JOBS.load_balancer_id, _LOAD_BALANCERS.project_id)
    .select_from(tables.jobs.outerjoin(tables.load_balancers, _LOAD_BALANCERS.id == _JOBS.load_balancer_id))
    .where(_JOBS.priority == sa.bindparam("of_priority"), _JOBS.available_at <= _NOW, _JOBS.claim_expires_at <= _NOW, _FREE)
    .order_by(_JOBS.available_at)
    .limit(sa.bindparam("most"))
)
_LONGEST_QUEUE = 20_000
"""Jobs of one priority among which projects take turns, at most: all of them are read where there are more than places (2 us for each)."""
_QUEUE = _CLAIMABLE.add_columns(_JOBS.available_at, _JOBS.posted_at).limit(_LONGEST_QUEUE).subquery()
_TURN = sa.func.row_number().over(partition_by=_QUEUE.c.project_id, order_by=(_QUEUE.c.available_at, _QUEUE.c.posted_at))
_TURNS = sa.select(_QUEUE, _TURN.label("turn")).subquery()
_BY_TURNS = (
    sa.select(_TURNS.c.id, _TURNS.c.load_balancer_id, _TURNS.c.project_id)
    .order_by(_TURNS.c.turn, _TURNS.c.available_at, _TURNS.c.posted_at)
    .limit(sa.bindparam("most"))
)
_NEXT_DUE = (
    sa.select(_JOBS.available_at)
    .where(_JOBS.priority == sa.bindparam("of_priority"), _JOBS.available_at > _NOW)
    .order_by(_JOBS.available_at)
    .limit(1)
)
_CLAIM = (
    sa.update(tables.jobs)
    .where(_JOBS.id == sa.bindparam("of_job"), _JOBS.available_at <= _NOW, _JOBS.claim_expires_at <= _NOW)
    .values(
        owner=sa.bindparam("of_owner"),
        claim_token=_JOBS.claim_token + 1,
        claim_expires_at=sa.bindparam("expires_at"),
        available_at=sa.bindparam("expires_at"),  # out of the way of `claimable`; a wake-up during the claim sets it to 0
        attempts=_JOBS.attempts + 1,
    )
)
_GET = sa.select(tables.jobs).where(_JOBS.id == sa.bindparam("of_job"))
_HELD = sa.and_(_JOBS.id == sa.bindparam("of_job"), _JOBS.owner == sa.bindparam("of_owner"), _JOBS.claim_token == sa.bindparam("of_token"))
_UNTIL: sa.BindParameter[float] = sa.bindparam("until", type_=sa.Double())
_UNLESS_WOKEN = sa.case((_JOBS.available_at == _AWAKE, _AWAKE), else_=_UNTIL)
_EXTEND = sa.update(tables.jobs).where(_HELD).values(claim_expires_at=_UNTIL, available_at=_UNLESS_WOKEN)
_RELEASE = sa.update(tables.jobs).where(_HELD).values(owner=None, claim_expires_at=0.0, available_at=_UNLESS_WOKEN)
_CONSUME = sa.delete(tables.jobs).where(_HELD)
_DROP_RECORD = sa.delete(tables.flow_records).where(tables.flow_records.c.job_id == sa.bindparam("of_job"))
_WAITING = rows.Prepared(
    sa.select(_JOBS.id, _JOBS.available_at, _JOBS.priority)
    .where(_JOBS.subject == sa.bindparam("of_subject"), _JOBS.owner.is_(None))
    .limit(1)
)
_POST_AGAIN = rows.Prepared(
    sa.update(tables.jobs)
    .where(_JOBS.id == sa.bindparam("of_job"), _JOBS.owner.is_(None))
    .values(
        available_at=sa.bindparam("due"),
        priority=sa.bindparam("of_priority"),
        request_id=sa.func.coalesce(sa.bindparam("of_request", type_=_JOBS.request_id.type), _JOBS.request_id),
    )
)
_UNCLAIMED = (
    sa.select(_JOBS.kind, _JOBS.details)
    .where(_JOBS.load_balancer_id == sa.bindparam("of_load_balancer"), _JOBS.owner.is_(None))
    .order_by(_JOBS.posted_at)
    .limit(100)
)
_WAKE = sa.update(tables.jobs).where(_JOBS.load_balancer_id == sa.bindparam("of_load_balancer")).values(available_at=_AWAKE)


def _claim(row: rows.Row, owner: str, expires_at: float) -> jobs.Claim:
    same = {name: row[name] for name in ("id", "kind", "load_balancer_id", "details", "attempts", "priority", "request_id")}
    return jobs.Claim(**same, owner=owner, token=row["claim_token"], expires_at=expires_at)


def _held(claim: jobs.Claim) -> dict[str, object]:
    return {"of_job": claim.id, "of_owner": claim.owner, "of_token": claim.token}


class Jobs(rows.Repository):
    """Posting, claiming, extending, releasing, consuming and waking jobs."""

    def post(self, job: jobs.Job, *, request_id: str | None = None, priority: int = jobs.NORMAL, available_at: float = _AWAKE) -> str:
        """Put a job on the board and return its id.

        An unclaimed job of the same subject is found and returned instead, as posted first, but due at the earlier of both times, with
        the higher priority and the newer request id. A job that is being run now is not found: it may have read the rows before the caller
        wrote them.

        :raises ValueError: not one of `jobs.PRIORITIES`; only these are looked for.
        """
        if priority not in jobs.PRIORITIES:
            raise ValueError(f"priority {priority} is none of {jobs.PRIORITIES}")
        for found in _WAITING.rows(self._connection, {"of_subject": job.subject}):
            due, highest = min(found.available_at, available_at), max(found.priority, priority)
            again = {"of_job": found.id, "due": due, "of_priority": highest, "of_request": request_id}
            # A worker may have claimed it since: then this one is not found after all, and a new one is posted.
            if _POST_AGAIN.change(self._connection, again):
                return str(found.id)
        values = {name: getattr(job, name) for name in ("kind", "load_balancer_id", "subject")} | {"details": jobs.dump(job)}
        when = {"priority": priority, "available_at": available_at, "posted_at": self._now()}
        job_id = str(uuid.uuid4())
        self._connection.execute(sa.insert(tables.jobs).values(id=job_id, request_id=request_id, **values, **when))
        return job_id

    def claimable(
        self, limit: int, now: float | None = None, *, urgent: int = 0, standing: turns.Standing | None = None
    ) -> list[turns.Due]:
        """Jobs that may be claimed: by priority, and then by the time they became due, if there are no more than `limit`. If there are,
        projects take turns, as they stand now. `urgent` jobs more are given if they are.

        Those of leased load balancers are left out.

        Goes by index, and reads `limit` rows and those that are leased or claimed before them; all that is due if that is more.
        """
        now = self._now() if now is None else now
        found: list[turns.Due] = []
        for priority in jobs.PRIORITIES:
            most = limit + (urgent if priority == jobs.URGENT else 0) - len(found)
            if most > 0:
                found += self._next(priority, most, now, standing or turns.Standing())
        return found

    def _next(self, priority: int, most: int, now: float, standing: turns.Standing) -> list[turns.Due]:
        wanted = {"of_priority": priority, "now": now}
        due = self._due(_CLAIMABLE, {**wanted, "most": most + 1})
        if len(due) <= most:
            return due
        return turns.choose(self._due(_BY_TURNS, {**wanted, "most": most + standing.behind}), most, standing)

    def _due(self, statement: sa.Select[tuple[str, str, str | None]], wanted: Mapping[str, object]) -> list[turns.Due]:
        return [turns.Due(row.id, row.load_balancer_id, row.project_id) for row in self._connection.execute(statement, wanted)]

    def next_due(self, now: float | None = None) -> float | None:
        """When the next job that is not due yet becomes so."""
        now = self._now() if now is None else now
        firsts = [self._connection.execute(_NEXT_DUE, {"of_priority": priority, "now": now}).scalar() for priority in jobs.PRIORITIES]
        return min((first for first in firsts if first is not None), default=None)

    def claim(self, job_id: str, owner: str, expiry: float, now: float | None = None) -> jobs.Claim | None:
        """Claim a due job for `expiry` seconds; None if another worker was faster, or it is not due any more.

        A claim that has expired is taken over.
        """
        now = self._now() if now is None else now
        expires_at = now + expiry
        changed = self._connection.execute(_CLAIM, {"of_job": job_id, "of_owner": owner, "now": now, "expires_at": expires_at})
        if not changed.rowcount:
            return None
        return _claim(self._rows(_GET, {"of_job": job_id})[0], owner, expires_at)

    def extend(self, claim: jobs.Claim, expiry: float, now: float | None = None) -> bool:
        """Keep a claim for another `expiry` seconds; False if it was lost."""
        until = (self._now() if now is None else now) + expiry
        return bool(self._connection.execute(_EXTEND, {**_held(claim), "until": until}).rowcount)

    def release(self, claim: jobs.Claim, available_at: float = _AWAKE) -> bool:
        """Give a claim back; the job is due at `available_at`, or at once if it was woken meanwhile. False if the claim was lost."""
        return bool(self._connection.execute(_RELEASE, {**_held(claim), "until": available_at}).rowcount)

    def consume(self, claim: jobs.Claim) -> bool:
        """Take a job off the board for good, with the record of its flow; False if the claim was lost."""
        if not self._connection.execute(_CONSUME, _held(claim)).rowcount:
            return False
        self._connection.execute(_DROP_RECORD, {"of_job": claim.id})
        return True

    def wake(self, load_balancer_id: str) -> int:
        """Make every job of a load balancer due now: what it waits for may have happened. Follow with `wakeup.ring` after the commit.

        A job that is being run now is looked at again right after it was put aside. Returns how many jobs were meant.
        """
        return self._connection.execute(_WAKE, {"of_load_balancer": load_balancer_id}).rowcount

    def bring_back(self, expiry: float, longest_wait: float) -> int:
        """Bring times back that lie further ahead than anybody writes them, because the clock was set back since; how many.

        Such a claim counts as one of now: its holder extends it, or it expires. Such a job is due now.
        """
        now = self._now()
        claimed = sa.update(tables.jobs).where(_JOBS.claim_expires_at > now + 2 * expiry)
        changed = self._connection.execute(claimed.values(claim_expires_at=now + expiry, available_at=now + expiry)).rowcount
        waiting = sa.update(tables.jobs).where(_JOBS.claim_expires_at <= now, _JOBS.available_at > now + longest_wait)
        return changed + self._connection.execute(waiting.values(available_at=_AWAKE)).rowcount

    def free_owner(self, owners: Sequence[str]) -> list[str]:
        """Take claims and leases from owners that are known to be dead; returns the ids of their jobs."""
        found = self._rows(sa.select(_JOBS.id, _JOBS.load_balancer_id, _JOBS.owner).where(_JOBS.owner.in_(owners)))
        for row in found:
            leased = sa.and_(_LOAD_BALANCERS.id == row["load_balancer_id"], _LOAD_BALANCERS.lease_owner == row["owner"])
            self._connection.execute(sa.update(tables.load_balancers).where(leased).values(lease_owner=None, lease_expires_at=0.0))
            held = sa.and_(_JOBS.id == row["id"], _JOBS.owner == row["owner"])
            self._connection.execute(sa.update(tables.jobs).where(held).values(owner=None, claim_expires_at=0.0, available_at=_AWAKE))
        return [row["id"] for row in found]

    def owners(self) -> list[str]:
        """Who holds claims now; reads all claimed jobs, so it is for the start of a worker only."""
        return list(self._connection.execute(sa.select(_JOBS.owner).where(_JOBS.owner.is_not(None)).distinct()).scalars())

    def is_posted(self, subject: str) -> bool:
        """Whether a job of this subject waits or is being run."""
        return self._connection.execute(sa.select(_JOBS.id).where(_JOBS.subject == subject).limit(1)).first() is not None

    def waiting(self, load_balancer_id: str) -> list[jobs.Job]:
        """The jobs of a load balancer that nobody runs now, those that this version understands."""
        understood = []
        for row in self._rows(_UNCLAIMED, {"of_load_balancer": load_balancer_id}):
            with contextlib.suppress(exceptions.NotSupported):
                understood.append(jobs.load(row["kind"], row["details"]))
        return understood

    def page(self, limit: int, load_balancer_id: str | None = None) -> list[rows.Row]:
        """Rows in the order of posting."""
        mine = [] if load_balancer_id is None else [_JOBS.load_balancer_id == load_balancer_id]
        return self._rows(sa.select(tables.jobs).where(*mine).order_by(_JOBS.posted_at, _JOBS.id).limit(limit))
