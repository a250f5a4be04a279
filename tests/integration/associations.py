"""An endpoint of SCTP (RFC 9260) on a raw socket, for kernels without sockets of SCTP: associations of one stream and two addresses.

Messages of any length are sent in order and acknowledged; what is lost is sent again, from the first that is missing on. As a program it is
a client: it sends its standard input as one message, and prints the one that comes back.
"""

from __future__ import annotations

import argparse
import contextlib
import enum
import errno
import queue
import random
import secrets
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Sequence

from amphora_agent import sctp

_COOKIE = 7  # a type of parameters (section 3.3.3.1)
_FIRST, _LAST = 2, 1  # flags of DATA (section 3.3.1): the beginning and the end of a message
_T = 1  # of ABORT: the tag is the other side's own, for this one knows none (section 3.3.7)
_PART = 1200  # octets of a message in one packet
_AT_ONCE = 16  # parts that may be unacknowledged
_AGAIN = 0.3  # seconds after which what is not acknowledged is sent again
SECONDS = 10.0
_MASK = 0xFFFFFFFF
_IP_RECVERR, _IPV6_RECVERR = 11, 25  # linux/in.h, linux/in6.h

Peer = tuple[str, int]


class Kind(enum.IntEnum):
    """Types of chunks (section 3.2)."""

    DATA = 0
    INIT = 1
    INIT_ACK = 2
    SACK = 3
    HEARTBEAT = 4
    HEARTBEAT_ACK = 5
    ABORT = 6
    SHUTDOWN = 7
    SHUTDOWN_ACK = 8
    COOKIE_ECHO = 10
    COOKIE_ACK = 11
    SHUTDOWN_COMPLETE = 14


class Association:
    """One, with a peer. Made by `Endpoint`."""

    def __init__(self, endpoint: Endpoint, peer: Peer, tag: int, peer_tag: int) -> None:
        self.peer, self.tag, self.peer_tag = peer, tag, peer_tag
        self._endpoint = endpoint
        self.received: queue.Queue[bytes | None] = queue.Queue()
        """Messages; None: it has ended."""
        self.echo: bytes | None = None  # the cookie that the peer has given
        self.established, self.ended = threading.Event(), threading.Event()
        self.aborted = False
        self._condition = threading.Condition()
        self._next, self._acknowledged = tag, (tag - 1) & _MASK  # TSNs: of the next part, and the last that has arrived
        self._arrived = (peer_tag - 1) & _MASK
        self._sequence = 0
        self._parts: list[bytes] = []

    def send(self, message: bytes) -> None:
        """:raises OSError: it is not acknowledged, or it was aborted."""
        parts = [message[at : at + _PART] for at in range(0, len(message), _PART)]
        first, until = self._next, time.monotonic() + SECONDS
        self._next = (first + len(parts)) & _MASK
        while (done := (self._acknowledged + 1 - first) & _MASK) < len(parts):
            if self.aborted or time.monotonic() > until:
                raise ConnectionAbortedError("the association was aborted" if self.aborted else "nobody acknowledges what was sent")
            for at in range(done, min(done + _AT_ONCE, len(parts))):
                flags = (_FIRST if at == 0 else 0) | (_LAST if at == len(parts) - 1 else 0)
                head = ((first + at) & _MASK).to_bytes(4, "big") + bytes(2) + self._sequence.to_bytes(2, "big") + bytes(4)
                self.say(sctp.Chunk(Kind.DATA, head + parts[at], flags))
            with self._condition:
                wanted = min(done + _AT_ONCE, len(parts))
                self._condition.wait_for(lambda: self.aborted or (self._acknowledged + 1 - first) & _MASK >= wanted, _AGAIN)  # noqa: B023
        self._sequence = (self._sequence + 1) & 0xFFFF

    def receive(self, within: float = SECONDS) -> bytes:
        """The next message.

        :raises OSError: there is none in time, or the association has ended.
        """
        try:
            found = self.received.get(timeout=within)
        except queue.Empty:
            raise TimeoutError("no message has come") from None
        if found is None:
            raise ConnectionAbortedError("the association has ended")
        return found

    def close(self, again: float = _AGAIN) -> None:
        """End it as section 9.2 says, asked for `again` after so many seconds; abort it if the peer does not answer."""
        for _ in range(8):
            if self.ended.is_set():
                break
            self.say(sctp.Chunk(Kind.SHUTDOWN, self._arrived.to_bytes(4, "big")))
            self.ended.wait(again)
        else:
            self.say(sctp.Chunk(Kind.ABORT))
        self._endpoint.forget(self)

    def say(self, *chunks: sctp.Chunk) -> None:
        self._endpoint.send(self.peer, self.peer_tag, *chunks)

    def hear(self, chunk: sctp.Chunk) -> None:
        """What the peer has said."""
        match chunk.type:
            case Kind.INIT_ACK:
                self.peer_tag = sctp.tag_of(chunk)
                self._arrived = (int.from_bytes(chunk.value[12:16], "big") - 1) & _MASK
                self.echo = _parameter(chunk.value[16:], _COOKIE)
                self.say(sctp.Chunk(Kind.COOKIE_ECHO, self.echo))
            case Kind.COOKIE_ECHO:
                self.say(sctp.Chunk(Kind.COOKIE_ACK))
            case Kind.COOKIE_ACK:
                self.established.set()
            case Kind.DATA:
                self._take(chunk)
            case Kind.SACK:
                with self._condition:
                    acknowledged = int.from_bytes(chunk.value[:4], "big")
                    if (acknowledged - self._acknowledged) & _MASK < 1 << 31:
                        self._acknowledged = acknowledged
                    self._condition.notify_all()
            case Kind.HEARTBEAT:
                self.say(sctp.Chunk(Kind.HEARTBEAT_ACK, chunk.value))
            case Kind.SHUTDOWN:
                self.say(sctp.Chunk(Kind.SHUTDOWN_ACK))
            case Kind.SHUTDOWN_ACK:
                self.say(sctp.Chunk(Kind.SHUTDOWN_COMPLETE))
                self._end()
            case Kind.ABORT | Kind.SHUTDOWN_COMPLETE:
                self.aborted = chunk.type == Kind.ABORT
                self._end()

    def _take(self, chunk: sctp.Chunk) -> None:
        if int.from_bytes(chunk.value[:4], "big") == (self._arrived + 1) & _MASK:
            self._arrived = (self._arrived + 1) & _MASK
            self._parts.append(chunk.value[12:])
            if chunk.flags & _LAST:
                self.received.put(b"".join(self._parts))
                self._parts = []
        self.say(sctp.Chunk(Kind.SACK, self._arrived.to_bytes(4, "big") + (1 << 20).to_bytes(4, "big") + bytes(4)))

    def _end(self) -> None:
        self.ended.set()
        self.established.set()
        self.received.put(None)
        with self._condition:
            self._condition.notify_all()
        self._endpoint.forget(self)


