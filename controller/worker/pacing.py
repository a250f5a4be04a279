"""When a flow is tried again, and whether it did anything: pure."""

from controller.model import load_balancer as model


def backoff(failures: int, first: float, longest: float) -> float:
    """Seconds until the next try, after so many failures in a row before this one: doubled each time, and capped."""
    return float(min(longest, first * 2 ** min(failures, 30)))


def standing(outline: model.Snapshot) -> tuple[object, ...]:
    """What a flow that did something must have changed: whatever it settles below a load balancer also shows in its row."""
    load_balancer = outline.load_balancer
    return (
        load_balancer.generation,
        load_balancer.applied_generation,
        load_balancer.provisioning_status,
        [(amphora.id, amphora.status, amphora.role, amphora.applied_generation) for amphora in outline.amphorae],
    )
