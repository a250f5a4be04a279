"""Answers to requests that the application never sees; they look like its own."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

RETRY_AFTER = 5
"""Seconds after which a client that was told 503 may try again."""

REFUSAL = "figlina.refusal"
"""Where `application` finds in its environment what it answers."""

Headers = list[tuple[bytes, bytes]]
Answer = tuple[int, Headers, bytes]
"""Status, headers and body."""


def application(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    """Refuse, so that a middleware which others of our answers pass can stand around refusals, too."""
    code, headers, body = environ[REFUSAL]
    start_response(f"{code} ", [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers])
    return [body]


def refusal(code: int, text: str) -> Answer:
    """The answer of this status that says why."""
    body = orjson.dumps(fault(code, text))
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"x-openstack-request-id", f"req-{uuid.uuid4()}".encode()),
    ]
    if code == 503:
        headers.append((b"retry-after", str(RETRY_AFTER).encode()))
    return code, headers, body


def fault(code: int, text: str) -> dict[str, str | None]:
    """The shape that clients read `faultstring` from."""
    return {"faultcode": "Client" if code < 500 else "Server", "faultstring": text, "debuginfo": None}


def no_room() -> Answer:
    """A body does not fit on the disk."""
    return refusal(503, "There is no room for the request now. Please repeat it later.")
