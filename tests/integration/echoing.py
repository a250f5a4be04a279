"""A member that sends back what it gets, byte by byte, but for the first one, which it answers with a LETTER of its own:
`echoing.py ADDRESS PORT LETTER`. Standard library only.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import threading


def main() -> None:
    address, port, letter = sys.argv[1:]
    listening = socket.create_server((address, int(port)), backlog=128)
    print("ready", flush=True)
    while True:
        threading.Thread(target=_echo, args=(listening.accept()[0], letter.encode()), daemon=True).start()


def _echo(connection: socket.socket, letter: bytes) -> None:
    with contextlib.suppress(OSError), connection:
        if connection.recv(1):
            connection.sendall(letter)
        while part := connection.recv(65536):
            connection.sendall(part)


if __name__ == "__main__":
    main()
