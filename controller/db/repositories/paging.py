"""Pages of a list: exact filters, filters by tag, sorting, and keyset paging, which costs the same on page one and on page ten thousand."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from controller import exceptions
from controller.db import rows, tables
from controller.model import status


@dataclasses.dataclass(frozen=True, slots=True)
class Filter:
    """A column and the value that it must have; a tuple of values: one of them."""

    column: str
    value: Any


@dataclasses.dataclass(frozen=True, slots=True)
class Order:
    """A column to sort by."""

    column: str
    descending: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Tags:
    """The four questions about tags; an empty one is not asked."""

    all: tuple[str, ...] = ()
    any: tuple[str, ...] = ()
    not_all: tuple[str, ...] = ()
    not_any: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One page of a list. `created_at`, if its items show it, and the primary key are always appended to `order`, so that it is total.

    `within` says what the list is of, such as the project of the caller: to `filters` it adds that a marker must be of it, too, so that
    nobody learns from the order where a row stands that they may not see. `nothing` is a filter that no row can pass. `marker` is the id of
    the last row of the page before; with `reverse`, that of the first row of the page after.
    """

    within: tuple[Filter, ...] = ()
    filters: tuple[Filter, ...] = ()
    tags: Tags = Tags()
    order: tuple[Order, ...] = ()
    limit: int | None = None
    marker: str | None = None
    reverse: bool = False
    nothing: bool = False


EVERYTHING = Query()
_UNTAGGED = Tags()
_PLAIN = (str, int, bool)
"""Kinds of values that drivers take as they are."""

