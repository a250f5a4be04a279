"""Heartbeat times, operating statuses, counters: what the health manager writes all the time, so all of it is for many rows at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from controller.db import rows, tables
from controller.db.repositories import moves, snapshots
from controller.db.repositories.statistics import GROWING
from controller.model import amphora as amphora_model
from controller.model import status

_H = tables.amphora_health
_A = tables.amphorae
_LB = tables.load_balancers
_S = tables.listener_statistics
_L = tables.listeners
_P = tables.l7policies
_M = tables.members


@dataclasses.dataclass(frozen=True, slots=True)
class Heard:
    """What the rows say of an amphora that was heard."""

    amphora_id: str
    load_balancer_id: str | None
    status: status.AmphoraStatus
    first_heartbeat_at: float | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """All that an amphora of a load balancer can have to report on.

    `views`: for each pair of a listener and a pool that it uses, the number of the pool's members.
    """

    listeners: frozenset[str]
    views: tuple[int, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Silent:
    """An amphora that should beat, and was last heard too long ago."""

    amphora_id: str
    load_balancer_id: str | None
    role: status.Role | None
    last_heartbeat_at: float


_LISTENERS = sa.select(_L.c.load_balancer_id, _L.c.id, _L.c.default_pool_id)
_REDIRECTS = sa.select(_P.c.load_balancer_id, _P.c.listener_id, _P.c.redirect_pool_id).where(_P.c.redirect_pool_id.is_not(None))
_SPLITS = sa.select(_P.c.load_balancer_id, _P.c.listener_id, tables.l7policy_pools.c.pool_id).where(
    tables.l7policy_pools.c.l7policy_id == _P.c.id
)
_MEMBERS = sa.select(_M.c.pool_id, sa.func.count().label("members")).group_by(_M.c.pool_id)

_SKEW = 60.0
"""Seconds by which the clocks of two managers may differ. A time further ahead is from a clock that was set back since: left there, it
would hide the death of its amphora for as long."""

_KNOWN = _H.c.last_heartbeat_at
_AT: sa.BindParameter[float] = sa.bindparam("at", type_=sa.Double())
_BEAT = (
    sa.update(_H)
    .where(_H.c.amphora_id == sa.bindparam("id"))
    .values(last_heartbeat_at=sa.case((sa.and_(_KNOWN > _AT, _KNOWN < _AT + _SKEW), _KNOWN), else_=_AT))
)
_FIRST_UPDATE = sa.update(_H).where(_H.c.amphora_id == sa.bindparam("id"), _H.c.first_heartbeat_at.is_(None))
_FIRST_UPDATE = _FIRST_UPDATE.values(first_heartbeat_at=sa.bindparam("at"), last_heartbeat_at=sa.bindparam("at"))
_COUNT = (
    sa.update(_S)
    .where(_S.c.listener_id == sa.bindparam("key_listener"), _S.c.amphora_id == sa.bindparam("key_amphora"))
    .values(
        {name: sa.case((_S.c[name] < sa.bindparam(name), sa.bindparam(name)), else_=_S.c[name]) for name in GROWING}
        | {"active_connections": sa.bindparam("active_connections")}
    )
)
_BIG = sa.BigInteger()
_NEW_COUNTERS = sa.insert(_S).from_select(
    ["listener_id", "amphora_id", "load_balancer_id", "active_connections", *GROWING],
    sa.select(
        tables.listeners.c.id,
        sa.bindparam("key_amphora", type_=sa.String(36)),
        tables.listeners.c.load_balancer_id,
        *(sa.bindparam(name, type_=_BIG) for name in ("active_connections", *GROWING)),
    )
    .where(tables.listeners.c.id == sa.bindparam("key_listener"), tables.listeners.c.load_balancer_id == sa.bindparam("key_load_balancer"))
    .where(sa.exists().where(_A.c.id == sa.bindparam("key_amphora")).correlate(None))
    .where(
        ~sa.exists().where(_S.c.listener_id == sa.bindparam("key_listener"), _S.c.amphora_id == sa.bindparam("key_amphora")).correlate(None)
    ),
)


class Health(rows.Repository):
    """Written by the recorder and the watcher of each health manager; every write may be repeated, by the same or by another one.

    Rows are locked in the order of their keys: each amphora reports to two managers, which would wait for each other otherwise.
    """

    def lookup(self, amphora_ids: Collection[str]) -> dict[str, Heard]:
        """What the rows say of these amphorae; those without a row are left out."""
        found: dict[str, Heard] = {}
        columns = sa.select(_A.c.id, _A.c.load_balancer_id, _A.c.status, _H.c.first_heartbeat_at)
        joined = columns.select_from(_A.outerjoin(_H, _H.c.amphora_id == _A.c.id))
        for chunk in rows.chunks(amphora_ids):
            for row in self._connection.execute(joined.where(_A.c.id.in_(chunk))):
                found[row.id] = Heard(row.id, row.load_balancer_id, status.AmphoraStatus(row.status), row.first_heartbeat_at)
        return found

    def first(self, heard: Mapping[str, float]) -> None:
        """The first heartbeats (seconds since the epoch) of amphorae."""
        present = self._with_row(heard)
        if present:
            self._connection.execute(_FIRST_UPDATE, [{"id": amphora_id, "at": heard[amphora_id]} for amphora_id in sorted(present)])
        absent = sorted((key, at) for key, at in heard.items() if key not in present)
        new = [{"amphora_id": key, "first_heartbeat_at": at, "last_heartbeat_at": at} for key, at in absent]
        for some in rows.chunks(new):
            self._insert_first(some)

    def heard(self, heard: Mapping[str, float]) -> bool:
        """Later heartbeats; a time never falls, unless a clock was set back.

        False if some of these amphorae have no row, so that nothing was written of them.
        """
        if not heard:
            return True
        result = self._connection.execute(_BEAT, [{"id": amphora_id, "at": at} for amphora_id, at in sorted(heard.items())])
        return result.rowcount in (len(heard), -1)

    def longest_unheard(self, ahead: float, limit: int) -> list[Silent]:
        """Amphorae in service, so many of those whose last heartbeat was first, and of those whose was after `ahead`. Goes by index.

        Whether they are silent can't be told by these times alone: they are of other clocks, or of one that was set since.
        """
        columns = sa.select(_H.c.amphora_id, _H.c.last_heartbeat_at, _A.c.load_balancer_id, _A.c.role)
        in_service = columns.select_from(_H.join(_A, _A.c.id == _H.c.amphora_id)).where(_A.c.status.in_(status.SERVING))
        page = in_service.where(_H.c.last_heartbeat_at.is_not(None)).order_by(_H.c.last_heartbeat_at).limit(limit)
        pages = (page, page.where(_H.c.last_heartbeat_at > ahead))
        found = {row.amphora_id: row for wanted in pages for row in self._connection.execute(wanted)}
        roles = {role.value: role for role in status.Role}
        return [Silent(**{**row._mapping, "role": roles.get(row.role)}) for row in found.values()]

    def fleet(self) -> int:
        """Amphorae in service. Counts an index: for once a minute, not for each look."""
        return int(self._connection.execute(sa.select(sa.func.count()).where(_A.c.status.in_(status.SERVING))).scalar_one())

    def never_heard(self, limit: int) -> list[amphora_model.Amphora]:
        """Amphorae that are still being made and were never heard, the oldest first."""
        statement = (
            snapshots.AMPHORAE.where(_A.c.status.in_(status.BUILDING), _H.c.first_heartbeat_at.is_(None))
            .order_by(_A.c.created_at)
            .limit(limit)
        )
        return [rows.amphora(row) for row in self._rows(statement)]

    def presume_heard(self, at: float, after: str, limit: int) -> tuple[int, str]:
        """Give amphorae in service without a heartbeat's row one, so that `longest_unheard` finds them; how many, and the page's last id.

        One page of the fleet in the order of ids, from the one after `after` on; an empty id when the round is over.
        """
        page = (
            sa.select(_A.c.id, _A.c.status, _H.c.last_heartbeat_at)
            .select_from(_A.outerjoin(_H, _H.c.amphora_id == _A.c.id))
            .where(_A.c.id > after)
            .order_by(_A.c.id)
            .limit(limit)
        )
        found = self._connection.execute(page).all()
        unheard = {row.id: at for row in found if row.last_heartbeat_at is None and row.status in status.SERVING}
        if unheard:
            self.first(unheard)
        return len(unheard), found[-1].id if len(found) == limit else ""

    def generations(self, load_balancer_ids: Collection[str]) -> dict[str, int]:
        """The newest generation of each of these load balancers that is not DELETED."""
        found: dict[str, int] = {}
        columns = sa.select(_LB.c.id, _LB.c.generation).where(_LB.c.provisioning_status != status.ProvisioningStatus.DELETED)
        for chunk in rows.chunks(load_balancer_ids):
            found.update((row.id, row.generation) for row in self._connection.execute(columns.where(_LB.c.id.in_(chunk))))
        return found

    def extents(self, load_balancer_ids: Collection[str]) -> dict[str, Extent]:
        """What there is to report on of each of these load balancers: three statements for all of them."""
        found: dict[str, Extent] = {}
        for chunk in rows.chunks(load_balancer_ids):
            listeners: dict[str, set[str]] = {key: set() for key in chunk}
            used: dict[str, set[tuple[str, str]]] = {key: set() for key in chunk}
            for owner, listener_id, pool_id in self._connection.execute(_LISTENERS.where(_L.c.load_balancer_id.in_(chunk))):
                listeners[owner].add(listener_id)
                if pool_id is not None:
                    used[owner].add((listener_id, pool_id))
            redirects = sa.union_all(*(one.where(_P.c.load_balancer_id.in_(chunk)) for one in (_REDIRECTS, _SPLITS)))
            for owner, listener_id, pool_id in self._connection.execute(redirects):
                used[owner].add((listener_id, pool_id))
            members = {row.pool_id: row.members for row in self._connection.execute(_MEMBERS.where(_M.c.load_balancer_id.in_(chunk)))}
            for owner in chunk:
                views = tuple(members.get(pool_id, 0) for _, pool_id in used[owner])
                found[owner] = Extent(listeners=frozenset(listeners[owner]), views=views)
        return found

    def amphorae_of(self, load_balancer_ids: Collection[str]) -> dict[str, tuple[amphora_model.Amphora, ...]]:
        """The amphorae of these load balancers that are not DELETED, oldest first."""
        found: dict[str, list[amphora_model.Amphora]] = {key: [] for key in load_balancer_ids}
        alive = snapshots.AMPHORAE.where(_A.c.status != status.AmphoraStatus.DELETED).order_by(_A.c.created_at, _A.c.id)
        for chunk in rows.chunks(load_balancer_ids):
            for row in self._rows(alive.where(_A.c.load_balancer_id.in_(chunk))):
                found[row["load_balancer_id"]].append(rows.amphora(row))
        return {key: tuple(amphorae) for key, amphorae in found.items()}

    def told_restarts(self, amphora_id: str) -> str | None:
        """How many restarts of an amphora's programs were told, as `tell_restarts` wrote it; empty if none, None if it was never heard."""
        row = self._connection.execute(sa.select(_H.c.told_restarts).where(_H.c.amphora_id == amphora_id)).one_or_none()
        return None if row is None else str(row.told_restarts or "")

    def tell_restarts(self, amphora_id: str, before: str, now: str) -> bool:
        """Write down that more were told; False if somebody else wrote something since `before` was read, who then tells it."""
        as_read = _H.c.told_restarts == before if before else _H.c.told_restarts.is_(None)
        statement = sa.update(_H).where(_H.c.amphora_id == amphora_id, as_read).values(told_restarts=now)
        return self._connection.execute(statement).rowcount == 1

    def set_operating_statuses(self, changes: Mapping[str, Mapping[str, status.OperatingStatus]]) -> None:
        """Write statuses by kind (a key of `tables.RESOURCES`) and id, one statement a kind; ids that are gone meanwhile are passed over.

        :raises ValueError: no object of this kind is ever seen in that status.
        """
        for kind, table in tables.RESOURCES.items():
            if statuses := changes.get(kind):
                moves.check_seen(table, statuses.values())
                statement = moves.seen(table, sa.bindparam("new")).where(table.c.id == sa.bindparam("object_id"))
                self._connection.execute(statement, [{"object_id": key, "new": new} for key, new in sorted(statuses.items())])

    def count(self, counters: Sequence[Mapping[str, Any]], begin: Sequence[Mapping[str, Any]]) -> None:
        """Write absolute counters: `counters` of pairs of listener and amphora that have a row, `begin` of those that may have none.

        Keys: `key_listener`, `key_amphora`, `key_load_balancer`, and the names of the counters. A counter never falls, except the number
        of active connections. What is not a listener of the amphora's own load balancer is passed over, and so is an amphora
        without a row: what one that is purged has counted is added up already.
        """
        if begin:
            self._connection.execute(_NEW_COUNTERS, sorted(begin, key=_key))
        if counters or begin:
            known = [{key: value for key, value in item.items() if key != "key_load_balancer"} for item in (*counters, *begin)]
            self._connection.execute(_COUNT, sorted(known, key=_key))

    def _insert_first(self, new: list[dict[str, Any]]) -> None:
        try:
            with self._connection.begin_nested():
                self._connection.execute(sa.insert(_H), new)
        except sa.exc.IntegrityError:  # another health manager was faster with some: one by one, so that the others are written
            if len(new) > 1:
                for item in new:
                    self._insert_first([item])

    def _with_row(self, amphora_ids: Collection[str]) -> set[str]:
        present: set[str] = set()
        for chunk in rows.chunks(amphora_ids):
            present.update(self._connection.execute(sa.select(_H.c.amphora_id).where(_H.c.amphora_id.in_(chunk))).scalars())
        return present


def _key(item: Mapping[str, Any]) -> tuple[str, str]:
    return item["key_listener"], item["key_amphora"]
