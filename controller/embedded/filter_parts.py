"""Security groups in the embedded network's packet filter, and how the filter goes from one state to the next.

A `Part` is what the filter holds for one port or one group. A change is the difference of two: the kernel takes it in one transaction.
"""

import dataclasses
import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from controller.embedded import networking, tables
from controller.embedded.contents import Contents

PROTOCOLS = {
    "ah": 51,
    "dccp": 33,
    "egp": 8,
    "esp": 50,
    "gre": 47,
    "icmp": 1,
    "igmp": 2,
    "ipip": 4,
    "ipv6-encap": 41,
    "ipv6-frag": 44,
    "ipv6-icmp": 58,
    "ipv6-nonxt": 59,
    "ipv6-opts": 60,
    "ipv6-route": 43,
    "icmpv6": 58,
    "ospf": 89,
    "pgm": 113,
    "rsvp": 46,
    "sctp": 132,
    "tcp": 6,
    "udp": 17,
    "udplite": 136,
    "vrrp": 112,
}
"""The protocols that rules may name, with their numbers."""

Rule = Any
"""A row of `tables.rules`."""
Element = tuple[str, str]
"""The name of a set, and what is in it."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Sets (name and type), chains (name and rules), and elements of sets."""

    sets: Mapping[str, str] = dataclasses.field(default_factory=dict)
    chains: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    elements: frozenset[Element] = frozenset()


def together(parts: Iterable[Part]) -> Part:
    """One part that is all of these."""
    sets: dict[str, str] = {}
    chains: dict[str, tuple[str, ...]] = {}
    elements: set[Element] = set()
    for part in parts:
        sets.update(part.sets)
        chains.update(part.chains)
        elements |= part.elements
    return Part(sets=sets, chains=chains, elements=frozenset(elements))


def script(table: str, before: Part, after: Part) -> str:
    """Lines for `nft -f` that lead from one state to the other; empty if nothing changed.

    What goes is added first, so that its deletion can't fail on something that is gone already.
    """
    changed = {name: rules for name, rules in after.chains.items() if before.chains.get(name) != rules}
    gone = sorted(before.chains.keys() - after.chains.keys())
    forgotten = sorted(before.sets.keys() - after.sets.keys())
    leaving = {element for element in before.elements - after.elements if element[0] not in forgotten}
    lines = [f"add set bridge {table} {name} {{ type {kind}; }}" for name, kind in after.sets.items() if name not in before.sets]
    lines += [f"add chain bridge {table} {name}" for name in (*changed, *gone)]
    for name, rules in changed.items():
        lines += [f"flush chain bridge {table} {name}", *(f"add rule bridge {table} {name} {rule}" for rule in rules)]
    lines += _element_lines(table, "add", leaving) + _element_lines(table, "delete", leaving)
    lines += _element_lines(table, "add", after.elements - before.elements)
    lines += [f"{verb} chain bridge {table} {name}" for verb in ("flush", "delete") for name in gone]
    for name in forgotten:
        lines += [f"add set bridge {table} {name} {{ type {before.sets[name]}; }}", f"delete set bridge {table} {name}"]
    return "\n".join(lines) + "\n" if lines else ""


def _element_lines(table: str, verb: str, elements: Iterable[Element]) -> list[str]:
    sets: dict[str, list[str]] = {}
    for name, text in sorted(elements):
        sets.setdefault(name, []).append(text)
    return [f"{verb} element bridge {table} {name} {{ {', '.join(texts)} }}" for name, texts in sets.items()]


# Groups


def ingress(group_id: str) -> str:
    """The chain that accepts what a group admits."""
    return f"sgi_{group_id}".replace("-", "_")


def egress(group_id: str) -> str:
    """The chain that passes on what members of a group may send."""
    return f"sge_{group_id}".replace("-", "_")


