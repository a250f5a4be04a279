"""Sub-flow that the others share: what is wanted reaches the amphorae."""

from __future__ import annotations

from collections.abc import Sequence

from taskflow.patterns import linear_flow

from controller.services import Services
from controller.tasks import network, passes, push, tenant_certificates


def plug(
    services: Services, joining: Sequence[str] = (), only_if_changed: bool = False, seen: passes.Pass | None = None
) -> linear_flow.Flow:
    """Prepare the networks for the newest generation: what may reach the VIP, and the ports towards members."""
    snapshots = seen or services.snapshots
    return linear_flow.Flow("plug").add(
        network.OpenListenerPorts(services, snapshots, only_if_changed),
        network.PlugMemberNetworks(services, snapshots, joining, only_if_changed),
    )


def apply(
    services: Services, joining: Sequence[str] = (), only_if_changed: bool = False, seen: passes.Pass | None = None
) -> linear_flow.Flow:
    """Bring the amphorae that serve, and those that join them, to the newest generation; if a pass is given, by what it has seen.

    Those that join were told of nothing that a member might ask for no more, so only a member that went is a reason to look for that.
    """
    return linear_flow.Flow("apply").add(
        plug(services, joining, only_if_changed, seen),
        push.Push(services, seen or services.snapshots, sender(services, asks_anew=not only_if_changed), joining),
        release(services, only_if_changed or bool(joining), seen),
    )


def release(services: Services, only_if_changed: bool = False, seen: passes.Pass | None = None) -> network.ReleaseMemberNetworks:
    """Take back what no member asks for any more, after the amphorae have let go of it."""
    return network.ReleaseMemberNetworks(services, seen or services.snapshots, only_if_changed)


def sender(services: Services, *, reads_anew: bool = True, asks_anew: bool = True) -> push.Sender:
    """Renders and sends; `reads_anew`: of the secret store, too, what was asked for again (`tenant_certificates.Keeper`); `asks_anew`: of
    the network service, too, what is written down.
    """
    return push.Sender(
        amphora=services.amphora,
        fence=services.fence,
        network=services.network,
        known=services.networks,
        settings=services.settings.render,
        certificates=tenant_certificates.Keeper(services.db, lambda: services.secrets, lambda: services.cipher, reads_anew=reads_anew),
        side_by_side=services.pushers,
        waiting=services.waiting,
        asks_anew=asks_anew,
    )
