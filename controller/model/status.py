"""The two statuses that every object carries, and the changes of provisioning status that are allowed (spec `api.md` §6)."""

from __future__ import annotations

import enum


class ProvisioningStatus(enum.StrEnum):
    """How far the wanted state has been carried out."""

    PENDING_CREATE = "PENDING_CREATE"
    PENDING_UPDATE = "PENDING_UPDATE"
    PENDING_DELETE = "PENDING_DELETE"
    ACTIVE = "ACTIVE"
    ERROR = "ERROR"
    DELETED = "DELETED"

    @property
    def is_pending(self) -> bool:
        """Whether work is owed on the object."""
        return self.value.startswith("PENDING_")


class OperatingStatus(enum.StrEnum):
    """What the data plane was last seen to do."""

    ONLINE = "ONLINE"
    OFFLINE = "OFFLINE"
    DEGRADED = "DEGRADED"
    ERROR = "ERROR"
    DRAINING = "DRAINING"
    NO_MONITOR = "NO_MONITOR"


_P = ProvisioningStatus

ALLOWED: frozenset[tuple[ProvisioningStatus, ProvisioningStatus]] = frozenset(
    {
        (_P.PENDING_CREATE, _P.ACTIVE),  # the create or update flow succeeded
        (_P.PENDING_CREATE, _P.ERROR),  # ... or was reverted; it is retried, with back-off
        (_P.PENDING_CREATE, _P.PENDING_UPDATE),  # changed before it was built: the newest state is built
        (_P.PENDING_CREATE, _P.PENDING_DELETE),  # deleted before it was built
        (_P.ACTIVE, _P.PENDING_UPDATE),  # a change was accepted, here or on a child
        (_P.ACTIVE, _P.PENDING_DELETE),  # a delete was accepted
        (_P.ACTIVE, _P.ERROR),  # a serving amphora was lost and could not be replaced
        (_P.PENDING_UPDATE, _P.ACTIVE),  # the update was applied
        (_P.PENDING_UPDATE, _P.ERROR),  # ... or refused
        (_P.PENDING_UPDATE, _P.PENDING_DELETE),  # deleted while a change was under way: the newest state wins
        (_P.ERROR, _P.ACTIVE),  # a retry succeeded
        (_P.ERROR, _P.PENDING_CREATE),  # the create is tried again
        (_P.ERROR, _P.PENDING_UPDATE),  # a change, a failover or a retry was accepted
        (_P.ERROR, _P.PENDING_DELETE),  # a broken object may always be deleted
        (_P.PENDING_DELETE, _P.DELETED),  # all of it is gone; the row waits for the purge
        (_P.PENDING_DELETE, _P.ERROR),  # the delete failed; it is retried, with back-off
    }
)


MUTABLE = frozenset({_P.ACTIVE, _P.PENDING_CREATE, _P.PENDING_UPDATE, _P.ERROR})
"""States in which a load balancer takes changes: everything but being deleted."""

AT_REST = frozenset({_P.ACTIVE, _P.ERROR})
"""Nobody works on the object; in ERROR, until the next try."""

IN_DELETION = frozenset({_P.PENDING_DELETE, _P.DELETED})
"""An accepted deletion is never taken back: nothing but DELETED follows."""

UNSETTLED = frozenset(_P) - {_P.ACTIVE, _P.DELETED}
"""A load balancer for which work is owed."""


def may_become(old: ProvisioningStatus, new: ProvisioningStatus) -> bool:
    """Tell whether the change is one of the allowed ones; staying is always allowed."""
    return old == new or (old, new) in ALLOWED


class AmphoraStatus(enum.StrEnum):
    """Where an amphora is in its life (spec `api.md` §19, `controller.md` §8)."""

    BOOTING = "BOOTING"
    ALLOCATED = "ALLOCATED"
    READY = "READY"
    PENDING_CREATE = "PENDING_CREATE"
    PENDING_DELETE = "PENDING_DELETE"
    DELETED = "DELETED"
    ERROR = "ERROR"
    FAILOVER_STOPPED = "FAILOVER_STOPPED"


_A = AmphoraStatus

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
