"""The web servers of `figlina dev`, on a connection of the loopback."""

from __future__ import annotations

import asyncio
import functools
import time

import pytest

from controller.dev import web


def told(*pieces: bytes, goes: bool = False) -> bytes:
    """What a client hears who sends these pieces, until the server ends the connection: by itself, or because the client `goes`."""

    async def ask() -> bytes:
        server = await asyncio.start_server(functools.partial(web.answer_all, "web-1"), "127.0.0.1", 0, limit=web.MAX_HEAD)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(0)
        if goes:
            writer.write_eof()
        heard = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        server.close()
        return heard

    return asyncio.run(ask())


def bodies(heard: bytes) -> list[bytes]:
    return [part.partition(b"\r\n\r\n")[2] for part in heard.split(b"HTTP/1.1 ")[1:]]


def test_it_answers_with_its_name_and_keeps_the_connection() -> None:
    heard = told(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /anything?x=1 HTTP/1.1\r\nHost: x\r\n\r\n", goes=True)
    assert bodies(heard) == [b"web-1\n", b"web-1\n"]
    assert heard.count(b"X-Served-By: web-1\r\n") == heard.count(b"Connection: keep-alive\r\n") == 2


def test_requests_may_come_in_any_pieces() -> None:
    sent = b"POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\nbodyGET /health HTTP/1.1\r\n\r\n"
    assert bodies(told(*(bytes([byte]) for byte in sent), goes=True)) == [b"web-1\n", b"healthy\n"]


def test_a_large_body_is_read_and_forgotten() -> None:
    size = 3 * web.MAX_HEAD + 5
    sent = b"PUT / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size + b"GET /health HTTP/1.0\r\n\r\n"
    assert bodies(told(sent)) == [b"web-1\n", b"healthy\n"]


_CHUNKED = b"POST /anything HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "chunks",
    [
        b"0\r\n\r\n",
        b"4\r\nbody\r\n0\r\n\r\n",
        b"A;name=value\r\n0123456789\r\n1 ; a\r\n\n\r\n00\r\nX-Behind: 1\r\nX-Other: 2\r\n\r\n",
        b"%x\r\n" % (2 * web.MAX_HEAD + 1) + b"x" * (2 * web.MAX_HEAD + 1) + b"\r\n0\r\n\r\n",
    ],
    ids=["empty", "one", "extensions and trailers", "large"],
)
def test_a_body_in_chunks_is_read_and_forgotten(chunks: bytes) -> None:
    heard = told(_CHUNKED + chunks + b"GET /health HTTP/1.0\r\n\r\n")
    assert bodies(heard) == [b"web-1\n", b"healthy\n"]
    assert heard.count(b"HTTP/1.1 200 OK\r\n") == 2
    if len(chunks) < 1000:
        pieces = (bytes([byte]) for byte in _CHUNKED + chunks + b"GET /health HTTP/1.0\r\n\r\n")
        assert bodies(told(*pieces)) == [b"web-1\n", b"healthy\n"]


@pytest.mark.parametrize("request_head", [b"GET / HTTP/1.0\r\n\r\n", b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n"])
def test_it_closes_where_the_client_does_not_keep_the_connection(request_head: bytes) -> None:
    assert bodies(told(request_head)) == [b"web-1\n"]


def test_a_head_request_has_no_body() -> None:
    heard = told(b"HEAD / HTTP/1.1\r\n\r\n", goes=True)
    assert bodies(heard) == [b""]
    assert b"Content-Length: 6\r\n" in heard


def test_a_login_gives_a_new_cookie_each_time() -> None:
    heard = told(b"GET /login HTTP/1.1\r\n\r\n", b"GET /login HTTP/1.0\r\n\r\n")
    cookies = [line for line in heard.split(b"\r\n") if line.startswith(b"Set-Cookie: session=")]
    assert len(set(cookies)) == 2


@pytest.mark.parametrize(
    "noise",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        _CHUNKED + b"-1\r\n",
        _CHUNKED + b"\r\n",
        _CHUNKED + b"1\r\nxxx\r\n0\r\n\r\n",
    ],
)
def test_noise_is_told_so_and_ends_the_connection(noise: bytes) -> None:
    assert told(noise).startswith(b"HTTP/1.1 400 ")


def test_a_head_without_end_is_not_kept_in_memory() -> None:
    assert told(b"x" * (web.MAX_HEAD + 4)) == b""


def test_slow_answers_come_later_and_in_their_order() -> None:
    began = time.monotonic()
    heard = told(b"GET /slow?seconds=0.2 HTTP/1.1\r\n\r\nGET /health HTTP/1.1\r\n\r\n", b"GET /slow?seconds=x HTTP/1.0\r\n\r\n")
    assert bodies(heard) == [b"web-1\n", b"healthy\n", b"seconds must be a number\n"]
    assert time.monotonic() - began >= 0.2
