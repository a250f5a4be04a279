"""Asks the kernel's packet filter for counters and tables without a program: nft(8) would read the elements of all maps first (1.0.6).

The messages are those of linux/netlink.h, nfnetlink.h and nf_tables.h.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator

_NETFILTER = 12  # netlink's family
_REQUEST, _DUMP, _INTERRUPTED = 0x1, 0x300, 0x10
_ERROR, _DONE = 2, 3
_GET_TABLE = (10 << 8) | 1
_NEW_OBJECT, _GET_OBJECT = (10 << 8) | 18, (10 << 8) | 19
_INET = 1  # the family of the table
_TABLE, _NAME, _TYPE, _DATA = 1, 2, 3, 4
_COUNTER = 1
_BYTES, _PACKETS = 1, 2
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_FAMILY_SIZE = 4
_TRIES = 5


def counters(table: str) -> dict[str, tuple[int, int]]:
    """Packets and bytes of each counter in a table of the family `inet`; none if there is no such table. In this thread's namespace.

    :raises OSError: the kernel does not tell.
    """
    with _socket() as asking:
        for _ in range(_TRIES):
            found = _ask(asking, table)
            if found is not None:
                return found
    raise OSError("the packet filter changes all the time")


def has_table(table: str) -> bool:
    """Whether there is a table of the family `inet`, in this thread's namespace.

    :raises OSError: the kernel does not tell.
    """
    with _socket() as asking:
        _send(asking, _GET_TABLE, _REQUEST, _attribute(_TABLE, table.encode() + b"\0"))
        ((kind, _, content), *_) = _messages(asking.recv(1 << 16))
    number = -struct.unpack_from("=i", content)[0] if kind == _ERROR else 0
    if number not in (0, errno.ENOENT):
        raise OSError(number, os.strerror(number))
    return number == 0


def _socket() -> socket.socket:
    asking = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETFILTER)
    asking.settimeout(5)
    asking.bind((0, 0))
    return asking


def _send(asking: socket.socket, kind: int, flags: int, attributes: bytes) -> None:
    body = struct.pack("=BBH", _INET, 0, 0) + attributes
    asking.send(_HEADER.pack(_HEADER.size + len(body), kind, flags, 1, 0) + body)


def _ask(asking: socket.socket, table: str) -> dict[str, tuple[int, int]] | None:
    """None if what was asked for changed meanwhile."""
    wanted = _attribute(_TABLE, table.encode() + b"\0") + _attribute(_TYPE, struct.pack("!I", _COUNTER))
    _send(asking, _GET_OBJECT, _REQUEST | _DUMP, wanted)
    found: dict[str, tuple[int, int]] = {}
    interrupted = False
    while True:
        for kind, flags, content in _messages(asking.recv(1 << 20)):
            interrupted = interrupted or bool(flags & _INTERRUPTED)
            if kind == _DONE:
                return None if interrupted else found
            if kind == _ERROR and (number := -struct.unpack_from("=i", content)[0]):
                raise OSError(number, os.strerror(number))
            if kind == _NEW_OBJECT:
                fields = dict(_attributes(content[_FAMILY_SIZE:]))
                counted = dict(_attributes(fields[_DATA]))
                packets, size = (struct.unpack("!Q", counted[which])[0] for which in (_PACKETS, _BYTES))
                found[fields[_NAME].rstrip(b"\0").decode()] = packets, size


def _messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Type, flags and content of each."""
    place = 0
    while place < len(data):
        length, kind, flags, _, _ = _HEADER.unpack_from(data, place)
        yield kind, flags, data[place + _HEADER.size : place + length]
        place += _aligned(length)


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    place = 0
    while place < len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, place)
        yield kind & 0x3FFF, data[place + _ATTRIBUTE.size : place + length]  # the upper bits are flags
        place += _aligned(length)


def _attribute(kind: int, content: bytes) -> bytes:
    length = _ATTRIBUTE.size + len(content)
    return _ATTRIBUTE.pack(length, kind) + content + bytes(_aligned(length) - length)


def _aligned(length: int) -> int:
    return (length + 3) & ~3
