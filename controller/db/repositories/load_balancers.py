"""Queries on load balancers."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, ClassVar

import sqlalchemy as sa

from controller import exceptions
from controller.db import rows, tables
from controller.db.repositories import moves, paging, resources
from controller.model import load_balancer as model
from controller.model import status

_T = tables.load_balancers
_P = status.ProvisioningStatus

# What is wanted is new, so it is tried at once.
_AT = {"generation": _T.c.generation + 1, "failures": 0, "next_try_at": 0.0}
_HERE = (_T.c.id == sa.bindparam("object_id"), _T.c.provisioning_status.in_(sa.bindparam("allowed", expanding=True)))
_ADVANCE = moves.changed(_T, updated_at=resources.touched(_T)).where(*_HERE).values(_AT)
_DELETE = moves.newly(_T, _P.PENDING_DELETE).where(*_HERE).values(_AT)
_GENERATION = sa.select(_T.c.generation, _T.c.provisioning_status).where(_T.c.id == sa.bindparam("object_id"))
_PROVIDER = sa.select(_T.c.provider).where(_T.c.id == sa.bindparam("object_id"), _T.c.provisioning_status != _P.DELETED)
_LOCK = sa.select(_T.c.id).where(_T.c.id == sa.bindparam("object_id")).with_for_update()  # SQLite's writers are alone anyway
_ABOVE: dict[str, tuple[sa.Table, sa.Column[str]]] = {
    "loadbalancer_id": (_T, _T.c.id),
    "listener_id": (tables.listeners, tables.listeners.c.load_balancer_id),
    "pool_id": (tables.pools, tables.pools.c.load_balancer_id),
}
_LIVE_CHILDREN = sa.select(
    sa.or_(
        *(
            sa.exists().where(table.c.load_balancer_id == sa.bindparam("object_id"), table.c.provisioning_status != _P.PENDING_DELETE)
            for table in (tables.listeners, tables.pools)
        )
    )
)


class LoadBalancers(resources.Resources[model.LoadBalancer]):
    """A load balancer's row is the lock of everything below it: each change begins with `advance()`."""

    title = "Load Balancer"
    table = _T
    relations = (
        resources.TAGS,
        resources.Relation("listeners", tables.listeners, "load_balancer_id"),
        resources.Relation("pools", tables.pools, "load_balancer_id"),
    )
    ids: ClassVar[Mapping[str, str]] = {"tags": "tags", "listener_ids": "listeners", "pool_ids": "pools"}

    def _build(self, row: rows.Row, fault: model.Fault | None, related: resources.Related) -> model.LoadBalancer:
        key = row["id"]
        return rows.load_balancer(
            row,
            resources.of(related, "tags", key),
            fault,
            resources.of(related, "listeners", key),
            resources.of(related, "pools", key),
        )

    def advance(self, load_balancer_id: str, allowed: Collection[status.ProvisioningStatus] = status.MUTABLE) -> int:
        """Accept a change: raise the generation, owe an update, hold the row's lock until the transaction ends. Returns the new generation.

        :raises NotFound: no such load balancer.
        :raises Immutable: it is in none of the `allowed` states.
        """
        return self._move(_ADVANCE, load_balancer_id, allowed)

    def lock(self, load_balancer_id: str) -> None:
        """Hold the row's lock until the transaction ends, where what happens next depends on what is read now."""
        self._connection.execute(_LOCK, {"object_id": load_balancer_id})

    def lock_several(self, named: Mapping[str, Collection[str]], project_id: str | None) -> None:
        """Hold the locks of all load balancers that are named, or stand above the listeners and pools that are: `{"listener_id": [...]}`.

        A transaction that changes several takes their locks first, in one order for all, so that nobody waits in a circle. With
        `project_id`, other projects' are left alone.
        """
        ids = {kind: [one for one in named.get(kind, ()) if paging.may_exist(one)] for kind in _ABOVE}
        above = [sa.select(column).where(table.c.id.in_(ids[kind])) for kind, (table, column) in _ABOVE.items() if ids[kind]]
        if not above:
            return
        found = sorted(self._connection.execute(sa.union(*above)).scalars())
        own = [] if project_id is None else [_T.c.project_id == project_id]
        self._connection.execute(sa.select(_T.c.id).where(_T.c.id.in_(found), *own).order_by(_T.c.id).with_for_update())

    def delete(self, load_balancer_id: str, allowed: Collection[status.ProvisioningStatus] = status.MUTABLE) -> int:
        """Accept a deletion; returns the new generation.

        :raises NotFound: no such load balancer.
        :raises Immutable: it is in none of the `allowed` states.
        """
        return self._move(_DELETE, load_balancer_id, allowed)

    def provider_of(self, load_balancer_id: str) -> str:
        """The name of the provider that makes it real.

        :raises NotFound: no such load balancer.
        """
        found = (
            self._connection.execute(_PROVIDER, {"object_id": load_balancer_id}).scalar() if paging.may_exist(load_balancer_id) else None
        )
        if found is None:
            raise exceptions.NotFound(self.title, load_balancer_id)
        return str(found)

    def has_children(self, load_balancer_id: str) -> bool:
        """Whether there are listeners or pools that nobody asked to delete."""
        return bool(self._connection.execute(_LIVE_CHILDREN, {"object_id": load_balancer_id}).scalar())

    def _move(self, statement: sa.Update, load_balancer_id: str, allowed: Collection[status.ProvisioningStatus]) -> int:
        parameters: dict[str, Any] = {"object_id": load_balancer_id, "allowed": list(allowed)}
        moved = self._connection.execute(statement, parameters).rowcount
        found = self._connection.execute(_GENERATION, {"object_id": load_balancer_id}).first()
        if found is None or found.provisioning_status == _P.DELETED:
            raise exceptions.NotFound(self.title, load_balancer_id)
        if not moved:
            raise exceptions.Immutable(load_balancer_id, found.provisioning_status)
        return int(found.generation)
