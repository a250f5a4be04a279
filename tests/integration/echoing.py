"""A member that sends back what it gets, byte by byte: `echoing.py ADDRESS PORT`. Standard library only."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading


def main() -> None:
    address, port = sys.argv[1:]
    listening = socket.create_server((address, int(port)), backlog=128)
    print("ready", flush=True)
    while True:
        threading.Thread(target=_echo, args=(listening.accept()[0],), daemon=True).start()


def _echo(connection: socket.socket) -> None:
    with contextlib.suppress(OSError), connection:
        while part := connection.recv(65536):
            connection.sendall(part)


if __name__ == "__main__":
    main()
