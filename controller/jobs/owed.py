"""What the rows say is still to be done for a load balancer: pure, so the worker, the sweeper and the tests all ask the same question.

A job is only a hint that somebody should ask. Whoever asks under the load balancer's lease gets what is true then: an update of a load
balancer that has lost an amphora is a create of what is missing, a create of a complete one is an update, and everything about one that is
being deleted is its deletion.
"""

import datetime
import uuid
from collections.abc import Callable

from controller import jobs
from controller.model import amphora as amphora_model
from controller.model import load_balancer as model
from controller.model import status

_P = status.ProvisioningStatus


def owed(snapshot: model.Snapshot, now: datetime.datetime, new_id: Callable[[], str] | None = None) -> jobs.Job | None:
    """The job that is due now, or None. What failed is due again at its `next_try_at`; what a person asked for is due at once."""
    load_balancer = snapshot.load_balancer
    retry = load_balancer.provisioning_status in (_P.ERROR, _P.PENDING_DELETE)
    if retry and load_balancer.next_try_at is not None and load_balancer.next_try_at > now:
        return None
    return outstanding(snapshot, new_id)


def outstanding(snapshot: model.Snapshot, new_id: Callable[[], str] | None = None) -> jobs.Job | None:
    """The job that would settle everything, due or not; None if nothing is outstanding."""
    load_balancer = snapshot.load_balancer
    if load_balancer.provider not in amphora_model.PROVIDER_NAMES:  # another provider's is its own matter
        return None
    match load_balancer.provisioning_status:
        case _P.DELETED:
            return None
        case _P.PENDING_DELETE:
            return jobs.DeleteLoadBalancer(load_balancer_id=load_balancer.id)
    if not is_complete(snapshot) or discarded(snapshot):
        return jobs.CreateLoadBalancer(
            load_balancer_id=load_balancer.id, topology=load_balancer.topology, amphora_ids=wanted_amphora_ids(snapshot, new_id)
        )
    unsettled = load_balancer.provisioning_status is not _P.ACTIVE or load_balancer.generation > load_balancer.applied_generation
    return jobs.UpdateLoadBalancer(load_balancer_id=load_balancer.id) if unsettled else None


def serving(snapshot: model.Snapshot) -> tuple[amphora_model.Amphora, ...]:
    """The amphorae that take traffic, or would if they answered: a push goes to all of them."""
    return tuple(amphora for amphora in snapshot.amphorae if amphora.status in status.SERVING)


def discarded(snapshot: model.Snapshot) -> tuple[amphora_model.Amphora, ...]:
    """The amphorae that nobody counts on any more, and that are still to be deleted."""
    return tuple(amphora for amphora in snapshot.amphorae if amphora.status in status.DISCARDED)


def is_complete(snapshot: model.Snapshot) -> bool:
    """Whether each role of the topology has an amphora that serves."""
    return {amphora.role for amphora in serving(snapshot)} >= set(snapshot.load_balancer.topology.roles)


def wanted_amphora_ids(snapshot: model.Snapshot, new_id: Callable[[], str] | None = None) -> tuple[str, ...]:
    """An amphora id for each role: of the one that serves, else of the newest on its way, else a new one.

    The ids of a load balancer that was never built are those that the first post chose (`jobs.amphora_ids`). Later ones must be new:
    the traffic counters of amphorae that are gone are kept by their ids.
    """
    load_balancer = snapshot.load_balancer
    first = jobs.amphora_ids(load_balancer.id, load_balancer.topology)
    chosen = []
    for role, first_id in zip(load_balancer.topology.roles, first, strict=True):
        mine = [amphora for amphora in snapshot.amphorae if amphora.role is role]
        served = [amphora.id for amphora in mine if amphora.status in status.SERVING]
        coming = [amphora.id for amphora in mine if amphora.status in status.BUILDING]
        known = served or coming[-1:]
        unused = load_balancer.applied_generation == 0 and all(amphora.id != first_id for amphora in mine)
        chosen.append(known[0] if known else first_id if unused else new_id() if new_id else str(uuid.uuid4()))
    return tuple(chosen)
