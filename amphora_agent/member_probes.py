"""Probes of members, on one thread inside the tenant's namespace.

A datagram tells of a member only if something comes back: the refusal of a closed port (ICMP), or that nobody has the address, which the
kernel finds out in three seconds. So what is heard until the next check counts, however late it comes, and for all who check that place:
a machine refuses one sender once a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import errno
import logging
import random
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Sequence, Set

from amphora_agent import attentive_loop, outages, sctp, system
from amphora_agent.member_checks import Place, Target
from amphora_agent.protocol import datagrams

LOG = logging.getLogger(__name__)
_SILENCE = 0.3
"""Seconds of silence after the first datagram that count as a good sign until more is known."""
_AWAY = 4.0
"""Seconds for which a machine counts as away that could not be reached: so long it takes the kernel to find that out again."""
_PAUSE = 0.85
"""Seconds at least between two datagrams to one place: less than the shortest interval of a check."""
_AT_ONCE, _A_SECOND = 6.0, 0.8
"""Refusals that a machine has for one sender at once, and in a second (net.ipv4.icmp_ratelimit: 1; the rest is for who dies next)."""
_SPREAD = 0.1
"""By this share at most an interval is longer or shorter, so that checks of one machine do not keep the same order."""
_OWN_TROUBLE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EAGAIN})
"""Errors that tell nothing of a member."""
_LONGEST_LINE = 4096
_PROBE = b"\0"  # a service may take an empty datagram for the end
_BUFFER = 16 * 1024 * 1024  # bytes: datagrams to thousands of machines that are away wait in it
_IP_RECVERR, _IPV6_RECVERR = 11, 25  # linux/in.h, linux/in6.h: also what is no final error is told
_SO_ATTACH_FILTER = 26  # asm-generic/socket.h, as the next two
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
_BPF_RETURN = 0x06  # linux/bpf_common.h, as the next three: take so many bytes of what comes in
_BPF_HEADER_OF_IP, _BPF_LOAD, _BPF_IS = 0xB1, 0x40, 0x15  # X: its length; A: the word that begins X bytes behind; whether A is that
_ASK_AGAIN = 1.0
"""Seconds after which an INIT without an answer is sent again (RTO.Initial of RFC 9260, section 16)."""
_EPHEMERAL = range(49152, 65536)
"""Ports (RFC 6335, section 6)."""


class Probes:
    """The thread, from its making on. `take` is told on it what each probe has found."""

    def __init__(self, namespace: str, take: Callable[[Target, bool], None]) -> None:
        self._namespace, self._take = namespace, take
        self._tasks: dict[Target, asyncio.Task[None]] = {}  # of the thread alone, as the next one
        self._datagrams = _Datagrams()
        self._loop = attentive_loop.AttentiveLoop()
        threading.Thread(target=self._run, name="member-probes", daemon=True).start()

    def arrange(self, targets: Set[Target], at_once: Set[Target]) -> None:
        """Probe these from now on, and no others; the first time `at_once`, or within a second."""
        self._loop.call_soon_threadsafe(self._arrange, targets, at_once)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        if self._namespace:
            system.move_to_namespace(self._namespace)
        self._loop.run_forever()

    def _arrange(self, targets: Set[Target], at_once: Set[Target]) -> None:
        for target in self._tasks.keys() - targets:
            self._tasks.pop(target).cancel()
        self._datagrams.forget_all_but({target.place for target in targets})
        for target in targets - self._tasks.keys():
            self._tasks[target] = self._loop.create_task(self._probe(target, target in at_once))

    async def _probe(self, target: Target, at_once: bool) -> None:
        delay, trouble = target.check.delay, outages.Outage(LOG, f"The check of {target.address} port {target.port}")
        await asyncio.sleep(random.uniform(0, 0.05 if at_once else min(1.0, delay)))  # noqa: S311  (not all at the same moment)
        since = time.monotonic() - _PAUSE  # what others have just heard
        while True:
            if target.check.type == datagrams.UDP_CONNECT:
                await self._datagrams.turn(target.place)
            began = time.monotonic()
            try:
                async with asyncio.timeout(target.check.timeout):  # not wait_for: it may lose a cancellation (Python 3.11)
                    good = await self._check(target, since)
                trouble.over()
            except (OSError, TimeoutError, ValueError) as exc:
                LOG.debug("%s port %s: %s", *target.place, exc)
                good = False
                if isinstance(exc, OSError) and exc.errno in _OWN_TROUBLE:
                    trouble.met(exc)
                    good = None
            since = time.monotonic()
            if good is not None:
                self._take(target, good)
            spread = random.uniform(1 - _SPREAD, 1 + _SPREAD)  # noqa: S311
            await asyncio.sleep(max(0.1, delay * spread - (time.monotonic() - began)))

    async def _check(self, target: Target, since: float) -> bool:
        """Check once; `since`: when the last one ended.

        :raises OSError, ValueError: the member does not answer as it should.
        """
        match target.check.type:
            case datagrams.UDP_CONNECT:
                return await self._datagrams.probe(target, since)
            case datagrams.HTTP:
                return await _http(target)
            case datagrams.SCTP:
                return await _sctp(target)
            case _:
                return await _connect(target)


async def _connect(target: Target) -> bool:
    with _socket(target, socket.SOCK_STREAM) as sock:
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


async def _sctp(target: Target) -> bool:
    """Whether an INIT is answered by an INIT ACK (RFC 9260, section 5.1). That is the end of it: the member keeps nothing as yet."""
    loop, port, tag = asyncio.get_running_loop(), random.choice(_EPHEMERAL), random.randrange(1, 1 << 32)  # noqa: S311
    asking = sctp.Packet(port, target.port, 0, (sctp.beginning(sctp.INIT, tag),)).pack()
    with _socket(target, socket.SOCK_RAW, sctp.PROTOCOL) as sock:
        _take_only(sock, _from_port_to_port(sock.family, target.port, port))
        _tell_errors(sock)
        sock.connect((target.address, 0))
        ask_at = loop.time()
        while True:
            await asyncio.sleep(0)  # or whoever sends without end would let nobody else be checked
            try:
                if loop.time() >= ask_at:
                    ask_at = loop.time() + _ASK_AGAIN
                    _ask(sock, asking)
                async with asyncio.timeout_at(ask_at):
                    packet = await loop.sock_recv(sock, _LONGEST_LINE)
            except TimeoutError:
                continue
            except OSError:
                if _speak_of(asking, sock):
                    raise
                continue
            with contextlib.suppress(ValueError):  # nonsense
                answer = sctp.parse(packet if ":" in target.address else packet[(packet[0] & 0x0F) * 4 :])
                if answer.tag != tag:
                    continue
                first = answer.chunks[0]
                if first.type == sctp.INIT_ACK:
                    _ask(sock, sctp.Packet(port, target.port, sctp.tag_of(first), (sctp.Chunk(sctp.ABORT),)).pack())
                    return True
                if first.type == sctp.ABORT:
                    return False


def _ask(sock: socket.socket, packet: bytes) -> None:
    """Send it, whatever is heard meanwhile of what others have sent to that machine.

    :raises OSError: it could not be sent, or is refused.
    """
    for last in (False, False, True):
        try:
            sock.send(packet)
            return
        except OSError as exc:
            if _speak_of(packet, sock) or last or exc.errno in _OWN_TROUBLE:
                raise


def _speak_of(packet: bytes, sock: socket.socket) -> bool:
    """Whether one of the errors that have come is of this INIT: what ICMP quotes has its ports and tags (RFC 9260, section 10, ICMP7).

    A raw socket hears of all packets that anybody has sent to that machine.
    """
    found = False
    with contextlib.suppress(BlockingIOError):
        while True:
            quoted, *_ = sock.recvmsg(64, 512, socket.MSG_ERRQUEUE)
            found |= (quoted[:8], quoted[16:20]) == (packet[:8], packet[16:20])
    return found


@dataclasses.dataclass(slots=True)
class _Heard:
    """What was heard of one place (address and port); times are monotonic."""

    sent_at: float = float("-inf")
    refused_at: float = float("-inf")
    away_until: float = float("-inf")
    paid: bool = False  # its next refusal is one of those that its machine was asked for


class _Machine:
    """Refusals that one has left for us, who may ask several of its ports."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()  # whoever waits for one first gets it first
        self._left, self._at = _AT_ONCE, time.monotonic()

    def change(self, by: float) -> float:
        """What is left now."""
        now = time.monotonic()
        self._left = max(0.0, min(_AT_ONCE, self._left + (now - self._at) * _A_SECOND + by))
        self._at = now
        return self._left


