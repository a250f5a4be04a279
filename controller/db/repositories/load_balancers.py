"""Queries on load balancers, and on listeners."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, ClassVar

import sqlalchemy as sa

from controller import exceptions
from controller.db import rows, tables
from controller.db.repositories import moves, resources
from controller.model import load_balancer as model
from controller.model import network, status

_T = tables.load_balancers
_P = status.ProvisioningStatus

# What is wanted is new, so it is tried at once.
_AT = {"generation": _T.c.generation + 1, "failures": 0, "next_try_at": 0.0}
_HERE = (_T.c.id == sa.bindparam("object_id"), _T.c.provisioning_status.in_(sa.bindparam("allowed", expanding=True)))
_ADVANCE = moves.changed(_T, updated_at=resources.touched(_T)).where(*_HERE).values(_AT)
_DELETE = moves.newly(_T, _P.PENDING_DELETE).where(*_HERE).values(_AT)
_GENERATION = rows.Prepared(sa.select(_T.c.generation, _T.c.provisioning_status).where(_T.c.id == sa.bindparam("object_id")))
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
            sa.exists().where(table.c.load_balancer_id == sa.bindparam("object_id"), resources.lives(table))
            for table in (tables.listeners, tables.pools)
        )
    )
)


class LoadBalancers(resources.Resources[model.LoadBalancer]):
    """A load balancer's row is the lock of everything below it: each change begins with `advance()`."""

    title = "Load Balancer"
    table = _T
    noun = staticmethod(rows.load_balancer)
    relations = (
        resources.TAGS,
        resources.Relation("listeners", tables.listeners, "load_balancer_id"),
        resources.Relation("pools", tables.pools, "load_balancer_id"),
    )
    ids: ClassVar[Mapping[str, str]] = {"tags": "tags", "listener_ids": "listeners", "pool_ids": "pools"}

    def advance(self, load_balancer_id: str, allowed: Collection[status.ProvisioningStatus] = status.MUTABLE) -> int:
        """Accept a change: raise the generation, owe an update, hold the row's lock until the transaction ends. Returns the new generation.

        :raises NotFound: no such load balancer.
        :raises Immutable: it is in none of the `allowed` states.
        """
        return self._move(_ADVANCE, load_balancer_id, allowed)

    def lock(self, load_balancer_id: str) -> None:
        """Hold the row's lock until the transaction ends, where what happens next depends on what is read now."""
        self._connection.execute(_LOCK, {"object_id": load_balancer_id})

    def note_facts(self, load_balancer_id: str, facts: network.Facts) -> None:
        """Write down what its amphorae are told of networks."""
        self._connection.execute(sa.update(_T).where(_T.c.id == load_balancer_id).values(network_facts=facts.dump()))

    def note_access(self, load_balancer_id: str, digest: str) -> None:
        """Write down what may reach the VIP (`access.digest`): by whoever has set it, or has seen that it is so."""
        self._write_access(load_balancer_id, access_hash=digest, access_generation=_T.c.applied_generation)

    def cross_access_out(self, load_balancer_id: str) -> None:
        """What may reach the VIP is being changed, or was by nobody knows whom."""
        self._write_access(load_balancer_id, access_hash=None)

    def _write_access(self, load_balancer_id: str, **values: Any) -> None:
        self._connection.execute(sa.update(_T).where(_T.c.id == load_balancer_id).values(values))

    def lock_several(self, named: Mapping[str, Collection[str]], project_id: str | None) -> None:
        """Hold the locks of all load balancers that are named, or stand above the listeners and pools that are: `{"listener_id": [...]}`.

        A transaction that changes several takes their locks first, in one order for all, so that nobody waits in a circle. With
        `project_id`, other projects' are left alone.
        """
        ids = {kind: [one for one in named.get(kind, ()) if rows.may_exist(one)] for kind in _ABOVE}
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
        found = self._connection.execute(_PROVIDER, {"object_id": load_balancer_id}).scalar() if rows.may_exist(load_balancer_id) else None
        if found is None:
            raise exceptions.NotFound(self.title, load_balancer_id)
        return str(found)

    def has_children(self, load_balancer_id: str) -> bool:
        """Whether there are listeners or pools that nobody asked to delete."""
        return bool(self._connection.execute(_LIVE_CHILDREN, {"object_id": load_balancer_id}).scalar())

    def _move(self, statement: sa.Update, load_balancer_id: str, allowed: Collection[status.ProvisioningStatus]) -> int:
        parameters: dict[str, Any] = {"object_id": load_balancer_id, "allowed": list(allowed)}
        moved = self._connection.execute(statement, parameters).rowcount
        found = next(iter(_GENERATION.rows(self._connection, {"object_id": load_balancer_id})), None)
        if found is None or found.provisioning_status == _P.DELETED:
            raise exceptions.NotFound(self.title, load_balancer_id)
        if not moved:
            raise exceptions.Immutable(load_balancer_id, found.provisioning_status)
        return int(found.generation)


