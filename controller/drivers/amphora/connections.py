"""Connections to agents: mutual TLS, kept open, and made only to the amphora that is meant."""

from __future__ import annotations

import collections
import socket
import ssl
import threading

import urllib3

from controller.model.amphora import Amphora

_GONE_AFTER = 5
"""Seconds after which a machine that confirms nothing any more is taken for dead, however long its agent may take for an answer."""

_SOCKET_OPTIONS = (
    *urllib3.connection.HTTPConnection.default_socket_options,
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 2),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _GONE_AFTER * 1000),
)


def tls_context(server_roots: bytes, client_certificate_path: str) -> ssl.SSLContext:
    """How a controller speaks to agents: only the deployment's roots are trusted, and names are those in subject alternative names."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.hostname_checks_common_name = False
    context.load_verify_locations(cadata=server_roots.decode())
    context.load_cert_chain(client_certificate_path)
    return context


class Connections:
    """One small pool of connections per amphora; those of the amphorae that were asked least recently are closed."""

    def __init__(self, context: ssl.SSLContext, port: int, limit: int) -> None:
        self._context = context
        self._port = port
        self._limit = limit
        self._lock = threading.Lock()
        self._pools: collections.OrderedDict[tuple[str, str], urllib3.HTTPSConnectionPool] = collections.OrderedDict()

    def to(self, amphora: Amphora, address: str) -> urllib3.HTTPSConnectionPool:
        """The pool to an amphora. Its certificate must bear the amphora's id: an address may have passed to another machine."""
        key = (amphora.id, address)
        with self._lock:
            pool = self._pools.get(key)
            if pool is None:
                pool = self._pools[key] = self._open(amphora.id, address)
                if len(self._pools) > self._limit:
                    # Those who are using the pool just now finish with it: it closes a connection when it is given back.
                    self._pools.popitem(last=False)[1].close()
            self._pools.move_to_end(key)
            return pool

    def close(self) -> None:
        """Close every connection that nobody is using."""
        with self._lock:
            for pool in self._pools.values():
                pool.close()
            self._pools.clear()

    def _open(self, amphora_id: str, address: str) -> urllib3.HTTPSConnectionPool:
        return urllib3.HTTPSConnectionPool(
            address,
            self._port,
            maxsize=2,  # an update and a health question may meet
            ssl_context=self._context,
            server_hostname=amphora_id,  # OpenSSL checks it, as the context says; urllib3's `assert_hostname` would switch that off
            retries=False,
            socket_options=_SOCKET_OPTIONS,
        )
