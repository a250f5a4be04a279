"""Which flow does a job, and whether it is still to be done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from taskflow.patterns import linear_flow

from controller import jobs
from controller.db import database
from controller.flows import create, delete, failover, maintain, update
from controller.jobs import owed
from controller.model import load_balancer as model
from controller.model import status
from controller.services import Services
from controller.tasks import passes

_FLOWS: dict[type[jobs.Job], Callable[[Services, Any], linear_flow.Flow]] = {
    jobs.CreateLoadBalancer: create.create,
    jobs.DeleteLoadBalancer: delete.delete,
    jobs.FailoverAmphora: failover.failover_amphora,
    jobs.FailoverLoadBalancer: failover.failover_load_balancer,
    jobs.ConfigureAmphora: maintain.configure_amphora,
    jobs.RenewCertificate: maintain.renew_certificate,
}


_OUTLINED = (jobs.DeleteLoadBalancer, jobs.ConfigureAmphora, jobs.RenewCertificate)
"""Jobs for which nobody need know what is below the load balancer."""


def look(services: Services, tx: database.Transaction, job: jobs.Job) -> passes.Look:
    """The load balancer of a job, as far as whatever will be done in its place has to know it.

    :raises NotFound: there is no such load balancer any more.
    """
    if isinstance(job, _OUTLINED):
        return passes.Look(tx.snapshots.outline(job.load_balancer_id), is_whole=False)
    return passes.Look(services.snapshots.read(tx, job.load_balancer_id), is_whole=True)


def build(services: Services, job: jobs.Job, seen: passes.Look | None = None) -> linear_flow.Flow:
    """The flow of a job. Its shape follows from the job alone: resumed, it comes out the same. What was `seen` may save it a look.

    :raises KeyError: no flow is known for this kind of job.
    """
    if isinstance(job, (jobs.UpdateLoadBalancer, jobs.RepairLoadBalancer)):
        return update.update(services, job, seen)
    return _FLOWS[type(job)](services, job)


def admit(snapshot: model.Snapshot, job: jobs.Job) -> jobs.Job | None:
    """What really is to be done, now that the load balancer's lease is held; None if nothing is.

    A failover stands as it was posted as long as there is something to replace; with anything else the rows decide. An amphora that was
    found dead and counts no more is simply missing, so its failover is the creation of what is missing. A repair is done although the
    rows look settled, unless more is owed than that. What an amphora is to be told of its own configuration is told it as long as it has
    not been given up, and one that serves gets a new certificate.
    """
    if snapshot.load_balancer.provisioning_status not in status.IN_DELETION:
        match job:
            case jobs.FailoverAmphora() if _may_replace(snapshot, {job.amphora_id}, {job.role}):
                return job
            case jobs.FailoverLoadBalancer() if _may_replace(snapshot, _meant(snapshot, job), set(job.topology.roles)):
                return job
            case jobs.RepairLoadBalancer() if owed.is_complete(snapshot) and not owed.discarded(snapshot):
                return job
            case jobs.ConfigureAmphora():
                live = [one.id for one in snapshot.amphorae if one.status not in status.DISCARDED]
                return job if job.amphora_id in live else None
            case jobs.RenewCertificate():
                return job if job.amphora_id in {one.id for one in owed.serving(snapshot)} else None
    return owed.outstanding(snapshot)


def _meant(snapshot: model.Snapshot, job: jobs.FailoverLoadBalancer) -> set[str]:
    """The amphorae that a failover is to replace: two that were asked for at once mean the same ones."""
    return set(job.amphora_ids) or {one.id for one in owed.serving(snapshot)} - set(job.replacement_ids)


def _may_replace(snapshot: model.Snapshot, amphora_ids: set[str], roles: set[status.Role]) -> bool:
    """Whether one of these amphorae serves in one of these roles, and so has something to hand over."""
    return any(one.id in amphora_ids and one.role in roles for one in owed.serving(snapshot))
