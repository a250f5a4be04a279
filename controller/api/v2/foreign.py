"""What routes that are not yet in `changes` take of it."""

from __future__ import annotations

from collections.abc import Iterable

from controller.api import current
from controller.changes import visibility
from controller.changes.visibility import in_a_body
from controller.model.network import Network, Port, QosPolicy, SecurityGroup, Subnet

__all__ = ["in_a_body", "network", "port", "qos_policy", "security_group", "subnet", "subnets"]


def network(network_id: str) -> Network:
    return visibility.network(current.asking(), network_id)


def subnet(subnet_id: str) -> Subnet:
    return visibility.subnet(current.asking(), subnet_id)


def subnets(subnet_ids: Iterable[str | None]) -> None:
    visibility.subnets(current.asking(), subnet_ids)


def port(port_id: str) -> Port:
    return visibility.port(current.asking(), port_id)


def qos_policy(policy_id: str) -> QosPolicy:
    return visibility.qos_policy(current.asking(), policy_id)


def security_group(group_id: str) -> SecurityGroup:
    return visibility.security_group(current.asking(), group_id)
