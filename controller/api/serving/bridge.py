"""From ASGI, which costs no thread while a client is slow, to our WSGI application, which needs one while it works."""

from __future__ import annotations

import asyncio
import concurrent.futures
import errno
import io
import logging
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Awaitable, Callable, MutableMapping
from typing import IO, TYPE_CHECKING, Any

from controller import deadlines
from controller.api.serving import refusals

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

LOG = logging.getLogger(__name__)

IN_MEMORY = 64 * 1024
"""Bytes of a body that are held in memory; all of a larger one is held on disk."""
DRAINED = 16 * 1024 * 1024
"""Bytes of a body that is too large to be kept, and yet read, so that the client hears the answer and may go on using the connection."""
_PATIENCE_WITH_THREADS = 5.0
"""Seconds after a request's deadline until its client is answered whatever its thread does."""
_LOOPBACK = ("127.", "::1", "::ffff:127.")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Answer = tuple[int, refusals.Headers, bytes]


class TooLarge(Exception):
    """More than we read of a body that we don't keep."""


class Gone(Exception):
    """The client went away, or was sent away, before its request was whole."""


class Room:
    """Bytes that all bodies of a process may take on the disk together. Used by the loop's thread."""

    def __init__(self, size: int) -> None:
        self._left = size

    def take(self, size: int) -> None:
        """:raises OSError: there is not so much."""
        if size > self._left:
            raise OSError(errno.EDQUOT, "bodies of requests may take no more")
        self._left -= size

    def give_back(self, size: int) -> None:
        """It is free again."""
        self._left += size


class Body:
    """What a client sent; a part more than `most` bytes empties it, for then it will be refused by its size."""

    def __init__(self, most: int, room: Room) -> None:
        self._most = most
        self._room = room
        self._taken = 0  # of the room
        self.size = 0
        self._file: IO[bytes] = io.BytesIO()
        self._on_disk = False

    def add(self, part: bytes) -> None:
        """:raises OSError: it does not fit on the disk."""
        self.size += len(part)
        if self.size > self._most:
            self.close()
            self._file = io.BytesIO()
            return
        if self.size > IN_MEMORY:
            self._room.take(self.size - self._taken)
            self._taken = self.size
        if not self._on_disk and self.size > IN_MEMORY:
            on_disk: IO[bytes] = tempfile.TemporaryFile(prefix="figlina-body-")  # noqa: SIM115 - it is closed by `close`
            on_disk.write(self._file.getvalue())  # type: ignore[attr-defined]
            self._file, self._on_disk = on_disk, True
        self._file.write(part)

    def opened(self) -> IO[bytes]:
        """To be read from its beginning.

        :raises OSError: it does not fit on the disk.
        """
        self._file.seek(0)
        return self._file

    def close(self) -> None:
        """Free what it takes."""
        self._file.close()
        self._room.give_back(self._taken)
        self._taken = 0


