"""A web server to balance between: it answers with its name, `/health` with 200, `/slow?seconds=N` when N seconds are over, and `/login`
with a new cookie `session`.

Standard library only and quick to start; one process serves HTTP and HTTPS with kept-alive connections.
"""

import argparse
import asyncio
import contextlib
import functools
import re
import secrets
import signal
import ssl
import sys
import urllib.parse
from collections.abc import Mapping, Sequence

MAX_HEAD = 64 * 1024
MAX_SECONDS = 300.0
_HEXADECIMAL = re.compile(rb"[0-9A-Fa-f]{1,16}").fullmatch


async def answer_all(name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one client's requests in their order, until the client goes or asks for the end."""
    keep = True
    with contextlib.suppress(asyncio.CancelledError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError, ValueError):
        while keep:
            first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {key.strip().lower(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
            method, _, remainder = first.partition(" ")
            target, _, version = remainder.rpartition(" ")
            status, body, more = "400 Bad Request", "not understood\n", ""
            keep = bool(target) and await _passes_over_body(reader, headers)
            if keep:
                status, body, more = await _answer(name, urllib.parse.urlsplit(target))
                keep = headers.get("connection", "").lower() != "close" and version == "HTTP/1.1"
            head = (
                f"HTTP/1.1 {status}\r\nServer: figlina-web\r\nX-Served-By: {name}\r\nContent-Type: text/plain\r\n"
                f"Content-Length: {len(body)}\r\nConnection: {'keep-alive' if keep else 'close'}\r\n{more}\r\n"
            )
            writer.write((head + (body if method != "HEAD" else "")).encode())
            await writer.drain()
    writer.close()


async def _passes_over_body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bool:
    """Read a request's body and forget it; False if nobody can tell where it ends."""
    coding = headers.get("transfer-encoding")
    if coding is not None:
        return coding.lower() == "chunked" and "content-length" not in headers and await _passes_over_chunks(reader)
    length = headers.get("content-length", "0")
    if not (length.isascii() and length.isdecimal()):
        return False
    await _pass_over(reader, int(length))
    return True


async def _passes_over_chunks(reader: asyncio.StreamReader) -> bool:
    """The same of a body in chunks (RFC 9112, section 7.1)."""
    while True:
        size = (await reader.readuntil(b"\r\n")).partition(b";")[0].strip()
        if not _HEXADECIMAL(size):
            return False
        if not int(size, 16):
            break
        await _pass_over(reader, int(size, 16))
        if await reader.readexactly(2) != b"\r\n":
            return False
    while await reader.readuntil(b"\r\n") != b"\r\n":
        pass  # a header that comes behind the last chunk
    return True


async def _pass_over(reader: asyncio.StreamReader, count: int) -> None:
    while count:
        count -= len(await reader.readexactly(min(count, MAX_HEAD)))


async def _answer(name: str, url: urllib.parse.SplitResult) -> tuple[str, str, str]:
    """Status, body and another header."""
    if url.path == "/health":
        return "200 OK", "healthy\n", ""
    if url.path == "/slow":
        try:
            seconds = float(urllib.parse.parse_qs(url.query).get("seconds", ["1"])[0])
        except ValueError:
            return "400 Bad Request", "seconds must be a number\n", ""
        await asyncio.sleep(min(max(seconds, 0.0), MAX_SECONDS))
    return "200 OK", f"{name}\n", f"Set-Cookie: session={secrets.token_hex(8)}; Path=/\r\n" if url.path == "/login" else ""


async def serve(name: str, address: str, http_port: int, https_port: int | None, pem: str | None) -> None:
    """Serve until SIGTERM; `pem` is the certificate with its key."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    start = functools.partial(asyncio.start_server, functools.partial(answer_all, name), address, limit=MAX_HEAD, backlog=1024)
    servers = [await start(port=http_port)]
    if https_port is not None and pem is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        servers.append(await start(port=https_port, ssl=context))
    await ended.wait()
    for server in servers:
        server.close()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--address", default="0.0.0.0")
    parser.add_argument("--http-port", type=int, default=80)
    parser.add_argument("--https-port", type=int)
    parser.add_argument("--pem", help="file with certificate and key, for HTTPS")
    options = parser.parse_args(arguments)
    asyncio.run(serve(options.name, options.address, options.http_port, options.https_port, options.pem))
    return 0


if __name__ == "__main__":
    sys.exit(main())
