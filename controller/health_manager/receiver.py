"""UDP socket -> verified beats and reports. No database, no waiting: a batch is drained until the socket is empty, then verified.

Under overload the kernel's buffer is the only queue, and the newest beat of each amphora in a batch wins: older ones are not even
verified. The receiver measures what it loses (the kernel's count of drops) and how late it runs, so that the watcher knows when silence
means nothing.
"""

import collections
import dataclasses
import itertools
import logging
import select
import socket
import struct
import threading
from collections.abc import Collection, Sequence
from typing import Self

from amphora_agent.protocol import heartbeat
from controller import clock as clocks
from controller import outages
from controller.health_manager import replay

LOG = logging.getLogger(__name__)

_SO_RCVBUFFORCE = 33
_SO_MEMINFO = 55  # nine numbers of the kernel's; the last one counts the datagrams that found the buffer full
_MEMINFO = struct.Struct("9I")
_BATCH = 4096
_BATCH_BYTES = 32 * 1024 * 1024
_BEAT = bytes([heartbeat.BEAT])
_EMPTY_BEAT = heartbeat.HEADER_SIZE + heartbeat.SIGNATURE_SIZE
_MOST_COUNTS = 20_000  # of pools and members of one amphora, while nobody takes them
_POLL = 0.2
_GATHER = 0.1
_ASK_AGAIN = 1.0  # seconds between two requests for a report of the same amphora
_ASKS_PER_SECOND = 1000  # requests in all: a restarted manager must not be buried in reports
_STRANGERS = 1000  # amphorae, not heard yet, whose time is so wrong that they are asked before they are believed

Datagram = tuple[bytes, replay.Address]


@dataclasses.dataclass(frozen=True, slots=True)
class Received:
    """A whole report, still compressed, or the counters of a beat; `digest` is equal while nothing but counters differs."""

    digest: bytes
    body: bytes


@dataclasses.dataclass(slots=True)
class Batch:
    """What was heard since the last look, by amphora id, so that it is bounded while nobody takes it.

    `fresh` are amphorae that this manager has never heard before, or not since they booted; `cramped` those whose report was larger than
    they were allowed. `counters` are of beats that came after the newest whole report, `counts` of pools and members, by their ids.
    """

    fresh: dict[str, replay.Sender] = dataclasses.field(default_factory=dict)
    heard: dict[str, replay.Sender] = dataclasses.field(default_factory=dict)
    reports: dict[str, Received] = dataclasses.field(default_factory=dict)
    counters: dict[str, Received] = dataclasses.field(default_factory=dict)
    counts: dict[str, dict[bytes, bytes]] = dataclasses.field(default_factory=dict)
    cramped: dict[str, replay.Sender] = dataclasses.field(default_factory=dict)

    def add(self, later: Self) -> None:
        """What was heard after this."""
        self.fresh |= later.fresh
        self.heard |= later.heard
        self.reports |= later.reports
        self.counters = {key: one for key, one in self.counters.items() if key not in later.reports} | later.counters
        for amphora_id, counts in later.counts.items():
            known = self.counts.setdefault(amphora_id, {})
            known.update(counts)
            for key in list(itertools.islice(known, max(0, len(known) - _MOST_COUNTS))):
                del known[key]
        self.cramped |= later.cramped


@dataclasses.dataclass(frozen=True, slots=True)
class Load:
    """How the receiver fared in a window of time: the longest delay of its loop in seconds, datagrams taken, datagrams lost."""

    lag: float
    received: int
    dropped: int


@dataclasses.dataclass(slots=True)
class _Turn:
    """What one look at the socket brought, and when that was by both clocks."""

    monotonic: float
    wall: float
    batch: Batch = dataclasses.field(default_factory=Batch)


