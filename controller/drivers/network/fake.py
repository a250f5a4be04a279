"""A network service in this process's memory: it keeps its promises at once, and can be told to fail."""

from __future__ import annotations

import contextlib
import dataclasses
import ipaddress
import itertools
import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

from oslo_config import cfg

from controller import exceptions
from controller.drivers import script
from controller.drivers.network import interface, vips
from controller.model import load_balancer as model
from controller.model.network import NORMAL, AccessRule, FixedIp, Network, Port, QosPolicy, SecurityGroup, Subnet, VipRequest
from controller.model.order import Order

MANAGEMENT_NETWORK = "management"
TENANT_NETWORK = "private"
TENANT_SUBNET = "private-subnet"
SERVICE_PROJECT = "service"
_NAMESPACE = uuid.UUID("6f2b8c54-9a0e-4f3a-8f0e-0c5d3c1a7f11")
_VIP, _VRRP, _MEMBER, _MANAGEMENT = "vip", "vrrp", "member", "management"


def network_id(name: str) -> str:
    """The id of a network follows from its name, the same in every fake cloud."""
    return str(uuid.uuid5(_NAMESPACE, f"network/{name}"))


def subnet_id(network_name: str, name: str) -> str:
    """The id of a subnet follows from its network's name and its own."""
    return str(uuid.uuid5(_NAMESPACE, f"subnet/{network_name}/{name}"))


def _group_id(load_balancer_id: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, load_balancer_id))


@dataclasses.dataclass
class _Plug:
    """A port, with what only the service knows of it: what it is for, which load balancer it serves, its security groups."""

    port: Port
    kind: str = ""
    load_balancer_id: str | None = None
    groups: frozenset[str] = frozenset()


