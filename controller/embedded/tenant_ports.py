"""Networks, subnets and ports of tenants, with the Networking API's semantics."""

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any

from controller.embedded import networking, rows, tables, tenant_groups
from controller.embedded.contents import VIP, Contents, Plug
from controller.model.network import FixedIp, Network, Port

_STANDARD = ("description", "tags")
_OF_NETWORK = (*_STANDARD, "dns_domain", "port_security_enabled", "is_default", "availability_zone_hints")
_MODES = ("ipv6_ra_mode", "ipv6_address_mode")
_OF_SUBNET = (*_STANDARD, "host_routes", "dns_nameservers", "enable_dhcp", *_MODES)
_OF_PORT = (*_STANDARD, "dns_name", "dns_domain", "extra_dhcp_opts", "binding:profile", "binding:host_id")


# Networks


def create_network(contents: Contents, values: Mapping[str, Any]) -> str:
    """Make a network with its bridge; its id."""
    made = rows.new_id()
    bridge = f"br-{made.replace('-', '')[:11]}"
    columns = {name: values[name] for name in ("name", "mtu", "project_id", "shared")}
    contents.rows.add(tables.networks, values, _OF_NETWORK, id=made, bridge=bridge, external=values["router:external"], **columns)
    contents.effects.network_made(bridge)
    return made


def update_network(contents: Contents, network_id: str, values: Mapping[str, Any]) -> None:
    """:raises NotFound: no such network."""
    if "router:external" in values:
        values = {**values, "external": values["router:external"]}
    contents.rows.change(tables.networks, network_id, values, ("name", "shared", "external"), _OF_NETWORK)


def delete_network(contents: Contents, network_id: str) -> None:
    """:raises NotFound: no such network; :raises NetworkConflict: it has ports."""
    bridge = contents.rows.get(tables.networks, network_id).bridge
    if contents.rows.count(tables.ports, network_id=network_id):
        raise networking.NetworkConflict("NetworkInUse", f"Network {network_id} has ports, and stays until they are gone.")
    contents.rows.delete(tables.networks, id=network_id)
    contents.effects.network_gone(bridge)


# Subnets


def create_subnet(contents: Contents, values: Mapping[str, Any]) -> str:
    """:raises NotFound: no such network; :raises NetworkInvalid: the addresses don't fit together, or another subnet has them."""
    network, cidr = contents.network(values["network_id"]), ipaddress.ip_network(values["cidr"], strict=False)
    if values.get("ip_version") not in (None, cidr.version):
        raise networking.NetworkInvalid("BadRequest", f"The cidr {cidr} is not one of IP version {values['ip_version']}.")
    if cidr.is_multicast or cidr.is_loopback or cidr.is_unspecified:
        raise networking.NetworkInvalid("InvalidInput", f"The cidr {cidr} is not one that hosts can have addresses of.")
    if cidr.is_link_local:
        raise networking.NetworkInvalid("InvalidInput", f"The cidr {cidr} is for addresses that hosts give themselves.")
    _check_modes(cidr.version, values)
    for other in contents.rows.all(tables.subnets, network_id=network.id):
        if cidr.overlaps(ipaddress.ip_network(other.cidr)):
            raise networking.NetworkInvalid("InvalidInput", f"The cidr {cidr} overlaps with {other.cidr} on network {network.id}.")
    gateway = values.get("gateway_ip", str(cidr[1] if cidr.num_addresses > 2 else cidr[0]))
    _check_inside(cidr, gateway)
    columns = {"name": values["name"], "project_id": values["project_id"], "network_id": network.id}
    return contents.rows.add(tables.subnets, values, _OF_SUBNET, cidr=str(cidr), gateway_ip=gateway, **columns)


def _check_modes(version: int, values: Mapping[str, Any]) -> None:
    """How hosts learn their IPv6 addresses is kept as it is said, for clients that look; here every address is told by its port."""
    modes = {name: values[name] for name in _MODES if values.get(name)}
    if not modes:
        return
    if version == 4:
        raise networking.NetworkInvalid("InvalidInput", f"{' and '.join(modes)} are for subnets of IPv6.")
    if not values.get("enable_dhcp", True):
        raise networking.NetworkInvalid("InvalidInput", f"{' and '.join(modes)} can't be set while enable_dhcp is false.")
    if len(set(modes.values())) > 1:
        raise networking.NetworkInvalid("InvalidInput", "ipv6_ra_mode and ipv6_address_mode have the same value, or one of them has none.")


def _check_inside(cidr: ipaddress.IPv4Network | ipaddress.IPv6Network, gateway: str | None) -> None:
    if gateway is not None and ipaddress.ip_address(gateway) not in cidr:
        raise networking.NetworkInvalid("InvalidInput", f"The gateway_ip {gateway} is not in {cidr}.")


