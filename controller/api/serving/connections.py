"""HTTP on a socket: only whole requests reach a thread, and everything that a client may leave undone has an end.

A connection costs some kilobytes and no thread while its request is not whole, so hundreds of slow clients are nobody's concern. Who has
not sent a whole request in time is told 408; where too many connections are open, the one that has waited for its request for longest goes.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import itertools
import logging
import re
import socket
import struct
from collections.abc import Callable
from typing import cast

import httptools

from controller.api.serving import refusals, requests, threads

LOG = logging.getLogger(__name__)

MAX_HEAD = 64 * 1024
"""Bytes of a request's line and headers."""
DRAINED = 16 * 1024 * 1024
"""Bytes of a body that is too large to be kept, and yet read, so that the client hears the answer and may go on using the connection."""
KEEP_ALIVE = 75
"""Seconds that an idle connection is kept: more than the minute for which proxies usually keep theirs."""
PATIENCE_WITH_THREADS = 5.0
"""Seconds after a request's deadline until its client is answered whatever its thread does."""
_PART = 4096
"""Bytes that are parsed at once: what follows waits unparsed if requests do, for a request of 30 bytes takes a kilobyte of memory."""
_HOST = re.compile(r"([A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\])(:[0-9]*)?")
"""What the header `Host` may say (RFC 9110, 7.2). Said twice, it has a comma."""
_LEAST_TAKEN = 64 * 1024
"""Bytes of a long answer that a client has to take within `Limits.request_timeout`."""
_SMALL = 64 * 1024
_LAST_WORDS = 5.0
"""Seconds that a refusal may wait to be taken."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one process of the API allows its clients."""

    request_timeout: float  # seconds from a request's first byte, or from the beginning of its connection, to its last byte
    answer_timeout: float  # seconds from there to the answer
    connections: int
    body: int  # bytes of one request's body
    bodies: int  # ... of all of them that are on the disk


