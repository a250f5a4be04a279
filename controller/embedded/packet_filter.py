"""The packet filter of the embedded network: who may send what from a port, and what may reach it, in nftables' bridge family.

What a port may send stands in sets whose keys begin with the port's interface; what may reach it from outside stands in a chain of its own,
found by a verdict map; and every security group has two chains (`sgi_`, `sge_`) to which the chains of its ports jump, and sets of its
members' addresses. So a change costs the same with one port and with hundreds. (A set of intervals for all ports would be shorter, but
one deletion from such a set of two thousand takes the kernel 15 ms.)

Many kernels have no connection tracking on bridges, so answers are told from questions without it: a TCP segment that is not a bare
SYN, an SCTP packet that is no INIT (RFC 9260, section 3.3.2), and a UDP datagram whose opposite was sent in the last two minutes.
Neighbours find each other whatever the groups say: ARP, and for IPv6 neighbour discovery, in which nobody speaks for an address that is not
theirs, or poses as a router.
"""

import collections
import functools
import ipaddress
from collections.abc import Callable, Iterable

from controller.embedded import filter_parts, linux, networking, tables, vip_groups
from controller.embedded.contents import MANAGEMENT, OF_AMPHORAE, VRRP, Contents, Plug
from controller.embedded.filter_parts import Element, Part
from controller.model.network import AccessRule

TABLE = "figlina"

_ANSWERS = """\
ether type ip ip frag-off & 0x1fff != 0 {verdict}
        ether type ip6 frag frag-off != 0 {verdict}
        meta l4proto tcp tcp flags & (syn | ack) != syn {verdict}
        meta l4proto sctp @th,96,8 != 1 {verdict}
        ether type ip meta l4proto udp ip saddr . udp sport . ip daddr . udp dport @asked4 {verdict}
        ether type ip6 meta l4proto udp ip6 saddr . udp sport . ip6 daddr . udp dport @asked6 {verdict}
        icmp type {{ echo-reply, destination-unreachable, time-exceeded, parameter-problem }} {verdict}
        icmpv6 type {{ echo-reply, destination-unreachable, packet-too-big, time-exceeded, parameter-problem }} {verdict}"""
"""What is no question, as far as that can be told without connection tracking."""

RULES = f"""\
table bridge {TABLE} {{
    set guarded {{ type ifname; }}
    set isolated {{ type ifname; }}
    set macs {{ type ifname . ether_addr; }}
    set senders4 {{ type ifname . ipv4_addr; }}
    set senders6 {{ type ifname . ipv6_addr; }}
    set targets6 {{ typeof iifname . @th,64,128; }}
    set filtered {{ type ifname; }}
    map closed {{ type ifname : verdict; }}
    map sending {{ type ifname : verdict; }}
    set asked4 {{ type ipv4_addr . inet_service . ipv4_addr . inet_service; flags dynamic, timeout; timeout 2m; size 65536; }}
    set asked6 {{ type ipv6_addr . inet_service . ipv6_addr . inet_service; flags dynamic, timeout; timeout 2m; size 65536; }}

    chain forward {{
        type filter hook forward priority 0; policy accept;
        iifname @guarded jump from_port
        iifname vmap @sending
        goto pass
    }}
    chain pass {{
        iifname @guarded iifname != @isolated meta l4proto udp jump remember_question
        oifname @filtered meta l4proto udp jump remember_question
        oifname @guarded jump to_port
        accept
    }}
    chain remember_question {{
        ether type ip update @asked4 {{ ip daddr . udp dport . ip saddr . udp sport }}
        ether type ip6 update @asked6 {{ ip6 daddr . udp dport . ip6 saddr . udp sport }}
    }}
    chain from_port {{
        iifname . ether saddr != @macs drop
        ether type arp iifname . arp saddr ether != @macs drop
        ether type arp iifname . arp saddr ip != @senders4 drop
        ether type arp return
        ether type ip iifname . ip saddr != @senders4 drop
        ether type ip6 ip6 saddr :: icmpv6 type {{ nd-neighbor-solicit, mld-listener-report, mld2-listener-report }} return
        ether type ip6 iifname . ip6 saddr != @senders6 drop
        ether type ip6 icmpv6 type nd-neighbor-advert iifname . @th,64,128 != @targets6 drop
        ether type ip6 icmpv6 type {{ nd-router-advert, nd-redirect }} drop
        ether type != {{ ip, ip6 }} drop
    }}
    chain to_port {{
        oifname @isolated iifname @isolated drop
        ether type arp accept
        oifname vmap @closed
    }}
    chain answers_only {{
        {_ANSWERS.format(verdict="accept")}
        icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert }} accept
        drop
    }}
    chain sent_answers_only {{
        ether type arp goto pass
        {_ANSWERS.format(verdict="goto pass")}
        icmpv6 type {{ nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert, mld-listener-report, mld2-listener-report }} goto pass
        drop
    }}
}}
"""


