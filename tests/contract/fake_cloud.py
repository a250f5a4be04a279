"""The fakes, as a cloud."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from controller.drivers.compute import fake as compute
from controller.model.network import AccessRule, Port, QosPolicy
from tests import builders
from tests import fake_network as network
from tests.contract import cloud


class FakeCloud(cloud.Cloud):
    """In this process's memory."""

    project_id = builders.PROJECT
    flavor, image_tag, zone = "small", "amphora", "nova"

    def __init__(self) -> None:
        self._name = f"contract-{uuid.uuid4()}"
        self.compute: compute.FakeCompute = compute.FakeCompute(self._name)
        self.network: network.FakeNetwork = network.FakeNetwork(self._name)
        self.create_qos_policy()  # so that the service knows policies

    def create_network(self, mtu: int = 1500, *, secured: bool = True) -> str:
        made = self.network.create_network(f"n-{uuid.uuid4()}")
        self.network.change_network(made, mtu=mtu, project_id=self.project_id, port_security_enabled=secured)
        return made

    def create_subnet(self, network_id: str, cidr: str) -> str:
        return self.network.create_subnet(self.network.get_network(network_id).name, f"s-{cidr}", cidr)

    def create_port(
        self,
        network_id: str,
        *,
        security_groups: Sequence[str] = (),
        device_id: str = "",
        project_id: str | None = None,
        subnet_ids: Sequence[str] = (),
    ) -> Port:
        addresses = [(one, None) for one in subnet_ids or self.network.get_network(network_id).subnet_ids[:1]]
        of_tenant = {"device_id": device_id, "project_id": project_id or self.project_id}
        made = self.network.create_port_with("tenant", network_id, addresses, **of_tenant)
        self.network.set_groups_of(made.id, security_groups)
        return made

    def delete_port(self, port_id: str) -> None:
        self.network.delete_port(port_id)

    def move_port(self, port_id: str, address: str) -> None:
        self.network.move_port(port_id, address)

    def take_address(self, port_id: str, address: str) -> None:
        self.network.take_address(port_id, address)

    def share(self, kind: str, object_id: str, project_id: str) -> None:
        self.network.share(kind, object_id, project_id)

    def create_security_group(self, name: str) -> str:
        return self.network.create_security_group(name, self.project_id)

    def groups_of(self, port_id: str) -> set[str]:
        return set(self.network.groups_of(port_id))

    def set_groups_of(self, port_id: str, group_ids: Sequence[str]) -> None:
        self.network.set_groups_of(port_id, group_ids)

    def create_qos_policy(self) -> str:
        made = QosPolicy(str(uuid.uuid4()), "slow", self.project_id)
        self.network.create_qos_policy(made)
        return made.id

    def set_qos_of(self, port_id: str, policy_id: str | None) -> None:
        self.network.limit_port(port_id, policy_id)

    def admit(self, load_balancer_id: str, rule: AccessRule) -> None:
        self.network.change_access(load_balancer_id, {*self.network.vip_access(load_balancer_id), rule})

    def refuse(self, load_balancer_id: str, rule: AccessRule) -> None:
        self.network.change_access(load_balancer_id, self.network.vip_access(load_balancer_id) - {rule})

    def stop_machine(self, amphora_id: str) -> None:
        self.compute.kill(amphora_id)

    def delete_machine(self, amphora_id: str) -> None:
        compute.FakeCompute(self._name).delete(amphora_id)

    def close(self) -> None:
        compute.FakeCompute.forget(self._name)
        network.FakeNetwork.forget(self._name)
