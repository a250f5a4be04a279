"""An HTTPS server for one small WSGI application: a client certificate is required, and each connection has its own thread.

The TLS hand-shake happens on that thread, under a time limit: a client that connects and says nothing holds up nobody else.
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
from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.types import WSGIApplication

from amphora_agent import identity

LOG = logging.getLogger(__name__)
HANDSHAKE_TIMEOUT = 10.0
IDLE_TIMEOUT = 60.0
MAX_BODY = 16 * 1024 * 1024
MAX_CONNECTIONS = 64


class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Serves `application` on (address, port)."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], application: WSGIApplication, own: identity.Identity) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.application = application
        self._own = own
        self._slots = threading.BoundedSemaphore(MAX_CONNECTIONS)
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Give the connection a thread, if there are not too many already."""
        if not self._slots.acquire(blocking=False):
            LOG.warning("Too many connections: %s is turned away", client_address[0])
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Shake hands, then answer requests until the client goes."""
        try:
            request.settimeout(HANDSHAKE_TIMEOUT)
            request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with contextlib.closing(self._own.secure(request)) as connection:
                connection.settimeout(IDLE_TIMEOUT)
                _Handler(connection, client_address, self)
        except (OSError, ssl.SSLError) as exc:
            LOG.info("Connection of %s ended: %s", client_address[0], exc)
        except Exception:
            LOG.exception("Connection of %s failed", client_address[0])
        finally:
            self.shutdown_request(request)
            self._slots.release()


class _Handler(http.server.BaseHTTPRequestHandler):
    """One HTTP/1.1 connection, kept open between requests."""

    protocol_version = "HTTP/1.1"
    server_version = "figlina-agent"
    sys_version = ""
    wbufsize = -1
    server: Server

    def _answer(self) -> None:
        length = self.headers.get("Content-Length", "0")
        if self.headers.get("Transfer-Encoding") or not length.isdecimal() or int(length) > MAX_BODY:
            self.close_connection = True
            self.send_error(413 if length.isdecimal() and int(length) > MAX_BODY else 411)
            return
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            self.close_connection = True
            return
        status: list[tuple[str, list[tuple[str, str]]]] = []

        def start_response(line: str, headers: list[tuple[str, str]], _: object = None, /) -> Callable[[bytes], object]:
            status[:] = [(line, headers)]
            return lambda _: None

        result: Iterable[bytes] = self.server.application(self._environ(body), start_response)
        try:
            content = b"".join(result)
        finally:
            close = getattr(result, "close", None)
            if close is not None:
                close()
        line, headers = status[0]
        code, _, reason = line.partition(" ")
        self.send_response(int(code), reason)
        for name, value in headers:
            if name.lower() != "content-length":
                self.send_header(name, value)
        if int(code) != 204:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()

    do_GET = do_PUT = do_DELETE = do_POST = do_HEAD = _answer

    def _environ(self, body: bytes) -> dict[str, Any]:
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
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "https",
            "wsgi.input": io.BytesIO(body),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are of interest to whoever looks closely only."""
        LOG.debug(format, *args)
