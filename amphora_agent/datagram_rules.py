"""Pure: services of UDP and SCTP as rules of nftables, which translate the destination of each new flow to one of its members.

A new flow gets a mark, the number of its member: of the one that holds its client (`held`), or of the one that stands in the table of
shares (`slots`) beside a number that is counted up or hashed. Conntrack keeps it for all packets that follow. Counters and held clients are
objects of their own, so that changed rules leave them as they are. What a pool decides is written down once, in the maps of the first of
its services, by which the others go, too. All is in the table `figlina` of the tenant's namespace; what is to be forwarded and is not of
such a flow is dropped.

What nft(8) 1.0.6 and Linux 6.1 can't do shapes it: a hash can't be looked up in a map that holds marks, hence the way over the packet's own
mark; a map of verdicts can't be filled by packets, hence numbers.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import itertools
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from amphora_agent import addresses, datagram_shares
from amphora_agent.protocol import datagrams

TABLE = "inet figlina"
TURNS = 1 << 20
"""A turn begins anywhere, so that many changes do not favour the first member: `Standing.turn` is below this."""
_TURN_OF_FEWEST = 256
"""So many flows are shared out ahead where those count that are open."""
_HELD = 65536
"""Clients of one listener that are held at most."""
_COUNTED = 65536
"""Members of one listener that are counted at most, those that are gone included."""
_SEED = "seed 0x1"
_FAMILIES = {4: "ip", 6: "ip6"}
_ADDRESSES = {4: "ipv4_addr", 6: "ipv6_addr"}
_BEGINS_NOTHING = "ct state new meta l4proto sctp @th,96,8 != 1"
"""A first chunk that is no INIT (RFC 9260, section 3.3.2), of a flow that is known no more. Of most, conntrack makes no flow by itself."""
REFUSED = 3
"""Seconds for which it is known who has refused a client."""
_REFUSALS = {
    4: "icmp type destination-unreachable icmp code port-unreachable",
    6: "icmpv6 type destination-unreachable icmpv6 code port-unreachable",
}
_BYTES = ("in", "out")
_OF_MEMBERS = ("slots", "targets", "bound")
_PARTS = (*_OF_MEMBERS, "held")
"""The maps of a service, of each version of IP."""
_MEMBERS = tuple(f"members_{kind}" for kind in ("new", *_BYTES))
"""Sets of the marks that have had packets, each with its counters: flows that were begun, packets to the member, packets from it."""
_CHAINS = tuple(f"{kind}{version}" for kind, version in itertools.product(("pick", "hold"), _FAMILIES))


@dataclasses.dataclass(frozen=True, slots=True)
class Standing:
    """What rules have to know of a service's members: who may get packets (`present`), how many flows each has, and who begins a turn."""

    present: frozenset[str] = frozenset()
    flows: tuple[tuple[str, int], ...] = ()
    turn: int = 0


class Leads:
    """Who leads: the first service of a pool that is spoken to in a version of IP. Its maps of members are those of the others, too."""

    def __init__(self, services: Iterable[datagrams.Service]) -> None:
        self._first: dict[tuple[str | None, int], datagrams.Service] = {}
        self._slots: dict[tuple[str, int], int] = {}
        for one in services:
            for version in one.versions:
                self._first.setdefault((one.pool_id, version), one)

    def of(self, service: datagrams.Service, version: int) -> datagrams.Service:
        """The service whose maps of members it goes by: itself, unless another one is of the same pool."""
        first = self._first.get((service.pool_id, version), service)
        return first if service.pool_id is not None and first.shares_pool(service) else service

    def of_all(self, service: datagrams.Service) -> tuple[str, ...]:
        """Their ids, by which it is known whether another one leads than before."""
        return tuple(self.of(service, version).id for version in service.versions)

    def slots(self, service: datagrams.Service, version: int, count: Callable[[], int]) -> int:
        """Between how many numbers its lead's flows are shared out; `count` is asked once for each lead."""
        key = (self.of(service, version).id, version)
        if key not in self._slots:
            self._slots[key] = count()
        return self._slots[key]


