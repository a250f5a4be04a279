"""Sub-flow that the others share: what is wanted reaches the amphorae."""

from __future__ import annotations

from collections.abc import Sequence

from taskflow.patterns import linear_flow

from controller.services import Services
from controller.tasks import network, push


def plug(services: Services, joining: Sequence[str] = (), only_if_changed: bool = False) -> linear_flow.Flow:
    """Prepare the networks for the newest generation: what may reach the VIP, and the ports towards members."""
    return linear_flow.Flow("plug").add(
        network.OpenListenerPorts(services.snapshots, services.network, services.settings.render.peer_port, only_if_changed),
        network.PlugMemberNetworks(services.snapshots, services.network, services.networks, services.compute, joining),
    )


def apply(services: Services, joining: Sequence[str] = (), only_if_changed: bool = False) -> linear_flow.Flow:
    """Bring the amphorae that serve, and those that join them, to the newest generation."""
    return linear_flow.Flow("apply").add(
        plug(services, joining, only_if_changed),
        push.Push(services.db, services.snapshots, sender(services), joining),
    )


def sender(services: Services) -> push.Sender:
    """Renders and sends."""
    return push.Sender(
        amphora=services.amphora,
        network=services.network,
        known=services.networks,
        settings=services.settings.render,
        side_by_side=services.pushers,
    )
