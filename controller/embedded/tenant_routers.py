"""Routers and floating IPs, with the Networking API's semantics."""

import ipaddress
from collections.abc import Mapping
from typing import Any

from controller import exceptions
from controller.embedded import networking, rows, tables
from controller.embedded.contents import Contents
from controller.embedded.tenant_documents import FLOATING_OWNER, ROUTER_GATEWAY, ROUTER_INTERFACE
from controller.model.network import FixedIp, Network, Port, Subnet

_DETAILS = ("description", "tags")


def create(contents: Contents, values: Mapping[str, Any], made: str | None = None) -> str:
    """:raises NotFound: the network of the gateway does not exist; :raises NetworkInvalid: it is not external."""
    made = made or rows.new_id()
    contents.rows.add(tables.routers, values, _DETAILS, id=made, name=values["name"], project_id=values["project_id"])
    _set_gateway(contents, made, values.get("external_gateway_info"))
    contents.effects.router_changed(contents, made)
    return made


def update(contents: Contents, router_id: str, values: Mapping[str, Any]) -> None:
    """:raises NotFound: something named does not exist; :raises NetworkConflict: floating IPs need the gateway."""
    contents.rows.change(tables.routers, router_id, values, ("name",), _DETAILS)
    if "external_gateway_info" in values:
        _change_gateway(contents, router_id, values["external_gateway_info"] or None)


def _change_gateway(contents: Contents, router_id: str, wanted: Mapping[str, Any] | None) -> None:
    present = _ports(contents, router_id, ROUTER_GATEWAY)
    if wanted is not None and present and present[0].network_id == wanted.get("network_id"):
        return
    if present and contents.rows.count(tables.floating_ips, router_id=router_id):
        words = f"The gateway of router {router_id} is needed by floating IPs."
        raise networking.NetworkConflict("RouterExternalGatewayInUseByFloatingIp", words)
    contents.delete_ports([port.id for port in present])
    _set_gateway(contents, router_id, wanted)
    contents.effects.router_changed(contents, router_id)


def _set_gateway(contents: Contents, router_id: str, wanted: Mapping[str, Any] | None) -> None:
    if not wanted:
        return
    network = _external(contents, wanted["network_id"])
    fixed: Mapping[str, Any] = next(iter(wanted.get("external_fixed_ips") or ()), {})
    subnet_id = fixed.get("subnet_id") or _first_subnet(contents, network)
    of_router = {"device_id": router_id, "device_owner": ROUTER_GATEWAY}
    contents.add_port("", network.id, [(subnet_id, fixed.get("ip_address"))], of_router)


def _external(contents: Contents, network_id: str) -> Network:
    if not contents.rows.get(tables.networks, network_id).external:
        raise networking.NetworkInvalid("BadRequest", f"Network {network_id} is not an external network.")
    return contents.network(network_id)


def _first_subnet(contents: Contents, network: Network) -> str:
    for subnet_id in network.subnet_ids:
        if contents.subnet(subnet_id).ip_version == 4:
            return subnet_id
    raise networking.NetworkInvalid("BadRequest", f"Network {network.id} has no IPv4 subnet.")


def delete(contents: Contents, router_id: str) -> None:
    """:raises NotFound: no such router; :raises NetworkConflict: it has legs on subnets."""
    contents.rows.get(tables.routers, router_id)
    if _ports(contents, router_id, ROUTER_INTERFACE):
        raise networking.NetworkConflict("RouterInUse", f"Router {router_id} has legs on subnets: take them away first.")
    contents.delete_ports([port.id for port in _ports(contents, router_id, ROUTER_GATEWAY)])
    contents.rows.delete(tables.routers, id=router_id)
    contents.effects.router_gone(router_id)


def _ports(contents: Contents, router_id: str, owner: str) -> list[Port]:
    return [port for port in contents.ports_of_device(router_id, [""]) if port.device_owner == owner]


# Legs