def base(services: Collection[datagrams.Service], tracks_connections: bool = False) -> list[str]:
    """The lines that all services share: where their packets are met, and where each one's rules are. Chains of services come before.

    HAProxy's connections need no tracking, and are to take no room there, unless somebody else goes by it (`tracks_connections`).
    """
    lines = [
        _chain("untracked_in", "filter hook prerouting priority raw; policy accept"),
        _chain("untracked_out", "filter hook output priority raw; policy accept"),
        _chain("meet", "filter hook prerouting priority mangle; policy accept"),
        _chain("arrive", "nat hook prerouting priority dstnat; policy accept"),
        _chain("leave", "nat hook postrouting priority srcnat; policy accept"),
        _chain("pass", "filter hook forward priority filter; policy drop"),
        _chain("answer", "filter hook output priority filter; policy accept"),
        *(f"flush chain {TABLE} {name}" for name in ("untracked_in", "untracked_out", "meet", "arrive", "leave", "pass", "answer")),
        *(_map(f"{name}{version}", f"type {_ADDRESSES[version]} . inet_proto . inet_service : verdict")
          for name, version in itertools.product(("services", "holding"), _FAMILIES)),
        *(_map(name, f"type {_ADDRESSES[version]} . inet_service : counter") for name, version in _counter_maps()),
        *(_map(f"counting_{transport}{version}", f"type {_ADDRESSES[version]} . inet_service : verdict")
          for transport, version in itertools.product(datagrams.TRANSPORTS, _FAMILIES)),
        *(f"add set {TABLE} preserved_{transport}{version} {{ type {_ADDRESSES[version]} . inet_service; }}"
          for transport, version in itertools.product(datagrams.TRANSPORTS, _FAMILIES)),
        *(_rule(name, "meta l4proto tcp notrack") for name in ("untracked_in", "untracked_out") if not tracks_connections),
        *(_map(f"ways{version}", f"type {words} : mark") for version, words in _ADDRESSES.items()),
    ]  # fmt: skip
    # Translated, it would meet a member that knows nothing of it; left alone, it would hold the place of its client's next INIT.
    lines.append(_rule("meet", f"meta nfproto ipv4 {_BEGINS_NOTHING} reject with icmp type prot-unreachable"))
    lines.append(_rule("meet", f"{_BEGINS_NOTHING} drop"))  # IPv6 has no such answer that nftables could give
    for version, family in _FAMILIES.items():
        place = f"{family} daddr . meta l4proto . th dport"
        lines += [_rule("meet", f"ct mark != 0 {place} vmap @holding{version}"), _rule("arrive", f"{place} vmap @services{version}")]
        # An answer is routed before it is from the VIP again: its mark leads it to the routes of that (`interfaces`).
        answers = f"ct status dnat ct direction reply meta mark set ct original {family} daddr map @ways{version}"
        lines.append(_rule("meet", answers))
    lines += [_rule("leave", words) for words in _masquerading(services)]
    for version, words in _REFUSALS.items():
        lines.append(f"add set {TABLE} refused{version} {{ type {_ADDRESSES[version]} . mark; flags dynamic,timeout; size {_HELD}; }}")
        source = f"{_FAMILIES[version]} saddr . ct mark"
        lines.append(_rule("meet", f"ct status dnat ct direction reply {words} update @refused{version} {{ {source} timeout {REFUSED}s }}"))
    for transport, (version, family) in itertools.product(datagrams.TRANSPORTS, _FAMILIES.items()):
        for way, direction in zip(_BYTES, ("original", "reply"), strict=True):
            found = f"ct original {family} daddr . ct original proto-dst map @{way}_{transport}{version}"
            lines.append(_rule("pass", f"ct status dnat meta l4proto {transport} ct direction {direction} counter name {found}"))
        place = f"ct original {family} daddr . ct original proto-dst vmap @counting_{transport}{version}"
        lines.append(_rule("pass", f"ct status dnat meta l4proto {transport} {place}"))
    lines += [
        _rule("pass", "ct status dnat accept"),
        # A member beside its clients would otherwise be recommended to them (RFC 4861, section 8).
        _rule("answer", "icmpv6 type nd-redirect drop"),
    ]
    return lines + list(_directory(services))


def _masquerading(services: Collection[datagrams.Service]) -> Iterator[str]:
    """For whom the amphora asks members in its own name, so that they answer it: for all whose address is not to be preserved, and for
    clients that are beside their member, who would be answered by that itself.
    """
    for subnet in dict.fromkeys(subnet for one in services if one.preserve_client_ip for subnet in one.subnets):
        family = _FAMILIES[6 if ":" in subnet else 4]
        yield f"ct status dnat {family} saddr {subnet} {family} daddr {subnet} masquerade"
    for transport, (version, family) in itertools.product(datagrams.TRANSPORTS, _FAMILIES.items()):
        found = f"ct original {family} daddr . ct original proto-dst @preserved_{transport}{version}"
        yield f"ct status dnat meta l4proto {transport} {found} accept"
    yield "ct status dnat masquerade"


