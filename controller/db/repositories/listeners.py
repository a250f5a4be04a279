"""Queries on listeners."""

from __future__ import annotations

import sqlalchemy as sa

from controller.db import rows, tables
from controller.db.repositories import resources
from controller.model import load_balancer as model

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
    relations = (resources.TAGS,)

    def _build(self, row: rows.Row, fault: model.Fault | None, related: resources.Related) -> model.Listener:
        return rows.listener(row, resources.of(related, "tags", row["id"]), fault)

    def protocols_on_port(self, load_balancer_id: str, port: int) -> list[str]:
        """The protocols of the listeners on a port; those being deleted no longer count."""
        found = self._connection.execute(_PORTS, {"load_balancer_id": load_balancer_id, "port": port})
        return [row.protocol for row in found]

    def touch_users(self, pool_id: str, generation: int) -> None:
        """Stamp the listeners whose default pool this is."""
        self._stamp(_T.c.default_pool_id == pool_id, generation)

    def detach(self, pool_id: str, generation: int) -> None:
        """Take a pool away from the listeners whose default pool it is, and stamp them."""
        self._stamp(_T.c.default_pool_id == pool_id, generation, {"default_pool_id": None})
        # A listener that is being deleted keeps no pool alive either.
        self._connection.execute(sa.update(_T).where(_T.c.default_pool_id == pool_id).values(default_pool_id=None))

    def mark_deleted_with(self, load_balancer_id: str, generation: int) -> None:
        """Owe the removal of all listeners of a load balancer."""
        self.mark_all_deleted(_T.c.load_balancer_id == load_balancer_id, generation)
