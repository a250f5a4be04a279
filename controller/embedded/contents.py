"""Networks, ports, addresses and groups of the inventory, within one transaction, and what their changes do to packets."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import ipaddress
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from controller import exceptions
from controller.db import rows as db_rows
from controller.embedded import rows, tables
from controller.model.network import NORMAL, AccessRule, Attachment, FixedIp, HostRoute, Network, Port, SecurityGroup, Subnet
from controller.model.order import Order

VIP, VRRP, MEMBER, MANAGEMENT = "vip", "vrrp", "member", "management"
OURS = (VIP, VRRP, MEMBER, MANAGEMENT)
OF_AMPHORAE = (VRRP, MEMBER, MANAGEMENT)
_NAMESPACE = uuid.UUID("6f2b8c54-9a0e-4f3a-8f0e-0c5d3c1a7f11")
_ORDERS_KEPT = 50_000
"""So many orders later a worker that stands still may come back after its load balancer was deleted, and is refused."""


def network_id(name: str) -> str:
    """The id of a network follows from its name, so that an embedded cloud built anew has the ids that scripts know."""
    return str(uuid.uuid5(_NAMESPACE, f"network/{name}"))


def subnet_id(network_name: str, name: str) -> str:
    """The id of a subnet follows from its network's name and its own."""
    return str(uuid.uuid5(_NAMESPACE, f"subnet/{network_name}/{name}"))


def mac_for(network: str, address: str) -> str:
    """A locally administered MAC that follows from the address: when an address is used again, no neighbour's ARP entry is wrong."""
    digest = hashlib.sha256(f"{network}/{address}".encode()).digest()
    return ":".join(["02", *(f"{byte:02x}" for byte in digest[:5])])


def is_secured(row: rows.Row) -> bool:
    """Whether a port, of which this is the row, has port security."""
    return bool(row.details.get(PORT_SECURITY, True) if row.kind else row.secured)


class Effects:
    """What a change of the inventory does to packets. The defaults do nothing: an inventory alone has no packets.

    Everything here is called within the inventory's transaction: an error undoes the change.
    """

    namespace: str | None = None
    """Where bridges are."""

    def guard(self, contents: Contents) -> contextlib.AbstractContextManager[None]:
        """Surrounds every change, its commit included."""
        return contextlib.nullcontext()

    def made(self, contents: Contents, port_id: str) -> None:
        """A port was made, or got another address."""

    def unplug(self, port_ids: Sequence[str]) -> None:
        """Ports are about to be deleted: no machine is to go on using them."""

    @contextlib.contextmanager
    def changing(self, contents: Contents, port_ids: Sequence[str] = (), group_ids: Sequence[str] = ()) -> Iterator[None]:
        """What is known of these ports and security groups changes in the block; ports and groups may be new, or gone after it."""
        yield

    def network_made(self, bridge: str) -> None:
        """A network was made: give it its bridge."""

    def network_gone(self, bridge: str) -> None:
        """A network without ports was deleted."""

    def router_changed(self, contents: Contents, router_id: str) -> None:
        """A router's legs or floating IPs changed, or the router is new."""

    def router_gone(self, router_id: str) -> None:
        """A router without legs was deleted."""


VNIC_TYPE, PORT_SECURITY = "binding:vnic_type", "port_security_enabled"


@dataclasses.dataclass(frozen=True, slots=True)
class Plug:
    """A port, with what it is for: its kind (empty for tenants'), the load balancer that it serves, and whether its groups filter it."""

    port: Port
    kind: str
    load_balancer_id: str | None
    secured: bool
    groups: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The id of its port."""
        return self.port.id

    @property
    def addresses(self) -> list[str]:
        """The addresses from which its machine may send: the port's own, and those that are allowed beside."""
        return [*(fixed.ip_address for fixed in self.port.fixed_ips), *self.allowed]


