"""A question of gRPC's health protocol (grpc.health.v1), as bytes of HTTP/2 that HAProxy sends, and the bytes of a good answer.

HAProxy has no such check, and an `http-check` can't send a body with zeros. So it is said by hand: the preface, no settings, one request
(RFC 9113) whose headers are literals that no table of HPACK changes (RFC 7541, section 6.2.2), and one message. What is waited for is the
message that says SERVING; a member that ends its answer without it (with trailers behind another message or with nothing but them, or by
a reset) fails at once.
"""

from __future__ import annotations

from collections.abc import Iterator

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS = 0, 1, 3, 4  # kinds of frames
_STREAM = 1
_END_STREAM, _END_HEADERS = 0x1, 0x4
_SERVICE, _STATUS_SERVING = b"\x0a", b"\x08\x01"  # field 1 of the question, a string; field 1 of the answer, the number 1


def directives(service: str, authority: str, with_tls: bool) -> Iterator[str]:
    """The lines by which a backend checks its members by gRPC; `service` is what they are asked about, "" is all that they serve."""
    headers = {
        ":method": "POST",
        ":scheme": "https" if with_tls else "http",
        ":path": "/grpc.health.v1.Health/Check",
        ":authority": authority,
        "content-type": "application/grpc",
        "te": "trailers",
    }
    block = b"".join(b"\x00" + _string(name) + _string(value) for name, value in headers.items())
    asked = _SERVICE + _string(service) if service else b""
    frames = _frame(_SETTINGS, 0, 0, b"") + _frame(_HEADERS, _END_HEADERS, _STREAM, block)
    frames += _frame(_DATA, _END_STREAM, _STREAM, _message(asked))
    yield "option tcp-check"
    yield f"tcp-check send-binary {(_PREFACE + frames).hex()}"
    # Without `min-recv`, HAProxy would wait for what it is not to find until the connection ends. Both lines look at all that has come.
    yield f"tcp-check expect min-recv 1 ! rbinary {_ENDED_OTHERWISE}"
    yield f"tcp-check expect binary {_SERVING.hex()}"


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def _message(content: bytes) -> bytes:
    """As gRPC sends it: not compressed, behind its length."""
    return b"\x00" + len(content).to_bytes(4, "big") + content


def _ends() -> Iterator[bytes]:
    """How frames that end a member's answer go on behind their lengths, or begin where that is known."""
    yield _frame(_HEADERS, _END_HEADERS | _END_STREAM, _STREAM, b"")[3:]
    yield _frame(_RST_STREAM, 0, _STREAM, bytes(4))[:9]


def _string(value: str) -> bytes:
    """Behind its length (RFC 7541, sections 5.1 and 5.2). Names of services are so short that protocol buffers write them alike."""
    raw = value.encode("ascii")
    if len(raw) < 127:
        return bytes((len(raw),)) + raw
    more, low = divmod(len(raw) - 127, 128)
    return b"\x7f" + (bytes((low | 0x80, more)) if more else bytes((low,))) + raw


_SERVING = _message(_STATUS_SERVING)
_ENDED_OTHERWISE = "^(?!(?:..)*{})(?:..)*(?:{})".format(_SERVING.hex().upper(), "|".join(end.hex().upper() for end in _ends()))
"""Of what has come, in hexadecimal digits as HAProxy writes them: an end, and no SERVING before or behind it."""
