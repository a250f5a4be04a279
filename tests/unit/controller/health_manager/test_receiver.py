"""What is believed of a datagram, and what is not. The socket is a list in memory."""

from __future__ import annotations

import json
import os
import struct
import time
import uuid
import zlib
from typing import Any

import pytest

from amphora_agent.protocol import heartbeat
from controller.health_manager import receiver as receiving
from controller.health_manager import replay

KEY = b"an example key of the tests, and of nothing else"
OLD_KEY = b"the key that was in use before it was changed"
AMPHORA = str(uuid.uuid4())
ADDRESS = ("192.0.2.7", 5000)


class Wire:
    """Stands for the socket: what was put in is received, what was sent is kept."""

    def __init__(self) -> None:
        self.waiting: list[bytes] = []
        self.sent: list[tuple[bytes, Any]] = []
        self.lost = 0

    def recvfrom(self, _: int) -> tuple[bytes, Any]:
        if not self.waiting:
            raise BlockingIOError
        return self.waiting.pop(0), ADDRESS

    def sendto(self, data: bytes, address: Any) -> None:
        self.sent.append((data, address))

    def getsockopt(self, *_: int) -> bytes:
        return struct.pack("9I", 0, 0, 0, 0, 0, 0, 0, 0, self.lost)


class Agent:
    """Signs what an agent would send."""

    def __init__(self, amphora_id: str = AMPHORA, key: bytes = KEY) -> None:
        self.id = amphora_id
        self.key = heartbeat.derive_key(key, amphora_id)
        self.boot_id = os.urandom(8)
        self.sequence = 0
        self.digest = os.urandom(16)

    def make(self, kind: int = heartbeat.BEAT, body: bytes = b"", part: int = 0, parts: int = 1, age: float = 0.0) -> bytes:
        self.sequence += 1
        at = time.time() - age
        header = heartbeat.Header(kind, uuid.UUID(self.id).bytes, self.boot_id, self.sequence, at, self.digest, part, parts)
        return heartbeat.pack(header, body, self.key)

    def report(self, size: int = 0) -> list[bytes]:
        """A report in one part, or in as many as `size` bytes of what can't be compressed take."""
        bodies = heartbeat.encode_report({"generation": 1, "hash": os.urandom(size).hex(), "listeners": {}, "pools": {}})
        return [self.make(heartbeat.REPORT, body, part, len(bodies)) for part, body in enumerate(bodies)]


class Bench:
    def __init__(self, *keys: bytes, **options: float) -> None:
        self.wire = Wire()
        self.receiver = receiving.Receiver(self.wire, keys or (KEY,), **options)  # type: ignore[arg-type]

    def take(self, *datagrams: bytes) -> receiving.Batch:
        self.wire.waiting.extend(datagrams)
        while self.receiver.turn():
            pass
        return self.receiver.take(0.0)

    @property
    def refusals(self) -> int:
        return sum(self.receiver.rejected.values())


@pytest.fixture
def bench() -> Bench:
    return Bench(record_interval=0.0)


@pytest.fixture
def agent() -> Agent:
    return Agent()


def test_a_signed_beat_is_heard_and_its_amphora_is_fresh_once(bench: Bench, agent: Agent) -> None:
    first = bench.take(agent.make())
    assert list(first.fresh) == [AMPHORA]
    second = bench.take(agent.make())
    assert (second.fresh, list(second.heard)) == ({}, [AMPHORA])
    assert bench.receiver.heard_at(AMPHORA) == pytest.approx(time.monotonic(), abs=60)


def test_a_new_boot_is_fresh_again(bench: Bench, agent: Agent) -> None:
    bench.take(agent.make(age=2.0))
    agent.boot_id, agent.sequence = os.urandom(8), 0
    assert list(bench.take(agent.make()).fresh) == [AMPHORA]


def test_a_beat_is_handed_on_no_more_often_than_it_is_recorded(agent: Agent) -> None:
    bench = Bench(record_interval=3600.0)
    assert list(bench.take(agent.make()).heard) == [AMPHORA]
    assert list(bench.take(agent.make()).heard) == []


def flip(datagram: bytes, offset: int) -> bytes:
    return datagram[:offset] + bytes([datagram[offset] ^ 1]) + datagram[offset + 1 :]


@pytest.mark.parametrize("offset", [0, 2, 3, 4, 20, 35, 36, 44, 60, 62, 64, -1 % 96])
def test_a_datagram_that_was_changed_anywhere_is_refused_and_leaves_nothing(bench: Bench, agent: Agent, offset: int) -> None:
    assert bench.take(flip(agent.make(), offset)) == receiving.Batch()
    assert (bench.refusals, bench.receiver.fleet) == (1, 0)


@pytest.mark.parametrize("length", [0, 1, 4, 20, 64, 95])
def test_a_truncated_datagram_is_refused(bench: Bench, agent: Agent, length: int) -> None:
    assert bench.take(agent.make()[:length]) == receiving.Batch()
    assert bench.refusals == 1


def test_another_deployments_amphora_is_refused(bench: Bench) -> None:
    assert bench.take(Agent(key=OLD_KEY).make()) == receiving.Batch()


def test_an_amphora_can_not_speak_for_another_one(bench: Bench, agent: Agent) -> None:
    victim = Agent(str(uuid.uuid4()))
    victim.key = agent.key
    assert bench.take(victim.make()) == receiving.Batch()


def test_all_keys_of_the_deployment_verify(agent: Agent) -> None:
    bench = Bench(KEY, OLD_KEY)
    old = Agent(str(uuid.uuid4()), OLD_KEY)
    assert set(bench.take(agent.make(), old.make()).fresh) == {agent.id, old.id}


