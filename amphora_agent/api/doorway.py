"""Where clients wait until they have proved who they are: one thread for all of them, so that nobody without a certificate costs one.

Who has not sent the first message of TLS (RFC 8446, section 4.1.2) costs a socket. Who has costs what OpenSSL keeps, some fifty kilobytes;
therefore there may be few of those. Where there are too many, the one that has been there for longest goes: the controller needs
milliseconds. So hundreds of silent connections lock nobody out, and memory has a bound.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any

from amphora_agent import outages

LOG = logging.getLogger(__name__)

PATIENCE = 10.0
"""Seconds from a connection's beginning to the end of its hand-shake."""
SILENT = 512
"""Connections whose first message is not whole."""
SHAKING = 48
"""Connections whose hand-shake is under way."""
_HEADER = 5
_LONGEST = _HEADER + 16384 + 256
_HANDSHAKE = 22
"""The type of a TLS record that holds a message of the hand-shake (RFC 8446, section 5.1)."""

Address = Any


class Doorway:
    """Takes connections, and hands on those that have proved themselves."""

    def __init__(
        self, secure: Callable[[socket.socket], ssl.SSLSocket], let_in: Callable[[ssl.SSLSocket, Address], None], patience: float = PATIENCE
    ) -> None:
        """`secure` makes a TLS socket that has not shaken hands."""
        self._secure = secure
        self._let_in = let_in
        self._patience = patience
        self._selector = selectors.DefaultSelector()
        self._silent: dict[socket.socket, tuple[float, Address]] = {}  # with the time of their end; the oldest first
        self._shaking: dict[socket.socket, tuple[float, Address]] = {}
        self._new: list[tuple[socket.socket, Address]] = []
        self._lock = threading.Lock()
        self._over = False
        self._woken, self._bell = os.pipe()
        for end in (self._woken, self._bell):
            os.set_blocking(end, False)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, name="doorway", daemon=True)

    def start(self) -> None:
        """Start the thread that looks after those who wait."""
        self._thread.start()

    def take(self, connection: socket.socket, address: Address) -> None:
        """Look after a new connection; called on any thread."""
        connection.setblocking(False)
        with self._lock:
            self._new.append((connection, address))
        self._ring()

    def close(self) -> None:
        """Send everybody away."""
        self._over = True
        self._ring()
        self._thread.join()

    def _ring(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(self._bell, b"!")

    def _run(self) -> None:
        outage = outages.Outage(LOG, "The doorway")
        while not self._over:
            try:
                self._turn()
                outage.over()
            except Exception as exc:
                outage.met(exc)
                time.sleep(0.1)
        for connection in (*self._silent, *self._shaking):
            self._send_away(connection, "the agent ends")

    def _turn(self) -> None:
        for key, _ in self._selector.select(self._until_next_end()):
            if key.fileobj == self._woken:
                self._welcome()
            else:
                self._attend(key.fileobj)  # type: ignore[arg-type]
        now = time.monotonic()
        for waiting in (self._silent, self._shaking):
            for connection in [one for one, (end, _) in waiting.items() if end <= now]:
                self._send_away(connection, "no hand-shake in time")

    def _until_next_end(self) -> float | None:
        ends = [end for waiting in (self._silent, self._shaking) for end, _ in list(waiting.values())[:1]]
        return max(0.0, min(ends) - time.monotonic()) if ends else None

    def _welcome(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._woken, 4096)
        with self._lock:
            new, self._new = self._new, []
        for connection, address in new:
            if len(self._silent) >= SILENT:
                self._send_away(next(iter(self._silent)), "too many that say nothing")
            self._silent[connection] = time.monotonic() + self._patience, address
            self._selector.register(connection, selectors.EVENT_READ)

    def _attend(self, connection: socket.socket) -> None:
        try:
            if connection in self._silent:
                self._listen(connection)
            elif connection in self._shaking:
                self._shake(connection)  # type: ignore[arg-type]
        except (OSError, ValueError) as exc:  # ssl.SSLError is an OSError
            self._send_away(connection, exc)

    def _listen(self, connection: socket.socket) -> None:
        """Wait until the first record is whole, without reading it. The kernel wakes us when there is so much (SO_RCVLOWAT, socket(7))."""
        heard = connection.recv(_LONGEST, socket.MSG_PEEK)
        wanted = _HEADER if len(heard) < _HEADER else _HEADER + int.from_bytes(heard[3:5], "big")
        if (heard and heard[0] != _HANDSHAKE) or wanted > _LONGEST:
            raise ValueError("that is no TLS")
        if len(heard) >= wanted:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
            self._begin(connection)
        elif connection.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT) >= wanted:
            raise ValueError("it went away")  # woken before there was enough
        else:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, wanted)

    def _begin(self, connection: socket.socket) -> None:
        end, address = self._silent.pop(connection)
        self._selector.unregister(connection)
        if len(self._shaking) >= SHAKING:
            self._send_away(next(iter(self._shaking)), "too many hand-shakes")
        try:
            secured = self._secure(connection)
        except (OSError, ValueError):
            connection.close()
            raise
        self._shaking[secured] = end, address
        self._selector.register(secured, selectors.EVENT_READ)
        self._attend(secured)

    def _shake(self, secured: ssl.SSLSocket) -> None:
        try:
            secured.do_handshake()
        except ssl.SSLWantReadError:
            self._selector.modify(secured, selectors.EVENT_READ)
        except ssl.SSLWantWriteError:
            self._selector.modify(secured, selectors.EVENT_WRITE)
        else:
            _, address = self._shaking.pop(secured)
            self._selector.unregister(secured)
            self._let_in(secured, address)

    def _send_away(self, connection: socket.socket, why: object) -> None:
        _, address = self._silent.pop(connection, None) or self._shaking.pop(connection, None) or (0.0, None)
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(connection)
        connection.close()
        if address is not None:
            LOG.info("Connection of %s ended: %s", address[0], why)
