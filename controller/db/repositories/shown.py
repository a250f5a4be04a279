"""Pages of a list as JSON objects, straight from rows.

A noun that is made only to be shown costs more than its row and its JSON together, so lists do without. What `Schema.view` would show of
it is read by a plan that is made once: columns in the order of the view's keys, a function for each value that is shown otherwise than it
is stored, and the ids and tags that are related. A test compares both ways.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from controller.db import columns, rows, tables
from controller.resources import declare, fields, kinds

Related = Mapping[str, Mapping[str, list[str]]]  # relation -> owner -> values
FAULT_COLUMNS = [column for column in tables.faults.c if column.name not in ("load_balancer_id", "left_out_of", "lacks")]


class Plan:
    """How rows of a table become views of a schema. `ids` names the relation of each attribute that is a list of ids, or of tags."""

    def __init__(self, schema: declare.Schema, table: sa.Table, ids: Mapping[str, str]) -> None:
        self._schema = schema
        shown = sorted(
            ((key, field) for field in schema.fields.values() for key in field.names if field.is_shown), key=lambda pair: pair[0]
        )
        self._names = [key for key, _ in shown]
        self._related = [(key, ids[str(field.attribute)], field.show or list) for key, field in shown if field.attribute in ids]
        as_stored = {*ids, *rows.COMPOSED}
        self._shows = [
            (key, field.show) for key, field in shown if field.attribute not in as_stored and field.show not in (None, kinds.naive)
        ]
        stored = [sa.null() if field.attribute in ids else _column(table, field) for _, field in shown]
        labelled = [column.label(f"shown_{key}") for key, column in zip(self._names, stored, strict=True)]
        of_fault = [column.label(f"fault_{column.name}") for column in FAULT_COLUMNS]
        self._fault = len(labelled) + [column.name for column in FAULT_COLUMNS].index("object_id")
        self._id = self._names.index(schema.key)
        joined = table.outerjoin(tables.faults, tables.faults.c.object_id == table.c.id)
        self.statement = sa.select(*labelled, *of_fault).select_from(joined)

    def ids(self, found: Sequence[Sequence[Any]]) -> list[str]:
        """The ids of these rows."""
        place = self._id
        return [row[place] for row in found]

    def views(self, found: Sequence[Sequence[Any]], related: Related) -> list[declare.Values]:
        """The rows as `Schema.view` shows their nouns."""
        names, shows, fault, place, schema = self._names, self._shows, self._fault, self._id, self._schema
        gathered = [(key, related.get(relation, {}), show) for key, relation, show in self._related]
        made = []
        for row in found:
            view = dict(zip(names, row, strict=False))
            for key, show in shows:
                view[key] = show(view[key])
            for key, values, show in gathered:
                view[key] = show(values.get(row[place], ()))
            schema.drop_unset(view)
            if row[fault] is not None:
                told = zip((column.name for column in FAULT_COLUMNS), row[len(names) :], strict=True)
                view["fault"] = dict(declare.of_fault(rows.fault(dict(told))))
            made.append(view)
        return made


@functools.cache
def plan(schema: declare.Schema, table: sa.Table, ids: tuple[tuple[str, str], ...]) -> Plan:
    """The plan, made once."""
    return Plan(schema, table, dict(ids))


def _column(table: sa.Table, field: fields.Field) -> sa.ColumnElement[Any]:
    """The column of a field. Times come without their zone, as they are shown."""
    column = table.c[field.column or str(field.attribute)]
    return sa.type_coerce(column, sa.DateTime()) if isinstance(column.type, columns.UtcDateTime) else column
