"""The network half of an OpenStack, as a cloud of the contracts: real or simulated, it is asked by the same calls."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any

from oslo_config import cfg

from controller.drivers.network import neutron
from controller.model import load_balancer as model
from controller.model.network import AccessRule, Port, VipRequest
from controller.model.order import Order
from controller.openstack import cloud as openstack
from tests.contract import cloud


class NotedNetwork(neutron.NeutronNetwork):
    """The driver; whose ports and groups it was asked to make is noted, so that all of them can be taken away."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.load_balancers: set[str] = set()
        self.amphorae: set[str] = set()

    def allocate_vip(self, load_balancer_id: str, project_id: str, request: VipRequest) -> model.Vip:
        self.load_balancers.add(load_balancer_id)
        return super().allocate_vip(load_balancer_id, project_id, request)

    def ensure_management_port(self, amphora_id: str, network_id: str | None = None, order: Order | None = None) -> Port:
        self.amphorae.add(amphora_id)
        return super().ensure_management_port(amphora_id, network_id, order)


class NetworkHalf(cloud.Cloud):
    """Networks, ports and groups, made as the tenant and deleted as an administrator."""

    keeps_orders = False
    ends_of_ipv6_subnets_are_addresses = True

    def __init__(self, conf: cfg.ConfigOpts, admin: openstack.Cloud, tenant: openstack.Cloud) -> None:
        self.admin, self.tenant = admin, tenant
        self.network: NotedNetwork = NotedNetwork.from_conf(conf)
        self.project_id = tenant.project_id
        self._made_networks: list[str] = []
        self._made_groups: list[str] = []
        self._made_policies: list[str] = []
        self._names: dict[str, str] = {}

    def create_network(self, mtu: int = 1500, *, secured: bool = True) -> str:
        wanted: dict[str, object] = {"name": "figlina-contract"} | ({} if secured else {"port_security_enabled": False})
        made = str(ask(self.tenant, "POST", "/networks", {"network": wanted})["network"]["id"])
        self._made_networks.append(made)
        if mtu != 1500:
            ask(self.admin, "PUT", f"/networks/{made}", {"network": {"mtu": mtu}})
        return made

    def create_subnet(self, network_id: str, cidr: str) -> str:
        """Its gateway has the first address; without a pool, Neutron gives out the last one of IPv6, too."""
        hosts = ipaddress.ip_network(cidr)
        body = {
            "network_id": network_id,
            "cidr": cidr,
            "ip_version": hosts.version,
            "enable_dhcp": False,
            "gateway_ip": str(hosts[1]),
            "allocation_pools": [{"start": str(hosts[2]), "end": str(hosts[-2])}],
        }
        return str(ask(self.tenant, "POST", "/subnets", {"subnet": body})["subnet"]["id"])

    def create_port(
        self,
        network_id: str,
        *,
        security_groups: Sequence[str] = (),
        device_id: str = "",
        project_id: str | None = None,
        subnet_ids: Sequence[str] = (),
    ) -> Port:
        chosen = subnet_ids or self.network.get_network(network_id).subnet_ids[:1]
        body = {
            "name": "tenant",
            "network_id": network_id,
            "fixed_ips": [{"subnet_id": one} for one in chosen],
            "security_groups": list(security_groups),
            "device_id": device_id,
        } | ({"project_id": project_id} if project_id else {})
        user = self.admin if project_id else self.tenant
        return self.network.get_port(ask(user, "POST", "/ports", {"port": body})["port"]["id"])

    def delete_port(self, port_id: str) -> None:
        ask(self.admin, "DELETE", f"/ports/{port_id}")

    def move_port(self, port_id: str, address: str) -> None:
        ask(self.admin, "PUT", f"/ports/{port_id}", {"port": {"fixed_ips": [{"ip_address": address}]}})

    def take_address(self, port_id: str, address: str) -> None:
        kept = [one for one in ask(self.admin, "GET", f"/ports/{port_id}")["port"]["fixed_ips"] if one["ip_address"] != address]
        ask(self.admin, "PUT", f"/ports/{port_id}", {"port": {"fixed_ips": kept}})

    def share(self, kind: str, object_id: str, project_id: str) -> None:
        rule = {"object_type": kind.removeprefix("external_"), "object_id": object_id, "target_tenant": project_id}
        action = "access_as_external" if kind.startswith("external_") else "access_as_shared"
        ask(self.admin, "POST", "/rbac-policies", {"rbac_policy": {**rule, "action": action}})

    def create_security_group(self, name: str) -> str:
        made = str(ask(self.tenant, "POST", "/security-groups", {"security_group": {"name": name}})["security_group"]["id"])
        self._made_groups.append(made)
        self._admit(self.tenant, made, AccessRule("tcp", 80))
        return made

    def groups_of(self, port_id: str) -> set[str]:
        """Without that of the halves of a pair, which no list of a VIP has: see `drivers/network/neutron_groups.py`."""
        groups = ask(self.admin, "GET", f"/ports/{port_id}")["port"]["security_groups"]
        return {group_id for group_id in groups if not self._name_of(group_id).endswith("-amphorae")}

    def _name_of(self, group_id: str) -> str:
        if group_id not in self._names:
            found = ask(self.admin, "GET", f"/security-groups/{group_id}")
            self._names[group_id] = found["security_group"]["name"]
        return self._names[group_id]

    def set_groups_of(self, port_id: str, group_ids: Sequence[str]) -> None:
        ask(self.tenant, "PUT", f"/ports/{port_id}", {"port": {"security_groups": list(group_ids)}})

    def create_qos_policy(self) -> str:
        policy = {"name": "figlina-contract", "project_id": self.project_id}
        made = str(ask(self.admin, "POST", "/qos/policies", {"policy": policy})["policy"]["id"])
        self._made_policies.append(made)
        return made

    def set_qos_of(self, port_id: str, policy_id: str | None) -> None:
        ask(self.admin, "PUT", f"/ports/{port_id}", {"port": {"qos_policy_id": policy_id}})

    def admit(self, load_balancer_id: str, rule: AccessRule) -> None:
        self._admit(self.admin, self._group(load_balancer_id, rule)["id"], rule)

    def _admit(self, user: openstack.Cloud, group_id: str, rule: AccessRule) -> None:
        ports = {"port_range_min": rule.port, "port_range_max": rule.port}
        body = {"security_group_id": group_id, "direction": "ingress", "protocol": rule.protocol, "remote_ip_prefix": rule.cidr, **ports}
        ask(user, "POST", "/security-group-rules", {"security_group_rule": {"ethertype": "IPv4", **body}})

    def refuse(self, load_balancer_id: str, rule: AccessRule) -> None:
        for one in self._group(load_balancer_id, rule)["security_group_rules"]:
            if (one["direction"], one["protocol"]) == ("ingress", rule.protocol):
                ask(self.admin, "DELETE", f"/security-group-rules/{one['id']}")

    def _group(self, load_balancer_id: str, rule: AccessRule) -> Any:
        name = f"lb-{load_balancer_id}" + "-amphorae" * rule.between_amphorae
        (found,) = ask(self.admin, "GET", f"/security-groups?name={name}")["security_groups"]
        return found

    def close(self) -> None:
        """Ports of ours and of everybody on the networks that the test made, then groups, then the networks."""
        for amphora_id in self.network.amphorae:
            self.network.delete_amphora_ports(amphora_id)
        for network_id in self._made_networks:
            for port in ask(self.admin, "GET", f"/ports?network_id={network_id}&fields=id")["ports"]:
                ask(self.admin, "DELETE", f"/ports/{port['id']}")
        for load_balancer_id in self.network.load_balancers:
            self.network.delete_vip_access(load_balancer_id)
        made_kinds = (("security-groups", self._made_groups), ("networks", self._made_networks), ("qos/policies", self._made_policies))
        for kind, made in made_kinds:
            for object_id in made:
                ask(self.admin, "DELETE", f"/{kind}/{object_id}")


def ask(user: openstack.Cloud, method: str, path: str, body: Any = None) -> Any:
    """One call as this user; what is gone already may be deleted again."""
    service = user.service("network")
    return service.delete(path) if method == "DELETE" else service.call(method, path, body)
