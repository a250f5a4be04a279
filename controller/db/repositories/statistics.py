"""Traffic counters, as tenants see them: sums over amphorae, and of a load balancer over listeners, those that are gone included, so that
no sum ever falls.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import Any

import sqlalchemy as sa

from controller.db import rows, tables
from controller.model import status

_S = tables.listener_statistics
GROWING = ("bytes_in", "bytes_out", "request_errors", "total_connections")
"""Counters that never fall."""
_LOWER = 31  # bits
_GONE = "gone"
"""In the place of an amphora: all those of which there is no row any more. With the load balancer's id in the place of a listener's: of all
listeners that are deleted, too."""
_ADDABLE = 1 << 62
"""Two counters below this have a sum that its column can hold."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """The five numbers of the API."""

    active_connections: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    request_errors: int = 0
    total_connections: int = 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AmphoraCounters(Counters):
    """What one amphora counted on one listener."""

    listener_id: str
    load_balancer_id: str


def _halves(counter: sa.ColumnElement[int]) -> tuple[sa.ColumnElement[Any], sa.ColumnElement[Any]]:
    """The sums of the upper and of the lower bits: SQLite fails where a sum needs more than 64, and an amphora may claim so much."""
    upper = counter.op(">>")(sa.literal_column(str(_LOWER)))
    lower = counter.op("&")(sa.literal_column(str((1 << _LOWER) - 1)))
    return sa.func.sum(upper), sa.func.sum(lower)


_LISTED = sa.exists().where(tables.listeners.c.id == _S.c.listener_id)


def _sums(column: sa.Column[str]) -> sa.Select[Any]:
    # What a dead amphora or a deleted listener had open is open no longer.
    serves = sa.and_(tables.amphorae.c.status == status.AmphoraStatus.ALLOCATED, _LISTED)
    lives = sa.case((serves, _S.c.active_connections), else_=0)
    wanted = [half for counter in (lives, *(_S.c[name] for name in GROWING)) for half in _halves(counter)]
    return (
        sa.select(*wanted)
        .select_from(_S.outerjoin(tables.amphorae, tables.amphorae.c.id == _S.c.amphora_id))
        .where(column == sa.bindparam("id"))
    )


_OF_LOAD_BALANCER = _sums(_S.c.load_balancer_id)
_OF_LISTENER = _sums(_S.c.listener_id)
_OWNER = sa.select(tables.amphorae.c.load_balancer_id).where(tables.amphorae.c.id == sa.bindparam("id")).scalar_subquery()
_OF_AMPHORA = sa.select(_S).where(_S.c.load_balancer_id == _OWNER, _S.c.amphora_id == sa.bindparam("id")).order_by(_S.c.listener_id)


class Statistics(rows.Repository):
    """Reads counters; the health manager writes them."""

    def of_load_balancer(self, load_balancer_id: str) -> Counters:
        """Sum over all listeners."""
        return self._sum(_OF_LOAD_BALANCER, load_balancer_id)

    def of_listener(self, listener_id: str) -> Counters:
        """Sum over all amphorae."""
        return self._sum(_OF_LISTENER, listener_id)

    def of_amphora(self, amphora_id: str) -> list[AmphoraCounters]:
        """One per listener that the amphora reported."""
        names = [field.name for field in dataclasses.fields(AmphoraCounters)]
        return [AmphoraCounters(**{name: row[name] for name in names}) for row in self._rows(_OF_AMPHORA, {"id": amphora_id})]

    def add_up(self, amphora_ids: Collection[str], load_balancer_ids: Collection[str]) -> None:
        """Keep what these amphorae of these load balancers have counted in one row of each listener: they are purged, and in time there is
        no end to them. An amphora may claim more than could be added; that stays in its own row.
        """
        mine = (_S.c.load_balancer_id.in_(list(load_balancer_ids)), _S.c.amphora_id.in_([*amphora_ids, _GONE]))
        self._gather("listener_id", *mine)

    def add_up_deleted(self, load_balancer_id: str) -> None:
        """Keep what was counted on listeners that have no row any more in one row of their load balancer, as far as it can be added.

        Called before others are deleted: what a health manager has still to write of those just deleted finds the rows that it is meant
        for, and what comes later than that finds none, so that nothing is counted twice.
        """
        self._gather("load_balancer_id", _S.c.load_balancer_id == load_balancer_id, ~_LISTED)

    def _gather(self, of: str, *these: sa.ColumnElement[bool]) -> None:
        """Add up these rows, those `of` one listener or load balancer in one row, under its id."""
        wanted = sa.select(_S).where(*these).order_by(_S.c.listener_id, _S.c.amphora_id)  # in this order health managers lock them, too
        found = self._rows(wanted.with_for_update())
        sums = {row[of]: row for row in found if _key(row) == (row[of], _GONE)}
        for row in found:
            if _key(row) != (row[of], _GONE) and _is_addable(row):
                known = sums.setdefault(row[of], row)
                if known is row:
                    self._execute_on(row, sa.update(_S).values(listener_id=row[of], amphora_id=_GONE, active_connections=0))
                elif _is_addable(known) and self._execute_on(row, sa.delete(_S)):
                    sums[row[of]] = {**known, **{name: known[name] + row[name] for name in GROWING}}
                    more = sa.update(_S).values({name: _S.c[name] + row[name] for name in GROWING})
                    self._execute_on({"listener_id": row[of], "amphora_id": _GONE}, more)

    def _execute_on(self, row: rows.Row, statement: sa.Update | sa.Delete) -> bool:
        """Change one row; False if it is gone."""
        listener_id, amphora_id = _key(row)
        return self._connection.execute(statement.where(_S.c.listener_id == listener_id, _S.c.amphora_id == amphora_id)).rowcount > 0

    def _sum(self, statement: sa.Select[Any], object_id: str) -> Counters:
        halves = [int(value or 0) for value in self._connection.execute(statement, {"id": object_id}).one()]
        active, *growing = ((upper << _LOWER) + lower for upper, lower in zip(halves[::2], halves[1::2], strict=True))
        return Counters(active_connections=active, **dict(zip(GROWING, growing, strict=True)))


def _key(row: rows.Row) -> tuple[str, str]:
    return row["listener_id"], row["amphora_id"]


def _is_addable(row: rows.Row) -> bool:
    return all(row[name] < _ADDABLE for name in GROWING)