class Waiting:
    """Connections that wait equally long, the first to be over first. One timer is enough for all of them."""

    def __init__(self, seconds: float, over: Callable[[Connection], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._seconds = seconds
        self._over = over
        self._until: dict[Connection, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, connection: Connection) -> None:
        """Have a connection wait from now on; one that waits already goes on with the time that it has left."""
        if connection not in self._until:
            self._until[connection] = self._loop.time() + self._seconds
            if self._timer is None:
                self._timer = self._loop.call_later(self._seconds, self._look)

    def discard(self, connection: Connection) -> None:
        """A connection waits no more."""
        self._until.pop(connection, None)

    def first(self) -> Connection | None:
        """The connection that has waited for longest; None if none waits."""
        return next(iter(self._until), None)

    def _look(self) -> None:
        now = self._loop.time()
        for connection, _ in list(itertools.takewhile(lambda item: item[1] <= now, self._until.items())):
            if self._until.pop(connection, None) is not None:
                self._over(connection)
        first = self.first()
        self._timer = None if first is None else self._loop.call_at(self._until[first], self._look)


class Door:
    """The connections of one process; each that is open waits for its request, for its answer, or idly."""

    def __init__(self, limits: Limits, answering: threads.Threads) -> None:
        self.loop = asyncio.get_running_loop()
        self.limits = limits
        self.threads = answering
        self.room = requests.Room(limits.bodies)
        self.open: set[Connection] = set()
        self.unfinished = Waiting(limits.request_timeout, Connection.request_is_late)
        self.unanswered = Waiting(limits.answer_timeout + PATIENCE_WITH_THREADS, Connection.answer_is_late)
        self.idle = Waiting(KEEP_ALIVE, Connection.end)

    def make_room(self) -> bool:
        """Close a connection if too many are open; False if all of them are being answered."""
        if len(self.open) <= self.limits.connections:
            return True
        leaves = self.unfinished.first() or self.idle.first()
        if leaves is None:
            return False
        leaves.leave()
        return True

    def forget(self, connection: Connection) -> None:
        """A connection is closed, or gone: it waits for nothing any more."""
        for waiting in (self.unfinished, self.unanswered, self.idle):
            waiting.discard(connection)

    async def close(self, seconds: float, alive: Callable[[], object]) -> None:
        """Finish the requests that are being answered, within so many seconds, and let everybody go; `alive` is called meanwhile."""
        for connection in list(self.open):
            connection.finish()
        until = self.loop.time() + seconds
        while self.open and self.loop.time() < until:
            alive()
            await asyncio.sleep(0.05)


class Connection(asyncio.Protocol):
    """A client's connection. Requests that it sends before earlier ones are answered wait for their turn."""

    _transport: asyncio.Transport
    _peer: requests.Peer

    def __init__(self, door: Door) -> None:
        self._door = door
        self._parser = httptools.HttpRequestParser(self)
        self._request: requests.Request | None = None  # which is not whole yet
        self._url = b""
        self._in_body = False
        self._head = 0  # bytes read that were no part of a body since the last one that was: headers, sizes of chunks, trailers
        self._heard_body = False  # whether the part that is being parsed held some
        self._ended = False  # whether a request ended in the part that is being parsed
        self._answering: requests.Request | None = None
        self._queue: collections.deque[requests.Request] = collections.deque()
        self._unparsed = b""  # what came with requests that wait for their turn
        self._is_full = False  # the client reads more slowly than we answer
        self._is_last = False  # the request that is being read: the process ends
        self._heard_all = False  # nothing more will be read from the client, who may still listen

    # Asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        client, server = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        self._peer = requests.Peer(client[0], server[0], server[1]) if client and server else requests.Peer("", "", 0)
        self._door.open.add(self)
        if self._door.make_room():
            self._door.unfinished.add(self)
        else:
            self.refuse(503, "Too many requests are being answered. Please repeat the request.")

    def connection_lost(self, exc: Exception | None) -> None:
        """Whatever is being done for the client goes on; nobody waits for it."""
        self._heard_all = True
        self._door.open.discard(self)
        self._door.forget(self)
        self._answering = None  # whose body belongs to its thread
        for request in (self._request, *self._queue):
            if request is not None:
                request.body.close()
        self._request = None
        self._queue.clear()

    def data_received(self, data: bytes) -> None:
        """Parse it; whole requests are taken at once, and no others are looked for while some wait for their turn."""
        self._door.idle.discard(self)
        for start in range(0, len(data), _PART):
            if self._heard_all:
                return
            if self._queue:
                self._unparsed = data[start:]
                return
            self._parse(data[start : start + _PART])

    def _parse(self, data: bytes) -> None:
        self._ended = self._heard_body = False
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._heard_all = True  # what follows is in a language that was offered, and that nobody here speaks
        except httptools.HttpParserError:
            self.refuse(400, "The request is not HTTP.")
        if self._heard_all:
            return
        if self._answering is None and not self._queue:
            self._door.unfinished.add(self)
        if self._request is not None and not self._heard_body and not self._ended:
            self._head += len(data)
            if self._head > MAX_HEAD:
                self.refuse(431, f"The request's line and headers, or what stands around its body, are longer than {MAX_HEAD} bytes.")

    def eof_received(self) -> bool:
        """True: the answers that are owed can still be sent."""
        self._heard_all = True
        return self._answering is not None or bool(self._queue)

    def pause_writing(self) -> None:
        """The client does not read what we have for it: no other answer is begun."""
        self._is_full = True

    def resume_writing(self) -> None:
        """The client has read enough of the answers: send the next ones."""
        self._is_full = False
        self._go_on()

    # The parser's side

    def on_message_begin(self) -> None:
        self._url, self._in_body, self._head = b"", False, 0
        self._request = requests.Request(self._peer, requests.Body(self._door.limits.body, self._door.room))

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header; those that follow a body say nothing that anybody asks for."""
        if self._request is not None and not self._in_body:
            self._request.add_header(name, value)

    def on_headers_complete(self) -> None:
        """The body begins, unless the client need not send it: it is too large, or the client asks first.

        :raises httptools.HttpParserInvalidURLError, UnicodeDecodeError, TypeError: the target names nothing.
        """
        request, parser = self._request, self._parser
        if request is None:
            return
        self._in_body = True
        request.method = parser.get_method().decode("ascii")
        request.version = parser.get_http_version()
        request.keep_alive = request.version != "1.0" and parser.should_keep_alive() and not parser.should_upgrade()
        target = httptools.parse_url(self._url)
        target.path.decode("ascii")
        request.path, request.query = target.path, target.query or b""
        refusal = _misunderstood(request)
        if refusal is not None:
            self.refuse(*refusal)
        elif request.length > DRAINED:
            self._refuse_body()
        elif request.length > self._door.limits.body and request.asks_first:
            request.body.size = request.length
            self._take_last(request)
        elif request.asks_first and self._answering is None and not self._transport.is_closing():
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        request = self._request
        self._head, self._heard_body = 0, True
        if request is None:
            return
        try:
            request.body.add(body)
        except requests.NoRoom as error:
            LOG.error("A body could not be held on the disk: %s", error)
            self._refuse(refusals.no_room())
        else:
            if request.body.size > DRAINED:
                self._refuse_body()

    def on_message_complete(self) -> None:
        request, self._request, self._ended = self._request, None, True
        if request is not None and self._is_last:
            self._take_last(request)
        elif request is not None:
            self._take(request)

    # Answers

    def _take(self, request: requests.Request) -> None:
        self._queue.append(request)
        if self._answering is None:
            self._go_on()
        if self._queue:  # an earlier one is being answered, or its answer is not taken: what the client sends waits in its kernel
            self._transport.pause_reading()

    def _take_last(self, request: requests.Request) -> None:
        """Close the connection after this request, and read no other one."""
        request.keep_alive = False
        self._request = None
        self._heard_all = True
        self._take(request)

    def _go_on(self) -> None:
        """Begin the next answer, when the one before is given and taken."""
        if self._answering is not None or self._is_full or not self._queue or self._transport.is_closing():
            return
        request = self._answering = self._queue.popleft()
        self._door.unfinished.discard(self)
        if request.refused is not None:
            self._deliver(request, request.refused)
        else:
            self._door.unanswered.add(self)
            self._door.threads.take(request, self._deliver)

    def _deliver(self, request: requests.Request, answer: list[bytes]) -> None:
        if self._answering is not request:
            return  # the client is gone, or was told that it takes too long
        self._answering = None
        self._door.unanswered.discard(self)
        if self._transport.is_closing():
            return
        self._transport.writelines(answer)
        left = self._transport.get_write_buffer_size()
        if left > _SMALL:
            self._door.loop.call_later(self._door.limits.request_timeout, self._see_it_taken, left)
        if not request.keep_alive or (self._heard_all and not self._queue):
            self.end()
        elif self._queue:
            self._go_on()
        else:
            unparsed, self._unparsed = self._unparsed, b""
            self.data_received(unparsed)
            if self._answering is None and not self._queue and not self._heard_all:
                self._await_more()

    def _await_more(self) -> None:
        if self._request is not None:
            self._await_the_rest(self._request)
        else:
            self._door.idle.add(self)
            self._transport.resume_reading()

    def _await_the_rest(self, request: requests.Request) -> None:
        """Of a request that began before the earlier ones were answered."""
        self._door.unfinished.add(self)
        self._transport.resume_reading()
        if self._in_body and request.asks_first and not request.body.size:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    # Ends

    def refuse(self, code: int, text: str) -> None:
        """Say why, after what is owed already, and close."""
        self._refuse(refusals.refusal(code, text))

    def _refuse(self, answer: refusals.Answer) -> None:
        refused = requests.Request(self._peer, requests.Body(0, self._door.room))
        if self._request is not None:
            self._request.body.close()
            refused.method, refused.headers = self._request.method, self._request.headers
        refused.refused = self._door.threads.refuse(refused, answer)
        self._take_last(refused)

    def _refuse_body(self) -> None:
        self.refuse(413, f"A body has at most {self._door.limits.body} bytes.")

    def request_is_late(self) -> None:
        """The request was not whole in time."""
        if self._request is None:
            self.end()
        else:
            seconds = self._door.limits.request_timeout
            self.refuse(408, f"The request was not whole after {seconds:g} seconds. Please repeat it, and send it in one go.")

    def answer_is_late(self) -> None:
        """Its thread hangs in something that has no end."""
        request = self._answering
        if request is not None:
            LOG.error("%s %r has no answer %g s after its deadline", request.method, request.path, PATIENCE_WITH_THREADS)
            text = "The request did not come to an end in time. Please look whether it took effect, and repeat it if not."
            self._deliver(request, self._door.threads.refuse(request, refusals.refusal(503, text)))

    def leave(self) -> None:
        """Make room for another one."""
        if self._request is None:
            self.end()
        else:
            self.refuse(503, "Too many connections are open, and this request was not whole. Please repeat it.")

    def finish(self) -> None:
        """Answer what was asked, or begun to be, and nothing more."""
        if self._request is not None:
            self._is_last = True
        elif self._answering is None:
            self.end()
        else:
            self._heard_all = True
            (self._queue[-1] if self._queue else self._answering).keep_alive = False

    def end(self) -> None:
        """Close, and see that it is closed."""
        self._heard_all = True
        self._door.forget(self)
        if not self._transport.is_closing():
            self._transport.close()
            self._door.loop.call_later(_LAST_WORDS, self._break_off)

    def _break_off(self) -> None:
        """End at once, and have the kernel forget what it could not deliver."""
        if self in self._door.open:
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()

    def _see_it_taken(self, left_before: int) -> None:
        """Whether the client reads its answer, or lets it lie."""
        left = self._transport.get_write_buffer_size()
        if not left:
            return
        if left > left_before - _LEAST_TAKEN:
            self._break_off()
        else:
            self._door.loop.call_later(self._door.limits.request_timeout, self._see_it_taken, left)


def _misunderstood(request: requests.Request) -> tuple[int, str] | None:
    """Status and sentence for a request that two readers could understand differently, or that we can't read (RFC 9112, 3.2 and 6.1)."""
    host, coding = request.headers.get("HTTP_HOST"), request.headers.get("HTTP_TRANSFER_ENCODING")
    if host is None and request.version == "1.1":
        return 400, "A request of HTTP/1.1 has a header Host."
    if host is not None and not _HOST.fullmatch(host):
        return 400, "The header Host names one host, and may name a port."
    if coding is not None and request.version != "1.1":
        return 400, f"HTTP/{request.version} knows no Transfer-Encoding. Please send the length of the body."
    if coding is not None and coding.lower() != "chunked":
        return 501, "The only Transfer-Encoding that is understood is chunked. Please send the body as it is."
    return None
