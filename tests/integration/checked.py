"""A member that health checks come to: each of its ports answers one kind of check only, and says what came.

    checked.py ADDRESS FOLDER < list of `Port`s as JSON

Standard library only. What came to a port stands in `FOLDER/<port>`, one JSON object (`Came`) in each line, none twice.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import pathlib
import selectors
import socket
import ssl
import sys
import threading

_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"  # of the PROXY protocol's version 2 (its specification, section 2.2)


@dataclasses.dataclass(frozen=True)
class Port:
    """Where a member listens, and what it asks of a check before it answers."""

    number: int
    proxy: int = 0  # version of the PROXY protocol; 0: none
    pem: str | None = None  # of whom speaks TLS: the file with certificate and key
    code: int = 200


@dataclasses.dataclass(frozen=True)
class Came:
    """What one check said."""

    proxy: int = 0
    tls: bool = False
    server_name: str | None = None
    request: str | None = None
    host: str | None = None


class _Member:
    def __init__(self, port: Port, folder: pathlib.Path) -> None:
        self._port, self._file = port, folder / str(port.number)
        self._came: set[Came] = set()
        self._names = threading.local()
        self._context: ssl.SSLContext | None = None
        if port.pem:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(port.pem)
            self._context.sni_callback = lambda _connection, name, _context: setattr(self._names, "last", name)

    def serve(self, connection: socket.socket) -> None:
        connection.settimeout(5)
        came = Came()
        with contextlib.suppress(OSError, IndexError, ValueError), contextlib.closing(connection):
            try:
                came = dataclasses.replace(came, proxy=_proxy(connection))
                if came.proxy != self._port.proxy:
                    return
                is_tls = connection.recv(1, socket.MSG_PEEK) == b"\x16"
                came = dataclasses.replace(came, tls=is_tls)
                if is_tls != (self._context is not None):
                    return
                if self._context is not None:
                    self._names.last = None
                    connection = self._context.wrap_socket(connection, server_side=True)
                    came = dataclasses.replace(came, server_name=self._names.last)
                came = self._answer(connection, came)
            finally:
                self._note(came)

    def _answer(self, connection: socket.socket, came: Came) -> Came:
        received = b""
        while b"\r\n\r\n" not in received:
            part = connection.recv(65536)
            if not part:
                return came
            received += part
        first, *rest = received.decode("latin-1").split("\r\n\r\n")[0].split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
        connection.sendall(b"HTTP/1.1 %d As Told\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % self._port.code)
        return dataclasses.replace(came, request=first, host=fields.get("host"))

    def _note(self, came: Came) -> None:
        if came not in self._came:
            self._came.add(came)
            with self._file.open("a") as file:
                file.write(json.dumps(dataclasses.asdict(came)) + "\n")


def _proxy(connection: socket.socket) -> int:
    """The version of the PROXY header that a connection begins with, which is taken off."""
    began = connection.recv(12, socket.MSG_PEEK)
    if began == _SIGNATURE:
        head = connection.recv(16, socket.MSG_WAITALL)
        connection.recv(int.from_bytes(head[14:], "big"), socket.MSG_WAITALL)
        return 2
    if not began.startswith(b"PROXY "):
        return 0
    while connection.recv(1) not in (b"\n", b""):
        pass
    return 1


def heard(folder: pathlib.Path, number: int) -> set[Came]:
    """What came to a port."""
    with contextlib.suppress(FileNotFoundError):
        return {Came(**json.loads(line)) for line in (folder / str(number)).read_text().splitlines()}
    return set()


def main() -> None:
    address, folder = sys.argv[1:]
    waiting = selectors.DefaultSelector()
    for values in json.load(sys.stdin):
        port = Port(**values)
        listening = socket.create_server((address, port.number), backlog=64)
        waiting.register(listening, selectors.EVENT_READ, _Member(port, pathlib.Path(folder)))
    print("ready", flush=True)
    while True:
        for key, _ in waiting.select():
            assert isinstance(key.fileobj, socket.socket)
            threading.Thread(target=key.data.serve, args=(key.fileobj.accept()[0],), daemon=True).start()


if __name__ == "__main__":
    main()
