"""Queries on health monitors."""

from __future__ import annotations

from controller.db import rows, tables
from controller.db.repositories import resources
from controller.model import load_balancer as model

_T = tables.health_monitors


class HealthMonitors(resources.Resources[model.HealthMonitor]):
    """Queries on health monitors."""

    title = "Health Monitor"
    table = _T
    relations = (resources.TAGS,)

    def _build(self, row: rows.Row, fault: model.Fault | None, related: resources.Related) -> model.HealthMonitor:
        return rows.health_monitor(row, resources.of(related, "tags", row["id"]), fault)

    def mark_deleted_in(self, pool_id: str, generation: int) -> None:
        """Owe the removal of a pool's monitor."""
        self.mark_all_deleted(_T.c.pool_id == pool_id, generation)

    def mark_deleted_with(self, load_balancer_id: str, generation: int) -> None:
        """Owe the removal of all monitors of a load balancer."""
        self.mark_all_deleted(_T.c.load_balancer_id == load_balancer_id, generation)
