"""Pure: where a connection to an address ends, in whatever spelling, and whether a member can be there."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Collection, Iterable, Iterator

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_BROADCAST = ipaddress.IPv4Address("255.255.255.255")
_THIS_NETWORK = ipaddress.IPv4Network("0.0.0.0/8")  # RFC 1122, section 3.2.1.3: a host on this network, never a destination
_TRANSLATED = (
    ipaddress.IPv6Network("64:ff9b::/96"),  # RFC 6052
    ipaddress.IPv6Network("::/96"),  # RFC 4291, section 2.5.5.1; `::` and `::1` are in it, and refused by themselves
)


def is_address(text: str) -> bool:
    """Whether this is an IPv4 or IPv6 address, in any spelling."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


class Ranges:
    """Some ranges; whether an address as a text is in one of them is found without parsing it at length, as thousands are asked for."""

    def __init__(self, ranges: Iterable[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> None:
        self._ranges = [(one.version, int(one.network_address), int(one.netmask)) for one in ranges]

    def __contains__(self, address: str) -> bool:
        version = 6 if ":" in address else 4
        try:
            number = int.from_bytes(socket.inet_pton(_FAMILIES[version], address), "big")
        except (OSError, ValueError):
            return False
        return any(version == of and number & mask == begin for of, begin, mask in self._ranges)


def canonical(address: str) -> str:
    """The one spelling of an address (RFC 5952)."""
    return str(ipaddress.ip_address(address)) if ":" in address else address


def reached(address: str) -> Iterator[Address]:
    """The address, and the IPv4 address that is embedded in it, at which such a packet may end."""
    parsed = ipaddress.ip_address(address)
    yield parsed
    if isinstance(parsed, ipaddress.IPv6Address):
        embedded = parsed.ipv4_mapped or parsed.sixtofour
        if embedded is None and any(parsed in network for network in _TRANSLATED):
            embedded = ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF)
        if embedded is not None:
            yield embedded


def is_no_server(address: str, reserved: Collection[str]) -> bool:
    """Whether no other machine than an amphora itself can be there, or none that it may speak to (`reserved`, canonical)."""
    return any(_is_nowhere(one) or str(one) in reserved for one in reached(address))


def is_one_of(address: str, others: Collection[str]) -> bool:
    """Whether a connection to it ends at one of some addresses."""
    known = {ipaddress.ip_address(other) for other in others}
    return any(one in known for one in reached(address))


def _is_nowhere(address: Address) -> bool:
    if address.is_unspecified or address.is_loopback or address.is_multicast or address == _BROADCAST:
        return True
    if isinstance(address, ipaddress.IPv6Address):
        return address.is_link_local  # means something together with a NIC only, which nobody can name
    return address in _THIS_NETWORK