def add_interface(contents: Contents, router_id: str, subnet_id: str | None, port_id: str | None) -> networking.Document:
    """:raises NotFound: something named does not exist; :raises Conflict: the address is taken; :raises NetworkInvalid: no gateway."""
    contents.rows.get(tables.routers, router_id)
    if (subnet_id is None) == (port_id is None):
        raise networking.NetworkInvalid("BadRequest", "A leg is named by its subnet_id or by its port_id.")
    if port_id is not None:
        port = contents.port(port_id)
        if port.device_id:
            raise networking.NetworkConflict("PortInUse", f"Port {port_id} is in use by {port.device_id}.")
        for fixed in port.fixed_ips:
            _check_leg(contents, router_id, contents.subnet(fixed.subnet_id))
        with contents.effects.changing(contents, [port_id]):  # routers are not filtered
            contents.set_groups(port_id, ())
            contents.rows.set(tables.ports, {"id": port_id}, device_id=router_id, device_owner=ROUTER_INTERFACE, secured=False)
    else:
        port = _leg(contents, router_id, contents.subnet(str(subnet_id)))
    contents.effects.router_changed(contents, router_id)
    return _answer(router_id, port, port.fixed_ips[0].subnet_id)


def _leg(contents: Contents, router_id: str, subnet: Subnet) -> Port:
    if subnet.gateway_ip is None:
        raise networking.NetworkInvalid("BadRequest", f"Subnet {subnet.id} has no gateway IP for the router to have.")
    _check_leg(contents, router_id, subnet)
    of_router = {"device_id": router_id, "device_owner": ROUTER_INTERFACE}
    return contents.add_port("", subnet.network_id, [(subnet.id, subnet.gateway_ip)], of_router, gateway=True)


def _check_leg(contents: Contents, router_id: str, subnet: Subnet) -> None:
    cidr = ipaddress.ip_network(subnet.cidr)
    for port in contents.ports_of_device(router_id, [""]):
        for other in (contents.subnet(fixed.subnet_id) for fixed in port.fixed_ips):
            if cidr.overlaps(ipaddress.ip_network(other.cidr)):
                words = f"Router {router_id} has a leg on subnet {other.id}, whose cidr {other.cidr} overlaps with {subnet.cidr}."
                raise networking.NetworkInvalid("BadRequest", words)


def remove_interface(contents: Contents, router_id: str, subnet_id: str | None, port_id: str | None) -> networking.Document:
    """:raises NotFound: there is no such leg; :raises NetworkConflict: floating IPs lead through it."""
    contents.rows.get(tables.routers, router_id)
    for port in _ports(contents, router_id, ROUTER_INTERFACE):
        subnets = {fixed.subnet_id for fixed in port.fixed_ips}
        if port.id == port_id or (port_id is None and subnet_id in subnets):
            _check_unneeded(contents, router_id, subnets)
            contents.delete_ports([port.id])
            contents.effects.router_changed(contents, router_id)
            return _answer(router_id, port, port.fixed_ips[0].subnet_id)
    raise exceptions.NotFound("RouterInterface", port_id or str(subnet_id))


def _check_unneeded(contents: Contents, router_id: str, subnets: set[str]) -> None:
    for floating in contents.rows.all(tables.floating_ips, router_id=router_id):
        for fixed in contents.rows.all(tables.fixed_ips, port_id=floating.port_id, ip_address=floating.fixed_address):
            if fixed.subnet_id in subnets:
                words = f"The interface of router {router_id} on subnet {fixed.subnet_id} is needed by floating IP {floating.id}."
                raise networking.NetworkConflict("RouterInterfaceInUseByFloatingIP", words)


def _answer(router_id: str, port: Port, subnet_id: str) -> networking.Document:
    project = port.project_id or ""
    return {
        "id": router_id,
        "tenant_id": project,
        "project_id": project,
        "port_id": port.id,
        "network_id": port.network_id,
        "subnet_id": subnet_id,
        "subnet_ids": [subnet_id],
    }


# Floating IPs


