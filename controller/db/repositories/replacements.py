"""Amphorae that were replaced for what they, or their peers, reported: one row for each role of a load balancer."""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa

from controller.db import rows, tables
from controller.model import status

_R = tables.replacements.c


class Replacements(rows.Repository):
    """Whoever decides by these rows holds the load balancer's lock, so that two health managers count together."""

    def recent(self, load_balancer_id: str, window: float) -> dict[status.Role, float]:
        """The roles that were replaced less than `window` seconds ago, and when (seconds since the epoch).

        What lies ahead was written before the clock was set back, and is forgotten: a row may cost one replacement, never all for good.
        """
        now = self._now()
        recent = (_R.replaced_at > now - window, _R.replaced_at <= now)
        found = self._connection.execute(sa.select(_R.role, _R.replaced_at).where(_R.load_balancer_id == load_balancer_id, *recent))
        return {status.Role(row.role): row.replaced_at for row in found}

    def note(self, load_balancer_id: str, role: status.Role) -> None:
        """The amphora of this role is replaced now."""
        mine = (_R.load_balancer_id == load_balancer_id, _R.role == role)
        values = {"replaced_at": self._now(), "told_at": 0.0}
        if not self._connection.execute(sa.update(tables.replacements).where(*mine).values(values)).rowcount:
            self._connection.execute(sa.insert(tables.replacements).values(load_balancer_id=load_balancer_id, role=role, **values))

    def tell(self, load_balancer_id: str, roles: Collection[status.Role]) -> bool:
        """It is said now that replacing these did not help; False if that was said before."""
        mine = (_R.load_balancer_id == load_balancer_id, _R.role.in_(roles), _R.told_at == 0.0)
        return bool(self._connection.execute(sa.update(tables.replacements).where(*mine).values(told_at=self._now())).rowcount)
