"""Queries on health monitors."""

from __future__ import annotations

import sqlalchemy as sa

from controller.db import rows, tables
from controller.db.repositories import paging, resources
from controller.model import load_balancer as model

_T = tables.health_monitors


class HealthMonitors(resources.Resources[model.HealthMonitor]):
    """Queries on health monitors."""

    title = "Health Monitor"
    table = _T
    relations = (resources.TAGS,)

    def _build(self, row: rows.Row, fault: model.Fault | None, related: resources.Related) -> model.HealthMonitor:
        return rows.health_monitor(row, resources.of(related, "tags", row["id"]), fault)

    def pool_of(self, monitor_id: str) -> str | None:
        """The id of the pool that a monitor probes; None: there is no such monitor."""
        wanted = sa.select(_T.c.pool_id).where(_T.c.id == monitor_id)
        return self._connection.execute(wanted).scalar() if paging.may_exist(monitor_id) else None

    def mark_deleted_in(self, pool_id: str, generation: int) -> None:
        """Owe the removal of a pool's monitor."""
        self.mark_all_deleted(_T.c.pool_id == pool_id, generation)

    def mark_deleted_with(self, load_balancer_id: str, generation: int) -> None:
        """Owe the removal of all monitors of a load balancer."""
        self.mark_all_deleted(_T.c.load_balancer_id == load_balancer_id, generation)
