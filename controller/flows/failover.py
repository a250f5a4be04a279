"""What happens, in order, when amphorae are replaced: the successor is up and proven before its predecessor goes."""

from __future__ import annotations

from taskflow.patterns import linear_flow

from controller import jobs
from controller.flows import amphora, haproxy_config
from controller.services import Services
from controller.tasks import amphora as amphora_tasks
from controller.tasks import network, status


def failover_amphora(services: Services, job: jobs.FailoverAmphora) -> linear_flow.Flow:
    """Replace one amphora, because it is dead or because somebody wants it."""
    return _replace(services, job.kind, ((job.replacement_id, job.role),))


def failover_load_balancer(services: Services, job: jobs.FailoverLoadBalancer) -> linear_flow.Flow:
    """Replace every amphora: all successors boot side by side; then the backup goes first, the master last."""
    return _replace(services, job.kind, tuple(zip(job.replacement_ids, job.topology.roles, strict=True)))


def _replace(services: Services, name: str, coming: amphora_tasks.Coming) -> linear_flow.Flow:
    successors = [amphora_id for amphora_id, _ in coming]
    return linear_flow.Flow(name).add(
        status.FaultOnRevert(services),  # first in, so last reverted
        amphora_tasks.JudgeAmphorae(services),
        amphora.obtain(services, coming),
        haproxy_config.plug(services, joining=successors),
        *(amphora.take_role_over(services, role, amphora_id) for amphora_id, role in reversed(coming)),
        network.CloseToPredecessors(services),
        haproxy_config.release(services, only_if_changed=True),
        status.Settle(services, reads_anew=False),
    )
