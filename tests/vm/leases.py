"""A DHCP server with one address to give, as much of it as a machine asks for (RFC 2131, RFC 2132, RFC 3442)."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import struct
import threading
from collections.abc import Mapping, Sequence

_SERVER, _CLIENT = 67, 68  # UDP ports
_COOKIE = b"\x63\x82\x53\x63"  # before the options, which begin with it at byte 236
_DISCOVER, _OFFER, _REQUEST, _ACK = 1, 2, 3, 5  # option 53
_LEASE = 3600  # seconds


class Leases:
    """Gives `address` to whoever asks at `interface`, with routes as (destination, gateway). `server` is an address of that interface."""

    def __init__(self, interface: str, server: str, address: str, routes: Sequence[tuple[str, str]]) -> None:
        """The socket is made here, in this thread's network namespace."""
        self._server, self._address = (ipaddress.IPv4Interface(one) for one in (server, address))
        self._routes = b"".join(_route(*route) for route in routes)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
        self._socket.bind(("", _SERVER))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Give nothing any more."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes who reads
        self._socket.close()
        self._thread.join(10)

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                asked = self._socket.recv(2048)
                kind = {_DISCOVER: _OFFER, _REQUEST: _ACK}.get(_options(asked).get(53, b"\0")[0])
                if kind is not None:
                    self._socket.sendto(self._answer(asked, kind), ("255.255.255.255", _CLIENT))

    def _answer(self, asked: bytes, kind: int) -> bytes:
        """The client knows it by its number; the head's other fields are who it is and what it gets."""
        who = self._server.ip.packed
        head = struct.pack("!BBBB4sHH4s4s4s4s", 2, 1, 6, 0, asked[4:8], 0, 0x8000, b"", self._address.ip.packed, who, b"")
        given = {53: bytes([kind]), 54: who, 51: struct.pack("!I", _LEASE), 1: self._address.netmask.packed, 121: self._routes}
        told = b"".join(struct.pack("!BB", code, len(value)) + value for code, value in given.items())
        return head + asked[28:44] + bytes(192) + _COOKIE + told + b"\xff"


def _route(destination: str, gateway: str) -> bytes:
    to = ipaddress.IPv4Network(destination)
    return bytes([to.prefixlen]) + to.network_address.packed[: (to.prefixlen + 7) // 8] + ipaddress.IPv4Address(gateway).packed


def _options(asked: bytes) -> Mapping[int, bytes]:
    found: dict[int, bytes] = {}
    rest = asked[240:]
    while len(rest) > 2 and rest[0] != 255:
        if rest[0] == 0:
            rest = rest[1:]
            continue
        found[rest[0]], rest = rest[2 : 2 + rest[1]], rest[2 + rest[1] :]
    return found