class Endpoint:
    """A port of an address. `answer` says what comes back for each message and its sender; without it, new associations are aborted."""

    def __init__(self, address: str, port: int = 0, answer: Callable[[bytes, Peer], bytes] | None = None) -> None:
        self.address, self.port = address, port or random.randrange(49152, 65536)
        self.answer, self.established = answer, 0
        self._known: dict[Peer, Association] = {}
        self._secret = secrets.token_bytes(8)
        self._socket = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_RAW, sctp.PROTOCOL)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024 * 1024)
        self._socket.bind((address, 0))
        self.bytes_in = self.bytes_out = 0  # with the headers of IP, all that came to the address
        self._closed = False
        threading.Thread(target=self._listen, daemon=True).start()

    def __enter__(self) -> Endpoint:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Say nothing any more. Associations are not ended."""
        self._closed = True
        with contextlib.suppress(OSError):  # wakes the thread; a raw socket is never connected
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def connect(self, address: str, port: int, within: float = SECONDS) -> Association:
        """:raises OSError: nobody answers, or they abort it."""
        tag = random.randrange(1, 1 << 32)
        level, option = (socket.IPPROTO_IPV6, _IPV6_RECVERR) if ":" in address else (socket.IPPROTO_IP, _IP_RECVERR)
        self._socket.setsockopt(level, option, 1)
        made = self._known[address, port] = Association(self, (address, port), tag, 0)
        until = time.monotonic() + within
        while not made.established.is_set():
            late = time.monotonic() > until  # is asked for once more: who was stopped may not have heard what has come
            if made.echo is None:
                self.send(made.peer, 0, sctp.beginning(Kind.INIT, tag))
            else:
                made.say(sctp.Chunk(Kind.COOKIE_ECHO, made.echo))
            if not made.established.wait(_AGAIN) and late:
                raise TimeoutError("nobody has established the association")
        if made.aborted:
            raise ConnectionRefusedError("the association is refused")
        return made

    def send(self, peer: Peer, tag: int, *chunks: sctp.Chunk) -> None:
        packet = sctp.Packet(self.port, peer[1], tag, chunks).pack()
        with contextlib.suppress(OSError):  # as if it were lost
            self._socket.sendto(packet, (peer[0], 0))
            self.bytes_out += len(packet) + (40 if ":" in self.address else 20)

    def forget(self, one: Association) -> None:
        if self._known.get(one.peer) is one:
            del self._known[one.peer]

    def _listen(self) -> None:
        while not self._closed:
            try:
                content, sender = self._socket.recvfrom(65536)
            except OSError as exc:
                if exc.errno not in (errno.ENOPROTOOPT, errno.EPROTO):
                    return
                self._hear_of_refusals()
                continue
            if not content:
                return
            self.bytes_in += len(content) + (40 if ":" in self.address else 0)  # of IPv6, the header is not shown
            with contextlib.suppress(ValueError):
                packet = sctp.parse(content if ":" in self.address else content[(content[0] & 15) * 4 :])
                if packet.destination_port == self.port and not self._closed:
                    self._hear((sender[0], packet.source_port), packet)

    def _hear_of_refusals(self) -> None:
        """To be told "protocol unreachable" is as good as an ABORT (section 10, ICMP6)."""
        with contextlib.suppress(OSError):  # there are no more, or this endpoint was closed
            while True:
                refused, *_ = self._socket.recvmsg(64, 512, socket.MSG_ERRQUEUE)  # what was sent (ip(7), IP_RECVERR)
                for one in tuple(self._known.values()):
                    if refused[:4] == struct.pack("!HH", self.port, one.peer[1]):
                        one.hear(sctp.Chunk(Kind.ABORT))

    def _hear(self, peer: Peer, packet: sctp.Packet) -> None:
        known, first = self._known.get(peer), packet.chunks[0]
        if first.type == Kind.INIT:
            peer_tag = sctp.tag_of(first)
            if self.answer is None:
                self.send(peer, peer_tag, sctp.Chunk(Kind.ABORT))
                return
            tag = random.randrange(1, 1 << 32)
            state = self._secret + tag.to_bytes(4, "big") + peer_tag.to_bytes(4, "big") + first.value[12:16]
            cookie = _COOKIE.to_bytes(2, "big") + (4 + len(state)).to_bytes(2, "big") + state
            self.send(peer, peer_tag, sctp.beginning(Kind.INIT_ACK, tag, cookie))
            return
        if first.type == Kind.COOKIE_ECHO and first.value[:8] == self._secret and known is None:
            tag, peer_tag = int.from_bytes(first.value[8:12], "big"), int.from_bytes(first.value[12:16], "big")
            known = self._known[peer] = Association(self, peer, tag, peer_tag)
            self.established += 1
            threading.Thread(target=self._serve, args=(known,), daemon=True).start()
        if known is None or packet.tag != known.tag:
            if known is None and first.type not in (Kind.ABORT, Kind.SHUTDOWN_COMPLETE, Kind.COOKIE_ACK):  # section 8.4
                done = first.type == Kind.SHUTDOWN_ACK
                self.send(peer, packet.tag, sctp.Chunk(Kind.SHUTDOWN_COMPLETE if done else Kind.ABORT, flags=_T))
            elif known is not None and first.type == Kind.ABORT and first.flags & _T and packet.tag == known.peer_tag:
                known.hear(first)
            return
        for chunk in packet.chunks:
            known.hear(chunk)

    def _serve(self, one: Association) -> None:
        with contextlib.suppress(OSError):
            while self.answer is not None:
                one.send(self.answer(one.receive(3600), one.peer))


def _parameter(content: bytes, kind: int) -> bytes:
    """The value of a parameter (section 3.2.1).

    :raises ValueError: there is none of its kind.
    """
    while len(content) >= 4:
        length = int.from_bytes(content[2:4], "big")
        if int.from_bytes(content[:2], "big") == kind:
            return content[4:length]
        content = content[length + -length % 4 :] if length else b""
    raise ValueError(f"no parameter {kind}")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address")
    parser.add_argument("port", type=int)
    parser.add_argument("--from", dest="source_port", type=int, default=0, help="the client's own port; 0: any")
    options = parser.parse_args(arguments)
    with socket.socket(socket.AF_INET6 if ":" in options.address else socket.AF_INET, socket.SOCK_DGRAM) as routed:
        routed.connect((options.address, 9))
        own = routed.getsockname()[0]
    with Endpoint(own, options.source_port) as endpoint:
        one = endpoint.connect(options.address, options.port)
        one.send(sys.stdin.buffer.read())
        sys.stdout.buffer.write(one.receive())
        one.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
