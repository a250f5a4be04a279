"""What happens, in order, when a load balancer is built; also when an amphora of one is missing, which then is built anew."""

from __future__ import annotations

from taskflow.patterns import linear_flow

from controller import jobs
from controller.flows import amphora, haproxy_config
from controller.services import Services
from controller.tasks import amphora as amphora_tasks
from controller.tasks import status


def create(services: Services, job: jobs.CreateLoadBalancer) -> linear_flow.Flow:
    """Boot what is missing, clear away what is left of earlier tries, bring all amphorae to the newest generation."""
    coming = tuple(zip(job.amphora_ids, job.topology.roles, strict=True))
    return linear_flow.Flow("create-load-balancer").add(
        status.FaultOnRevert(services),  # first in, so last reverted
        amphora.obtain(services, coming),
        amphora_tasks.DeleteDiscarded(services),  # not before its successor is up
        haproxy_config.apply(services, joining=job.amphora_ids),
        status.Settle(services),
    )