_UNDATED = (tables.flavors, tables.flavor_profiles, tables.availability_zones, tables.availability_zone_profiles)
"""Whose time of creation nobody is shown: clients expect them in the order of what their paths name, ids or names."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Key:
    expression: sa.ColumnElement[Any]
    descending: bool


def _may_be(column: sa.Column[Any], marker: str) -> bool:
    if isinstance(column.type, sa.Integer):
        return marker.isascii() and marker.isdecimal() and len(marker) <= 18
    return rows.may_exist(marker) if column.type.length == 36 else len(marker) <= 255 and marker.isprintable()  # type: ignore[attr-defined]


def values(connection: sa.Connection, table: sa.Table, statement: sa.Select[Any], query: Query) -> Sequence[Sequence[Any]]:
    """The same as `page`, of a statement that was made once and for all: what is asked for most often is compiled once, too.

    :raises InvalidRequest: the marker names no row, or an order is asked for that a column does not have.
    """
    wanted = (*query.within, *query.filters)
    is_usual = query.limit is not None and query.marker is None and not query.nothing and query.tags == _UNTAGGED
    if not is_usual or query.reverse or not all(type(item.value) in _PLAIN for item in wanted):
        return page(connection, table, statement, query)
    first = _first_page(statement, table, tuple(item.column for item in wanted), query.order)
    return first.all(connection, {"limit": query.limit} | {f"value_{place}": item.value for place, item in enumerate(wanted)})


def page(connection: sa.Connection, table: sa.Table, statement: sa.Select[Any], query: Query) -> Sequence[sa.Row[Any]]:
    """The rows of one page, in the order asked for.

    :raises InvalidRequest: the marker names no row, or an order is asked for that a column does not have.
    """
    statement = statement.where(*_conditions(table, query))
    keys = _keys(table, query.order)
    if query.marker is not None:
        statement = statement.where(_beyond(keys, _standing(connection, table, keys, query), query.reverse))
    statement = statement.order_by(*(key.expression.desc() if key.descending != query.reverse else key.expression for key in keys))
    if query.limit is not None:
        statement = statement.limit(query.limit)
    found = connection.execute(statement).all()
    return found[::-1] if query.reverse else found


@functools.lru_cache(maxsize=256)
def _first_page(statement: sa.Select[Any], table: sa.Table, filtered: tuple[str, ...], order: tuple[Order, ...]) -> rows.Prepared:
    """The first page of a list, whatever values its filters have: to make a query takes longer than to execute it.

    :raises RuleBroken: it can't be sorted like this.
    """
    filters = tuple(Filter(name, sa.bindparam(f"value_{place}", type_=table.c[name].type)) for place, name in enumerate(filtered))
    query = Query(filters=filters)
    keys = (key.expression.desc() if key.descending else key.expression for key in _keys(table, order))
    limit: sa.BindParameter[int] = sa.bindparam("limit", type_=sa.Integer())
    return rows.Prepared(statement.where(*_conditions(table, query)).order_by(*keys).limit(limit))


def _conditions(table: sa.Table, query: Query) -> list[sa.ColumnElement[bool]]:
    conditions: list[sa.ColumnElement[bool]] = [_passes(table.c[item.column], item.value) for item in (*query.within, *query.filters)]
    if query.nothing:
        conditions.append(sa.false())
    tags = query.tags
    if tags.all:
        conditions.append(_has_all(table, tags.all))
    if tags.any:
        conditions.append(_has_any(table, tags.any))
    if tags.not_all:
        conditions.append(~_has_all(table, tags.not_all))
    if tags.not_any:
        conditions.append(~_has_any(table, tags.not_any))
    hidden = "status" if table is tables.amphorae else "provisioning_status"
    if hidden in table.c:
        conditions.append(table.c[hidden] != status.ProvisioningStatus.DELETED)
    return conditions


def _passes(column: sa.Column[Any], value: Any) -> sa.ColumnElement[bool]:
    return column.in_(value) if isinstance(value, tuple) else column == value


def _has_any(table: sa.Table, tags: Sequence[str]) -> sa.ColumnElement[bool]:
    tagged = sa.select(tables.tags.c.resource_id).where(tables.tags.c.tag.in_(tags))
    return table.c.id.in_(tagged)


def _has_all(table: sa.Table, tags: Sequence[str]) -> sa.ColumnElement[bool]:
    distinct = set(tags)
    tagged = sa.select(tables.tags.c.resource_id).where(tables.tags.c.tag.in_(distinct)).group_by(tables.tags.c.resource_id)
    return table.c.id.in_(tagged.having(sa.func.count() == len(distinct)))


def _keys(table: sa.Table, order: Sequence[Order]) -> list[_Key]:
    """Sort keys; engines disagree on where NULL stands, so that a column that may hold it is preceded by whether it does."""
    keys: list[_Key] = []
    seen: set[str] = set()
    oldest_first = (Order("created_at"),) if "created_at" in table.c and table not in _UNDATED else ()
    identity = _identity(table)
    for item in (*order, *oldest_first, Order(identity.name)):
        column = table.c[item.column]
        if item.column in seen:
            continue
        if isinstance(column.type, sa.JSON):  # PostgreSQL knows no order of them
            raise exceptions.RuleBroken(f"items can't be sorted by {item.column!r}.")
        seen.add(item.column)
        if column.nullable:
            keys.append(_Key(sa.case((column.is_(None), 0), else_=1), item.descending))
        # There is no "greater" among truth values for SQLAlchemy, nor for every engine.
        keys.append(_Key(sa.cast(column, sa.Integer) if isinstance(column.type, sa.Boolean) else column, item.descending))
        if column is identity:
            break
    return keys


def _identity(table: sa.Table) -> sa.Column[Any]:
    """The one column of the primary key: an id or, of what needs none, a name."""
    (column,) = table.primary_key.columns
    return column


def _standing(connection: sa.Connection, table: sa.Table, keys: Sequence[_Key], query: Query) -> sa.Row[Any]:
    """The marker's values of the sort keys.

    :raises InvalidRequest: it names no row of the list.
    """
    identity, marker = _identity(table), str(query.marker)
    within = [_passes(table.c[item.column], item.value) for item in query.within]
    row = None
    if _may_be(identity, marker):
        own = int(marker) if isinstance(identity.type, sa.Integer) else marker  # PostgreSQL compares no number with a string
        row = connection.execute(sa.select(*(key.expression for key in keys)).where(identity == own, *within)).first()
    if row is None:
        raise exceptions.RuleBroken(f"marker {marker} names no item of this list.")
    return row


def _beyond(keys: Sequence[_Key], row: sa.Row[Any], reverse: bool) -> sa.ColumnElement[bool]:
    """Whether a row comes after the marker's (before it, with `reverse`): equal in some keys, and beyond in the next one."""
    alternatives: list[sa.ColumnElement[bool]] = []
    equal: list[sa.ColumnElement[bool]] = []
    for key, value in zip(keys, row, strict=True):
        if value is None:  # only a row without this value is equal, and none is beyond: that is told by the key before
            equal.append(key.expression.is_(None))
            continue
        beyond = key.expression < value if key.descending != reverse else key.expression > value
        alternatives.append(sa.and_(*equal, beyond))
        equal.append(key.expression == value)
    return sa.and_(_bound(keys[0], row[0], reverse), sa.or_(*alternatives))


def _bound(key: _Key, value: Any, reverse: bool) -> sa.ColumnElement[bool]:
    """What follows of the alternatives for the first key: engines begin to read an index there, which they do not for an `or`."""
    if value is None:
        return sa.true()
    bound: sa.ColumnElement[bool] = key.expression <= value if key.descending != reverse else key.expression >= value
    return bound
