"""Why objects are in ERROR now (faults), and what happened to load balancers (events)."""

from __future__ import annotations

import dataclasses
import datetime
import itertools
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from controller import exceptions
from controller.db import rows, tables
from controller.db.repositories import paging
from controller.model import load_balancer as model
from controller.model import tls, words

_F = tables.faults.c
_E = tables.events.c
_PROJECT = sa.select(tables.load_balancers.c.project_id).where(tables.load_balancers.c.id == sa.bindparam("id"))
_STEP = 255  # the columns' width
BUILT, RECOVERED = "built", "recovered"
"""Codes of events by which something went well."""
SAID_AGAIN_AFTER = datetime.timedelta(hours=1)
"""After which a try that fails like those before is an event once more: one in five minutes would be 8,640 of them on day 31."""
_NEWEST = 10


class Faults(rows.Repository):
    """Faults come and go with ERROR; events are only ever added."""

    def of_load_balancer(self, load_balancer_id: str) -> dict[str, model.Fault]:
        """Current faults of a load balancer and what is below it, by object id."""
        found = self._rows(sa.select(tables.faults).where(_F.load_balancer_id == load_balancer_id))
        return {row["object_id"]: rows.fault(row) for row in found}

    def put(self, load_balancer_id: str, object_ids: Collection[str], fault: model.Fault) -> None:
        """These objects are in ERROR for this reason, whatever the reason was before. What they are left out for is known still."""
        values = {"load_balancer_id": load_balancer_id, **_columns(fault)}
        for some in rows.chunks(object_ids):
            known = set(self._connection.execute(sa.select(_F.object_id).where(_F.object_id.in_(some))).scalars())
            if known:
                self._connection.execute(sa.update(tables.faults).where(_F.object_id.in_(list(known))).values(values))
            if new := [values | {"object_id": one} for one in some if one not in known]:
                self._connection.execute(sa.insert(tables.faults), new)

    def leave_out(self, load_balancer_id: str, object_id: str, fault: model.Fault, generation: int, lack: tls.Lack) -> None:
        """The same of an object without which this generation was pushed."""
        self.put(load_balancer_id, [object_id], fault)
        lacks = {"reference": lack.need.reference, "kind": lack.need.kind, "reason": lack.reason}
        left_out = sa.update(tables.faults).where(_F.object_id == object_id)
        self._connection.execute(left_out.values(left_out_of=generation, lacks=lacks))

    def clear(self, load_balancer_id: str, left_out: Collection[str] = ()) -> int:
        """Nothing of the load balancer is in ERROR any more, but what is left out; how much was. What is to be looked at stays, too
        (`model.WARNINGS`)."""
        failed = (_F.load_balancer_id == load_balancer_id, _F.code.not_in(model.WARNINGS), _F.object_id.not_in(list(left_out)))
        return self._connection.execute(sa.delete(tables.faults).where(*failed)).rowcount

    def with_code(self, code: str, limit: int) -> list[str]:
        """Load balancers that have a fault of this code, themselves."""
        own = (_F.code == code, _F.object_id == _F.load_balancer_id)
        return list(self._connection.execute(sa.select(_F.object_id).where(*own).limit(limit)).scalars())

    def left_out(self, load_balancer_id: str) -> dict[str, tls.Lack | None]:
        """The objects that no amphora serves as they are asked for, by id, and what they lack; None: a process of an older release did
        not write it down. A load balancer in ERROR for something else may lack what its access log needs, too."""
        own = (_F.load_balancer_id == load_balancer_id, sa.or_(_F.code == model.LEFT_OUT, _F.left_out_of.is_not(None)))
        return {row.object_id: _lack(row.lacks) for row in self._connection.execute(sa.select(_F.object_id, _F.lacks).where(*own))}

    def take_in(self, object_ids: Collection[str]) -> None:
        """These are not left out any more; if that was why they were in ERROR, they are not."""
        own = _F.object_id.in_(list(object_ids))
        self._connection.execute(sa.delete(tables.faults).where(own, _F.code == model.LEFT_OUT))
        self._connection.execute(sa.update(tables.faults).where(own).values(left_out_of=None, lacks=None))

    def leaving_out(self, after: str, limit: int) -> list[str]:
        """Load balancers of which something is left out, by page; those in ERROR themselves are tried again without that."""
        hidden = sa.and_(_F.left_out_of.is_not(None), _F.code.in_(model.WARNINGS))
        own = (sa.or_(_F.code == model.LEFT_OUT, hidden), _F.load_balancer_id > after)
        found = sa.select(_F.load_balancer_id).distinct().where(*own).order_by(_F.load_balancer_id).limit(limit)
        return list(self._connection.execute(found).scalars())

    def clear_code(self, object_id: str, code: str) -> bool:
        """An object's fault of this code is over; False if there was none."""
        own = (_F.object_id == object_id, _F.code == code)
        return bool(self._connection.execute(sa.delete(tables.faults).where(*own)).rowcount)

    def add_event(self, load_balancer_id: str | None, object_type: str, object_id: str, event: model.Fault) -> None:
        """Remember that something happened: `object_type` is `load_balancer`, `amphora` and so on."""
        whose = {"load_balancer_id": load_balancer_id, "object_type": object_type, "object_id": object_id}
        self._connection.execute(sa.insert(tables.events).values({**whose, **_columns(event)}))

    def add_news(self, load_balancer_id: str, object_type: str, object_id: str, event: model.Fault, among: int = 1) -> bool:
        """Remember that something happened, unless one of the newest events of the object says the same; whether it was remembered."""
        told = [(row["code"], row["message"]) for row in self.events(load_balancer_id) if row["object_id"] == object_id][:among]
        if is_news := (event.code, words.for_tenants(event.message)) not in told:
            self.add_event(load_balancer_id, object_type, object_id, event)
        return is_news

    def add_failed_try(self, load_balancer_id: str, event: model.Fault) -> None:
        """Remember that a flow of a load balancer failed, unless it failed alike not long ago, in whatever words: at the same step, for the
        same request and kind of reason, and nothing went well since.
        """
        told = itertools.takewhile(lambda row: row["code"] not in (BUILT, RECOVERED), self.events(load_balancer_id, limit=_NEWEST))
        alike = [row for row in told if (row["code"], row["step"], row["request_id"]) == (event.code, _step(event), event.request_id)]
        if not any(abs(rows.now() - row["occurred_at"]) < SAID_AGAIN_AFTER for row in alike):
            self.add_event(load_balancer_id, "load_balancer", load_balancer_id, event)

    def untold(self, load_balancer_id: str, events: Sequence[model.Fault]) -> list[model.Fault]:
        """Those that the load balancer's own events do not tell, however many came after them."""
        own = (_E.load_balancer_id == load_balancer_id, _E.object_id == load_balancer_id)
        of_these = sa.select(_E.code, _E.message).where(*own, _E.code.in_({event.code for event in events}))
        told = {(row.code, row.message) for row in self._connection.execute(of_these)}
        return [event for event in events if (event.code, words.for_tenants(event.message)) not in told]

    def count(self, code: str, object_type: str, within: float) -> int:
        """How many events of a code happened to objects of a type within these seconds, by the clock that stamps them."""
        since = rows.now() - datetime.timedelta(seconds=within)
        found = sa.select(sa.func.count()).where(_E.code == code, _E.object_type == object_type, _E.occurred_at > since)
        return int(self._connection.execute(found).scalar_one())

    def page(self, query: paging.Query) -> Sequence[sa.Row[Any]]:
        """A page of events.

        :raises InvalidRequest: the marker names none.
        """
        return paging.page(self._connection, tables.events, sa.select(tables.events), query)

    def project_of(self, load_balancer_id: str) -> str:
        """Whose load balancer this is, or was: its events outlive it until both are purged.

        :raises NotFound: there is none, and no trace of one.
        """
        found = self._connection.execute(_PROJECT, {"id": load_balancer_id}).scalar() if rows.may_exist(load_balancer_id) else None
        if found is None:
            raise exceptions.NotFound("Load Balancer", load_balancer_id)
        return str(found)

    def events(self, load_balancer_id: str, limit: int = 100) -> Sequence[rows.Row]:
        """What happened to a load balancer, the newest first."""
        return self._rows(sa.select(tables.events).where(_E.load_balancer_id == load_balancer_id).order_by(_E.id.desc()).limit(limit))


def _lack(lacks: Mapping[str, str] | None) -> tls.Lack | None:
    return None if lacks is None else tls.Lack(tls.Need(lacks["reference"], tls.Kind(lacks["kind"])), lacks["reason"])


def _step(said: model.Fault) -> str | None:
    return said.step and said.step[:_STEP]


def _columns(said: model.Fault) -> dict[str, Any]:
    told = {"message": words.for_tenants(said.message), "step": _step(said)}
    return {**dataclasses.asdict(said), **told, "occurred_at": said.occurred_at or rows.now()}
