"""How a change is accepted: one transaction raises the generation, writes the rows and posts the job; then workers are rung for."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from typing import Any

from controller import jobs
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


def accept(tx: transaction.Transaction, load_balancer_id: str) -> int:
    """Take the row lock of a load balancer whose children change, and owe an update; returns the new generation.

    :raises NotFound: no such load balancer.
    :raises Immutable: it takes no changes now.
    """
    generation = tx.load_balancers.advance(load_balancer_id, current.settings().mutable)
    post(tx, jobs.UpdateLoadBalancer(load_balancer_id=load_balancer_id))
    return generation


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
