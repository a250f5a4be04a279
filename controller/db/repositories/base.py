"""What all repositories share: the connection of their transaction, and the few queries that every resource needs."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa

from controller.db import clock, rows, tables
from controller.model import load_balancer as model


def now() -> datetime.datetime:
    """The time as rows keep it."""
    return datetime.datetime.now(datetime.UTC)


NOW: sa.BindParameter[datetime.datetime] = sa.bindparam("now", callable_=now, type_=tables.UtcDateTime())
"""`now()` at the time when the statement is executed. Whoever writes a status writes this as `updated_at`, for clients parse it."""


class Repository:
    """Works inside one transaction."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def _now(self) -> float:
        """Seconds since the epoch, by the clock that all who share the database go by."""
        return clock.now(self._connection)

    def _rows(self, statement: sa.Executable, parameters: Mapping[str, Any] | None = None) -> list[rows.Row]:
        return [dict(row) for row in self._connection.execute(statement, parameters or {}).mappings()]

    def _tags(self, resource_ids: Iterable[str]) -> dict[str, list[str]]:
        """Tags by resource id, in one statement."""
        wanted = sa.select(tables.tags).where(tables.tags.c.resource_id.in_(list(resource_ids))).order_by(tables.tags.c.tag)
        found: dict[str, list[str]] = {}
        for row in self._connection.execute(wanted):
            found.setdefault(row.resource_id, []).append(row.tag)
        return found

    def _faults(self, object_ids: Iterable[str]) -> dict[str, model.Fault]:
        """Current faults by object id, in one statement."""
        wanted = sa.select(tables.faults).where(tables.faults.c.object_id.in_(list(object_ids)))
        return {row["object_id"]: rows.fault(row) for row in self._rows(wanted)}
