"""Sends requests that no browser sends, each on a connection of its own, and prints how many they were; standard library only.

hostile_client.py ADDRESS PORT
"""

from __future__ import annotations

import contextlib
import socket
import sys

_HEADER = b"GET /p HTTP/1.1\r\nHost: a\r\n%b: %b\r\n\r\n"
_BYTES = [bytes([number]) for number in range(1, 256) if number not in b"\r\n"]
REQUESTS = (
    *(_HEADER % (b"User-Agent", b"x%by" % one) for one in _BYTES),
    *(_HEADER % (name, one * 5000) for name in (b"User-Agent", b"Referer") for one in (b"\x01", b'"', b"\\", b"\xff", "🏺".encode())),
    *(b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n" % (one * 3000) for one in (b'"', b"\\", b"\x80", b"%", b"'", b"{", b"/")),
    b"GET /p HTTP/1.1\r\nHost: " + b'"\\' * 500 + b"\r\n\r\n",
    b'GET /a?b="},{"x":"%[env(HOME)]%ci HTTP/1.1\r\nHost: a\r\nUser-Agent: %{+Q}[src] $HOME "\r\n\r\n',
    _HEADER % (b"Referer", b"\xed\xa0\x80\xf4\x90\x80\x80"),
    *(b"%b /p HTTP/1.1\r\nHost: a\r\n\r\n" % one for one in (b'G"T', b"G\\T", b"G'T", b"X" * 3000)),
    *(b"GET / HTTP/%b\r\n\r\n" % one for one in (b"1.0", b"9.9", b'1.1"')),
    b"GET /\r\n",
    b"\0\0\0\r\n\r\n",
    b"GAR\0BAGE\"'\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    b'GET http://h"/x HTTP/1.1\r\nHost: x\r\n\r\n',
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET / HTTP/1.1\r\n: x\r\n\r\n",
)


def main() -> None:
    address, port = sys.argv[1:]
    for request in REQUESTS:
        with contextlib.suppress(OSError), socket.create_connection((address, int(port)), timeout=20) as connection:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass
    print(len(REQUESTS))


if __name__ == "__main__":
    main()
