"""Neutron's documents as nouns of ours, and the names by which our ports and groups are found there again."""

import hashlib
import ipaddress
import re
from collections.abc import Mapping
from typing import Any

from controller.model import network as model
from controller.model.network import FixedIp, HostRoute, Network, Port, QosPolicy, SecurityGroup, Subnet

Row = Mapping[str, Any]

VRRP, MEMBER, MANAGEMENT = "vrrp", "member", "management"
_OF_AMPHORAE = re.compile(f"octavia-lb-(?:{VRRP}|{MEMBER}|{MANAGEMENT})-(.+)")
_DESCRIBED = re.compile(r"Port of amphora (\S+) \(.+\)")

_IPV6_MODES = ("ipv6_ra_mode", "ipv6_address_mode")
NETWORK_FIELDS = ("id", "name", "mtu", "subnets", "project_id", "shared", "router:external", "port_security_enabled")
SUBNET_FIELDS = ("id", "name", "network_id", "cidr", "ip_version", "gateway_ip", "host_routes", "project_id", *_IPV6_MODES)
PORT_FIELDS = (
    "id",
    "name",
    "network_id",
    "mac_address",
    "fixed_ips",
    "device_id",
    "device_owner",
    "project_id",
    "qos_policy_id",
    "binding:vnic_type",
    "security_groups",
    "port_security_enabled",
    "description",
    "revision_number",
    "admin_state_up",
    "allowed_address_pairs",
)


DIRECT: Row = {"binding:vnic_type": model.DIRECT, "port_security_enabled": False}
"""What a port has that is a part of a host's network card (SR-IOV), which no security group guards."""


def name_of_port(kind: str, amphora_id: str) -> str:
    """The name of a port of an amphora."""
    return f"octavia-lb-{kind}-{amphora_id}"


def description_of(mark: str, load_balancer_id: str) -> str:
    """Of the ports that bear a load balancer's VIP: names of VRRP ports say of which amphora they are, Neutron finds these by it."""
    return marked(mark, f"VIP of load balancer {load_balancer_id}")


def marked(mark: str, words: str) -> str:
    """A description that says whose something is: an Octavia, or another Figlina, in the same project names its ports and groups alike."""
    return f"{words} ({mark})"


def description_of_port(mark: str, amphora_id: str) -> str:
    """Of an amphora's ports for its management and towards members."""
    return marked(mark, f"Port of amphora {amphora_id}")


def is_named(row: Row, kind: str, amphora_id: str) -> bool:
    """Whether it is this port of an amphora, by its name, or by the MAC address that was made of that: names can be changed."""
    name = name_of_port(kind, amphora_id)
    return bool(row["name"] == name or row["mac_address"] == mac_of(name, row["network_id"]))


def is_marked(mark: str, row: Row) -> bool:
    """Whether this deployment made it."""
    return str(row["description"]).endswith(f" ({mark})")


def is_secured(row: Row) -> bool:
    """Whether a port, or each new one of a network, has groups and address pairs: it may be without port security, if the service knows
    that at all.
    """
    return bool(row.get("port_security_enabled", True))


def mac_of(name: str, network_id: str, plug: str = "") -> str:
    """The MAC address of a port of ours, locally administered, the same each time; another one for each `plug`.

    Neutron lets no two ports of a network have the same one. So a port whose answer was lost is never made a second time, however late
    the lost request is carried out.
    """
    digest = hashlib.sha256("/".join((network_id, name, *([plug] if plug else []))).encode()).digest()
    return ":".join(f"{byte:02x}" for byte in (0x02, *digest[:5]))


def mac_behind(address: str) -> str | None:
    """The MAC address of which an IPv6 address was made (modified EUI-64: RFC 4291, appendix A); None: it was not made of one."""
    first, *others = ipaddress.ip_address(address).packed[-8:]
    if ":" not in address or others[2:4] != [0xFF, 0xFE]:
        return None
    return ":".join(f"{byte:02x}" for byte in (first ^ 2, *others[:2], *others[4:]))


def amphora_of(row: Row) -> str | None:
    """Whose port it is, if its name or, as that can be changed, its description says that it is an amphora's. While a machine has it, its
    `device_id` is Nova's id of that.
    """
    match = _OF_AMPHORAE.fullmatch(row["name"]) or _DESCRIBED.fullmatch(row["description"] or "")
    return match[1] if match else None


def network(row: Row) -> Network:
    """What Neutron says of a network. One that is shared with single projects is not `shared`."""
    return Network(
        id=row["id"],
        name=row["name"],
        mtu=row["mtu"],
        subnet_ids=tuple(row["subnets"]),
        project_id=row["project_id"],
        shared=row["shared"],
        external=bool(row.get("router:external")),
        port_security_enabled=is_secured(row),
    )


def subnet(row: Row) -> Subnet:
    """A subnet of Neutron's as our noun."""
    return Subnet(
        id=row["id"],
        name=row["name"],
        network_id=row["network_id"],
        cidr=row["cidr"],
        ip_version=row["ip_version"],
        gateway_ip=row["gateway_ip"],
        host_routes=tuple(HostRoute(route["destination"], route["nexthop"]) for route in row["host_routes"]),
        project_id=row["project_id"],
        is_automatic=any(row.get(mode) in ("slaac", "dhcpv6-stateless") for mode in _IPV6_MODES),
    )


def port(row: Row, mtu: int, service_project: str) -> Port:
    """What Neutron says of a port. One of an amphora is the amphora's, whatever machine has it; only the service can make one."""
    amphora_id = amphora_of(row) if row["project_id"] == service_project else None
    return Port(
        id=row["id"],
        name=row["name"],
        network_id=row["network_id"],
        mac_address=row["mac_address"],
        mtu=mtu,
        fixed_ips=tuple(FixedIp(fixed["subnet_id"], fixed["ip_address"]) for fixed in row["fixed_ips"]),
        device_id=amphora_id or row["device_id"],
        device_owner=row["device_owner"],
        machine_id=row["device_id"] if amphora_id else None,
        project_id=row["project_id"],
        qos_policy_id=row.get("qos_policy_id"),
        vnic_type=row.get("binding:vnic_type", model.NORMAL),
        port_security_enabled=is_secured(row),
    )


def qos_policy(row: Row) -> QosPolicy:
    """A QoS policy of Neutron's as our noun."""
    return QosPolicy(row["id"], row["name"], row["project_id"], row["shared"])


def security_group(row: Row) -> SecurityGroup:
    """A security group of Neutron's as our noun."""
    return SecurityGroup(row["id"], row["name"], row["project_id"])
