"""UDP socket -> verified beats and reports. No database, no waiting: a batch is drained until the socket is empty, then verified.

Under overload the kernel's buffer is the only queue, and the newest beat of each amphora in a batch wins: older ones are not even
verified. The receiver measures what it loses (the kernel's count of drops) and how late it runs, so that the watcher knows when silence
means nothing.
"""

from __future__ import annotations

import collections
import dataclasses
import logging
import select
import socket
import struct
import threading
import time
from collections.abc import Sequence

from amphora_agent.protocol import heartbeat
from controller.health_manager import replay

LOG = logging.getLogger(__name__)

_SO_RCVBUFFORCE = 33
_SO_MEMINFO = 55  # nine numbers of the kernel's; the last one counts the datagrams that found the buffer full
_MEMINFO = struct.Struct("9I")
_BATCH = 4096
_POLL = 0.2
_GATHER = 0.1
_ASK_AGAIN = 1.0  # seconds between two requests for a report of the same amphora
_ASKS_PER_SECOND = 1000  # requests in all: a restarted manager must not be buried in reports

Datagram = tuple[bytes, replay.Address]


@dataclasses.dataclass(frozen=True, slots=True)
class Received:
    """A whole report, still compressed; `digest` is equal while nothing but counters differs."""

    digest: bytes
    body: bytes
    heard_at: float


@dataclasses.dataclass(slots=True)
class Batch:
    """What was heard since the last look. `fresh` are amphorae that this manager has never heard before, or not since they booted."""

    fresh: list[replay.Sender] = dataclasses.field(default_factory=list)
    heard: dict[str, replay.Sender] = dataclasses.field(default_factory=dict)  # by amphora id, so bounded while nobody takes it
    reports: dict[str, Received] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Load:
    """How the receiver fared in a window of time: the longest delay of its loop in seconds, datagrams taken, datagrams lost."""

    lag: float
    received: int
    dropped: int


