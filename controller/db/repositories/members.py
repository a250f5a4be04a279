"""Queries on members."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from controller.db import rows, tables
from controller.db.repositories import base, moves, paging, resources
from controller.model import addresses
from controller.model import load_balancer as model

_T = tables.members
_TWIN = sa.select(_T.c.id).where(
    _T.c.pool_id == sa.bindparam("pool_id"),
    _T.c.address == sa.bindparam("address"),
    _T.c.protocol_port == sa.bindparam("port"),
    _T.c.provisioning_status != resources.PENDING_DELETE,
)


_IPV6_TWINS = sa.select(_T.c.address).where(
    _T.c.pool_id == sa.bindparam("pool_id"),
    _T.c.address.contains(":"),
    _T.c.protocol_port == sa.bindparam("port"),
    _T.c.provisioning_status != resources.PENDING_DELETE,
)


class Members(resources.Resources[model.Member]):
    """Queries on members."""

    title = "Member"
    table = _T
    relations = (resources.TAGS,)

    def _build(self, row: rows.Row, fault: model.Fault | None, related: resources.Related) -> model.Member:
        return rows.member(row, resources.of(related, "tags", row["id"]), fault)

    def is_taken(self, pool_id: str, address: str, port: int) -> bool:
        """Whether the pool has this server already; one being deleted no longer counts."""
        if ":" not in address:
            return self._connection.execute(_TWIN, {"pool_id": pool_id, "address": address, "port": port}).first() is not None
        wanted = addresses.canonical(address)
        found = self._connection.execute(_IPV6_TWINS, {"pool_id": pool_id, "port": port}).scalars()
        return any(addresses.canonical(one) == wanted for one in found)

    def of_pool(self, pool_id: str) -> list[model.Member]:
        """All members of a pool, oldest first."""
        return self.page(paging.Query(filters=(paging.Filter("pool_id", pool_id),)))

    def change_many(self, changes: Sequence[Mapping[str, Any]], generation: int) -> None:
        """Write new values to many members, which are not being deleted; each change has an `id`, perhaps `tags`, and its columns.

        One `executemany` per set of columns, and members that differ in nothing but their names share one.
        """
        by_columns: dict[tuple[str, ...], list[dict[str, Any]]] = {}
        for item in changes:
            columns = tuple(sorted(name for name in item if name not in ("id", "tags")))
            by_columns.setdefault(columns, []).append({"object_id": item["id"], **{f"new_{name}": item[name] for name in columns}})
        for columns, parameters in by_columns.items():
            values: dict[str, Any] = {name: sa.bindparam(f"new_{name}") for name in columns}
            statement = moves.changed(_T, generation=generation, updated_at=base.NOW, **values)
            self._connection.execute(statement.where(_T.c.id == sa.bindparam("object_id")), parameters)
        self._replace_tags({item["id"]: item["tags"] for item in changes if "tags" in item})

    def mark_many_deleted(self, member_ids: Sequence[str], generation: int) -> None:
        """Owe the removal of these members."""
        if member_ids:
            self.mark_all_deleted(_T.c.id.in_(member_ids), generation)

    def mark_deleted_in(self, pool_id: str, generation: int) -> None:
        """Owe the removal of all members of a pool."""
        self.mark_all_deleted(_T.c.pool_id == pool_id, generation)

    def mark_deleted_with(self, load_balancer_id: str, generation: int) -> None:
        """Owe the removal of all members of a load balancer."""
        self.mark_all_deleted(_T.c.load_balancer_id == load_balancer_id, generation)

    def _replace_tags(self, tags: Mapping[str, Sequence[str]]) -> None:
        if tags:
            self._connection.execute(sa.delete(tables.tags).where(tables.tags.c.resource_id.in_(list(tags))))
            self._add_tags(tags)
