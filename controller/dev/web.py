"""A web server to balance between: it answers with its name, `/health` with 200, `/slow?seconds=N` when N seconds are over, and `/login`
with a new cookie `session`.

Standard library only and quick to start; one process serves HTTP and HTTPS with kept-alive connections.
"""

import argparse
import asyncio
import secrets
import signal
import ssl
import sys
import urllib.parse
from collections.abc import Sequence

MAX_HEAD = 64 * 1024
MAX_SECONDS = 300.0


class Connection(asyncio.Protocol):
    """One client's connection: requests in, answers out, in their order."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._received = b""
        self._body_left = 0
        self._waiting: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self._waiting is not None:
            self._waiting.cancel()

    def data_received(self, data: bytes) -> None:
        self._received += data
        self._go_on()

    def _go_on(self) -> None:
        """Answer all that has arrived, one after the other."""
        while self._waiting is None and self._transport is not None and not self._transport.is_closing():
            if self._body_left:
                skipped = min(self._body_left, len(self._received))
                self._received, self._body_left = self._received[skipped:], self._body_left - skipped
            head, end, rest = self._received.partition(b"\r\n\r\n")
            if self._body_left or not end:
                if len(self._received) > MAX_HEAD:
                    self._transport.close()
                return
            self._received = rest
            self._request(head.decode("latin-1"))

    def _request(self, head: str) -> None:
        first, *lines = head.split("\r\n")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        method, _, remainder = first.partition(" ")
        target, _, version = remainder.rpartition(" ")
        length = headers.get("content-length", "0")
        if not target or not length.isdigit():
            self._answer("400 Bad Request", "not understood\n", method, keep=False)
            return
        self._body_left = int(length)
        keep = headers.get("connection", "").lower() != "close" and version == "HTTP/1.1"
        url = urllib.parse.urlsplit(target)
        if url.path == "/slow":
            self._later(url.query, method, keep)
        elif url.path == "/health":
            self._answer("200 OK", "healthy\n", method, keep)
        elif url.path == "/login":
            self._answer("200 OK", f"{self._name}\n", method, keep, f"Set-Cookie: session={secrets.token_hex(8)}; Path=/\r\n")
        else:
            self._answer("200 OK", f"{self._name}\n", method, keep)

    def _later(self, query: str, method: str, keep: bool) -> None:
        try:
            seconds = min(max(float(urllib.parse.parse_qs(query).get("seconds", ["1"])[0]), 0.0), MAX_SECONDS)
        except ValueError:
            self._answer("400 Bad Request", "seconds must be a number\n", method, keep)
            return

        def answer() -> None:
            self._waiting = None
            self._answer("200 OK", f"{self._name}\n", method, keep)
            self._go_on()

        self._waiting = asyncio.get_running_loop().call_later(seconds, answer)

    def _answer(self, status: str, body: str, method: str, keep: bool, header: str = "") -> None:
        assert self._transport is not None
        head = (
            f"HTTP/1.1 {status}\r\nServer: figlina-web\r\nX-Served-By: {self._name}\r\nContent-Type: text/plain\r\n"
            f"Content-Length: {len(body)}\r\nConnection: {'keep-alive' if keep else 'close'}\r\n{header}\r\n"
        )
        self._transport.write((head + (body if method != "HEAD" else "")).encode())
        if not keep:
            self._transport.close()


async def serve(name: str, address: str, http_port: int, https_port: int | None, pem: str | None) -> None:
    """Serve until SIGTERM; `pem` is the certificate with its key."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    servers = [await loop.create_server(lambda: Connection(name), address, http_port, backlog=1024)]
    if https_port is not None and pem is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        servers.append(await loop.create_server(lambda: Connection(name), address, https_port, ssl=context, backlog=1024))
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
