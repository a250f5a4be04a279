"""Queries on listeners."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import ClassVar

import sqlalchemy as sa

from controller.db import rows, tables
from controller.db.repositories import resources
from controller.model import load_balancer as model
from controller.model import status

_T = tables.listeners
_PORTS = sa.select(_T.c.id, _T.c.protocol).where(
    _T.c.load_balancer_id == sa.bindparam("load_balancer_id"),
    _T.c.protocol_port == sa.bindparam("port"),
    _T.c.provisioning_status != resources.PENDING_DELETE,
)


class Listeners(resources.Resources[model.Listener]):
    """Queries on listeners."""

    title = "Listener"
    table = _T
    relations = (resources.TAGS, resources.Relation("l7policies", tables.l7policies, "listener_id", order="position"))
    ids: ClassVar[Mapping[str, str]] = {"tags": "tags", "l7policy_ids": "l7policies"}

    def _build(self, row: rows.Row, fault: model.Fault | None, related: resources.Related) -> model.Listener:
        key = row["id"]
        return rows.listener(row, resources.of(related, "tags", key), fault, resources.of(related, "l7policies", key))

    def protocols_on_port(self, load_balancer_id: str, port: int) -> list[str]:
        """The protocols of the listeners on a port; those being deleted no longer count."""
        found = self._connection.execute(_PORTS, {"load_balancer_id": load_balancer_id, "port": port})
        return [row.protocol for row in found]

    def touch_users(self, pool_id: str, generation: int) -> None:
        """Stamp the listeners whose default pool this is, or that redirect to it."""
        self._stamp(_users(pool_id), generation)

    def user_not_in(self, pool_id: str, states: Collection[status.ProvisioningStatus]) -> str | None:
        """The id of a listener that uses a pool and is in none of these states."""
        found = self._connection.execute(sa.select(_T.c.id).where(_users(pool_id), _T.c.provisioning_status.not_in(states)).limit(1))
        return found.scalar()

    def any_with_cidrs(self, load_balancer_id: str) -> bool:
        """Whether a listener, which is not being deleted, lets only some clients in."""
        wanted = sa.select(_T.c.allowed_cidrs).where(
            _T.c.load_balancer_id == load_balancer_id, _T.c.provisioning_status != resources.PENDING_DELETE
        )
        return any(self._connection.execute(wanted).scalars())

    def detach(self, pool_id: str, generation: int) -> None:
        """Take a pool away from the listeners whose default pool it is, and stamp them."""
        self._stamp(_T.c.default_pool_id == pool_id, generation, {"default_pool_id": None})
        # A listener that is being deleted keeps no pool alive either.
        self._connection.execute(sa.update(_T).where(_T.c.default_pool_id == pool_id).values(default_pool_id=None))

    def mark_deleted_with(self, load_balancer_id: str, generation: int) -> None:
        """Owe the removal of all listeners of a load balancer."""
        self.mark_all_deleted(_T.c.load_balancer_id == load_balancer_id, generation)


def _users(pool_id: str) -> sa.ColumnElement[bool]:
    """Listeners whose default pool this is, or that redirect to it."""
    pool, policy = tables.pools.c, tables.l7policies.c
    redirecting = sa.select(policy.listener_id).where(policy.redirect_pool_id == pool_id)
    # The load balancer is named only so that MySQL, which joins no indexes here, need not look through all listeners.
    owner = sa.select(pool.load_balancer_id).where(pool.id == pool_id).scalar_subquery()
    return sa.and_(_T.c.load_balancer_id == owner, sa.or_(_T.c.default_pool_id == pool_id, _T.c.id.in_(redirecting)))
