"""Clients that begin something and don't end it, hundreds at once, in one thread."""

from __future__ import annotations

import contextlib
import dataclasses
import selectors
import socket
import threading
import time
from collections.abc import Iterator

_POST = b"POST /v2/lbaas/loadbalancers HTTP/1.1\r\nHost: slow\r\nContent-Type: application/json\r\n"


@dataclasses.dataclass(frozen=True)
class Kind:
    """What a client sends at once, and what of it each second from then on, again and again."""

    first: bytes
    drip: bytes = b""
    may_be_answered: bool = True  # False: it has not sent anything that could be refused


KINDS = {
    "body shorter than its length": Kind(_POST + b'Content-Length: 1000\r\n\r\n{"load'),
    "large body shorter than its length": Kind(_POST + b"Content-Length: 900000\r\n\r\n" + b" " * 200_000),
    "unfinished headers": Kind(b"GET / HTTP/1.1\r\nHost: slow\r\nAccept: applic"),
    "unfinished request line": Kind(b"GET /v2/lbaas/loadbal"),
    "public GET whose body is missing": Kind(b"GET / HTTP/1.1\r\nHost: slow\r\nContent-Length: 10\r\n\r\n"),
    "chunked body that never ends": Kind(_POST + b"Transfer-Encoding: chunked\r\n\r\n", b"5\r\n     \r\n"),
    "one byte of the headers per second": Kind(b"GET / HTTP/1.1\r\nHost: slow\r\nX-A: ", b"a"),
    "one byte of the body per second": Kind(_POST + b"Content-Length: 1000\r\n\r\n", b" "),
    "empty lines": Kind(b"\r\n", b"\r\n", may_be_answered=False),
    "silence": Kind(b"", may_be_answered=False),
    "unfinished request after a whole one": Kind(b"GET / HTTP/1.1\r\nHost: slow\r\n\r\nGET / HT"),
}


@dataclasses.dataclass
class Outcome:
    """What a client saw: all that was sent to it, and when the connection ended, in seconds from its beginning."""

    heard: bytes = b""
    ended_after: float | None = None

    @property
    def status(self) -> int | None:
        """Of the last answer."""
        last = self.heard.rpartition(b"HTTP/1.1 ")[2][:3]
        return int(last) if last.isdigit() else None


class Siege:
    """Clients of one kind."""

    def __init__(self, port: int, kind: Kind, count: int, host: str = "127.0.0.1") -> None:
        self._address = (host, port)
        self._kind = kind
        self._selector = selectors.DefaultSelector()
        self._left: dict[socket.socket, tuple[Outcome, float]] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="siege", daemon=True)
        self.outcomes = [self._begin() for _ in range(count)]

    def _begin(self) -> Outcome:
        client, outcome = socket.create_connection(self._address, timeout=30), Outcome()
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):  # it may be refused before all of it was read
            client.sendall(self._kind.first)
        client.setblocking(False)
        self._left[client] = outcome, time.monotonic()
        self._selector.register(client, selectors.EVENT_READ)
        return outcome

    def start(self) -> None:
        """Go on, in the background."""
        self._thread.start()

    def wait(self, timeout: float) -> bool:
        """Until the server has ended all connections; False if it did not in time."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def close(self) -> None:
        """Go away."""
        self._over.set()
        self._thread.join()
        for client in self._left:
            client.close()
        self._selector.close()

    def _run(self) -> None:
        next_drip = time.monotonic() + 1
        while self._left and not self._over.is_set():
            for key, _ in self._selector.select(0.2):
                self._hear(key.fileobj)  # type: ignore[arg-type]
            if self._kind.drip and time.monotonic() > next_drip:
                next_drip += 1
                for client in list(self._left):
                    with contextlib.suppress(OSError):
                        client.send(self._kind.drip)

    def _hear(self, client: socket.socket) -> None:
        outcome, since = self._left[client]
        try:
            heard = client.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            heard = b""
        outcome.heard += heard
        if not heard:
            outcome.ended_after = time.monotonic() - since
            self._selector.unregister(client)
            del self._left[client]
            client.close()


@contextlib.contextmanager
def besieged(port: int, kinds: dict[str, Kind], count: int) -> Iterator[dict[str, Siege]]:
    """`count` clients of each kind, until the block ends."""
    sieges = {name: Siege(port, kind, count) for name, kind in kinds.items()}
    for siege in sieges.values():
        siege.start()
    try:
        yield sieges
    finally:
        for siege in sieges.values():
            siege.close()
