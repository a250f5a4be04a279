"""The network driver over an inventory: ports of VIPs and amphorae, and what may reach a VIP."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

from controller import exceptions
from controller.drivers.network import interface, vips
from controller.embedded import front, tables, vip_groups
from controller.embedded.contents import MANAGEMENT, MEMBER, OF_AMPHORAE, PORT_SECURITY, VIP, VNIC_TYPE, VRRP, Contents, is_secured
from controller.embedded.inventory import Inventory
from controller.model import load_balancer as model
from controller.model.network import NORMAL, AccessRule, Network, Port, SecurityGroup, Subnet, VipRequest
from controller.model.order import Order


class EmbeddedNetwork(interface.NetworkDriver):
    """What of its changes reaches packets is a matter of the inventory's `Effects`. `tenants` is its Networking API, for administrators."""

    def __init__(self, inventory: Inventory, management_network_id: str) -> None:
        self.inventory = inventory
        self.tenants = front.Front(inventory, None, is_admin=True)
        self._management_network_id = management_network_id

    @contextlib.contextmanager
    def _changing(self, order: Order | None) -> Iterator[Contents]:
        """A transaction by a worker's order, which is compared and kept in it.

        :raises StaleOrder: a newer order was followed.
        """
        with self.inventory.change() as contents:
            if order is not None:
                contents.follow(order)
            yield contents

    # Looking

    def get_network(self, network_id: str) -> Network:
        with self.inventory.read() as contents:
            return contents.network(network_id)

    def get_subnet(self, subnet_id: str) -> Subnet:
        with self.inventory.read() as contents:
            return contents.subnet(subnet_id)

    def get_port(self, port_id: str) -> Port:
        with self.inventory.read() as contents:
            return contents.port(port_id)

    def get_security_group(self, group_id: str) -> SecurityGroup:
        with self.inventory.read() as contents:
            return contents.security_group(group_id)

    def free_addresses(self, network_id: str) -> Mapping[str, int]:
        with self.inventory.read() as contents:
            return {subnet: contents.free_addresses(subnet) for subnet in contents.network(network_id).subnet_ids}

    def list_ours(self) -> Iterable[Port]:
        with self.inventory.read() as contents:
            return contents.ports("in service")

    # Ports of machines that are none of ours

    def create_port(self, name: str, network_id: str, subnet_id: str, address: str | None = None, machine: str = "") -> Port:
        """Make a port of a machine, or of nobody yet; a port of this name that is there already is fine.

        :raises NotFound: no such network or subnet; :raises Conflict: the address is taken; :raises InvalidRequest: it does not fit.
        """
        with self.inventory.change() as contents:
            found = contents.find_port(name, "")
            owner = "compute:figlina" if machine else ""
            return found or contents.add_port(name, network_id, [(subnet_id, address)], {"device_id": machine, "device_owner": owner})

    def delete_port(self, port_id: str) -> None:
        """Delete a port made by `create_port`; gone already is fine."""
        with self.inventory.change() as contents:
            contents.delete_ports([port_id])

    # VIPs

    def allocate_vip(self, load_balancer_id: str, project_id: str, request: VipRequest) -> model.Vip:
        with self.inventory.change() as contents:
            found = contents.find_port(f"octavia-lb-{load_balancer_id}", VIP)
            if found is not None:
                return vips.vip(found, vips.first_of(found, request), request, ours=True)
            of_device = {"device_id": f"lb-{load_balancer_id}", "device_owner": vips.DEVICE_OWNER, "load_balancer_id": load_balancer_id}
            if request.port_id is not None:
                port = contents.port(request.port_id)
                fixed = vips.address_of(port, request, load_balancer_id)
                contents.rows.set(tables.ports, {"id": port.id}, **of_device)
            else:
                subnet = vips.subnet_for(request, contents.network, contents.subnet)
                name, addresses = f"octavia-lb-{load_balancer_id}", request.addresses_from(subnet.id)
                port = contents.add_port(name, subnet.network_id, addresses, {"kind": VIP, "project_id": project_id, **of_device})
                if not contents.rows.get(tables.networks, subnet.network_id).details.get(PORT_SECURITY, True):
                    _unguard(contents, port.id)
                fixed = port.address_on(subnet.id)
            vip_groups.add_to(contents, load_balancer_id, port.id)
            return vips.vip(port, fixed, request, ours=request.port_id is None)

    def deallocate_vip(self, load_balancer_id: str, vip: model.Vip, order: Order | None = None) -> None:
        with self._changing(order) as contents:
            vip_groups.delete(contents, load_balancer_id)
            row = contents.rows.first(tables.ports, id=vip.port_id)
            if row is not None and row.kind == VIP:
                contents.delete_ports([vip.port_id])
            elif row is not None and row.load_balancer_id == load_balancer_id:
                contents.rows.set(tables.ports, {"id": vip.port_id}, device_id="", device_owner="", load_balancer_id=None)
            contents.forget_old_orders()

    def restore_vip_address(self, load_balancer_id: str, vip: model.Vip, order: Order | None = None) -> None:
        with self._changing(order) as contents, contents.effects.changing(contents, [vip.port_id]):
            port = contents.port(vip.port_id)
            for wanted in vip.addresses:
                if wanted not in port.fixed_ips:
                    contents.take(port.id, wanted.subnet_id, wanted.ip_address)
            for fixed in vips.beside(vip, port):
                contents.give_back(port.id, fixed)

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
            return self._ensure(contents, MANAGEMENT, amphora_id, self._management_network_id, subnets[:1])

    def ensure_vrrp_port(self, amphora_id: str, load_balancer_id: str, vip: model.Vip, order: Order | None = None) -> Port:
        with self._changing(order) as contents:
            subnets, allowed = [one.subnet_id for one in vip.addresses], [one.ip_address for one in vip.addresses]
            bearer = contents.rows.first(tables.ports, id=vip.port_id)
            secured = bearer is None or is_secured(bearer)
            of_vip = (vip.network_id, subnets, load_balancer_id, allowed, vip.vnic_type)
            return self._ensure(contents, VRRP, amphora_id, *of_vip, secured=secured)

    def member_ports(self, amphora_id: str) -> Sequence[Port]:
        with self.inventory.read() as contents:
            return contents.ports_of_device(amphora_id, [MEMBER])

    def release_member_port(self, port_id: str, subnet_ids: Sequence[str] = (), order: Order | None = None) -> None:
        with self._changing(order) as contents, contextlib.suppress(exceptions.NotFound):
            plug = contents.plug(port_id)
            if plug.kind != MEMBER:
                raise exceptions.Conflict(f"The port {port_id} is not one towards members.")
            going = [fixed for fixed in plug.port.fixed_ips if fixed.subnet_id not in subnet_ids]
            if len(going) == len(plug.port.fixed_ips):
                contents.delete_ports([port_id])
            elif going:
                with contents.effects.changing(contents, [port_id]):
                    for fixed in going:
                        contents.give_back(port_id, fixed)

    def ensure_member_port(
        self,
        amphora_id: str,
        network_id: str,
        subnet_ids: Sequence[str],
        order: Order | None = None,
        vnic_type: str = NORMAL,
        plug: str = "",
    ) -> Port:
        with self._changing(order) as contents:
            subnets = subnet_ids or contents.network(network_id).subnet_ids[:1]
            port = self._ensure(contents, MEMBER, amphora_id, network_id, subnets, vnic_type=vnic_type)
            missing = [subnet for subnet in subnets if subnet not in {fixed.subnet_id for fixed in port.fixed_ips}]
            if not missing:
                return port
            for subnet in missing:
                contents.take(port.id, subnet)
            contents.effects.made(contents, port.id)
            return contents.port(port.id)

    def _ensure(
        self,
        contents: Contents,
        kind: str,
        amphora_id: str,
        network_id: str,
        subnet_ids: Sequence[str],
        load_balancer_id: str | None = None,
        allowed: Sequence[str] = (),
        vnic_type: str = NORMAL,
        secured: bool | None = None,
    ) -> Port:
        """`secured`: with port security; None: as its network says."""
        for port in contents.ports_of_device(amphora_id, [kind]):
            if port.network_id == network_id:
                return port
        as_network = contents.rows.get(tables.networks, network_id).details.get(PORT_SECURITY, True)
        name, addresses = f"octavia-lb-{kind}-{amphora_id}", [(subnet, None) for subnet in subnet_ids]
        of_device = {"device_id": amphora_id, "device_owner": vips.DEVICE_OWNER, "load_balancer_id": load_balancer_id}
        port = contents.add_port(name, network_id, addresses, {"kind": kind, **of_device})
        for address in allowed:
            contents.allow_address(port.id, address)
        if vnic_type != NORMAL or not (as_network if secured is None else secured):  # as unguarded as a part of a card is
            _unguard(contents, port.id, {VNIC_TYPE: vnic_type})
            port = contents.port(port.id)
        elif load_balancer_id is not None:
            contents.set_groups(port.id, contents.groups_of_vips(load_balancer_id))
        contents.effects.made(contents, port.id)
        return port

    def delete_amphora_ports(self, amphora_id: str, order: Order | None = None, port_ids: Sequence[str] = ()) -> None:
        with self._changing(order) as contents:
            contents.delete_ports([port.id for port in contents.ports_of_device(amphora_id, OF_AMPHORAE)])

    # Access

    def set_vip_access(self, load_balancer_id: str, vip: model.Vip, rules: Sequence[AccessRule], order: Order | None = None) -> None:
        wanted = vip_groups.whole(rules)
        with self.inventory.read() as contents:
            known = order is None or contents.followed(load_balancer_id) == order.token  # else the order is to be kept
            if known and vip_groups.exists(contents, load_balancer_id) and vip_groups.access(contents, load_balancer_id) == wanted:
                return
        with self._changing(order) as contents:
            vip_groups.set_access(contents, load_balancer_id, vip, wanted)

    def delete_vip_access(self, load_balancer_id: str, order: Order | None = None) -> None:
        with self._changing(order) as contents:
            vip_groups.delete(contents, load_balancer_id)

    def set_vip_security_groups(self, load_balancer_id: str, vip: model.Vip, group_ids: Sequence[str], order: Order | None = None) -> None:
        wanted = set(group_ids) or {vip_groups.group_id(load_balancer_id)}
        with self.inventory.read() as contents:
            known = order is None or contents.followed(load_balancer_id) == order.token
            if set(contents.plug(vip.port_id).groups) == wanted and known:
                return
        with self._changing(order) as contents:
            contents.rows.get(tables.ports, vip.port_id)
            with contents.effects.changing(contents, group_ids=[vip_groups.group_id(load_balancer_id)]):
                vip_groups.ensure(contents, load_balancer_id)
            contents.set_groups_of_vip(load_balancer_id, vip.port_id, wanted)

    def security_groups_of(self, port_id: str) -> frozenset[str]:
        with self.inventory.read() as contents:
            return frozenset(contents.plug(port_id).groups)

    def floating_addresses(self, port_id: str) -> frozenset[str]:
        with self.inventory.read() as contents:
            return frozenset(row.address for row in contents.rows.all(tables.floating_ips, port_id=port_id))

    def vip_access(self, load_balancer_id: str) -> frozenset[AccessRule]:
        with self.inventory.read() as contents:
            return vip_groups.access(contents, load_balancer_id)


def _unguard(contents: Contents, port_id: str, more: Mapping[str, str] | None = None) -> None:
    """Have a new port of ours without port security: no group filters it, and it may send whatever it likes."""
    known = contents.rows.get(tables.ports, port_id).details
    contents.rows.set(tables.ports, {"id": port_id}, details={**known, PORT_SECURITY: False, **(more or {})})
