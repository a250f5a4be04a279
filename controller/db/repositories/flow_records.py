"""How far a job's flow has come: one row per job, written once a task, deleted with its job (`jobs.consume`)."""

from __future__ import annotations

import dataclasses
import time

import sqlalchemy as sa

from controller.db import tables
from controller.db.repositories import base

_RECORDS = tables.flow_records.c


@dataclasses.dataclass(frozen=True, slots=True)
class FlowRecord:
    """`definition` tells job and steps that `data` belongs to."""

    job_id: str
    definition: str
    token: int
    data: bytes


class FlowRecords(base.Repository):
    """Read, write and drop records of flows."""

    def get(self, job_id: str) -> FlowRecord | None:
        """The record of a job's flow, or None if none of its tasks has finished."""
        row = self._connection.execute(
            sa.select(_RECORDS.job_id, _RECORDS.definition, _RECORDS.token, _RECORDS.data).where(_RECORDS.job_id == job_id)
        ).first()
        return None if row is None else FlowRecord(row.job_id, row.definition, row.token, bytes(row.data))

    def put(self, record: FlowRecord) -> bool:
        """Write a record; False if somebody with a higher token has written it: the caller has lost its lease."""
        values = {"definition": record.definition, "token": record.token, "data": record.data, "written_at": time.time()}
        changed = self._connection.execute(
            sa.update(tables.flow_records).where(_RECORDS.job_id == record.job_id, _RECORDS.token <= record.token).values(values)
        )
        if changed.rowcount:
            return True
        if self._connection.execute(sa.select(_RECORDS.job_id).where(_RECORDS.job_id == record.job_id)).first() is not None:
            return False
        self._connection.execute(sa.insert(tables.flow_records).values(job_id=record.job_id, **values))
        return True

    def delete(self, job_id: str) -> bool:
        """Drop a record; False if there was none."""
        return bool(self._connection.execute(sa.delete(tables.flow_records).where(_RECORDS.job_id == job_id)).rowcount)

    def page(self, limit: int, after: str = "") -> list[str]:
        """Job ids of records, in the order of ids, from the one after `after` on."""
        wanted = sa.select(_RECORDS.job_id).where(_RECORDS.job_id > after).order_by(_RECORDS.job_id).limit(limit)
        return list(self._connection.execute(wanted).scalars())
