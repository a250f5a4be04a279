"""Routers and floating IPs, with the Networking API's semantics."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from controller import exceptions
from controller.embedded import effects, networking, tenant_details
from controller.embedded.inventory import Contents
from controller.embedded.tenant_documents import FLOATING_OWNER, ROUTER_GATEWAY, ROUTER_INTERFACE
from controller.model.network import FixedIp, Network, Port, Subnet

_DETAILS = ("description", "tags")


def create(effect: effects.Effects, contents: Contents, values: Mapping[str, Any], made: str | None = None) -> str:
    """:raises NotFound: the network of the gateway does not exist; :raises NetworkInvalid: it is not external."""
    made = made or tenant_details.new_id()
    row = (made, values["name"], values["project_id"], tenant_details.born(values, _DETAILS))
    contents.db.execute("INSERT INTO routers VALUES (?, ?, ?, ?)", row)
    _set_gateway(contents, made, values.get("external_gateway_info"))
    effect.router_changed(contents, made)
    return made


def exists(contents: Contents, router_id: str) -> bool:
    """Is there such a router?"""
    return contents.db.execute("SELECT 1 FROM routers WHERE id = ?", (router_id,)).fetchone() is not None


def check(contents: Contents, router_id: str) -> None:
    """:raises NotFound: no such router."""
    if not exists(contents, router_id):
        raise exceptions.NotFound("Router", router_id)


def update(effect: effects.Effects, contents: Contents, router_id: str, values: Mapping[str, Any]) -> None:
    """:raises NotFound: something named does not exist; :raises NetworkConflict: floating IPs need the gateway."""
    check(contents, router_id)
    tenant_details.set_columns(contents, "routers", router_id, values, ("name",))
    tenant_details.change(contents, "routers", router_id, values, _DETAILS)
    if "external_gateway_info" in values:
        _change_gateway(effect, contents, router_id, values["external_gateway_info"] or None)


def _change_gateway(effect: effects.Effects, contents: Contents, router_id: str, wanted: Mapping[str, Any] | None) -> None:
    present = _ports(contents, router_id, ROUTER_GATEWAY)
    if wanted is not None and present and present[0].network_id == wanted.get("network_id"):
        return
    if present and contents.db.execute("SELECT 1 FROM floating_ips WHERE router_id = ?", (router_id,)).fetchone():
        words = f"The gateway of router {router_id} is needed by floating IPs."
        raise networking.NetworkConflict("RouterExternalGatewayInUseByFloatingIp", words)
    effects.delete_ports(effect, contents, present)
    _set_gateway(contents, router_id, wanted)
    effect.router_changed(contents, router_id)


def _set_gateway(contents: Contents, router_id: str, wanted: Mapping[str, Any] | None) -> None:
    if not wanted:
        return
    network = _external(contents, wanted["network_id"])
    fixed: Mapping[str, Any] = next(iter(wanted.get("external_fixed_ips") or ()), {})
    subnet_id = fixed.get("subnet_id") or _first_subnet(contents, network)
    contents.add_port(
        "", network.id, [(subnet_id, fixed.get("ip_address"))], device_id=router_id, device_owner=ROUTER_GATEWAY, project_id=None
    )


def _external(contents: Contents, network_id: str) -> Network:
    network = contents.network(network_id)
    if not contents.db.execute("SELECT external FROM networks WHERE id = ?", (network_id,)).fetchone()[0]:
        raise networking.NetworkInvalid("BadRequest", f"Network {network_id} is not an external network.")
    return network


def _first_subnet(contents: Contents, network: Network) -> str:
    for subnet_id in network.subnet_ids:
        if contents.subnet(subnet_id).ip_version == 4:
            return subnet_id
    raise networking.NetworkInvalid("BadRequest", f"Network {network.id} has no IPv4 subnet.")


def delete(effect: effects.Effects, contents: Contents, router_id: str) -> None:
    """:raises NotFound: no such router; :raises NetworkConflict: it has legs on subnets."""
    check(contents, router_id)
    if _ports(contents, router_id, ROUTER_INTERFACE):
        raise networking.NetworkConflict("RouterInUse", f"Router {router_id} has legs on subnets: take them away first.")
    effects.delete_ports(effect, contents, _ports(contents, router_id, ROUTER_GATEWAY))
    contents.db.execute("DELETE FROM routers WHERE id = ?", (router_id,))
    effect.router_gone(router_id)


def _ports(contents: Contents, router_id: str, owner: str) -> list[Port]:
    return [port for port in contents.ports_of_device(router_id, [""]) if port.device_owner == owner]


# Legs


def add_interface(
    effect: effects.Effects, contents: Contents, router_id: str, subnet_id: str | None, port_id: str | None
) -> networking.Document:
    """:raises NotFound: something named does not exist; :raises Conflict: the address is taken; :raises NetworkInvalid: no gateway."""
    check(contents, router_id)
    if (subnet_id is None) == (port_id is None):
        raise networking.NetworkInvalid("BadRequest", "A leg is named by its subnet_id or by its port_id.")
    if port_id is not None:
        port = contents.port(port_id)
        if port.device_id:
            raise networking.NetworkConflict("PortInUse", f"Port {port_id} is in use by {port.device_id}.")
        for fixed in port.fixed_ips:
            _check_leg(contents, router_id, contents.subnet(fixed.subnet_id))
        contents.set_device(port_id, router_id, ROUTER_INTERFACE)
        with effect.changing(contents, [port_id]):  # routers are not filtered
            contents.set_groups(port_id, ())
            contents.db.execute("UPDATE ports SET secured = 0 WHERE id = ?", (port_id,))
    else:
        port = _leg(contents, router_id, contents.subnet(str(subnet_id)))
    effect.router_changed(contents, router_id)
    return _answer(router_id, port, port.fixed_ips[0].subnet_id)


def _leg(contents: Contents, router_id: str, subnet: Subnet) -> Port:
    if subnet.gateway_ip is None:
        raise networking.NetworkInvalid("BadRequest", f"Subnet {subnet.id} has no gateway IP for the router to have.")
    _check_leg(contents, router_id, subnet)
    return contents.add_port(
        "", subnet.network_id, [(subnet.id, subnet.gateway_ip)], device_id=router_id, device_owner=ROUTER_INTERFACE, gateway=True
    )


def _check_leg(contents: Contents, router_id: str, subnet: Subnet) -> None:
    cidr = ipaddress.ip_network(subnet.cidr)
    for port in contents.ports_of_device(router_id, [""]):
        for other in (contents.subnet(fixed.subnet_id) for fixed in port.fixed_ips):
            if cidr.overlaps(ipaddress.ip_network(other.cidr)):
                words = f"Router {router_id} has a leg on subnet {other.id}, whose cidr {other.cidr} overlaps with {subnet.cidr}."
                raise networking.NetworkInvalid("BadRequest", words)


def remove_interface(
    effect: effects.Effects, contents: Contents, router_id: str, subnet_id: str | None, port_id: str | None
) -> networking.Document:
    """:raises NotFound: there is no such leg; :raises NetworkConflict: floating IPs lead through it."""
    check(contents, router_id)
    for port in _ports(contents, router_id, ROUTER_INTERFACE):
        subnets = {fixed.subnet_id for fixed in port.fixed_ips}
        if port.id == port_id or (port_id is None and subnet_id in subnets):
            _check_unneeded(contents, router_id, subnets)
            effects.delete_ports(effect, contents, [port])
            effect.router_changed(contents, router_id)
            return _answer(router_id, port, port.fixed_ips[0].subnet_id)
    raise exceptions.NotFound("RouterInterface", port_id or str(subnet_id))


def _check_unneeded(contents: Contents, router_id: str, subnets: set[str]) -> None:
    query = (
        "SELECT f.id, i.subnet_id FROM floating_ips f JOIN fixed_ips i ON i.port_id = f.port_id AND i.ip_address = f.fixed_address "
        "WHERE f.router_id = ?"
    )
    for floating_id, subnet_id in contents.db.execute(query, (router_id,)):
        if subnet_id in subnets:
            words = f"The interface of router {router_id} on subnet {subnet_id} is needed by floating IP {floating_id}."
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


def create_floating(effect: effects.Effects, contents: Contents, values: Mapping[str, Any]) -> str:
    """:raises NotFound: something named does not exist; :raises Conflict: the address is taken; :raises NetworkInvalid: it does not fit."""
    network = _external(contents, values["floating_network_id"])
    if values.get("fixed_ip_address") and not values.get("port_id"):
        raise networking.NetworkInvalid("BadRequest", "A fixed_ip_address is one of a port: give a port_id.")
    made, wanted = tenant_details.new_id(), values.get("floating_ip_address")
    subnet_id = values.get("subnet_id") or _first_subnet(contents, network)
    port = contents.add_port("", network.id, [(subnet_id, wanted)], device_id=made, device_owner=FLOATING_OWNER)
    row = (made, values["project_id"], port.id, port.fixed_ips[0].ip_address, network.id, tenant_details.born(values, _DETAILS))
    columns = "id, project_id, own_port_id, address, network_id, details"
    contents.db.execute(f"INSERT INTO floating_ips ({columns}) VALUES (?, ?, ?, ?, ?, ?)", row)  # noqa: S608
    if values.get("port_id"):
        _associate(effect, contents, made, values["port_id"], values.get("fixed_ip_address"))
    return made


def update_floating(effect: effects.Effects, contents: Contents, floating_id: str, values: Mapping[str, Any]) -> None:
    """:raises NotFound: something named does not exist, or no router leads there; :raises NetworkConflict: the address has one already."""
    row = contents.db.execute("SELECT port_id, router_id FROM floating_ips WHERE id = ?", (floating_id,)).fetchone()
    if row is None:
        raise exceptions.NotFound("FloatingIP", floating_id)
    tenant_details.change(contents, "floating_ips", floating_id, values, _DETAILS)
    if "port_id" not in values and "fixed_ip_address" not in values:
        return
    _dissociate(effect, contents, floating_id)
    port_id = values.get("port_id", row[0])
    if port_id:
        _associate(effect, contents, floating_id, port_id, values.get("fixed_ip_address"))


def _dissociate(effect: effects.Effects, contents: Contents, floating_id: str) -> None:
    (router_id,) = contents.db.execute("SELECT router_id FROM floating_ips WHERE id = ?", (floating_id,)).fetchone()
    query = "UPDATE floating_ips SET port_id = NULL, fixed_address = NULL, router_id = NULL WHERE id = ?"
    contents.db.execute(query, (floating_id,))
    if router_id:
        effect.router_changed(contents, router_id)


def _associate(effect: effects.Effects, contents: Contents, floating_id: str, port_id: str, wanted: str | None) -> None:
    port = contents.port(port_id)
    fixed = _fixed(port, wanted)
    (network_id, address) = contents.db.execute("SELECT network_id, address FROM floating_ips WHERE id = ?", (floating_id,)).fetchone()
    query = "SELECT address FROM floating_ips WHERE port_id = ? AND fixed_address = ? AND network_id = ? AND id != ?"
    other = contents.db.execute(query, (port_id, fixed.ip_address, network_id, floating_id)).fetchone()
    if other is not None:
        words = f"Floating IP {address} can not lead to port {port_id}: to its address {fixed.ip_address} leads {other[0]}."
        raise networking.NetworkConflict("FloatingIPPortAlreadyAssociated", words)
    router_id = _router_between(contents, fixed.subnet_id, network_id)
    query = "UPDATE floating_ips SET port_id = ?, fixed_address = ?, router_id = ? WHERE id = ?"
    contents.db.execute(query, (port_id, fixed.ip_address, router_id, floating_id))
    effect.router_changed(contents, router_id)


def _fixed(port: Port, wanted: str | None) -> FixedIp:
    for fixed in port.fixed_ips:
        if (wanted is None and ipaddress.ip_address(fixed.ip_address).version == 4) or fixed.ip_address == wanted:
            return fixed
    raise networking.NetworkInvalid("BadRequest", f"Port {port.id} does not have the fixed IPv4 address {wanted or 'that is needed'}.")


def _router_between(contents: Contents, subnet_id: str, network_id: str) -> str:
    query = (
        "SELECT inside.device_id FROM ports inside JOIN fixed_ips f ON f.port_id = inside.id "
        "JOIN ports outside ON outside.device_id = inside.device_id "
        "WHERE inside.device_owner = ? AND f.subnet_id = ? AND outside.device_owner = ? AND outside.network_id = ?"
    )
    row = contents.db.execute(query, (ROUTER_INTERFACE, subnet_id, ROUTER_GATEWAY, network_id)).fetchone()
    if row is None:
        raise exceptions.NotFound("ExternalGatewayForFloatingIP", f"of subnet {subnet_id} to network {network_id}")
    return str(row[0])


def delete_floating(effect: effects.Effects, contents: Contents, floating_id: str) -> None:
    """:raises NotFound: there is none."""
    row = contents.db.execute("SELECT own_port_id FROM floating_ips WHERE id = ?", (floating_id,)).fetchone()
    if row is None:
        raise exceptions.NotFound("FloatingIP", floating_id)
    _dissociate(effect, contents, floating_id)
    contents.db.execute("DELETE FROM floating_ips WHERE id = ?", (floating_id,))
    effects.delete_ports(effect, contents, [contents.port(row[0])])
