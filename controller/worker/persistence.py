"""How far a flow has come, in our database: a taskflow persistence back end that writes once a task, and only what a resume needs.

One row per flow (`flow_records`), named by the id of its job. taskflow reports every change of state, intention and progress; kept here in
memory, they are written together when a task has finished or was reverted, and when the flow is put aside. That is enough: a task that was
under way is run again (tasks are idempotent), and what follows from a failure is derived from the failure again. The whole record is
written at once, so it is always one consistent state. A flow of which no task has finished has no record, and one that is not to be
`recorded` never has (`flows/update.py`). Of such a flow, only how long its tasks have waited is kept, in memory: each run begins with its
first task, and could wait for ever otherwise.
"""

from __future__ import annotations

import collections
import logging
from typing import Any

import orjson
from taskflow import exceptions as taskflow_exceptions
from taskflow import states
from taskflow.persistence import base, models

from controller import exceptions, jobs
from controller.db import database as db
from controller.db.repositories import flow_records

LOG = logging.getLogger(__name__)

SIZE_WARNED = 16 * 1024
WAITED = "waited"
"""In the meta of a task: the seconds for which it has said that it can't go on yet."""
_LONGEST_TEXT = 2000
_WAITS = 1000
"""Flows without a record of which it is kept how long they have waited, at most."""
_WORTH_WRITING = frozenset({states.SUCCESS, states.FAILURE, states.REVERTED, states.REVERT_FAILURE})
_LEFT_OUT_OF_META = ("progress", "progress_details")


class OpenFlow(base.Backend):
    """The flow of one run, in memory, and what its engine writes to. A job may have two runs in one worker: one that has lost its lease,
    and ends when its step does, and the next one. They know nothing of each other.

    `changed`: something is not written yet that would be lost with this process; `recorded`: it is to be written.
    """

    def __init__(self, database: db.Database, detail: models.FlowDetail, definition: str, lease: jobs.Lease, recorded: bool) -> None:
        super().__init__({})
        self.database = database
        self.detail = detail
        self.definition = definition
        self.lease = lease
        self.recorded = recorded
        self.changed = False
        self.is_closed = False

    def end(self) -> None:
        """The job is off the board, and its record with it: nothing more is written of its flow."""
        self.recorded = False

    def write(self) -> None:
        """Write a record, if the flow is to have one.

        :raises StaleLease: another worker runs the flow now.
        """
        if not self.recorded:
            return
        record = flow_records.FlowRecord(self.detail.uuid, self.definition, self.lease.token, dump(self.detail))
        with self.database.begin() as tx:
            if not tx.flow_records.put(record, self.lease):
                raise exceptions.StaleLease(self.lease.load_balancer_id)
        self.changed = False

    def get_connection(self) -> Connection:
        """What taskflow's storage talks to."""
        return Connection(self)

    def close(self) -> None:
        """Take no more changes."""
        self.is_closed = True


class Records:
    """One per worker: it opens the flows of jobs as they were left."""

    def __init__(self, database: db.Database) -> None:
        self.database = database
        self._waits: collections.OrderedDict[str, models.FlowDetail] = collections.OrderedDict()

    def open(self, job_id: str, name: str, definition: str, lease: jobs.Lease, recorded: bool = True) -> OpenFlow:
        """The flow of a job as it was left, or a new one if there is no record, or it is of another definition, or it shall have none."""
        record = None
        if recorded:
            with self.database.read() as tx:
                record = tx.flow_records.get(job_id)
        if record is not None and record.definition != definition:
            LOG.info(
                "load balancer %s: job %s: its record is of another flow, or of another definition; running %s from the beginning",
                lease.load_balancer_id,
                job_id,
                name,
            )
            record = None
        detail = self._anew(job_id, name) if record is None else read(record)
        # Whatever it was doing, it is not doing it now; and the engine takes a flow in REVERTED as one to be started again.
        detail.state = None if record is None else states.SUSPENDED
        return OpenFlow(self.database, detail, definition, lease, recorded)

    def _anew(self, job_id: str, name: str) -> models.FlowDetail:
        """A flow at its beginning, whose tasks have waited for as long as they did when it was put aside."""
        waited = self._waits.pop(job_id, None)
        if waited is None or waited.name != name:
            return models.FlowDetail(name, job_id)
        for atom in waited:
            atom.reset(states.PENDING)
        return waited

    def close(self, flow: OpenFlow) -> None:
        """Its run is over. Its record, if there is one, stays, and so does how long one without a record has waited."""
        flow.close()
        if not flow.recorded and any((atom.meta or {}).get(WAITED) is not None for atom in flow.detail):
            self._waits[flow.detail.uuid] = flow.detail
            if len(self._waits) > _WAITS:
                self._waits.popitem(last=False)