class _Datagrams:
    """Members that are sent datagrams, from one socket for each version of IP: an error names the place that the datagram was sent to,
    and each datagram leaves by the route and with the source address that is right at that moment.
    """

    def __init__(self) -> None:
        self._socks: dict[int, socket.socket] = {}
        self._heard: dict[Place, _Heard] = {}
        self._machines: dict[str, _Machine] = {}  # that have refused

    def forget_all_but(self, places: Set[Place]) -> None:
        for place in self._heard.keys() - places:
            del self._heard[place]
        for address in self._machines.keys() - {address for address, _ in places}:
            del self._machines[address]

    async def turn(self, place: Place) -> None:
        """Wait until the machine can refuse again, if this place has refused the last datagram: silence would say nothing."""
        heard, machine = self._heard.get(place), self._machines.get(place[0])
        if heard is None or machine is None or heard.refused_at < heard.sent_at:
            return
        async with machine.lock:
            while machine.change(0) < 1.0:
                await asyncio.sleep(0.05)
            machine.change(-1.0)
            heard.paid = True

    async def probe(self, target: Target, since: float) -> bool:
        """Whether nothing that was heard `since` then, or of the last datagram, says that nobody is there.

        :raises OSError: it could not be sent, which tells nothing of the member.
        """
        heard = self._heard.setdefault(target.place, _Heard())
        if time.monotonic() >= heard.sent_at + _PAUSE:
            self._send(target, heard)
        await asyncio.sleep(min(_SILENCE, target.check.timeout / 2))
        if heard.paid:
            heard.paid = False
            if (machine := self._machines.get(target.address)) is not None:
                machine.change(1.0)  # it had no need of it
        return heard.refused_at < min(since, heard.sent_at) and time.monotonic() > heard.away_until

    def _send(self, target: Target, heard: _Heard) -> None:
        family = socket.AF_INET6 if ":" in target.address else socket.AF_INET
        sock = self._socks.get(family) or self._open(target, family)
        now = time.monotonic()
        for last in (False, False, True):
            self._hear(sock)  # or an error that another place has caused would be taken for this one's
            try:
                sock.sendto(_PROBE, target.place)
                break
            except OSError as exc:
                if exc.errno in _OWN_TROUBLE:
                    raise
                if last:
                    heard.refused_at = now
        heard.sent_at = now

    def _open(self, target: Target, family: int) -> socket.socket:
        sock = _socket(target, socket.SOCK_DGRAM)
        _tell_errors(sock)
        _take_only(sock, [(_BPF_RETURN, 0, 0, 0)])  # what members say is thrown away unheard
        for forced in (_SO_SNDBUFFORCE, _SO_RCVBUFFORCE):
            with contextlib.suppress(PermissionError):  # without the right to, it is large enough for some hundred
                sock.setsockopt(socket.SOL_SOCKET, forced, _BUFFER)
        asyncio.get_running_loop().add_reader(sock, self._hear, sock)
        self._socks[family] = sock
        return sock

    def _hear(self, sock: socket.socket) -> None:
        """Take note of the errors that have come."""
        with contextlib.suppress(BlockingIOError):
            while True:
                _, ancillary, _, (address, port, *_) = sock.recvmsg(1, 512, socket.MSG_ERRQUEUE)
                heard = self._heard.get((address, port))
                if heard is None:
                    continue
                heard.refused_at = time.monotonic()
                # It begins with a number of errno(3), whatever the version of IP (struct sock_extended_err, linux/errqueue.h).
                errors = {int.from_bytes(content[:4], sys.byteorder) for _, _, content in ancillary}
                if errors & {errno.EHOSTUNREACH, errno.ENETUNREACH}:
                    heard.away_until = heard.refused_at + _AWAY
                elif heard.paid:
                    heard.paid = False
                else:
                    self._machines.setdefault(address, _Machine()).change(-1.0)
        sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)  # one for which there was no room any more


