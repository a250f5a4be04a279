"""What the real process refuses before the application is asked: pages that may read other answers may read that, too."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import socket
from collections.abc import Iterator

import pytest

from benchmarks import api_http

pytestmark = pytest.mark.lengthy

PAGE = "https://dashboard.example"
_HEAD = b"POST /v2/lbaas/pools HTTP/1.1\r\nHost: a\r\n"
_OPENED_LATER = 8
"""More connections than the process allows."""
_PREFLIGHT = b"Access-Control-Request-Method: PUT\r\nAccess-Control-Request-Headers: x-auth-token\r\n"


@dataclasses.dataclass(frozen=True)
class Refused:
    """A request, in which `%b` is where its origin stands, and why it is refused."""

    sent: bytes
    status: int
    opened_later: int = 0  # connections of others, which begin a request each


REFUSED = {
    "not HTTP any more": Refused(_HEAD + b"%bAccept: a\r\nno colon\r\n\r\n", 400),
    "another host": Refused(b"GET / HTTP/1.1\r\n%bHost: a:b:c\r\n\r\n", 400),
    "not whole in time": Refused(_HEAD + b"%bAccept: applic", 408),
    "a body that is not whole in time": Refused(_HEAD + b"%bContent-Length: 10\r\n\r\n{", 408),
    "too large to be drained": Refused(_HEAD + b"%bContent-Length: 99999999\r\n\r\n", 413),
    "too large, as the application says it": Refused(_HEAD + b"%bExpect: 100-continue\r\nContent-Length: 2000000\r\n\r\n", 413),
    "headers without an end": Refused(_HEAD + b"%bX-A: " + b"a" * 70_000, 431),
    "an unknown coding": Refused(_HEAD + b"%bTransfer-Encoding: gzip\r\n\r\n", 501),
    "too many connections": Refused(_HEAD + b"%bAccept: applic", 503, opened_later=_OPENED_LATER),
}


@pytest.fixture(scope="module", params=[PAGE, "*"])
def server(request: pytest.FixtureRequest) -> Iterator[api_http.Server]:
    """A process that lets pages of one origin, or of all, read its answers."""
    more = f"request_timeout = 3\nmax_connections = {_OPENED_LATER}\n[cors]\nallowed_origin = {request.param}\n"
    with api_http.running(more=more) as made:
        yield made


@pytest.fixture(scope="module")
def closed_server() -> Iterator[api_http.Server]:
    """A process whose operator lets no page read anything."""
    with api_http.running(more="request_timeout = 3\n") as made:
        yield made


def _heard(server: api_http.Server, sent: bytes, opened_later: int = 0) -> tuple[int, dict[str, str], bytes]:
    """The status, the headers and the body of the last answer."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):  # it may be refused before all of it was read
            client.sendall(sent)
        others = [socket.create_connection(("127.0.0.1", server.port), timeout=30) for _ in range(opened_later)]
        for other in others:
            other.sendall(b"GET / HT")
        heard = b""
        with contextlib.suppress(ConnectionResetError):
            while part := client.recv(65536):
                heard += part
        for other in others:
            other.close()
    head, _, body = heard[heard.rindex(b"HTTP/1.1 ") :].partition(b"\r\n\r\n")
    line, *headers = head.decode("latin-1").split("\r\n")
    return int(line.split(" ")[1]), {name.lower(): value for name, _, value in (one.partition(": ") for one in headers)}, body


def _for_pages(headers: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.startswith("access-control-") or name == "vary"}


def _origin(name: str) -> bytes:
    return f"Origin: {name}\r\n".encode()


def _of_the_application(server: api_http.Server, more: bytes, method: bytes = b"GET") -> dict[str, str]:
    """What it tells pages that ask for something that is not there."""
    _, headers, _ = _heard(server, method + b" /v2/no-such HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + more + b"\r\n")
    return _for_pages(headers)


@pytest.mark.parametrize(
    ("case", "origin"),
    [
        (case, origin)
        for case, refused in REFUSED.items()
        for origin in (PAGE, "https://evil.example", "\xff, \xe9", None)
        if origin == PAGE or refused.status != 408  # which takes seconds
    ],
)
def test_pages_read_a_refusal_as_they_read_what_the_application_answers(server: api_http.Server, case: str, origin: str | None) -> None:
    refused, more = REFUSED[case], b"" if origin is None else _origin(origin)
    status, headers, body = _heard(server, refused.sent.replace(b"%b", more), refused.opened_later)
    assert (status, headers["connection"]) == (refused.status, "close")
    assert json.loads(body).keys() & {"faultstring", "title"}
    assert _for_pages(headers) == _of_the_application(server, more)
    assert _for_pages(headers)["vary"] == "Origin"
    if origin == PAGE:
        assert headers["access-control-allow-origin"] in (PAGE, "*")
        assert "X-Openstack-Request-Id" in headers["access-control-expose-headers"]


@pytest.mark.parametrize("case", ["another host", "too large to be drained"])
def test_a_page_that_asks_whether_it_may_send_is_told_so_that_it_reads_why_what_it_sends_is_refused(
    server: api_http.Server, case: str
) -> None:
    """oslo.middleware answers a preflight itself, whatever comes from below it."""
    more = _origin(PAGE) + _PREFLIGHT
    sent = REFUSED[case].sent.replace(b"POST ", b"OPTIONS ").replace(b"GET ", b"OPTIONS ").replace(b"%b", more)
    status, headers, _ = _heard(server, sent)
    assert (status, headers["access-control-allow-methods"]) == (200, "PUT")
    assert _for_pages(headers) == _of_the_application(server, more, b"OPTIONS")


@pytest.mark.parametrize("case", ["another host", "too large to be drained", "headers without an end"])
def test_where_no_origin_is_allowed_refusals_tell_pages_nothing(closed_server: api_http.Server, case: str) -> None:
    status, headers, _ = _heard(closed_server, REFUSED[case].sent.replace(b"%b", _origin(PAGE)))
    assert (status, _for_pages(headers)) == (REFUSED[case].status, {})