class Cloud:
    """What the drivers of one fake cloud share."""

    def __init__(self) -> None:
        self.script = script.Script()
        self.lock = threading.RLock()
        self.networks: dict[str, Network] = {}
        self.subnets: dict[str, Subnet] = {}
        self.plugs: dict[str, _Plug] = {}
        self.used: dict[str, set[str]] = {}  # addresses, by subnet
        self.last: dict[str, int] = {}  # the place of the address that a subnet gave out last
        self.macs = itertools.count(1)
        self.groups: dict[str, SecurityGroup] = {}
        self.access: dict[str, frozenset[AccessRule]] = {}  # by load balancer
        self.orders: dict[str, int] = {}
        self.floating: dict[str, frozenset[str]] = {}  # by port
        self.shared_with: set[tuple[str, str, str]] = set()  # kind, id, project
        self.qos_policies: dict[str, QosPolicy] | None = None
        for network, subnet, cidr, gateway in (
            (MANAGEMENT_NETWORK, "management-subnet", "10.0.0.0/8", None),
            (TENANT_NETWORK, TENANT_SUBNET, "172.16.0.0/12", "172.31.255.254"),
        ):
            self.add_network(network)
            self.add_subnet(network, subnet, cidr, gateway)

    def add_network(self, name: str) -> str:
        made = network_id(name)
        self.networks.setdefault(made, Network(id=made, name=name, mtu=1500, shared=name != MANAGEMENT_NETWORK))
        return made

    def add_subnet(self, network_name: str, name: str, cidr: str, gateway_ip: str | None = None) -> str:
        made, network = subnet_id(network_name, name), self.networks[network_id(network_name)]
        if made not in self.subnets:
            version = ipaddress.ip_network(cidr).version
            self.subnets[made] = Subnet(id=made, name=name, network_id=network.id, cidr=cidr, ip_version=version, gateway_ip=gateway_ip)
            self.networks[network.id] = dataclasses.replace(network, subnet_ids=(*network.subnet_ids, made))
        return made

    def qos_policy(self, wanted: str | None) -> str | None:
        return None if wanted is None else self.find("QoS Policy", self.qos_policies or {}, wanted).id

    def find(self, kind: str, known: Mapping[str, Any], object_id: str) -> Any:
        """:raises NotFound: there is none."""
        if object_id not in known:
            raise exceptions.NotFound(kind, object_id)
        return known[object_id]

    def network(self, wanted: str) -> Network:
        found: Network = self.find("Network", self.networks, wanted)
        return found

    def subnet(self, wanted: str) -> Subnet:
        found: Subnet = self.find("Subnet", self.subnets, wanted)
        return found

    def plug(self, port_id: str) -> _Plug:
        found: _Plug = self.find("Port", self.plugs, port_id)
        return found

    def add_port(self, name: str, network: str, addresses: Iterable[tuple[str, str | None]], kind: str = "", **more: Any) -> _Plug:
        """:raises NotFound, Conflict, InvalidRequest, SubnetFull: as the contract says; nothing is made then."""
        self.network(network)
        fixed = self.take_all(addresses)
        mac = ":".join(f"{byte:02x}" for byte in (2, *next(self.macs).to_bytes(5, "big")))
        made, lent_to = str(uuid.uuid4()), more.pop("load_balancer_id", None)
        secured = self.network(network).port_security_enabled
        more = {"port_security_enabled": secured, **more}
        port = Port(id=made, name=name, network_id=network, mac_address=mac, mtu=1500, fixed_ips=tuple(fixed), **more)
        self.plugs[made] = _Plug(port, kind, lent_to)
        return self.plugs[made]

    def take_all(self, addresses: Iterable[tuple[str, str | None]]) -> list[FixedIp]:
        """All of them, or none."""
        taken: list[FixedIp] = []
        try:
            for subnet, wanted in addresses:
                taken.append(self.take(subnet, wanted))
        except exceptions.ControllerError:
            self.free(taken)
            raise
        return taken

    def take(self, subnet_id: str, wanted: str | None) -> FixedIp:
        subnet, used = self.subnet(subnet_id), self.used.setdefault(subnet_id, set())
        cidr = ipaddress.ip_network(subnet.cidr)
        closed = {str(cidr[0]), str(cidr[-1])} if cidr.num_addresses > 2 else set()
        if wanted is None:
            size, last = cidr.num_addresses, self.last.get(subnet_id, 0)
            places = ((last + offset) % size for offset in range(1, min(size, len(used) + 4) + 1))
            taken = used | closed | {str(subnet.gateway_ip)}
            place = next((place for place in places if str(cidr[place]) not in taken), None)
            if place is None:
                raise exceptions.SubnetFull(subnet.id, subnet.cidr)
            self.last[subnet_id], wanted = place, str(cidr[place])
        wanted = str(ipaddress.ip_address(wanted))
        if wanted in closed or ipaddress.ip_address(wanted) not in cidr:
            raise exceptions.AddressNotOnSubnet(wanted, subnet.id, subnet.cidr)
        if wanted in used or wanted == subnet.gateway_ip:
            raise exceptions.AddressInUse(f"The address {wanted} of subnet {subnet.id} is in use.")
        used.add(wanted)
        return FixedIp(subnet_id, wanted)

    def free(self, addresses: Iterable[FixedIp]) -> None:
        for fixed in addresses:
            self.used[fixed.subnet_id].discard(fixed.ip_address)

    def delete(self, port_id: str) -> None:
        gone = self.plugs.pop(port_id, None)
        self.free(gone.port.fixed_ips if gone else ())

    def of_amphora(self, amphora_id: str, *kinds: str) -> list[_Plug]:
        return [plug for plug in self.plugs.values() if plug.port.device_id == amphora_id and plug.kind in kinds]

    def groups_of_vips(self, load_balancer_id: str) -> frozenset[str]:
        vip_ports = [plug for plug in self.plugs.values() if plug.load_balancer_id == load_balancer_id and plug.kind in ("", _VIP)]
        return frozenset().union(*(plug.groups for plug in vip_ports))

    def set_groups(self, plug: _Plug, groups: Iterable[str]) -> None:
        """:raises NotFound: a group does not exist."""
        plug.groups = frozenset(self.find("SecurityGroup", self.groups, one).id for one in groups)
        if plug.load_balancer_id is not None:
            for carrier in (one for one in self.carriers(plug.load_balancer_id) if one.port.vnic_type == NORMAL):
                carrier.groups = self.groups_of_vips(plug.load_balancer_id)

    def carriers(self, load_balancer_id: str) -> list[_Plug]:
        return [plug for plug in self.plugs.values() if (plug.load_balancer_id, plug.kind) == (load_balancer_id, _VRRP)]

    def own_group(self, load_balancer_id: str) -> str:
        made = _group_id(load_balancer_id)
        self.groups.setdefault(made, SecurityGroup(made, f"lb-{load_balancer_id}", SERVICE_PROJECT))
        return made