def test_an_amphora_may_change_from_the_old_key_to_the_new_one() -> None:
    bench = Bench(KEY, OLD_KEY, record_interval=0.0)
    bench.take(Agent(key=OLD_KEY).make(age=2.0))
    assert list(bench.take(Agent().make()).heard) == [AMPHORA]


def test_a_replayed_datagram_is_refused(bench: Bench, agent: Agent) -> None:
    beat = agent.make()
    bench.take(beat)
    assert list(bench.take(beat).heard) == []
    assert bench.refusals == 1


def test_a_datagram_of_an_earlier_boot_is_refused(bench: Bench, agent: Agent) -> None:
    bench.take(agent.make(age=10.0))
    earlier = agent.make(age=8.0)
    agent.boot_id, agent.sequence = os.urandom(8), 0
    bench.take(agent.make())
    assert list(bench.take(earlier).heard) == []


def test_datagrams_may_overtake_one_another_a_little(bench: Bench, agent: Agent) -> None:
    first, second, third = agent.make(), agent.make(), agent.make()
    bench.take(first)
    bench.take(third)
    assert list(bench.take(second).heard) == [AMPHORA]
    assert list(bench.take(second).heard) == []
    late = agent.make()
    bench.take(*(agent.make() for _ in range(100)))
    assert list(bench.take(late).heard) == []


@pytest.mark.parametrize("age", [301.0, -301.0, float("nan")])
def test_a_time_outside_the_window_is_refused(bench: Bench, agent: Agent, age: float) -> None:
    assert bench.take(agent.make(age=age)) == receiving.Batch()
    assert bench.receiver.fleet == 0


def test_a_request_that_is_sent_back_to_the_manager_is_refused(bench: Bench, agent: Agent) -> None:
    assert bench.take(agent.make(heartbeat.REPORT_WANTED)) == receiving.Batch()


def test_of_many_beats_of_an_amphora_only_the_newest_is_verified_unless_it_is_forged(bench: Bench, agent: Agent) -> None:
    beats = [agent.make() for _ in range(50)]
    forged = flip(agent.make(), -1 % 96)
    batch = bench.take(*beats, forged)
    assert list(batch.heard) == [AMPHORA]
    assert bench.refusals == 1
    assert list(bench.take(beats[-1]).heard) == []


def test_a_report_is_asked_for_once_when_none_is_known_and_again_when_the_digest_differs(bench: Bench, agent: Agent) -> None:
    bench.take(agent.make())
    bench.take(agent.make())
    assert len(bench.wire.sent) == 1
    request, address = bench.wire.sent[0]
    header, body = heartbeat.unpack(request, agent.key)
    assert (header.kind, heartbeat.id_text(header.amphora_id), body, address) == (heartbeat.REPORT_WANTED, AMPHORA, b"", ADDRESS)
    bench.take(*agent.report())
    other = Agent(str(uuid.uuid4()))
    bench.take(*other.report(), other.make())
    assert len(bench.wire.sent) == 1
    other.digest = os.urandom(16)
    bench.take(other.make())
    assert len(bench.wire.sent) == 2


def test_parts_of_a_report_are_put_together_in_any_order(bench: Bench, agent: Agent) -> None:
    parts = agent.report(200_000)
    assert len(parts) > 3
    bench.take(agent.make())
    assert bench.take(*parts[1:]).reports == {}
    whole = bench.take(parts[0]).reports[AMPHORA]
    assert json.loads(zlib.decompress(whole.body))["generation"] == 1
    assert whole.digest == agent.digest


def test_a_part_twice_or_of_an_older_report_does_no_harm(bench: Bench, agent: Agent) -> None:
    older, newer = agent.report(200_000), agent.report(200_000)
    bench.take(older[0], older[1], older[1], *newer[:-1], older[2])
    whole = bench.take(newer[-1]).reports[AMPHORA]
    assert json.loads(zlib.decompress(whole.body))["hash"]
    assert bench.take(*older[3:]).reports == {}


def test_unfinished_reports_expire_and_their_memory_is_bounded() -> None:
    assemblies = replay.Assemblies(expiry=5.0, budget=1000)
    senders = [replay.Sender(str(uuid.uuid4()), b"") for _ in range(30)]
    header = heartbeat.Header(heartbeat.REPORT, b"", b"", 1, 0.0, b"", 0, 2)
    for sender in senders:
        assemblies.add(sender, header, b"x" * 100, now=0.0)
    assert (len(assemblies), assemblies.size) == (10, 1000)
    assemblies.expire(now=6.0)
    assert (len(assemblies), assemblies.size) == (0, 0)


def test_a_report_of_too_many_parts_is_refused(bench: Bench, agent: Agent) -> None:
    bench.take(agent.make(heartbeat.REPORT, b"x", 0, 60_000))
    assert bench.refusals == 1


def test_what_the_kernel_lost_is_known(bench: Bench, agent: Agent) -> None:
    assert bench.receiver.load().dropped == 0
    bench.wire.lost = 7
    bench.take(agent.make())
    load = bench.receiver.load()
    assert (load.received, load.dropped) == (1, 7)


def test_amphorae_that_are_gone_for_long_are_forgotten(bench: Bench, agent: Agent) -> None:
    bench.take(agent.make())
    bench.receiver.prune(before=0.0)
    assert bench.receiver.fleet == 1
    bench.receiver.prune(before=time.monotonic() + 1)
    assert bench.receiver.fleet == 0
