"""Amphorae as the API shows them: one, or a page. The queries that workers need are in `amphorae`."""

from __future__ import annotations

import sqlalchemy as sa

from controller import exceptions
from controller.db import rows, tables
from controller.db.repositories import paging, snapshots
from controller.model import amphora as model
from controller.model import status

_T = tables.amphorae
_ONE = snapshots.AMPHORAE.where(_T.c.id == sa.bindparam("id"), _T.c.status != status.AmphoraStatus.DELETED)


class AmphoraLists(rows.Repository):
    """Reads only."""

    def get(self, amphora_id: str) -> model.Amphora:
        """One amphora.

        :raises NotFound: there is none, or it is DELETED.
        """
        found = self._rows(_ONE, {"id": amphora_id}) if rows.may_exist(amphora_id) else []
        if not found:
            raise exceptions.NotFound("Amphora", amphora_id)
        return rows.amphora(found[0])

    def page(self, query: paging.Query, project_id: str | None = None) -> list[model.Amphora]:
        """One page; with `project_id`, of those whose load balancer belongs to the project.

        :raises InvalidRequest: the marker names nothing.
        """
        statement = snapshots.AMPHORAE
        if project_id is not None and not rows.may_exist(project_id):
            return []
        if project_id is not None:
            owned = sa.select(tables.load_balancers.c.id).where(tables.load_balancers.c.project_id == project_id)
            statement = statement.where(_T.c.load_balancer_id.in_(owned))
        return [rows.amphora(dict(row._mapping)) for row in paging.page(self._connection, _T, statement, query)]
