"""Who may change a load balancer's amphorae now, and how often in a row that failed.

A lease is three columns in the load balancer's row. Taking it raises the token; every write that must not come from a worker that lost it
begins with `check` in the same transaction.
"""

from __future__ import annotations

import datetime

import sqlalchemy as sa

from controller import exceptions, jobs
from controller.db import rows, tables

_LOAD_BALANCERS = tables.load_balancers.c
RESTING = "resting"
"""The owner of a lease that nobody holds and nobody may take yet."""

# Statements are made once: SQLAlchemy takes longer to make one than SQLite to run it.
_HELD = sa.and_(
    _LOAD_BALANCERS.id == sa.bindparam("of_load_balancer"),
    _LOAD_BALANCERS.lease_owner == sa.bindparam("of_owner"),
    _LOAD_BALANCERS.lease_token == sa.bindparam("of_token"),
)
_CHANGE = sa.update(tables.load_balancers)
_CHECK = sa.select(_LOAD_BALANCERS.id).where(_HELD).with_for_update()
_FLOOR, _LAST = _LOAD_BALANCERS.order_floor, _LOAD_BALANCERS.lease_token
_NEXT_TOKEN = sa.case((_FLOOR > _LAST, _FLOOR), else_=_LAST) + 1
_TAKE = (
    _CHANGE.where(_LOAD_BALANCERS.id == sa.bindparam("of_load_balancer"))
    .where(sa.or_(_LOAD_BALANCERS.lease_owner.is_(None), _LOAD_BALANCERS.lease_expires_at <= sa.bindparam("now")))
    .values(lease_owner=sa.bindparam("of_owner"), lease_token=_NEXT_TOKEN, lease_expires_at=sa.bindparam("expires_at"))
)
_TOKEN = sa.select(_LOAD_BALANCERS.lease_token).where(_LOAD_BALANCERS.id == sa.bindparam("of_load_balancer"))
_IS_HELD = sa.select(_LOAD_BALANCERS.id).where(_HELD)
_OWNER = sa.select(_LOAD_BALANCERS.lease_owner, _LOAD_BALANCERS.lease_expires_at).where(
    _LOAD_BALANCERS.id == sa.bindparam("of_load_balancer")
)
_HIGHEST = 10**17
_REFRESH = _CHANGE.where(_HELD).values(lease_expires_at=sa.bindparam("expires_at"))
_RELEASE = _CHANGE.where(_HELD).values(lease_owner=None, lease_expires_at=0.0)
_REST = _CHANGE.where(_HELD).values(lease_owner=RESTING, lease_expires_at=sa.bindparam("expires_at"))
_SUCCEEDED = _CHANGE.where(_HELD, sa.or_(_LOAD_BALANCERS.failures != 0, _LOAD_BALANCERS.next_try_at != 0.0)).values(
    failures=0, next_try_at=0.0
)


def _held(lease: jobs.Lease) -> dict[str, object]:
    return {"of_load_balancer": lease.load_balancer_id, "of_owner": lease.owner, "of_token": lease.token}