def _directory(services: Collection[datagrams.Service]) -> Iterator[str]:
    """Which rules and counters each packet belongs to."""
    for name, version in itertools.product(("services", "holding"), _FAMILIES):
        yield f"flush map {TABLE} {name}{version}"
    for name, _ in _counter_maps():
        yield f"flush map {TABLE} {name}"
    for transport, version in itertools.product(datagrams.TRANSPORTS, _FAMILIES):
        yield f"flush map {TABLE} counting_{transport}{version}"
        yield f"flush set {TABLE} preserved_{transport}{version}"
    for version in _FAMILIES:
        yield f"flush map {TABLE} ways{version}"
    for address in dict.fromkeys(address for one in services for address in one.addresses):
        yield _element(f"ways{6 if ':' in address else 4}", [f"{address} : {addresses.routing_table(address)}"])
    for one in services:
        for address in one.addresses:
            version = 6 if ":" in address else 4
            place = f"{address} . {one.transport} . {one.port}"
            yield _element(f"services{version}", [f"{place} : goto {chain('pick', one, version)}"])
            if one.preserve_client_ip:
                yield _element(f"preserved_{one.transport}{version}", [f"{address} . {one.port}"])
            if one.persistence is not None:
                yield _element(f"holding{version}", [f"{place} : goto {chain('hold', one, version)}"])
            for way in _BYTES:
                yield _element(f"{way}_{one.transport}{version}", [f'{address} . {one.port} : "{counter(way, one.id)}"'])
            yield _element(f"counting_{one.transport}{version}", [f"{address} . {one.port} : jump {_counting(one.id)}"])


def declaration(service: datagrams.Service) -> list[str]:
    """The objects of a service; what is there already stays as it is."""
    lines = [f"add counter {TABLE} {counter(kind, service.id)}" for kind in ("new", *_BYTES)]
    lines += [f"add chain {TABLE} limit_{_key(service.id)}", f"add chain {TABLE} {_counting(service.id)}"]
    lines += [f"add set {TABLE} {name} {{ type mark; flags dynamic; size {_COUNTED}; }}" for name in member_sets(service.id)]
    _, into, out = member_sets(service.id)
    lines.append(f"flush chain {TABLE} {_counting(service.id)}")
    lines += [
        _rule(_counting(service.id), f"ct direction {direction} update @{name} {{ ct mark counter }}")
        for direction, name in (("original", into), ("reply", out))
    ]
    for version in _FAMILIES:
        lines += [f"add chain {TABLE} {chain(kind, service, version)}" for kind in ("pick", "hold")]
        types = ("mark : mark", f"mark : {_ADDRESSES[version]} . inet_service", "mark : mark")
        lines += [_map(chain(part, service, version), f"type {words}") for part, words in zip(_PARTS, types, strict=False)]
        lines.append(_map(chain("held", service, version), f"type {_ADDRESSES[version]} : mark; flags dynamic,timeout; size {_HELD}"))
    return lines


def rules(service: datagrams.Service, standing: Standing, leads: Leads) -> list[str]:
    """The rules of a service, in the place of former ones."""
    lines = []
    for version in _FAMILIES:
        names = {part: chain(part, service, version) for part in (*_PARTS, "pick", "hold")}
        lines += [f"flush chain {TABLE} {names['pick']}", f"flush chain {TABLE} {names['hold']}"]
        lines += [f"flush map {TABLE} {names[part]}" for part in _OF_MEMBERS]
        if version in service.versions:
            lines += _of_version(service, standing, version, names, leads)
    return lines


def _of_version(service: datagrams.Service, standing: Standing, version: int, names: Mapping[str, str], leads: Leads) -> Iterator[str]:
    lead = leads.of(service, version)
    led = {part: chain(part, lead, version) for part in _OF_MEMBERS if part != "slots" or not by_fewest(service)}
    slots = _slots(service, standing, version) if lead is service or by_fewest(service) else []
    count = len(slots) or leads.slots(service, version, lambda: len(_slots(service, standing, version)))
    source = _source(service, version)
    for words in _picking(service, version, count, source, {**names, **led}):
        yield _rule(names["pick"], words)
    if service.persistence is not None:
        yield _rule(names["hold"], _holding(service.persistence, source, names))
    marks = numbers(service) if slots or lead is service else {}
    if slots:
        yield _element(names["slots"], [f"{place} : {marks[name]}" for place, name in enumerate(slots)])
    if lead is service:
        yield from _members(service, standing, version, names, marks)


