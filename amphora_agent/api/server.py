"""An HTTPS server for one small WSGI application: a client certificate is required, and who has one has a thread for each connection.

Until then connections wait in the `doorway`, where hundreds of them cost no thread and little memory. What a client begins has an end.
"""

from __future__ import annotations

import contextlib
import http.server
import io
import logging
import socket
import socketserver
import ssl
import sys
import threading
import time
from typing import IO, Any, cast
from wsgiref import handlers
from wsgiref.types import WSGIApplication

from amphora_agent import identity, outages
from amphora_agent.api import doorway

LOG = logging.getLogger(__name__)
IDLE_TIMEOUT = 60.0
REQUEST_TIMEOUT = 60.0
"""Seconds from a request's first byte to its last."""
MAX_BODY = 16 * 1024 * 1024
MAX_SESSIONS = 64
REST = 0.2
"""Seconds after which whoever could let nobody in tries again."""


class Server(socketserver.TCPServer):
    """Serves `application` on (address, port), or at a socket that somebody has bound there."""

    allow_reuse_address = True
    request_queue_size = 256

    def __init__(
        self, address: tuple[str, int], application: WSGIApplication, own: identity.Identity, bound: socket.socket | None = None
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.application = application
        self._own = own
        self._sessions: dict[_Session, None] = {}  # the one that was last used longest ago comes first
        self._lock = threading.Lock()
        self._trouble = outages.Outage(LOG, "Who lets clients in")
        super().__init__(address, _Handler, bind_and_activate=bound is None)
        if bound is not None:
            self.socket.close()
            self.socket, self.server_address = bound, bound.getsockname()
            self.server_activate()
        self._doorway = doorway.Doorway(own.secure, self._let_in)
        self._doorway.start()

    def get_request(self) -> tuple[Any, Any]:
        """The next connection.

        :raises OSError: it can't be had, for want of descriptors perhaps. This rests first: whoever waits goes on waiting, so the caller
            would ask again at once, with all that a processor can do.
        """
        try:
            found = super().get_request()
        except OSError as exc:
            self._trouble.met(exc)
            time.sleep(REST)
            raise
        self._trouble.over()
        return found

    def process_request(self, request: Any, client_address: Any) -> None:
        """Let the client prove who it is."""
        self._doorway.take(request, client_address)

    def server_close(self) -> None:
        """Send everybody away."""
        super().server_close()
        self._doorway.close()

    def _let_in(self, connection: ssl.SSLSocket, client_address: Any) -> None:
        """Give a connection a thread. Where there are too many, the one that has been idle for longest makes room.

        :raises ssl.SSLError: it is no controller's.
        """
        self._own.welcome(connection)
        connection.setblocking(True)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        session = _Session(connection)
        with self._lock:
            if len(self._sessions) >= MAX_SESSIONS:
                leaves = next((one for one in self._sessions if one.idle), None)
                if leaves is None:
                    LOG.warning("Too many requests are under way: %s is turned away", client_address[0])
                    connection.close()
                    return
                self._sessions.pop(leaves)
                leaves.leave()
            self._sessions[session] = None
        try:
            threading.Thread(target=self._serve, args=(session, client_address), daemon=True).start()
        except RuntimeError as exc:  # the machine has no room for another one
            LOG.warning("There is no thread for %s, which is turned away: %s", client_address[0], exc)
            self._forget(session)

    def _serve(self, session: _Session, client_address: Any) -> None:
        try:
            _Handler(session, client_address, self)  # type: ignore[arg-type]
        except (OSError, ssl.SSLError) as exc:
            LOG.info("Connection of %s ended: %s", client_address[0], exc)
        except Exception:
            LOG.exception("Connection of %s failed", client_address[0])
        finally:
            self._forget(session)

    def _forget(self, session: _Session) -> None:
        with self._lock:
            self._sessions.pop(session, None)
        session.connection.close()

    def rest(self, session: _Session) -> None:
        """A request was answered, and another one may follow."""
        with self._lock:
            if session in self._sessions:
                self._sessions[session] = self._sessions.pop(session)


class _Session(io.RawIOBase):
    """A connection of a client that has proved who it is, as a file to read from. A request has an end, however slowly it comes."""

    def __init__(self, connection: ssl.SSLSocket) -> None:
        super().__init__()
        self.connection = connection
        self._end: float | None = None  # of the request that is being read; None: none has begun

    @property
    def idle(self) -> bool:
        """Whether no request has begun."""
        return self._end is None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """:raises TimeoutError: the client is too slow."""
        if self._end is None:
            self.connection.settimeout(IDLE_TIMEOUT)
            read = self.connection.recv_into(buffer)
            self._end = time.monotonic() + REQUEST_TIMEOUT
            return read
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("the request was not whole in time")
        self.connection.settimeout(left)
        return self.connection.recv_into(buffer)

    def answered(self) -> None:
        """The next byte begins another request."""
        self._end = None

    def leave(self) -> None:
        """End it from another thread."""
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)