class Leases(rows.Repository):
    """Take, keep, check and give back leases."""

    def take(self, load_balancer_id: str, owner: str, expiry: float, now: float | None = None) -> jobs.Lease | None:
        """The lease for `expiry` seconds; None while another one (also of the same owner) is live.

        :raises NotFound: no such load balancer.
        """
        now = self._now() if now is None else now
        wanted = {"of_load_balancer": load_balancer_id, "of_owner": owner, "now": now, "expires_at": now + expiry}
        changed = self._connection.execute(_TAKE, wanted)
        token = self._connection.execute(_TOKEN, {"of_load_balancer": load_balancer_id}).scalar()
        if token is None:
            raise exceptions.NotFound("load balancer", load_balancer_id)
        return jobs.Lease(load_balancer_id, owner, token) if changed.rowcount else None

    def check(self, lease: jobs.Lease) -> None:
        """Make sure that the lease still holds, until this transaction ends: call it before what only the holder may write.

        A lease that has expired holds as long as nobody else took it.

        :raises StaleLease: another worker took the load balancer over.
        """
        if self._connection.execute(_CHECK, _held(lease)).first() is None:
            raise exceptions.StaleLease(lease.load_balancer_id)

    def is_held(self, lease: jobs.Lease) -> bool:
        """Whether the lease holds at this moment; nothing is locked."""
        return self._connection.execute(_IS_HELD, _held(lease)).first() is not None

    def is_live(self, load_balancer_id: str, now: float | None = None) -> bool:
        """Whether some worker is at the load balancer now."""
        now = self._now() if now is None else now
        found = self._connection.execute(_OWNER, {"of_load_balancer": load_balancer_id}).first()
        return found is not None and found.lease_owner not in (None, RESTING) and found.lease_expires_at > now

    def outrun(self, lease: jobs.Lease, token: int, generation: int) -> bool:
        """Let the next lease have a higher token than this one, and the load balancer at least this generation.

        False if the lease was lost, or the numbers can't be true.

        Where a token or a generation was seen that this database never gave, it is a copy from before. What an amphora claims is bounded,
        so that none can bring a number to its end.
        """
        if max(token, generation) > _HIGHEST:
            return False
        floor = sa.case((_LOAD_BALANCERS.order_floor < token, token), else_=_LOAD_BALANCERS.order_floor)
        newest = sa.case((_LOAD_BALANCERS.generation < generation, generation), else_=_LOAD_BALANCERS.generation)
        changed = self._connection.execute(_CHANGE.where(_HELD).values(order_floor=floor, generation=newest), _held(lease))
        return bool(changed.rowcount)

    def refresh(self, lease: jobs.Lease, expiry: float, now: float | None = None) -> bool:
        """Keep the lease for another `expiry` seconds; False if it was lost."""
        expires_at = (self._now() if now is None else now) + expiry
        return bool(self._connection.execute(_REFRESH, {**_held(lease), "expires_at": expires_at}).rowcount)

    def release(self, lease: jobs.Lease) -> bool:
        """Give the lease back; False if it was lost. Jobs that waited for it are due from then on (`jobs.claimable` left them out)."""
        return bool(self._connection.execute(_RELEASE, _held(lease)).rowcount)

    def rest(self, lease: jobs.Lease, seconds: float, now: float | None = None) -> bool:
        """Give the lease back, but let nobody take it for so long: writes that come meanwhile cost one run. False if it was lost."""
        expires_at = (self._now() if now is None else now) + seconds
        return bool(self._connection.execute(_REST, {**_held(lease), "expires_at": expires_at}).rowcount)

    def bring_back(self, expiry: float, longest_wait: float) -> int:
        """Bring times back that lie further ahead than anybody writes them, because the clock was set back since; how many.

        Such a lease counts as one of now: its holder refreshes it, or it expires. What is to be tried again is due now. Reads all rows.
        """
        now = self._now()
        leased = _CHANGE.where(_LOAD_BALANCERS.lease_owner.is_not(None), _LOAD_BALANCERS.lease_expires_at > now + 2 * expiry)
        changed = self._connection.execute(leased.values(lease_expires_at=now + expiry)).rowcount
        resting = _CHANGE.where(_LOAD_BALANCERS.next_try_at > now + longest_wait)
        return changed + self._connection.execute(resting.values(next_try_at=now)).rowcount

    def note_success(self, lease: jobs.Lease) -> None:
        """A flow succeeded: count failures from nought again."""
        self._connection.execute(_SUCCEEDED, _held(lease))

    def failures(self, load_balancer_id: str) -> int:
        """How often in a row flows of this load balancer failed."""
        found = self._connection.execute(sa.select(_LOAD_BALANCERS.failures).where(_LOAD_BALANCERS.id == load_balancer_id)).scalar()
        return found or 0

    def note_failure(self, lease: jobs.Lease, next_try_at: float) -> None:
        """A flow failed: one more failure in a row; the next try stands in the row, and in the faults that people read."""
        failed = _CHANGE.where(_HELD).values(failures=_LOAD_BALANCERS.failures + 1, next_try_at=next_try_at)
        self._connection.execute(failed, _held(lease))
        when = datetime.datetime.fromtimestamp(next_try_at, datetime.UTC)
        mine = tables.faults.c.load_balancer_id == lease.load_balancer_id
        self._connection.execute(sa.update(tables.faults).where(mine).values(next_try_at=when))
        event = tables.events.c
        said_at = sa.select(tables.faults.c.occurred_at).where(tables.faults.c.object_id == lease.load_balancer_id).scalar_subquery()
        told = sa.update(tables.events).where(event.load_balancer_id == lease.load_balancer_id, event.occurred_at == said_at)
        self._connection.execute(told.values(next_try_at=when))
