"""What listeners, pools and access logs were before a change that named secrets: with it they serve on if these can't be read."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import sqlalchemy as sa

from controller.db import rows, tables
from controller.model import load_balancer as model
from controller.resources import listener, pool
from controller.resources.declare import Schema

_T = tables.served_before.c


def _changeable(table: sa.Table, schema: Schema) -> tuple[str, ...]:
    return tuple(field.column for field in schema.fields.values() if field.put and field.column is not None and field.column in table.c)


_KINDS: Mapping[type, tuple[sa.Table, tuple[str, ...], Callable[[rows.Row], Any]]] = {
    model.LoadBalancer: (tables.load_balancers, ("access_log",), rows.load_balancer),
    model.Listener: (tables.listeners, _changeable(tables.listeners, listener.SCHEMA), rows.listener),
    model.Pool: (tables.pools, _changeable(tables.pools, pool.SCHEMA), rows.pool),
}
"""The table of each kind, the columns that a change may change, and what makes a noun of a row."""


class ServedBefore(rows.Repository):
    """One row for each object of which such a change is not applied yet, and for each that could not be applied since it was made."""

    def keep(self, load_balancer_id: str, user: model.NamesSecrets, generation: int, *, is_read: bool) -> None:
        """Call it before the change is written. What was kept before stays, unless all that the object names now `is_read`."""
        table, names, _ = next(known for kind, known in _KINDS.items() if isinstance(user, kind))
        known = sa.update(tables.served_before).where(_T.object_id == user.id)
        if not is_read and self._connection.execute(known.values(generation=generation)).rowcount:
            return
        [row] = self._rows(sa.select(*(table.c[name] for name in names)).where(table.c.id == user.id))
        self.forget([user.id])
        values = {"object_id": user.id, "load_balancer_id": load_balancer_id, "generation": generation, "fields": dict(row)}
        self._connection.execute(sa.insert(tables.served_before).values(values))

    def keep_nothing(self, load_balancer_id: str, object_ids: Collection[str], generation: int) -> None:
        """These were never applied: they served nobody before. What is known of them stays."""
        for some in rows.chunks(object_ids):
            known = set(self._connection.execute(sa.select(_T.object_id).where(_T.object_id.in_(some))).scalars())
            nothing = {"load_balancer_id": load_balancer_id, "generation": generation, "fields": {}}
            if new := [nothing | {"object_id": one} for one in some if one not in known]:
                self._connection.execute(sa.insert(tables.served_before), new)

    def of(self, load_balancer_id: str) -> Mapping[str, model.NamesSecrets]:
        """What there is of a load balancer, by id: the objects with what clients had asked for before; all else is as it is now. Who
        served nobody before is as it is now altogether, so where that can't be read, nothing takes its place."""
        kept = {
            row["object_id"]: row["fields"]
            for row in self._rows(sa.select(tables.served_before).where(_T.load_balancer_id == load_balancer_id))
        }
        found: dict[str, model.NamesSecrets] = {}
        for table, names, noun in _KINDS.values() if kept else ():
            for row in self._rows(sa.select(table).where(table.c.id.in_(list(kept)))):
                found[row["id"]] = noun({**row, **{name: kept[row["id"]][name] for name in names if name in kept[row["id"]]}})
        return found

    def forget(self, object_ids: Collection[str]) -> None:
        """The changes of these are applied, or they are gone."""
        for some in rows.chunks(object_ids):
            self._connection.execute(sa.delete(tables.served_before).where(_T.object_id.in_(some)))
