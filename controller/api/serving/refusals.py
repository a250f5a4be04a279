"""Answers to requests that the application never sees; they look like its own."""

import uuid

import orjson

RETRY_AFTER = 5
"""Seconds after which a client that was told 503 may try again."""

Headers = list[tuple[bytes, bytes]]


def refusal(code: int, text: str) -> tuple[int, Headers, bytes]:
    """Status, headers and body."""
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


def no_room() -> tuple[int, Headers, bytes]:
    """A body does not fit on the disk."""
    return refusal(503, "There is no room for the request now. Please repeat it later.")
