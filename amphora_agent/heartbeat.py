"""Sends heartbeats: small beats while nothing changes, a full report at once when something does."""

from __future__ import annotations

import dataclasses
import logging
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from amphora_agent import outages
from amphora_agent import report as reports
from amphora_agent.protocol import boot
from amphora_agent.protocol import heartbeat as protocol

LOG = logging.getLogger(__name__)
POLL_INTERVAL = 1.0
SHORTEST_GAP_OF_REQUESTED = 1.0
"""A request for a report may be repeated by anyone who saw it on the wire; this bounds what that costs."""
REST, LONGEST_REST = 3, 0.5
"""So many times as long as a look took nobody looks again, and no longer than so many seconds: to be told of thousands of members takes a
while, and one change after the other would have it done all the time."""
_MANAGERS = 16  # whose requests are answered at once
_COUNTS_SAID = 3
"""So often is a count of a pool or member said, one datagram after another: one that is lost takes no news with it."""


class Counts:
    """What was counted on pools and members: which of it is still to be said. All is said again now and then: managers may have
    been away.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[Sequence[int], bytes, bytes]] = {}  # counters, and how a datagram tells of whom and what
        self._to_say: dict[str, int] = {}  # how often
        self._all_said_at = float("-inf")

    def take(self, counts: Mapping[str, Sequence[int]]) -> None:
        """By ids: totals and open connections, in the order of `protocol.COUNTERS`. What has not an id of the API's is passed over."""
        for name, values in counts.items():
            known = self._known.get(name)
            if known is None or known[0] != values:
                try:
                    key = protocol.id_bytes(name) if known is None else known[1]
                except ValueError:
                    continue
                self._known[name] = values, key, protocol.pack_counters(values)
                self._to_say[name] = _COUNTS_SAID
        for name in self._known.keys() - counts.keys():
            del self._known[name]

    def due(self, now: float, all_interval: float) -> dict[bytes, bytes]:
        """What is to be said now; it counts as said."""
        if now - self._all_said_at >= all_interval:
            self._all_said_at = now
            self._to_say = dict.fromkeys(self._known, 1) | self._to_say
        said = {known[1]: known[2] for name in self._to_say if (known := self._known.get(name)) is not None}
        self._to_say = {name: times - 1 for name, times in self._to_say.items() if times > 1}
        return said


@dataclasses.dataclass(slots=True)
class Memory:
    """What was sent last; `digest` is the newest state's."""

    digest: bytes = b"\0" * 16
    reported_digest: bytes | None = None
    reported_at: float = float("-inf")
    beat_at: float = float("-inf")
    reported_counters: bytes = b""
    sent_counters: bytes = b""


def due(
    memory: Memory,
    digest: bytes,
    now: float,
    interval: float,
    full_interval: float,
    wanted: bool,
    counters: bytes = b"",
    counters_interval: float = float("inf"),
) -> str | None:
    """What is to be sent now: `report`, `beat` or nothing (None). A beat goes earlier if it has news of the counters."""
    if wanted or digest != memory.reported_digest or now - memory.reported_at >= full_interval:
        return "report"
    if counters != memory.sent_counters:
        interval = min(interval, counters_interval)
    return "beat" if now - memory.beat_at >= interval else None


