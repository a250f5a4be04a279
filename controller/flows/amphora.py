"""Sub-flows that the others share: amphorae are obtained, and replaced."""

from __future__ import annotations

from taskflow.patterns import linear_flow, unordered_flow

from controller.flows import haproxy_config
from controller.model import status
from controller.services import Services
from controller.tasks import amphora, compute, network, passes, push


def obtain(services: Services, coming: amphora.Coming) -> linear_flow.Flow:
    """Have these amphorae up and heard; those that serve already are left as they are. What they are booted with is made side by side, and
    so do they boot; one step waits for all.
    """
    paired = any(role is not status.Role.STANDALONE for _, role in coming)
    each = [(role, {"amphora_id": amphora_id}, passes.Ports()) for amphora_id, role in coming]
    return linear_flow.Flow("obtain").add(
        amphora.RecordAmphorae(services, coming),
        unordered_flow.Flow("prepare").add(
            *([compute.EnsureServerGroup(services)] * paired),
            *(network.PlugPorts(services, ports, of=role, inject=mine) for role, mine, ports in each),
        ),
        unordered_flow.Flow("boot").add(*(compute.Boot(services, ports, of=role, inject=mine) for role, mine, ports in each)),
        network.OpenWhileBooting(services),
        amphora.AwaitFirstHeartbeats(services, coming),
    )


def take_role_over(services: Services, role: status.Role, successor_id: str) -> linear_flow.Flow:
    """Let an amphora that was obtained take a role over, and delete the one that had it.

    The successor is proven first, without the VIP. Then its predecessor lets go, and only then anybody else is told of the successor.
    Alone, the successor takes the VIP last: what clients notice lies between the predecessor's letting go and the push right after it.
    In a pair, VRRP moves the VIP to the other half if the predecessor had it, and that half learns its new partner before this speaks.
    """
    sender = haproxy_config.sender(services, reads_anew=False)
    return linear_flow.Flow(f"take over {role}").add(
        push.PrepareSuccessor(services, sender, successor_id, of=role),
        push.ReleaseVip(services, sender, role, successor_id, of=role),
        push.Push(services, services.snapshots, sender, (successor_id,), prepared=True, of=role),
        amphora.DeletePredecessors(services, role, successor_id, of=role),
    )
