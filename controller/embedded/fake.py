"""A network service in this process's memory: it keeps its promises at once, and can be told to fail."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Sequence
from typing import ClassVar

from oslo_config import cfg

from controller import exceptions
from controller.drivers import script
from controller.drivers.network import interface
from controller.embedded import effects, inventory, local, tenant_groups, tenant_routers
from controller.model.network import Port, QosPolicy

MANAGEMENT_NETWORK = "management"
TENANT_NETWORK = "private"
TENANT_SUBNET = "private-subnet"
PUBLIC_NETWORK = "public"


class Cloud:
    """What the drivers of one fake cloud share."""

    def __init__(self) -> None:
        self.script = script.Script()
        self.inventory = inventory.Inventory(":memory:", None)
        self.qos_policies: dict[str, QosPolicy] | None = None
        self.qos_of_ports: dict[str, str] = {}
        with self.inventory.change() as contents:
            contents.add_network(MANAGEMENT_NETWORK, "br-mgmt", hidden=True)
            contents.add_subnet(MANAGEMENT_NETWORK, "management-subnet", "10.0.0.0/8")
            contents.add_network(TENANT_NETWORK, "br-private")
            contents.add_subnet(TENANT_NETWORK, TENANT_SUBNET, "172.16.0.0/12", "172.31.255.254")
            contents.add_network(PUBLIC_NETWORK, "br-public", external=True)
            contents.add_subnet(PUBLIC_NETWORK, "public-subnet", "203.0.113.0/24")
            self._add_router(contents)

    def _add_router(self, contents: inventory.Contents) -> None:
        public = {"network_id": inventory.network_id(PUBLIC_NETWORK)}
        nothing = effects.Effects()
        made = tenant_routers.create(nothing, contents, {"name": "router1", "project_id": None, "external_gateway_info": public})
        tenant_routers.add_interface(nothing, contents, made, inventory.subnet_id(TENANT_NETWORK, TENANT_SUBNET), None)


@script.scripted(interface.NetworkDriver)
class FakeNetwork(local.LocalNetwork):
    """Drivers of the same `cloud` see the same ports, whichever process's part (API, worker) they stand in for."""

    _clouds: ClassVar[dict[str, Cloud]] = {}
    _lock = threading.Lock()

    def __init__(self, cloud: str = "default") -> None:
        with self._lock:
            shared = self._clouds.get(cloud) or self._clouds.setdefault(cloud, Cloud())
        self.script = shared.script
        self._cloud = shared
        super().__init__(shared.inventory, inventory.network_id(MANAGEMENT_NETWORK))

    @classmethod
    def from_conf(cls, conf: cfg.ConfigOpts) -> FakeNetwork:
        """The cloud `default`."""
        del conf
        return cls()

    @classmethod
    def forget(cls, cloud: str = "default") -> None:
        """The next driver of this cloud finds it empty."""
        with cls._lock:
            cls._clouds.pop(cloud, None)

    @property
    def network_id(self) -> str:
        """The tenant network, `private`."""
        return inventory.network_id(TENANT_NETWORK)

    @property
    def subnet_id(self) -> str:
        """The subnet of `private`."""
        return inventory.subnet_id(TENANT_NETWORK, TENANT_SUBNET)

    def create_network(self, name: str) -> str:
        """Make another network, and return its id; there already is fine."""
        with self._inventory.change() as contents:
            return contents.add_network(name, f"br-{name}"[:15])

    def create_subnet(self, network_name: str, name: str, cidr: str) -> str:
        """Make another subnet, and return its id; there already is fine."""
        with self._inventory.change() as contents:
            return contents.add_subnet(network_name, name, cidr)

    def groups_of(self, port_id: str) -> list[str]:
        """The security groups of a port."""
        with self._inventory.read() as contents:
            return contents.groups_of(port_id)

    def create_port_with(self, name: str, network_id: str, addresses: Sequence[tuple[str, str | None]]) -> Port:
        """Make a port with several addresses, each of a subnet."""
        with self._inventory.change() as contents:
            return contents.add_port(name, network_id, addresses)

    def give(self, network_id: str, project_id: str) -> None:
        """Let a network, with its subnets and ports, belong to a project alone."""
        with self._inventory.change() as contents:
            contents.db.execute("UPDATE networks SET project_id = ?, shared = 0 WHERE id = ?", (project_id, network_id))
            contents.db.execute("UPDATE subnets SET project_id = ? WHERE network_id = ?", (project_id, network_id))
            contents.db.execute("UPDATE ports SET project_id = ? WHERE network_id = ?", (project_id, network_id))

    def create_security_group(self, name: str, project_id: str) -> str:
        """Make a security group, and return its id."""
        with self._inventory.change() as contents:
            return tenant_groups.create(self, contents, {"name": name, "project_id": project_id})

    def create_qos_policy(self, policy: QosPolicy) -> None:
        """Make a policy; from the first one on, the service knows policies at all."""
        self._cloud.qos_policies = {**(self._cloud.qos_policies or {}), policy.id: policy}

    def limit_port(self, port_id: str, policy: QosPolicy) -> None:
        """Make a policy, and put it on a port."""
        self.create_qos_policy(policy)
        self._cloud.qos_of_ports[port_id] = policy.id

    def get_port(self, port_id: str) -> Port:
        return dataclasses.replace(super().get_port(port_id), qos_policy_id=self._cloud.qos_of_ports.get(port_id))

    def has_qos(self) -> bool:
        return self._cloud.qos_policies is not None

    def get_qos_policy(self, policy_id: str) -> QosPolicy:
        found = (self._cloud.qos_policies or {}).get(policy_id)
        if found is None:
            raise exceptions.NotFound("QoS Policy", policy_id)
        return found
