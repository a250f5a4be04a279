"""What all repositories share: the connection of their transaction, and its clock."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from controller.db import clock, columns, rows


def now() -> datetime.datetime:
    """The time as rows keep it."""
    return datetime.datetime.now(datetime.UTC)


NOW: sa.BindParameter[datetime.datetime] = sa.bindparam("now", callable_=now, type_=columns.UtcDateTime())
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
