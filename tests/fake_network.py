"""The fake network, with what tenants and administrators do there beside the drivers."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Iterable, Sequence
from typing import Any

from controller.drivers.network import fake
from controller.model.network import AccessRule, Port, QosPolicy, SecurityGroup

MANAGEMENT_NETWORK = fake.MANAGEMENT_NETWORK
TENANT_NETWORK = fake.TENANT_NETWORK


class FakeNetwork(fake.FakeNetwork):
    """Sees what the drivers of the same cloud see."""

    @property
    def network_id(self) -> str:
        """The tenant network, `private`."""
        return fake.network_id(fake.TENANT_NETWORK)

    @property
    def subnet_id(self) -> str:
        """The subnet of `private`."""
        return fake.subnet_id(fake.TENANT_NETWORK, fake.TENANT_SUBNET)

    def create_network(self, name: str) -> str:
        """Make another network, and return its id; there already is fine."""
        return self._cloud.add_network(name)

    def create_subnet(self, network_name: str, name: str, cidr: str, gateway_ip: str | None = None) -> str:
        """Make another subnet, and return its id; there already is fine."""
        return self._cloud.add_subnet(network_name, name, cidr, gateway_ip)

    def change_network(self, network_id: str, **fields: Any) -> None:
        """As an administrator may who has the service's database."""
        self._cloud.networks[network_id] = dataclasses.replace(self._cloud.network(network_id), **fields)

    def change_subnet(self, subnet_id: str, **fields: Any) -> None:
        """As an administrator may who has the service's database."""
        self._cloud.subnets[subnet_id] = dataclasses.replace(self._cloud.subnet(subnet_id), **fields)

    def change_access(self, load_balancer_id: str, rules: Iterable[AccessRule]) -> None:
        """As an administrator may, by no driver's way."""
        self._cloud.access[load_balancer_id] = frozenset(rules)

    def create_port(self, name: str, network_id: str, subnet_id: str, address: str | None = None, **of_tenant: str) -> Port:
        """Make a port, of nobody yet or of a tenant's device."""
        return self.create_port_with(name, network_id, [(subnet_id, address)], **of_tenant)

    def create_port_with(self, name: str, network_id: str, addresses: Sequence[tuple[str, str | None]], **of_tenant: str) -> Port:
        """Make a port with several addresses, each of a subnet."""
        with self._cloud.lock:
            return self._cloud.add_port(name, network_id, addresses, **of_tenant).port

    def delete_port(self, port_id: str) -> None:
        """Delete a port, whoever needs it; gone already is fine."""
        with self._cloud.lock:
            self._cloud.delete(port_id)

    def move_port(self, port_id: str, address: str) -> None:
        """Give a port this address of its first subnet, and no other, whoever needs it."""
        with self._cloud.lock:
            plug = self._cloud.plug(port_id)
            taken = self._cloud.take(plug.port.fixed_ips[0].subnet_id, address)
            self._cloud.free(plug.port.fixed_ips)
            plug.port = dataclasses.replace(plug.port, fixed_ips=(taken,))

    def take_address(self, port_id: str, address: str) -> None:
        """Take this address from a port, whoever needs it."""
        with self._cloud.lock:
            plug = self._cloud.plug(port_id)
            kept = tuple(one for one in plug.port.fixed_ips if one.ip_address != address)
            self._cloud.free(set(plug.port.fixed_ips) - set(kept))
            plug.port = dataclasses.replace(plug.port, fixed_ips=kept)

    def secure_port(self, port_id: str, secured: bool) -> None:
        """Switch its port security on or off, whoever needs it."""
        with self._cloud.lock:
            plug = self._cloud.plug(port_id)
            plug.port = dataclasses.replace(plug.port, port_security_enabled=secured)

    def groups_of(self, port_id: str) -> list[str]:
        """The security groups of a port."""
        return sorted(self._cloud.plug(port_id).groups)

    def set_groups_of(self, port_id: str, group_ids: Sequence[str]) -> None:
        """Put exactly these on a port; those of a VIP port reach the ports that carry its address."""
        with self._cloud.lock:
            self._cloud.set_groups(self._cloud.plug(port_id), group_ids)

    def create_security_group(self, name: str, project_id: str) -> str:
        """Make a security group, and return its id."""
        made = str(uuid.uuid4())
        self._cloud.groups[made] = SecurityGroup(made, name, project_id)
        return made

    def create_qos_policy(self, policy: QosPolicy) -> None:
        """Make a policy; from the first one on, the service knows policies at all."""
        self._cloud.qos_policies = {**(self._cloud.qos_policies or {}), policy.id: policy}

    def limit_port(self, port_id: str, policy_id: str | None) -> None:
        """Put a policy on a port, or take it off."""
        plug = self._cloud.plug(port_id)
        plug.port = dataclasses.replace(plug.port, qos_policy_id=self._cloud.qos_policy(policy_id))

    def give(self, network_id: str, project_id: str) -> None:
        """Let a network, with its subnets and ports, belong to a project alone."""
        cloud = self._cloud
        self.change_network(network_id, project_id=project_id, shared=False)
        for one in cloud.network(network_id).subnet_ids:
            self.change_subnet(one, project_id=project_id)
        for plug in cloud.plugs.values():
            if plug.port.network_id == network_id:
                plug.port = dataclasses.replace(plug.port, project_id=project_id)

    def share(self, kind: str, object_id: str, project_id: str) -> None:
        """Let one project alone see this, see `NetworkDriver.is_shared_with`."""
        self._cloud.shared_with.add((kind, object_id, project_id))

    def books(self) -> dict[str, Any]:
        """All that there is, but for what only ever counts up, as values that can be compared."""
        cloud = self._cloud
        plugs = {port_id: dataclasses.astuple(plug) for port_id, plug in cloud.plugs.items()}
        return {"ports": plugs, "groups": dict(cloud.groups), "access": dict(cloud.access), "networks": dict(cloud.networks)}
