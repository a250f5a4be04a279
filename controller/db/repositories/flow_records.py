"""How far a job's flow has come: one row per job, written once a task, deleted with its job (`jobs.consume`)."""

from __future__ import annotations

import dataclasses

import sqlalchemy as sa

from controller import jobs
from controller.db import rows, tables

_RECORDS = tables.flow_records.c
_LOAD_BALANCERS = tables.load_balancers.c

# Statements that run once a task are made once: SQLAlchemy takes longer to make one than SQLite to run it.
_MINE = sa.and_(_RECORDS.job_id == sa.bindparam("of_job"), _RECORDS.token <= sa.bindparam("up_to"))
_LEASED = sa.exists(sa.literal(1)).where(
    _LOAD_BALANCERS.id == sa.bindparam("of_load_balancer"),
    _LOAD_BALANCERS.lease_owner == sa.bindparam("of_owner"),
    _LOAD_BALANCERS.lease_token == sa.bindparam("of_token"),
)
_VALUES: dict[str, sa.BindParameter[object]] = {name: sa.bindparam(name) for name in ("definition", "token", "data", "written_at")}
_UPDATE = sa.update(tables.flow_records).where(_MINE).values(_VALUES)
_UPDATE_LEASED = sa.update(tables.flow_records).where(_MINE, _LEASED).values(_VALUES)
_INSERT = sa.insert(tables.flow_records)
_IS_LEASED = sa.select(sa.literal(1)).where(_LEASED)
_GET = sa.select(_RECORDS.job_id, _RECORDS.definition, _RECORDS.token, _RECORDS.data).where(_RECORDS.job_id == sa.bindparam("of_job"))


@dataclasses.dataclass(frozen=True, slots=True)
class FlowRecord:
    """`definition` tells job and steps that `data` belongs to."""

    job_id: str
    definition: str
    token: int
    data: bytes


class FlowRecords(rows.Repository):
    """Read, write and drop records of flows."""

    def get(self, job_id: str) -> FlowRecord | None:
        """The record of a job's flow, or None if none of its tasks has finished."""
        row = self._connection.execute(_GET, {"of_job": job_id}).first()
        return None if row is None else FlowRecord(row.job_id, row.definition, row.token, bytes(row.data))

    def put(self, record: FlowRecord, lease: jobs.Lease | None = None) -> bool:
        """Write a record; False if the lease was lost, or somebody with a higher token has written the record."""
        values = {"definition": record.definition, "token": record.token, "data": record.data, "written_at": self._now()}
        held = {} if lease is None else {"of_load_balancer": lease.load_balancer_id, "of_owner": lease.owner, "of_token": lease.token}
        update = _UPDATE if lease is None else _UPDATE_LEASED
        if self._connection.execute(update, {**values, **held, "of_job": record.job_id, "up_to": record.token}).rowcount:
            return True
        if self.get(record.job_id) is not None or (held and self._connection.execute(_IS_LEASED, held).first() is None):
            return False
        self._connection.execute(_INSERT, {**values, "job_id": record.job_id})
        return True

    def delete(self, job_id: str) -> bool:
        """Drop a record; False if there was none."""
        return bool(self._connection.execute(sa.delete(tables.flow_records).where(_RECORDS.job_id == job_id)).rowcount)

    def page(self, limit: int, after: str = "") -> list[str]:
        """Job ids of records, in the order of ids, from the one after `after` on."""
        wanted = sa.select(_RECORDS.job_id).where(_RECORDS.job_id > after).order_by(_RECORDS.job_id).limit(limit)
        return list(self._connection.execute(wanted).scalars())
