"""One load balancer at one generation, read in one transaction with a fixed number of statements."""

from __future__ import annotations

import sqlalchemy as sa

from controller import exceptions
from controller.db import rows, tables
from controller.db.repositories import base
from controller.model import amphora as amphora_model
from controller.model import load_balancer as model
from controller.model import status

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
_AMPHORAE = (
    AMPHORAE.where(tables.amphorae.c.load_balancer_id == sa.bindparam("load_balancer_id"))
    .where(tables.amphorae.c.status != status.AmphoraStatus.DELETED)
    .order_by(tables.amphorae.c.created_at, tables.amphorae.c.id)
)


class Snapshots(base.Repository):
    """Reads what a flow or the health manager has to know of one load balancer. Tags and faults are left out: no amphora needs them."""

    def get(self, load_balancer_id: str) -> model.Snapshot:
        """Six statements, whatever the size.

        :raises NotFound: no such load balancer (one in DELETED is still found).
        """
        named = {"load_balancer_id": load_balancer_id}
        found = self._rows(_LOAD_BALANCER, named)
        if not found:
            raise exceptions.NotFound("Load Balancer", load_balancer_id)
        return model.Snapshot(
            load_balancer=rows.load_balancer(found[0]),
            listeners=tuple(rows.listener(row) for row in self._rows(_LISTENERS, named)),
            pools=tuple(rows.pool(row) for row in self._rows(_POOLS, named)),
            members=tuple(rows.member(row) for row in self._rows(_MEMBERS, named)),
            health_monitors=tuple(rows.health_monitor(row) for row in self._rows(_HEALTH_MONITORS, named)),
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

    def amphorae(self, load_balancer_id: str) -> tuple[amphora_model.Amphora, ...]:
        """The amphorae of a load balancer that are not DELETED, oldest first."""
        return tuple(rows.amphora(row) for row in self._rows(_AMPHORAE, {"load_balancer_id": load_balancer_id}))
