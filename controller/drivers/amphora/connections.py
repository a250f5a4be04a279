"""Connections to agents: mutual TLS, kept open, and made only to the amphora that is meant."""

from __future__ import annotations

import collections
import errno
import os
import socket
import ssl
import threading
from collections.abc import Iterator

import urllib3

from controller import answers
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


_POOL = answers.pools(most=8 * 1024 * 1024)["https"]
"""Whose answers end: with all that is not their body, which has a bound of its own."""

_NO_CHECK_TIME = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME of OpenSSL, which the `ssl` module has no name for."""


def tls_context(server_roots: bytes, client_certificate_path: str, *, any_time: bool = False) -> ssl.SSLContext:
    """How a controller speaks to agents: only the deployment's roots are trusted, and names are those in subject alternative names.

    With `any_time`, a certificate may have run out, or not have begun: everything else about it is checked as always.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.hostname_checks_common_name = False
    context.load_verify_locations(cadata=server_roots.decode())
    context.load_cert_chain(client_certificate_path)
    if any_time:
        context.verify_flags |= _NO_CHECK_TIME
    return context


def is_out_of_time(error: BaseException) -> bool:
    """Whether a connection failed for this alone: the agent's certificate has run out, or has not begun."""
    return any(isinstance(one, ssl.SSLCertVerificationError) and one.verify_code in _OUT_OF_TIME for one in _chain(error))


def is_distrust(error: BaseException) -> bool:
    """Whether a connection failed because one side does not believe the other: somebody is there, but we can't talk."""
    return any(isinstance(one, ssl.SSLCertVerificationError) or (isinstance(one, ssl.SSLError) and _is_alert(one)) for one in _chain(error))


def endless(error: BaseException) -> answers.Endless | None:
    """The error in this one that says that an answer was longer than any that an agent gives."""
    return next((one for one in _chain(error) if isinstance(one, answers.Endless)), None)


def is_refusal(error: BaseException) -> bool:
    """Whether the machine is there, and nobody listens."""
    return any(isinstance(one, ConnectionRefusedError) for one in _chain(error))


def own_trouble(error: BaseException) -> str | None:
    """What this machine lacks to open a connection, in its kernel's words; None: nothing, so the failure tells of the other side."""
    lacks = next((one.errno for one in _chain(error) if isinstance(one, OSError) and one.errno in _OWN_TROUBLE), None)
    return None if lacks is None else os.strerror(lacks)


_OWN_TROUBLE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
_OUT_OF_TIME = (9, 10)  # X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED


def _is_alert(error: ssl.SSLError) -> bool:
    return "ALERT" in (error.reason or "") and any(word in (error.reason or "") for word in ("CERTIFICATE", "UNKNOWN_CA", "BAD_CERT"))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what it was made from; urllib3 hands that on as an argument."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        waiting += [one.__cause__, one.__context__, *(argument for argument in one.args if isinstance(argument, BaseException))]


class Connections:
    """One small pool of connections per amphora; those of the amphorae that were asked least recently are closed."""

    def __init__(self, context: ssl.SSLContext, port: int, limit: int) -> None:
        self._context = context
        self._port = port
        self._limit = limit
        self._lock = threading.Lock()
        self._pools: collections.OrderedDict[tuple[str, str], urllib3.HTTPConnectionPool] = collections.OrderedDict()

    def to(self, amphora: Amphora, address: str) -> urllib3.HTTPConnectionPool:
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

    def forget(self, amphora_id: str) -> None:
        """Close the connections to an amphora that nobody is using; the next request shakes hands anew."""
        with self._lock:
            for key in [key for key in self._pools if key[0] == amphora_id]:
                self._pools.pop(key).close()

    def certificate_of(self, amphora_id: str, address: str, timeout: float) -> bytes:
        """The certificate (DER) that an agent shows to a connection of now.

        :raises OSError: there is none, or it is not believed.
        """
        with (
            socket.create_connection((address, self._port), timeout) as connection,
            self._context.wrap_socket(connection, server_hostname=amphora_id) as secured,
        ):
            return secured.getpeercert(binary_form=True) or b""

    def close(self) -> None:
        """Close every connection that nobody is using."""
        with self._lock:
            for pool in self._pools.values():
                pool.close()
            self._pools.clear()

    def _open(self, amphora_id: str, address: str) -> urllib3.HTTPConnectionPool:
        return _POOL(
            address,
            self._port,
            maxsize=2,  # an update and a health question may meet
            ssl_context=self._context,
            server_hostname=amphora_id,  # OpenSSL checks it, as the context says; urllib3's `assert_hostname` would switch that off
            retries=False,
            socket_options=_SOCKET_OPTIONS,
        )
