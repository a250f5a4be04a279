"""A member that answers with what reached it, as JSON: the bytes before the request (PROXY), the request's head, and what it knows of TLS.

    tls_member.py PORT [PEM [CA [stay]]]

With a PEM it speaks TLS, with a CA it asks for a certificate; with `stay` a connection lasts for many requests. Standard library only.
"""

from __future__ import annotations

import json
import socket
import ssl
import sys
import threading
from typing import Any


def main() -> None:
    port, *files = sys.argv[1:]
    context = None
    names: list[str | None] = []
    if files:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files[0])
        context.set_alpn_protocols(["http/1.1"])
        context.sni_callback = lambda connection, name, _: names.append(name)
        if files[1:]:
            context.load_verify_locations(files[1])
            context.verify_mode = ssl.CERT_REQUIRED
    listening = socket.create_server(("0.0.0.0", int(port)))
    print("ready", flush=True)
    while True:
        connection, _ = listening.accept()
        threading.Thread(target=_serve, args=(connection, context, names, bool(files[2:])), daemon=True).start()


def _serve(connection: socket.socket, context: ssl.SSLContext | None, names: list[str | None], stays: bool) -> None:
    before = _proxy_header(connection)
    told: dict[str, Any] = {}
    try:
        if context is not None:
            connection = context.wrap_socket(connection, server_side=True)
            certificate: Any = connection.getpeercert() or {}
            subject = dict(pair for part in certificate.get("subject", ()) for pair in part)
            told = {"version": connection.version(), "alpn": connection.selected_alpn_protocol(), "client": subject, "sni": names[-1:]}
        while head := _head(connection):
            body = json.dumps({"before": before.hex(), "head": head, "tls": told}).encode()
            ending = b"" if stays else b"Connection: close\r\n"
            connection.sendall(b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n%b" % (ending, len(body), body))
            if not stays:
                break
        _hear_out(connection)
    except OSError:
        pass
    connection.close()


def _head(connection: socket.socket) -> list[str]:
    """The lines of a request's head; none: there is no further request."""
    received = b""
    while b"\r\n\r\n" not in received:
        if not (part := connection.recv(65536)):
            return []
        received += part
    return received.decode("latin-1").split("\r\n\r\n")[0].split("\r\n")


def _hear_out(connection: socket.socket) -> None:
    """Read what is still sent: to close before resets the connection, and the answer may be lost with it (RFC 9112, section 9.6)."""
    connection.settimeout(5)
    connection.shutdown(socket.SHUT_WR)
    while connection.recv(65536):
        pass


def _proxy_header(connection: socket.socket) -> bytes:
    """Of the PROXY protocol's second version, if there is one: 16 bytes, of which the last two are the length of the rest."""
    if connection.recv(12, socket.MSG_PEEK) != b"\r\n\r\n\0\r\nQUIT\n":
        return b""
    head = connection.recv(16, socket.MSG_WAITALL)
    return head + connection.recv(int.from_bytes(head[14:], "big"), socket.MSG_WAITALL)


if __name__ == "__main__":
    main()