class Heart:
    """Looks at the load balancer once a second and tells the health managers."""

    def __init__(
        self,
        amphora_id: str,
        config: boot.AgentConfig,
        look: Callable[[], Mapping[str, Any] | None],
        before_report: Callable[[], None] = lambda: None,
        open_socket: Callable[[int], socket.socket] | None = None,
    ) -> None:
        self._open_socket = open_socket or _open_socket
        self._look, self._before_report = look, before_report
        self._id = protocol.id_bytes(amphora_id)
        self._boot_id = os.urandom(8)
        self._sequence = 0
        self._memory = Memory()
        self._counts = Counts()
        self._requested = False
        self._questions: dict[bytes, None] = {}  # numbers of requests that wait for an answer
        self._in_doubt = False  # a program does not run or does not answer: it is looked at more often
        self._nudged = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.first_sent = threading.Event()
        self._next: boot.AgentConfig | None = None
        self._sockets: list[tuple[socket.socket, tuple[str, int]]] = []
        self._take(config)

    def tell_of(
        self,
        look: Callable[[], Mapping[str, Any] | None],
        before_report: Callable[[], None],
        open_socket: Callable[[int], socket.socket] | None,
    ) -> None:
        """Report this from now on, and open further sockets like that (None: as before). To be called before `run` only."""
        self._look, self._before_report = look, before_report
        self._open_socket = open_socket or self._open_socket

    def configure(self, config: boot.AgentConfig) -> None:
        """Report by another configuration from the next turn on, which comes at once; may be called from any thread."""
        self._next = config
        self.nudge()

    def nudge(self) -> None:
        """Look again at once, because something has changed."""
        os.eventfd_write(self._nudged, 1)

    def run(self) -> None:
        """Beat for ever; a bad turn is logged and outlived."""
        outage = outages.Outage(LOG, "The heartbeat")
        while True:
            began = time.monotonic()
            try:
                self.turn()
                outage.over()
            except Exception as exc:
                outage.met(exc)
            time.sleep(min(REST * (time.monotonic() - began), LONGEST_REST))
            self._wait(POLL_INTERVAL if self.first_sent.is_set() and not self._in_doubt else 0.2)

    def turn(self) -> None:
        """Look once, and send what is due."""
        if (config := self._next) is not None:
            self._next = None if self._next is config else self._next
            self._take(config)
        looked = self._look()
        if looked is None:
            return  # silence is the message: something that should run does not
        report = reports.without_counts(looked)
        self._in_doubt = not reports.claims_life(report)
        now = time.monotonic()
        self._memory.digest = reports.digest(report)
        if not self._in_doubt:
            self._answer()
        elif self._memory.digest == self._memory.reported_digest:
            return  # told once; from then on silence is the message, until it serves again or is replaced
        requested = self._requested and now - self._memory.reported_at >= SHORTEST_GAP_OF_REQUESTED
        counters, config = protocol.encode_counters(dict(report)), self._config
        kind = due(
            self._memory,
            self._memory.digest,
            now,
            config.heartbeat_interval,
            config.full_report_interval,
            requested,
            counters,
            config.counters_interval,
        )
        if kind is None:
            return
        self._send_counts(looked.get(reports.COUNTS, {}), now)  # first: managers heed the counters of the newest datagram only
        sent = self._send_report(report) if kind == "report" else self._send_beat(counters)
        if not sent:
            return
        self._memory.beat_at, self._memory.sent_counters = now, counters
        if kind == "report":
            self._memory.reported_at, self._memory.reported_digest, self._requested = now, self._memory.digest, False
            self._memory.reported_counters = counters
        self.first_sent.set()

    def _take(self, config: boot.AgentConfig) -> None:
        """Live by a configuration: those who are to hear of us now get a whole report first."""
        self._config = config
        self._key = bytes.fromhex(config.heartbeat_key)
        for sock in {sock for sock, _ in self._sockets}:
            sock.close()
        self._sockets = _sockets(config.health_managers, self._open_socket)
        self._memory.reported_digest = None

    def _answer(self) -> None:
        """Repeat the numbers of requests, each in a beat of its own: so a manager knows that this one was sent after it asked."""
        questions, self._questions = self._questions, {}
        for number in questions:
            self._send(protocol.BEAT, [number])

    def _send_beat(self, counters: bytes) -> bool:
        """With counters as long as they are not those of the last report: so a beat that is lost takes no news with it."""
        news = counters != self._memory.reported_counters
        if news:
            self._before_report()
        return self._send(protocol.BEAT, [protocol.NO_ANSWER + counters if news else protocol.NO_ANSWER])

    def _send_report(self, report: Mapping[str, Any]) -> bool:
        self._before_report()
        return self._send(protocol.REPORT, protocol.encode_report(dict(report)))

    def _send_counts(self, counts: Mapping[str, Sequence[int]], now: float) -> None:
        self._counts.take(counts)
        if said := self._counts.due(now, self._config.full_report_interval):
            self._before_report()
            for body in protocol.encode_counts(said):
                self._send(protocol.COUNTS, [body])

    def _send(self, kind: int, bodies: list[bytes]) -> bool:
        """Whether at least one health manager could be sent to."""
        reached = False
        for part, body in enumerate(bodies):
            self._sequence += 1
            header = protocol.Header(
                kind, self._id, self._boot_id, self._sequence, time.time(), self._memory.digest, part=part, parts=len(bodies)
            )
            datagram = protocol.pack(header, body, self._key)
            for sock, address in self._sockets:
                try:
                    sock.sendto(datagram, address)
                    reached = True
                except OSError as exc:
                    LOG.warning("No heartbeat to %s: %s", address, exc)
        return reached

    def _wait(self, seconds: float) -> None:
        sockets = {sock.fileno(): sock for sock, _ in self._sockets}
        waiting = select.poll()  # select(2) knows no descriptor beyond 1,023
        for descriptor in (*sockets, self._nudged):
            waiting.register(descriptor, select.POLLIN)
        for descriptor, _ in waiting.poll(seconds * 1000):
            if descriptor == self._nudged:
                os.eventfd_read(self._nudged)
            else:
                self._receive(sockets[descriptor])

    def _receive(self, sock: socket.socket) -> None:
        try:
            header, _ = protocol.unpack(sock.recv(2048), self._key)
        except protocol.Rejected as exc:
            LOG.debug("A datagram is ignored: %s", exc)
            return
        except OSError as exc:  # such as "connection refused", by an ICMP answer to a beat
            LOG.debug("%s", exc)
            return
        if header.kind == protocol.REPORT_WANTED and header.amphora_id == self._id:
            self._requested = True
            if len(self._questions) < _MANAGERS:
                self._questions[header.digest] = None


def _open_socket(family: int) -> socket.socket:
    return socket.socket(family, socket.SOCK_DGRAM)


def _sockets(
    managers: tuple[tuple[str, int], ...], open_socket: Callable[[int], socket.socket]
) -> list[tuple[socket.socket, tuple[str, int]]]:
    """One socket per address family, shared by the managers of that family."""
    by_family: dict[int, socket.socket] = {}
    pairs = []
    for address in managers:
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        if family not in by_family:
            sock = open_socket(family)
            sock.setblocking(False)
            by_family[family] = sock
        pairs.append((by_family[family], address))
    return pairs
