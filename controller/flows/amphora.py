"""Sub-flows that the others share: amphorae are obtained, and replaced."""

from __future__ import annotations

from taskflow.patterns import linear_flow, unordered_flow

from controller.flows import haproxy_config
from controller.model import status
from controller.services import Services
from controller.tasks import amphora, compute, dismantling, network, push


def obtain(services: Services, coming: amphora.Coming) -> linear_flow.Flow:
    """Have these amphorae up and heard; those that serve already are left as they are. They boot side by side; one step waits for all."""
    paired = any(role is not status.Role.STANDALONE for _, role in coming)
    return linear_flow.Flow("obtain").add(
        amphora.RecordAmphorae(services.db, dismantler(services), coming),
        *([compute.EnsureServerGroup(services.compute, services.fence)] * paired),
        unordered_flow.Flow("boot").add(*(_boot(services, amphora_id, role) for amphora_id, role in coming)),
        amphora.AwaitFirstHeartbeats(services.db, services.machines, coming, patience=services.settings.boot_timeout),
    )


def _boot(services: Services, amphora_id: str, role: status.Role) -> linear_flow.Flow:
    mine = {"amphora_id": amphora_id}
    return linear_flow.Flow(f"boot {role}").add(
        network.PlugPorts(services.db, services.network, services.fence, of=role, inject=mine),
        compute.Boot(
            services.db,
            services.compute,
            services.network,
            services.networks,
            services.ca,
            boot_settings(services),
            services.fence,
            of=role,
            inject=mine,
        ),
    )


def take_role_over(services: Services, role: status.Role, successor_id: str) -> linear_flow.Flow:
    """Let an amphora that was obtained take a role over, and delete the one that had it.

    Alone, the successor is proven first, and takes the VIP last: what clients notice lies between the predecessor's letting go and the
    push right after it. In a pair, VRRP moves the VIP, and the other half learns its new partner.
    """
    steps = [
        push.Push(services.db, services.snapshots, haproxy_config.sender(services), (successor_id,), of=role),
        amphora.DeletePredecessors(services.db, services.amphora, dismantler(services), services.fence, role, successor_id, of=role),
    ]
    if role is status.Role.STANDALONE:
        sender = haproxy_config.sender(services)
        steps = [
            push.PrepareSuccessor(services.snapshots, sender, successor_id, of=role),
            push.ReleaseVip(services.db, services.snapshots, sender, services.compute, role, successor_id, of=role),
            *steps,
        ]
    return linear_flow.Flow(f"succeed {role}").add(*steps)


def dismantler(services: Services) -> dismantling.Dismantler:
    """Takes amphorae apart."""
    return dismantling.Dismantler(services.db, services.compute, services.network, services.fence)


def boot_settings(services: Services) -> compute.BootSettings:
    """What every amphora is booted with."""
    settings = services.settings
    return compute.BootSettings(
        deployment_key=settings.deployment_key,
        health_managers=settings.health_managers,
        heartbeat_interval=settings.heartbeat_interval,
        full_report_interval=settings.full_report_interval,
        counters_interval=settings.counters_interval,
        agent_port=settings.agent_port,
        haproxy_command=settings.haproxy_command,
        keepalived_command=settings.keepalived_command,
        image_tag=settings.image_tag,
        flavor=settings.compute_flavor,
        ssh=settings.ssh,
        cert_renew_after=settings.cert_renew_after,
        limits=settings.limits,
    )
