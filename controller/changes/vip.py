"""The VIP of a load balancer: what the deployment allows, then the network service's word, before anything is stored."""

from __future__ import annotations

import contextlib
import dataclasses
import ipaddress
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from controller import exceptions
from controller.changes import visibility
from controller.changes.asking import Asking
from controller.changes.placement import Choice
from controller.changes.settings import Settings
from controller.drivers.network import interface
from controller.exceptions import NotAllowed, RuleBroken
from controller.model import load_balancer as model
from controller.model.network import DIRECT, Network, Port, Subnet, VipRequest, WantedAddress
from controller.model.status import Topology
from controller.refusals import Refusal

LOG = logging.getLogger(__name__)

_NEEDED = {Topology.SINGLE: 2, Topology.ACTIVE_STANDBY: 3}
"""Addresses that a load balancer takes of the subnet of its VIP: the VIP's, and one for each amphora."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Place(VipRequest):
    """Where the VIP will be; without an address, the network service chooses one."""

    network_id: str
    subnet_id: str
    versions: frozenset[int] = frozenset()  # of IP, of this VIP and of all additional ones


def check(settings: Settings, wanted: Mapping[str, Any]) -> None:
    """What can be told without the network service.

    :raises InvalidRequest: the body names no place for the VIP, or one that this deployment does not let tenants name.
    """
    allowed = settings.allow_vip
    given = [name for name in allowed if wanted[name] is not None]
    if not given:
        raise RuleBroken("VIP must contain one of: vip_port_id, vip_network_id, vip_subnet_id.")
    for name in given:
        if not allowed[name]:
            raise NotAllowed(name, wanted[name])


def find(asking: Asking, wanted: Mapping[str, Any], choice: Choice) -> Place:
    """Where a new VIP goes, after all rules about what the body names.

    :raises InvalidRequest: it names what does not exist or what the caller does not see, or its parts contradict each other.
    """
    with visibility.in_a_body():
        place = _place(asking, wanted, choice)
        if not choice.allows_vip_on(asking.settings, place.network_id):
            raise NotAllowed("vip_network_id", place.network_id)
        check_qos(asking, wanted["vip_qos_policy_id"], asked_for=wanted["vip_qos_policy_id"] is not None)
        additional, versions = _additional(asking, wanted["additional_vips"], place)
        check_groups(asking, wanted["vip_sg_ids"], choice.vip_vnic_type)
    return dataclasses.replace(
        place,
        qos_policy_id=wanted["vip_qos_policy_id"] or place.qos_policy_id,
        additional=additional,
        versions=place.versions | versions,
    )


def _place(asking: Asking, wanted: Mapping[str, Any], choice: Choice) -> Place:
    if wanted["vip_port_id"] is not None:
        return _on_port(visibility.port(asking, wanted["vip_port_id"]), wanted)
    address = wanted["vip_address"]
    if wanted["vip_network_id"] is None:
        subnet = visibility.subnet(asking, wanted["vip_subnet_id"])
    else:
        network = visibility.network(asking, wanted["vip_network_id"])
        if wanted["vip_subnet_id"] is None:
            subnet = _subnet_of(asking, network, address, _NEEDED[choice.topology])
        else:
            subnet = visibility.subnet(asking, wanted["vip_subnet_id"])
            if subnet.network_id != network.id:
                raise _contradiction(f"Subnet {subnet.id} is not part of network {network.id}.")
    return Place(network_id=subnet.network_id, subnet_id=subnet.id, address=address, versions=frozenset((subnet.ip_version,)))


def _on_port(port: Port, wanted: Mapping[str, Any]) -> Place:
    """The address of a tenant's own port: the one that the body points at, or its first."""
    if port.device_id:
        raise _contradiction(f"The vip_port_id {port.id} is in use by {port.device_id}.")
    if wanted["vip_network_id"] not in (None, port.network_id):
        raise _contradiction(f"The vip_port_id {port.id} is not on network {wanted['vip_network_id']}.")
    for fixed in port.fixed_ips:
        if wanted["vip_subnet_id"] in (None, fixed.subnet_id) and _same(wanted["vip_address"], fixed.ip_address):
            return Place(
                network_id=port.network_id,
                subnet_id=fixed.subnet_id,
                address=fixed.ip_address,
                port_id=port.id,
                qos_policy_id=port.qos_policy_id,
                versions=frozenset((ipaddress.ip_address(fixed.ip_address).version,)),
            )
    raise _contradiction(f"The vip_port_id {port.id} does not have the vip_address or vip_subnet_id that was asked for.")


def _contradiction(sentence: str) -> exceptions.InvalidRequest:
    return exceptions.InvalidRequest(sentence, code=Refusal.VIP_CONTRADICTION)


def _same(wanted: str | None, address: str) -> bool:
    return wanted is None or ipaddress.ip_address(wanted) == ipaddress.ip_address(address)


