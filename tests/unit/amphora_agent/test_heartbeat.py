"""What is sent when, and that what is sent can be believed."""

from __future__ import annotations

import json
import socket
import uuid
import zlib
from typing import Any

import pytest

from amphora_agent import heartbeat, report
from amphora_agent.protocol import boot
from amphora_agent.protocol import heartbeat as protocol


@pytest.mark.parametrize(
    ("memory", "wanted", "expected"),
    [
        (heartbeat.Memory(), False, "report"),
        (heartbeat.Memory(reported_digest=b"a", reported_at=100, beat_at=100), False, None),
        (heartbeat.Memory(reported_digest=b"a", reported_at=100, beat_at=90), False, "beat"),
        (heartbeat.Memory(reported_digest=b"b", reported_at=100, beat_at=100), False, "report"),
        (heartbeat.Memory(reported_digest=b"a", reported_at=40, beat_at=100), False, "report"),
        (heartbeat.Memory(reported_digest=b"a", reported_at=99, beat_at=100), True, "report"),
    ],
    ids=["first", "nothing new", "interval", "changed", "full interval", "asked for"],
)
def test_a_beat_goes_at_its_interval_and_a_report_when_there_is_something_to_tell(
    memory: heartbeat.Memory, wanted: bool, expected: str | None
) -> None:
    assert heartbeat.due(memory, b"a", 100.0, 10.0, 60.0, wanted) == expected


class Told:
    """A heart with a manager on each of two loopback sockets."""

    def __init__(self) -> None:
        self.managers = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
        for manager in self.managers:
            manager.bind(("127.0.0.1", 0))
            manager.settimeout(5)
        self.amphora_id = str(uuid.uuid4())
        self.key = protocol.derive_key(b"deployment", self.amphora_id)
        self.report: dict[str, Any] | None = report.make(0, "", [])
        self.saved = 0
        config = boot.AgentConfig(
            health_managers=tuple(manager.getsockname() for manager in self.managers),
            heartbeat_key=self.key.hex(),
        )
        self.heart = heartbeat.Heart(self.amphora_id, config, lambda: self.report, self.save)

    def save(self) -> None:
        self.saved += 1

    def receive(self) -> list[protocol.Header]:
        return [protocol.unpack(manager.recv(65536), self.key)[0] for manager in self.managers]


@pytest.fixture
def told() -> Told:
    return Told()


def test_every_manager_gets_the_first_report_with_rising_sequences_of_one_boot(told: Told) -> None:
    told.heart.turn()
    assert [header.kind for header in told.receive()] == [protocol.REPORT, protocol.REPORT]
    assert told.heart.first_sent.is_set()
    assert told.saved == 1
    told.report = {**report.make(0, "", []), "generation": 1}
    told.heart.turn()
    headers = told.receive()
    assert {header.sequence for header in headers} == {2}
    assert headers[0].digest == report.digest(told.report)


def test_no_heart_beats_where_something_should_run_and_does_not(told: Told) -> None:
    told.report = None
    told.heart.turn()
    assert not told.heart.first_sent.is_set()
    for manager in told.managers:
        manager.setblocking(False)
        with pytest.raises(BlockingIOError):
            manager.recv(1)


def test_a_program_that_does_not_run_is_told_once_and_no_beat_follows_until_it_does(told: Told) -> None:
    told.heart.turn()
    told.receive()
    for state in ("silent", "down"):
        told.report = {**report.make(0, "", []), "programs": {"haproxy": {"state": state, "died": 0, "hung": 0}}}
        for _ in range(3):
            told.heart.turn()
        assert [header.kind for header in told.receive()] == [protocol.REPORT, protocol.REPORT]
        for manager in told.managers:
            manager.setblocking(False)
            with pytest.raises(BlockingIOError):
                manager.recv(1)
            manager.settimeout(5)
    told.report = {**report.make(0, "", []), "programs": {"haproxy": {"state": "runs", "died": 1, "hung": 0}}}
    told.heart.turn()
    assert [header.kind for header in told.receive()] == [protocol.REPORT, protocol.REPORT]


