"""A request as it comes in, with its body in memory or, if it is large, on disk; and what WSGI calls its environment."""

from __future__ import annotations

import contextlib
import functools
import io
import sys
import tempfile
import threading
import urllib.parse
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

IN_MEMORY = 64 * 1024
"""Bytes of a body that are held in memory; all of a larger one is held on disk."""


class NoRoom(Exception):
    """A body does not fit on the disk."""


class Room:
    """Bytes that all bodies of a process may take on the disk together."""

    def __init__(self, size: int) -> None:
        self.left = size
        self._lock = threading.Lock()

    def take(self, size: int) -> None:
        """:raises NoRoom: there is not so much."""
        with self._lock:
            if size > self.left:
                raise NoRoom("bodies of requests may take no more")
            self.left -= size

    def give_back(self, size: int) -> None:
        """Give back what was taken of the room."""
        with self._lock:
            self.left += size


class Body:
    """What a client sent; a part more than `most` bytes empties it, for then it will be refused by its size."""

    def __init__(self, most: int, room: Room) -> None:
        self._most = most
        self._room = room
        self._taken = 0  # of the room
        self.size = 0
        self._file: IO[bytes] | None = None  # most requests have none

    def add(self, part: bytes) -> None:
        """Keep it.

        :raises NoRoom: it does not fit on the disk.
        """
        self.size += len(part)
        if self.size > self._most:
            self.close()
            return
        if self.size > IN_MEMORY:
            self._room.take(self.size - self._taken)
            self._taken = self.size
        try:
            if self._file is None:
                self._file = tempfile.SpooledTemporaryFile(IN_MEMORY, prefix="figlina-body-")  # noqa: SIM115 - it is closed by `close`
            self._file.write(part)
        except OSError as error:
            raise NoRoom(str(error)) from error

    def opened(self) -> IO[bytes]:
        """To be read from its beginning.

        :raises NoRoom: it does not fit on the disk.
        """
        if self._file is None:
            return io.BytesIO()
        try:
            self._file.seek(0)
        except OSError as error:
            raise NoRoom(str(error)) from error
        return self._file

    def close(self) -> None:
        """Free what it takes. What could not be written to a full disk is not written at the end either, and nobody needs it."""
        if self._taken:
            self._room.give_back(self._taken)
            self._taken = 0
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None


class Request:
    """One request. Its headers are told before it is whole, and its body after them."""

    __slots__ = ("body", "headers", "keep_alive", "method", "path", "peer", "query", "refused", "version")

    def __init__(self, peer: Peer, body: Body) -> None:
        self.peer = peer
        self.method = ""
        self.path = self.query = b""
        self.version = "1.1"
        self.headers: dict[str, str] = {}  # as a WSGI environment names them
        self.keep_alive = False
        self.body = body
        self.refused: list[bytes] | None = None  # the answer of one that the application never sees

    def add_header(self, name: bytes, value: bytes) -> None:
        """A name with an underscore is left out: it would pass for one with a dash."""
        key = _key(name)
        if key:
            told = value.decode("latin-1").strip()
            self.headers[key] = f"{self.headers[key]},{told}" if key in self.headers else told

    @property
    def length(self) -> int:
        """Bytes that the client says its body has."""
        return int(self.headers.get("CONTENT_LENGTH", 0))

    @property
    def asks_first(self) -> bool:
        """Whether the client waits to be told that it may send its body (RFC 9110, 10.1.1). HTTP/1.0 has no such answer."""
        return self.version == "1.1" and self.headers.get("HTTP_EXPECT", "").lower() == "100-continue"


class Peer:
    """Both ends of a connection."""

    __slots__ = ("client", "fixed")

    def __init__(self, client: str, host: str, port: int) -> None:
        self.client = client
        self.fixed: WSGIEnvironment = {
            "SCRIPT_NAME": "",
            "SERVER_NAME": host,
            "SERVER_PORT": str(port),
            "REMOTE_ADDR": client,
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",  # unless oslo.middleware is told to believe a proxy
            "wsgi.input_terminated": True,
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": True,
            "wsgi.run_once": False,
        }
        """What is the same for all requests of the connection."""


def _key(name: bytes) -> str | None:
    """Of a header; usual ones are remembered, and none that is as long as a client likes."""
    return _usual_key(name) if len(name) <= 64 else _new_key(name)


def _new_key(name: bytes) -> str | None:
    told = name.decode("latin-1")
    if "_" in told:
        return None
    key = told.upper().replace("-", "_")
    return key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"


_usual_key = functools.lru_cache(maxsize=1024)(_new_key)


def environ(request: Request) -> WSGIEnvironment:
    """The WSGI environment (PEP 3333) of a whole request: its body has a length, whatever the client told of it.

    :raises NoRoom: its body does not fit on the disk.
    """
    made = head(request) | {"CONTENT_LENGTH": str(request.body.size), "wsgi.input": request.body.opened()}
    made.pop("HTTP_TRANSFER_ENCODING", None)
    if not made.get("HTTP_HOST"):  # or links would begin with nothing
        made.pop("HTTP_HOST", None)
    return made


def head(request: Request) -> WSGIEnvironment:
    """The part of the WSGI environment that is told before the body. Of a request that is refused, it may be less than was sent."""
    return {
        **request.peer.fixed,
        **request.headers,
        "REQUEST_METHOD": request.method or "GET",
        "PATH_INFO": urllib.parse.unquote_to_bytes(request.path).decode("latin-1"),
        "QUERY_STRING": request.query.decode("latin-1"),
        "SERVER_PROTOCOL": f"HTTP/{request.version}",
    }
