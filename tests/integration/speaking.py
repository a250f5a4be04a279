"""Members and clients that speak every protocol of the API with real bytes, and tell what arrived.

As a program it is a member: for each content and each version of the PROXY protocol it listens on a port of its own (`port`), and answers
with one JSON object (`Heard`), so that a test sees what came through and what was said of the client. To requests for `/sick` it answers
with status 503, to those for `/login` with a new cookie `session`, to those for `/slow` after `SLOW` seconds. As a module it has the
clients' side.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import hashlib
import ipaddress
import itertools
import json
import secrets
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from controller.dev import processes
from tests.integration import associations

CONTENTS = ("http", "tls", "stream", "datagram", "sctp")
"""What a member gets: HTTP; HTTP within TLS; bytes until the sender has no more; one datagram; a message over SCTP."""
_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"  # of the PROXY protocol's version 2 (its specification, section 2.2)
SECONDS = 10
_SOURCE_PORTS = itertools.cycle(range(20_000, 32_000))
"""Of clients whose packets make a flow by themselves, each another one: from a port of before, they would go where those of before went."""
SLOW = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Heard:
    """What a member got. `peer` is who connected; `proxied` who was said to have connected, to where, by which version of the PROXY
    protocol."""

    member: str
    peer: str
    length: int
    digest: str
    head: dict[str, str] = dataclasses.field(default_factory=dict)
    proxied: tuple[int, str, str, int] | None = None  # version, client's address, its destination's address and port


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def port(content: str, proxy_version: int = 0) -> int:
    """Where a member gets this."""
    return 10000 + 10 * proxy_version + CONTENTS.index(content)


# The member


class _Sender:
    """A connection that somebody opened to a member."""

    def __init__(self, connection: socket.socket, content: str, context: ssl.SSLContext, proxy_version: int) -> None:
        self.peer = str(connection.getpeername()[0])
        self.proxied = {0: lambda _: None, 1: _first_version, 2: _second_version}[proxy_version](connection)
        self._connection = context.wrap_socket(connection, server_side=True) if content == "tls" else connection
        self._content = content

    def hear(self, member: str) -> None:
        """Answer what is sent until there is no more."""
        if self._content == "http" and self._connection.recv(1, socket.MSG_PEEK) == b"\x16":  # TLS where none is due
            return
        if self._content in ("http", "tls"):
            with self._connection.makefile("rb") as requests:
                while (first := requests.readline()) and self._answer_request(member, first.split(), requests):
                    pass
            return
        content = b"".join(iter(lambda: self._connection.recv(65536), b""))
        self._connection.sendall(self._words(member, content))

    def _answer_request(self, member: str, asked: list[bytes], requests: object) -> bool:
        """Whether another request may follow."""
        method, path, *_ = asked
        if method == b"PROXY":  # a header of that protocol where none is due
            return False
        lines: Callable[[], bytes] = requests.readline  # type: ignore[attr-defined]
        fields = [line.decode("latin-1").partition(":") for line in iter(lines, b"\r\n")]
        head = {name.strip().lower(): value.strip() for name, _, value in fields}
        content: bytes = requests.read(int(head.get("content-length", "0")))  # type: ignore[attr-defined]
        words = self._words(member, content, head)
        time.sleep(SLOW if path == b"/slow" else 0)
        status = "503 Sick" if path == b"/sick" else "200 OK"
        cookie = f"Set-Cookie: session={secrets.token_hex(8)}; Path=/\r\n" if path == b"/login" else ""
        first = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{cookie}Content-Length: {len(words)}\r\n\r\n"
        self._connection.sendall(first.encode() + (b"" if method == b"HEAD" else words))
        return head.get("connection") != "close"

    def _words(self, member: str, content: bytes, head: dict[str, str] | None = None) -> bytes:
        return _words(
            Heard(member=member, peer=self.peer, length=len(content), digest=digest(content), head=head or {}, proxied=self.proxied)
        )


def _words(heard: Heard) -> bytes:
    return json.dumps(dataclasses.asdict(heard)).encode()


def _exactly(connection: socket.socket, count: int) -> bytes:
    found = connection.recv(count, socket.MSG_WAITALL)
    if len(found) < count:
        raise ConnectionError("it ended within its PROXY header")
    return found


def _first_version(connection: socket.socket) -> tuple[int, str, str, int] | None:
    """Section 2.1: one line of text."""
    line = b""
    while not line.endswith(b"\r\n") and len(line) < 107:
        line += _exactly(connection, 1)
    words = line.decode("ascii").split()
    if words[:2] == ["PROXY", "UNKNOWN"]:
        return None
    word, _family, source, destination, _source_port, destination_port = words
    if word != "PROXY":
        raise ConnectionError(f"{line!r} is no PROXY header")
    return 1, source, destination, int(destination_port)


def _second_version(connection: socket.socket) -> tuple[int, str, str, int] | None:
    """Section 2.2: a binary head, addresses, and further facts."""
    signature, command, family, length = struct.unpack("!12sBBH", _exactly(connection, 16))
    if signature != _SIGNATURE or command >> 4 != 2:
        raise ConnectionError(f"{signature!r} is no PROXY header")
    rest = _exactly(connection, length)
    if command & 15 == 0:  # LOCAL: a check of the proxy itself
        return None
    size = {1: 4, 2: 16}[family >> 4]
    (destination_port,) = struct.unpack("!H", rest[2 * size + 2 : 2 * size + 4])
    source, destination = (str(ipaddress.ip_address(rest[at : at + size])) for at in (0, size))
    return 2, source, destination, destination_port


def _serve_connections(listening: socket.socket, member: str, content: str, context: ssl.SSLContext, proxy_version: int) -> None:
    def serve(connection: socket.socket) -> None:
        connection.settimeout(60)
        with contextlib.suppress(OSError, ValueError, IndexError), connection:
            sender = _Sender(connection, content, context, proxy_version)
            sender.hear(member)

    while True:
        threading.Thread(target=serve, args=(listening.accept()[0],), daemon=True).start()


def _serve_datagrams(bound: socket.socket, member: str) -> None:
    while True:
        content, sender = bound.recvfrom(65536)
        bound.sendto(_words(Heard(member=member, peer=str(sender[0]), length=len(content), digest=digest(content))), sender)


def _hear_message(member: str, content: bytes, sender: associations.Peer) -> bytes:
    return _words(Heard(member=member, peer=sender[0], length=len(content), digest=digest(content)))


def _bound(address: str, content: str, number: int) -> socket.socket:
    """A socket of a member."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    made = socket.socket(family, socket.SOCK_DGRAM if content == "datagram" else socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind((address, number))
    if content != "datagram":
        made.listen(256)
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Be a member until somebody ends it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("addresses", nargs="+")
    parser.add_argument("--pem", required=True, help="file with certificate and key")
    options = parser.parse_args(arguments)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(options.pem)
    for address, (content, proxy_version) in itertools.product(options.addresses, _offered()):
        _listen(options.name, address, content, proxy_version, context)
    threading.Event().wait()
    return 0


