"""TCP sockets of a network namespace by the kernel's own list, and an end of some of them: whoever has one open reads an error, and the
other side is sent a reset.

The messages are those of linux/sock_diag.h and inet_diag.h.
"""

from __future__ import annotations

import dataclasses
import errno
import ipaddress
import socket
import struct
from collections.abc import Iterable, Iterator

from amphora_agent import netlink_messages
from amphora_agent.netlink_messages import DONE, DUMP, REQUEST, TO_BE_ANSWERED, check, messages

_SOCK_DIAG = 4  # netlink's family
_OF_FAMILY, _DESTROY = 20, 21
_LISTENS = 10
_STANDING = (1, 4, 5, 8, 9, 11)  # established, and with one half closed (net/tcp_states.h)
_STATES = sum(1 << state for state in (_LISTENS, *_STANDING))
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_KINDS: dict[int, type[_Address]] = {4: ipaddress.IPv4Address, 6: ipaddress.IPv6Address}
_SIZES = {4: 4, 6: 16}
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_ASKED = struct.Struct("=BBBxI")  # and after it what tells a socket from others
_KEY = slice(4, 52)
_PLACE = struct.Struct("!HH16s16s")


@dataclasses.dataclass(frozen=True, slots=True)
class Socket:
    """A TCP socket of the kernel's list; one that `listens` has an unspecified peer."""

    version: int
    address: _Address
    port: int
    peer: _Address
    peer_port: int
    listens: bool
    key: bytes


def tcp(version: int) -> Iterator[Socket]:
    """The TCP sockets of a version of IP, in this thread's namespace.

    :raises OSError: the kernel does not tell.
    """
    with netlink_messages.connected(_SOCK_DIAG) as asking:
        asking.send(_message(_OF_FAMILY, DUMP, version, bytes(48)))
        while True:
            for kind, _, content in messages(asking.recv(1 << 20)):
                if kind == DONE:
                    return
                check(kind, content)
                port, peer_port, address, peer = _PLACE.unpack_from(content, _KEY.start)
                own, other = (_KINDS[version](one[: _SIZES[version]]) for one in (address, peer))
                yield Socket(version, own, port, other, peer_port, content[1] == _LISTENS, content[_KEY])


def end(some: Iterable[Socket]) -> None:
    """End these, in this thread's namespace; those that have ended meanwhile are passed over.

    :raises OSError: the kernel does not end them.
    """
    with netlink_messages.connected(_SOCK_DIAG) as asking:
        for one in some:
            asking.send(_message(_DESTROY, TO_BE_ANSWERED, one.version, one.key))
            for kind, _, content in messages(asking.recv(1 << 16)):
                check(kind, content, errno.ENOENT)


def _message(kind: int, flags: int, version: int, key: bytes) -> bytes:
    body = _ASKED.pack(_FAMILIES[version], socket.IPPROTO_TCP, 0, _STATES) + key
    return netlink_messages.message(kind, REQUEST | flags, body)
