"""The web servers of `figlina dev`, without a network."""

from __future__ import annotations

import asyncio

import pytest

from controller.dev import web


class Wire(asyncio.Transport):
    """Keeps what was answered."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent += bytes(data)

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def connection(wire: Wire) -> web.Connection:
    made = web.Connection("web-1")
    made.connection_made(wire)
    return made


def bodies(wire: Wire) -> list[bytes]:
    return [part.partition(b"\r\n\r\n")[2] for part in wire.sent.split(b"HTTP/1.1 ")[1:]]


def test_it_answers_with_its_name_and_keeps_the_connection(wire: Wire, connection: web.Connection) -> None:
    connection.data_received(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    connection.data_received(b"GET /anything?x=1 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert bodies(wire) == [b"web-1\n", b"web-1\n"]
    assert b"X-Served-By: web-1\r\n" in wire.sent
    assert not wire.closed


def test_requests_may_come_in_any_pieces(wire: Wire, connection: web.Connection) -> None:
    for byte in b"POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\nbodyGET /health HTTP/1.1\r\n\r\n":
        connection.data_received(bytes([byte]))
    assert bodies(wire) == [b"web-1\n", b"healthy\n"]


@pytest.mark.parametrize("request_head", [b"GET / HTTP/1.0\r\n\r\n", b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n"])
def test_it_closes_where_the_client_does_not_keep_the_connection(wire: Wire, connection: web.Connection, request_head: bytes) -> None:
    connection.data_received(request_head)
    assert bodies(wire) == [b"web-1\n"]
    assert wire.closed


def test_a_head_request_has_no_body(wire: Wire, connection: web.Connection) -> None:
    connection.data_received(b"HEAD / HTTP/1.1\r\n\r\n")
    assert bodies(wire) == [b""]
    assert b"Content-Length: 6\r\n" in wire.sent


@pytest.mark.parametrize("noise", [b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n"])
def test_noise_is_told_so_and_ends_the_connection(wire: Wire, connection: web.Connection, noise: bytes) -> None:
    connection.data_received(noise)
    assert wire.sent.startswith(b"HTTP/1.1 400 ")
    assert wire.closed


def test_a_head_without_end_is_not_kept_in_memory(wire: Wire, connection: web.Connection) -> None:
    connection.data_received(b"x" * (web.MAX_HEAD + 1))
    assert wire.closed


def test_slow_answers_come_later_and_in_their_order(wire: Wire) -> None:
    async def ask() -> None:
        connection = web.Connection("web-1")
        connection.connection_made(wire)
        connection.data_received(b"GET /slow?seconds=0 HTTP/1.1\r\n\r\nGET /health HTTP/1.1\r\n\r\n")
        assert wire.sent == b""
        while len(bodies(wire)) < 2:
            await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(ask(), 10))
    assert bodies(wire) == [b"web-1\n", b"healthy\n"]
