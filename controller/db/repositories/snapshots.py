"""One load balancer at one generation, read in one transaction with a fixed number of statements."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Collection, Sequence
from typing import TypeVar

import sqlalchemy as sa

from controller import exceptions
from controller.db import rows, tables
from controller.model import amphora as amphora_model
from controller.model import load_balancer as model
from controller.model import status

R = TypeVar("R", bound=model.Resource)
_NEVER = datetime.datetime.min.replace(tzinfo=datetime.UTC)

AMPHORAE = sa.select(tables.amphorae, tables.amphora_health.c.first_heartbeat_at, tables.amphora_health.c.last_heartbeat_at).select_from(
    tables.amphorae.outerjoin(tables.amphora_health, tables.amphora_health.c.amphora_id == tables.amphorae.c.id)
)
"""Rows that `rows.amphora` understands."""


def _children(table: sa.Table) -> sa.Select[tuple[object, ...]]:
    return sa.select(table).where(table.c.load_balancer_id == sa.bindparam("load_balancer_id")).order_by(table.c.created_at, table.c.id)


_LOAD_BALANCER = sa.select(tables.load_balancers).where(tables.load_balancers.c.id == sa.bindparam("load_balancer_id"))
_LISTENERS = _children(tables.listeners)
_POOLS = _children(tables.pools)
_MEMBERS = _children(tables.members)
_HEALTH_MONITORS = _children(tables.health_monitors)
_L7POLICIES = _children(tables.l7policies)
_L7RULES = _children(tables.l7rules)
_AMPHORAE = (
    AMPHORAE.where(tables.amphorae.c.load_balancer_id == sa.bindparam("load_balancer_id"))
    .where(tables.amphorae.c.status != status.AmphoraStatus.DELETED)
    .order_by(tables.amphorae.c.created_at, tables.amphorae.c.id)
)


_CHILD_TABLES = (tables.listeners, tables.pools, tables.members, tables.health_monitors, tables.l7policies, tables.l7rules)
_CHANGED = [_children(table).where(table.c.generation > sa.bindparam("since")) for table in _CHILD_TABLES]
_IDS = [sa.select(table.c.id).where(table.c.load_balancer_id == sa.bindparam("load_balancer_id")) for table in _CHILD_TABLES]
_COUNTS = sa.select(*(sa.select(sa.func.count()).select_from(ids.subquery()).scalar_subquery() for ids in _IDS))


class Snapshots(rows.Repository):
    """Reads what a flow or the health manager has to know of one load balancer. Tags and faults are left out: no amphora needs them."""

    def get(self, load_balancer_id: str) -> model.Snapshot:
        """Eight statements, whatever the size.

        :raises NotFound: no such load balancer (one in DELETED is still found).
        """
        named = {"load_balancer_id": load_balancer_id}
        found = self._rows(_LOAD_BALANCER, named) if rows.may_exist(load_balancer_id) else []
        if not found:
            raise exceptions.NotFound("Load Balancer", load_balancer_id)
        return model.Snapshot(
            load_balancer=rows.load_balancer(found[0]),
            listeners=tuple(rows.listener(row) for row in self._rows(_LISTENERS, named)),
            pools=tuple(rows.pool(row) for row in self._rows(_POOLS, named)),
            members=tuple(rows.member(row) for row in self._rows(_MEMBERS, named)),
            health_monitors=tuple(rows.health_monitor(row) for row in self._rows(_HEALTH_MONITORS, named)),
            l7policies=tuple(rows.l7policy(row) for row in self._rows(_L7POLICIES, named)),
            l7rules=tuple(rows.l7rule(row) for row in self._rows(_L7RULES, named)),
            amphorae=self.amphorae(load_balancer_id),
        )

    def outline(self, load_balancer_id: str) -> model.Snapshot:
        """The load balancer and its amphorae without what is below it: two statements, enough to tell what is owed.

        :raises NotFound: no such load balancer (one in DELETED is still found).
        """
        found = self._rows(_LOAD_BALANCER, {"load_balancer_id": load_balancer_id})
        if not found:
            raise exceptions.NotFound("Load Balancer", load_balancer_id)
        return model.Snapshot(load_balancer=rows.load_balancer(found[0]), amphorae=self.amphorae(load_balancer_id))

    def advance(self, older: model.Snapshot) -> model.Snapshot:
        """The load balancer as it is now, from a snapshot of it: only what changed since is read, which saves much if it is large.

        Statuses of what did not change are those of the older snapshot.

        :raises NotFound: no such load balancer (one in DELETED is still found).
        """
        now = self.outline(older.load_balancer.id)
        named = {"load_balancer_id": now.load_balancer.id, "since": older.generation}
        listeners, pools, members, health_monitors, l7policies, l7rules = (self._rows(statement, named) for statement in _CHANGED)
        merged = dataclasses.replace(
            now,
            listeners=_merge(older.listeners, [rows.listener(row) for row in listeners]),
            pools=_merge(older.pools, [rows.pool(row) for row in pools]),
            members=_merge(older.members, [rows.member(row) for row in members]),
            health_monitors=_merge(older.health_monitors, [rows.health_monitor(row) for row in health_monitors]),
            l7policies=_merge(older.l7policies, [rows.l7policy(row) for row in l7policies]),
            l7rules=_merge(older.l7rules, [rows.l7rule(row) for row in l7rules]),
        )
        return self._without_the_gone(merged)

    def _without_the_gone(self, merged: model.Snapshot) -> model.Snapshot:
        """Every row that there is is in `merged`, for new ones bear a new generation; so equal numbers mean that none has gone."""
        named = {"load_balancer_id": merged.load_balancer.id}
        children = (merged.listeners, merged.pools, merged.members, merged.health_monitors, merged.l7policies, merged.l7rules)
        if tuple(self._connection.execute(_COUNTS, named).one()) == tuple(len(some) for some in children):
            return merged
        found = ({*self._connection.execute(ids, named).scalars()} for ids in _IDS)
        listeners, pools, members, health_monitors, l7policies, l7rules = found
        return dataclasses.replace(
            merged,
            listeners=tuple(_detached(one, pools) for one in merged.listeners if one.id in listeners),
            pools=tuple(one for one in merged.pools if one.id in pools),
            members=tuple(one for one in merged.members if one.id in members),
            health_monitors=tuple(one for one in merged.health_monitors if one.id in health_monitors),
            l7policies=tuple(_without_pool(one, pools) for one in merged.l7policies if one.id in l7policies),
            l7rules=tuple(one for one in merged.l7rules if one.id in l7rules),
        )

    def amphorae(self, load_balancer_id: str) -> tuple[amphora_model.Amphora, ...]:
        """The amphorae of a load balancer that are not DELETED, oldest first."""
        return tuple(rows.amphora(row) for row in self._rows(_AMPHORAE, {"load_balancer_id": load_balancer_id}))


def _merge(older: Sequence[R], changed: Sequence[R]) -> tuple[R, ...]:
    """All of them, in the order of their creation, each as it was read last."""
    if not changed:
        return tuple(older)
    found = {one.id: one for one in older} | {one.id: one for one in changed}
    return tuple(sorted(found.values(), key=lambda one: (one.created_at or _NEVER, one.id)))


def _without_pool(policy: model.L7Policy, pools: Collection[str]) -> model.L7Policy:
    """As the row is since the pool that it redirected to went."""
    gone = policy.redirect_pool_id is not None and policy.redirect_pool_id not in pools
    return dataclasses.replace(policy, redirect_pool_id=None) if gone else policy


def _detached(listener: model.Listener, pools: Collection[str]) -> model.Listener:
    """As the row is since its default pool went."""
    gone = listener.default_pool_id is not None and listener.default_pool_id not in pools
    return dataclasses.replace(listener, default_pool_id=None) if gone else listener