class Bridge:
    """The application, as uvicorn calls it."""

    def __init__(self, application: WSGIApplication, *, threads: int, max_body: int, max_on_disk: int, answer_timeout: float) -> None:
        """`max_on_disk`: bytes of all bodies together; `answer_timeout`: seconds from a whole request to its answer, or to a 503."""
        self._application = application
        self._threads = concurrent.futures.ThreadPoolExecutor(threads, "request")
        self._max_body = max_body
        self._room = Room(max_on_disk)
        self._answer_timeout = answer_timeout

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        headers = _headers(scope)
        body = Body(self._max_body, self._room)
        try:
            read = await self._read(headers, body, receive)
            status, answered, content = await self._answer(scope, headers, body)
            if not read:
                answered = [*answered, (b"connection", b"close")]
        except Gone:
            return
        except TooLarge:
            status, answered, content = _and_close(refusals.refusal(413, f"A body has at most {self._max_body} bytes."))
        except OSError as error:
            LOG.error("A body could not be held on the disk: %s", error)
            status, answered, content = _and_close(refusals.refusal(503, "There is no room for the request now. Please repeat it later."))
        finally:
            body.close()
        await send({"type": "http.response.start", "status": status, "headers": answered})
        await send({"type": "http.response.body", "body": content})

    async def _read(self, headers: dict[str, str], body: Body, receive: Receive) -> bool:
        """Read the whole body; False if a client that asked first needn't send one that is too large.

        :raises Gone: it never came; :raises TooLarge: it is larger than what we read; :raises OSError: the disk is full.
        """
        length = int(headers.get("CONTENT_LENGTH", 0))
        if length > DRAINED:
            raise TooLarge
        if length > self._max_body and headers.get("HTTP_EXPECT", "").lower() == "100-continue":
            body.size = length
            return False
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Gone
            more = message.get("more_body", False)
            if message["body"]:
                body.add(message["body"])
            if body.size > DRAINED:
                raise TooLarge
        return True

    async def _answer(self, scope: Message, headers: dict[str, str], body: Body) -> Answer:
        environ = _environ(scope, headers, body)
        deadline = time.monotonic() + self._answer_timeout
        answering = asyncio.get_running_loop().run_in_executor(self._threads, self._answer_on_a_thread, environ, deadline)
        try:
            async with asyncio.timeout(self._answer_timeout + _PATIENCE_WITH_THREADS):
                return await answering
        except TimeoutError:
            LOG.error("%s %r has no answer %g s after its deadline", scope["method"], environ["PATH_INFO"], _PATIENCE_WITH_THREADS)
            return refusals.refusal(
                503, "The request did not come to an end in time. Please look whether it took effect, and repeat it if not."
            )

    def _answer_on_a_thread(self, environ: WSGIEnvironment, deadline: float) -> Answer:
        if time.monotonic() > deadline:
            return refusals.refusal(503, "Too many requests are waiting, so nothing was done. Please repeat the request.")
        begun: list[tuple[str, list[tuple[str, str]]]] = []

        def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None, /) -> Callable[[bytes], object]:
            begun[:] = [(status, headers)]
            return lambda _: None

        try:
            with deadlines.until(deadline):
                parts = self._application(environ, start_response)
                try:
                    content = b"".join(parts)
                finally:
                    getattr(parts, "close", bool)()
            status, headers = begun[0]
        except Exception:
            LOG.exception("%s %r failed", environ["REQUEST_METHOD"], environ["PATH_INFO"])
            return refusals.refusal(500, "An unexpected error occurred; please look whether the request took effect.")
        return int(status[:3]), [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers], content


def _and_close(answer: Answer) -> Answer:
    status, headers, content = answer
    return status, [*headers, (b"connection", b"close")], content


def _headers(scope: Message) -> dict[str, str]:
    """As a WSGI environment names them. A name with an underscore is left out: it would pass for one with a dash."""
    found: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name = raw_name.decode("latin-1")
        if "_" in name:
            continue
        key = name.upper().replace("-", "_")
        key = key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"
        value = raw_value.decode("latin-1").strip()
        found[key] = f"{found[key]},{value}" if key in found else value
    return found


def _environ(scope: Message, headers: dict[str, str], body: Body) -> WSGIEnvironment:
    """The WSGI environment (PEP 3333) of a whole request: its body has a length, whatever the client told of it."""
    address, port = scope.get("server") or ("", 0)
    client = (scope.get("client") or ("", 0))[0]
    environ: WSGIEnvironment = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": urllib.parse.unquote_to_bytes(scope["raw_path"]).decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_NAME": address,
        "SERVER_PORT": str(port),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "REMOTE_ADDR": client,
        **headers,
        "CONTENT_LENGTH": str(body.size),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "https" if _is_https(client, headers) else "http",
        "wsgi.input": body.opened(),
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    environ.pop("HTTP_TRANSFER_ENCODING", None)
    return environ


def _is_https(client: str, headers: dict[str, str]) -> bool:
    """Whether a proxy on this machine says that the client spoke TLS with it."""
    return client.startswith(_LOOPBACK) and headers.get("HTTP_X_FORWARDED_PROTO", "").lower() == "https"
