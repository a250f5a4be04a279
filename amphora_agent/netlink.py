"""Asks the kernel's packet filter for counters, tables and flows, and ends flows, without a program: nft(8) would read the elements of all
maps first (1.0.6), and conntrack(8) goes through all flows for each member whose flows are to end.

The messages are those of linux/netlink.h, nfnetlink.h, nf_tables.h and nfnetlink_conntrack.h.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import socket
import struct
from collections.abc import Iterator, Sequence

from amphora_agent import netlink_messages
from amphora_agent.netlink_messages import DONE, DUMP, ERROR, REQUEST, attribute, attributes, check, messages

_NETFILTER = 12  # netlink's family
_INTERRUPTED = 0x10
_NESTED = 0x8000
_GET_TABLE = (10 << 8) | 1
_NEW_OBJECT, _GET_OBJECT = (10 << 8) | 18, (10 << 8) | 19
_NEW_ELEMENT, _GET_ELEMENT = (10 << 8) | 12, (10 << 8) | 13
_OF_TABLE, _OF_SET, _ELEMENTS = 1, 2, 3  # of a list of elements
_KEY, _EXPRESSION, _VALUE, _EXPRESSION_DATA = 1, 7, 1, 2
_INET = 1  # the family of the table
_TABLE, _NAME, _TYPE, _DATA = 1, 2, 3, 4
_COUNTER = 1
_BYTES, _PACKETS = 1, 2
PROTOCOLS = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP, "sctp": 132}
"""Their numbers in IP."""
_GET_FLOW, _DELETE_FLOW = (1 << 8) | 1, (1 << 8) | 2
_ASKED, _MARK, _ID = 1, 8, 12  # of a flow: as its first packet had it, its mark, and what tells it from one that comes after it
_OF_IP, _OF_PROTOCOL, _NUMBER, _PORT = 1, 2, 1, 3  # of how a packet is addressed
_DESTINATIONS = {4: 2, 6: 4}
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_AT_ONCE = 100  # flows that one call ends
_FAMILY_SIZE = 4
_TRIES = 5


def counters(table: str) -> dict[str, tuple[int, int]]:
    """Packets and bytes of each counter in a table of the family `inet`; none if there is no such table. In this thread's namespace.

    :raises OSError: the kernel does not tell.
    """
    with netlink_messages.connected(_NETFILTER) as asking:
        for _ in range(_TRIES):
            found = _ask(asking, table)
            if found is not None:
                return found
    raise OSError("the packet filter changes all the time")


def counted_elements(table: str, name: str) -> dict[bytes, tuple[int, int]]:
    """Packets and bytes of each element of a set whose elements count, by its key; none if there is no such set. In this thread's
    namespace.

    :raises OSError: the kernel does not tell.
    """
    with netlink_messages.connected(_NETFILTER) as asking:
        for _ in range(_TRIES):
            found = _elements(asking, table, name)
            if found is not None:
                return found
    raise OSError("the packet filter changes all the time")


def has_table(table: str) -> bool:
    """Whether there is a table of the family `inet`, in this thread's namespace.

    :raises OSError: the kernel does not tell.
    """
    with netlink_messages.connected(_NETFILTER) as asking:
        _send(asking, _GET_TABLE, REQUEST, attribute(_TABLE, table.encode() + b"\0"))
        ((kind, _, content), *_) = messages(asking.recv(1 << 16))
    number = netlink_messages.error(content) if kind == ERROR else 0
    if number not in (0, errno.ENOENT):
        raise OSError(number, os.strerror(number))
    return number == 0


@dataclasses.dataclass(frozen=True, slots=True)
class Flow:
    """A flow that the kernel tracks; `place`: number of its protocol, address and port that its client sends to."""

    place: tuple[int, str, int]
    mark: int
    key: bytes
    """By which it is ended."""


def flows(version: int) -> Iterator[Flow]:
    """The tracked flows of a version of IP that have ports, in this thread's namespace.

    :raises OSError: the kernel does not tell.
    """
    with netlink_messages.connected(_NETFILTER) as asking:
        _send(asking, _GET_FLOW, REQUEST | DUMP, b"", _FAMILIES[version])
        while True:
            for kind, _, content in messages(asking.recv(1 << 20)):
                if kind == DONE:
                    return
                check(kind, content)
                fields = dict(attributes(content[_FAMILY_SIZE:]))
                asked = dict(attributes(fields[_ASKED]))
                protocol = dict(attributes(asked[_OF_PROTOCOL]))
                if _PORT not in protocol:
                    continue
                address = socket.inet_ntop(_FAMILIES[version], dict(attributes(asked[_OF_IP]))[_DESTINATIONS[version]])
                place = protocol[_NUMBER][0], address, int.from_bytes(protocol[_PORT][:2], "big")
                key = attribute(_ASKED | _NESTED, fields[_ASKED]) + attribute(_ID, fields[_ID])
                yield Flow(place, int.from_bytes(fields.get(_MARK, b""), "big"), key)


def end_flows(version: int, some: Sequence[Flow]) -> None:
    """End flows of a version of IP, in this thread's namespace; those that have ended meanwhile are passed over.

    :raises OSError: the kernel does not end them.
    """
    with netlink_messages.connected(_NETFILTER) as asking:
        asking.setblocking(False)
        for begin in range(0, len(some), _AT_ONCE):
            asking.send(b"".join(_message(_DELETE_FLOW, REQUEST, one.key, _FAMILIES[version]) for one in some[begin : begin + _AT_ONCE]))
            with contextlib.suppress(BlockingIOError):  # it answers at once, and errors alone
                while True:
                    for kind, _, content in messages(asking.recv(1 << 16)):
                        check(kind, content, errno.ENOENT)


def _send(asking: socket.socket, kind: int, flags: int, attributes: bytes, family: int = _INET) -> None:
    asking.send(_message(kind, flags, attributes, family))


def _message(kind: int, flags: int, attributes: bytes, family: int) -> bytes:
    return netlink_messages.message(kind, flags, struct.pack("=BBH", family, 0, 0) + attributes)


def _ask(asking: socket.socket, table: str) -> dict[str, tuple[int, int]] | None:
    """None if what was asked for changed meanwhile."""
    wanted = attribute(_TABLE, table.encode() + b"\0") + attribute(_TYPE, struct.pack("!I", _COUNTER))
    told = _dumped(asking, _GET_OBJECT, _NEW_OBJECT, wanted)
    if told is None:
        return None
    every = [dict(attributes(content)) for content in told]
    return {fields[_NAME].rstrip(b"\0").decode(): _numbers(fields[_DATA]) for fields in every}


def _elements(asking: socket.socket, table: str, name: str) -> dict[bytes, tuple[int, int]] | None:
    """None if what was asked for changed meanwhile."""
    wanted = attribute(_OF_TABLE, table.encode() + b"\0") + attribute(_OF_SET, name.encode() + b"\0")
    told = _dumped(asking, _GET_ELEMENT, _NEW_ELEMENT, wanted, errno.ENOENT)
    if told is None:
        return None
    lists = (dict(attributes(content)).get(_ELEMENTS, b"") for content in told)
    every = [dict(attributes(element)) for some in lists for _, element in attributes(some)]
    return {
        dict(attributes(fields[_KEY]))[_VALUE]: _numbers(dict(attributes(fields[_EXPRESSION]))[_EXPRESSION_DATA])
        for fields in every
        if _EXPRESSION in fields
    }


def _dumped(asking: socket.socket, question: int, answer: int, wanted: bytes, fine: int = 0) -> list[bytes] | None:
    """The attributes of each answer; None if what was asked for changed meanwhile. An error that is `fine` ends it with what was told.

    :raises OSError: the kernel does not tell.
    """
    _send(asking, question, REQUEST | DUMP, wanted)
    told: list[bytes] = []
    interrupted = False
    while True:
        for kind, flags, content in messages(asking.recv(1 << 20)):
            interrupted = interrupted or bool(flags & _INTERRUPTED)
            if kind == DONE:
                return None if interrupted else told
            check(kind, content, fine)
            if kind == ERROR:
                return told
            if kind == answer:
                told.append(content[_FAMILY_SIZE:])


def _numbers(counter: bytes) -> tuple[int, int]:
    """Packets and bytes."""
    counted = dict(attributes(counter))
    packets, size = (struct.unpack("!Q", counted[which])[0] for which in (_PACKETS, _BYTES))
    return packets, size
