"""What a manager remembers of each amphora that beats, which of its datagrams are new, and how old they are.

**Age.** What counts as life is the moment at which a datagram was sent, not the one at which it came: whoever keeps datagrams back, or
plays captured ones to a manager that has just started, must gain nothing. Sequences show what a manager has had already; how old the rest
is takes knowing how far the amphora's clock differs from ours, and it may differ by hours. So the manager asks: a request carries a number
that nobody has seen before, and the beat that repeats it was sent after the request. From then on the difference of the clocks is known,
and each datagram's own time tells its age, whatever is done to the wall clock of either side.

Until it has answered (and for ever, if the way back is blocked, or the agent is of a version that does not know of this), a datagram is as
old as the wall clocks of both sides differ. So whoever plays captured ones wins no more than the amphora's clock was ahead.
"""

import dataclasses
import hmac
import os

from amphora_agent.protocol import heartbeat

_WINDOW = 64  # datagrams that may overtake one another
_MASK = (1 << _WINDOW) - 1
_PARTS = 64
"""Parts that a report may have in any case; a larger room makes it more, see `most_parts`."""
ROOM = 256 * 1024
"""Bytes of a report (compressed) of an amphora whose load balancer has not been looked up yet."""

_ANSWER_WITHIN = 5.0
"""Seconds for the answer to a request: what is kept back for longer proves nothing, because it would make all that follows look younger."""
_DOUBTFUL_AGE = 2.0
"""Seconds of age from which an amphora is asked again: its clock may have been set back."""
_REPORT_EVERY = 0.2
_REPORTS_AT_ONCE = 20
_URGENT_EVERY = 1.0

Address = tuple[str, int]


class Cramped(heartbeat.Rejected):
    """A report that is larger than its amphora is allowed: more may have been added to its load balancer since."""


class UnknownBoot(heartbeat.Rejected):
    """A datagram of a boot that may be an earlier one: its amphora is to be asked."""


@dataclasses.dataclass(slots=True, eq=False)
class Sender:
    """One amphora. Written by the receiver's thread only; times are the manager's monotonic clock's, unless they say otherwise."""

    amphora_id: str
    key: bytes
    room: int = ROOM  # bytes of its reports, compressed; set by whoever has looked at the rows
    boot_id: bytes = b""
    newest: int = -1
    seen: int = 0  # bit n: `newest - n` has been taken
    sent_at: float = 0.0  # by the amphora's own clock
    offset: float | None = None  # our monotonic clock minus the amphora's clock, once it is proven
    heard_at: float = float("-inf")
    queued_at: float = float("-inf")  # when its beat was last handed to the recorder
    urgent_at: float = float("-inf")  # when it was last handed on as fresh at once
    digest: bytes = b""  # of the newest whole report
    report_sequence: int = -1
    reports_until: float = float("-inf")  # the time that its reports have used up, see `may_report`
    asked_at: float = float("-inf")
    nonce: bytes = b""

    def admit(self, header: heartbeat.Header, answer: bool = False) -> bool:
        """Take note of a verified datagram, whichever order the network delivered it in; tells whether it begins a new boot.

        `answer` if it is known to have been sent just now.

        :raises heartbeat.Rejected: it has been taken before, it is too old to tell, or it belongs to an earlier boot.
        """
        if header.boot_id != self.boot_id:
            # Who has answered once has to here: of two boots, either may have had the wrong time.
            if self.boot_id and not answer and (self.offset is not None or header.sent_at <= self.sent_at):
                raise UnknownBoot("replay: of another boot, and not known to be a newer one")
            self.boot_id, self.newest, self.seen, self.report_sequence = header.boot_id, header.sequence, 1, -1
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

    def hear(self, header: heartbeat.Header, answer: bool, monotonic: float, wall: float) -> bool:
        """Take the datagram as a sign of life of the moment at which it was sent; tells whether that moment is in doubt."""
        behind = monotonic - header.sent_at
        if answer:
            self.offset, self.nonce = behind, b""
        if self.offset is None:
            heard_at, doubtful = monotonic - abs(wall - header.sent_at), True
        else:
            if behind < self.offset:
                self.offset = behind  # it came by a quicker way, or the amphora's clock was set forward
            heard_at, doubtful = header.sent_at + self.offset, behind - self.offset > _DOUBTFUL_AGE
        if heard_at > self.heard_at:
            self.heard_at = heard_at
        return doubtful

    def answers(self, header: heartbeat.Header, body: bytes, monotonic: float) -> bool:
        """Whether this is a beat that repeats the number that its amphora was sent last, in time."""
        if not self.nonce or not body or header.kind != heartbeat.BEAT or monotonic - self.asked_at > _ANSWER_WITHIN:
            return False
        return hmac.compare_digest(body, self.nonce)

    def is_of_now(self, header: heartbeat.Header, monotonic: float, wall: float, window: float) -> bool:
        """Whether the time of a datagram is near enough to ours, as far as the difference of the clocks is known."""
        behind = wall - header.sent_at if self.offset is None else monotonic - header.sent_at - self.offset
        return abs(behind) <= window  # false for what is no number

    def challenge(self, now: float) -> bytes:
        """A number for a request, that nobody can know before."""
        self.asked_at, self.nonce = now, os.urandom(heartbeat.NONCE_SIZE)
        return self.nonce

    def may_report(self, now: float) -> bool:
        """Whether another report may be taken: a burst of them, and then one at a time, far more than an honest agent sends."""
        used = max(self.reports_until, now) + _REPORT_EVERY
        if used - now > _REPORT_EVERY * _REPORTS_AT_ONCE:
            return False
        self.reports_until = used
        return True

    def is_urgent(self, now: float) -> bool:
        """Whether its new boot is worth waking somebody for: not if it has a new one all the time."""
        if now - self.urgent_at < _URGENT_EVERY:
            return False
        self.urgent_at = now
        return True


