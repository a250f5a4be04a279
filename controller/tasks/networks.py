"""What rendering has to know of networks, asked from the network service."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Protocol

from controller import exceptions, render
from controller.drivers.network import interface
from controller.model import addresses, status
from controller.model import amphora as amphora_model
from controller.model import load_balancer as model
from controller.model.network import DIRECT, NORMAL, FixedIp, Port
from controller.tasks import facts

LOG = logging.getLogger(__name__)


class TellsFloating(Protocol):
    """Who tells what leads to a VIP."""

    def floating_addresses(self, port_id: str) -> frozenset[str]:
        """:raises Transient: the network service does not answer."""


def of_members(snapshot: model.Snapshot, known: facts.Known, pushed: int | None = None) -> Mapping[str, tuple[str, ...]]:
    """Networks of members other than the VIP's, with the members' subnets there, in the order in which members first asked for them.

    The VIP's own network is among them for members of a version of IP of which the amphora has no address there. A subnet that
    was deleted under its members is passed over: their traffic goes by the default route, and the others' is not to suffer. With the
    generation that was `pushed`, members whose deletion is newer count: the amphorae have not let go of them yet.
    """
    found: dict[str, dict[str, None]] = {}
    vip = snapshot.load_balancer.vip
    own, versions = {one.subnet_id for one in vip.addresses}, vip.versions
    if {one.subnet_id for one in snapshot.members} <= {None, *own}:
        return {}
    wanted = [one for one in snapshot.members if not _is_going(snapshot, one, pushed)]
    for subnet_id in dict.fromkeys(one.subnet_id for one in wanted):
        if subnet_id is None or subnet_id in own:
            continue
        try:
            subnet = known.subnet(subnet_id)
        except exceptions.NotFound:
            LOG.warning("load balancer %s: the subnet %s of some members does not exist any more", snapshot.load_balancer.id, subnet_id)
            continue
        if subnet.network_id != vip.network_id or subnet.ip_version not in versions:
            found.setdefault(subnet.network_id, {})[subnet_id] = None
    return {network_id: tuple(subnet_ids) for network_id, subnet_ids in found.items()}


def vnic_type(snapshot: model.Snapshot, subnet_ids: Collection[str]) -> str:
    """How the port to these subnets is made: a part of a card, as soon as one of the members there asks for it."""
    there = [one for one in snapshot.members if one.subnet_id in subnet_ids and not _is_going(snapshot, one)]
    return DIRECT if any(one.vnic_type == DIRECT for one in there) else NORMAL


def first_member(snapshot: model.Snapshot, subnet_ids: Collection[str]) -> str:
    """The id of the member for which a port to these subnets is plugged: a port that was taken back was there for others."""
    there = (one.id for one in snapshot.members if one.subnet_id in subnet_ids and not _is_going(snapshot, one))
    return next(there, "")


def of_vip(vip: model.Vip, known: facts.Known) -> tuple[render.VipSubnet, ...]:
    """The subnet of each address of the VIP.

    :raises NotFound: one does not exist any more; :raises Transient: the service did not answer.
    """
    mtu = known.network(vip.network_id).mtu
    subnets = [known.subnet(one.subnet_id) for one in vip.addresses]
    return tuple(render.VipSubnet(cidr=one.cidr, gateway_ip=one.gateway_ip, mtu=mtu, host_routes=one.host_routes) for one in subnets)


def floating(snapshot: model.Snapshot, network: TellsFloating, known: facts.Known) -> tuple[str, ...]:
    """Addresses that are translated into the VIP; asked only where a member may be at one: neither on the VIP's own subnets nor on the
    one that it names, which the amphora has a leg on, unless that one is of an external network.
    """
    vip = snapshot.load_balancer.vip
    own = [ipaddress.ip_network(known.subnet(one.subnet_id).cidr) for one in vip.addresses]
    subnets = {member.subnet_id for member in snapshot.members}
    near = {one: addresses.Ranges((*own, *_without_floating(one, known))) for one in subnets}
    if all(one.address in near[one.subnet_id] or not addresses.is_address(one.address) for one in snapshot.members):
        return ()
    return tuple(sorted(network.floating_addresses(vip.port_id)))


def _without_floating(subnet_id: str | None, known: facts.Known) -> Iterator[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """The range of a subnet on which nothing is translated."""
    with contextlib.suppress(exceptions.NotFound):
        if subnet_id is not None and not known.network((subnet := known.subnet(subnet_id)).network_id).external:
            yield ipaddress.ip_network(subnet.cidr)


def of_amphora(
    snapshot: model.Snapshot,
    amphora: amphora_model.Amphora,
    member_network_ids: Iterable[str],
    network: interface.NetworkDriver,
    known: facts.Known,
) -> tuple[render.MemberNetwork, ...]:
    """The NICs of one amphora on these networks of members, with the addresses there that members ask for.

    :raises NotFound: a network was not plugged (any more): its port was deleted behind our back.
    """
    subnets = of_members(snapshot, known)
    plugged = amphora.member_ports if amphora.member_ports is not None else map(noted, network.member_ports(amphora.id))
    ports = {port.network_id: port for port in plugged}
    nics = []
    for network_id in member_network_ids:
        if network_id not in subnets:
            continue
        if network_id not in ports:
            raise exceptions.NotFound(f"Port of amphora {amphora.id} on network", network_id)
        nics.append(_nic(ports[network_id], subnets[network_id], known))
    return tuple(nics)


def surplus(port: Port, subnet_ids: Collection[str], known: facts.Known) -> list[FixedIp]:
    """Addresses of a port that no member asks for, but for those that come by themselves with one that is asked for."""
    return [one for one in port.fixed_ips if one.subnet_id not in subnet_ids and not (subnet_ids and _is_automatic(one.subnet_id, known))]


def _is_automatic(subnet_id: str, known: facts.Known) -> bool:
    try:
        return known.subnet(subnet_id).is_automatic
    except exceptions.NotFound:
        return False


def may_have_shrunk(snapshot: model.Snapshot) -> bool:
    """Whether a network or a subnet of members may be asked for by nobody since the generation that was applied last."""
    applied, own = snapshot.load_balancer.applied_generation, {one.subnet_id for one in snapshot.load_balancer.vip.addresses}
    outside = [one for one in snapshot.members if one.subnet_id not in (None, *own)]
    return any(one.generation > applied or _is_going(snapshot, one) for one in outside)


def _is_going(snapshot: model.Snapshot, member: model.Member, pushed: int | None = None) -> bool:
    """Whether a member is being deleted, by itself or with its pool, since this generation or before."""
    pool = snapshot.pools_by_id.get(member.pool_id)
    going = [one for one in (member, pool) if one is not None and one.provisioning_status is status.ProvisioningStatus.PENDING_DELETE]
    return any(pushed is None or one.generation <= pushed for one in going)


def noted(port: Port) -> amphora_model.MemberPort:
    """What of a port is written down."""
    return amphora_model.MemberPort(port.network_id, port.mac_address, port.fixed_ips, port.vnic_type, port.port_security_enabled)


def _nic(port: amphora_model.MemberPort, subnet_ids: Collection[str], known: facts.Known) -> render.MemberNetwork:
    port = port.on(subnet_ids)
    subnets = [known.subnet(fixed.subnet_id) for fixed in port.fixed_ips]
    prefixes = [ipaddress.ip_network(subnet.cidr).prefixlen for subnet in subnets]
    return render.MemberNetwork(
        mac=port.mac_address,
        mtu=known.network(port.network_id).mtu,
        is_guarded=port.vnic_type == NORMAL and port.is_secured,
        addresses=tuple(f"{fixed.ip_address}/{prefix}" for fixed, prefix in zip(port.fixed_ips, prefixes, strict=True)),
        host_routes=tuple(route for subnet in subnets for route in subnet.host_routes),
    )
