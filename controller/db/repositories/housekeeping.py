"""What housekeeping looks for: work that nobody carries, rows that have had their time, what no row explains. By index and by page."""

from __future__ import annotations

import datetime
from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa

from controller.db import rows, tables
from controller.db.repositories import member_statistics, moves, statistics
from controller.model import amphora, status
from controller.model import load_balancer as model

_LB = tables.load_balancers.c
_A = tables.amphorae.c
_J = tables.jobs.c
_P = status.ProvisioningStatus
_S = status.AmphoraStatus
_SOON = 30.0  # a job that is due in so many seconds will do what is owed
_OURS = _LB.provider.in_(amphora.PROVIDER_NAMES)
"""Load balancers that amphorae serve."""


def _idle(now: float) -> sa.ColumnElement[bool]:
    """Nobody works on the load balancer, and no job will soon."""
    carried = sa.exists().where(_J.load_balancer_id == _LB.id, sa.or_(_J.available_at <= now + _SOON, _J.claim_expires_at > now))
    return sa.and_(sa.or_(_LB.lease_owner.is_(None), _LB.lease_expires_at <= now), ~carried)


def _deleted(before: float) -> sa.Select[str]:
    """Load balancers that are DELETED since before a time."""
    return sa.select(_LB.id).where(_LB.provisioning_status == _P.DELETED, sa.func.coalesce(_LB.deleted_at, 0.0) < before)


