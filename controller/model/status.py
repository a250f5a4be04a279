"""The statuses that objects carry, and how one follows another: the code asks these tables whenever it writes one.

`db/repositories/moves.py` is the only module that writes a status; it asks in its statements. The diagrams in docs/states.md are made of
these tables, and a test runs all flows: nothing happens that is not in them, and nothing is in them that never happens.
"""

from __future__ import annotations

import dataclasses
import enum
from typing import Generic, TypeVar


class ProvisioningStatus(enum.StrEnum):
    """How far the wanted state has been carried out."""

    PENDING_CREATE = "PENDING_CREATE"
    PENDING_UPDATE = "PENDING_UPDATE"
    PENDING_DELETE = "PENDING_DELETE"
    ACTIVE = "ACTIVE"
    ERROR = "ERROR"
    DELETED = "DELETED"


class OperatingStatus(enum.StrEnum):
    """What the data plane was last seen to do."""

    ONLINE = "ONLINE"
    OFFLINE = "OFFLINE"
    DEGRADED = "DEGRADED"
    ERROR = "ERROR"
    DRAINING = "DRAINING"
    NO_MONITOR = "NO_MONITOR"


S = TypeVar("S", bound=enum.StrEnum)


@dataclasses.dataclass(frozen=True, slots=True)
class Transition(Generic[S]):
    """One status follows another, and why. `old` None: the row is new; `new` None: the row is removed."""

    old: S | None
    new: S | None
    reason: str


class Transitions(Generic[S]):
    """The life of one kind of object. To stay in a status is always allowed."""

    def __init__(self, *rows: tuple[S | None, S | None, str]) -> None:
        self.rows: tuple[Transition[S], ...] = tuple(Transition(*row) for row in rows)

    @property
    def first(self) -> S:
        """What a new row says."""
        (found,) = (row.new for row in self.rows if row.old is None and row.new is not None)
        return found

    def before(self, new: S) -> frozenset[S]:
        """The statuses that this one may follow."""
        return frozenset(row.old for row in self.rows if row.new == new and row.old is not None)

    def allows(self, old: S, new: S) -> bool:
        """Whether one may follow the other."""
        return old == new or old in self.before(new)


_P = ProvisioningStatus

LOAD_BALANCER: Transitions[ProvisioningStatus] = Transitions(
    (None, _P.PENDING_CREATE, "it was accepted"),
    (_P.PENDING_CREATE, _P.ACTIVE, "it is built, and runs the newest state"),
    (_P.PENDING_CREATE, _P.PENDING_UPDATE, "it is built, and was changed meanwhile"),
    (_P.PENDING_CREATE, _P.ERROR, "it could not be built, and is tried again"),
    (_P.PENDING_CREATE, _P.PENDING_DELETE, "a deletion was accepted"),
    (_P.ACTIVE, _P.PENDING_UPDATE, "a change was accepted, here or below it"),
    (_P.ACTIVE, _P.ERROR, "an amphora could not be replaced or repaired, which is tried again"),
    (_P.ACTIVE, _P.PENDING_DELETE, "a deletion was accepted"),
    (_P.PENDING_UPDATE, _P.ACTIVE, "every serving amphora runs the newest state"),
    (_P.PENDING_UPDATE, _P.ERROR, "the newest state could not be applied, and is tried again"),
    (_P.PENDING_UPDATE, _P.PENDING_DELETE, "a deletion was accepted"),
    (_P.ERROR, _P.ACTIVE, "a later try succeeded"),
    (_P.ERROR, _P.PENDING_UPDATE, "a change was accepted, or came during a try that succeeded"),
    (_P.ERROR, _P.PENDING_DELETE, "a deletion was accepted"),
    (_P.PENDING_DELETE, _P.DELETED, "nothing of it is left in the cloud"),
    (_P.DELETED, None, "it is purged"),
)
"""Provisioning status of a load balancer. A deletion that fails stays PENDING_DELETE, with the reason, until it is done."""

CHILD: Transitions[ProvisioningStatus] = Transitions(
    (None, _P.PENDING_CREATE, "it was accepted"),
    (_P.PENDING_CREATE, _P.ACTIVE, "every serving amphora has it"),
    (_P.PENDING_CREATE, _P.ERROR, "it could not be applied, and is tried again"),
    (_P.PENDING_CREATE, _P.PENDING_DELETE, "a deletion was accepted, of it or of what it belongs to"),
    (_P.ACTIVE, _P.PENDING_UPDATE, "a change was accepted, here or below it"),
    (_P.ACTIVE, _P.PENDING_DELETE, "a deletion was accepted, of it or of what it belongs to"),
    (_P.PENDING_UPDATE, _P.ACTIVE, "every serving amphora has it"),
    (_P.PENDING_UPDATE, _P.ERROR, "it could not be applied, and is tried again"),
    (_P.PENDING_UPDATE, _P.PENDING_DELETE, "a deletion was accepted, of it or of what it belongs to"),
    (_P.ERROR, _P.ACTIVE, "a later try succeeded"),
    (_P.ERROR, _P.PENDING_UPDATE, "a change was accepted, here or below it"),
    (_P.ERROR, _P.PENDING_DELETE, "a deletion was accepted, of it or of what it belongs to"),
    (_P.PENDING_DELETE, None, "no amphora has it any more"),
)
"""Provisioning status of what is below a load balancer. What was never built stays PENDING_CREATE when it is changed."""

