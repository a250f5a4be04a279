"""Rows of the inventory's tables, within one transaction. Each statement is built and compiled once: there are few, and they are short."""

from __future__ import annotations

import datetime
import functools
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from controller import exceptions

Row = sa.Row[Any]


def new_id() -> str:
    """For a row that is to come."""
    return str(uuid.uuid4())


def now() -> str:
    """The time, as the Networking API writes it."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def picked(values: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Those of the values that were given."""
    return {name: values[name] for name in names if name in values}


class Rows:
    """`equal` are columns with their values: one, or a collection of which it is any."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def run(self, statement: sa.Executable, **values: Any) -> sa.CursorResult[Any]:
        """A statement that is built elsewhere, once."""
        return self._connection.execute(statement, values)

    def all(self, table: sa.Table, **equal: Any) -> Sequence[Row]:
        """In the order in which they were made."""
        return self.run(_select(table, *_shape(equal)), **equal).all()

    def first(self, table: sa.Table, **equal: Any) -> Row | None:
        """The oldest one, if there is any."""
        return self.run(_select(table, *_shape(equal)), **equal).first()

    def get(self, table: sa.Table, object_id: str) -> Row:
        """:raises NotFound: there is none."""
        found = self.first(table, id=object_id)
        if found is None:
            raise exceptions.NotFound(table.info["kind"], object_id)
        return found

    def count(self, table: sa.Table, **equal: Any) -> int:
        """How many there are."""
        return int(self.run(_count(table, *_shape(equal)), **equal).scalar_one())

    def put(self, table: sa.Table, *rows: Mapping[str, Any]) -> int:
        """Insert rows of the same columns, but for those that are there already; how many were not."""
        return self._connection.execute(_insert(table), rows[0] if len(rows) == 1 else list(rows)).rowcount if rows else 0

    def add(self, table: sa.Table, values: Mapping[str, Any], details: Iterable[str] = (), **columns: Any) -> str:
        """Make a row with an id, and these of the values as its details; the id."""
        columns = {"id": new_id(), **columns}
        self._connection.execute(sa.insert(table), columns | {"details": {**picked(values, details), "created_at": now()}})
        return str(columns["id"])

    def set(self, table: sa.Table, equal: Mapping[str, Any], **columns: Any) -> None:
        """Give columns other values."""
        if columns:
            named = {f"where_{name}": value for name, value in equal.items()}
            self.run(_update(table, *_shape(equal)), **named, **columns)

    def change(self, table: sa.Table, object_id: str, values: Mapping[str, Any], columns: Iterable[str], details: Iterable[str]) -> None:
        """Take these of the values into a row's columns and details, and note that it changed."""
        known = self.get(table, object_id).details
        changed = {**known, **picked(values, details), "updated_at": now(), "revision_number": known.get("revision_number", 0) + 1}
        self.set(table, {"id": object_id}, details=changed, **picked(values, columns))

    def delete(self, table: sa.Table, **equal: Any) -> None:
        """Gone already is fine."""
        self.run(_delete(table, *_shape(equal)), **equal)


Shape = tuple[str, bool]
"""The name of a column, and whether it is compared with several values."""


def _shape(equal: Mapping[str, Any]) -> tuple[Shape, ...]:
    return tuple((name, isinstance(value, Collection) and not isinstance(value, str)) for name, value in equal.items())


def _where(table: sa.Table, shape: Iterable[Shape], prefix: str = "") -> list[sa.ColumnElement[bool]]:
    return [_condition(table.c[name], several, prefix + name) for name, several in shape]


def _condition(column: sa.Column[Any], several: bool, name: str) -> sa.ColumnElement[bool]:
    value = sa.bindparam(name, type_=column.type, expanding=several)
    if several:
        return column.in_(value)
    return column.is_(value) if column.nullable else column == value  # for NULL is equal to nothing, and is NULL


@functools.cache
def _select(table: sa.Table, *shape: Shape) -> sa.Select[Any]:
    found = sa.select(table).where(*_where(table, shape))
    return found.order_by(sa.literal_column("rowid")) if table.dialect_options["sqlite"]["with_rowid"] else found


@functools.cache
def _count(table: sa.Table, *shape: Shape) -> sa.Select[Any]:
    return sa.select(sa.func.count()).select_from(table).where(*_where(table, shape))


@functools.cache
def _insert(table: sa.Table) -> sa.Insert:
    return sqlite.insert(table).on_conflict_do_nothing()


@functools.cache
def _update(table: sa.Table, *shape: Shape) -> sa.Update:
    return sa.update(table).where(*_where(table, shape, "where_"))


@functools.cache
def _delete(table: sa.Table, *shape: Shape) -> sa.Delete:
    return sa.delete(table).where(*_where(table, shape))