def _listen(member: str, address: str, content: str, proxy_version: int, context: ssl.SSLContext) -> None:
    number = port(content, proxy_version)
    if content == "sctp":
        associations.Endpoint(address, number, functools.partial(_hear_message, member))
        return
    made = _bound(address, content, number)
    if content == "datagram":
        threading.Thread(target=_serve_datagrams, args=(made, member), daemon=True).start()
    else:
        threading.Thread(target=_serve_connections, args=(made, member, content, context, proxy_version), daemon=True).start()


def _offered() -> Iterator[tuple[str, int]]:
    yield from ((content, version) for content in ("http", "tls", "stream") for version in (0, 1, 2))
    yield from (("datagram", 0), ("sctp", 0))


# Its clients


_DATAGRAM = """
import socket, sys
address, number, own = sys.argv[1:]
with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.bind(("", int(own)))
    sock.connect((address, int(number)))
    sock.settimeout(3)
    sock.send(sys.stdin.buffer.read())
    sys.stdout.buffer.write(sock.recv(65536))
"""


def command(client: str, address: str, number: int) -> list[str]:
    """What sends its standard input to a listener and prints what a member answered."""
    host = f"[{address}]" if ":" in address else address
    family = "6" if ":" in address else "4"
    curl = ["curl", "--silent", "--show-error", "--globoff", "--insecure", "--max-time", str(SECONDS), "--data-binary", "@-"]
    match client:
        case "http" | "https":
            return [*curl, f"{client}://{host}:{number}/"]
        case "s_client":
            return ["openssl", "s_client", "-quiet", "-connect", f"{host}:{number}"]
        case "sctp":
            return processes.python("tests.integration.associations", address, str(number), "--from", str(next(_SOURCE_PORTS)))
        case "datagram":
            return [sys.executable, "-c", _DATAGRAM, address, str(number), str(next(_SOURCE_PORTS))]
        case "stream":
            return ["socat", f"-t{SECONDS}", "-", f"TCP{family}:{host}:{number}"]
    raise AssertionError(f"there is no client {client!r}")


def ask(entrance: Sequence[str], client: str, address: str, number: int, content: bytes) -> Heard:
    """Send something from within a namespace, and return what a member says of it.

    :raises AssertionError: nobody answered, or not as a member does.
    """
    sent = content
    if client == "s_client":  # it speaks no HTTP of its own
        sent = b"POST / HTTP/1.1\r\nHost: member\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(content), content)
    asked = subprocess.run([*entrance, *command(client, address, number)], input=sent, capture_output=True, check=False, timeout=60)
    answer = asked.stdout.partition(b"\r\n\r\n")[2] if client == "s_client" else asked.stdout
    try:
        found = json.loads(answer)
    except ValueError:
        raise AssertionError(f"{client} to {address} port {number}: {asked.stdout!r} {asked.stderr!r}") from None
    return Heard(**{**found, "proxied": tuple(found["proxied"]) if found["proxied"] else None})


def answers(entrance: Sequence[str], address: str) -> bool:
    """Whether a member is there, asked from its own namespace: one that is not yet when it is first checked is taken for a dead one."""
    try:
        ask(entrance, "datagram", address, port("datagram"), b"?")
    except AssertionError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
