"""HTTP on a socket. uvicorn speaks it; here is what it leaves open: an end for everything that a client may leave undone.

A connection costs some kilobytes and no thread while its request is not whole, so hundreds of slow clients are nobody's concern. Who has
not sent a whole request in time is told 408; where too many connections are open, the one that has waited for its request for longest goes.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import socket
import struct
from typing import Any

from uvicorn.protocols.http import httptools_impl

from controller.api.serving import refusals

LOG = logging.getLogger(__name__)

MAX_HEAD = 64 * 1024
"""Bytes of a request's line and headers."""
_LEAST_TAKEN = 64 * 1024
"""Bytes of a long answer that a client has to take within `Limits.request_timeout`."""
_SMALL = 64 * 1024
_LAST_WORDS = 5.0
"""Seconds that a refusal may wait to be taken."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Of one process."""

    request_timeout: float  # seconds from a request's first byte, or from the beginning of its connection, to its last byte
    connections: int


class Door:
    """The connections of one process that are not being answered: first those whose request is not whole, then idle ones."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.unfinished: dict[Connection, None] = {}  # in the order in which they began to wait
        self.idle: dict[Connection, None] = {}

    def make_room(self, open_now: int) -> bool:
        """Close a connection if too many are open; False if all of them are being answered."""
        if open_now <= self.limits.connections:
            return True
        leaves = next(iter(self.unfinished), None) or next(iter(self.idle), None)
        if leaves is None:
            return False
        leaves.leave()
        return True

    def forget(self, connection: Connection) -> None:
        """It waits for nothing any more."""
        self.unfinished.pop(connection, None)
        self.idle.pop(connection, None)


class Connection(httptools_impl.HttpToolsProtocol):
    """A client's connection."""

    def __init__(self, *, door: Door, **of_uvicorn: Any) -> None:
        super().__init__(**of_uvicorn)
        self._door = door
        self._timer: asyncio.TimerHandle | None = None  # runs while a request is not whole
        self._begun = False  # its first byte was read, and not its last
        self._in_body = False
        self._head = 0  # bytes read before the end of the headers
        self._heard_all = False  # the client will send no more, and may still listen

    # Asyncio's side

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self._door.make_room(len(self.connections)):
            self._wait()
        else:
            self.refuse(503, "Too many requests are being answered. Please repeat the request.")

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        self._door.forget(self)
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        self._door.idle.pop(self, None)
        super().data_received(data)
        if self.transport.is_closing():
            self._stop_waiting()
        elif self._begun or self._nothing_to_do:
            self._limit_head(len(data))
            self._wait()

    def eof_received(self) -> bool:  # type: ignore[override]
        """True: the answers that are owed can still be sent."""
        self._heard_all = not (self._nothing_to_do or self._begun)
        return self._heard_all

    # The parser's side

    def on_message_begin(self) -> None:
        self._begun, self._in_body, self._head = True, False, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_body = True
        super().on_headers_complete()
        if self.parser.should_upgrade():
            self.cycle.keep_alive = False  # what follows is in a language that was offered, and that nobody here speaks

    def on_message_complete(self) -> None:
        self._begun = self._in_body = False
        self._stop_waiting()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        left = self.transport.get_write_buffer_size()
        if left > _SMALL or self.transport.is_closing():
            self.loop.call_later(self._door.limits.request_timeout, self._see_it_taken, left)
        if self.timeout_keep_alive_task is not None:
            self._door.idle[self] = None
            if self._heard_all:
                self._end()

    def handle_websocket_upgrade(self) -> None:
        """Nobody asked us for it: `Config(ws="none")`."""

    def send_400_response(self, msg: str) -> None:
        self.refuse(400, "The request is not HTTP.")

    # Ends

    def refuse(self, code: int, text: str) -> None:
        """Say why, and close."""
        _, headers, body = refusals.refusal(code, text)
        cycle = self.cycle
        unheard = cycle is not None and not cycle.response_complete
        if not (unheard and cycle.response_started):
            lines = [httptools_impl.STATUS_LINE[code], *(name + b": " + value + b"\r\n" for name, value in headers)]
            self.transport.write(b"".join([*lines, b"connection: close\r\n\r\n", body]))
        if unheard:
            cycle.disconnected = True
            cycle.message_event.set()
        self._end()

    def leave(self) -> None:
        """Make room for another one."""
        if self._begun:
            self.refuse(503, "Too many connections are open, and this request was not whole. Please repeat it.")
        else:
            self._end()

    def timeout_keep_alive_handler(self) -> None:
        self._end()

    def _end(self) -> None:
        self._stop_waiting()
        self._door.forget(self)
        if not self.transport.is_closing():
            self.transport.close()
            self.loop.call_later(_LAST_WORDS, self._break_off)

    def _break_off(self) -> None:
        """End at once, and have the kernel forget what it could not deliver."""
        if self in self.connections:
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()

    # Time

    @property
    def _nothing_to_do(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _wait(self) -> None:
        if self._timer is None:
            self._door.unfinished[self] = None
            self._timer = self.loop.call_later(self._door.limits.request_timeout, self._too_late)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._door.unfinished.pop(self, None)

    def _too_late(self) -> None:
        self._stop_waiting()
        if self.pipeline or not (self._nothing_to_do or self._in_body):
            self._wait()  # it is we who are late: an earlier request of this connection is being answered
        elif self._begun:
            seconds = self._door.limits.request_timeout
            self.refuse(408, f"The request was not whole after {seconds:g} seconds. Please repeat it, and send it in one go.")
        else:
            self._end()

    def _limit_head(self, read: int) -> None:
        if self._in_body:
            return
        self._head += read
        if self._head > MAX_HEAD:
            self.refuse(431, f"The request's line and headers are longer than {MAX_HEAD} bytes.")

    def _see_it_taken(self, left_before: int) -> None:
        """Whether the client reads its answer, or lets it lie."""
        left = self.transport.get_write_buffer_size()
        if not left:
            return
        if left > left_before - _LEAST_TAKEN:
            self._break_off()
        else:
            self.loop.call_later(self._door.limits.request_timeout, self._see_it_taken, left)