class Housekeeping(rows.Repository):
    """Used by the one active housekeeping process only."""

    def owing(self, now: float, limit: int) -> list[str]:
        """Load balancers that owe work which is due, and that no job or worker carries."""
        due = (_LB.provisioning_status.in_(status.UNSETTLED), _LB.next_try_at <= now)
        statement = sa.select(_LB.id).where(*due, _OURS, _idle(now)).limit(limit)
        return list(self._connection.execute(statement).scalars())

    def settled(self, after: str, limit: int) -> tuple[list[str], str]:
        """Load balancers that are ACTIVE or in ERROR: one page in the order of ids, and its last id; empty when the round is over."""
        page = sa.select(_LB.id).where(_LB.id > after, _LB.provisioning_status.in_(status.AT_REST), _OURS).order_by(_LB.id).limit(limit)
        ids = list(self._connection.execute(page).scalars())
        return ids, ids[-1] if len(ids) == limit else ""

    def replace_vip_port(self, load_balancer_id: str, lost_port_id: str, vip: model.Vip) -> None:
        """A VIP is on another port from now on, which is ours."""
        mine = sa.update(tables.load_balancers).where(_LB.id == load_balancer_id, _LB.vip_port_id == lost_port_id)
        self._connection.execute(mine.values(vip_port_id=vip.port_id, vip_port_is_ours=True, additional_vips=vip.additional))
        carriers = sa.update(tables.amphorae).where(_A.load_balancer_id == load_balancer_id, _A.ha_port_id == lost_port_id)
        self._connection.execute(carriers.values(ha_port_id=vip.port_id))

    def drifted(self, now: float, after: str, limit: int) -> tuple[list[str], str]:
        """Load balancers that look settled and are not: a generation was never applied, or an amphora is missing or left over.

        One page in the order of ids, from the one after `after` on, and its last id: empty when the round is over.
        """
        page = sa.select(_LB.id).where(_LB.id > after).order_by(_LB.id).limit(limit)
        ids = list(self._connection.execute(page).scalars())
        serving = sa.select(sa.func.count(sa.distinct(_A.role))).where(_A.load_balancer_id == _LB.id, _A.status.in_(status.SERVING))
        wanted = sa.case((_LB.topology == status.Topology.ACTIVE_STANDBY, 2), else_=1)
        broken = sa.exists().where(_A.load_balancer_id == _LB.id, _A.status.in_(status.DISCARDED))
        lacking = sa.or_(_LB.generation > _LB.applied_generation, serving.scalar_subquery() < wanted, broken)
        statement = sa.select(_LB.id).where(
            _LB.id.in_(ids), _LB.provisioning_status == _P.ACTIVE, _OURS, lacking, _LB.next_try_at <= now, _idle(now)
        )
        return list(self._connection.execute(statement).scalars()), ids[-1] if len(ids) == limit else ""

    def give_up_amphorae(self, before: datetime.datetime, now: float, limit: int) -> list[str]:
        """Call amphorae ERROR that were begun before a time, never came to serve, and that no job carries any more; their load balancers.

        What is in ERROR is taken apart by the next flow of the load balancer.
        """
        joined = sa.select(_A.id, _A.load_balancer_id).select_from(
            tables.amphorae.join(tables.load_balancers, _LB.id == _A.load_balancer_id)
        )
        found = self._connection.execute(
            joined.where(_A.status.in_(status.BUILDING), _A.updated_at < before, _idle(now)).limit(limit)
        ).all()
        if found:
            mine = (_A.id.in_([row.id for row in found]), _A.status.in_(status.BUILDING))
            self._connection.execute(moves.amphorae_to(_S.ERROR).where(*mine))
        return sorted({row.load_balancer_id for row in found})

    def free_claims(self, before: float) -> int:
        """Take jobs from workers whose claims ran out before a time, so that a new post finds them."""
        dead = sa.update(tables.jobs).where(_J.owner.is_not(None), _J.claim_expires_at < before)
        return self._connection.execute(dead.values(owner=None, claim_expires_at=0.0, available_at=0.0)).rowcount

    def drop_stray_records(self, limit: int) -> int:
        """Delete records of flows whose job is gone."""
        records = tables.flow_records.c
        stray = sa.select(records.job_id).where(~sa.exists().where(_J.id == records.job_id)).limit(limit)
        ids = list(self._connection.execute(stray).scalars())
        return self._delete(tables.flow_records, records.job_id, ids)

    def purge_events_of_deleted(self, before: float, limit: int) -> int:
        """Delete events of load balancers that are DELETED since before a time: one that failed for a week has thousands."""
        events = tables.events.c
        theirs = sa.select(events.id).where(events.load_balancer_id.in_(_deleted(before))).limit(limit)
        return self._delete(tables.events, events.id, list(self._connection.execute(theirs).scalars()))

    def purge_load_balancers(self, before: float, limit: int) -> list[str]:
        """Delete the rows of load balancers that are DELETED since before a time, with all that was said and counted of them."""
        ids = list(self._connection.execute(_deleted(before).limit(limit)).scalars())
        for table in (
            *tables.CHILDREN.values(),
            tables.listener_statistics,
            tables.member_statistics,
            tables.events,
            tables.faults,
            tables.replacements,
        ):
            self._delete(table, table.c.load_balancer_id, ids)
        self._delete(tables.tags, tables.tags.c.resource_id, ids)
        self._delete(tables.load_balancers, _LB.id, ids)
        return ids

    def purge_amphorae(self, before: float, limit: int) -> list[str]:
        """Delete the rows of amphorae that are DELETED since before a time. Their counters stay with their load balancer, added up."""
        old = (_A.status == _S.DELETED, sa.func.coalesce(_A.deleted_at, 0.0) < before)
        found = self._connection.execute(sa.select(_A.id, _A.load_balancer_id).where(*old).limit(limit)).all()
        ids = [row.id for row in found]
        if owners := {row.load_balancer_id for row in found if row.load_balancer_id}:
            statistics.Statistics(self._connection).add_up(ids, owners)
            member_statistics.MemberStatistics(self._connection).add_up(ids, owners)
        self._delete(tables.amphora_health, tables.amphora_health.c.amphora_id, ids)
        self._delete(tables.amphorae, _A.id, ids)
        return ids

    def purge_events(self, now: datetime.datetime, age: datetime.timedelta, limit: int) -> int:
        """Delete the oldest events, as far as they happened longer ago than this age, or so far ahead of now and of the newest one: of
        those a clock was wrong, and they would keep all that follow them.
        """
        events = tables.events.c
        known = sa.select(events.id, events.occurred_at)
        oldest = self._connection.execute(known.order_by(events.id).limit(limit)).all()
        newest = self._connection.execute(known.order_by(events.id.desc()).limit(1)).all()
        latest = max([now, *(row.occurred_at for row in newest)]) + age
        return self._delete(tables.events, events.id, [row.id for row in oldest if not now - age <= row.occurred_at <= latest])

    def knows_any_load_balancer(self) -> bool:
        """Whether there is a row at all: a database without one is rather the wrong one, or a new one."""
        return self._connection.execute(sa.select(_LB.id).limit(1)).first() is not None

    def living_amphorae(self, ids: Collection[str]) -> set[str]:
        """Those of these amphorae that a row explains: not DELETED, and of a load balancer that is not."""
        owner = sa.outerjoin(tables.amphorae, tables.load_balancers, _LB.id == _A.load_balancer_id)
        lives = sa.or_(_A.load_balancer_id.is_(None), sa.and_(_LB.id.is_not(None), _LB.provisioning_status != _P.DELETED))
        statement = sa.select(_A.id).select_from(owner).where(_A.status != _S.DELETED, lives)
        return self._among(statement, _A.id, ids)

    def living_load_balancers(self, ids: Collection[str]) -> set[str]:
        """Those of these load balancers that have a row that is not DELETED."""
        return self._among(sa.select(_LB.id).where(_LB.provisioning_status != _P.DELETED), _LB.id, ids)

    def bereft_amphorae(self, before: datetime.datetime, limit: int) -> list[str]:
        """Amphorae whose row is alive though their load balancer is DELETED or gone, unchanged since a time."""
        owner = sa.outerjoin(tables.amphorae, tables.load_balancers, _LB.id == _A.load_balancer_id)
        gone = sa.or_(_LB.id.is_(None), _LB.provisioning_status == _P.DELETED)
        alive = (_A.status.in_(status.LIVING), _A.load_balancer_id.is_not(None), _A.updated_at < before)
        return list(self._connection.execute(sa.select(_A.id).select_from(owner).where(*alive, gone).limit(limit)).scalars())

    def _among(self, statement: sa.Select[Any], column: sa.ColumnElement[str], ids: Collection[str]) -> set[str]:
        found: set[str] = set()
        for some in rows.chunks(sorted(ids)):
            found.update(self._connection.execute(statement.where(column.in_(some))).scalars())
        return found

    def _delete(self, table: sa.Table, column: sa.ColumnElement[object], ids: Sequence[object]) -> int:
        if not ids:
            return 0
        return self._connection.execute(sa.delete(table).where(column.in_(ids))).rowcount