_L = tables.listeners
_PORTS = sa.select(_L.c.id, _L.c.protocol).where(
    _L.c.load_balancer_id == sa.bindparam("load_balancer_id"),
    _L.c.protocol_port == sa.bindparam("port"),
    resources.lives(_L),
)


class Listeners(resources.Resources[model.Listener]):
    title = "Listener"
    table = tables.listeners
    noun = staticmethod(rows.listener)
    relations = (resources.TAGS, resources.Relation("l7policies", tables.l7policies, "listener_id", order="position"))
    ids: ClassVar[Mapping[str, str]] = {"tags": "tags", "l7policy_ids": "l7policies"}

    def protocols_on_port(self, load_balancer_id: str, port: int) -> list[str]:
        """The protocols of the listeners on a port; those being deleted no longer count."""
        found = self._connection.execute(_PORTS, {"load_balancer_id": load_balancer_id, "port": port})
        return [row.protocol for row in found]

    def touch_users(self, pool_id: str, generation: int) -> None:
        """Stamp the listeners whose default pool this is, or that redirect to it."""
        _TOUCH_USERS.change(self._connection, {"of_pool": pool_id, "at": generation})

    def user_not_in(self, pool_id: str, states: Collection[status.ProvisioningStatus]) -> str | None:
        """The id of a listener that uses a pool and is in none of these states."""
        found = self._connection.execute(sa.select(_L.c.id).where(_users(pool_id), _L.c.provisioning_status.not_in(states)).limit(1))
        return found.scalar()

    def any_with_cidrs(self, load_balancer_id: str) -> bool:
        """Whether a listener, which is not being deleted, lets only some clients in."""
        wanted = sa.select(_L.c.allowed_cidrs).where(_L.c.load_balancer_id == load_balancer_id, resources.lives(_L))
        return any(self._connection.execute(wanted).scalars())

    def detach(self, pool_id: str, generation: int) -> None:
        """Take a pool away from the listeners whose default pool it is, and stamp them."""
        self._stamp(_L.c.default_pool_id == pool_id, generation, {"default_pool_id": None})
        # A listener that is being deleted keeps no pool alive either.
        self._connection.execute(sa.update(_L).where(_L.c.default_pool_id == pool_id).values(default_pool_id=None))


def _users(pool_id: str | sa.BindParameter[str]) -> sa.ColumnElement[bool]:
    """Listeners whose default pool this is, or that redirect to it."""
    pool, policy = tables.pools.c, tables.l7policies.c
    redirecting = sa.select(policy.listener_id).where(policy.redirect_pool_id == pool_id)
    split = tables.l7policy_pools.c
    splitting = sa.select(policy.listener_id).where(policy.id == split.l7policy_id, split.pool_id == pool_id)
    # The load balancer is named only so that MySQL, which joins no indexes here, need not look through all listeners.
    owner = sa.select(pool.load_balancer_id).where(pool.id == pool_id).scalar_subquery()
    return sa.and_(
        _L.c.load_balancer_id == owner, sa.or_(_L.c.default_pool_id == pool_id, _L.c.id.in_(redirecting), _L.c.id.in_(splitting))
    )


_TOUCH_USERS = Listeners._stamping(_users(sa.bindparam("of_pool")))