def _members(
    service: datagrams.Service, standing: Standing, version: int, names: Mapping[str, str], marks: Mapping[str, int]
) -> Iterator[str]:
    """Where flows of each mark go, and who may hold a client."""
    present = _present(service, standing, version)
    serving = _serving(present)
    if present:
        yield _element(names["targets"], [f"{marks[one.id]} : {one.address} . {one.port}" for one in present])
    if bound := [one for one in present if not one.backup or one in serving]:
        yield _element(names["bound"], [f"{marks[one.id]} : {marks[one.id]}" for one in bound])


def _present(service: datagrams.Service, standing: Standing, version: int) -> list[datagrams.Member]:
    return [one for one in service.members if one.version == version and one.id in standing.present]


def _serving(present: Collection[datagrams.Member]) -> list[datagrams.Member]:
    return [one for one in present if one.weight and not one.backup] or [one for one in present if one.weight]


def _picking(service: datagrams.Service, version: int, slots: int, source: str, names: Mapping[str, str]) -> Iterator[str]:
    held = service.persistence is not None
    if held:
        yield f"meta mark set {source} map @{names['held']}"
        yield f"ct mark set meta mark map @{names['bound']}"
        yield f"ct mark 0 meta mark != 0 delete @{names['held']} {{ {source} : meta mark }}"
    if slots:
        yield f"ct mark 0 meta mark set {_number(service, version, source)} mod {slots}{'' if _counts(service) else f' {_SEED}'}"
        yield f"ct mark 0 ct mark set meta mark map @{names['slots']}"
    yield "ct mark 0 return"
    if service.persistence is not None:
        yield _holding(service.persistence, source, names)
    yield f"jump limit_{_key(service.id)}"
    yield f"counter name {counter('new', service.id)}"
    yield f"update @{member_sets(service.id)[0]} {{ ct mark counter }}"
    yield f"meta l4proto {service.transport} dnat {_FAMILIES[version]} to ct mark map @{names['targets']}"


def _holding(persistence: datagrams.Persistence, source: str, names: Mapping[str, str]) -> str:
    return f"update @{names['held']} {{ {source} timeout {persistence.timeout}s : ct mark }}"


def _counts(service: datagrams.Service) -> bool:
    """Whether members take turns. Clients that are held are shared out by hash: behind a pair's other half they meet the same member."""
    return service.persistence is None and service.algorithm in (datagrams.ROUND_ROBIN, datagrams.LEAST_CONNECTIONS)


def _number(service: datagrams.Service, version: int, source: str) -> str:
    if _counts(service):
        return "numgen inc"
    if service.algorithm == datagrams.SOURCE_IP_PORT and service.persistence is None:
        return f"jhash {_FAMILIES[version]} saddr . {service.transport} sport"
    return f"jhash {source}"


def _source(service: datagrams.Service, version: int) -> str:
    """What tells clients apart."""
    words, held = f"{_FAMILIES[version]} saddr", service.persistence
    if held is None:
        return words
    mask = ipaddress.IPv4Network((0, held.prefix4)).netmask if version == 4 else ipaddress.IPv6Network((0, held.prefix6)).netmask
    return f"{words} & {mask}"


def by_fewest(service: datagrams.Service) -> bool:
    """Whether the flows that its members have decide who gets the next one."""
    return service.algorithm == datagrams.LEAST_CONNECTIONS and service.persistence is None


def _slots(service: datagrams.Service, standing: Standing, version: int) -> list[str]:
    """Ids of members by the numbers that flows are given; two at least, for the kernel shares nothing among one."""
    serving = _serving(_present(service, standing, version))
    present = tuple((one.id, one.weight) for one in serving)
    if not _counts(service):
        backup = any(one.backup for one in serving)
        all_of_them = [one for one in service.members if one.version == version and one.weight and one.backup == backup]
        found = list(datagram_shares.by_hash(tuple((one.id, one.weight) for one in all_of_them), {name for name, _ in present}))
    elif by_fewest(service):
        found = list(datagram_shares.by_fewest(present, dict(standing.flows), _TURN_OF_FEWEST))
    else:
        turn = list(datagram_shares.in_turn(present))
        begin = standing.turn % len(turn) if turn else 0
        found = turn[begin:] + turn[:begin]
    return found * 2 if len(found) == 1 else found