class Receiver:
    """One socket, one thread (`run`); `take` and `load` may be called from others.

    `deployment_keys` all verify. A beat is handed on at most once in `record_interval` seconds per amphora; reports and fresh
    amphorae at once.
    """

    def __init__(
        self,
        sock: socket.socket,
        deployment_keys: Sequence[bytes],
        *,
        record_interval: float = 1.0,
        time_window: float = 300.0,
        load_window: float = 60.0,
    ) -> None:
        self._socket = sock
        self._keys = tuple(deployment_keys)
        self._record_interval = record_interval
        self._time_window = time_window
        self._senders: dict[bytes, replay.Sender] = {}
        self._assemblies = replay.Assemblies()
        self._batch = Batch()
        self._news = threading.Condition()
        self._urgent = False
        self._asks: collections.deque[float] = collections.deque(maxlen=_ASKS_PER_SECOND)
        self._samples: collections.deque[tuple[float, float, int, int]] = collections.deque()
        self._load_window = load_window
        self._last_turn = time.monotonic()
        self._worst_gap = 0.0
        self._logged_at = 0.0
        self.received = 0
        self.skipped = 0  # beats that a newer one of the same amphora made superfluous
        self.rejected: collections.Counter[str] = collections.Counter()
        self._sample(self._last_turn)

    @property
    def port(self) -> int:
        """The UDP port that is listened on."""
        return int(self._socket.getsockname()[1])

    def run(self, stop: threading.Event) -> None:
        """Receive until told to stop."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        self._last_turn = time.monotonic()
        while not stop.is_set():
            poll.poll(_POLL * 1000)
            try:
                self.turn()
            except Exception:
                LOG.exception("The receiver goes on after an error")
        self.wake()

    def turn(self) -> int:
        """Take what the socket holds; how many datagrams that were."""
        started = time.monotonic()
        self._worst_gap = max(self._worst_gap, started - self._last_turn - _POLL)
        self._last_turn = started
        waiting, count = self._drain()
        if count:
            self._take_all(waiting, time.time())
        self.received += count
        if started - self._samples[-1][0] >= _POLL:
            self._sample(started)
        return count

    def take(self, timeout: float) -> Batch:
        """What was heard since the last call; waits until a new amphora or a report came, or the time is over.

        A new amphora ends the wait at once. Reports are gathered for a moment, so that many cost one transaction.
        """
        with self._news:
            self._news.wait_for(lambda: self._urgent or self._batch.reports, timeout)
            self._news.wait_for(lambda: self._urgent, min(_GATHER, timeout))
            batch, self._batch, self._urgent = self._batch, Batch(), False
            return batch

    def wake(self) -> None:
        """End the wait in `take`."""
        with self._news:
            self._urgent = True
            self._news.notify_all()

    def load(self) -> Load:
        """How it fared in the last `load_window` seconds."""
        now = time.monotonic()
        samples = [sample for sample in list(self._samples) if sample[0] >= now - self._load_window - _POLL]
        late = now - self._last_turn - _POLL
        if not samples:
            return Load(late, 0, 0)
        received, dropped = self.received - samples[0][2], self.dropped - samples[0][3]
        return Load(max(late, *(sample[1] for sample in samples), self._worst_gap), received, dropped)

    @property
    def dropped(self) -> int:
        """Datagrams that the kernel threw away because the buffer was full, since the start."""
        try:
            return int(_MEMINFO.unpack(self._socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size))[8])
        except OSError:
            return 0  # closed, or a kernel before 4.12

    @property
    def fleet(self) -> int:
        """Amphorae that were heard since the start."""
        return len(self._senders)

    def heard_at(self, amphora_id: str) -> float | None:
        """When an amphora was last heard here; None if never."""
        sender = self._senders.get(id_bytes(amphora_id))
        return None if sender is None else sender.heard_at

    def falling_silent(self, after: float, before: float) -> list[str]:
        """Amphorae that were last heard here between two times. Looks at the whole fleet: only for when somebody is to be judged."""
        return [sender.amphora_id for sender in list(self._senders.values()) if after < sender.heard_at < before]

    def prune(self, before: float) -> None:
        """Forget amphorae that were not heard since a time: they are gone, or will introduce themselves again."""
        for amphora_id, sender in list(self._senders.items()):
            if sender.heard_at < before:
                self._senders.pop(amphora_id, None)

    def forget(self, amphora_id: str) -> None:
        """An amphora is gone for good, or its report could not be read: start afresh with it."""
        self._senders.pop(id_bytes(amphora_id), None)

    def _drain(self) -> tuple[dict[bytes, list[Datagram]], int]:
        """What the socket holds, by the amphora that it claims to come from, in the order of arrival."""
        waiting: dict[bytes, list[Datagram]] = {}
        receive, count = self._socket.recvfrom, 0
        try:
            while count < _BATCH:
                datagram: Datagram = receive(65535)
                count += 1
                waiting.setdefault(datagram[0][4:20], []).append(datagram)
        except BlockingIOError:
            pass
        except OSError as exc:
            LOG.warning("The heartbeat socket reports: %s", exc)
        return waiting, count

    def _take_all(self, waiting: dict[bytes, list[Datagram]], now: float) -> None:
        fresh: list[replay.Sender] = []
        heard: list[replay.Sender] = []
        reports: dict[str, Received] = {}
        for datagrams in waiting.values():
            if len(datagrams) > 1:
                datagrams = _worth_verifying(datagrams)
            beat_taken = False
            for datagram, address in datagrams:
                is_beat = datagram[3:4] == b"\x01"
                if is_beat and beat_taken:
                    self.skipped += 1
                    continue
                try:
                    beat_taken |= self._take(datagram, address, now, fresh, heard, reports) and is_beat
                except heartbeat.Rejected as exc:
                    self._reject(str(exc), address, now)
        if fresh or heard or reports:
            self._publish(fresh, heard, reports)

    def _take(
        self,
        datagram: bytes,
        address: replay.Address,
        now: float,
        fresh: list[replay.Sender],
        heard: list[replay.Sender],
        reports: dict[str, Received],
    ) -> bool:
        amphora_id = heartbeat.sender(datagram)
        sender = self._senders.get(amphora_id)
        if sender is None:
            sender, header, body = self._introduce(amphora_id, datagram, now)
            fresh.append(sender)
        else:
            header, body = self._verify(sender, datagram)
            self._check(header, now)
            if sender.admit(header):
                fresh.append(sender)
        sender.heard_at, sender.address = now, address
        if now - sender.queued_at >= self._record_interval:
            sender.queued_at = now
            heard.append(sender)
        if header.kind == heartbeat.REPORT:
            self._take_report(sender, header, body, now, reports)
        elif header.digest != sender.digest and header.sequence == sender.newest:
            self._ask(sender, header, now)
        return True

    def _introduce(self, amphora_id: bytes, datagram: bytes, now: float) -> tuple[replay.Sender, heartbeat.Header, bytes]:
        text = heartbeat.id_text(amphora_id)
        key, header, body = replay.introduce(datagram, self._keys, text)
        self._check(header, now)
        sender = replay.Sender(text, key)
        sender.admit(header)
        self._senders[amphora_id] = sender
        return sender, header, body

    def _verify(self, sender: replay.Sender, datagram: bytes) -> tuple[heartbeat.Header, bytes]:
        try:
            return heartbeat.unpack(datagram, sender.key)
        except heartbeat.Rejected:
            if len(self._keys) == 1:
                raise
            sender.key, header, body = replay.introduce(datagram, self._keys, sender.amphora_id)
            return header, body

    def _check(self, header: heartbeat.Header, now: float) -> None:
        if header.kind == heartbeat.REPORT_WANTED:
            raise heartbeat.Rejected("a request for a report, sent to a manager")
        if not abs(now - header.sent_at) <= self._time_window:
            raise heartbeat.Rejected("its time is outside the window: a replay, or a clock that is wrong")

    def _take_report(self, sender: replay.Sender, header: heartbeat.Header, body: bytes, now: float, reports: dict[str, Received]) -> None:
        whole = body if header.parts == 1 else self._assemblies.add(sender, header, body, now)
        first = header.sequence - header.part
        if whole is None or first < sender.report_sequence:
            return
        sender.report_sequence, sender.digest = first, header.digest
        reports[sender.amphora_id] = Received(header.digest, whole, now)

    def _ask(self, sender: replay.Sender, header: heartbeat.Header, now: float) -> None:
        """Ask for a full report: none is known, or the amphora's state is another one by now."""
        if now - sender.asked_at < _ASK_AGAIN or sender.address is None:
            return
        if len(self._asks) == _ASKS_PER_SECOND and now - self._asks[0] < 1.0:
            return
        sender.asked_at = now
        self._asks.append(now)
        wanted = heartbeat.Header(heartbeat.REPORT_WANTED, header.amphora_id, header.boot_id, header.sequence, now, header.digest)
        try:
            self._socket.sendto(heartbeat.pack(wanted, b"", sender.key), sender.address)
        except OSError as exc:
            LOG.debug("Amphora %s could not be asked for a report: %s", sender.amphora_id, exc)

    def _publish(self, fresh: list[replay.Sender], heard: list[replay.Sender], reports: dict[str, Received]) -> None:
        with self._news:
            self._batch.fresh.extend(fresh)
            self._batch.heard.update((sender.amphora_id, sender) for sender in heard)
            self._batch.reports.update(reports)
            self._urgent |= bool(fresh)
            if fresh or reports:
                self._news.notify_all()

    def _reject(self, reason: str, address: replay.Address, now: float) -> None:
        self.rejected[reason] += 1
        if now - self._logged_at >= 10.0:  # a flood must not fill the log
            self._logged_at = now
            LOG.warning("Datagrams are refused, the last one from %s: %s (so far %s)", address[0], reason, dict(self.rejected))

    def _sample(self, monotonic: float) -> None:
        self._samples.append((monotonic, self._worst_gap, self.received, self.dropped))
        self._worst_gap = 0.0
        while self._samples[0][0] < monotonic - self._load_window - 1:
            self._samples.popleft()
        self._assemblies.expire(time.time())


def _worth_verifying(datagrams: list[Datagram]) -> list[Datagram]:
    """All reports in their order, then the beats, the newest first: the first one that proves true is enough."""
    beats = [item for item in datagrams if item[0][3:4] == b"\x01"]
    return [item for item in datagrams if item[0][3:4] != b"\x01"] + beats[::-1]


def id_bytes(amphora_id: str) -> bytes:
    """The id as datagrams carry it."""
    return bytes.fromhex(amphora_id.replace("-", ""))


def open_socket(address: str, port: int, buffer: int) -> socket.socket:
    """A non-blocking UDP socket with a receive buffer as large as we may have.

    :raises OSError: the address is not ours, or the port is taken.
    """
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        try:
            sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, buffer)
        except PermissionError:
            LOG.info("The heartbeat buffer is bounded by net.core.rmem_max")
        sock.setblocking(False)
        sock.bind((address, port))
    except OSError:
        sock.close()
        raise
    LOG.info("Heartbeats are received on %s, buffer %d bytes", sock.getsockname(), sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF))
    return sock
