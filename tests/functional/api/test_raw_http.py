"""Methods, targets and headers that no client library would send, to the real process: refused in a sentence, never a fault of ours."""

from __future__ import annotations

import contextlib
import json
import random
import socket
from collections.abc import Iterator

import pytest

from benchmarks import api_http

pytestmark = pytest.mark.lengthy

METHODS = (
    b"GET",
    b"POST",
    b"PUT",
    b"DELETE",
    b"HEAD",
    b"OPTIONS",
    b"PATCH",
    b"TRACE",
    b"CONNECT",
    b"PRI",
    b"get",
    b"G\x00T",
    b"M-SEARCH",
    b"SOURCE",
    b"PROPFIND",
    b"X" * 300,
    b"G ET",
    b"\xc3\x89",
)
TARGETS = (
    b"/",
    b"/v2/lbaas/loadbalancers",
    b"/v2/lbaas/loadbalancers?limit=1",
    b"/network/v2.0/lbaas/loadbalancers",
    b"/healthcheck",
    b"*",
    b"//",
    b"///v2",
    b"",
    b"v2",
    b"http://evil.example/v2/lbaas/pools",
    b"http://[::1",
    b"//evil.example/v2",
    b"/%",
    b"/%00",
    b"/%ff%fe",
    b"/\xff\xfe",
    b"/v2/../v2",
    b"/v2/lbaas/pools?%",
    b"/v2/lbaas/pools?\xff",
    b"/v2/lbaas/pools?a=b;c=d&&&=",
    b"/v2/lbaas/pools#x",
    b"/v2/lbaas/pools/%2e%2e/%2f",
    b"evil:443",
    b"/\\",
    b"/v2/lbaas/pools?" + b"a=b&" * 3000,
    b"/" + b"a" * 9000,
    b"/v2/lbaas/pools?limit=\x01",
    b"?",
    b"/?",
    b"/network",
    b"/network/%ff",
)
HEADERS = (
    b"SCRIPT_NAME: /evil",
    b"Script-Name: /evil",
    b"PATH_INFO: /evil",
    b"X_Project_Id: evil",
    b"X-Project-Id: \xff\xfe",
    b"X-Project-Id: a\x01b",
    b"Host:",
    b"Host: \xff",
    b"Host: evil example",
    b"Host: a\r\nHost: b",
    b"Host: [::1",
    b"Host: a:b:c",
    b"X-Forwarded-Proto: https",
    b"X-Forwarded-Proto: http, https",
    b"X-Forwarded-Protocol: ssl",
    b"X-Forwarded-For: nonsense",
    b"X-Forwarded-Host: evil\r\nX-Forwarded-Host: e",
    b"Forwarded: for=x;proto=evil",
    b"Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13",
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
    b"Connection: close",
    b"Connection: \xff",
    b"Connection: keep-alive, Host",
    b"Expect: nonsense",
    b"Expect: 100-continue",
    b"Transfer-Encoding: gzip",
    b"Transfer-Encoding: chunked, gzip",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding:chunked",
    b"Transfer-Encoding : chunked",
    b"Transfer-Encoding: \x0bchunked",
    b"Content-Length: -1",
    b"Content-Length: +2",
    b"Content-Length: 0x2",
    b"Content-Length: 2,2",
    b"Content-Length: 2 2",
    b"Content-Length:",
    b"Content-Length: 99999999999999999999",
    b"Content-Length: 9999999",
    b"Content-Length: \xd9\xa2",
    b"Content-Type: \xff",
    b"Content-Type: a/b; charset=x\x00",
    b"Content-Type: application/json; charset=utf-7",
    b"Content-Encoding: gzip",
    b"Accept: \xff",
    b"Accept: ;;;q=",
    b"Origin: \xff\r\nOrigin: x",
    b"X-Auth-Token: \xff",
    b"X-Openstack-Request-Id: req-\xff",
    b"no colon",
    b": empty",
    b" folded",
    b"a b: c",
    b"A\x00: b",
    b"A: b\x00c",
    b"X-A: b\r\n folded",
    b"X-A: " + b"b" * 20_000,
    b"Range: bytes=9-1",
    b"Cookie: \xff=\xff",
    b"Authorization: Basic \xff",
    b"If-Modified-Since: nonsense",
    b"Content-MD5: x",
    b"Accept-Encoding: \xff",
    b"Accept-Language: \xff",
    b"Te: trailers",
    b"Trailer: X",
    b"X-Http-Method-Override: DELETE",
    b"Http-Host: x",
    b"Wsgi.input: x",
)
VERSIONS = (b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/0.9", b"HTTP/2.0", b"HTTP/9.9", b"http/1.1", b"", b"HTTP/1.1 x")
BODIES = (
    b"",
    b"",
    b"{}",
    b"{",
    b"\xff" * 50,
    b'{"loadbalancer": {}}',
    b"0\r\n\r\n",
    b"ffffffffffffffffff\r\n",
    b"2\r\n{}\r\n0\r\n\r\n",
    b"[" * 20_000,
)


SCRATCH = "[controller_worker]\nnetwork_driver = scratch\n"
"""The network driver that has a Networking API, without root."""


@pytest.fixture(scope="module")
def server() -> Iterator[api_http.Server]:
    """The process; what is begun and not ended is over after a second."""
    with api_http.running(more="request_timeout = 1\nembedded_networking = true\n[cors]\nallowed_origin = *\n" + SCRATCH) as made:
        yield made


def _answers(port: int, sent: bytes) -> list[tuple[int, bytes]]:
    """Status and body of each answer until the server closes the connection, which it does in time, perhaps before it has read all."""
    heard = b""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            client.sendall(sent)
        with contextlib.suppress(OSError):  # not connected any more
            client.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            while part := client.recv(65536):
                heard += part
    return _split(heard)


def _split(heard: bytes) -> list[tuple[int, bytes]]:
    found = []
    while heard:
        head, _, heard = heard.partition(b"\r\n\r\n")
        status = int(head.split(b" ")[1])
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
        if heard.startswith(b"HTTP/1.1 "):
            length = 0  # an answer to HEAD
        if status >= 200:
            found.append((status, heard[:length]))
            heard = heard[length:]
    return found


def _judge(sent: bytes, answers: list[tuple[int, bytes]]) -> None:
    for status, body in answers:
        assert status < 500 or status in (501, 503), (sent, status, body)
        if status >= 500:
            assert len(json.loads(body)["faultstring"].split()) > 3, (sent, body)


def _request(method: bytes, target: bytes, version: bytes, headers: list[bytes], body: bytes) -> bytes:
    host = [] if any(header.lower().startswith(b"host") for header in headers) else [b"Host: localhost"]
    return b"\r\n".join([b" ".join([method, target, version]).strip(), *host, *headers, b"", body])


@pytest.mark.parametrize("header", HEADERS, ids=lambda header: repr(header[:30]))
@pytest.mark.parametrize("method", [b"GET", b"POST"])
def test_no_header_is_a_fault_of_ours(server: api_http.Server, method: bytes, header: bytes) -> None:
    sent = _request(method, b"/v2/lbaas/loadbalancers", b"HTTP/1.1", [header], b"{}" if method == b"POST" else b"")
    answers = _answers(server.port, sent)
    _judge(sent, answers)
    assert answers or header.lower().startswith((b"content-length", b"transfer-encoding")), "a whole request has no answer"


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: repr(target[:30]))
def test_no_target_is_a_fault_of_ours(server: api_http.Server, target: bytes) -> None:
    for method in METHODS:
        sent = _request(method, target, b"HTTP/1.1", [b"Connection: close"], b"")
        answers = _answers(server.port, sent)
        _judge(sent, answers)
        assert answers


def test_nothing_together_is_a_fault_of_ours(server: api_http.Server) -> None:
    rng = random.Random(7)
    for _ in range(400):
        sent = b"".join(
            _request(
                rng.choice(METHODS[:9] if rng.random() < 0.8 else METHODS),
                rng.choice(TARGETS),
                rng.choice(VERSIONS),
                rng.choices(HEADERS, k=rng.randint(0, 4)),
                rng.choice(BODIES),
            )
            for _ in range(rng.randint(1, 3))
        )
        _judge(sent, _answers(server.port, sent))
    assert api_http.Client(server.port)("GET", "/")


def test_pipelined_requests_are_answered_in_their_order(server: api_http.Server) -> None:
    asked = [b"/", b"/v2/no-such", b"/v2/lbaas/pools", b"/v2/lbaas/pools/no-such"] * 5
    sent = b"".join(_request(b"GET", target, b"HTTP/1.1", [], b"") for target in asked)
    expected = [200 if target in (b"/", b"/v2/lbaas/pools") else 404 for target in asked]
    assert [status for status, _ in _answers(server.port, sent)] == expected
