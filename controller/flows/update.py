"""What happens, in order, when anything below a load balancer was created, changed or deleted, or is outside not as it was left."""

from __future__ import annotations

from taskflow.patterns import linear_flow

from controller import jobs
from controller.flows import haproxy_config
from controller.services import Services
from controller.tasks import network, passes, status


class OnePass(linear_flow.Flow):
    """A flow of which no record is kept: each of its steps is cheaper to do again than to write down.

    Whoever goes on with it begins at its first step, with what the rows say then.
    """

    recorded = False


def update(services: Services, job: jobs.UpdateLoadBalancer | jobs.RepairLoadBalancer, look: passes.Look | None = None) -> OnePass:
    """Bring the amphorae that serve to the newest generation; a repair takes nothing for granted, whatever was confirmed before.

    If one of them does not answer, the load balancer is in ERROR with that reason although the other half serves the new state: ACTIVE
    would say that both do. It is tried again with back-off; and if the amphora stays silent, its failover ends with the same push.
    """
    seen = passes.Pass(services.snapshots, look)
    flow = OnePass(job.kind)
    flow.add(status.FaultOnRevert(services, seen))  # first in, so last reverted
    if isinstance(job, jobs.RepairLoadBalancer):
        flow.add(network.MendOutside(services, seen))
    flow.add(
        haproxy_config.apply(services, only_if_changed=isinstance(job, jobs.UpdateLoadBalancer), seen=seen),
        status.Settle(services, seen),  # all stamped <= this generation: ACTIVE, or gone
    )
    return flow
