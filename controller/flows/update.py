"""What happens, in order, when anything below a load balancer was created, changed or deleted."""

from __future__ import annotations

from taskflow.patterns import linear_flow

from controller import jobs
from controller.flows import haproxy_config
from controller.services import Services
from controller.tasks import status


def update(services: Services, job: jobs.UpdateLoadBalancer) -> linear_flow.Flow:
    """Bring the amphorae that serve to the newest generation.

    If one of them does not answer, the load balancer is in ERROR with that reason although the other half serves the new state: ACTIVE
    would say that both do. It is tried again with back-off; and if the amphora stays silent, its failover ends with the same push.
    """
    del job  # one shape for all
    return linear_flow.Flow("update-load-balancer").add(
        status.FaultOnRevert(services.db),  # first in, so last reverted
        haproxy_config.apply(services, only_if_changed=True),
        status.Settle(services.db),  # all stamped <= this generation: ACTIVE, or gone
    )
