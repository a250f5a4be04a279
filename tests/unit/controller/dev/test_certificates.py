"""Certificates of the web servers of `figlina dev`."""

from __future__ import annotations

import pathlib
import socket
import ssl
import threading

from controller.dev import certificates


def test_strict_checks_accept_a_web_servers_certificate(tmp_path: pathlib.Path) -> None:
    """Python's default from 3.13 on."""
    path = certificates.ensure_self_signed(tmp_path / "web.pem", "web-1", "198.19.64.11")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(path)
    client = ssl.create_default_context(cafile=path)
    client.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
    here, there = socket.socketpair()
    thread = threading.Thread(target=lambda: server.wrap_socket(there, server_side=True).close())
    thread.start()
    with client.wrap_socket(here, server_hostname="web-1") as connection:
        assert connection.getpeercert()
    thread.join(10)
