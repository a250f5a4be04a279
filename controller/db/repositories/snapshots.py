"""One load balancer at one generation, read in one transaction with a fixed number of statements."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

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
_BELOW: dict[str, tuple[sa.Table, Callable[..., Any]]] = {
    table.name: (table, getattr(rows, kind)) for kind, table in tables.CHILDREN.items()
}
"""What stands below a load balancer, by its name in a snapshot: the table, and what makes a noun of a row."""
_ALL = {name: _children(table) for name, (table, _) in _BELOW.items()}
_CHANGED = {name: _children(table).where(table.c.generation > sa.bindparam("since")) for name, (table, _) in _BELOW.items()}
_IDS = {
    name: sa.select(table.c.id).where(table.c.load_balancer_id == sa.bindparam("load_balancer_id")) for name, (table, _) in _BELOW.items()
}
_COUNTS = sa.select(*(sa.select(sa.func.count()).select_from(ids.subquery()).scalar_subquery() for ids in _IDS.values()))
_AMPHORAE = (
    AMPHORAE.where(tables.amphorae.c.load_balancer_id == sa.bindparam("load_balancer_id"))
    .where(tables.amphorae.c.status != status.AmphoraStatus.DELETED)
    .order_by(tables.amphorae.c.created_at, tables.amphorae.c.id)
)


class Snapshots(rows.Repository):
    """Reads what a flow or the health manager has to know of one load balancer. Tags and faults are left out: no amphora needs them."""

    def get(self, load_balancer_id: str) -> model.Snapshot:
        """Eight statements, whatever the size.

        :raises NotFound: no such load balancer (one in DELETED is still found).
        """
        outline, named = self.outline(load_balancer_id), {"load_balancer_id": load_balancer_id}
        below: dict[str, Any] = {name: tuple(self._nouns(name, _ALL, named)) for name in _BELOW}
        return dataclasses.replace(outline, **below)

    def outline(self, load_balancer_id: str) -> model.Snapshot:
        """The load balancer and its amphorae without what is below it: two statements, enough to tell what is owed.

        :raises NotFound: no such load balancer (one in DELETED is still found).
        """
        found = self._rows(_LOAD_BALANCER, {"load_balancer_id": load_balancer_id}) if rows.may_exist(load_balancer_id) else []
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
        merged: dict[str, Any] = {name: _merge(getattr(older, name), self._nouns(name, _CHANGED, named)) for name in _BELOW}
        return self._without_the_gone(dataclasses.replace(now, **merged))

    def _nouns(self, name: str, statements: Mapping[str, sa.Select[Any]], named: Mapping[str, Any]) -> list[Any]:
        make = _BELOW[name][1]
        return [make(row) for row in self._rows(statements[name], named)]

    def _without_the_gone(self, merged: model.Snapshot) -> model.Snapshot:
        """Every row that there is is in `merged`, for new ones bear a new generation; so equal numbers mean that none has gone."""
        named = {"load_balancer_id": merged.load_balancer.id}
        if tuple(self._connection.execute(_COUNTS, named).one()) == tuple(len(getattr(merged, name)) for name in _BELOW):
            return merged
        found = {name: {*self._connection.execute(ids, named).scalars()} for name, ids in _IDS.items()}
        left: dict[str, Any] = {name: tuple(one for one in getattr(merged, name) if one.id in ids) for name, ids in found.items()}
        left["listeners"] = tuple(_without_pool(one, "default_pool_id", found["pools"]) for one in left["listeners"])
        left["l7policies"] = tuple(_without_pool(one, "redirect_pool_id", found["pools"]) for one in left["l7policies"])
        return dataclasses.replace(merged, **left)

    def amphorae(self, load_balancer_id: str) -> tuple[amphora_model.Amphora, ...]:
        """The amphorae of a load balancer that are not DELETED, oldest first."""
        return tuple(rows.amphora(row) for row in self._rows(_AMPHORAE, {"load_balancer_id": load_balancer_id}))


def _merge(older: Sequence[R], changed: Sequence[R]) -> tuple[R, ...]:
    """All of them, in the order of their creation, each as it was read last."""
    if not changed:
        return tuple(older)
    newer = {one.id: one for one in changed}
    merged = tuple(newer.pop(one.id, one) for one in older)
    if not newer:  # nobody came, so the order is the same: to sort thousands takes a while
        return merged
    return tuple(sorted((*merged, *newer.values()), key=lambda one: (one.created_at or _NEVER, one.id)))


def _without_pool(user: R, field: str, pools: Collection[str]) -> R:
    """A listener or a policy as its row is since the pool went that it names in this field."""
    named, nothing = getattr(user, field), {field: None}
    return user if named is None or named in pools else dataclasses.replace(user, **nothing)  # type: ignore[arg-type]
