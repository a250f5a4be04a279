"""Routers of the embedded network: a network namespace with a leg on each subnet, which translates floating IPs.

IPv6 is routed as it is, without translation; hosts are told their gateway by their subnet, so routers advertise nothing. A router is
brought to what the inventory says as a whole, whatever an interrupted change left of it.
"""

import dataclasses
import ipaddress
import json
from typing import Any

from controller.embedded import linux, tables
from controller.embedded.contents import Contents
from controller.embedded.tenant_documents import ROUTER_GATEWAY, ROUTER_INTERFACE
from controller.model.network import Port

TABLE = "figlina"
_PREFIXES = {ROUTER_INTERFACE: "qr-", ROUTER_GATEWAY: "qg-"}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Router:
    """What a router is to be: its legs, the addresses of each, where all else goes, and pairs of floating and fixed addresses.

    `defaults` are gateways, at most one of each version of IP.
    """

    legs: dict[str, Port]
    addresses: dict[str, frozenset[str]]
    defaults: tuple[str, ...]
    floating: tuple[tuple[str, str], ...]


def wanted(contents: Contents, router_id: str) -> Router:
    """What a router's namespace has to be, as the inventory says."""
    legs, addresses, defaults = {}, {}, {}
    found = contents.rows.all(tables.floating_ips, router_id=router_id)
    floating = tuple(sorted((row.address, row.fixed_address) for row in found if row.port_id))
    for port in contents.ports_of_device(router_id, [""]):
        if port.device_owner not in _PREFIXES:  # a tenant may write any id on their own port
            continue
        name = _PREFIXES[port.device_owner] + linux.cable_name(port.id).removeprefix("tap")
        subnets = [contents.subnet(fixed.subnet_id) for fixed in port.fixed_ips]
        own = {
            f"{fixed.ip_address}/{ipaddress.ip_network(subnet.cidr).prefixlen}"
            for fixed, subnet in zip(port.fixed_ips, subnets, strict=True)
        }
        if port.device_owner == ROUTER_GATEWAY:
            own |= {f"{address}/32" for address, _ in floating}
            defaults.update({subnet.ip_version: subnet.gateway_ip for subnet in subnets if subnet.gateway_ip})
        legs[name], addresses[name] = port, frozenset(own)
    return Router(legs=legs, addresses=addresses, defaults=tuple(defaults.values()), floating=floating)


_SETTINGS = "; ".join(
    f"echo {value} > /proc/sys/net/{name} || exit 1"
    for name, value in (
        ("ipv4/ip_forward", 1),
        ("ipv6/conf/all/disable_ipv6", 0),
        ("ipv6/conf/default/disable_ipv6", 0),
        ("ipv6/conf/all/accept_ra", 0),
        ("ipv6/conf/default/accept_ra", 0),
        ("ipv6/conf/all/forwarding", 1),
    )
)


def bring_to(host: linux.Host, bridge_namespace: str, namespace: str, router: Router) -> None:
    """Bring a router's namespace to what is wanted.

    :raises CommandFailed: with the words of the command.
    """
    linux.ensure_namespace(host, namespace)
    host.inside(namespace, ["sh", "-c", _SETTINGS])
    present = _interfaces(host, namespace)
    linux.take_away(host, namespace, [f"link delete {name}" for name in present if name not in router.legs])
    for name, port in router.legs.items():
        linux.ensure_cable(host, bridge_namespace, port, namespace, name)
    new, gone = ["link set lo up"], []
    for name, addresses in router.addresses.items():
        has = present.get(name, set())
        new += [f"link set {name} up"]
        new += [f"address add {one} dev {name}" + (" nodad" if ":" in one else "") for one in sorted(addresses - has)]
        gone += [f"address delete {one} dev {name}" for one in sorted(has - addresses)]
    host.ip_batch(namespace, new)
    linux.take_away(host, namespace, gone)
    if router.defaults:
        host.ip_batch(namespace, [f"route replace default via {gateway}" for gateway in router.defaults])
    host.inside(namespace, ["nft", "-f", "-"], _script(router))


def _interfaces(host: linux.Host, namespace: str) -> dict[str, set[str]]:
    """The legs that are there, with the addresses that they have, but for those that they gave themselves."""
    links: list[dict[str, Any]] = json.loads(host.run(["ip", "-n", namespace, "-json", "address", "show"]) or "[]")
    return {
        link["ifname"]: {f"{one['local']}/{one['prefixlen']}" for one in link.get("addr_info", []) if one["scope"] != "link"}
        for link in links
        if link.get("ifname", "").startswith(tuple(_PREFIXES.values()))
    }


def _script(router: Router) -> str:
    """The whole translation, in one transaction of the kernel."""
    outside = next((name for name in router.legs if name.startswith(_PREFIXES[ROUTER_GATEWAY])), None)
    lines = [f"add table ip {TABLE}", f"delete table ip {TABLE}"]
    if outside is None:
        return "\n".join(lines) + "\n"
    lines.append(_RULES.format(table=TABLE, outside=outside))
    for floating, fixed in router.floating:
        for name, text in (("pairs", f"{floating} . {fixed}"), ("inwards", f"{floating} : {fixed}"), ("outwards", f"{fixed} : {floating}")):
            lines.append(f"add element ip {TABLE} {name} {{ {text} }}")
    return "\n".join(lines) + "\n"


_RULES = """\
table ip {table} {{
    set pairs {{ type ipv4_addr . ipv4_addr; }}
    map inwards {{ type ipv4_addr : ipv4_addr; }}
    map outwards {{ type ipv4_addr : ipv4_addr; }}

    chain before {{
        type nat hook prerouting priority -100; policy accept;
        dnat to ip daddr map @inwards
    }}
    chain through {{
        type filter hook forward priority 0; policy accept;
        ct direction original ct status dnat ct original ip daddr . ip daddr != @pairs drop
    }}
    chain after {{
        type nat hook postrouting priority 100; policy accept;
        ct status dnat iifname "qr-*" oifname "qr-*" masquerade
        oifname "{outside}" ct status dnat accept
        oifname "{outside}" snat to ip saddr map @outwards
        oifname "{outside}" masquerade
    }}
}}"""
