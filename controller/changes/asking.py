"""How a change is accepted: one transaction raises the generation, writes the rows and posts the job; then workers are rung for."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Collection, Iterator
from typing import Any

from controller import exceptions, jobs
from controller.api import current
from controller.db import transaction
from controller.db.repositories import base
from controller.model import load_balancer as model
from controller.model.status import OperatingStatus, ProvisioningStatus


@contextlib.contextmanager
def begin() -> Iterator[transaction.Transaction]:
    """A transaction; once it is committed, workers are told that there is something to do."""
    services = current.services()
    with services.db.begin() as tx:
        yield tx
    services.wake()


def accept(tx: transaction.Transaction, load_balancer_id: str, allowed: Collection[ProvisioningStatus] | None = None) -> int:
    """Take the row lock of a load balancer whose children change, and owe an update; returns the new generation.

    Without `allowed`, it must be in a state in which load balancers take changes.

    :raises NotFound: no such load balancer.
    :raises Immutable: it takes no changes now.
    """
    generation = tx.load_balancers.advance(load_balancer_id, current.settings().mutable if allowed is None else allowed)
    post(tx, jobs.UpdateLoadBalancer(load_balancer_id=load_balancer_id))
    return generation


def need(allowed: Collection[ProvisioningStatus], title: str, object_id: str, found: ProvisioningStatus) -> None:
    """An object below a load balancer takes a change in these states only.

    :raises Conflict: it is in another one.
    """
    if found not in allowed:
        raise _immutable(title, object_id)


def need_users(tx: transaction.Transaction, pool_id: str) -> None:
    """In the strict mode, a pool and what is below it change only while the listeners that use the pool are at rest.

    :raises Conflict: one is not.
    """
    settings = current.settings()
    waits_for = tx.listeners.user_not_in(pool_id, settings.mutable) if settings.is_strict else None
    if waits_for is not None:
        raise _immutable("Listener", waits_for)


def _immutable(title: str, object_id: str) -> exceptions.Conflict:
    return exceptions.Conflict(f"{title} {object_id} is immutable and cannot be updated.")


def post(tx: transaction.Transaction, job: jobs.Job) -> None:
    """Leave a job for the workers, which exists only if the transaction commits.

    What changes the life of a load balancer or its amphorae is also an event: who asks later what happened finds the request. Changes
    below it, of which there may be thousands a day, are not.
    """
    request_id = current.context().request_id
    tx.jobs.post(job, request_id=request_id)
    if isinstance(job, jobs.UpdateLoadBalancer):
        return
    of = ("amphora", job.amphora_id) if isinstance(job, jobs.FailoverAmphora) else ("load_balancer", job.load_balancer_id)
    words = f"it was asked to {job.kind.replace('-', ' ')}"
    tx.faults.add_event(job.load_balancer_id, *of, model.Fault(code="requested", message=words, step=job.kind, request_id=request_id))


def new_row(project_id: str, load_balancer_id: str, generation: int) -> dict[str, Any]:
    """The columns of a new object below a load balancer that no client gives."""
    return {**new_load_balancer_row(project_id, generation), "load_balancer_id": load_balancer_id}


def new_load_balancer_row(project_id: str, generation: int) -> dict[str, Any]:
    """The columns of a new object that no client gives."""
    return {
        "id": str(uuid.uuid4()),
        "project_id": project_id,
        "provisioning_status": ProvisioningStatus.PENDING_CREATE,
        "operating_status": OperatingStatus.OFFLINE,
        "generation": generation,
        "created_at": base.now(),
    }
