"""The NICs of an amphora in the tenant's networks: addresses and routes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from amphora_agent.protocol import rest
from controller.model import access
from controller.model import load_balancer as model
from controller.model.amphora import Amphora
from controller.model.network import NORMAL, FixedIp, HostRoute
from controller.model.status import Topology
from controller.render import keepalived, safe


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class VipSubnet:
    """What an amphora has to know of the subnet of a VIP; `mtu` is the network's, in bytes."""

    cidr: str
    gateway_ip: str | None
    mtu: int
    host_routes: tuple[HostRoute, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MemberNetwork:
    """A NIC of the amphora on a network of members: its port's MAC, and its addresses in CIDR notation.

    `is_guarded`: by security groups, which let in answers alone.
    """

    mac: str
    mtu: int
    addresses: tuple[str, ...]
    host_routes: tuple[HostRoute, ...] = ()
    is_guarded: bool = True


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Networks:
    """What rendering has to know of one amphora's networks. `vips` come in the order of the VIP's addresses, `members` in that of their
    NICs, which are numbered from eth2 on.

    `floating`: addresses that somebody else translates into the VIP.
    """

    vips: tuple[VipSubnet, ...]
    members: tuple[MemberNetwork, ...] = ()
    floating: tuple[str, ...] = ()


def interfaces(snapshot: model.Snapshot, amphora: Amphora, networks: Networks, peer_port: int) -> tuple[rest.Interface, ...]:
    """The VIP's NIC (eth1), then those of members' networks (eth2 and on).

    :raises UnsafeValue: an address, a MAC or a subnet is none.
    """
    members = enumerate(networks.members, start=2)
    vip = dataclasses.replace(_vip_interface(snapshot, amphora, networks.vips), admits=_admitted(snapshot, amphora, peer_port))
    return (vip, *(_member_interface(f"eth{number}", nic) for number, nic in members))


def ranges(networks: Networks) -> tuple[str, ...]:
    """The subnets on which an amphora has addresses, each once, in the order of its NICs.

    :raises UnsafeValue: one is none.
    """
    of_members = (safe.network("address of a NIC", address) for nic in networks.members for address in nic.addresses)
    of_vips = (safe.network("cidr of the VIP's subnet", one.cidr) for one in networks.vips)
    return tuple(dict.fromkeys(map(str, (*of_vips, *of_members))))


def _vip_interface(snapshot: model.Snapshot, amphora: Amphora, subnets: Sequence[VipSubnet]) -> rest.Interface:
    load_balancer = snapshot.load_balancer
    ranges = [safe.network("cidr of the VIP's subnet", one.cidr) for one in subnets]
    own = (amphora.vrrp_ip or "", *(one.ip_address for one in amphora.additional_vrrp_ips))
    known = len(own)  # of an amphora that an older worker made for several VIPs: 1; housekeeping replaces it
    addresses = [
        f"{safe.address(f'VRRP address of amphora {amphora.id!r}', one)}/{place.prefixlen}"
        for one, place in zip(own, ranges[:known], strict=True)
    ]
    return rest.Interface(
        mac=safe.mac(f"MAC of amphora {amphora.id!r}", amphora.vrrp_mac),
        name=keepalived.VIP_INTERFACE,
        mtu=int(subnets[0].mtu),
        addresses=tuple(addresses),
        routes=_vip_routes(load_balancer.vip.addresses[:known], subnets[:known]),
        vips=keepalived.vips(load_balancer, ranges) if load_balancer.topology is Topology.SINGLE else (),
    )


def _vip_routes(vips: Sequence[FixedIp], subnets: Sequence[VipSubnet]) -> tuple[rest.Route, ...]:
    """Those of the first subnet of each version of IP, and what other subnets know beside. With several VIPs, what is sent from one goes
    by the gateway of its own subnet, by which the question came.
    """
    routes: dict[tuple[str, int], rest.Route] = {}
    from_vips: list[rest.Route] = []
    for one, subnet in zip(vips, subnets, strict=True):
        source, network = safe.address("VIP address", one.ip_address), safe.network("cidr of the VIP's subnet", subnet.cidr)
        gateway = (rest.Route("default", safe.address("gateway of the VIP's subnet", subnet.gateway_ip)),) if subnet.gateway_ip else ()
        own = gateway + _routes(subnet.host_routes)
        for route in own:
            routes.setdefault((route.destination, network.version), route)
        from_vips += [dataclasses.replace(route, source=source) for route in (rest.Route(str(network)), *own)]
    return (*routes.values(), *(from_vips if len(subnets) > 1 else ()))


def _admitted(snapshot: model.Snapshot, amphora: Amphora, peer_port: int) -> tuple[rest.Admission, ...] | None:
    """What a VIP's NIC admits that no security group guards: it is a part of the host's card, or its port has no port security."""
    if snapshot.load_balancer.vip.vnic_type == NORMAL and not amphora.guards_itself:
        return None
    wanted = {
        rest.Admission(one.protocol, one.port, None if one.cidr is None else str(safe.network("range that may reach the VIP", one.cidr)))
        for one in access.rules(snapshot, peer_port)
    }
    return tuple(sorted(wanted, key=lambda one: (one.protocol, one.port or 0, one.source or "")))  # whatever the order of rows


def _member_interface(name: str, nic: MemberNetwork) -> rest.Interface:
    return rest.Interface(
        mac=safe.mac(f"MAC of {name}", nic.mac),
        name=name,
        mtu=int(nic.mtu),
        addresses=tuple(_with_prefix(f"address of {name}", address) for address in nic.addresses),
        routes=_routes(nic.host_routes),
        admits=None if nic.is_guarded else (),
    )


def _with_prefix(field: str, value: str) -> str:
    address, _, _ = value.partition("/")
    return f"{safe.address(field, address)}/{safe.network(field, value).prefixlen}"


def _routes(routes: Sequence[HostRoute]) -> tuple[rest.Route, ...]:
    return tuple(
        rest.Route(str(safe.network("destination of a route", one.destination)), safe.address("nexthop of a route", one.nexthop))
        for one in routes
    )
