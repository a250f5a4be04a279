"""Objects of the network service that a body names: they must exist, and the caller must be allowed to see them.

A caller sees what belongs to their project, or is shared with everybody or with them; an administrator sees everything. What they do
not see does not exist for them, in the same words. `[networking] allow_invisible_resource_usage` lets everybody name everything.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

from controller import exceptions
from controller.changes.asking import Asking
from controller.model.network import Network, Port, QosPolicy, SecurityGroup, Subnet


def network(asking: Asking, network_id: str) -> Network:
    """:raises NotFound: there is none, or the caller does not see it."""
    found = asking.network.get_network(network_id)
    visible = found.shared or _belongs(asking, found.project_id) or _is_shared(asking, "network", network_id)
    _see(asking, visible or _is_shared(asking, "external_network", network_id), "Network", network_id)
    return found


def subnet(asking: Asking, subnet_id: str) -> Subnet:
    """:raises NotFound: there is none, or the caller does not see it."""
    found = asking.network.get_subnet(subnet_id)
    _see(asking, _belongs(asking, found.project_id) or _network_is_shared(asking, found.network_id), "Subnet", subnet_id)
    return found


def subnets(asking: Asking, subnet_ids: Iterable[str | None]) -> None:
    """Look at several, each once; members stand on them.

    :raises NotFound: there is one that is none, or that the caller does not see.
    """
    for subnet_id in dict.fromkeys(subnet_ids):
        if subnet_id is not None:
            subnet(asking, subnet_id)


def port(asking: Asking, port_id: str) -> Port:
    """:raises NotFound: there is none, or the caller does not see it."""
    found = asking.network.get_port(port_id)
    _see(asking, _belongs(asking, found.project_id), "Port", port_id)
    return found


def qos_policy(asking: Asking, policy_id: str) -> QosPolicy:
    """:raises NotFound: there is none, or the caller does not see it."""
    found = asking.network.get_qos_policy(policy_id)
    visible = found.shared or _belongs(asking, found.project_id) or _is_shared(asking, "qos_policy", policy_id)
    _see(asking, visible, "QoS Policy", policy_id)
    return found


def security_group(asking: Asking, group_id: str) -> SecurityGroup:
    """:raises NotFound: there is none, or the caller does not see it."""
    try:
        found = asking.network.get_security_group(group_id)
    except exceptions.NotFound as error:
        raise exceptions.NotFound("Security Group", group_id) from error
    _see(asking, _belongs(asking, found.project_id) or _is_shared(asking, "security_group", group_id), "Security Group", group_id)
    return found


@contextlib.contextmanager
def in_a_body() -> Iterator[None]:
    """What a body names and nobody knows makes the body wrong.

    :raises InvalidRequest: in the words of what was not found.
    """
    try:
        yield
    except exceptions.NotFound as error:
        raise exceptions.UnknownReference(error) from error


def _sees_everything(asking: Asking) -> bool:
    return asking.caller.is_admin or asking.settings.allow_invisible


def _belongs(asking: Asking, project_id: str | None) -> bool:
    """Whether it is the caller's; what belongs to nobody is everybody's."""
    return _sees_everything(asking) or project_id is None or project_id == asking.caller.project_id


def _network_is_shared(asking: Asking, network_id: str) -> bool:
    found = asking.network.get_network(network_id)
    return found.shared or found.project_id == asking.caller.project_id or _is_shared(asking, "network", network_id)


def _is_shared(asking: Asking, kind: str, object_id: str) -> bool:
    """With the caller's project alone."""
    project_id = asking.caller.project_id
    return project_id is not None and asking.network.is_shared_with(kind, object_id, project_id)


def _see(asking: Asking, visible: bool, kind: str, object_id: str) -> None:
    if not visible and not _sees_everything(asking):
        raise exceptions.NotFound(kind, object_id)
