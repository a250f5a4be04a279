"""Quotas: the limits of projects, and the count that keeps them exactly.

Who adds something of which there may not be too much locks its project's row here, then counts, then adds: so two of them never see the
same count. Where nothing is limited, nobody locks or counts. The order of locks is: load balancer, then project; who holds a project's
lock asks for no other one, so that nobody waits in a circle.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql, sqlite

from controller import exceptions
from controller.db import rows, tables
from controller.db.repositories import paging
from controller.model import quota as model
from controller.model.status import ProvisioningStatus

_T = tables.quotas
_OWN = [_T.c[kind] for kind in model.KINDS]
_LIMITS = rows.Prepared(sa.select(*_OWN).where(_T.c.project_id == sa.bindparam("project")))


def _count(kind: str) -> sa.ScalarSelect[int]:
    """How many rows a project has. What is being deleted counts until it is gone; of load balancers, the row stays longer than that."""
    table = tables.RESOURCES[kind]
    statement = sa.select(sa.func.count()).select_from(table).where(table.c.project_id == sa.bindparam("project"))
    if table is tables.load_balancers:
        statement = statement.where(table.c.provisioning_status != ProvisioningStatus.DELETED)
    return statement.scalar_subquery()


@functools.cache
def _counts(kinds: tuple[str, ...]) -> sa.Select[Any]:
    columns: list[sa.ColumnElement[Any]] = [_count(kind).label(kind) for kind in kinds]
    return sa.select(*columns)


class Quotas(rows.Repository):
    """Limits and counts of projects. Of the children of a load balancer, its project's count."""

    def own(self, project_id: str) -> Mapping[str, int | None]:
        """The limits that a project has of its own: empty if nobody ever set one."""
        found = _LIMITS.all(self._connection, {"project": project_id}) if rows.may_exist(project_id) else ()
        return dict(zip(model.KINDS, found[0], strict=True)) if found else {}

    def page(self, query: paging.Query, defaults: model.Limits) -> list[model.Quota]:
        """Projects that somebody set limits for.

        :raises InvalidRequest: the marker names no project of the list.
        """
        found = paging.page(self._connection, _T, sa.select(_T.c.project_id, *_OWN).where(_T.c.is_set), query)
        return [model.merged(row.project_id, row._mapping, defaults) for row in found]  # type: ignore[arg-type]

    def put(self, project_id: str, limits: Mapping[str, int | None]) -> None:
        """Set some limits of a project; None is the default's from now on."""
        self._write(project_id, {**limits, "is_set": True})

    def reset(self, project_id: str) -> None:
        """Let all limits of a project be the defaults.

        :raises NotFound: nobody ever set one.
        """
        statement = sa.update(_T).where(_T.c.project_id == project_id, _T.c.is_set).values(dict.fromkeys(model.KINDS))
        if not (rows.may_exist(project_id) and self._connection.execute(statement).rowcount):
            raise exceptions.NotFound("Quotas", project_id)

    def usage(self, project_id: str, kinds: Sequence[str] = model.KINDS) -> dict[str, int]:
        """How many a project has, by kind; in one statement."""
        if not rows.may_exist(project_id):
            return dict.fromkeys(kinds, 0)
        found = self._connection.execute(_counts(tuple(kinds)), {"project": project_id}).one()
        return dict(zip(kinds, found, strict=True))

    def check(self, project_id: str, asked: Mapping[str, int], defaults: model.Limits) -> None:
        """Whether a project could have so many more of each kind now; nothing keeps others from adding them first.

        :raises QuotaExceeded: it can't; the message names the kinds.
        """
        limits = self._limits(project_id, asked, defaults)
        if limits:
            self._compare(project_id, asked, limits)

    def reserve(self, project_id: str, asked: Mapping[str, int], defaults: model.Limits) -> None:
        """Let a project have so many more of each kind, which this transaction adds: until it ends, nobody else adds one.

        One statement where nothing of this is limited.

        :raises QuotaExceeded: the project would have more than it may; the message names the kinds.
        """
        if not self._limits(project_id, asked, defaults):
            return
        self._write(project_id, {})
        limits = self._limits(project_id, asked, defaults)  # they may have been changed while we waited
        if limits:
            self._compare(project_id, asked, limits)

    def _limits(self, project_id: str, asked: Mapping[str, int], defaults: model.Limits) -> dict[str, int]:
        """The limits of what is asked for, as far as there are any."""
        if not any(count > 0 for count in asked.values()):
            return {}
        own = self.own(project_id)
        limits = model.effective(own, defaults) if own else defaults
        return {kind: limits[kind] for kind, count in asked.items() if count > 0 and limits[kind] != model.UNLIMITED}

    def _compare(self, project_id: str, asked: Mapping[str, int], limits: Mapping[str, int]) -> None:
        there = self.usage(project_id, list(limits))
        full = [model.TITLES[kind] for kind, limit in limits.items() if there[kind] + asked[kind] > limit]
        if full:
            raise exceptions.QuotaExceeded(full)

    def _write(self, project_id: str, values: Mapping[str, Any]) -> None:
        """Write the project's row, which may not exist yet, and so hold its lock; one statement, in which two writers can't collide."""
        new = {"project_id": project_id, "is_set": False, "locked": 1, **values}
        changed = {**values, "locked": _T.c.locked + 1}
        if self._connection.dialect.name in ("sqlite", "postgresql"):  # the same words in both
            insert = (sqlite if self._connection.dialect.name == "sqlite" else postgresql).insert(_T).values(new)
            self._connection.execute(insert.on_conflict_do_update(index_elements=[_T.c.project_id], set_=changed))
        else:
            self._connection.execute(mysql.insert(_T).values(new).on_duplicate_key_update(changed))