def test_a_large_report_travels_in_parts(told: Told) -> None:
    members = {str(uuid.uuid4()): "UP" for _ in range(8000)}
    told.report = {**report.make(0, "", []), "pools": {"p:l": {"status": "UP", "members": members}}}
    told.heart.turn()
    first = protocol.unpack(told.managers[0].recv(65536), told.key)
    bodies = [first[1], *(protocol.unpack(told.managers[0].recv(65536), told.key)[1] for _ in range(first[0].parts - 1))]
    assert first[0].parts > 1
    assert json.loads(zlib.decompress(b"".join(bodies)))["pools"]["p:l"]["members"] == members


def test_the_number_of_a_request_is_repeated_in_a_beat_once_and_the_report_follows(told: Told) -> None:
    told.heart.turn()
    first = told.receive()[0]
    numbers = [bytes([n]) * protocol.NONCE_SIZE for n in (1, 2)]
    for manager, number in zip(told.managers, numbers, strict=True):
        request = protocol.Header(protocol.REPORT_WANTED, first.amphora_id, first.boot_id, 1, 0.0, number)
        manager.sendto(protocol.pack(request, b"", told.key), told.heart._sockets[0][0].getsockname())
        told.heart._wait(5.0)
    told.heart._memory.reported_at = float("-inf")
    told.heart.turn()
    told.heart.turn()
    received = [protocol.unpack(told.managers[0].recv(65536), told.key) for _ in range(3)]
    assert [(header.kind, body) for header, body in received[:2]] == [(protocol.BEAT, number) for number in numbers]
    assert received[2][0].kind == protocol.REPORT
    told.managers[0].setblocking(False)
    with pytest.raises(BlockingIOError):
        told.managers[0].recv(1)


def test_a_beat_that_answers_nobody_says_so(told: Told) -> None:
    told.heart.turn()
    told.receive()
    told.heart._memory.beat_at = float("-inf")
    told.heart.turn()
    header, body = protocol.unpack(told.managers[0].recv(65536), told.key)
    assert (header.kind, body) == (protocol.BEAT, protocol.NO_ANSWER)


def _counts_said(told: Told) -> list[dict[str, tuple[int, ...]]]:
    """What each datagram with counts that has come to the first manager tells; all others are taken, too."""
    found: list[dict[str, tuple[int, ...]]] = []
    told.managers[0].setblocking(False)
    while True:
        try:
            header, body = protocol.unpack(told.managers[0].recv(65536), told.key)
        except BlockingIOError:
            return found
        if header.kind == protocol.COUNTS:
            decoded = protocol.decode_counts(body)
            found.append({str(uuid.UUID(bytes=key)): protocol.decode_counters(counters) for key, counters in decoded})


def test_a_beat_is_newer_than_the_counts_that_it_comes_with(told: Told) -> None:
    """Of several datagrams a manager heeds the counters of listeners in the newest one only."""
    one = str(uuid.uuid4())
    for count in range(1, 4):
        told.report = {**with_counters(told, count), report.COUNTS: {one: [count] * 5}}
        told.heart._memory.beat_at = float("-inf")
        told.heart.turn()
        headers = [protocol.unpack(told.managers[0].recv(65536), told.key)[0] for _ in range(2)]
        newest = max(headers, key=lambda header: header.sequence)
        assert {header.kind for header in headers} == {protocol.COUNTS, newest.kind}
        assert newest.kind == (protocol.REPORT if count == 1 else protocol.BEAT)


def _turn_with(told: Told, counts: dict[str, list[int]]) -> list[dict[str, tuple[int, ...]]]:
    """The same after a turn in which this was counted."""
    told.report = {**report.make(0, "", []), report.COUNTS: counts}
    told.heart._memory.beat_at = float("-inf")
    told.heart.turn()
    return _counts_said(told)


def test_only_counts_of_pools_and_members_that_have_changed_travel_and_each_of_them_three_times(told: Told) -> None:
    one, other = str(uuid.uuid4()), str(uuid.uuid4())
    first = {one: (1, 2, 3, 4, 5), other: (0, 0, 0, 0, 9)}
    assert _turn_with(told, {one: [1, 2, 3, 4, 5], other: [0, 0, 0, 0, 9], "no id": [1, 1, 1, 1, 1]}) == [first]
    changed = {one: [1, 2, 3, 4, 6], other: [0, 0, 0, 0, 9]}
    assert [_turn_with(told, changed) for _ in range(5)] == [
        [{one: (1, 2, 3, 4, 6), other: (0, 0, 0, 0, 9)}],
        [{one: (1, 2, 3, 4, 6), other: (0, 0, 0, 0, 9)}],
        [{one: (1, 2, 3, 4, 6)}],
        [],
        [],
    ]
    assert told.saved == 5, "written down before each report, and before what is told of members"


