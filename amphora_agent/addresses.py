"""Pure: addresses that may be spelled in several ways."""

from __future__ import annotations

import socket


def packed(address: str) -> bytes | str:
    """Equal for all spellings of an address; a host name stands for itself."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            return socket.inet_pton(family, address)
        except OSError:
            continue
    return address
