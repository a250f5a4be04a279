"""The packet filter of the embedded network: who may send what from a port, and what may reach it, in nftables' bridge family.

The rules never change; what a port may do stands in sets whose keys begin with the port's interface, so that a change costs the same
with one port and with a thousand. There is no connection tracking on bridges in many kernels, so answers are told from
questions without it: a TCP segment that is not a bare SYN, and a UDP datagram whose opposite was sent in the last two minutes.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from controller.drivers import linux
from controller.drivers.network import interface, local
from controller.drivers.network.bridge_inventory import Contents

TABLE = "figlina"
_PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}

Element = tuple[str, str]
"""The name of a set, and what is in it."""

RULES = f"""\
table bridge {TABLE} {{
    set guarded {{ type ifname; }}
    set closed {{ type ifname; }}
    set isolated {{ type ifname; }}
    set macs {{ type ifname . ether_addr; }}
    set senders4 {{ type ifname . ipv4_addr; }}
    set senders6 {{ type ifname . ipv6_addr; }}
    set open {{ type ifname . inet_proto . inet_service; }}
    set open_from4 {{ type ifname . inet_proto . inet_service . ipv4_addr; flags interval; }}
    set open_from6 {{ type ifname . inet_proto . inet_service . ipv6_addr; flags interval; }}
    set vrrp_from4 {{ type ifname . ipv4_addr; flags interval; }}
    set vrrp_from6 {{ type ifname . ipv6_addr; flags interval; }}
    set asked4 {{ type ipv4_addr . inet_service . ipv4_addr . inet_service; flags dynamic, timeout; timeout 2m; size 65536; }}
    set asked6 {{ type ipv6_addr . inet_service . ipv6_addr . inet_service; flags dynamic, timeout; timeout 2m; size 65536; }}

    chain forward {{
        type filter hook forward priority 0; policy accept;
        iifname @guarded jump from_port
        oifname @guarded jump to_port
    }}
    chain from_port {{
        iifname . ether saddr != @macs drop
        ether type arp iifname . arp saddr ether != @macs drop
        ether type arp iifname . arp saddr ip != @senders4 drop
        ether type arp return
        ether type ip iifname . ip saddr != @senders4 drop
        ether type ip6 ip6 saddr :: icmpv6 type {{ nd-neighbor-solicit, mld-listener-report, mld2-listener-report }} return
        ether type ip6 iifname . ip6 saddr != @senders6 drop
        ether type ip6 icmpv6 type {{ nd-router-advert, nd-redirect }} drop
        ether type != {{ ip, ip6 }} drop
        ether type ip iifname @closed meta l4proto udp update @asked4 {{ ip daddr . udp dport . ip saddr . udp sport }}
        ether type ip6 iifname @closed meta l4proto udp update @asked6 {{ ip6 daddr . udp dport . ip6 saddr . udp sport }}
    }}
    chain to_port {{
        oifname @isolated iifname @isolated drop
        ether type arp accept
        oifname @closed jump to_closed_port
    }}
    chain to_closed_port {{
        oifname . meta l4proto . th dport @open accept
        ether type ip ip frag-off & 0x1fff != 0 accept
        meta l4proto tcp tcp flags & (syn | ack) != syn accept
        ether type ip meta l4proto udp ip saddr . udp sport . ip daddr . udp dport @asked4 accept
        ether type ip6 meta l4proto udp ip6 saddr . udp sport . ip6 daddr . udp dport @asked6 accept
        ether type ip oifname . meta l4proto . th dport . ip saddr @open_from4 accept
        ether type ip6 oifname . meta l4proto . th dport . ip6 saddr @open_from6 accept
        ether type ip meta l4proto 112 oifname . ip saddr @vrrp_from4 accept
        ether type ip6 meta l4proto 112 oifname . ip6 saddr @vrrp_from6 accept
        icmp type {{ echo-reply, destination-unreachable, time-exceeded, parameter-problem }} accept
        icmpv6 type {{ echo-reply, destination-unreachable, packet-too-big, time-exceeded, parameter-problem }} accept
        icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert }} accept
        drop
    }}
}}
"""


def port_elements(contents: Contents, port: interface.Port) -> set[Element]:
    """Everything that the filter has to know of a port."""
    kind, load_balancer_id = contents.kind_of(port.id)
    name = f'"{linux.cable_name(port.id)}"'
    elements = {("guarded", name), ("macs", f"{name} . {port.mac_address}")}
    elements.add(("isolated" if kind == local.MANAGEMENT else "closed", name))
    senders = [fixed.ip_address for fixed in port.fixed_ips] + contents.allowed_addresses(port.id) + [link_local(port.mac_address)]
    elements.update((f"senders{ipaddress.ip_address(sender).version}", f"{name} . {sender}") for sender in senders)
    if kind == local.VRRP and load_balancer_id is not None:
        elements |= access_elements(port, contents.access_rules(load_balancer_id))
    return elements


def access_elements(port: interface.Port, rules: Iterable[interface.AccessRule]) -> set[Element]:
    """What a VIP's access rules mean for one VRRP port."""
    return {element for rule in rules for element in _access_element(f'"{linux.cable_name(port.id)}"', rule)}


def _access_element(name: str, rule: interface.AccessRule) -> list[Element]:
    if rule.protocol == "vrrp":
        cidrs = [rule.cidr] if rule.cidr else ["0.0.0.0/0", "::/0"]
        return [(f"vrrp_from{_version(cidr)}", f"{name} . {cidr}") for cidr in cidrs]
    key = f"{name} . {_PROTOCOLS[rule.protocol]} . {rule.port}"
    if rule.cidr is None or ipaddress.ip_network(rule.cidr).prefixlen == 0:
        return [("open", key)]
    return [(f"open_from{_version(rule.cidr)}", f"{key} . {rule.cidr}")]


def _version(cidr: str) -> int:
    return ipaddress.ip_network(cidr).version


def link_local(mac: str) -> str:
    """The IPv6 address that a host gives itself on a link, from its MAC."""
    parts = [int(part, 16) for part in mac.split(":")]
    interface_id = bytes([parts[0] ^ 2, *parts[1:3], 0xFF, 0xFE, *parts[3:]])
    return str(ipaddress.IPv6Address(b"\xfe\x80" + bytes(6) + interface_id))


def change_script(removed: Iterable[Element], added: Iterable[Element]) -> str:
    """One transaction for `nft -f`. What goes is added first, so that the deletion can't fail on something that is gone already."""
    lines = []
    for name, texts in _by_set(removed):
        lines += [f"add element bridge {TABLE} {name} {{ {texts} }}", f"delete element bridge {TABLE} {name} {{ {texts} }}"]
    lines += [f"add element bridge {TABLE} {name} {{ {texts} }}" for name, texts in _by_set(added)]
    return "\n".join(lines) + "\n"


def whole_script(elements: Iterable[Element]) -> str:
    """One transaction for `nft -f` that replaces all there is."""
    return f"add table bridge {TABLE}\ndelete table bridge {TABLE}\n{RULES}" + change_script((), elements)


def _by_set(elements: Iterable[Element]) -> list[tuple[str, str]]:
    sets: dict[str, list[str]] = {}
    for name, text in sorted(elements):
        sets.setdefault(name, []).append(text)
    return [(name, ", ".join(texts)) for name, texts in sets.items()]