def test_all_counts_are_said_again_now_and_then_and_those_of_who_is_gone_are_not(told: Told) -> None:
    one, other = str(uuid.uuid4()), str(uuid.uuid4())
    for _ in range(5):
        _turn_with(told, {one: [1, 0, 0, 0, 0], other: [2, 0, 0, 0, 0]})
    assert _turn_with(told, {one: [1, 0, 0, 0, 0]}) == []
    told.heart._counts._all_said_at = float("-inf")
    assert _turn_with(told, {one: [1, 0, 0, 0, 0]}) == [{one: (1, 0, 0, 0, 0)}]


def test_two_thousand_members_travel_in_datagrams_that_each_tell_by_themselves(told: Told) -> None:
    counts = {str(uuid.uuid4()): [number, 2**70, 0, 0, 0] for number in range(2000)}
    said = _turn_with(told, counts)
    assert len(said) == 2
    assert {name: values[0] for one in said for name, values in one.items()} == {name: values[0] for name, values in counts.items()}


def with_counters(told: Told, value: int) -> dict[str, Any]:
    stats = dict.fromkeys(protocol.COUNTERS, value)
    told.report = {**report.make(0, "", []), "listeners": {name: {"status": "OPEN", "stats": stats} for name in ("b", "a")}}
    return told.report


def beats(told: Told) -> bytes:
    return protocol.unpack(told.managers[0].recv(65536), told.key)[1]


def test_beats_carry_counters_until_the_next_report_has_them(told: Told) -> None:
    with_counters(told, 1)
    told.heart.turn()
    told.receive()
    for _ in range(2):
        made = with_counters(told, 2)
        told.heart._memory.beat_at = float("-inf")
        told.heart.turn()
        assert beats(told) == protocol.NO_ANSWER + protocol.encode_counters(made)
    assert told.saved == 3, "what was told once is never taken back"
    told.heart._memory.reported_at = float("-inf")
    told.heart.turn()
    assert protocol.unpack(told.managers[0].recv(65536), told.key)[0].kind == protocol.REPORT
    told.heart._memory.beat_at = float("-inf")
    told.heart.turn()
    assert beats(told) == protocol.NO_ANSWER


def test_counters_are_told_before_the_next_beat_if_they_changed() -> None:
    memory = heartbeat.Memory(reported_digest=b"a", reported_at=100, beat_at=100, sent_counters=b"1")
    due = [heartbeat.due(memory, b"a", now, 10.0, 60.0, False, counters, 8.0) for counters in (b"1", b"2") for now in (107.9, 108.1, 110.1)]
    assert due == [None, None, "beat", None, "beat", "beat"]


def test_counters_that_fit_into_no_beat_wait_for_the_report() -> None:
    stats = dict.fromkeys(protocol.COUNTERS, 2**70)
    listeners = {str(number): {"status": "OPEN", "stats": stats} for number in range(1500)}
    assert protocol.encode_counters({"listeners": listeners}) == b""
    body = protocol.encode_counters({"listeners": {name: listeners[name] for name in ("1", "2")}})
    assert protocol.decode_counters(body[protocol.COUNTERS_SIZE :]) == (2**64 - 1,) * 5


@pytest.mark.parametrize(("took", "rest"), [(0.002, 0.006), (0.1, 0.3), (4.0, 0.5)])
def test_looks_that_take_long_leave_the_time_between_to_changes(
    told: Told, monkeypatch: pytest.MonkeyPatch, took: float, rest: float
) -> None:
    now, rests, looks = [1000.0], list[float](), list[float]()

    def look() -> None:
        now[0] += took
        looks.append(took)
        if len(looks) == 3:
            raise KeyboardInterrupt

    def sleep(seconds: float) -> None:
        rests.append(seconds)

    told.heart.tell_of(look, told.save, None)
    monkeypatch.setattr(told.heart, "_wait", lambda _: None)
    monkeypatch.setattr("amphora_agent.heartbeat.time.monotonic", lambda: now[0])
    monkeypatch.setattr("amphora_agent.heartbeat.time.sleep", sleep)
    with pytest.raises(KeyboardInterrupt):
        told.heart.run()
    assert rests == pytest.approx([rest, rest])