def port_part(plug: Plug, is_of_service: Callable[[str], bool], pair_rules: Callable[[str], Iterable[AccessRule]]) -> Part:
    """Everything that the filter has to know of a port."""
    of_tenants = [group_id for group_id in plug.groups if not is_of_service(group_id)]
    elements = {filter_parts.member(group_id, address) for group_id in of_tenants for address in plug.addresses}
    chains: dict[str, tuple[str, ...]] = {}
    if plug.port.port_security_enabled and (plug.kind in OF_AMPHORAE or plug.secured):
        elements |= _elements(plug)
        if plug.kind != MANAGEMENT:
            between = pair_rules(plug.load_balancer_id) if plug.kind == VRRP and plug.load_balancer_id is not None else ()
            chains[_chain(plug)] = admitting(between, plug.groups)
        if plug.kind not in OF_AMPHORAE:
            chains[_sending(plug)] = (*(f"jump {filter_parts.egress(group_id)}" for group_id in of_tenants), "goto sent_answers_only")
    return Part(chains=chains, elements=frozenset(elements))


def part(contents: Contents, port_ids: Iterable[str] = (), group_ids: Iterable[str] = ()) -> Part:
    """Everything that the filter has to know of these ports and groups; nothing of those that do not exist."""
    plugs = [plug for port_id in port_ids for plug in contents.plugs("id", id=port_id)]
    of_service = functools.partial(filter_parts.is_of_service, contents)
    parts = [filter_parts.group_part(contents, group_id) for group_id in group_ids]
    return filter_parts.together([*parts, *(port_part(plug, of_service, contents.pair_rules) for plug in plugs)])


def port_script(contents: Contents, port_id: str) -> str:
    """What the filter has to know of a port, and of its load balancer's own group, as lines for `nft -f`; known already is fine."""
    served = contents.plug(port_id).load_balancer_id
    own = [] if served is None else [vip_groups.group_id(served)]
    return filter_parts.script(TABLE, Part(), part(contents, [port_id], own))


def admitting(between_amphorae: Iterable[AccessRule], group_ids: Iterable[str]) -> tuple[str, ...]:
    """The chain of a port: what its own kind tells it, what its security groups admit, and answers."""
    accepts = sorted(f"{_match(rule)} accept" for rule in between_amphorae)
    return (*accepts, *(f"jump {filter_parts.ingress(group_id)}" for group_id in group_ids), "goto answers_only")


def _match(rule: AccessRule) -> str:
    words = f"meta l4proto {filter_parts.PROTOCOLS[rule.protocol]}" + ("" if rule.port is None else f" th dport {rule.port}")
    if rule.cidr is None:
        return words
    network = ipaddress.ip_network(rule.cidr, strict=False)
    family = "ip" if network.version == 4 else "ip6"
    return f"{f'{family} saddr {network}' if network.prefixlen else f'ether type {family}'} {words}"


def _elements(plug: Plug) -> set[Element]:
    name, mac = f'"{linux.cable_name(plug.id)}"', plug.port.mac_address
    elements = {("guarded", name), ("macs", f"{name} . {mac}")}
    elements.add(("isolated", name) if plug.kind == MANAGEMENT else ("closed", f"{name} : jump {_chain(plug)}"))
    if plug.kind not in OF_AMPHORAE:
        elements |= {("filtered", name), ("sending", f"{name} : jump {_sending(plug)}")}
    for sender in map(ipaddress.ip_address, [*plug.addresses, link_local(mac)]):
        elements.add((f"senders{sender.version}", f"{name} . {sender}"))
        if sender.version == 6:  # whose neighbour it says it is: the target of an advertisement (RFC 4861, 4.4), as a plain number
            elements.add(("targets6", f"{name} . 0x{int(sender):032x}"))
    return elements


def _chain(plug: Plug) -> str:
    return f"to_{linux.cable_name(plug.id)}"


def _sending(plug: Plug) -> str:
    return f"from_{linux.cable_name(plug.id)}"


def link_local(mac: str) -> str:
    """The IPv6 address that a host gives itself on a link, from its MAC."""
    parts = [int(part, 16) for part in mac.split(":")]
    interface_id = bytes([parts[0] ^ 2, *parts[1:3], 0xFF, 0xFE, *parts[3:]])
    return str(ipaddress.IPv6Address(b"\xfe\x80" + bytes(6) + interface_id))


def whole_script(contents: Contents) -> str:
    """One transaction for `nft -f` that replaces all there is."""
    groups, of_groups = contents.rows.all(tables.security_groups), collections.defaultdict(list)
    for rule in contents.rows.all(tables.rules):
        of_groups[rule.security_group_id].append(rule)
    services = {group.id for group in groups if group.project_id == networking.SERVICE_PROJECT}
    pairs = contents.all_pair_rules()
    parts = [filter_parts.part_of(group.id, of_groups[group.id], group.id in services) for group in groups]
    parts += [port_part(plug, services.__contains__, lambda one: pairs.get(one, ())) for plug in contents.plugs("filtered")]
    everything = filter_parts.script(TABLE, Part(), filter_parts.together(parts))
    return f"add table bridge {TABLE}\ndelete table bridge {TABLE}\n{RULES}{everything}"
