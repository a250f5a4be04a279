"""Takes syslog messages and writes each as one line to a file; standard library only.

    log_target.py PROTOCOL ADDRESS PORT FILE [PEM]

PROTOCOL is UDP, TCP, TLS (with a PEM), or DEAF, which takes connections of TCP and never reads. Messages of a connection stand
behind their length (RFC 6587, section 3.4.1). A handshake that fails is the line `no handshake`.
"""

from __future__ import annotations

import contextlib
import pathlib
import socket
import ssl
import sys
import threading
import time


def _hold(_: socket.socket) -> None:
    time.sleep(3600)


def main() -> None:
    protocol, address, port, file, *pem = sys.argv[1:]
    kind = socket.SOCK_DGRAM if protocol == "UDP" else socket.SOCK_STREAM
    listening = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20 if protocol == "UDP" else 4096)
    listening.bind((address, int(port)))
    written = pathlib.Path(file)
    if protocol == "UDP":
        print("ready", flush=True)
        while True:
            _write(written, listening.recv(65536).rstrip(b"\n"))
    context = None
    if pem:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem[0])
    listening.listen()
    print("ready", flush=True)
    while True:
        connection, _ = listening.accept()
        if protocol == "DEAF":
            threading.Thread(target=_hold, args=(connection,), daemon=True).start()
        else:
            threading.Thread(target=_serve, args=(connection, context, written), daemon=True).start()


def _serve(connection: socket.socket, context: ssl.SSLContext | None, file: pathlib.Path) -> None:
    if context is not None:
        try:
            connection = context.wrap_socket(connection, server_side=True)
        except OSError:
            return _write(file, b"no handshake")
    received = b""
    with contextlib.suppress(OSError):
        while part := connection.recv(65536):
            received += part
            while (length := received.partition(b" ")[0]).isdigit() and len(received) > (end := len(length) + 1 + int(length)):
                _write(file, received[len(length) + 1 : end])
                received = received[end:]
            if len(received) == len(length) + 1 + int(length or b"0"):
                _write(file, received[len(length) + 1 :])
                received = b""
    return None


def _write(file: pathlib.Path, message: bytes) -> None:
    with file.open("ab") as out:
        out.write(message + b"\n")


if __name__ == "__main__":
    main()
