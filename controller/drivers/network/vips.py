"""Where a VIP goes that was asked for by a network, a subnet or a port: what every driver decides alike."""

import ipaddress
from collections.abc import Callable

from controller import exceptions
from controller.model import load_balancer as model
from controller.model.network import FixedIp, Network, Port, Subnet, VipRequest, WantedAddress

DEVICE_OWNER = "Octavia"
"""The owner of our ports, as clients of the compatible API know it."""


def name_of(load_balancer_id: str) -> str:
    """The name of a VIP port that we made."""
    return f"octavia-lb-{load_balancer_id}"


def subnet_for(request: VipRequest, network: Callable[[str], Network], subnet: Callable[[str], Subnet]) -> Subnet:
    """The subnet that was named, or the first one of the network that fits, IPv4 before IPv6.

    :raises NotFound: no such network or subnet; :raises InvalidRequest: the parts of the request contradict each other.
    """
    if request.subnet_id is not None:
        found = subnet(request.subnet_id)
        if request.network_id is not None and network(request.network_id).id != found.network_id:
            raise exceptions.InvalidRequest(f"Subnet {found.id} is not part of network {request.network_id}.")
        return found
    if request.network_id is None:
        raise exceptions.InvalidRequest("A VIP needs a vip_port_id, a vip_network_id or a vip_subnet_id.")
    subnets = [subnet(one) for one in network(request.network_id).subnet_ids]
    if request.address is not None:
        address = ipaddress.ip_address(request.address)
        subnets = [one for one in subnets if address in ipaddress.ip_network(one.cidr)]
    if not subnets:
        raise exceptions.InvalidRequest(f"No subnet of network {request.network_id} fits the VIP that was asked for.")
    return min(subnets, key=lambda one: one.ip_version)


def address_of(port: Port, request: VipRequest, load_balancer_id: str) -> FixedIp:
    """The address of a tenant's port that the VIP gets.

    :raises InvalidRequest: the port is in use, or does not have what was asked for.
    """
    if port.device_id not in ("", f"lb-{load_balancer_id}"):
        raise exceptions.InvalidRequest(f"The vip_port_id {port.id} is in use by {port.device_id}.")
    if request.network_id not in (None, port.network_id):
        raise exceptions.InvalidRequest(f"The vip_port_id {port.id} is not on network {request.network_id}.")
    for fixed in port.fixed_ips:
        if request.address in (None, fixed.ip_address) and request.subnet_id in (None, fixed.subnet_id):
            return fixed
    raise exceptions.InvalidRequest(f"The vip_port_id {port.id} does not have the vip_address or vip_subnet_id that was asked for.")


def strayed_qos(port_id: str) -> str:
    """What is said of a port that does not obey its load balancer's QoS policy."""
    return f"the QoS policy of the port {port_id} is not the load balancer's"


def first_of(port: Port, request: VipRequest) -> FixedIp:
    """The first address of a VIP port that was made for this request, and has no others than the VIP's."""
    others = {one.subnet_id for one in request.additional}
    return next(fixed for fixed in port.fixed_ips if fixed.subnet_id not in others)


def beside(vip: model.Vip, port: Port) -> list[FixedIp]:
    """Addresses of a VIP port that are on the VIP's subnets and none of its own, and so have to go; those of a tenant's port are theirs."""
    subnets = {one.subnet_id for one in vip.addresses} if vip.port_is_ours else set()
    return [one for one in port.fixed_ips if one.subnet_id in subnets and one not in vip.addresses]


def vip(port: Port, first: FixedIp, request: VipRequest, *, ours: bool) -> model.Vip:
    """The VIP at addresses of a port, this one first; `ours`: the port goes with it.

    :raises InvalidRequest: it has no such additional address.
    """
    return model.Vip(
        addresses=(first, *(_additional(port, one) for one in request.additional)),
        port_id=port.id,
        network_id=port.network_id,
        qos_policy_id=request.qos_policy_id,
        port_is_ours=ours,
    )


def _additional(port: Port, wanted: WantedAddress) -> FixedIp:
    for fixed in port.fixed_ips:
        if fixed.subnet_id == wanted.subnet_id and wanted.ip_address in (None, fixed.ip_address):
            return fixed
    address = f"the address {wanted.ip_address}" if wanted.ip_address else "an address"
    raise exceptions.InvalidRequest(f"additional_vips: the port {port.id} does not have {address} on subnet {wanted.subnet_id}.")