class Connection(base.Connection):
    """Costs nothing to open: each write takes its own connection from the database's pool. It takes changes as long as its flow is open."""

    def __init__(self, flow: OpenFlow) -> None:
        self._flow = flow

    @property
    def backend(self) -> OpenFlow:
        return self._flow

    def close(self) -> None:
        """There is nothing to close: no connection is held."""

    def _unused(self, *_: Any, **__: Any) -> Any:
        """What taskflow offers to whoever looks for flows; ours are found by their jobs (`open`)."""
        raise NotImplementedError

    upgrade = validate = clear_all = save_logbook = destroy_logbook = get_logbook = get_logbooks = _unused
    get_flows_for_book = get_flow_details = get_atom_details = get_atoms_for_flow = _unused

    def update_atom_details(self, atom_detail: models.AtomDetail) -> models.AtomDetail:
        """Take a change of a task or retry controller; write if it has finished or was reverted."""
        flow = self._flow
        ours = None if flow.is_closed else flow.detail.find(atom_detail.uuid)
        if ours is None:
            raise taskflow_exceptions.NotFound(f"no flow under way has an atom {atom_detail.uuid}")
        finished = atom_detail.state in _WORTH_WRITING and atom_detail.state != ours.state
        ours.update(atom_detail)
        flow.changed = True
        if finished:
            flow.write()
        return ours

    def update_flow_details(self, flow_detail: models.FlowDetail) -> models.FlowDetail:
        """Take a change of a flow; write if it was put aside with something unwritten."""
        flow = self._flow
        if flow.is_closed or flow_detail.uuid != flow.detail.uuid:
            raise taskflow_exceptions.NotFound(f"no flow {flow_detail.uuid} is under way")
        flow.detail.update(flow_detail)
        if flow.changed and flow.detail.state == states.SUSPENDED:
            flow.write()
        return flow.detail


def dump(flow: models.FlowDetail) -> bytes:
    """A flow as bytes; atoms that have not begun are left out, because a resume makes them anew.

    :raises TypeError: a task's result is not made of strings, numbers, lists and dictionaries.
    """
    atoms = [_atom(atom) for atom in flow if _has_begun(atom)]
    data = orjson.dumps({"name": flow.name, "meta": flow.meta or {}, "atoms": atoms}, option=orjson.OPT_PASSTHROUGH_DATACLASS)
    if len(data) > SIZE_WARNED:
        LOG.warning(
            "job %s: the record of flow %s has %d bytes; tasks must return ids and small facts only", flow.uuid, flow.name, len(data)
        )
    return data


def read(record: flow_records.FlowRecord) -> models.FlowDetail:
    """The flow that `dump` wrote."""
    data = orjson.loads(record.data)
    flow = models.FlowDetail(data["name"], record.job_id)
    flow.meta = data["meta"]
    for atom in data["atoms"]:
        flow.add(models.atom_detail_class(atom.pop("type")).from_dict(atom))
    return flow


def _has_begun(atom: models.AtomDetail) -> bool:
    return bool(atom.state != states.PENDING or atom.intention != states.EXECUTE or atom.results or _meta(atom))


def _meta(atom: models.AtomDetail) -> dict[str, Any]:
    return {key: value for key, value in (atom.meta or {}).items() if key not in _LEFT_OUT_OF_META}


def _atom(atom: models.AtomDetail) -> dict[str, Any]:
    fields = {key: value for key, value in atom.to_dict().items() if value is not None}
    fields["type"] = models.atom_detail_type(atom)
    fields["meta"] = _meta(atom)
    for kind in ("failure", "revert_failure"):
        if kind in fields:
            fields[kind] = _failure(fields[kind])
    if isinstance(atom, models.RetryDetail):
        fields["results"] = [
            (value, {name: _failure(failure) for name, failure in failures.items()}) for value, failures in fields.get("results", ())
        ]
    return fields


def _failure(failure: dict[str, Any]) -> dict[str, Any]:
    """Without arguments, which may be anything, and with the end of the traceback only."""
    return {
        "exception_str": failure["exception_str"][:_LONGEST_TEXT],
        "traceback_str": (failure.get("traceback_str") or "")[-_LONGEST_TEXT:],
        "exc_type_names": failure["exc_type_names"],
        "causes": [],
        "version": failure.get("version", 1),
    }
