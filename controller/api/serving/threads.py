"""Threads that answer whole requests by the WSGI application: one takes a request when its client has nothing more to send."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import email.utils
import http
import logging
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
_Taken = tuple[requests.Request, float, Deliver]  # with its deadline, and who wants the answer
_PATIENCE = 0.002
"""Seconds after which a thread that still answers the same request is taken to wait for something, so that another one may be woken."""
_STATUS = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in http.HTTPStatus}
_BODILESS = frozenset({204, 304})


class Threads:
    """Take requests in the order in which they were whole, and hand each answer to the one who gave the request.

    Python runs one thread at a time: a second one that is awake makes both slower, unless the first waits for something, such as the
    database. So another one is woken only when each of those that are awake has been at the same request for a while, and it is the one
    that slept last, for most of what it needs is still in the processor's caches. A thread that finds another request waiting goes on
    with it, and the loop fetches its answers meanwhile: waking the loop for each costs as much as a statement of the database.
    """

    def __init__(
        self,
        application: WSGIApplication,
        *,
        count: int,
        answer_timeout: float,
        patience: float | None = None,
        refusing: WSGIApplication = refusals.application,
    ) -> None:
        """`answer_timeout`: seconds from a whole request to its answer; what finds no thread in that time is told 503.

        `patience` 0 wakes a thread for every request: where each waits for a database server, all of them may wait at once. `refusing`
        is `refusals.application` with what stands around it.
        """
        self._application = application
        self._refusing = refusing
        self._answer_timeout = answer_timeout
        self._loop = asyncio.get_running_loop()
        self._patience = _PATIENCE if patience is None else patience
        self._busy: dict[int, float] = {}  # since when each thread that is awake is at its request, by the id of its bell
        self._lock = threading.Lock()  # between what waits and who sleeps
        self._waiting: collections.deque[_Taken] = collections.deque()
        self._answered: collections.deque[tuple[_Taken, list[bytes]]] = collections.deque()
        self._asleep = [_bell() for _ in range(count)]
        self._looks_again = False
        for number, bell in enumerate(self._asleep):
            # One that hangs must not keep the process from its end, so they are daemons.
            threading.Thread(target=self._work, args=(bell,), name=f"request-{number}", daemon=True).start()

    def take(self, request: requests.Request, deliver: Deliver) -> None:
        """Have it answered; the loop calls `deliver` with the bytes to send."""
        now = time.monotonic()
        self._waiting.append((request, now + self._answer_timeout, deliver))
        self._wake(now)

    def _wake(self, now: float) -> None:
        """Wake a thread for what waits, unless one is at work; look again if something goes on waiting, or may be answered meanwhile."""
        with self._lock:
            woken = None
            if self._waiting and self._asleep and all(now - since >= self._patience for since in self._busy.values()):
                woken = self._asleep.pop()
                self._busy[id(woken)] = now
        if woken is not None:
            woken.release()
        # In this order: a thread hands an answer over before it takes the next request.
        if (len(self._waiting) > (woken is not None) or self._answered) and not self._looks_again:
            self._looks_again = True
            self._loop.call_later(self._patience or _PATIENCE, self._look)

    def _look(self) -> None:
        self._looks_again = False
        self._deliver()
        self._wake(time.monotonic())

    def _deliver(self) -> None:
        while self._answered:
            (request, _, deliver), answer = self._answered.popleft()
            deliver(request, answer)

    def _work(self, bell: threading.Lock) -> None:
        while True:
            bell.acquire()
            while self._work_once(bell):
                pass
            with contextlib.suppress(RuntimeError):  # the loop has ended, and its connections with it
                self._loop.call_soon_threadsafe(self._look)

    def _work_once(self, bell: threading.Lock) -> bool:
        """Answer what waits for longest; False: nothing did, so that this thread may sleep until its bell is rung."""
        with self._lock:
            if not self._waiting:
                self._asleep.append(bell)
                self._busy.pop(id(bell), None)
                return False
            taken = self._waiting.popleft()
            self._busy[id(bell)] = time.monotonic()
        try:
            answer = self._answer(taken[0], taken[1])
        finally:
            taken[0].body.close()
        self._answered.append((taken, answer))
        return True

    def _answer(self, request: requests.Request, deadline: float) -> list[bytes]:
        if time.monotonic() > deadline:
            text = "Too many requests are waiting, so nothing was done. Please repeat the request."
            return self.refuse(request, refusals.refusal(503, text))
        try:
            with deadlines.until(deadline):
                return encode(request, *_ask(self._application, requests.environ(request)))
        except requests.NoRoom as error:
            LOG.error("A body could not be held on the disk: %s", error)
            return self.refuse(request, refusals.no_room())
        except Exception:
            LOG.exception("%s %r failed", request.method, request.path)
            return self.refuse(request, refusals.refusal(500, "An unexpected error occurred; please look whether the request took effect."))

    def refuse(self, request: requests.Request, answer: refusals.Answer) -> list[bytes]:
        """What a client is told in the application's place, of whose request as much was read as this one says."""
        environ = requests.head(request) | {refusals.REFUSAL: answer}
        return encode(request, *_ask(self._refusing, environ))


def _ask(application: WSGIApplication, environ: WSGIEnvironment) -> refusals.Answer:
    begun: list[tuple[str, list[tuple[str, str]]]] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None, /) -> Callable[[bytes], object]:
        begun[:] = [(status, headers)]
        return lambda _: None

    parts = application(environ, start_response)
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


def _bell() -> threading.Lock:
    """By which a thread is woken that tries to acquire it a second time."""
    bell = threading.Lock()
    bell.acquire()
    return bell


_told = (0, b"")


def _date() -> bytes:
    """The header that every answer has (RFC 9110, 6.6.1), made once a second."""
    global _told
    second = int(time.time())
    told = _told
    if told[0] != second:
        told = _told = second, f"date: {email.utils.formatdate(second, usegmt=True)}\r\n".encode()
    return told[1]