def limit(service: datagrams.Service) -> list[str]:
    """How many flows there may be. Put in place anew it begins to count anew, so only where it changes."""
    name = f"limit_{_key(service.id)}"
    lines = [f"flush chain {TABLE} {name}"]
    return [*lines, _rule(name, f"ct count over {service.most_flows} drop")] if service.most_flows else lines


def removal(service_ids: Collection[str]) -> list[str]:
    """Take the objects of services away, which no others name any more; they may name each other's."""
    keys = [_key(one) for one in service_ids]
    chains = [name for key in keys for name in (*(f"{kind}_{key}" for kind in _CHAINS), f"limit_{key}", _counting(key))]
    lines = [f"flush chain {TABLE} {name}" for name in chains]
    lines += [f"delete chain {TABLE} {name}" for name in chains]
    lines += [f"delete map {TABLE} {part}{version}_{key}" for key in keys for part, version in itertools.product(_PARTS, _FAMILIES)]
    lines += [f"delete set {TABLE} {name}" for key in keys for name in member_sets(key)]
    return lines + [f"delete counter {TABLE} {counter(kind, one)}" for one in service_ids for kind in ("new", *_BYTES)]


def forgetting(service: datagrams.Service, counting: Mapping[str, Iterable[int]]) -> list[str]:
    """Count members no more that are gone; `counting` are the marks that are counted, by the names of `member_sets`."""
    there = marks(service)
    gone = {name: [f"{mark}" for mark in counted if mark not in there] for name, counted in counting.items()}
    return [f"delete element {TABLE} {name} {{ {', '.join(some)} }}" for name, some in gone.items() if some]


def numbers(service: datagrams.Service) -> dict[str, int]:
    """The mark by which conntrack knows each member: of its id, so that it stays the same whoever else comes and goes.

    It is another one where clients' addresses are preserved: a flow is translated for good as its first packet was, so those that were
    translated otherwise are of no member any more, and end.
    """
    taken: dict[int, str] = {}
    preserved = "/preserved" if service.preserve_client_ip else ""
    for name in sorted(one.id for one in service.members):
        number = zlib.crc32(f"{name}{preserved}".encode()) & 0x7FFFFFFF or 1
        while number in taken:
            number = number % 0x7FFFFFFF + 1
        taken[number] = name
    return {name: number for number, name in taken.items()}


def marks(service: datagrams.Service) -> dict[int, str]:
    """Members by the marks that they have, and by those that they had, or will have, while their flows were translated otherwise."""
    both = (dataclasses.replace(service, preserve_client_ip=not service.preserve_client_ip), service)
    return {mark: name for one in both for name, mark in numbers(one).items()}


def counter(kind: str, service_id: str) -> str:
    """The name of a counter: `new` flows, and packets `in` and `out`."""
    return f"{kind}_{_key(service_id)}"


def member_sets(service_id: str) -> tuple[str, ...]:
    """The names of the sets in which members count, by their marks (`numbers`): `new` flows, and packets `in` and `out`."""
    return tuple(f"{name}_{_key(service_id)}" for name in _MEMBERS)


def _counting(service_id: str) -> str:
    return f"counting_{_key(service_id)}"


def chain(kind: str, service: datagrams.Service, version: int) -> str:
    """The name of a chain or map of a service."""
    return f"{kind}{version}_{_key(service.id)}"


def _key(service_id: str) -> str:
    return service_id.replace("-", "_")


def _counter_maps() -> Iterable[tuple[str, int]]:
    for way, transport, version in itertools.product(_BYTES, datagrams.TRANSPORTS, _FAMILIES):
        yield f"{way}_{transport}{version}", version


def _chain(name: str, words: str) -> str:
    return f"add chain {TABLE} {name} {{ type {words}; }}"


def _map(name: str, words: str) -> str:
    return f"add map {TABLE} {name} {{ {words}; }}"


def _rule(name: str, words: str) -> str:
    return f"add rule {TABLE} {name} {words}"


def _element(name: str, elements: Iterable[str]) -> str:
    return f"add element {TABLE} {name} {{ {', '.join(elements)} }}"