def names_of(group_id: str) -> list[str]:
    """The chains and sets that a security group has in the filter."""
    return [ingress(group_id), egress(group_id), _members(group_id, 4), _members(group_id, 6)]


def member(group_id: str, address: str) -> Element:
    """The element that makes an address a member of a group, for rules that name it as their remote group."""
    return (_members(group_id, ipaddress.ip_address(address).version), address)


def group_of_set(name: str) -> str | None:
    """The id of the group whose members a set holds; None for other sets."""
    kind, _, text = name.partition("_")
    return text.replace("_", "-") if kind in ("m4", "m6") else None


def _members(group_id: str, version: int) -> str:
    return f"m{version}_{group_id}".replace("-", "_")


def is_of_service(contents: Contents, group_id: str) -> bool:
    """Is a group one of a load balancer's own? No rule names it and no machine has it: a chain is all that the filter needs of it."""
    return contents.security_group(group_id).project_id == networking.SERVICE_PROJECT


def group_part(contents: Contents, group_id: str) -> Part:
    """What the filter has to know of a group; nothing of one that does not exist."""
    if contents.rows.first(tables.security_groups, id=group_id) is None:
        return Part()
    return part_of(group_id, contents.rows.all(tables.rules, security_group_id=group_id), is_of_service(contents, group_id))


def part_of(group_id: str, rules: Sequence[Rule], is_of_service: bool) -> Part:
    """The chains of a group, and the sets of its members' addresses."""
    accepts = tuple(f"{match} accept" for match in matches(rule for rule in rules if rule.direction == "ingress"))
    if is_of_service:
        return Part(chains={ingress(group_id): accepts})
    passes = tuple(f"{match} goto pass" for match in matches(rule for rule in rules if rule.direction == "egress"))
    sets = {_members(group_id, 4): "ipv4_addr", _members(group_id, 6): "ipv6_addr"}
    return Part(sets=sets, chains={ingress(group_id): accepts, egress(group_id): passes})


def matches(rules: Iterable[Rule]) -> list[str]:
    """What rules speak of, in the words of nft; those that differ by a single port only are one, for a packet is asked each in turn."""
    single: dict[str, set[int]] = {}
    others: dict[str, None] = {}
    for rule in rules:
        words, port = _match(rule)
        if port is None:
            others[words] = None
        else:
            single.setdefault(words, set()).add(port)
    ports = {words: ", ".join(map(str, sorted(found))) for words, found in single.items()}
    return [*others, *(f"{words} th dport {f'{{ {found} }}' if ',' in found else found}" for words, found in ports.items())]


def _match(rule: Rule) -> tuple[str, int | None]:
    """The words for a rule, but for its port where it is a single one."""
    version = 6 if rule.ethertype == "IPv6" else 4
    family, far = ("ip6" if version == 6 else "ip"), ("saddr" if rule.direction == "ingress" else "daddr")
    words = [f"ether type {family}"]
    if rule.remote_group_id:
        words.append(f"{family} {far} @{_members(rule.remote_group_id, version)}")
    prefix = ipaddress.ip_network(rule.prefix, strict=False) if rule.prefix else None
    if prefix is not None and prefix.prefixlen:
        words.append(f"{family} {far} {prefix}")
    more, port = _protocol_words(rule)
    return " ".join(words + more), port


def _protocol_words(rule: Rule) -> tuple[list[str], int | None]:
    protocol, low, high = rule.protocol, rule.port_min, rule.port_max
    if protocol is None:
        return [], None
    number = PROTOCOLS[protocol] if protocol in PROTOCOLS else int(protocol)
    words = [f"meta l4proto {number}"] if number else []
    if number in (1, 58):
        name = "icmp" if number == 1 else "icmpv6"
        return words + [f"{name} {part} {value}" for part, value in (("type", low), ("code", high)) if value is not None], None
    if low is None or (low, high) == (1, 65535):
        return words, None
    return (words, low) if low == high else ([*words, f"th dport {low}-{high}"], None)
