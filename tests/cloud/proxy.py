"""A proxy before the services of a cloud: it writes down every call, and breaks the ones that it is told to."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import http.server
import json
import re
import socket
import struct
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "proxy-connection", "content-length"}
ID = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}")


@dataclasses.dataclass(frozen=True, slots=True)
class Call:
    """One request: when it came and was answered (monotonic clock), for which service, what was asked, the status of the answer (0: none
    was given).
    """

    at: float
    until: float
    service: str
    method: str
    path: str
    status: int
    made: str = ""
    """The id of what a POST made."""

    @property
    def shape(self) -> str:
        """Without ids: `compute POST /servers`."""
        path = urllib.parse.unquote(self.path.partition("?")[0])
        return f"{self.service} {self.method} {ID.sub('ID', path)}"


Fault = Callable[[str, str, str], str | None]
"""Told service, method and path; answers how the call is broken: `429`, `500`, `503`, `reset` (before it is carried out), `lost` (carried
out, but its answer never comes), `slow` (its answer comes after two minutes); None: not at all."""


class Proxy:
    """Listens on a port of the loopback interface; `url(service)` takes the place of that service's endpoint."""

    def __init__(self, endpoints: dict[str, str]) -> None:
        self._endpoints = endpoints
        self._fault: Fault | None = None
        self._lock = threading.Lock()
        self._calls: list[Call] = []
        self._broken = 0
        outer = self

        class Handler(_Handler):
            proxy = outer

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def url(self, service: str) -> str:
        """What stands before a service's endpoint, which may have a path of its own."""
        path = urllib.parse.urlsplit(self._endpoints[service]).path
        return f"http://127.0.0.1:{self._server.server_port}/{service}{path}"

    def calls(self, since: float = 0.0) -> list[Call]:
        """What was asked since then."""
        with self._lock:
            return [call for call in self._calls if call.at >= since]

    @contextlib.contextmanager
    def breaking(self, fault: Fault) -> Iterator[Callable[[], int]]:
        """Break calls within the block; it is given a function that says how many were broken."""
        self._fault, self._broken = fault, 0
        try:
            yield lambda: self._broken
        finally:
            self._fault = None

    def close(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._server.server_close()

    def note(self, call: Call) -> None:
        """Write a call down."""
        with self._lock:
            self._calls.append(call)

    def fault_of(self, service: str, method: str, path: str) -> str | None:
        """How this call is broken."""
        fault = self._fault
        broken = None if fault is None else fault(service, method, path)
        if broken is not None:
            with self._lock:
                self._broken += 1
        return broken

    def target(self, service: str) -> urllib.parse.SplitResult:
        """The endpoint behind."""
        return urllib.parse.urlsplit(self._endpoints[service])


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: Proxy

    def log_message(self, *_: Any) -> None:
        """The calls are written down by ourselves."""

    def _pass_on(self) -> None:
        at = time.monotonic()
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        service, _, path = self.path.lstrip("/").partition("/")
        fault = self.proxy.fault_of(service, self.command, f"/{path}")
        status, made = 0, ""
        try:
            if fault == "reset":
                self._reset()
                return
            if fault in ("429", "500", "503"):
                status = int(fault)
                later = {"Retry-After": "1"} if fault == "429" else {}
                self._answer(status, {"Content-Type": "text/plain", **later}, b"The tests have broken this call.")
                return
            status, headers, content = self._ask(service, path, body)
            made = _id_within(content) if self.command == "POST" else ""
            if fault == "lost":
                status = 0
                self._reset()
                return
            if fault == "slow":
                time.sleep(120)
            self._answer(status, headers, content)
        except OSError:
            self.close_connection = True
        finally:
            self.proxy.note(Call(at, time.monotonic(), service, self.command, f"/{path}", status, made))

    def _ask(self, service: str, path: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        target = self.proxy.target(service)
        connection = http.client.HTTPConnection(target.hostname or "", target.port or 80, timeout=120)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP | {"host"}}
        try:
            connection.request(self.command, f"/{path}", body or None, headers)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        return answer.status, {name: value for name, value in answer.getheaders() if name.lower() not in _HOP_BY_HOP}, content

    def _answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response_only(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _pass_on


def _id_within(answer: bytes) -> str:
    """The id of the one thing that an answer is about; an empty string: it is about none, or several."""
    try:
        (thing,) = json.loads(answer).values()
        return str(thing["id"])
    except (ValueError, AttributeError, TypeError, KeyError):
        return ""
