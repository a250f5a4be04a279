"""Ports for servers that tests start as processes of their own."""

from __future__ import annotations

import socket

_KEPT: list[socket.socket] = []


def free_port() -> int:
    """A port of 127.0.0.1 that the kernel gives to nobody else as long as this process lives.

    It is bound here, and nobody listens: whoever asks for exactly this port, and for the use of an address again (SO_REUSEADDR), as servers
    do, gets it.
    """
    keeper = socket.socket()
    keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    keeper.bind(("127.0.0.1", 0))
    _KEPT.append(keeper)
    return int(keeper.getsockname()[1])