def update_subnet(contents: Contents, subnet_id: str, values: Mapping[str, Any]) -> None:
    """:raises NotFound: no such subnet; :raises NetworkInvalid, NetworkConflict: the addresses don't fit together."""
    subnet = contents.subnet(subnet_id)
    gateway = values.get("gateway_ip", subnet.gateway_ip)
    _check_inside(ipaddress.ip_network(subnet.cidr), gateway)
    if gateway != subnet.gateway_ip:
        row = contents.rows.first(tables.fixed_ips, subnet_id=subnet_id, ip_address=[gateway, subnet.gateway_ip])
        if row is not None:
            raise networking.NetworkConflict("GatewayIpInUse", f"A gateway's address is in use by port {row.port_id}.")
    contents.rows.change(tables.subnets, subnet_id, values, ("name", "gateway_ip"), _OF_SUBNET)


def delete_subnet(contents: Contents, subnet_id: str) -> None:
    """:raises NotFound: no such subnet; :raises NetworkConflict: ports have addresses of it."""
    contents.subnet(subnet_id)
    if contents.rows.count(tables.fixed_ips, subnet_id=subnet_id):
        raise networking.NetworkConflict("SubnetInUse", f"Ports have addresses of subnet {subnet_id}, which stays until they are gone.")
    contents.rows.delete(tables.subnets, id=subnet_id)


# Ports


def create_port(contents: Contents, values: Mapping[str, Any]) -> str:
    """:raises NotFound: something named does not exist; :raises Conflict: an address is taken; :raises InvalidRequest: one does not fit."""
    network = contents.network(values["network_id"])
    addresses = _addresses(contents, network, values.get("fixed_ips"))
    device = {name: values.get(name) or "" for name in ("device_id", "device_owner")}
    port = contents.add_port(values["name"], network.id, addresses, {"project_id": values["project_id"], **device})
    if values.get("mac_address"):
        _set_mac(contents, port, values["mac_address"])
    secured = values.get("port_security_enabled", network.port_security_enabled)
    groups = values.get("security_groups")
    if groups is None:
        groups = [tenant_groups.ensure_default(contents, values["project_id"])] if secured else []
    _check_secured(secured, groups)
    with contents.effects.changing(contents, [port.id]):
        details = {**contents.rows.get(tables.ports, port.id).details, **rows.picked(values, _OF_PORT)}
        contents.rows.set(tables.ports, {"id": port.id}, secured=secured, details=details)
        contents.set_groups(port.id, groups)
        _allow(contents, port.id, values.get("allowed_address_pairs") or ())
    return port.id


def _addresses(contents: Contents, network: Network, wanted: Sequence[Mapping[str, str]] | None) -> list[tuple[str, str | None]]:
    """Subnet and address, or None for any, of every address that a new port gets."""
    subnets = [contents.subnet(found) for found in network.subnet_ids]
    if wanted is None:
        return [(subnet.id, None) for subnet in sorted(subnets, key=lambda found: found.ip_version)[:1]]
    found: list[tuple[str, str | None]] = []
    for one in wanted:
        address, subnet_id = one.get("ip_address"), one.get("subnet_id")
        if subnet_id is None and address is None:
            raise networking.NetworkInvalid("InvalidInput", "A fixed IP is asked for by its subnet_id, by its ip_address, or by both.")
        if subnet_id is None:
            fitting = [found.id for found in subnets if address and ipaddress.ip_address(address) in ipaddress.ip_network(found.cidr)]
            if not fitting:
                raise networking.NetworkInvalid("InvalidIpForNetwork", f"The address {address} is on no subnet of network {network.id}.")
            subnet_id = fitting[0]
        if contents.subnet(subnet_id).network_id != network.id:
            raise networking.NetworkInvalid("BadRequest", f"Subnet {subnet_id} is not on network {network.id}.")
        found.append((subnet_id, address))
    return found


def _set_mac(contents: Contents, port: Port, mac: str) -> None:
    if any(row.id != port.id for row in contents.rows.all(tables.ports, network_id=port.network_id, mac_address=mac.lower())):
        raise networking.NetworkConflict("MacAddressInUse", f"The MAC address {mac} is in use on network {port.network_id}.")
    contents.rows.set(tables.ports, {"id": port.id}, mac_address=mac.lower())


def _check_secured(secured: bool, groups: Sequence[str]) -> None:
    if groups and not secured:
        words = "A port without port security can't have security groups: set port_security_enabled to true."
        raise networking.NetworkConflict("PortSecurityAndIPRequiredForSecurityGroups", words)


def _allow(contents: Contents, port_id: str, pairs: Sequence[Mapping[str, str]]) -> None:
    contents.rows.delete(tables.allowed_addresses, port_id=port_id)
    own = contents.port(port_id).mac_address
    for pair in pairs:
        if "/" in pair["ip_address"] or pair.get("mac_address", own).lower() != own:
            words = "The embedded network allows single addresses, with the port's own MAC address."
            raise networking.NetworkInvalid("InvalidInput", words)
        contents.allow_address(port_id, str(ipaddress.ip_address(pair["ip_address"])))


