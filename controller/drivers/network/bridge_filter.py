"""The packet filter of the embedded network: who may send what from a port, and what may reach it, in nftables' bridge family.

What a port may send stands in sets whose keys begin with the port's interface; what may reach it from outside stands in a chain of its own,
found by a verdict map. So a change costs the same with one port and with hundreds. (A set of intervals for all ports would be shorter, but
one deletion from such a set of two thousand takes the kernel 15 ms.)

Many kernels have no connection tracking on bridges, so answers are told from questions without it: a TCP segment that is not a bare
SYN, and a UDP datagram whose opposite was sent in the last two minutes.
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
    set isolated {{ type ifname; }}
    set macs {{ type ifname . ether_addr; }}
    set senders4 {{ type ifname . ipv4_addr; }}
    set senders6 {{ type ifname . ipv6_addr; }}
    map closed {{ type ifname : verdict; }}
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
        ether type ip iifname != @isolated meta l4proto udp update @asked4 {{ ip daddr . udp dport . ip saddr . udp sport }}
        ether type ip6 iifname != @isolated meta l4proto udp update @asked6 {{ ip6 daddr . udp dport . ip6 saddr . udp sport }}
    }}
    chain to_port {{
        oifname @isolated iifname @isolated drop
        ether type arp accept
        oifname vmap @closed
    }}
    chain answers_only {{
        ether type ip ip frag-off & 0x1fff != 0 accept
        meta l4proto tcp tcp flags & (syn | ack) != syn accept
        ether type ip meta l4proto udp ip saddr . udp sport . ip daddr . udp dport @asked4 accept
        ether type ip6 meta l4proto udp ip6 saddr . udp sport . ip6 daddr . udp dport @asked6 accept
        icmp type {{ echo-reply, destination-unreachable, time-exceeded, parameter-problem }} accept
        icmpv6 type {{ echo-reply, destination-unreachable, packet-too-big, time-exceeded, parameter-problem }} accept
        icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert }} accept
        drop
    }}
}}
"""


def port_script(contents: Contents, port: interface.Port) -> str:
    """Everything that the filter has to know of a port, as lines for `nft -f`; known already is fine."""
    kind, load_balancer_id = contents.kind_of(port.id)
    lines = []
    if kind != local.MANAGEMENT:
        rules = contents.access_rules(load_balancer_id) if kind == local.VRRP and load_balancer_id is not None else ()
        lines = access_lines(port, rules)
    return "\n".join([*lines, *_element_lines("add", _elements(contents, port, kind))]) + "\n"


def port_end_script(contents: Contents, port: interface.Port) -> str:
    """Forget a port. What goes is added first, so that the deletion can't fail on something that is gone already."""
    kind, _ = contents.kind_of(port.id)
    elements = _elements(contents, port, kind)
    lines = [f"add chain bridge {TABLE} {_chain(port)}", *_element_lines("add", elements), *_element_lines("delete", elements)]
    lines += [f"{verb} chain bridge {TABLE} {_chain(port)}" for verb in ("flush", "delete")]
    return "\n".join(lines) + "\n"


def access_lines(port: interface.Port, rules: Iterable[interface.AccessRule]) -> list[str]:
    """Fill the chain of a port anew: exactly this traffic, and answers. The kernel changes from the old to the new in one step."""
    chain = f"bridge {TABLE} {_chain(port)}"
    accepts = [f"add rule {chain} {match} accept" for match in _matches(rules)]
    return [f"add chain {chain}", f"flush chain {chain}", *accepts, f"add rule {chain} goto answers_only"]


def _matches(rules: Iterable[interface.AccessRule]) -> list[str]:
    """One match per protocol and range, whatever the number of ports."""
    ports: dict[tuple[str, str], set[int]] = {}
    matches = set()
    for rule in rules:
        source = _source(rule.cidr)
        if rule.protocol == "vrrp":
            matches.add(f"{source}meta l4proto 112")
        elif rule.port is not None:
            ports.setdefault((source, rule.protocol), set()).add(rule.port)
    for (source, protocol), numbers in ports.items():
        matches.add(f"{source}meta l4proto {_PROTOCOLS[protocol]} th dport {{ {', '.join(map(str, sorted(numbers)))} }}")
    return sorted(matches)


def _source(cidr: str | None) -> str:
    if cidr is None:
        return ""
    network = ipaddress.ip_network(cidr, strict=False)
    family = "ip" if network.version == 4 else "ip6"
    return f"ether type {family} " if network.prefixlen == 0 else f"{family} saddr {network} "


def _elements(contents: Contents, port: interface.Port, kind: str) -> set[Element]:
    name = f'"{linux.cable_name(port.id)}"'
    elements = {("guarded", name), ("macs", f"{name} . {port.mac_address}")}
    elements.add(("isolated", name) if kind == local.MANAGEMENT else ("closed", f"{name} : jump {_chain(port)}"))
    senders = [fixed.ip_address for fixed in port.fixed_ips] + contents.allowed_addresses(port.id) + [link_local(port.mac_address)]
    elements.update((f"senders{ipaddress.ip_address(sender).version}", f"{name} . {sender}") for sender in senders)
    return elements


def _chain(port: interface.Port) -> str:
    return f"to_{linux.cable_name(port.id)}"


def link_local(mac: str) -> str:
    """The IPv6 address that a host gives itself on a link, from its MAC."""
    parts = [int(part, 16) for part in mac.split(":")]
    interface_id = bytes([parts[0] ^ 2, *parts[1:3], 0xFF, 0xFE, *parts[3:]])
    return str(ipaddress.IPv6Address(b"\xfe\x80" + bytes(6) + interface_id))


def whole_script(ports: str) -> str:
    """One transaction for `nft -f` that replaces all there is; `ports` are the scripts of all ports."""
    return f"add table bridge {TABLE}\ndelete table bridge {TABLE}\n{RULES}{ports}"


def _element_lines(verb: str, elements: Iterable[Element]) -> list[str]:
    sets: dict[str, list[str]] = {}
    for name, text in sorted(elements):
        sets.setdefault(name, []).append(text)
    return [f"{verb} element bridge {TABLE} {name} {{ {', '.join(texts)} }}" for name, texts in sets.items()]