def _socket(target: Target, kind: int, protocol: int = 0) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in target.address else socket.AF_INET, kind, protocol)
    sock.setblocking(False)
    return sock


def _tell_errors(sock: socket.socket) -> None:
    """Have the kernel tell all that it hears of what was sent, and quote it."""
    level, option = (socket.IPPROTO_IPV6, _IPV6_RECVERR) if sock.family == socket.AF_INET6 else (socket.IPPROTO_IP, _IP_RECVERR)
    sock.setsockopt(level, option, 1)


def _take_only(sock: socket.socket, what: Sequence[tuple[int, int, int, int]]) -> None:
    """A filter of classic BPF: the code of each instruction, how many to jump over if it is true and if not, and its operand."""
    import ctypes  # few amphorae have a use for it

    program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *one) for one in what))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", len(what), ctypes.addressof(program)))


def _from_port_to_port(family: int, source: int, destination: int) -> list[tuple[int, int, int, int]]:
    """Takes nothing else. A raw socket of IPv4 is shown the header of IP, too."""
    header = [(_BPF_HEADER_OF_IP, 0, 0, 0)] if family == socket.AF_INET else []
    return [
        *header,
        (_BPF_LOAD, 0, 0, 0),
        (_BPF_IS, 0, 1, source << 16 | destination),
        (_BPF_RETURN, 0, 0, _LONGEST_LINE),
        (_BPF_RETURN, 0, 0, 0),
    ]
