"""Messages to and from the kernel, as linux/netlink.h lays them out."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator

HEADER = struct.Struct("=IHHII")
REQUEST, TO_BE_ANSWERED, CREATE, REPLACE, DUMP = 0x1, 0x4, 0x400, 0x100, 0x300
"""Flags of a question."""
ERROR, DONE = 2, 3
"""Types of an answer; an error with the number 0 says that all went well."""
_ATTRIBUTE = struct.Struct("=HH")


def connected(family: int) -> socket.socket:
    """A socket to a part of the kernel (netlink(7)), in this thread's namespace, whose answers are waited for for 5 s."""
    kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, family)
    kernel.settimeout(5)
    kernel.bind((0, 0))
    return kernel


def message(kind: int, flags: int, body: bytes) -> bytes:
    """A question of this type."""
    return HEADER.pack(HEADER.size + len(body), kind, flags, 1, 0) + body


def messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Type, flags and content of each."""
    place = 0
    while place < len(data):
        length, kind, flags, _, _ = HEADER.unpack_from(data, place)
        yield kind, flags, data[place + HEADER.size : place + length]
        place += _aligned(length)


def error(content: bytes) -> int:
    """The error number (errno(3)) in the content of an ERROR; 0: there is none."""
    return -int(struct.unpack_from("=i", content)[0])


def check(kind: int, content: bytes, passed_over: int = 0) -> None:
    """:raises OSError: an answer of this type and content says so, with another number than the one that is passed over."""
    if kind == ERROR and (number := error(content)) not in (0, passed_over):
        raise OSError(number, os.strerror(number))


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and value of each."""
    place = 0
    while place < len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, place)
        yield kind & 0x3FFF, data[place + _ATTRIBUTE.size : place + length]  # the upper bits are flags
        place += _aligned(length)


def attribute(kind: int, content: bytes) -> bytes:
    """One of this type and value."""
    length = _ATTRIBUTE.size + len(content)
    return _ATTRIBUTE.pack(length, kind) + content + bytes(_aligned(length) - length)


def _aligned(length: int) -> int:
    return (length + 3) & ~3
