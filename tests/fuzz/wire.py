"""Requests as a server would hand them over, unmended: paths, queries and headers that no client library would send."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib import parse as urls

from werkzeug import test

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    body: bytes

    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)


def send(application: WSGIApplication, method: str, target: str, headers: Mapping[str, str], data: bytes | None) -> Answer:
    """Ask for a target (a path, and perhaps a query)."""
    path, _, query = target.partition("?")
    environ = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": urls.unquote_to_bytes(path.encode("utf-8", "surrogatepass")).decode("latin-1"),
        "QUERY_STRING": query.encode("utf-8", "surrogatepass").decode("latin-1"),
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "localhost",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(data or b""),
        "wsgi.input_terminated": True,
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    if data is not None:
        environ |= {"CONTENT_LENGTH": str(len(data)), "CONTENT_TYPE": "application/json"}
    for name, value in headers.items():
        key = name.upper().replace("-", "_")
        environ[key if key in ("CONTENT_LENGTH", "CONTENT_TYPE") else f"HTTP_{key}"] = value.encode().decode("latin-1")
    body, status, _headers = test.run_wsgi_app(application, environ, buffered=True)
    return Answer(int(status.split(" ")[0]), b"".join(body))
