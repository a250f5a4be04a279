"""The card on the management network, by messages to the kernel (rtnetlink(7)): the first heartbeat of a fresh machine waits for it, and
ip(8) would be a program to load twice, to look and to set.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Iterator
from typing import NamedTuple

from amphora_agent import errors
from amphora_agent.netlink_messages import (
    CREATE,
    DONE,
    DUMP,
    ERROR,
    REPLACE,
    REQUEST,
    TO_BE_ANSWERED,
    attribute,
    attributes,
    connected,
    error,
    message,
    messages,
)
from amphora_agent.protocol import boot

APPEAR_TIMEOUT = 8.0
"""Seconds that a card has to appear."""
_NEW_LINK, _GET_LINK, _NEW_ADDRESS, _NEW_ROUTE = 16, 18, 20, 24
_LINK, _ADDRESS, _ROUTE = struct.Struct("=BxHiII"), struct.Struct("=BBBBi"), struct.Struct("=BBBBBBBBI")
_MAC, _NAME, _MTU = 1, 3, 4  # attributes of links
_PREFIX, _LOCAL = 1, 2  # ... of addresses
_CARD, _GATEWAY = 4, 5  # ... of routes
_UP, _NO_DETECTION, _MAIN_TABLE, _BY_BOOT, _UNICAST, _ON_LINK = 0x1, 0x2, 254, 3, 1, 0x4
_LOOPBACK = 1  # its number, in each namespace


class Card(NamedTuple):
    """A network card, by the kernel's number and name for it."""

    number: int
    name: str


def wait_for(mac: str, seconds: float = APPEAR_TIMEOUT) -> Card:
    """The card with this MAC address, in this thread's namespace.

    :raises InterfaceMissing: it did not appear in time.
    """
    until = time.monotonic() + seconds
    while (found := _card(mac)) is None:
        if time.monotonic() > until:
            raise errors.InterfaceMissing(mac, seconds)
        time.sleep(0.1)
    return found


def configure(config: boot.BootConfig) -> None:
    """Have the card up, with the MTU, the address and the route that the boot configuration has. What is so already stays.

    An address of IPv6 serves at once: nobody asks first whether somebody else has it, which takes a second or more.

    :raises InterfaceMissing: it did not appear.
    :raises SettingRefused: the kernel does not take one of them.
    """
    card = wait_for(config.management_mac)
    with connected(socket.NETLINK_ROUTE) as kernel:
        for words, kind, body in _settings(card.number, config):
            kernel.send(message(kind, REQUEST | TO_BE_ANSWERED | (0 if kind == _NEW_LINK else CREATE | REPLACE), body))
            if number := next(error(content) for answer, _, content in messages(kernel.recv(1 << 16)) if answer == ERROR):
                raise errors.SettingRefused(f"{card.name}: {words}", os.strerror(number))


def _card(mac: str) -> Card | None:
    wanted = bytes.fromhex(mac.replace(":", ""))
    with connected(socket.NETLINK_ROUTE) as kernel:
        kernel.send(message(_GET_LINK, REQUEST | DUMP, _LINK.pack(0, 0, 0, 0, 0)))
        found = None
        while True:
            for kind, _, content in messages(kernel.recv(1 << 20)):
                if kind in (DONE, ERROR):
                    return found
                told = dict(attributes(content[_LINK.size :]))
                if told.get(_MAC) == wanted:
                    found = Card(_LINK.unpack_from(content)[2], told[_NAME].rstrip(b"\0").decode())


def _settings(number: int, config: boot.BootConfig) -> Iterator[tuple[str, int, bytes]]:
    """In words, and as types and bodies of messages."""
    address, _, length = config.management_address.partition("/")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    packed = socket.inet_pton(family, address)
    yield "lo up", _NEW_LINK, _LINK.pack(0, 0, _LOOPBACK, _UP, _UP)
    mtu = attribute(_MTU, struct.pack("=I", config.management_mtu))
    yield f"mtu {config.management_mtu}, up", _NEW_LINK, _LINK.pack(0, 0, number, _UP, _UP) + mtu
    own = _ADDRESS.pack(family, int(length), _NO_DETECTION if family == socket.AF_INET6 else 0, 0, number)
    yield f"address {config.management_address}", _NEW_ADDRESS, own + attribute(_LOCAL, packed) + attribute(_PREFIX, packed)
    if config.management_gateway:
        by_default = _ROUTE.pack(family, 0, 0, 0, _MAIN_TABLE, _BY_BOOT, 0, _UNICAST, _ON_LINK)
        via = attribute(_GATEWAY, socket.inet_pton(family, config.management_gateway)) + attribute(_CARD, struct.pack("=i", number))
        yield f"default route via {config.management_gateway}", _NEW_ROUTE, by_default + via
