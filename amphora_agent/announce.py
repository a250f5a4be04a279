"""Gratuitous ARP and unsolicited neighbour advertisements: neighbours learn at once where an address is now."""

from __future__ import annotations

import logging
import socket
import struct
from collections.abc import Sequence

LOG = logging.getLogger(__name__)
_ETH_P_ARP = 0x0806
_NEIGHBOUR_ADVERTISEMENT = 136
_OVERRIDE = 0x20000000


def send(vips: Sequence[tuple[str, str, str]]) -> None:
    """Announce (interface, MAC, address), from inside the network namespace that holds them."""
    for interface, mac, address in vips:
        hardware = bytes.fromhex(mac.replace(":", ""))
        try:
            if ":" in address:
                _neighbour_advertisement(interface, hardware, address)
            else:
                _gratuitous_arp(interface, hardware, address)
        except OSError as exc:
            LOG.warning("%s could not be announced on %s: %s", address, interface, exc)


def _gratuitous_arp(interface: str, mac: bytes, address: str) -> None:
    """Both forms, request and reply: switches and hosts differ in which one they heed."""
    broadcast = b"\xff" * 6
    packed = socket.inet_pton(socket.AF_INET, address)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ARP)) as link:
        link.bind((interface, _ETH_P_ARP))
        for operation, target in ((1, b"\0" * 6), (2, broadcast)):
            body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation) + mac + packed + target + packed
            link.send(broadcast + mac + struct.pack("!H", _ETH_P_ARP) + body)


def _neighbour_advertisement(interface: str, mac: bytes, address: str) -> None:
    packed = socket.inet_pton(socket.AF_INET6, address)
    message = struct.pack("!BBHI", _NEIGHBOUR_ADVERTISEMENT, 0, 0, _OVERRIDE) + packed + struct.pack("!BB", 2, 1) + mac
    index = socket.if_nametoindex(interface)
    with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as raw:  # the kernel adds the checksum
        raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        raw.bind((address, 0, 0, index))
        raw.sendto(message, ("ff02::1", 0, 0, index))
