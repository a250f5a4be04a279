"""The end of a flow: what was applied becomes ACTIVE or vanishes, what failed becomes ERROR with a reason.

Each method writes only for who holds the lease, and goes by generation: a row that was changed after the flow read it keeps its
PENDING_* and waits for the next flow. An accepted deletion is never taken back: what is in PENDING_DELETE stays so, with a fault that
says why it takes so long, until it is gone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from controller import exceptions, jobs
from controller.db import rows, tables
from controller.db.repositories import faults, leases, moves, served_before, statistics
from controller.model import load_balancer as model
from controller.model import status, tls

_P = status.ProvisioningStatus
_O = status.OperatingStatus
_LB = tables.load_balancers.c
_M = tables.members.c
_CHILDREN = tables.CHILDREN
_BELOW = (
    ("pool", "member", tables.members.c.pool_id),
    ("pool", "health_monitor", tables.health_monitors.c.pool_id),
    ("listener", "l7policy", tables.l7policies.c.listener_id),
    ("l7policy", "l7rule", tables.l7rules.c.l7policy_id),
)
"""What goes with its parent: the parent's word, the child's, and the child's column that names the parent. Listeners before policies."""

_TOLD = ("health_monitor", "l7policy", "l7rule")
"""What nobody can see at work: it is ONLINE as soon as all amphorae were told."""

_NONE: sa.ColumnElement[int] = sa.literal_column("0")
_UNSETTLED = sa.union_all(
    *(
        sa.select(sa.literal_column(f"'{word}'").label("word"), table.c.id, table.c.provisioning_status, _NONE.label("left_out_of")).where(
            table.c.load_balancer_id == sa.bindparam("load_balancer_id"),
            table.c.generation <= sa.bindparam("generation"),
            table.c.provisioning_status != _P.ACTIVE,
        )
        for word, table in _CHILDREN.items()
    ),
    sa.select(sa.literal_column("'left out'"), tables.faults.c.object_id, sa.literal_column("''"), tables.faults.c.left_out_of).where(
        tables.faults.c.load_balancer_id == sa.bindparam("load_balancer_id"), tables.faults.c.code == model.LEFT_OUT
    ),
    sa.select(sa.literal_column("'before'"), tables.served_before.c.object_id, sa.literal_column("''"), _NONE).where(
        tables.served_before.c.load_balancer_id == sa.bindparam("load_balancer_id"),
        tables.served_before.c.generation <= sa.bindparam("generation"),
        *(
            ~sa.exists().where(table.c.id == tables.served_before.c.object_id, table.c.generation > sa.bindparam("generation"))
            for table in (tables.listeners, tables.pools)
        ),
    ),
)
"""And in one question what is left out, and of which generation; and of what it is known how it was before. Of what was changed once more
meanwhile, nobody has told whether it was left out: how it was before stays known until that change is settled."""
_STATE = (
    sa.select(_LB.generation, _LB.provisioning_status, _LB.applied_generation, _LB.admin_state_up, _LB.operating_status)
    .where(_LB.id == sa.bindparam("load_balancer_id"))
    .with_for_update()
)
_OWNED = sa.union_all(
    *(sa.select(table.c.id).where(table.c.load_balancer_id == sa.bindparam("load_balancer_id")) for table in _CHILDREN.values())
)
LeftOut = Mapping[tuple[str, str], tuple[model.Fault, tls.Lack]]
"""Objects by word and id, with the fault of each, and what it lacks."""
_BUILT = model.Fault(code=faults.BUILT, message="the load balancer is built, and serves")
_RECOVERED = model.Fault(code=faults.RECOVERED, message="what had failed is done now")


