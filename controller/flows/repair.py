"""What happens, in order, when something outside is not as it was left: the same as for a change, and nothing is taken for granted."""

from __future__ import annotations

from taskflow.patterns import linear_flow

from controller import jobs
from controller.flows import haproxy_config
from controller.services import Services
from controller.tasks import status


def repair(services: Services, job: jobs.RepairLoadBalancer) -> linear_flow.Flow:
    """Write the newest generation to the network and to every amphora that serves, whatever was confirmed before."""
    del job  # one shape for all
    return linear_flow.Flow("repair-load-balancer").add(
        status.FaultOnRevert(services.db),  # first in, so last reverted
        haproxy_config.apply(services),
        status.Settle(services.db),
    )