class Contents:
    """Queries and changes within one transaction."""

    def __init__(self, connection: sa.Connection, effects: Effects) -> None:
        self.rows = rows.Rows(connection)
        self.effects = effects

    # Networks and subnets

    def add_network(self, name: str, bridge: str, *, external: bool = False, hidden: bool = False) -> str:
        """Make a network that everybody may use, unless it is hidden; there already is fine."""
        flags = {"shared": not hidden and not external, "external": external, "hidden": hidden}
        made = network_id(name)
        self.rows.put(tables.networks, {"id": made, "name": name, "bridge": bridge, "mtu": 1500, "details": _born(), **flags})
        return made

    def add_subnet(self, network_name: str, name: str, cidr: str, gateway_ip: str | None = None) -> str:
        """Make a subnet; there already is fine."""
        made, network = subnet_id(network_name, name), network_id(network_name)
        place = {"network_id": network, "cidr": str(ipaddress.ip_network(cidr)), "gateway_ip": gateway_ip}
        self.rows.put(tables.subnets, {"id": made, "name": name, "details": _born(), **place})
        return made

    def network(self, wanted: str) -> Network:
        """:raises NotFound: no such network."""
        row = self.rows.get(tables.networks, wanted)
        subnet_ids = tuple(one.id for one in self.rows.all(tables.subnets, network_id=wanted))
        flags = {"shared": row.shared, "external": row.external, PORT_SECURITY: row.details.get(PORT_SECURITY, True)}
        return Network(id=row.id, name=row.name, mtu=row.mtu, subnet_ids=subnet_ids, project_id=row.project_id, **flags)

    def subnet(self, wanted: str) -> Subnet:
        """:raises NotFound: no such subnet."""
        row = self.rows.get(tables.subnets, wanted)
        return Subnet(
            id=row.id,
            name=row.name,
            network_id=row.network_id,
            cidr=row.cidr,
            ip_version=ipaddress.ip_network(row.cidr).version,
            gateway_ip=row.gateway_ip,
            host_routes=tuple(HostRoute(route["destination"], route["nexthop"]) for route in row.details.get("host_routes", ())),
            project_id=row.project_id,
        )

    def bridges(self) -> list[str]:
        """The bridges of all networks, sorted by name."""
        return sorted(row.bridge for row in self.rows.all(tables.networks))

    # Ports

    def plugs(self, where: str = "all", **values: Any) -> list[Plug]:
        """The ports of which one of `_PORTS` is true, in the order in which they were made; the same few statements however many."""
        if not (found := self.rows.found(_ports(where), **values)):
            return []
        fixed_ips, allowed, groups = (self._gathered(_of_ports(where, table), values) for table in _PARTS)
        return [self._plug(row, fixed_ips.get(row.id, ()), allowed.get(row.id, ()), groups.get(row.id, ())) for row in found]

    def ports(self, where: str, **values: Any) -> list[Port]:
        """The ports alone of what `plugs` finds, with fewer statements."""
        if not (found := self.rows.found(_ports(where), **values)):
            return []
        fixed_ips = self._gathered(_of_ports(where, tables.fixed_ips), values)
        return [self._port(row, fixed_ips.get(row.id, ())) for row in found]

    def _gathered(self, query: db_rows.Prepared, values: Mapping[str, Any]) -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = {}
        for row in self.rows.found(query, **values):
            found.setdefault(row[0], []).append(row[1:])
        return found

    def _plug(self, row: rows.Row, fixed_ips: Sequence[Any], allowed: Sequence[Any], groups: Sequence[Any]) -> Plug:
        return Plug(
            self._port(row, fixed_ips),
            row.kind,
            row.load_balancer_id,
            row.secured,
            groups=tuple(one for (one,) in groups),
            allowed=tuple(one for (one,) in allowed),
        )

    def _port(self, row: rows.Row, fixed_ips: Sequence[Any]) -> Port:
        return Port(
            id=row.id,
            name=row.name,
            network_id=row.network_id,
            mac_address=row.mac_address,
            mtu=row.mtu,
            fixed_ips=tuple(FixedIp(*one) for one in fixed_ips),
            device_id=row.device_id,
            device_owner=row.device_owner,
            project_id=row.project_id,
            vnic_type=row.details.get(VNIC_TYPE, NORMAL),
            port_security_enabled=is_secured(row),
            attachment=Attachment(row.bridge, self.effects.namespace) if self.effects.namespace else None,
        )

    def plug(self, port_id: str) -> Plug:
        """:raises NotFound: no such port."""
        for found in self.plugs("id", id=port_id):
            return found
        raise exceptions.NotFound("Port", port_id)

    def port(self, wanted: str) -> Port:
        """:raises NotFound: no such port."""
        for found in self.ports("id", id=wanted):
            return found
        raise exceptions.NotFound("Port", wanted)

    def find_port(self, name: str, kind: str) -> Port | None:
        """A port of this name and kind; None if there is none."""
        return next(iter(self.ports("name", name=name, kind=kind)), None)

    def ports_of_device(self, device_id: str, kinds: Sequence[str]) -> list[Port]:
        """Ports of an amphora, load balancer or router, of these kinds only: three at most."""
        first, second, third = [*kinds, kinds[0], kinds[0]][:3]
        return self.ports("device", device_id=device_id, kind_1=first, kind_2=second, kind_3=third)

    def carriers(self, load_balancer_id: str) -> list[str]:
        """The ids of the ports that carry the VIP of a load balancer and bear groups."""
        found = self.rows.all(tables.ports, load_balancer_id=load_balancer_id, kind=VRRP)
        return [row.id for row in found if row.details.get(PORT_SECURITY, True)]

    def add_port(
        self, name: str, network: str, addresses: Sequence[tuple[str, str | None]], columns: Mapping[str, Any], gateway: bool = False
    ) -> Port:
        """Make a port with one address per (subnet id, wanted address or None); only a `gateway` may have a gateway's address.

        :raises NotFound: a subnet does not exist.
        :raises Conflict: a wanted address is taken.
        :raises InvalidRequest: a wanted address is outside its subnet.
        :raises SubnetFull: a subnet has no address left.
        """
        made = self.rows.add(tables.ports, {}, name=name, network_id=network, mac_address="", **columns)
        taken = [self.take(made, subnet, wanted, gateway) for subnet, wanted in addresses]
        macs = {"own": mac_for(network, made), "of_address": mac_for(network, taken[0] if taken else made)}
        self.rows.change_by(_GIVE_MAC, port=made, network=network, **macs)
        return self.port(made)

    def delete_ports(self, port_ids: Sequence[str]) -> None:
        """Delete ports, with everything that hangs on them: they take no floating IPs with them, those are free again."""
        self.effects.unplug(port_ids)
        self.release_floating_ips(port_id=port_ids)
        with self.effects.changing(self, port_ids):
            self.rows.delete(tables.ports, id=port_ids)

    def release_floating_ips(self, **equal: Any) -> None:
        """Floating IPs lead nowhere any more."""
        routers = {row.router_id for row in self.rows.all(tables.floating_ips, **equal)}
        self.rows.set(tables.floating_ips, equal, port_id=None, fixed_address=None, router_id=None)
        for router_id in sorted(found for found in routers if found):
            self.effects.router_changed(self, router_id)

    # Addresses

    def take(self, port_id: str, subnet_id: str, wanted: str | None = None, gateway: bool = False) -> str:
        """Give a port another address.

        :raises NotFound: no such subnet; :raises AddressInUse: the wanted one is taken; :raises AddressNotOnSubnet: it is no such;
        :raises SubnetFull: none is left.
        """
        subnet = self.rows.get(tables.subnets, subnet_id)
        cidr = ipaddress.ip_network(subnet.cidr)
        if wanted is None:
            return self._take_next(port_id, subnet, cidr)
        address = ipaddress.ip_address(wanted)
        if address not in cidr or _is_reserved(address, cidr):
            raise exceptions.AddressNotOnSubnet(wanted, subnet.id, subnet.cidr)
        if (str(address) == subnet.gateway_ip and not gateway) or not self._insert(port_id, subnet.id, str(address)):
            raise exceptions.AddressInUse(f"The address {wanted} of subnet {subnet.id} is in use.")
        return str(address)

    def _take_next(self, port_id: str, subnet: rows.Row, cidr: ipaddress.IPv4Network | ipaddress.IPv6Network) -> str:
        """The next address after the one given out last, so that an address rests for a while before it is used again."""
        for offset in range(1, cidr.num_addresses + 1):  # as many as are used one after the other, and a few that nobody can have
            place = (subnet.cursor + offset) % cidr.num_addresses
            address = cidr[place]
            if _is_reserved(address, cidr) or str(address) == subnet.gateway_ip:
                continue
            if self._insert(port_id, subnet.id, str(address)):
                self.rows.set(tables.subnets, {"id": subnet.id}, cursor=place)
                return str(address)
        raise exceptions.SubnetFull(subnet.id, subnet.cidr)

    def _insert(self, port_id: str, subnet: str, address: str) -> bool:
        return self.rows.put(tables.fixed_ips, {"port_id": port_id, "subnet_id": subnet, "ip_address": address}) > 0

    def give_back(self, port_id: str, fixed: FixedIp) -> None:
        """Take an address from a port; its MAC stays."""
        self.rows.delete(tables.fixed_ips, port_id=port_id, subnet_id=fixed.subnet_id, ip_address=fixed.ip_address)

    def free_addresses(self, wanted: str) -> int:
        """How many ports a subnet has room for.

        :raises NotFound: no such subnet.
        """
        subnet = self.subnet(wanted)
        size = ipaddress.ip_network(subnet.cidr).num_addresses
        reserved = (2 if size > 2 else 0) + (subnet.gateway_ip is not None)
        return max(0, size - reserved - self.rows.count(tables.fixed_ips, subnet_id=wanted))

    def allow_address(self, port_id: str, address: str) -> None:
        """Let a port send from an address that is not its own (the VIP)."""
        self.rows.put(tables.allowed_addresses, {"port_id": port_id, "ip_address": address})

    # Orders of workers

    def followed(self, load_balancer_id: str) -> int:
        """The highest token of a load balancer's lease by which anything was changed here; 0: none."""
        row = self.rows.first(tables.orders, load_balancer_id=load_balancer_id)
        return int(row.token) if row else 0

    def follow(self, order: Order) -> None:
        """Keep a token.

        :raises StaleOrder: a newer order was followed.
        """
        seen = self.followed(order.load_balancer_id)
        if order.token < seen:
            raise exceptions.StaleOrder("the network", token=seen)
        if order.token > seen:
            self.rows.delete(tables.orders, load_balancer_id=order.load_balancer_id)
            self.rows.put(tables.orders, {"load_balancer_id": order.load_balancer_id, "token": order.token})

    def forget_old_orders(self) -> None:
        """Forget the order tokens of load balancers of which nothing has been left for long."""
        self.rows.run(_OLD_ORDERS, kept=_ORDERS_KEPT)

    # Security groups

    def security_group(self, wanted: str) -> SecurityGroup:
        """:raises NotFound: no such group."""
        row = self.rows.get(tables.security_groups, wanted)
        return SecurityGroup(row.id, row.name, row.project_id)

    def is_member(self, group_id: str, address: str) -> bool:
        """Does any port of a group have this address, or may send from it?"""
        return any(self.rows.found(one, group_id=group_id, address=address) for one in _MEMBERS)

    def set_groups(self, port_id: str, group_ids: Iterable[str]) -> None:
        """Exactly these, from now on.

        :raises NotFound: one does not exist.
        """
        wanted = sorted(set(group_ids))
        known = {row.id for row in self.rows.all(tables.security_groups, id=wanted)}
        for missing in set(wanted) - known:
            raise exceptions.NotFound("SecurityGroup", missing)
        self.rows.delete(tables.port_groups, port_id=port_id)
        self.rows.put(tables.port_groups, *({"port_id": port_id, "security_group_id": found} for found in wanted))

    def groups_of_vips(self, load_balancer_id: str) -> set[str]:
        """The security groups that lie on the VIP ports of a load balancer, whoever made these ports."""
        plugs = self.plugs("load_balancer", load_balancer_id=load_balancer_id)
        return {group for plug in plugs if plug.kind in ("", VIP) for group in plug.groups}

    def set_groups_of_vip(self, load_balancer_id: str, vip_port_id: str, group_ids: Iterable[str]) -> None:
        """Put groups on a VIP port, and on the ports that carry its address.

        :raises NotFound: a group does not exist.
        """
        carriers = self.carriers(load_balancer_id)
        with self.effects.changing(self, [vip_port_id, *carriers]):
            self.set_groups(vip_port_id, group_ids)
            effective = self.groups_of_vips(load_balancer_id)
            for port_id in carriers:
                self.set_groups(port_id, effective)

    # What the halves of a pair tell each other

    def pair_rules(self, load_balancer_id: str) -> frozenset[AccessRule]:
        """What the amphorae of a load balancer take from each other."""
        return frozenset(self.all_pair_rules(load_balancer_id=load_balancer_id).get(load_balancer_id, ()))

    def all_pair_rules(self, **equal: Any) -> dict[str, list[AccessRule]]:
        """What the halves of pairs admit from each other, by load balancer."""
        found: dict[str, list[AccessRule]] = {}
        for row in self.rows.all(tables.pair_rules, **equal):
            found.setdefault(row.load_balancer_id, []).append(AccessRule(row.protocol, row.port or None, row.cidr or None, True))
        return found

    def set_pair_rules(self, load_balancer_id: str, wanted: Iterable[AccessRule]) -> None:
        """Replace what the halves of this load balancer's pair admit from each other."""
        self.rows.delete(tables.pair_rules, load_balancer_id=load_balancer_id)
        own = {"load_balancer_id": load_balancer_id}
        self.rows.put(
            tables.pair_rules, *(own | {"protocol": one.protocol, "port": one.port or 0, "cidr": one.cidr or ""} for one in set(wanted))
        )


