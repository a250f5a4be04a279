"""What happens, in order, when anything below a load balancer was created, changed or deleted."""

from __future__ import annotations

from controller import jobs
from controller.flows import haproxy_config, one_pass
from controller.services import Services
from controller.tasks import passes, status


def update(services: Services, job: jobs.UpdateLoadBalancer, look: passes.Look | None = None) -> one_pass.OnePass:
    """Bring the amphorae that serve to the newest generation.

    If one of them does not answer, the load balancer is in ERROR with that reason although the other half serves the new state: ACTIVE
    would say that both do. It is tried again with back-off; and if the amphora stays silent, its failover ends with the same push.
    """
    del job  # one shape for all
    seen = passes.Pass(services.snapshots, look)
    flow = one_pass.OnePass("update-load-balancer")
    flow.add(
        status.FaultOnRevert(services, seen),  # first in, so last reverted
        haproxy_config.apply(services, only_if_changed=True, seen=seen),
        status.Settle(services, seen),  # all stamped <= this generation: ACTIVE, or gone
    )
    return flow