MUTABLE = frozenset({_P.ACTIVE, _P.PENDING_CREATE, _P.PENDING_UPDATE, _P.ERROR})
"""States in which a load balancer takes changes: everything but being deleted."""

AT_REST = frozenset({_P.ACTIVE, _P.ERROR})
"""Nobody works on the object; in ERROR, until the next try."""

IN_DELETION = frozenset({_P.PENDING_DELETE, _P.DELETED})
"""An accepted deletion is never taken back: nothing but DELETED follows."""

UNSETTLED = frozenset(_P) - {_P.ACTIVE, _P.DELETED}
"""A load balancer for which work is owed."""


class AmphoraStatus(enum.StrEnum):
    """Where an amphora is in its life."""

    BOOTING = "BOOTING"
    ALLOCATED = "ALLOCATED"
    READY = "READY"
    PENDING_CREATE = "PENDING_CREATE"
    PENDING_DELETE = "PENDING_DELETE"
    DELETED = "DELETED"
    ERROR = "ERROR"
    FAILOVER_STOPPED = "FAILOVER_STOPPED"


_A = AmphoraStatus

AMPHORA: Transitions[AmphoraStatus] = Transitions(
    (None, _A.PENDING_CREATE, "a flow is going to make it"),
    (_A.PENDING_CREATE, _A.BOOTING, "its machine was started"),
    (_A.PENDING_CREATE, _A.ERROR, "no flow makes it any more"),
    (_A.PENDING_CREATE, _A.PENDING_DELETE, "what was begun is undone"),
    (_A.BOOTING, _A.ALLOCATED, "it took the state of its load balancer"),
    (_A.BOOTING, _A.ERROR, "no flow makes it any more"),
    (_A.BOOTING, _A.PENDING_DELETE, "what was begun is undone"),
    (_A.ALLOCATED, _A.ERROR, "it does not answer, and its failover does not wait for it"),
    (_A.ALLOCATED, _A.PENDING_DELETE, "it was replaced, or its load balancer is deleted"),
    (_A.FAILOVER_STOPPED, _A.ERROR, "it does not answer, and its failover does not wait for it"),
    (_A.FAILOVER_STOPPED, _A.PENDING_DELETE, "it was replaced, or its load balancer is deleted"),
    (_A.ERROR, _A.PENDING_DELETE, "it is cleared away"),
    (_A.PENDING_DELETE, _A.DELETED, "nothing of it is left in the cloud"),
    (_A.DELETED, _A.PENDING_CREATE, "its flow began anew, and makes it under the same id"),
    (_A.DELETED, None, "it is purged"),
)
"""Status of an amphora. READY is kept for a pool of spare ones, and FAILOVER_STOPPED is set by hand; nothing here leads to either."""

SERVING = frozenset({_A.ALLOCATED, _A.FAILOVER_STOPPED})
"""An amphora in one of these carries its load balancer's traffic: it takes every push, is judged by its heartbeats, and counts."""

BUILDING = frozenset({_A.PENDING_CREATE, _A.BOOTING})
"""An amphora on its way: a flow that needs one of its role goes on with it."""

DISCARDED = frozenset({_A.ERROR, _A.PENDING_DELETE})
"""An amphora that nothing will use again: the next flow of its load balancer deletes it."""

AMPHORA_IN_DELETION = frozenset({_A.PENDING_DELETE, _A.DELETED})
"""An amphora whose machine may be gone already."""

OUT_OF_SERVICE = DISCARDED | AMPHORA_IN_DELETION
"""An amphora whose reports say nothing about its load balancer any more."""

LIVING = frozenset(_A) - {_A.DELETED}
"""An amphora of which something may still stand in the cloud."""


_O = OperatingStatus

OPERATING: dict[str, frozenset[OperatingStatus]] = {
    "load_balancer": frozenset({_O.ONLINE, _O.OFFLINE, _O.DEGRADED, _O.ERROR}),
    "listener": frozenset({_O.ONLINE, _O.OFFLINE, _O.DEGRADED, _O.ERROR}),
    "pool": frozenset({_O.ONLINE, _O.OFFLINE, _O.DEGRADED, _O.ERROR}),
    "member": frozenset({_O.ONLINE, _O.OFFLINE, _O.ERROR, _O.DRAINING, _O.NO_MONITOR}),
    "health_monitor": frozenset({_O.ONLINE, _O.OFFLINE}),
    "l7policy": frozenset({_O.ONLINE, _O.OFFLINE}),
    "l7rule": frozenset({_O.ONLINE, _O.OFFLINE}),
}
"""What can be seen of each kind of object. It is looked at, not decided: any of these may follow any other one."""


class Role(enum.StrEnum):
    """An amphora's part in its load balancer."""

    STANDALONE = "STANDALONE"
    MASTER = "MASTER"
    BACKUP = "BACKUP"


class Topology(enum.StrEnum):
    """How many amphorae serve a load balancer: one, or a VRRP pair."""

    SINGLE = "SINGLE"
    ACTIVE_STANDBY = "ACTIVE_STANDBY"

    @property
    def roles(self) -> tuple[Role, ...]:
        """The roles that a complete load balancer of this topology has, in boot order."""
        return (Role.STANDALONE,) if self is Topology.SINGLE else (Role.MASTER, Role.BACKUP)
