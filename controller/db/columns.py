"""Columns that follow from the declarations of fields: type, default, and whether there may be null."""

from __future__ import annotations

import datetime
from collections.abc import Collection, Iterable
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from controller.resources import kinds
from controller.resources.declare import Schema
from controller.resources.fields import ABSENT, Field


class UtcDateTime(sa.types.TypeDecorator[datetime.datetime]):
    """An aware UTC datetime, stored without a zone and with microseconds."""

    impl = sa.DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        """MySQL drops microseconds unless told otherwise."""
        return dialect.type_descriptor(mysql.DATETIME(fsp=6) if dialect.name in ("mysql", "mariadb") else sa.DateTime())

    def process_bind_param(self, value: datetime.datetime | None, dialect: sa.Dialect) -> datetime.datetime | None:
        """Store UTC."""
        return None if value is None else value.astimezone(datetime.UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime.datetime | None, dialect: sa.Dialect) -> datetime.datetime | None:
        """Say that it is UTC."""
        return None if value is None else value.replace(tzinfo=datetime.UTC)


_WORD: Final = 16
"""Characters for one of a few words; twice as many if one of them fills it, so that there is room for more."""


def of(schema: Schema, *, without: Collection[str] = ()) -> list[sa.Column[Any]]:
    """A column for each field that clients write, `without` those that the table says itself, as it says all that only we write."""
    return [column(field) for field in _stored(schema.fields.values()) if field.column not in without]


def _stored(fields: Iterable[Field]) -> Iterable[Field]:
    return (field for field in fields if field.column is not None and (field.post or field.put) and not field.ignored)


def column(field: Field) -> sa.Column[Any]:
    """The column in which a declared field is stored, with its default."""
    default = None if field.default is ABSENT else field.default
    return sa.Column(str(field.column), kind_of(field.kind), nullable=not field.is_never_null, default=default)


def kind_of(kind: kinds.Parser) -> sa.types.TypeEngine[Any]:
    """The type of a column that holds the values of a kind."""
    schema = kinds.schema_of(kind) or {}
    match schema.get("type"):
        case "boolean":
            return sa.Boolean()
        case "integer":
            return sa.Integer()
        case "number":
            return sa.Double()
        case "array" | "object":
            return sa.JSON(none_as_null=True)
        case "string":
            if schema.get("format") == kinds.timestamp.schema["format"]:
                return UtcDateTime()
            return sa.String(kinds.length_of(kind) or (_WORD if max(map(len, schema["enum"])) < _WORD else 2 * _WORD))
    raise TypeError(f"no column holds values of the kind {kind}")