@dataclasses.dataclass(slots=True, eq=False)
class Assembly:
    """A report in parts. Its parts bear consecutive sequences, so boot and `first` (the sequence of part 0) tell reports apart."""

    boot_id: bytes
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
        """The parts that have come, in their order: the whole report once all are there."""
        return b"".join(body for body in self.bodies if body is not None)


class Assemblies:
    """Unfinished reports: one per amphora, none larger than the amphora's room, none older than `expiry`, `budget` bytes in all.

    Beyond the budget the oldest go. Parts of an honest report come together, so its assembly is young; and one amphora holds one
    assembly, so nobody takes more than the own share by beginning another one.
    """

    def __init__(self, expiry: float = 5.0, budget: int = 64 * 1024 * 1024) -> None:
        self._expiry = expiry
        self._budget = budget
        self._open: dict[str, Assembly] = {}  # by amphora id, the oldest first
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._open)

    @property
    def size(self) -> int:
        """Bytes that unfinished reports hold."""
        return self._bytes

    def add(self, sender: Sender, header: heartbeat.Header, body: bytes, now: float) -> bytes | None:
        """Take a part; the whole report when this was its last one.

        :raises heartbeat.Rejected: more parts or bytes than a report of this amphora may have, or the part does not fit the others.
        """
        if header.parts > most_parts(sender.room):
            raise (Cramped if header.parts <= most_parts(heartbeat.MAX_REPORT) else heartbeat.Rejected)("a report of too many parts")
        assembly = self._of(sender.amphora_id, header, now)
        if assembly is None:
            return None
        if assembly.size + len(body) > sender.room:
            self._drop(sender.amphora_id)
            raise Cramped("a report is larger than all that its load balancer has")
        before = assembly.size
        whole = assembly.put(header.part, body)
        self._bytes += assembly.size - before
        if whole:
            self._drop(sender.amphora_id)
            return assembly.body()
        self.expire(now)
        return None

    def expire(self, now: float) -> None:
        """Drop what is too old, and the oldest beyond the budget."""
        while self._open:
            amphora_id, assembly = next(iter(self._open.items()))
            if now - assembly.started_at <= self._expiry and self._bytes <= self._budget:
                return
            self._drop(amphora_id)

    def _of(self, amphora_id: str, header: heartbeat.Header, now: float) -> Assembly | None:
        first = header.sequence - header.part
        assembly = self._open.get(amphora_id)
        if assembly is not None and assembly.boot_id == header.boot_id:
            if assembly.first > first:
                return None  # a part of an older report: the newer one counts
            if assembly.first == first:
                if len(assembly.bodies) != header.parts or assembly.digest != header.digest:
                    raise heartbeat.Rejected("this part does not fit the others of its report")
                return assembly
        self._drop(amphora_id)
        begun = self._open[amphora_id] = Assembly(header.boot_id, first, header.digest, now, [None] * header.parts)
        return begun

    def _drop(self, amphora_id: str) -> None:
        if (assembly := self._open.pop(amphora_id, None)) is not None:
            self._bytes -= assembly.size


def most_parts(room: int) -> int:
    """Parts of a report of so many bytes: each part that is awaited takes memory, too, and an honest agent fills all but the last one."""
    return max(_PARTS, -(-room // heartbeat.MAX_PART))


def introduce(datagram: bytes, deployment_keys: tuple[bytes, ...], id_text: str) -> tuple[bytes, heartbeat.Header, bytes]:
    """Verify a datagram with each key of the deployment in turn: the amphora's key, the header, the body.

    :raises heartbeat.Rejected: none fits, or the datagram is malformed.
    """
    refusal = heartbeat.Rejected("no key")
    for key in (heartbeat.derive_key(one, id_text) for one in deployment_keys):
        try:
            return key, *heartbeat.unpack(datagram, key)
        except heartbeat.Rejected as exc:
            refusal = exc
    raise refusal
