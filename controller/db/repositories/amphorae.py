"""Queries on amphorae. A row is written before anything is made in the cloud, and says DELETED only when nothing is left there."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

import sqlalchemy as sa

from controller import exceptions
from controller.db import rows, tables
from controller.db.repositories import moves, paging, snapshots
from controller.model import amphora as model
from controller.model import status

_A = tables.amphorae.c
_S = status.AmphoraStatus

_SHOWN = snapshots.AMPHORAE.where(_A.id == sa.bindparam("id"), _A.status != _S.DELETED)
_FORGOTTEN = {column.name: None for column in tables.amphorae.c if column.nullable} | {
    **moves.amphora_begun(),
    "cert_busy": False,
    "cert_renew_at": 0.0,
    "cert_failures": 0,
    "applied_generation": 0,
}
"""What a row is when its amphora is made (again)."""

FIELDS = frozenset(_FORGOTTEN) - {"load_balancer_id", "role", "deleted_at", "updated_at"}
"""What `update` may change."""


class Amphorae(rows.Repository):
    """Read, record, change and list amphorae."""

    def get(self, amphora_id: str) -> model.Amphora:
        """One amphora, also one in DELETED.

        :raises NotFound: no such amphora.
        """
        found = self._rows(snapshots.AMPHORAE.where(_A.id == amphora_id))
        if not found:
            raise exceptions.NotFound("Amphora", amphora_id)
        return rows.amphora(found[0])

    def shown(self, amphora_id: str) -> model.Amphora:
        """One amphora that clients may see.

        :raises NotFound: there is none, or it is DELETED.
        """
        found = self._rows(_SHOWN, {"id": amphora_id}) if rows.may_exist(amphora_id) else []
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
            statement = statement.where(_A.load_balancer_id.in_(owned))
        return [rows.amphora(dict(row._mapping)) for row in paging.page(self._connection, tables.amphorae, statement, query)]

    def of_load_balancer(self, load_balancer_id: str) -> tuple[model.Amphora, ...]:
        """The amphorae of a load balancer that are not DELETED, oldest first."""
        return snapshots.Snapshots(self._connection).amphorae(load_balancer_id)

    def ensure(self, amphora_id: str, load_balancer_id: str, role: status.Role) -> model.Amphora:
        """The row of an amphora that is to be made: found as it is, made, or, if it is DELETED, begun anew."""
        found = self._rows(snapshots.AMPHORAE.where(_A.id == amphora_id))
        if found and found[0]["status"] != _S.DELETED:
            return rows.amphora(found[0])
        fresh = _FORGOTTEN | {"load_balancer_id": load_balancer_id, "role": role, "created_at": rows.now(), "updated_at": rows.now()}
        if found:
            self._connection.execute(sa.update(tables.amphorae).where(_A.id == amphora_id).values(fresh))
        else:
            self._connection.execute(sa.insert(tables.amphorae).values(id=amphora_id, **fresh))
        self._forget_health(amphora_id)
        return self.get(amphora_id)

    def update(self, amphora_id: str, **fields: Any) -> None:
        """Change some of `FIELDS`. A status that can't follow the one that it has is left out: what is known of a machine is kept even so.

        :raises NotFound: no such amphora, or one in DELETED.
        """
        if unknown := fields.keys() - FIELDS:
            raise TypeError(f"not fields of an amphora that change: {', '.join(sorted(unknown))}")
        statement = sa.update(tables.amphorae).where(_A.id == amphora_id, _A.status != _S.DELETED)
        if "status" in fields:
            fields |= moves.amphora_becomes(fields["status"])
        if not self._connection.execute(statement.values(fields | {"updated_at": rows.now()})).rowcount:
            raise exceptions.NotFound("Amphora", amphora_id)

    def set_status(self, amphora_ids: Collection[str], new: status.AmphoraStatus) -> int:
        """Move amphorae to another status, those that may; returns how many are in it now."""
        return self._connection.execute(moves.amphorae_to(new).where(_A.id.in_(list(amphora_ids)))).rowcount

    def note_member_ports(self, amphora_id: str, ports: Collection[model.MemberPort]) -> None:
        """Write down what is plugged towards members.

        :raises NotFound: no such amphora, or one in DELETED.
        """
        self.update(amphora_id, member_ports=[dataclasses.asdict(one) for one in ports])

    def confirm(self, hashes: Mapping[str, str], generation: int) -> None:
        """These amphorae run the configuration of a generation, each its own with this hash, so they are ALLOCATED."""
        for amphora_id, confirmed in hashes.items():
            statement = sa.update(tables.amphorae).where(_A.id == amphora_id, _A.status != _S.DELETED)
            self._connection.execute(
                statement.values(
                    **moves.amphora_becomes(_S.ALLOCATED), applied_generation=generation, confirmed_hash=confirmed, updated_at=rows.now()
                )
            )

    def mark_deleted(self, amphora_id: str) -> None:
        """Nothing of the amphora is left in the cloud; the row waits for the purge. Its statistics stay, so that sums never fall."""
        gone = moves.amphorae_to(_S.DELETED, deleted_at=self._now()).where(_A.id == amphora_id, _A.status != _S.DELETED)
        self._connection.execute(gone)
        counted = tables.listener_statistics.c
        owner = sa.select(_A.load_balancer_id).where(_A.id == amphora_id).scalar_subquery()  # by which they are found: there are many
        mine = (counted.load_balancer_id == owner, counted.amphora_id == amphora_id)
        self._connection.execute(sa.update(tables.listener_statistics).where(*mine).values(active_connections=0))
        self._forget_health(amphora_id)

    def _forget_health(self, amphora_id: str) -> None:
        self._connection.execute(sa.delete(tables.amphora_health).where(tables.amphora_health.c.amphora_id == amphora_id))
