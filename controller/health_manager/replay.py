"""What a manager remembers of each amphora that beats, and which of its datagrams are new."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from amphora_agent.protocol import heartbeat

_WINDOW = 64  # datagrams that may overtake one another
_MASK = (1 << _WINDOW) - 1
MAX_PARTS = 64

Address = tuple[str, int]


@dataclasses.dataclass(slots=True, eq=False)
class Sender:
    """One amphora. Written by the receiver's thread only; times are seconds since the epoch."""

    amphora_id: str
    key: bytes
    boot_id: bytes = b""
    newest: int = -1
    seen: int = 0  # bit n: `newest - n` has been taken
    sent_at: float = 0.0
    heard_at: float = 0.0
    queued_at: float = 0.0  # when its beat was last handed to the recorder
    address: Address | None = None
    digest: bytes = b""  # of the newest whole report
    report_sequence: int = -1
    asked_at: float = 0.0
    assembly: Assembly | None = None

    def admit(self, header: heartbeat.Header) -> bool:
        """Take note of a verified datagram, whichever order the network delivered it in; tells whether it begins a new boot.

        :raises heartbeat.Rejected: it has been taken before, it is too old to tell, or it belongs to an earlier boot.
        """
        if header.boot_id != self.boot_id:
            if header.sent_at <= self.sent_at:
                raise heartbeat.Rejected("replay: sent before the newest datagram, by another boot")
            self.boot_id, self.newest, self.seen, self.report_sequence, self.assembly = header.boot_id, header.sequence, 1, -1, None
            self.sent_at, self.digest = header.sent_at, b""
            return True
        ahead = header.sequence - self.newest
        if ahead > 0:
            self.seen = ((self.seen << ahead) | 1) & _MASK if ahead < _WINDOW else 1
            self.newest, self.sent_at = header.sequence, max(self.sent_at, header.sent_at)
        elif ahead <= -_WINDOW or self.seen >> -ahead & 1:
            raise heartbeat.Rejected("replay: this sequence was taken before")
        else:
            self.seen |= 1 << -ahead
        return False


@dataclasses.dataclass(slots=True, eq=False)
class Assembly:
    """A report in parts. Its parts bear consecutive sequences, so `first` (the sequence of part 0) tells reports apart."""

    first: int
    digest: bytes
    started_at: float
    bodies: list[bytes | None]
    size: int = 0

    def put(self, part: int, body: bytes) -> bool:
        """Add a part; tells whether the report is whole."""
        if self.bodies[part] is None:
            self.bodies[part] = body
            self.size += len(body)
        return None not in self.bodies

    def body(self) -> bytes:
        """The whole report, still compressed."""
        return b"".join(body for body in self.bodies if body is not None)


class Assemblies:
    """Bounds what unfinished reports may hold: one per amphora, an age, and a total number of bytes."""

    def __init__(self, expiry: float = 5.0, budget: int = 64 * 1024 * 1024) -> None:
        self._expiry = expiry
        self._budget = budget
        self._open: dict[str, Sender] = {}  # the oldest first
        self._bytes = 0

    def add(self, sender: Sender, header: heartbeat.Header, body: bytes, now: float) -> bytes | None:
        """Take a part; the whole report when this was its last one.

        :raises heartbeat.Rejected: more parts than a report may have, or the part does not fit the others.
        """
        if header.parts > MAX_PARTS:
            raise heartbeat.Rejected(f"a report of {header.parts} parts is too large")
        assembly = self._of(sender, header, now)
        if assembly is None:
            return None
        before = assembly.size
        whole = assembly.put(header.part, body)
        self._bytes += assembly.size - before
        if whole:
            self._drop(sender)
            return assembly.body()
        self.expire(now)
        return None

    def expire(self, now: float) -> None:
        """Drop what is too old, and the oldest beyond the budget."""
        while self._open:
            sender = next(iter(self._open.values()))
            assembly = sender.assembly
            if assembly is not None and now - assembly.started_at <= self._expiry and self._bytes <= self._budget:
                return
            self._drop(sender)

    def _of(self, sender: Sender, header: heartbeat.Header, now: float) -> Assembly | None:
        first = header.sequence - header.part
        assembly = sender.assembly
        if assembly is not None and assembly.first > first:
            return None  # a part of an older report: the newer one counts
        if assembly is not None and assembly.first == first:
            if len(assembly.bodies) != header.parts or assembly.digest != header.digest:
                raise heartbeat.Rejected("this part does not fit the others of its report")
            return assembly
        self._drop(sender)
        sender.assembly = Assembly(first, header.digest, now, [None] * header.parts)
        self._open[sender.amphora_id] = sender
        return sender.assembly

    def _drop(self, sender: Sender) -> None:
        self._open.pop(sender.amphora_id, None)
        if sender.assembly is not None:
            self._bytes -= sender.assembly.size
            sender.assembly = None


def introduce(datagram: bytes, deployment_keys: tuple[bytes, ...], id_text: str) -> tuple[bytes, heartbeat.Header, bytes]:
    """Verify a datagram with each key of the deployment in turn: the amphora's key, the header, the body.

    :raises heartbeat.Rejected: none fits, or the datagram is malformed.
    """
    return _first_that_fits([heartbeat.derive_key(key, id_text) for key in deployment_keys], lambda key: heartbeat.unpack(datagram, key))


def _first_that_fits(keys: list[bytes], unpack: Callable[[bytes], tuple[heartbeat.Header, bytes]]) -> tuple[bytes, heartbeat.Header, bytes]:
    refusal = heartbeat.Rejected("no key")
    for key in keys:
        try:
            return key, *unpack(key)
        except heartbeat.Rejected as exc:
            refusal = exc
    raise refusal