class Receiver:
    """One socket, one thread (`run`); `take` and `load` may be called from others.

    `deployment_keys` all verify. A beat is handed on at most once in `record_interval` seconds per amphora; reports and fresh
    amphorae at once. `load_window` seconds are remembered of how it fared, and a report that is older tells nothing.
    """

    def __init__(
        self,
        sock: socket.socket,
        deployment_keys: Sequence[bytes],
        *,
        record_interval: float = 1.0,
        time_window: float = 300.0,
        load_window: float = 60.0,
        clock: clocks.Clock = clocks.SYSTEM,
    ) -> None:
        self._socket = sock
        self._clock = clock
        self._keys = tuple(deployment_keys)
        self._record_interval = record_interval
        self._time_window = time_window
        self._senders: dict[bytes, replay.Sender] = {}
        self._strangers: collections.OrderedDict[bytes, replay.Sender] = collections.OrderedDict()
        self._assemblies = replay.Assemblies()
        self._batch = Batch()
        self._news = threading.Condition()
        self._urgent = False
        self._asks: collections.deque[float] = collections.deque(maxlen=_ASKS_PER_SECOND)
        self._samples: collections.deque[tuple[float, float, int, int]] = collections.deque()
        self._load_window = load_window
        self._last_turn = clock.monotonic()
        self._worst_gap = 0.0
        self._logged_at = float("-inf")
        self.received = 0
        self.skipped = 0  # beats that a newer one of the same amphora made superfluous
        self.rejected: collections.Counter[str] = collections.Counter()
        self._sample(self._last_turn)

    @property
    def port(self) -> int:
        """The UDP port on which it hears: the one that was asked for, or that the system chose for 0."""
        return int(self._socket.getsockname()[1])

    def run(self, stop: threading.Event) -> None:
        """Take in what comes, until told to stop; whatever fails in a turn is logged."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        self._last_turn = self._clock.monotonic()
        outage = outages.Outage(LOG, "The receiver of heartbeats")
        while not stop.is_set():
            poll.poll(_POLL * 1000)
            outage.outlives(self.turn)  # without a pause: whoever is not received is taken for dead
        self.wake()

    def turn(self) -> int:
        """Take what the socket holds; how many datagrams that were."""
        started = self._clock.monotonic()
        self._worst_gap = max(self._worst_gap, started - self._last_turn - _POLL)
        self._last_turn = started
        waiting, count = self._drain()
        if count:
            self._take_all(waiting, started)
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
        now = self._clock.monotonic()
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
        """When an amphora was last heard here, by the monotonic clock; None if never."""
        sender = self._senders.get(id_bytes(amphora_id))
        return None if sender is None else sender.heard_at

    def falling_silent(self, after: float, before: float) -> list[str]:
        """Amphorae that were last heard here between two times. Looks at the whole fleet: only for when somebody is to be judged."""
        return [sender.amphora_id for sender in list(self._senders.values()) if after < sender.heard_at < before]

    def allow(self, amphora_id: str, room: int) -> None:
        """Say how many bytes the report of an amphora may have, compressed, for all that its load balancer is made of."""
        sender = self._senders.get(id_bytes(amphora_id))
        if sender is not None:
            sender.room = max(room, replay.ROOM)

    def prune(self, before: float) -> None:
        """Forget amphorae that were not heard since a time: they are gone, or will introduce themselves again."""
        for amphora_id, sender in list(self._senders.items()):
            if sender.heard_at < before:
                self._senders.pop(amphora_id, None)

    def _drain(self) -> tuple[dict[bytes, list[Datagram]], int]:
        """What the socket holds, by the amphora that it claims to come from, in the order of arrival."""
        waiting: dict[bytes, list[Datagram]] = {}
        receive, count, room = self._socket.recvfrom, 0, _BATCH_BYTES
        try:
            while count < _BATCH and room > 0:
                datagram: Datagram = receive(65535)
                count += 1
                room -= len(datagram[0])
                waiting.setdefault(datagram[0][4:20], []).append(datagram)
        except BlockingIOError:
            pass
        except OSError as exc:
            LOG.warning("The heartbeat socket reports: %s", exc)
        return waiting, count

    def _take_all(self, waiting: dict[bytes, list[Datagram]], now: float) -> None:
        turn = _Turn(now, self._clock.wall())
        for datagrams in waiting.values():
            if len(datagrams) == 1:
                self._try(datagrams[0], turn)
                continue
            plain = [item for item in datagrams if _is_plain(item[0])]
            for item in datagrams:
                if not _is_plain(item[0]):
                    self._try(item, turn)
            for place, item in enumerate(reversed(plain), 1):  # the newest that proves true is enough
                if self._try(item, turn):
                    self.skipped += len(plain) - place
                    break
        if turn.batch.fresh or turn.batch.heard or turn.batch.reports or turn.batch.counts or turn.batch.cramped:
            self._publish(turn)

    def _try(self, item: Datagram, turn: _Turn) -> bool:
        """Take a datagram, or count it as refused."""
        try:
            self._take(*item, turn)
        except heartbeat.Rejected as exc:
            self._reject(str(exc), item[1], turn.monotonic)
            return False
        return True

    def _take(self, datagram: bytes, address: replay.Address, turn: _Turn) -> None:
        now = turn.monotonic
        sender = self._senders.get(datagram[4:20])
        if sender is None:
            sender, header, body = self._introduce(datagram, address, turn)
            turn.batch.fresh[sender.amphora_id] = sender
            answer = False
        else:
            header, body = self._verify(sender, datagram)
            answer = bool(sender.nonce) and sender.answers(header, body, now)
            if not answer:
                self._check(sender, header, body, address, turn)
            try:
                is_new_boot = sender.admit(header, answer)
            except replay.UnknownBoot:
                self._ask(sender, header, address, now)
                raise
            if is_new_boot:
                turn.batch.fresh[sender.amphora_id] = sender
        doubtful = sender.hear(header, answer, now, turn.wall)
        if now - sender.queued_at >= self._record_interval:
            sender.queued_at = now
            turn.batch.heard[sender.amphora_id] = sender
        if header.kind == heartbeat.REPORT:
            self._take_report(sender, header, body, turn)
        elif header.kind == heartbeat.COUNTS:
            counts = turn.batch.counts.setdefault(sender.amphora_id, {})
            counts.update(itertools.islice(heartbeat.decode_counts(body), sender.room // heartbeat.COUNT_SIZE))
        elif header.sequence == sender.newest:
            if header.digest != sender.digest or (doubtful and body):
                self._ask(sender, header, address, now)
            if header.digest == sender.digest and heartbeat.NONCE_SIZE < len(body) <= sender.room:
                turn.batch.counters[sender.amphora_id] = Received(header.digest, body[heartbeat.NONCE_SIZE :])

    def _introduce(self, datagram: bytes, address: replay.Address, turn: _Turn) -> tuple[replay.Sender, heartbeat.Header, bytes]:
        amphora_id = heartbeat.sender(datagram)
        text = heartbeat.id_text(amphora_id)
        key, header, body = replay.introduce(datagram, self._keys, text)
        sender = self._strangers.get(amphora_id) or replay.Sender(text, key)
        answer = sender.answers(header, body, turn.monotonic)
        if not answer:
            self._check(sender, header, body, address, turn, stranger=True)
        sender.admit(header)
        sender.hear(header, answer, turn.monotonic, turn.wall)
        self._senders[amphora_id] = sender
        self._strangers.pop(amphora_id, None)
        return sender, header, body

    def _verify(self, sender: replay.Sender, datagram: bytes) -> tuple[heartbeat.Header, bytes]:
        try:
            return heartbeat.unpack(datagram, sender.key)
        except heartbeat.Rejected:
            if len(self._keys) == 1:
                raise
            sender.key, header, body = replay.introduce(datagram, self._keys, sender.amphora_id)
            return header, body

    def _check(
        self, sender: replay.Sender, header: heartbeat.Header, body: bytes, address: replay.Address, turn: _Turn, stranger: bool = False
    ) -> None:
        if header.kind == heartbeat.REPORT_WANTED:
            raise heartbeat.Rejected("a request for a report, sent to a manager")
        if sender.is_of_now(header, turn.monotonic, turn.wall, self._time_window):
            return
        if body and header.kind == heartbeat.BEAT:  # it can answer, and show by that that only its clock is wrong
            if stranger:
                self._strangers[header.amphora_id] = sender
                while len(self._strangers) > _STRANGERS:
                    self._strangers.popitem(last=False)
            self._ask(sender, header, address, turn.monotonic)
        raise heartbeat.Rejected("its time is outside the window: a replay, or a clock that is wrong")

    def _take_report(self, sender: replay.Sender, header: heartbeat.Header, body: bytes, turn: _Turn) -> None:
        now, first = turn.monotonic, header.sequence - header.part
        if first < sender.report_sequence:
            return
        if now - sender.heard_at > self._load_window:
            raise heartbeat.Rejected("a report that is too old to tell how things are")
        try:
            whole = body if header.parts == 1 and len(body) <= sender.room else self._assemblies.add(sender, header, body, now)
        except replay.Cramped:
            turn.batch.cramped[sender.amphora_id] = sender
            raise
        if whole is None:
            return
        if not sender.may_report(now):
            raise heartbeat.Rejected("reports of one amphora come too fast")
        sender.report_sequence, sender.digest = first, header.digest
        turn.batch.reports[sender.amphora_id] = Received(header.digest, whole)

    def _ask(self, sender: replay.Sender, header: heartbeat.Header, address: replay.Address, now: float) -> None:
        """Ask for a full report and a beat that answers: no report is known, the state is another one by now, or its clock is in doubt."""
        if now - sender.asked_at < _ASK_AGAIN:
            return
        if len(self._asks) == _ASKS_PER_SECOND and now - self._asks[0] < 1.0:
            return
        self._asks.append(now)
        number = sender.challenge(now)
        wanted = heartbeat.Header(heartbeat.REPORT_WANTED, header.amphora_id, header.boot_id, header.sequence, self._clock.wall(), number)
        try:
            self._socket.sendto(heartbeat.pack(wanted, b"", sender.key), address)
        except OSError as exc:
            LOG.debug("Amphora %s could not be asked for a report: %s", sender.amphora_id, exc)

    def _publish(self, turn: _Turn) -> None:
        urgent = sum(sender.is_urgent(turn.monotonic) for sender in turn.batch.fresh.values()) > 0  # each one is to be asked
        with self._news:
            self._batch.add(turn.batch)
            self._bound(turn.batch.counts)
            self._urgent |= urgent
            if urgent or turn.batch.reports:
                self._news.notify_all()

    def _bound(self, amphora_ids: Collection[str]) -> None:
        """Nobody claims to have more pools and members than its room holds, whatever its datagrams say: what is older goes."""
        for amphora_id in amphora_ids:
            counts, most = self._batch.counts[amphora_id], self._senders[id_bytes(amphora_id)].room // heartbeat.COUNT_SIZE
            for key in list(counts)[: max(0, len(counts) - most)]:
                del counts[key]

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
        self._assemblies.expire(monotonic)


def _is_plain(datagram: bytes) -> bool:
    """Whether it is a beat that answers nothing, so that a newer one makes it superfluous."""
    if datagram[3:4] != _BEAT:
        return False
    if len(datagram) == _EMPTY_BEAT:
        return True
    return datagram[heartbeat.HEADER_SIZE : heartbeat.HEADER_SIZE + heartbeat.NONCE_SIZE] == heartbeat.NO_ANSWER


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
