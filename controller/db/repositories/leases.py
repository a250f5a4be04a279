"""Who may change a load balancer's amphorae now, and how often in a row that failed.

A lease is three columns in the load balancer's row. Taking it raises the token; every write that must not come from a worker that lost it
begins with `check` in the same transaction.
"""

from __future__ import annotations

import datetime
import time

import sqlalchemy as sa

from controller import exceptions, jobs
from controller.db import tables
from controller.db.repositories import base

_LOAD_BALANCERS = tables.load_balancers.c


def _held(lease: jobs.Lease) -> sa.ColumnElement[bool]:
    return sa.and_(
        _LOAD_BALANCERS.id == lease.load_balancer_id,
        _LOAD_BALANCERS.lease_owner == lease.owner,
        _LOAD_BALANCERS.lease_token == lease.token,
    )


class Leases(base.Repository):
    """Take, keep, check and give back leases."""

    def take(self, load_balancer_id: str, owner: str, expiry: float, now: float | None = None) -> jobs.Lease | None:
        """The lease for `expiry` seconds; None while another one (also of the same owner) is live.

        :raises NotFound: no such load balancer.
        """
        now = time.time() if now is None else now
        changed = self._connection.execute(
            sa.update(tables.load_balancers)
            .where(_LOAD_BALANCERS.id == load_balancer_id)
            .where(sa.or_(_LOAD_BALANCERS.lease_owner.is_(None), _LOAD_BALANCERS.lease_expires_at <= now))
            .values(lease_owner=owner, lease_token=_LOAD_BALANCERS.lease_token + 1, lease_expires_at=now + expiry)
        )
        token = self._connection.execute(sa.select(_LOAD_BALANCERS.lease_token).where(_LOAD_BALANCERS.id == load_balancer_id)).scalar()
        if token is None:
            raise exceptions.NotFound("load balancer", load_balancer_id)
        return jobs.Lease(load_balancer_id, owner, token) if changed.rowcount else None

    def check(self, lease: jobs.Lease) -> None:
        """Make sure that the lease still holds, until this transaction ends: call it before what only the holder may write.

        A lease that has expired holds as long as nobody else took it.

        :raises StaleLease: another worker took the load balancer over.
        """
        held = sa.select(_LOAD_BALANCERS.id).where(_held(lease)).with_for_update()
        if self._connection.execute(held).first() is None:
            raise exceptions.StaleLease(lease.load_balancer_id)

    def refresh(self, lease: jobs.Lease, expiry: float, now: float | None = None) -> bool:
        """Keep the lease for another `expiry` seconds; False if it was lost."""
        expires_at = (time.time() if now is None else now) + expiry
        statement = sa.update(tables.load_balancers).where(_held(lease)).values(lease_expires_at=expires_at)
        return bool(self._connection.execute(statement).rowcount)

    def release(self, lease: jobs.Lease) -> bool:
        """Give the lease back; False if it was lost. Follow with `jobs.wake`, for the jobs that waited for it."""
        statement = sa.update(tables.load_balancers).where(_held(lease)).values(lease_owner=None, lease_expires_at=0.0)
        return bool(self._connection.execute(statement).rowcount)

    def note_success(self, lease: jobs.Lease) -> None:
        """A flow succeeded: count failures from nought again."""
        changed = {"failures": 0, "next_try_at": 0.0}
        failed = sa.or_(_LOAD_BALANCERS.failures != 0, _LOAD_BALANCERS.next_try_at != 0.0)
        self._connection.execute(sa.update(tables.load_balancers).where(_held(lease), failed).values(changed))

    def failures(self, load_balancer_id: str) -> int:
        """How often in a row flows of this load balancer failed."""
        found = self._connection.execute(sa.select(_LOAD_BALANCERS.failures).where(_LOAD_BALANCERS.id == load_balancer_id)).scalar()
        return found or 0

    def note_failure(self, lease: jobs.Lease, next_try_at: float) -> None:
        """A flow failed: one more failure in a row; the next try stands in the row, and in the faults that people read."""
        self._connection.execute(
            sa.update(tables.load_balancers).where(_held(lease)).values(failures=_LOAD_BALANCERS.failures + 1, next_try_at=next_try_at)
        )
        when = datetime.datetime.fromtimestamp(next_try_at, datetime.UTC)
        faults = tables.faults.c
        mine = sa.or_(faults.load_balancer_id == lease.load_balancer_id, faults.object_id == lease.load_balancer_id)
        self._connection.execute(sa.update(tables.faults).where(mine).values(next_try_at=when))