def update_port(contents: Contents, port_id: str, values: Mapping[str, Any]) -> None:
    """:raises NotFound: something named does not exist; :raises Conflict: an address is taken, or the port is in use as it is."""
    plug = contents.plug(port_id)
    port, kind = plug.port, plug.kind
    fixed = ("fixed_ips", "mac_address", "allowed_address_pairs", "port_security_enabled", "device_id", "device_owner")
    if _is_in_use(plug) and any(name in values for name in fixed if not _is_same(port, name, values.get(name))):
        words = f"Port {port_id} is in use by {port.device_id}: only its name, its description and its security groups can be changed."
        raise networking.NetworkConflict("PortInUse", words)
    if kind not in ("", VIP) and "security_groups" in values:
        words = f"Port {port_id} belongs to an amphora: its security groups are those of the VIP port."
        raise networking.NetworkConflict("PortInUse", words)
    if port.device_owner.startswith("network:") and values.get("security_groups"):
        raise networking.NetworkConflict("PortInUse", f"Port {port_id} belongs to a router, which nothing filters.")
    if "security_groups" in values and plug.load_balancer_id is not None:
        contents.set_groups_of_vip(plug.load_balancer_id, port_id, values["security_groups"])
    elif not _is_in_use(plug):
        _change_port(contents, plug, values)
    contents.rows.change(tables.ports, port_id, values, ("name",) if kind == "" else (), _OF_PORT)


def _is_in_use(plug: Plug) -> bool:
    """By a load balancer, or by a router: then most of it has to stay."""
    return bool(plug.kind or plug.load_balancer_id) or plug.port.device_owner.startswith("network:")


def _is_same(port: Port, name: str, value: Any) -> bool:
    """Whether a value is what the port has anyway: clients send whole objects back."""
    if name == "fixed_ips":
        return bool(value is None or {one.get("ip_address") for one in value} == {fixed.ip_address for fixed in port.fixed_ips})
    known = {"mac_address": port.mac_address, "device_id": port.device_id, "device_owner": port.device_owner}
    return bool(name in known and value == known[name]) or (name == "port_security_enabled" and value is True) or value == []


def _change_port(contents: Contents, plug: Plug, values: Mapping[str, Any]) -> None:
    with contents.effects.changing(contents, [plug.id]):
        secured = values.get("port_security_enabled", plug.secured)
        groups = values.get("security_groups", plug.groups)
        _check_secured(secured, groups)
        contents.rows.set(tables.ports, {"id": plug.id}, secured=secured, **rows.picked(values, ("device_id", "device_owner")))
        contents.set_groups(plug.id, groups)
        if values.get("fixed_ips") is not None:
            _readdress(contents, plug.port, values["fixed_ips"])
        if values.get("mac_address"):
            _set_mac(contents, plug.port, values["mac_address"])
        if values.get("allowed_address_pairs") is not None:
            _allow(contents, plug.id, values["allowed_address_pairs"])


def _readdress(contents: Contents, port: Port, wanted: Sequence[Mapping[str, str]]) -> None:
    has = {(fixed.subnet_id, fixed.ip_address) for fixed in port.fixed_ips}
    found = _addresses(contents, contents.network(port.network_id), wanted)
    kept: set[tuple[str, str]] = {one for one in has if one in found}
    for subnet_id, address in found:
        if address is None:
            same = next((one for one in sorted(has - kept) if one[0] == subnet_id), None)
            kept |= {same} if same else set()
    gone = has - kept
    for subnet_id, address in gone:
        if contents.rows.count(tables.floating_ips, port_id=port.id, fixed_address=address):
            raise networking.NetworkConflict("PortInUse", f"A floating IP leads to the address {address} of port {port.id}.")
        contents.give_back(port.id, FixedIp(subnet_id, address))
    for subnet_id, address in found:
        if (subnet_id, address) not in kept and not (address is None and any(one[0] == subnet_id for one in kept)):
            contents.take(port.id, subnet_id, address)


def delete_port(contents: Contents, port_id: str) -> None:
    """:raises NotFound: no such port; :raises NetworkConflict: a router, a floating IP or a load balancer lives by it."""
    plug = contents.plug(port_id)
    if plug.port.device_owner.startswith("network:"):
        words = f"Port {port_id} can't be deleted: it belongs to {plug.port.device_owner} {plug.port.device_id}."
        raise networking.NetworkConflict("ServicePortInUse", words)
    if _is_in_use(plug):
        raise networking.NetworkConflict("PortInUse", f"Port {port_id} is in use by {plug.port.device_id}.")
    contents.delete_ports([port_id])
