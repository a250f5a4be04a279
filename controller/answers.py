"""Whatever others answer over HTTP has an end: so many bytes, and so many seconds from the end of our sending.

Whoever answers may be in wrong hands, and time-outs of sockets count from byte to byte. So the connections that are made here bound the
answer as a whole, whatever it is made of: interim answers, headers, a body, its chunks, what trails them. Messages of TLS without data are
read within one call of a library, for as long as they come; so when the time is over, the connection is shut.
"""

from __future__ import annotations

import contextlib
import functools
import heapq
import http.client
import io
import itertools
import socket
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import urllib3
from urllib3 import connection

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_PATIENCE = 60.0
"""Seconds for an answer where nobody has said how many."""
_PIECE = 64 * 1024
_SHORTEST = 0.001  # seconds: for a socket, 0 means not to wait at all


class Endless(OSError):
    """An answer that has more bytes than it can have to have."""


class _Ends:
    """Shuts connections whose time is over, in a thread that begins with the first of them."""

    def __init__(self) -> None:
        self._news = threading.Condition()
        self._numbers = itertools.count()
        self._open: dict[int, socket.socket] = {}
        self._waiting: list[tuple[float, int]] = []
        self._thread: threading.Thread | None = None

    def await_(self, sock: socket.socket, until: float) -> int:
        """Shut it then, by the monotonic clock, unless `forget` is called with the number before."""
        with self._news:
            number = next(self._numbers)
            self._open[number] = sock
            heapq.heappush(self._waiting, (until, number))
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="ends-of-answers", daemon=True)
                with contextlib.suppress(RuntimeError):  # there is none at present: whoever comes next tries again
                    thread.start()
                    self._thread = thread
            if self._waiting[0][1] == number:
                self._news.notify()
            return number

    def forget(self, number: int) -> None:
        """It has ended, or goes on with something else."""
        with self._news:
            self._open.pop(number, None)

    def _run(self) -> None:
        with self._news:
            while True:
                while self._waiting and self._waiting[0][0] <= time.monotonic():
                    sock = self._open.pop(heapq.heappop(self._waiting)[1], None)
                    if sock is not None:
                        with contextlib.suppress(OSError):  # it is closed already
                            socket.socket.shutdown(sock, socket.SHUT_RDWR)  # of the socket itself: TLS is in use by somebody else
                self._news.wait(self._waiting[0][0] - time.monotonic() if self._waiting else None)


_ENDS = _Ends()


class _Bounded(io.RawIOBase):
    """What comes from a socket, until a time and so many bytes."""

    def __init__(self, sock: socket.socket, raw: io.RawIOBase, until: float, most: int) -> None:
        self._socket, self._raw = sock, raw
        self._until = until
        self._end = _ENDS.await_(sock, until)
        self._left, self._most = most, most

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int | None:
        seconds = self._until - time.monotonic()
        if seconds <= 0:
            raise TimeoutError("timed out")
        try:
            self._socket.settimeout(seconds)
            count: int | None = self._raw.readinto(buffer)
        except OSError as exc:
            if time.monotonic() >= self._until:
                raise TimeoutError("timed out") from exc
            raise
        if not count and time.monotonic() >= self._until:
            raise TimeoutError("timed out")
        self._left -= count or 0
        if self._left < 0:
            raise too_long(self._most)
        return count

    def close(self) -> None:
        _ENDS.forget(self._end)
        self._raw.close()
        super().close()


class _Answer(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, until: float, most: int, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_Bounded(sock, self.fp.detach(), until, most))


class _Impatient(connection.HTTPConnection):
    """Its time-out for reading is that of the whole answer, and its time-out for connecting contains the handshake of TLS."""

    most: int

    def request(self, *args: Any, **kwargs: Any) -> None:
        with self._sending():
            super().request(*args, **kwargs)

    @contextlib.contextmanager
    def _sending(self) -> Iterator[None]:
        """Who takes what is sent byte by byte has no more time for it than for an answer."""
        if self.sock is None:  # it connects first, which has a time of its own
            yield
            return
        end = _ENDS.await_(self.sock, time.monotonic() + _PATIENCE)
        try:
            yield
        finally:
            _ENDS.forget(end)

    def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override]
        patience = self.timeout if isinstance(self.timeout, int | float) else _PATIENCE
        self.response_class = functools.partial(_Answer, until=time.monotonic() + patience, most=self.most)  # type: ignore[assignment]
        return super().getresponse()

    def _new_conn(self) -> socket.socket:
        begun = time.monotonic()
        made = super()._new_conn()
        if (patience := made.gettimeout()) is not None:
            made.settimeout(max(_SHORTEST, patience - (time.monotonic() - begun)))
        return made


def pools(most: int) -> dict[str, type[urllib3.HTTPConnectionPool]]:
    """Kinds of pools, by scheme, as urllib3's `pool_classes_by_scheme`: none of their answers has more than `most` bytes on its way."""

    class Plain(_Impatient):
        pass

    class Secured(_Impatient, connection.HTTPSConnection):
        pass

    class PlainPool(urllib3.HTTPConnectionPool):
        ConnectionCls = Plain

    class SecuredPool(urllib3.HTTPSConnectionPool):
        ConnectionCls = Secured

    Plain.most = Secured.most = most
    return {"http": PlainPool, "https": SecuredPool}


def content(answer: urllib3.BaseHTTPResponse, most: int) -> bytes:
    """The body as it was sent, not decoded. If it is longer, or is cut, the connection is closed.

    :raises Endless: it has more bytes; :raises HTTPError: it was cut, or did not come in time.
    """
    whole = bytearray()
    try:
        while part := answer.read(min(_PIECE, most + 1 - len(whole)), decode_content=False):
            whole += part
            if len(whole) > most:
                raise too_long(most)
    except BaseException:
        answer.close()
        raise
    finally:
        answer.release_conn()
    return bytes(whole)


def too_long(most: int) -> Endless:
    """The error for an answer of more bytes than that."""
    return Endless(f"the answer has more than {most:,} bytes")