class Settlement(rows.Repository):
    """What a flow writes when it is done, or has failed."""

    def generation(self, load_balancer_id: str) -> int:
        """The newest accepted generation.

        :raises NotFound: no such load balancer.
        """
        found = self._connection.execute(sa.select(_LB.generation).where(_LB.id == load_balancer_id)).scalar()
        if found is None:
            raise exceptions.NotFound("Load Balancer", load_balancer_id)
        return int(found)

    def settle(
        self, load_balancer_id: str, generation: int, lease: jobs.Lease, *, complete: bool = True, pushed_by_us: bool = True
    ) -> bool:
        """Everything stamped at `generation` or before has been applied. Tells whether the load balancer is ACTIVE now.

        It is not if a newer change was accepted meanwhile, or if it is not `complete` (an amphora is missing): then more is owed. Unless it
        was surely `pushed_by_us`, what a process of an older release has left out, is left out: it wrote no generation.

        :raises StaleLease: another worker took the load balancer over.
        """
        self._check(lease)
        state = self._connection.execute(_STATE, {"load_balancer_id": load_balancer_id}).one()
        unsettled, known, before = self._unsettled(load_balancer_id, generation)
        left_out = [child for child, of in known.items() if of == generation or (of is None and not pushed_by_us)]
        told = faults.Faults(self._connection)
        for word, children in unsettled.items():
            applied = [child for child, own in children if own != _P.PENDING_DELETE and child not in left_out]
            self._activate(word, applied, served=state.admin_state_up)
        doomed = {word: [child for child, own in of if own == _P.PENDING_DELETE] for word, of in unsettled.items()}
        self._remove(load_balancer_id, doomed)
        served_before.ServedBefore(self._connection).forget([one for one in before if one not in left_out])
        self._switch(load_balancer_id, generation, state)
        healed = told.clear(load_balancer_id, left_out)
        settled = complete and int(state.generation) <= generation
        found, wanted = _P(state.provisioning_status), _P.ACTIVE if settled else _P.PENDING_UPDATE
        newest = sa.case((_LB.applied_generation > generation, _LB.applied_generation), else_=generation)
        row = moves.settled(wanted, applied_generation=newest, access_generation=newest, failures=0, next_try_at=0.0)
        self._connection.execute(row.where(_LB.id == load_balancer_id))
        if not state.applied_generation:
            told.add_event(load_balancer_id, "load_balancer", load_balancer_id, _BUILT)
        elif healed:
            told.add_event(load_balancer_id, "load_balancer", load_balancer_id, _RECOVERED)
        return settled and status.LOAD_BALANCER.allows(found, _P.ACTIVE)

    def fail(self, load_balancer_id: str, generation: int, fault: model.Fault, lease: jobs.Lease) -> _P:
        """What was pending at `generation` or before could not be applied: it is in ERROR for this reason, and so is the load balancer.
        What was left out before keeps the reason that it has: until it can be read, no push would make it ACTIVE. It is an event, unless
        another try failed alike not long ago.

        A load balancer of which a newer change was accepted stays PENDING_UPDATE: that change is tried at once. Returns what it is now.

        :raises StaleLease: another worker took the load balancer over.
        """
        self._check(lease)
        recorded = faults.Faults(self._connection)
        failed, left_out = [load_balancer_id], recorded.left_out(load_balancer_id)
        unsettled = self._unsettled(load_balancer_id, generation)[0]
        self._note_unserved(load_balancer_id, generation, unsettled)
        for word, children in unsettled.items():
            for some in rows.chunks([child for child, _ in children]):
                self._connection.execute(moves.to(_CHILDREN[word], _P.ERROR).where(_CHILDREN[word].c.id.in_(some)))
            failed.extend(child for child, _ in children if child not in left_out)
        mine = moves.to(tables.load_balancers, _P.ERROR).where(_LB.id == load_balancer_id, _LB.generation <= generation)
        self._connection.execute(mine)
        becomes = _P(self._connection.execute(sa.select(_LB.provisioning_status).where(_LB.id == load_balancer_id)).scalar_one())
        recorded.put(load_balancer_id, failed, fault)
        recorded.add_failed_try(load_balancer_id, fault)
        return becomes

    def leave_out(self, load_balancer_id: str, generation: int, left_out: LeftOut, lease: jobs.Lease) -> None:
        """What is served of `generation` is all but these objects, each for its reason: they are in ERROR. A load balancer that lacks
        only its access log is not: the fault alone is there.

        :raises StaleLease: another worker took the load balancer over.
        """
        self._check(lease)
        told = faults.Faults(self._connection)
        if taken_in := told.left_out(load_balancer_id).keys() - {child for _, child in left_out}:
            told.take_in(taken_in)
        for (word, child), (fault, lack) in left_out.items():
            if word in _CHILDREN:
                own = _CHILDREN[word].c
                failed = moves.to(_CHILDREN[word], _P.ERROR).where(own.id == child, own.generation <= generation)
                if not self._connection.execute(failed).rowcount:
                    continue
                served_before.ServedBefore(self._connection).keep_nothing(load_balancer_id, [child], generation)
            pushed = dataclasses.replace(fault, step=f"push of generation {generation}")  # as processes of an older release look for it
            told.leave_out(load_balancer_id, child, pushed, generation, lack)
            told.add_news(load_balancer_id, word, child, fault, among=1 if word in _CHILDREN else 100)

    def new(self, children: Collection[tuple[str, str]]) -> frozenset[tuple[str, str]]:
        """Those of these children, known by word and id, of which no push has come to its end yet: they serve nobody.

        What is seen at work says nothing of it: who serves is in ERROR while all amphorae are silent, or all members down.
        """
        found = set()
        for word, child in children:
            own = _CHILDREN[word].c
            is_new = (own.id == child, own.provisioning_status == _P.PENDING_CREATE)
            if self._connection.execute(sa.select(own.id).where(*is_new)).first() is not None:
                found.add((word, child))
        return frozenset(found)

    def remove(self, load_balancer_id: str, lease: jobs.Lease) -> None:
        """Nothing is left in the cloud: remove all rows below the load balancer. Its own says DELETED, and waits for the purge.

        :raises StaleLease: another worker took the load balancer over.
        :raises Conflict: nobody has asked for its deletion.
        """
        self._check(lease)
        gone = {"applied_generation": _LB.generation, "deleted_at": self._now(), "failures": 0, "next_try_at": 0.0}
        row = moves.to(tables.load_balancers, _P.DELETED, **gone).where(_LB.id == load_balancer_id)
        if not self._connection.execute(row).rowcount:
            raise exceptions.Conflict(f"load balancer {load_balancer_id} is not being deleted")
        below = list(self._connection.execute(_OWNED, {"load_balancer_id": load_balancer_id}).scalars())
        self._delete_facts([*below, load_balancer_id])
        for table in _CHILDREN.values():
            self._connection.execute(sa.delete(table).where(table.c.load_balancer_id == load_balancer_id))
        faults.Faults(self._connection).clear(load_balancer_id)
        for counted in (tables.listener_statistics, tables.member_statistics):
            self._connection.execute(sa.delete(counted).where(counted.c.load_balancer_id == load_balancer_id))

    def _check(self, lease: jobs.Lease) -> None:
        leases.Leases(self._connection).check(lease)

    def _unsettled(
        self, load_balancer_id: str, generation: int
    ) -> tuple[Mapping[str, Sequence[tuple[str, str]]], Mapping[str, int | None], Collection[str]]:
        """Ids and statuses of what is below the load balancer, was last changed at `generation` or before, and is not ACTIVE. And the ids
        of what is left out, with the generation, and of what it is known how it was before."""
        found: dict[str, list[tuple[str, str]]] = {}
        left_out: dict[str, int | None] = {}
        for row in self._connection.execute(_UNSETTLED, {"load_balancer_id": load_balancer_id, "generation": generation}):
            if row.word == "left out":
                left_out[row.id] = row.left_out_of
            else:
                found.setdefault(row.word, []).append((row.id, row.provisioning_status))
        return found, left_out, [child for child, _ in found.pop("before", ())]

    def _note_unserved(self, load_balancer_id: str, generation: int, failed: Mapping[str, Sequence[tuple[str, str]]]) -> None:
        """In ERROR nobody can tell any more what was never applied: it is written down, unless an amphora took this generation."""
        new = [child for word in ("listener", "pool") for child, own in failed.get(word, ()) if own == _P.PENDING_CREATE]
        if not new:
            return
        own = tables.amphorae.c
        took = sa.select(own.id).where(own.load_balancer_id == load_balancer_id, own.applied_generation >= generation)
        if self._connection.execute(took).first() is None:
            served_before.ServedBefore(self._connection).keep_nothing(load_balancer_id, new, generation)

    def _activate(self, word: str, ids: Sequence[str], *, served: bool) -> None:
        """These children were applied. What can be said of their work without looking is said at once; heartbeats say the rest.

        `served`: the load balancer is not switched off.
        """
        table = _CHILDREN[word]
        active = moves.to(table, _P.ACTIVE, **moves.also_seen(_at_once(word, served=served)))
        for some in rows.chunks(ids):
            self._connection.execute(active.where(table.c.id.in_(some)))
            if word == "health_monitor":
                self._unmonitor(sa.and_(table.c.id.in_(some), sa.not_(table.c.admin_state_up)))

    def _switch(self, load_balancer_id: str, generation: int, state: Any) -> None:
        """A load balancer that was switched off, or on again: what that means for everything below it holds with the settlement, too."""
        was_off = state.operating_status == _O.OFFLINE
        if int(state.generation) > generation or was_off != state.admin_state_up or not state.applied_generation:
            return
        for word in _TOLD if state.admin_state_up else _CHILDREN:
            table = _CHILDREN[word]
            becomes = _at_once(word, served=state.admin_state_up)
            differs = (table.c.load_balancer_id == load_balancer_id, table.c.operating_status != becomes)
            self._connection.execute(moves.seen(table, becomes).where(*differs))
        if not state.admin_state_up:
            self._connection.execute(moves.seen(tables.load_balancers, _O.OFFLINE).where(_LB.id == load_balancer_id))

    def _unmonitor(self, monitors: sa.ColumnElement[bool]) -> None:
        """Nobody checks the members of these monitors' pools any more."""
        pools = sa.select(tables.health_monitors.c.pool_id).where(monitors)
        checked = (_M.pool_id.in_(pools), _M.admin_state_up, _M.weight > 0, _M.operating_status != _O.NO_MONITOR)
        self._connection.execute(moves.seen(tables.members, _O.NO_MONITOR).where(*checked))

    def _remove(self, load_balancer_id: str, doomed: Mapping[str, Sequence[str]]) -> None:
        """Remove children, and what is below them; a listener or a policy whose pool goes has none from then on. What was counted on a
        listener stays with its load balancer.
        """
        if not any(doomed.values()):
            return
        everything = self._with_what_is_below(doomed)
        self._delete_facts([child for ids in everything.values() for child in ids])
        if everything["listener"]:
            statistics.Statistics(self._connection).add_up_deleted(load_balancer_id)
        for some in rows.chunks(everything["health_monitor"]):
            self._unmonitor(tables.health_monitors.c.id.in_(some))
        for some in rows.chunks(everything["pool"]):
            for column in (tables.listeners.c.default_pool_id, tables.l7policies.c.redirect_pool_id):
                self._connection.execute(sa.update(column.table).where(column.in_(some)).values({column: None}))
        for word, table in _CHILDREN.items():
            self._delete(table, "id", everything[word])

    def _with_what_is_below(self, doomed: Mapping[str, Sequence[str]]) -> Mapping[str, list[str]]:
        everything = {word: dict.fromkeys(doomed.get(word, ())) for word in _CHILDREN}
        for parent, word, column in _BELOW:
            for some in rows.chunks(everything[parent]):
                found = self._connection.execute(sa.select(column.table.c.id).where(column.in_(some)))
                everything[word].update(dict.fromkeys(found.scalars()))
        return {word: list(ids) for word, ids in everything.items()}

    def _delete_facts(self, ids: Sequence[str]) -> None:
        """Forget the tags and faults of what is going to be removed, and what it was before."""
        self._delete(tables.tags, "resource_id", ids)
        self._delete(tables.faults, "object_id", ids)
        self._delete(tables.served_before, "object_id", ids)

    def _delete(self, table: sa.Table, column: str, values: Collection[Any]) -> None:
        for some in rows.chunks(values):
            self._connection.execute(sa.delete(table).where(table.c[column].in_(some)))


def _at_once(word: str, *, served: bool) -> sa.ColumnElement[str]:
    """The operating status of a child at the moment when it becomes ACTIVE, as `health_manager.verdict` would find it later."""
    own = _CHILDREN[word].c
    if not served:
        return sa.case((sa.and_(own.operating_status == _O.NO_MONITOR, own.admin_state_up), own.operating_status), else_=_O.OFFLINE)
    return sa.case((own.admin_state_up, _O.ONLINE if word in _TOLD else own.operating_status), else_=_O.OFFLINE)