class _Answer(handlers.SimpleHandler):
    """What the application answers, as HTTP/1.1."""

    headers_sent: bool
    status: str | None
    http_version = "1.1"
    server_software = "figlina-agent"
    os_environ: dict[str, str] = {}  # noqa: RUF012 - what this process was started with is no part of a request

    def finish_content(self) -> None:
        """An answer without a body does not say how long it is (RFC 9110, 8.6): nothing is added to what the application told."""
        if not self.headers_sent:
            self.send_headers()

    def handle_error(self) -> None:
        """What goes wrong behind the headers ends the connection: the next answer would stand in the body of this one."""
        if self.headers_sent:
            raise
        super().handle_error()

    def log_exception(self, exc_info: Any) -> None:
        """To where all else is told."""
        LOG.error("The answer to %s failed", self.base_env["REMOTE_ADDR"], exc_info=exc_info)

    def close(self) -> None:
        """An answer is of interest to whoever looks closely only."""
        LOG.debug("%s %s: %s", self.base_env["REQUEST_METHOD"], self.base_env["PATH_INFO"], self.status)
        super().close()


class _Handler(http.server.BaseHTTPRequestHandler):
    """One HTTP/1.1 connection, kept open between requests."""

    protocol_version = "HTTP/1.1"
    server_version = "figlina-agent"
    sys_version = ""
    wbufsize = -1
    server: Server

    def setup(self) -> None:
        """Read through the session, which knows when a request has to be whole."""
        self.session = cast(_Session, self.request)
        self.connection = self.session.connection
        self.rfile = io.BufferedReader(self.session, 65536)
        self.wfile = self.connection.makefile("wb", self.wbufsize)

    def handle_one_request(self) -> None:
        """Read and answer one, or end the connection."""
        super().handle_one_request()
        self.session.answered()
        self.server.rest(self.session)

    def _answer(self) -> None:
        length = self.headers.get("Content-Length", "0")
        if self.headers.get("Transfer-Encoding") or not length.isdecimal() or int(length) > MAX_BODY:
            self.close_connection = True
            self.send_error(413 if length.isdecimal() and int(length) > MAX_BODY else 411)
            return
        try:
            body = self.rfile.read(int(length))
        except TimeoutError:
            self.close_connection = True
            self.send_error(408)
            return
        if len(body) < int(length):
            self.close_connection = True
            return
        self.connection.settimeout(IDLE_TIMEOUT)
        _Answer(io.BytesIO(body), cast(IO[bytes], self.wfile), sys.stderr, self._environ(len(body))).run(self.server.application)
        self.wfile.flush()

    do_GET = do_PUT = do_DELETE = do_POST = do_HEAD = _answer

    def _environ(self, length: int) -> dict[str, str]:
        path, _, query = self.path.partition("?")
        named = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in self.headers.items()}
        return named | {
            "REQUEST_METHOD": self.command,
            "SCRIPT_NAME": "",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "SERVER_NAME": str(self.server.server_address[0]),
            "SERVER_PORT": str(self.server.server_address[1]),
            "SERVER_PROTOCOL": self.request_version,
            "REMOTE_ADDR": self.client_address[0],
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(length),
            "HTTPS": "on",
        }

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are of interest to whoever looks closely only."""
        LOG.debug(format, *args)
