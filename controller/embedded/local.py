"""A network driver that keeps its own books: what `bridge` and `memory` have in common. A subclass learns of changes by its `Effects`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

from controller import exceptions
from controller.drivers.network import interface, vips
from controller.embedded import effects, tenants, vip_groups
from controller.embedded.inventory import Contents, Inventory
from controller.model import load_balancer as model
from controller.model.network import AccessRule, Network, Port, SecurityGroup, Subnet, VipRequest
from controller.model.order import Order

VIP, VRRP, MEMBER, MANAGEMENT = "vip", "vrrp", "member", "management"
OURS = (VIP, VRRP, MEMBER, MANAGEMENT)
OF_AMPHORAE = (VRRP, MEMBER, MANAGEMENT)


class LocalNetwork(tenants.Tenants, interface.NetworkDriver):
    """Networks, subnets, ports and security groups in an `Inventory`."""

    def __init__(self, inventory: Inventory, management_network_id: str) -> None:
        super().__init__(inventory)
        self._management_network_id = management_network_id

    @contextlib.contextmanager
    def _changing(self, order: Order | None) -> Iterator[Contents]:
        """A transaction by a worker's order, which is compared and kept in it.

        :raises StaleOrder: a newer order was followed.
        """
        with self._inventory.change() as contents:
            if order is not None:
                contents.follow(order)
            yield contents

    # Looking

    def get_network(self, network_id: str) -> Network:
        with self._inventory.read() as contents:
            return contents.network(network_id)

    def get_subnet(self, subnet_id: str) -> Subnet:
        with self._inventory.read() as contents:
            return contents.subnet(subnet_id)

    def get_port(self, port_id: str) -> Port:
        with self._inventory.read() as contents:
            return contents.port(port_id)

    def get_security_group(self, group_id: str) -> SecurityGroup:
        with self._inventory.read() as contents:
            return contents.security_group(group_id)

    def free_addresses(self, network_id: str) -> Mapping[str, int]:
        with self._inventory.read() as contents:
            return {subnet: contents.free_addresses(subnet) for subnet in contents.network(network_id).subnet_ids}

    def list_ours(self) -> Iterable[Port]:
        with self._inventory.read() as contents:
            return contents.ports_in_service(OURS)

    # Ports of tenants: machines of theirs, and VIP ports that they bring

    def create_port(self, name: str, network_id: str, subnet_id: str, address: str | None = None, machine: str = "") -> Port:
        """Make a port of a machine, or of nobody yet; a port of this name that is there already is fine.

        :raises NotFound: no such network or subnet; :raises Conflict: the address is taken; :raises InvalidRequest: it does not fit.
        """
        with self._inventory.change() as contents:
            found = contents.find_port(name, "")
            owner = "compute:figlina" if machine else ""
            return found or contents.add_port(name, network_id, [(subnet_id, address)], device_id=machine, device_owner=owner)

    def delete_port(self, port_id: str) -> None:
        """Delete a port made by `create_port`; gone already is fine."""
        with self._inventory.change() as contents, contextlib.suppress(exceptions.NotFound):
            effects.delete_ports(self, contents, [contents.port(port_id)])

    # VIPs

    def allocate_vip(self, load_balancer_id: str, project_id: str, request: VipRequest) -> model.Vip:
        with self._inventory.change() as contents:
            found = contents.find_port(f"octavia-lb-{load_balancer_id}", VIP)
            if found is not None:
                return vips.vip(found, found.fixed_ips[0], request, ours=True)
            if request.port_id is not None:
                return self._adopt(contents, load_balancer_id, request)
            subnet = vips.subnet_for(request, contents.network, contents.subnet)
            port = contents.add_port(
                f"octavia-lb-{load_balancer_id}",
                subnet.network_id,
                [(subnet.id, request.address)],
                kind=VIP,
                device_id=f"lb-{load_balancer_id}",
                device_owner=vips.DEVICE_OWNER,
                project_id=project_id,
                load_balancer_id=load_balancer_id,
            )
            vip_groups.add_to(self, contents, load_balancer_id, port.id)
            return vips.vip(port, port.fixed_ips[0], request, ours=True)

    def _adopt(self, contents: Contents, load_balancer_id: str, request: VipRequest) -> model.Vip:
        port = contents.port(str(request.port_id))
        fixed = vips.address_of(port, request, load_balancer_id)
        contents.set_device(port.id, f"lb-{load_balancer_id}", vips.DEVICE_OWNER)
        contents.lend_to(port.id, load_balancer_id)
        vip_groups.add_to(self, contents, load_balancer_id, port.id)
        return vips.vip(port, fixed, request, ours=False)

    def deallocate_vip(self, load_balancer_id: str, vip: model.Vip, order: Order | None = None) -> None:
        with self._changing(order) as contents:
            vip_groups.delete(self, contents, load_balancer_id)
            kind, served = contents.kind_of(vip.port_id)
            if kind == VIP:
                effects.delete_ports(self, contents, [contents.port(vip.port_id)])
            elif served == load_balancer_id:
                contents.set_device(vip.port_id, "", "")
                contents.lend_to(vip.port_id, None)
            contents.forget_old_orders()

    # Ports of amphorae

    def check_management_network(self, network_id: str) -> None:
        self.get_network(network_id)
        self._refuse_management_on(network_id)

    def _refuse_management_on(self, network_id: str | None) -> None:
        if network_id not in (None, self._management_network_id):
            raise exceptions.NotSupported(
                f"The controller is on the network {self._management_network_id} only, so no amphora can be reached by {network_id}."
            )

    def ensure_management_port(self, amphora_id: str, network_id: str | None = None, order: Order | None = None) -> Port:
        self._refuse_management_on(network_id)
        with self._changing(order) as contents:
            subnets = contents.network(self._management_network_id).subnet_ids
            name = f"octavia-lb-management-{amphora_id}"
            return self._ensure(contents, name, MANAGEMENT, amphora_id, self._management_network_id, subnets[:1])

    def ensure_vrrp_port(self, amphora_id: str, load_balancer_id: str, vip: model.Vip, order: Order | None = None) -> Port:
        with self._changing(order) as contents:
            name = f"octavia-lb-vrrp-{amphora_id}"
            return self._ensure(contents, name, VRRP, amphora_id, vip.network_id, [vip.subnet_id], load_balancer_id, vip.address)

    def member_ports(self, amphora_id: str) -> Sequence[Port]:
        with self._inventory.read() as contents:
            return contents.ports_of_device(amphora_id, [MEMBER])

    def release_member_port(self, port_id: str, subnet_ids: Sequence[str] = (), order: Order | None = None) -> None:
        with self._changing(order) as contents, contextlib.suppress(exceptions.NotFound):
            port = contents.port(port_id)
            if contents.kind_of(port_id)[0] != MEMBER:
                raise exceptions.Conflict(f"The port {port_id} is not one towards members.")
            going = [fixed for fixed in port.fixed_ips if fixed.subnet_id not in subnet_ids]
            if len(going) == len(port.fixed_ips):
                effects.delete_ports(self, contents, [port])
            elif going:
                with self.changing(contents, [port_id]):
                    for fixed in going:
                        contents.give_back(port_id, fixed)

    def ensure_member_port(self, amphora_id: str, network_id: str, subnet_ids: Sequence[str], order: Order | None = None) -> Port:
        with self._changing(order) as contents:
            subnets = subnet_ids or contents.network(network_id).subnet_ids[:1]
            for port in contents.ports_of_device(amphora_id, [MEMBER]):
                if port.network_id == network_id:
                    return self._complete(contents, port, subnets)
            return self._ensure(contents, f"octavia-lb-member-{amphora_id}", MEMBER, amphora_id, network_id, subnets)

    def _complete(self, contents: Contents, port: Port, subnet_ids: Sequence[str]) -> Port:
        """A member port that exists gets addresses on the subnets that came since."""
        missing = [subnet for subnet in subnet_ids if subnet not in {fixed.subnet_id for fixed in port.fixed_ips}]
        if not missing:
            return port
        for subnet in missing:
            contents.take(port.id, subnet)
        port = contents.port(port.id)
        self.made(contents, port)
        return port

    def _ensure(
        self,
        contents: Contents,
        name: str,
        kind: str,
        amphora_id: str,
        network_id: str,
        subnet_ids: Sequence[str],
        load_balancer_id: str | None = None,
        allowed: str | None = None,
    ) -> Port:
        for port in contents.ports_of_device(amphora_id, [kind]):
            if port.name == name and port.network_id == network_id:
                return port
        contents.network(network_id)
        port = contents.add_port(
            name,
            network_id,
            [(subnet, None) for subnet in subnet_ids],
            kind=kind,
            device_id=amphora_id,
            device_owner=vips.DEVICE_OWNER,
            load_balancer_id=load_balancer_id,
        )
        if allowed is not None:
            contents.allow_address(port.id, allowed)
        if kind == VRRP and load_balancer_id is not None:
            contents.set_groups(port.id, contents.groups_of_vips(load_balancer_id))
        self.made(contents, port)
        return port

    def delete_amphora_ports(self, amphora_id: str, order: Order | None = None) -> None:
        with self._changing(order) as contents:
            ports = contents.ports_of_device(amphora_id, OF_AMPHORAE)
            effects.delete_ports(self, contents, ports)

    # Access

    def set_vip_access(self, load_balancer_id: str, vip: model.Vip, rules: Sequence[AccessRule], order: Order | None = None) -> None:
        wanted = vip_groups.whole(rules)
        with self._inventory.read() as contents:
            known = order is None or contents.followed(load_balancer_id) == order.token  # else the order is to be kept
            if known and vip_groups.exists(contents, load_balancer_id) and vip_groups.access(contents, load_balancer_id) == wanted:
                return
        with self._changing(order) as contents:
            vip_groups.set_access(self, contents, load_balancer_id, vip, wanted)

    def delete_vip_access(self, load_balancer_id: str, order: Order | None = None) -> None:
        with self._changing(order) as contents:
            vip_groups.delete(self, contents, load_balancer_id)

    def set_vip_security_groups(self, load_balancer_id: str, vip: model.Vip, group_ids: Sequence[str], order: Order | None = None) -> None:
        wanted = set(group_ids) or {vip_groups.group_id(load_balancer_id)}
        with self._inventory.read() as contents:
            contents.port(vip.port_id)
            known = order is None or contents.followed(load_balancer_id) == order.token
            if known and set(contents.groups_of(vip.port_id)) == wanted:
                return
        with self._changing(order) as contents:
            contents.port(vip.port_id)
            vip_groups.ensure(self, contents, load_balancer_id)
            effects.set_groups_of_vip(self, contents, load_balancer_id, vip.port_id, sorted(wanted))

    def vip_access(self, load_balancer_id: str) -> frozenset[AccessRule]:
        """What may reach a load balancer's VIP now."""
        with self._inventory.read() as contents:
            return vip_groups.access(contents, load_balancer_id)
