"""Probes of members, on one thread inside the tenant's namespace.

A datagram tells of a member only if something comes back: the refusal of a closed port (ICMP), or that nobody has the address, which the
kernel finds out in three seconds. So a check by UDP keeps its socket, and what is heard until the next one counts, however late it comes.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import random
import socket
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Set
from typing import Any

from amphora_agent import system
from amphora_agent.member_checks import Key, Target
from amphora_agent.protocol import datagrams

LOG = logging.getLogger(__name__)
_SILENCE = 0.3
"""Seconds of silence after the first datagram that count as a good sign until more is known."""
_AWAY = 4.0
"""Seconds for which a machine counts as away that could not be reached: so long it takes the kernel to find that out again."""
_LONGEST_LINE = 4096
_PROBE = b"\0"  # a service may take an empty datagram for the end
_IP_RECVERR, _IPV6_RECVERR = 11, 25  # linux/in.h, linux/in6.h: also what is no final error is told
_PROTOCOL_SCTP = 132


class Probes:
    """The thread, from its making on. `take` is told on it what each probe has found."""

    def __init__(self, namespace: str, take: Callable[[Key, Target, bool], None]) -> None:
        self._namespace, self._take = namespace, take
        self._tasks: dict[Key, tuple[Target, asyncio.Task[None]]] = {}  # of the thread alone
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._run, name="member-probes", daemon=True).start()

    def arrange(self, targets: Mapping[Key, Target], at_once: Set[Key]) -> None:
        """Probe these from now on, and no others; the first time `at_once`, or within a second."""
        self._loop.call_soon_threadsafe(self._arrange, targets, at_once)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        if self._namespace:
            system.move_to_namespace(self._namespace)
        self._loop.run_forever()

    def _arrange(self, targets: Mapping[Key, Target], at_once: Set[Key]) -> None:
        for key, (target, task) in list(self._tasks.items()):
            if targets.get(key) != target:
                task.cancel()
                del self._tasks[key]
        for key, target in targets.items():
            if key not in self._tasks:
                self._tasks[key] = target, self._loop.create_task(self._probe(key, target, key in at_once))

    async def _probe(self, key: Key, target: Target, at_once: bool) -> None:
        delay = target.check.delay
        await asyncio.sleep(random.uniform(0, 0.05 if at_once else min(1.0, delay)))  # noqa: S311  (not all at the same moment)
        with _prober(target) as probe:
            while True:
                began = time.monotonic()
                try:
                    good = await asyncio.wait_for(probe(), target.check.timeout)
                except (OSError, TimeoutError, ValueError) as exc:
                    LOG.debug("%s port %s: %s", target.address, target.port, exc)
                    good = False
                self._take(key, target, good)
                await asyncio.sleep(max(0.1, delay - (time.monotonic() - began)))


_Probe = Callable[[], Coroutine[Any, Any, bool]]


@contextlib.contextmanager
def _prober(target: Target) -> Iterator[_Probe]:
    """What checks once: true, false, or an error."""
    match target.check.type:
        case datagrams.UDP_CONNECT:
            with contextlib.closing(_Datagrams(target)) as datagrams_to:
                yield datagrams_to.probe
        case datagrams.HTTP:
            yield lambda: _http(target)
        case datagrams.SCTP:
            yield lambda: _connect(target, _PROTOCOL_SCTP)
        case _:
            yield lambda: _connect(target)


async def _connect(target: Target, protocol: int = 0) -> bool:
    with _socket(target, socket.SOCK_STREAM, protocol) as sock:
        await asyncio.get_running_loop().sock_connect(sock, (target.address, target.port))
        return True


async def _http(target: Target) -> bool:
    """The status of one answer (RFC 9112, section 4)."""
    check, loop = target.check, asyncio.get_running_loop()
    host = f"Host: {check.host}\r\n" if check.host else ""
    length = "Content-Length: 0\r\n" if check.method in ("POST", "PUT", "PATCH") else ""
    with _socket(target, socket.SOCK_STREAM) as sock:
        await loop.sock_connect(sock, (target.address, target.port))
        request = f"{check.method} {check.path} HTTP/{check.version}\r\n{host}{length}Connection: close\r\n\r\n"
        await loop.sock_sendall(sock, request.encode("ascii"))
        answer = b""
        while b"\n" not in answer and len(answer) < _LONGEST_LINE and (more := await loop.sock_recv(sock, _LONGEST_LINE)):
            answer += more
    version, _, words = answer.partition(b" ")
    return version.startswith(b"HTTP/1.") and any(first <= int(words[:3]) <= last for first, last in check.codes)


class _Datagrams:
    """A member that is sent datagrams. One socket for all: errors come late."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._sock: socket.socket | None = None
        self._away_until = float("-inf")

    def close(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    async def probe(self) -> bool:
        """Whether nothing that was heard since the last one says that nobody is there."""
        if self._sock is None:
            self._sock = _socket(self._target, socket.SOCK_DGRAM)
            level, option = (socket.IPPROTO_IPV6, _IPV6_RECVERR) if ":" in self._target.address else (socket.IPPROTO_IP, _IP_RECVERR)
            self._sock.setsockopt(level, option, 1)
            self._sock.connect((self._target.address, self._target.port))
        refused = self._hears_errors()
        with contextlib.suppress(BlockingIOError):
            self._sock.send(_PROBE)
        await asyncio.sleep(min(_SILENCE, self._target.check.timeout / 2))
        refused = self._hears_errors() or refused
        return not refused and time.monotonic() > self._away_until

    def _hears_errors(self) -> bool:
        """Whether there were errors since it was asked last. What members say, to which nobody has listened, is thrown away."""
        assert self._sock is not None
        refused = False
        while True:
            try:
                _, ancillary, _, _ = self._sock.recvmsg(2048, 512, socket.MSG_ERRQUEUE)
            except BlockingIOError:
                break
            refused = True
            # It begins with a number of errno(3), whatever the version of IP (struct sock_extended_err, linux/errqueue.h).
            if any(int.from_bytes(content[:4], sys.byteorder) in (errno.EHOSTUNREACH, errno.ENETUNREACH) for _, _, content in ancillary):
                self._away_until = time.monotonic() + _AWAY
        while True:
            try:
                self._sock.recv(2048)
            except BlockingIOError:
                return refused
            except OSError:
                refused = True


def _socket(target: Target, kind: int, protocol: int = 0) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in target.address else socket.AF_INET, kind, protocol)
    sock.setblocking(False)
    return sock