def _subnet_of(asking: Asking, network: Network, address: str | None, needed: int) -> Subnet:
    """The subnet that holds the address; without one, the first that has room, those of IPv4 before the others."""
    service = asking.network
    subnets = sorted((service.get_subnet(found) for found in network.subnet_ids), key=lambda subnet: subnet.ip_version)
    if address is not None:
        subnets = [subnet for subnet in subnets if ipaddress.ip_address(address) in ipaddress.ip_network(subnet.cidr)]
    if not subnets:
        raise _contradiction(f"No subnet of network {network.id} fits the VIP that was asked for.")
    free = service.free_addresses(network.id) if address is None and len(subnets) > 1 else None
    if free is None:
        return subnets[0]
    return next((subnet for subnet in subnets if free.get(subnet.id, 0) >= needed), subnets[0])


def _additional(asking: Asking, wanted: Sequence[Mapping[str, Any]], place: Place) -> tuple[tuple[WantedAddress, ...], frozenset[int]]:
    """Every further VIP is on a subnet of its own, of the same network, and on the same port; returns their versions of IP, too."""
    seen = {place.subnet_id}
    found, versions = [], set()
    for item in wanted:
        subnet = visibility.subnet(asking, item["subnet_id"])
        if subnet.id in seen:
            raise RuleBroken(f"additional_vips: subnet {subnet.id} holds another VIP of this load balancer; each needs its own.")
        seen.add(subnet.id)
        versions.add(subnet.ip_version)
        if subnet.network_id != place.network_id:
            raise RuleBroken(f"additional_vips: subnet {subnet.id} is not on the network {place.network_id} of the VIP.")
        address = item["ip_address"]
        if address is not None and ipaddress.ip_address(address) not in ipaddress.ip_network(subnet.cidr):
            raise RuleBroken(f"additional_vips: the address {address} is not in subnet {subnet.id} ({subnet.cidr}).")
        if item["port_id"] not in (None, place.port_id):
            port = visibility.port(asking, item["port_id"])
            raise RuleBroken(f"additional_vips: all VIPs are addresses of one port; to use port {port.id}, name it as vip_port_id.")
        found.append(WantedAddress(subnet.id, address))
    return tuple(found), frozenset(versions)


def check_qos(asking: Asking, policy_id: str | None, *, asked_for: bool) -> None:
    """A VIP's QoS policy, where the network service has any.

    :raises InvalidRequest: it has none.
    :raises NotFound: there is no such policy.
    """
    if asked_for and not asking.network.has_qos():
        raise RuleBroken("vip_qos_policy_id: the network service of this deployment has no QoS policies.")
    if policy_id is not None:
        visibility.qos_policy(asking, policy_id)


def check_groups(asking: Asking, group_ids: Sequence[str], vnic_type: str) -> None:
    """A tenant's own security groups can be put on a VIP, unless it is a part of the host's network card.

    :raises InvalidRequest: it is one.
    :raises NotFound: there is no such group.
    """
    for group_id in group_ids:
        visibility.security_group(asking, group_id)
    if group_ids and vnic_type == DIRECT:
        raise RuleBroken("vip_sg_ids: security groups have no effect on a VIP of type direct (SR-IOV).")


@contextlib.contextmanager
def allocated(asking: Asking, load_balancer_id: str, project_id: str, place: Place) -> Iterator[model.Vip]:
    """The VIP port, which is given back if the load balancer is not stored after all.

    :raises InvalidRequest: the network service no longer knows the place, or it has no room.
    :raises Conflict: the address is taken.
    """
    network = asking.network
    try:
        with visibility.in_a_body():
            vip = network.allocate_vip(load_balancer_id, project_id, place)
    except exceptions.Conflict as error:
        raise exceptions.AddressInUse(f"The VIP IP address is already in use. {error}") from error
    try:
        yield vip
    except BaseException:
        _give_back(network, load_balancer_id, vip)
        raise


def columns(vip: model.Vip) -> dict[str, Any]:
    """What the network service says of a VIP, as the columns of its load balancer."""
    return {
        "vip_address": vip.address,
        "vip_port_id": vip.port_id,
        "vip_subnet_id": vip.subnet_id,
        "vip_network_id": vip.network_id,
        "vip_qos_policy_id": vip.qos_policy_id,
        "vip_port_is_ours": vip.port_is_ours,
        "additional_vips": vip.additional,
    }


def _give_back(network: interface.NetworkDriver, load_balancer_id: str, vip: model.Vip) -> None:
    """Housekeeping finds what can't be given back now: no row explains the port."""
    try:
        network.deallocate_vip(load_balancer_id, vip)
    except exceptions.ControllerError:
        LOG.exception("The VIP port %s of load balancer %s, which was not stored, is left to housekeeping", vip.port_id, load_balancer_id)
