"""A proxy before the API that writes down each answer, so that a test can compare what a client shows with what it was told."""

from __future__ import annotations

import dataclasses
import http.client
import http.server
import json
import threading
import urllib.parse
from typing import Any

_HOP_BY_HOP = {
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "content-length",
}  # RFC 9110 §7.6.1


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What the API said to one request; `body` is None where there was no JSON."""

    method: str
    path: str
    status: int
    sent: Any
    body: Any


class Recorder:
    """The proxy; `answers` are all since the last `forget()`, in their order."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self._target = ("127.0.0.1", 0)
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def before(self, url: str) -> None:
        """Hand requests on to this address from now on."""
        parts = urllib.parse.urlsplit(url)
        self._target = (str(parts.hostname), int(parts.port or 80))

    def close(self) -> None:
        """End."""
        self._server.shutdown()
        self._server.server_close()

    def forget(self) -> None:
        """Begin a new record."""
        self.answers = []

    def last(self, method: str, path: str) -> Any:
        """The body of the newest successful answer to a request whose path ends so."""
        found = [one for one in self.answers if one.method == method and one.path.partition("?")[0].endswith(path) and one.status < 400]
        assert found, f"nobody asked {method} {path}: {[(one.method, one.path, one.status) for one in self.answers]}"
        return found[-1].body

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        recorder = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1

            def _pass_on(self) -> None:
                sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP}
                connection = http.client.HTTPConnection(*recorder._target, timeout=60)
                try:
                    connection.request(self.command, self.path, sent or None, headers)
                    answer = connection.getresponse()
                    body = answer.read()
                finally:
                    connection.close()
                recorder.answers.append(Answer(self.command, self.path, answer.status, _json(sent), _json(body)))
                self.send_response_only(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in _HOP_BY_HOP:
                        self.send_header(name, value)
                if answer.status != http.client.NO_CONTENT:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = do_OPTIONS = _pass_on

            def log_message(self, *_: Any) -> None:
                pass

        return Handler


def _json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return None
