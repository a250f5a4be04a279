"""Queries on the rules of L7 policies."""

from __future__ import annotations

import sqlalchemy as sa

from controller.db import rows, tables
from controller.db.repositories import resources
from controller.model import load_balancer as model

_T = tables.l7rules


class L7Rules(resources.Resources[model.L7Rule]):
    """Queries on the rules of L7 policies."""

    title = "L7 Rule"
    table = _T
    relations = (resources.TAGS,)

    def _build(self, row: rows.Row, fault: model.Fault | None, related: resources.Related) -> model.L7Rule:
        return rows.l7rule(row, resources.of(related, "tags", row["id"]), fault)

    def mark_deleted_in(self, policy_id: str, generation: int) -> None:
        """Owe the removal of all rules of a policy."""
        self.mark_all_deleted(_T.c.l7policy_id == policy_id, generation)

    def mark_deleted_below(self, listener_id: str, generation: int) -> None:
        """Owe the removal of all rules of a listener's policies."""
        policies = sa.select(tables.l7policies.c.id).where(tables.l7policies.c.listener_id == listener_id)
        self.mark_all_deleted(_T.c.l7policy_id.in_(policies), generation)

    def mark_deleted_with(self, load_balancer_id: str, generation: int) -> None:
        """Owe the removal of all rules of a load balancer."""
        self.mark_all_deleted(_T.c.load_balancer_id == load_balancer_id, generation)
