"""When a flow is tried again, and whether it did anything: pure."""

from __future__ import annotations

from controller.model import load_balancer as model
from controller.model import status


def backoff(failures: int, first: float, longest: float) -> float:
    """Seconds until the next try, after so many failures in a row before this one: doubled each time, and capped."""
    return float(min(longest, first * 2 ** min(failures, 30)))


def standing(snapshot: model.Snapshot) -> tuple[object, ...]:
    """What a flow that did something must have changed."""
    load_balancer = snapshot.load_balancer
    pending = [
        item.id
        for items in (snapshot.listeners, snapshot.pools, snapshot.members, snapshot.health_monitors)
        for item in items
        if item.provisioning_status is not status.ProvisioningStatus.ACTIVE
    ]
    return (
        load_balancer.generation,
        load_balancer.applied_generation,
        load_balancer.provisioning_status,
        pending,
        [(amphora.id, amphora.status, amphora.role, amphora.applied_generation) for amphora in snapshot.amphorae],
    )
