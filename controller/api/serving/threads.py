"""Threads that answer whole requests by the WSGI application: one takes a request when its client has nothing more to send."""

from __future__ import annotations

import contextlib
import email.utils
import http
import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from controller import deadlines
from controller.api.serving import refusals, requests

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

LOG = logging.getLogger(__name__)

Deliver = Callable[[requests.Request, "list[bytes]"], object]
_STATUS = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in http.HTTPStatus}
_BODILESS = frozenset({204, 304})


class Threads:
    """Take requests in the order in which they were whole, and hand each answer to the one who gave the request."""

    def __init__(self, application: WSGIApplication, *, count: int, answer_timeout: float) -> None:
        """`answer_timeout`: seconds from a whole request to its answer; what finds no thread in that time is told 503."""
        self._application = application
        self._answer_timeout = answer_timeout
        # One that hangs must not keep the process from its end, so they are daemons.
        self._threads = [threading.Thread(target=self._work, name=f"request-{number}", daemon=True) for number in range(count)]
        self._waiting: queue.SimpleQueue[tuple[requests.Request, float, Deliver]] = queue.SimpleQueue()
        for thread in self._threads:
            thread.start()

    def take(self, request: requests.Request, deliver: Deliver) -> None:
        """Have it answered; `deliver` is called on a thread with the bytes to send."""
        self._waiting.put((request, time.monotonic() + self._answer_timeout, deliver))

    def _work(self) -> None:
        while True:
            request, deadline, deliver = self._waiting.get()
            try:
                answer = self._answer(request, deadline)
            finally:
                request.body.close()
            with contextlib.suppress(RuntimeError):  # the loop has ended, and its connections with it
                deliver(request, answer)
            del request, answer  # or what was large is kept until the next request comes

    def _answer(self, request: requests.Request, deadline: float) -> list[bytes]:
        if time.monotonic() > deadline:
            return encode(request, *refusals.refusal(503, "Too many requests are waiting, so nothing was done. Please repeat the request."))
        try:
            with deadlines.until(deadline):
                return encode(request, *self._ask(requests.environ(request)))
        except requests.NoRoom as error:
            LOG.error("A body could not be held on the disk: %s", error)
            return encode(request, *refusals.no_room())
        except Exception:
            LOG.exception("%s %r failed", request.method, request.path)
            return encode(request, *refusals.refusal(500, "An unexpected error occurred; please look whether the request took effect."))

    def _ask(self, environ: WSGIEnvironment) -> tuple[int, refusals.Headers, bytes]:
        begun: list[tuple[str, list[tuple[str, str]]]] = []

        def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None, /) -> Callable[[bytes], object]:
            begun[:] = [(status, headers)]
            return lambda _: None

        parts = self._application(environ, start_response)
        try:
            content = b"".join(parts)
        finally:
            getattr(parts, "close", bool)()
        status, headers = begun[0]
        return int(status[:3]), [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers], content


def encode(request: requests.Request, status: int, headers: refusals.Headers, body: bytes) -> list[bytes]:
    """An answer as HTTP/1.1 (RFC 9112), whole: what is not told by its headers is added."""
    lines = [_STATUS.get(status) or b"HTTP/1.1 %d \r\n" % status, _date()]
    has_length = False
    for name, value in headers:
        lines.append(b"%s: %s\r\n" % (name, value))
        has_length = has_length or name.lower() == b"content-length"
    if not has_length and status not in _BODILESS:
        lines.append(b"content-length: %d\r\n" % len(body))
    if not request.keep_alive:
        lines.append(b"connection: close\r\n")
    lines.append(b"\r\n")
    head = b"".join(lines)
    return [head] if request.method == "HEAD" or not body else [head, body]


_told = (0, b"")


def _date() -> bytes:
    """The header that every answer has (RFC 9110, 6.6.1), made once a second."""
    global _told
    second = int(time.time())
    told = _told
    if told[0] != second:
        told = _told = second, f"date: {email.utils.formatdate(second, usegmt=True)}\r\n".encode()
    return told[1]