_ports_by = tables.ports.c
_in_groups = sa.select(tables.port_groups.c.port_id)
_PORTS: dict[str, sa.ColumnElement[bool]] = {
    "all": sa.true(),
    "id": _ports_by.id == sa.bindparam("id"),
    "name": (_ports_by.name == sa.bindparam("name")) & (_ports_by.kind == sa.bindparam("kind")),
    "device": (_ports_by.device_id == sa.bindparam("device_id"))
    & _ports_by.kind.in_([sa.bindparam(f"kind_{place}") for place in (1, 2, 3)]),
    "load_balancer": _ports_by.load_balancer_id == sa.bindparam("load_balancer_id"),
    # of ours, or lent to a load balancer by a tenant
    "in service": (_ports_by.kind != "") | _ports_by.load_balancer_id.is_not(None),
    # of which the filter has to know: amphorae's, secured ones, members of groups
    "filtered": _ports_by.kind.in_(OF_AMPHORAE) | _ports_by.secured | _ports_by.id.in_(_in_groups),
}


@functools.cache
def _ports(where: str) -> db_rows.Prepared:
    joined = tables.ports.join(tables.networks)
    found = sa.select(tables.ports, tables.networks.c.mtu, tables.networks.c.bridge).select_from(joined)
    return db_rows.Prepared(found.where(_PORTS[where]).order_by(sa.literal_column("ports.rowid")))


