"""What happens, in order, when a load balancer is deleted. Nothing here speaks to an agent, so a dead one delays nothing."""

from __future__ import annotations

from taskflow.patterns import linear_flow

from controller import jobs
from controller.services import Services
from controller.tasks import amphora as amphora_tasks
from controller.tasks import compute, network, status


def delete(services: Services, job: jobs.DeleteLoadBalancer) -> linear_flow.Flow:
    """Delete the machines with their ports, what kept them apart, the VIP, and everything below the load balancer."""
    del job  # one shape for all
    return linear_flow.Flow("delete-load-balancer").add(
        status.FaultOnRevert(services),  # first in, so last reverted
        amphora_tasks.DeleteAmphorae(services),
        compute.DeleteServerGroup(services),
        network.DeleteVip(services),
        status.RemoveRows(services),
    )
