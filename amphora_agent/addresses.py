"""Pure: addresses that may be spelled in several ways."""

from __future__ import annotations

import socket
import zlib


def packed(address: str) -> bytes | str:
    """Equal for all spellings of an address; a host name stands for itself."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            return socket.inet_pton(family, address)
        except OSError:
            continue
    return address


def routing_table(source: str) -> int:
    """The routing table of what is sent from an address: one of its own, the same each time, and none of those that have a name
    (ip-route(8)). It is also the mark of packets that will be sent from there once they are translated.
    """
    return 0x80000000 | zlib.crc32(source.encode()) >> 1
