"""What happens, in order, when something outside is not as it was left: the same as for a change, and nothing is taken for granted."""

from __future__ import annotations

from controller import jobs
from controller.flows import haproxy_config, one_pass
from controller.services import Services
from controller.tasks import passes, status


def repair(services: Services, job: jobs.RepairLoadBalancer, look: passes.Look | None = None) -> one_pass.OnePass:
    """Write the newest generation to the network and to every amphora that serves, whatever was confirmed before."""
    del job  # one shape for all
    seen = passes.Pass(services.snapshots, look)
    flow = one_pass.OnePass("repair-load-balancer")
    flow.add(
        status.FaultOnRevert(services, seen),  # first in, so last reverted
        haproxy_config.apply(services, seen=seen),
        status.Settle(services, seen),
    )
    return flow