def create_floating(contents: Contents, values: Mapping[str, Any]) -> str:
    """:raises NotFound: something named does not exist; :raises Conflict: the address is taken; :raises NetworkInvalid: it does not fit."""
    network = _external(contents, values["floating_network_id"])
    if values.get("fixed_ip_address") and not values.get("port_id"):
        raise networking.NetworkInvalid("BadRequest", "A fixed_ip_address is one of a port: give a port_id.")
    made, wanted = rows.new_id(), values.get("floating_ip_address")
    subnet_id = values.get("subnet_id") or _first_subnet(contents, network)
    port = contents.add_port("", network.id, [(subnet_id, wanted)], {"device_id": made, "device_owner": FLOATING_OWNER})
    columns = {"own_port_id": port.id, "address": port.fixed_ips[0].ip_address, "network_id": network.id}
    contents.rows.add(tables.floating_ips, values, _DETAILS, id=made, project_id=values["project_id"], **columns)
    if values.get("port_id"):
        _associate(contents, made, values["port_id"], values.get("fixed_ip_address"))
    return made


def update_floating(contents: Contents, floating_id: str, values: Mapping[str, Any]) -> None:
    """:raises NotFound: something named does not exist, or no router leads there; :raises NetworkConflict: the address has one already."""
    row = contents.rows.get(tables.floating_ips, floating_id)
    contents.rows.change(tables.floating_ips, floating_id, values, (), _DETAILS)
    if "port_id" not in values and "fixed_ip_address" not in values:
        return
    contents.release_floating_ips(id=floating_id)
    if port_id := values.get("port_id", row.port_id):
        _associate(contents, floating_id, port_id, values.get("fixed_ip_address"))


def _associate(contents: Contents, floating_id: str, port_id: str, wanted: str | None) -> None:
    port, floating = contents.port(port_id), contents.rows.get(tables.floating_ips, floating_id)
    fixed = _fixed(port, wanted)
    known = contents.rows.all(tables.floating_ips, port_id=port_id, fixed_address=fixed.ip_address, network_id=floating.network_id)
    for other in known:
        if other.id != floating_id:
            words = (
                f"Floating IP {floating.address} can not lead to port {port_id}: to its address {fixed.ip_address} leads {other.address}."
            )
            raise networking.NetworkConflict("FloatingIPPortAlreadyAssociated", words)
    router_id = _router_between(contents, fixed.subnet_id, floating.network_id)
    leads = {"port_id": port_id, "fixed_address": fixed.ip_address, "router_id": router_id}
    contents.rows.set(tables.floating_ips, {"id": floating_id}, **leads)
    contents.effects.router_changed(contents, router_id)


def _fixed(port: Port, wanted: str | None) -> FixedIp:
    found = [one for one in port.fixed_ips if (":" not in one.ip_address if wanted is None else one.ip_address == wanted)]
    if len(found) > 1:
        raise networking.NetworkInvalid("BadRequest", f"Port {port.id} has several IPv4 addresses: name one of them as fixed_ip_address.")
    for fixed in found:
        return fixed
    raise networking.NetworkInvalid("BadRequest", f"Port {port.id} does not have the fixed IPv4 address {wanted or 'that is needed'}.")


def _router_between(contents: Contents, subnet_id: str, network_id: str) -> str:
    for gateway in contents.rows.all(tables.ports, device_owner=ROUTER_GATEWAY, network_id=network_id):
        legs = _ports(contents, gateway.device_id, ROUTER_INTERFACE)
        if any(fixed.subnet_id == subnet_id for leg in legs for fixed in leg.fixed_ips):
            return str(gateway.device_id)
    raise exceptions.NotFound("ExternalGatewayForFloatingIP", f"of subnet {subnet_id} to network {network_id}")


def delete_floating(contents: Contents, floating_id: str) -> None:
    """:raises NotFound: there is none."""
    row = contents.rows.get(tables.floating_ips, floating_id)
    contents.release_floating_ips(id=floating_id)
    contents.rows.delete(tables.floating_ips, id=floating_id)
    contents.delete_ports([row.own_port_id])