@script.scripted(interface.NetworkDriver)
class FakeNetwork(interface.NetworkDriver):
    """Drivers of the same `cloud` see the same ports, whichever process's part (API, worker) they stand in for."""

    _clouds: ClassVar[dict[str, Cloud]] = {}
    _lock = threading.Lock()

    def __init__(self, cloud: str = "default") -> None:
        with self._lock:
            self._cloud = self._clouds.get(cloud) or self._clouds.setdefault(cloud, Cloud())
        self.script = self._cloud.script

    @classmethod
    def from_conf(cls, conf: cfg.ConfigOpts) -> FakeNetwork:
        return cls()

    @classmethod
    def forget(cls, cloud: str = "default") -> None:
        """The next driver of this cloud finds it empty."""
        with cls._lock:
            cls._clouds.pop(cloud, None)

    @contextlib.contextmanager
    def _by(self, order: Order | None) -> Iterator[Cloud]:
        with self._cloud.lock:
            if order is not None:
                seen = self._cloud.orders.get(order.load_balancer_id, 0)
                if order.token < seen:
                    raise exceptions.StaleOrder("the network", token=seen)
                self._cloud.orders[order.load_balancer_id] = order.token
            yield self._cloud

    # Looking

    def get_network(self, network_id: str) -> Network:
        return self._cloud.network(network_id)

    def get_subnet(self, subnet_id: str) -> Subnet:
        return self._cloud.subnet(subnet_id)

    def get_port(self, port_id: str) -> Port:
        return self._cloud.plug(port_id).port

    def get_security_group(self, group_id: str) -> SecurityGroup:
        found: SecurityGroup = self._cloud.find("SecurityGroup", self._cloud.groups, group_id)
        return found

    def has_qos(self) -> bool:
        return self._cloud.qos_policies is not None

    def get_qos_policy(self, policy_id: str) -> QosPolicy:
        found: QosPolicy = self._cloud.find("QoS Policy", self._cloud.qos_policies or {}, policy_id)
        return found

    def is_shared_with(self, kind: str, object_id: str, project_id: str) -> bool:
        return (kind, object_id, project_id) in self._cloud.shared_with

    def free_addresses(self, network_id: str) -> Mapping[str, int]:
        with self._cloud.lock:
            return {subnet: self._free(self._cloud.subnet(subnet)) for subnet in self._cloud.network(network_id).subnet_ids}

    def _free(self, subnet: Subnet) -> int:
        size = ipaddress.ip_network(subnet.cidr).num_addresses
        reserved = (2 if size > 2 else 0) + (subnet.gateway_ip is not None)
        return max(0, size - reserved - len(self._cloud.used.get(subnet.id, ())))

    def list_ours(self) -> Iterable[Port]:
        with self._cloud.lock:
            return [plug.port for plug in self._cloud.plugs.values() if plug.kind or plug.load_balancer_id]

    # VIPs

    def allocate_vip(self, load_balancer_id: str, project_id: str, request: VipRequest) -> model.Vip:
        device, cloud = f"lb-{load_balancer_id}", self._cloud
        with cloud.lock:
            for plug in cloud.plugs.values():
                if (plug.load_balancer_id, plug.kind) == (load_balancer_id, _VIP):
                    return vips.vip(plug.port, vips.first_of(plug.port, request), request, ours=True)
            if ours := request.port_id is None:
                subnet = vips.subnet_for(request, cloud.network, cloud.subnet)
                of_device = {"device_id": device, "device_owner": vips.DEVICE_OWNER, "project_id": project_id}
                policy, wanted = cloud.qos_policy(request.qos_policy_id), request.addresses_from(subnet.id)
                plug = cloud.add_port(f"octavia-{device}", subnet.network_id, wanted, _VIP, qos_policy_id=policy, **of_device)
                fixed = plug.port.fixed_ips[0]
            else:
                plug = cloud.plug(str(request.port_id))
                fixed = vips.address_of(plug.port, request, load_balancer_id)
            try:
                made = vips.vip(plug.port, fixed, request, ours=ours)
            except exceptions.InvalidRequest:
                if ours:
                    cloud.delete(plug.port.id)
                raise
            plug.port = dataclasses.replace(plug.port, device_id=device, device_owner=vips.DEVICE_OWNER)
            plug.load_balancer_id = load_balancer_id
            cloud.set_groups(plug, {*plug.groups, cloud.own_group(load_balancer_id)})
            return made

    def deallocate_vip(self, load_balancer_id: str, vip: model.Vip, order: Order | None = None) -> None:
        with self._by(order) as cloud:
            self._delete_access(cloud, load_balancer_id)
            plug = cloud.plugs.get(vip.port_id)
            if plug is not None and plug.kind == _VIP:
                cloud.delete(vip.port_id)
            elif plug is not None and plug.load_balancer_id == load_balancer_id:
                kept = None if vip.limits_its_port and plug.port.qos_policy_id == vip.qos_policy_id else plug.port.qos_policy_id
                plug.port = dataclasses.replace(plug.port, device_id="", device_owner="", qos_policy_id=kept)
                plug.load_balancer_id = None

    def restore_vip_address(self, load_balancer_id: str, vip: model.Vip, order: Order | None = None) -> None:
        with self._by(order) as cloud:
            plug, going = cloud.plug(vip.port_id), vips.beside(vip, cloud.plug(vip.port_id).port)
            cloud.take_all((one.subnet_id, one.ip_address) for one in vip.addresses if one not in plug.port.fixed_ips)
            cloud.free(going)
            others = [one for one in plug.port.fixed_ips if one not in (*vip.addresses, *going)]
            plug.port = dataclasses.replace(plug.port, fixed_ips=(*vip.addresses, *others))

    # Ports of amphorae

    def check_management_network(self, network_id: str) -> None:
        self._cloud.network(network_id)
        if network_id != _MANAGEMENT_ID:
            raise exceptions.NotSupported(
                f"The controller is on the network {_MANAGEMENT_ID} only, so no amphora can be reached by {network_id}."
            )

    def ensure_management_port(self, amphora_id: str, network_id: str | None = None, order: Order | None = None) -> Port:
        with self._by(order) as cloud:
            network = cloud.network(_MANAGEMENT_ID)
            self.check_management_network(network_id or network.id)
            return self._ensure(amphora_id, _MANAGEMENT, network.id, network.subnet_ids[:1]).port

    def ensure_vrrp_port(self, amphora_id: str, load_balancer_id: str, vip: model.Vip, order: Order | None = None) -> Port:
        with self._by(order) as cloud:
            plug = self._ensure(amphora_id, _VRRP, vip.network_id, [one.subnet_id for one in vip.addresses])
            if plug.load_balancer_id is None:
                plug.load_balancer_id = load_balancer_id
                plug.groups = cloud.groups_of_vips(load_balancer_id) if vip.vnic_type == NORMAL else frozenset()
                of_vip = cloud.plugs.get(vip.port_id)
                secured = vip.vnic_type == NORMAL and (of_vip is None or of_vip.port.port_security_enabled)
                policy = cloud.qos_policy(vip.qos_policy_id)
                plug.port = dataclasses.replace(plug.port, qos_policy_id=policy, vnic_type=vip.vnic_type, port_security_enabled=secured)
            return plug.port

    def ensure_member_port(
        self,
        amphora_id: str,
        network_id: str,
        subnet_ids: Sequence[str],
        order: Order | None = None,
        vnic_type: str = NORMAL,
        plug: str = "",
    ) -> Port:
        with self._by(order) as cloud:
            subnets = subnet_ids or cloud.network(network_id).subnet_ids[:1]
            made = self._ensure(amphora_id, _MEMBER, network_id, subnets, vnic_type=vnic_type)
            missing = [one for one in subnets if one not in {fixed.subnet_id for fixed in made.port.fixed_ips}]
            made.port = dataclasses.replace(made.port, fixed_ips=(*made.port.fixed_ips, *(cloud.take(one, None) for one in missing)))
            return made.port

    def _ensure(self, amphora_id: str, kind: str, network_id: str, subnet_ids: Sequence[str], vnic_type: str = NORMAL) -> _Plug:
        for plug in self._cloud.of_amphora(amphora_id, kind):
            if plug.port.network_id == network_id:
                return plug
        of_device: dict[str, Any] = {"device_id": amphora_id, "device_owner": vips.DEVICE_OWNER, "vnic_type": vnic_type}
        of_device |= {} if vnic_type == NORMAL else {"port_security_enabled": False}
        return self._cloud.add_port(f"octavia-lb-{kind}-{amphora_id}", network_id, [(one, None) for one in subnet_ids], kind, **of_device)

    def member_ports(self, amphora_id: str) -> Sequence[Port]:
        with self._cloud.lock:
            return [plug.port for plug in self._cloud.of_amphora(amphora_id, _MEMBER)]

    def release_member_port(self, port_id: str, subnet_ids: Sequence[str] = (), order: Order | None = None) -> None:
        with self._by(order) as cloud:
            plug = cloud.plugs.get(port_id)
            if plug is None:
                return
            if plug.kind != _MEMBER:
                raise exceptions.Conflict(f"The port {port_id} is not one towards members.")
            kept = tuple(fixed for fixed in plug.port.fixed_ips if fixed.subnet_id in subnet_ids)
            cloud.free(set(plug.port.fixed_ips) - set(kept))
            plug.port = dataclasses.replace(plug.port, fixed_ips=kept)
            if not kept:
                cloud.delete(port_id)

    def delete_amphora_ports(self, amphora_id: str, order: Order | None = None, port_ids: Sequence[str] = ()) -> None:
        with self._by(order) as cloud:
            for plug in cloud.of_amphora(amphora_id, _MANAGEMENT, _VRRP, _MEMBER):
                cloud.delete(plug.port.id)

    # Access

    def set_vip_access(self, load_balancer_id: str, vip: model.Vip, rules: Sequence[AccessRule], order: Order | None = None) -> None:
        with self._by(order) as cloud:
            cloud.own_group(load_balancer_id)
            cloud.access[load_balancer_id] = frozenset(rules)

    def security_groups_of(self, port_id: str) -> frozenset[str]:
        with self._cloud.lock:
            plug = self._cloud.plugs.get(port_id)
            return plug.groups if plug is not None else frozenset()

    def floating_addresses(self, port_id: str) -> frozenset[str]:
        return frozenset(self._cloud.floating.get(port_id, ()))

    def give_floating(self, port_id: str, *addresses: str) -> None:
        """Translate these addresses, and no others, into the port's."""
        self._cloud.floating[port_id] = frozenset(addresses)

    def vip_access(self, load_balancer_id: str) -> frozenset[AccessRule]:
        return self._cloud.access.get(load_balancer_id, frozenset())

    def delete_vip_access(self, load_balancer_id: str, order: Order | None = None) -> None:
        with self._by(order) as cloud:
            self._delete_access(cloud, load_balancer_id)

    def _delete_access(self, cloud: Cloud, load_balancer_id: str) -> None:
        gone = _group_id(load_balancer_id)
        for plug in cloud.plugs.values():
            plug.groups -= {gone}
        cloud.groups.pop(gone, None)
        cloud.access.pop(load_balancer_id, None)

    def set_vip_security_groups(self, load_balancer_id: str, vip: model.Vip, group_ids: Sequence[str], order: Order | None = None) -> None:
        with self._by(order) as cloud:
            own = cloud.own_group(load_balancer_id)
            cloud.set_groups(cloud.plug(vip.port_id), group_ids or [own])

    # QoS

    def set_vip_qos(self, load_balancer_id: str, vip: model.Vip, order: Order | None = None) -> None:
        with self._by(order) as cloud:
            policy, of_vip = cloud.qos_policy(vip.qos_policy_id), cloud.plug(vip.port_id)
            for plug in (of_vip, *cloud.carriers(load_balancer_id)):
                plug.port = dataclasses.replace(plug.port, qos_policy_id=policy)

    def stray_ports(self, load_balancer_id: str, vip: model.Vip) -> Sequence[str]:
        with self._cloud.lock:
            return [vips.strayed_qos(plug.port.id) for plug in self._strayed(load_balancer_id, vip)]

    def mend_ports(self, load_balancer_id: str, vip: model.Vip, order: Order | None = None) -> None:
        with self._by(order) as cloud:
            for plug in self._strayed(load_balancer_id, vip):
                plug.port = dataclasses.replace(plug.port, qos_policy_id=cloud.qos_policy(vip.qos_policy_id))

    def _strayed(self, load_balancer_id: str, vip: model.Vip) -> list[_Plug]:
        of_vip = [plug for plug in [self._cloud.plugs.get(vip.port_id)] if plug is not None and vip.limits_its_port]
        return [plug for plug in (*of_vip, *self._cloud.carriers(load_balancer_id)) if plug.port.qos_policy_id != vip.qos_policy_id]


_MANAGEMENT_ID = network_id(MANAGEMENT_NETWORK)