_PARTS = (tables.fixed_ips, tables.allowed_addresses, tables.port_groups)
"""What hangs on ports."""


@functools.cache
def _of_ports(where: str, table: sa.Table) -> db_rows.Prepared:
    chosen = sa.select(tables.ports.c.id).where(_PORTS[where])
    return db_rows.Prepared(sa.select(table).where(table.c.port_id.in_(chosen)))


_MEMBERS = [
    db_rows.Prepared(
        sa.select(table.c.port_id)
        .join(tables.port_groups, tables.port_groups.c.port_id == table.c.port_id)
        .where(table.c.ip_address == sa.bindparam("address"), tables.port_groups.c.security_group_id == sa.bindparam("group_id"))
    )
    for table in (tables.fixed_ips, tables.allowed_addresses)
]
_other = tables.ports.alias()
_has_mac = sa.exists().where(_other.c.network_id == sa.bindparam("network"), _other.c.mac_address == sa.bindparam("of_address"))
_GIVE_MAC = db_rows.Prepared(
    sa.update(tables.ports)
    .where(_ports_by.id == sa.bindparam("port"))
    .values(mac_address=sa.case((_has_mac, sa.bindparam("own")), else_=sa.bindparam("of_address")))
)
"""The MAC that follows from the address, unless a port that gave this address back has kept it."""
_OLD_ORDERS = sa.delete(tables.orders).where(
    tables.orders.c.number < sa.select(sa.func.max(tables.orders.c.number)).scalar_subquery() - sa.bindparam("kept"),
    tables.orders.c.load_balancer_id.not_in(sa.select(_ports_by.load_balancer_id).where(_ports_by.load_balancer_id.is_not(None))),
)


def _born() -> dict[str, str]:
    return {"created_at": rows.now()}


def _is_reserved(address: ipaddress.IPv4Address | ipaddress.IPv6Address, cidr: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
    return address in (cidr.network_address, cidr.broadcast_address) and cidr.num_addresses > 2
