"""Rows of the inventory's tables, within one transaction. Each statement is built and compiled once: there are few, and they are short."""

import datetime
import functools
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from controller import exceptions
from controller.db import rows as db_rows

Row = Any
"""Its values by the names of their columns, and `_mapping` of all."""


def new_id() -> str:
    """An id for a new row: a random UUID."""
    return str(uuid.uuid4())


def now() -> str:
    """The time, as the Networking API writes it."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def picked(values: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Those of the `names` that have a value, with their values."""
    return {name: values[name] for name in names if name in values}


class Rows:
    """`equal` are columns with their values: one, or a collection of which it is any."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def run(self, statement: sa.Executable, **values: Any) -> sa.CursorResult[Any]:
        """A statement that is built elsewhere, once, and may have lists for parameters."""
        return self._connection.execute(statement, values)

    def found(self, query: db_rows.Prepared, **values: Any) -> Sequence[Row]:
        """The rows of a query that is built elsewhere, once."""
        return query.rows(self._connection, values)

    def change_by(self, statement: db_rows.Prepared, **values: Any) -> int:
        """How many rows a statement changed that is built elsewhere, once."""
        return statement.change(self._connection, values)

    def all(self, table: sa.Table, **equal: Any) -> Sequence[Row]:
        """The rows with these values, in the order in which they were made."""
        return _select(table, *_shape(equal)).rows(self._connection, _flat(equal))

    def first(self, table: sa.Table, **equal: Any) -> Row | None:
        """Any row with these values; None if there is none."""
        return next(iter(self.all(table, **equal)), None)

    def get(self, table: sa.Table, object_id: str) -> Row:
        """:raises NotFound: there is none."""
        found = self.first(table, id=object_id)
        if found is None:
            raise exceptions.NotFound(table.info["kind"], object_id)
        return found

    def count(self, table: sa.Table, **equal: Any) -> int:
        """How many rows have these values."""
        return int(_count(table, *_shape(equal)).all(self._connection, _flat(equal))[0][0])

    def put(self, table: sa.Table, *rows: Mapping[str, Any]) -> int:
        """Insert rows of the same columns, but for those that are there already; how many were not."""
        return sum(_insert(table, *row).change(self._connection, _new(row)) for row in rows)

    def add(self, table: sa.Table, values: Mapping[str, Any], details: Iterable[str] = (), **columns: Any) -> str:
        """Make a row with an id, and these of the values as its details; the id."""
        columns = {"id": new_id(), **columns}
        columns["details"] = {**picked(values, details), "created_at": now()}
        _insert(table, *columns, anew=True).change(self._connection, _new(columns))
        return str(columns["id"])

    def set(self, table: sa.Table, equal: Mapping[str, Any], **columns: Any) -> None:
        """Change columns of all rows with the values of `equal`."""
        if columns:
            changed = _update(table, tuple(columns), *_shape(equal))
            changed.change(self._connection, _flat(equal) | _new(columns))

    def change(self, table: sa.Table, object_id: str, values: Mapping[str, Any], columns: Iterable[str], details: Iterable[str]) -> None:
        """Take these of the values into a row's columns and details, and note that it changed."""
        known = self.get(table, object_id).details
        changed = {**known, **picked(values, details), "updated_at": now(), "revision_number": known.get("revision_number", 0) + 1}
        self.set(table, {"id": object_id}, details=changed, **picked(values, columns))

    def delete(self, table: sa.Table, **equal: Any) -> None:
        """Gone already is fine."""
        _delete(table, *_shape(equal)).change(self._connection, _flat(equal))


Shape = tuple[str, int | None]
"""The name of a column, and with how many values it is compared, if those are a collection."""
_KEPT = 1024
"""Statements that are kept compiled."""


def _shape(equal: Mapping[str, Any]) -> tuple[Shape, ...]:
    return tuple((name, len(value) if _is_several(value) else None) for name, value in equal.items())


def _is_several(value: Any) -> bool:
    return isinstance(value, Collection) and not isinstance(value, str)


def _flat(equal: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a statement: each value by itself."""
    flat: dict[str, Any] = {}
    for name, value in equal.items():
        flat.update({f"where_{name}_{place}": one for place, one in enumerate(value)} if _is_several(value) else {f"where_{name}": value})
    return flat


def _new(columns: Mapping[str, Any]) -> dict[str, Any]:
    return {f"new_{name}": value for name, value in columns.items()}


def _where(table: sa.Table, shape: Iterable[Shape]) -> list[sa.ColumnElement[bool]]:
    return [_condition(table.c[name], name, several) for name, several in shape]


def _condition(column: sa.Column[Any], name: str, several: int | None) -> sa.ColumnElement[bool]:
    if several is not None:
        values: list[Any] = [sa.bindparam(f"where_{name}_{place}", type_=column.type) for place in range(several)]
        return column.in_(values) if values else sa.false()
    value: sa.BindParameter[Any] = sa.bindparam(f"where_{name}", type_=column.type)
    return column.is_(value) if column.nullable else column == value  # for NULL is equal to nothing, and is NULL


@functools.lru_cache(_KEPT)
def _select(table: sa.Table, *shape: Shape) -> db_rows.Prepared:
    found = sa.select(table).where(*_where(table, shape))
    return db_rows.Prepared(found.order_by(sa.literal_column("rowid")) if table.dialect_options["sqlite"]["with_rowid"] else found)


@functools.lru_cache(_KEPT)
def _count(table: sa.Table, *shape: Shape) -> db_rows.Prepared:
    return db_rows.Prepared(sa.select(sa.func.count()).select_from(table).where(*_where(table, shape)))


@functools.lru_cache(_KEPT)
def _insert(table: sa.Table, *names: str, anew: bool = False) -> db_rows.Prepared:
    """`anew`: there is no such row, or it is an error."""
    made = sqlite.insert(table).values({name: sa.bindparam(f"new_{name}", type_=table.c[name].type) for name in names})
    return db_rows.Prepared(made if anew else made.on_conflict_do_nothing())


@functools.lru_cache(_KEPT)
def _update(table: sa.Table, names: tuple[str, ...], *shape: Shape) -> db_rows.Prepared:
    values: dict[str, Any] = {name: sa.bindparam(f"new_{name}", type_=table.c[name].type) for name in names}
    return db_rows.Prepared(sa.update(table).where(*_where(table, shape)).values(values))


@functools.lru_cache(_KEPT)
def _delete(table: sa.Table, *shape: Shape) -> db_rows.Prepared:
    return db_rows.Prepared(sa.delete(table).where(*_where(table, shape)))
