"""What may reach an amphora by a NIC that no security group guards: a part of the host's network card (SR-IOV), or a port without port
security.

One nftables table in the tenants' namespace, which is replaced as a whole. It looks at packets before anything translates their
addresses, so it holds for whoever serves them. Beside what is admitted passes what was asked for from here (replies of members), and
what IPv6 can't do without: neighbor discovery (RFC 4861) and the queries by which switches learn who listens for it (RFC 2710, RFC 3810).
Each packet of a client has to be admitted, for a flow of datagrams may have no end. A TCP connection that stands is ended when its client
is admitted no more (`end_others`); one that nobody saw is reset with its next segment, so that it waits for nothing, and the client's own
resets pass, so that HAProxy's half of it ends.
"""

from __future__ import annotations

import collections
import dataclasses
import ipaddress
from collections.abc import Iterable, Iterator

from amphora_agent import sockets
from amphora_agent.protocol import rest

TABLE = "figlina_admission"
_Ranges = dict[tuple[int, int], set[int]]
"""By version of IP, and by how many bits of an address do not count: the other bits. There may be a thousand ranges, and tens of thousands
of connections that are looked for in them."""
_NEEDED = "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, mld-listener-query } accept"
_STANDING = {number: f"type {kind} . inet_service . {kind} . inet_service" for number, kind in ((4, "ipv4_addr"), (6, "ipv6_addr"))}
_VRRP = 112  # its protocol number (RFC 5798, section 5.1.1.4)


@dataclasses.dataclass(frozen=True, slots=True)
class Connection:
    """A TCP connection from here to a peer."""

    version: int
    peer: str
    peer_port: int
    address: str
    port: int

    def __str__(self) -> str:
        return f"{self.peer} . {self.peer_port} . {self.address} . {self.port}"


def script(interfaces: Iterable[rest.Interface], standing: Iterable[Connection] = ()) -> str:
    """What `nft -f` is to read, so that these NICs admit what they say; no table, if none of them says anything.

    `standing`: what was connected from here before anything was guarded (`outgoing`), so that nobody tracked it. Its answers come in.
    """
    guarded = [one for one in interfaces if one.admits is not None]
    lines = [f"table inet {TABLE}", f"delete table inet {TABLE}"]  # the first line makes it, so that the second one finds it
    if guarded:
        known = {version: sorted(str(one) for one in standing if one.version == version) for version in (4, 6)}
        known = {version: some for version, some in known.items() if some}
        sets = [
            f" set standing{version} {{ {_STANDING[version]}; elements = {{ {', '.join(some)} }}; }}" for version, some in known.items()
        ]
        chains = [line for one in guarded for line in _chain(one, known)]
        lines += [f"table inet {TABLE} {{", *sets, *chains, *_arriving(guarded), "}"]
    return "\n".join(lines) + "\n"


def outgoing() -> frozenset[Connection]:
    """The TCP connections that were opened from here, and stand. In this thread's namespace.

    :raises OSError: the kernel does not tell.
    """
    found: set[Connection] = set()
    for version in (4, 6):
        some = list(sockets.tcp(version))
        places = {(one.address, one.port) for one in some if one.listens}
        ours = [one for one in some if not one.listens and (one.address, one.port) not in places]
        found |= {Connection(version, str(one.peer), one.peer_port, str(one.address), one.port) for one in ours}
    return frozenset(found)


def end_others(interfaces: Iterable[rest.Interface], former: Iterable[rest.Interface]) -> int:
    """End connections to what listens here whose clients these NICs do not admit, and how many those were. In this thread's namespace.

    They are those to ports that these NICs admit somebody to, or have admitted (`former`).

    :raises OSError: the kernel does not do it.
    """
    admitted, ended = _tcp(interfaces), 0
    ports = {*admitted, *_tcp(former)}
    for version in (4, 6):
        found = [one for one in sockets.tcp(version) if one.port in ports]
        places = {(one.address, one.port) for one in found if one.listens}
        connections = [one for one in found if not one.listens and (one.address, one.port) in places]
        over = [one for one in connections if not _is_in(one.peer, admitted.get(one.port, {}))]
        sockets.end(over)
        ended += len(over)
    return ended


def _tcp(interfaces: Iterable[rest.Interface]) -> dict[int, _Ranges]:
    """From where they admit connections, by port."""
    found: dict[int, _Ranges] = collections.defaultdict(lambda: collections.defaultdict(set))
    for admission in (one for interface in interfaces for one in interface.admits or ()):
        if admission.protocol == "tcp" and admission.port is not None:
            everywhere = ("0.0.0.0/0", "::/0") if admission.source is None else (admission.source,)
            for network in (ipaddress.ip_network(source, strict=False) for source in everywhere):
                shift = network.max_prefixlen - network.prefixlen
                found[admission.port][network.version, shift].add(int(network.network_address) >> shift)
    return found


def _is_in(address: ipaddress.IPv4Address | ipaddress.IPv6Address, ranges: _Ranges) -> bool:
    number = int(address)
    return any(version == address.version and number >> shift in some for (version, shift), some in ranges.items())


def _chain(interface: rest.Interface, standing: Iterable[int]) -> Iterator[str]:
    """`standing`: the versions of IP of which there is such a set. What would open a connection is no answer."""
    yield f" chain {_name(interface)} {{"
    yield "  ct state related accept"
    yield "  ct state established ct direction reply accept"
    for version in standing:
        family = "ip" if version == 4 else "ip6"
        place = f"{family} saddr . tcp sport . {family} daddr . tcp dport"
        yield f"  tcp flags & (syn | ack) != syn {place} @standing{version} accept"
    yield f"  {_NEEDED}"
    yield from (f"  {_rule(one)}" for one in interface.admits or ())
    yield "  ct state established tcp flags rst accept"
    yield "  ct state established meta l4proto tcp reject with tcp reset"
    yield "  drop"
    yield " }"


def _arriving(guarded: Iterable[rest.Interface]) -> Iterator[str]:
    yield " chain arriving {"
    yield "  type filter hook prerouting priority -150; policy accept;"  # after connection tracking, before translation
    yield from (f'  iifname "{one.name}" jump {_name(one)}' for one in guarded)
    yield " }"


def _name(interface: rest.Interface) -> str:
    return "nic_" + "".join(character if character.isalnum() else "_" for character in interface.name)


def _rule(admission: rest.Admission) -> str:
    words = [] if admission.source is None else [f"{'ip6' if ':' in admission.source else 'ip'} saddr {admission.source}"]
    words += [f"meta l4proto {_VRRP}"] if admission.protocol == rest.VRRP else [f"{admission.protocol} dport {admission.port}"]
    return " ".join((*words, "accept"))
