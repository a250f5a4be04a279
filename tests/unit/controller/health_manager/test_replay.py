"""How old a datagram is, whatever clocks show, and what amphorae may make a manager remember."""

from __future__ import annotations

import os
import sys
import uuid

import pytest

from amphora_agent.protocol import heartbeat
from controller.health_manager import receiver as receiving
from controller.health_manager import replay
from tests.clocks import SetClock
from tests.unit.controller.health_manager.test_receiver import KEY, Agent, Wire

NO_ANSWER = bytes(16)


class Manager:
    """A receiver whose clocks can be set."""

    def __init__(self) -> None:
        self.clock = SetClock()
        self.wire = Wire()
        self.receiver = receiving.Receiver(self.wire, (KEY,), record_interval=0.0, clock=self.clock)  # type: ignore[arg-type]

    def take(self, *datagrams: bytes) -> receiving.Batch:
        self.wire.waiting.extend(datagrams)
        while self.receiver.turn():
            pass
        return self.receiver.take(0.0)

    def silence(self, agent: Agent) -> float | None:
        """For how many seconds an amphora was not heard; None if it never was."""
        heard_at = self.receiver.heard_at(agent.id)
        return None if heard_at is None else self.clock.monotonic() - heard_at

    def number(self, agent: Agent) -> bytes:
        """The one in the newest request."""
        header, _ = heartbeat.unpack(self.wire.sent[-1][0], agent.key)
        assert header.kind == heartbeat.REPORT_WANTED
        return header.digest

    def know(self, agent: Agent, age: float = 0.0) -> None:
        """Hear an amphora (whose clock is behind by `age`) for the first time, ask it, and get its answer."""
        self.take(agent.make(body=NO_ANSWER, age=age))
        self.take(agent.make(body=self.number(agent), age=age))


@pytest.fixture
def manager() -> Manager:
    return Manager()


@pytest.fixture
def agent() -> Agent:
    return Agent()


@pytest.mark.parametrize("body", [b"", NO_ANSWER], ids=["of an agent that can't answer", "of one that can"])
def test_captured_beats_are_as_old_for_a_manager_that_just_started_as_they_are(manager: Manager, agent: Agent, body: bytes) -> None:
    captured = [agent.make(body=body, age=290.0 - 10.0 * number) for number in range(29)]
    for beat in captured[:-7]:
        manager.take(beat)
    assert manager.silence(agent) == pytest.approx(80.0, abs=1.0)
    manager.clock.passed += 30.0
    for beat in captured[-7:-6]:
        manager.take(beat)
    assert manager.silence(agent) == pytest.approx(100.0, abs=1.0)


def test_a_captured_report_that_is_old_tells_nothing(manager: Manager, agent: Agent) -> None:
    old = agent.make(heartbeat.REPORT, heartbeat.encode_report({"generation": 1})[0], age=100.0)
    assert manager.take(old).reports == {}


@pytest.mark.parametrize("skew", [-86_400.0, -600.0, -200.0, 0.0, 200.0, 600.0, 86_400.0])
def test_an_amphora_whose_clock_is_wrong_lives_once_it_has_answered(manager: Manager, agent: Agent, skew: float) -> None:
    manager.know(agent, age=skew)
    assert manager.silence(agent) == pytest.approx(0.0, abs=1.0)
    captured = agent.make(body=NO_ANSWER, age=skew)
    manager.clock.passed += 50.0
    manager.take(captured)
    assert manager.silence(agent) == pytest.approx(50.0, abs=1.0)


@pytest.mark.parametrize("jump", [-600.0, 600.0])
def test_a_jump_of_the_managers_clock_makes_nobody_older_or_younger(manager: Manager, agent: Agent, jump: float) -> None:
    manager.know(agent)
    captured = agent.make(body=NO_ANSWER)
    manager.clock.ahead += jump
    assert manager.take(agent.make(body=NO_ANSWER)).heard
    assert manager.silence(agent) == pytest.approx(0.0, abs=1.0)
    manager.clock.passed += 40.0
    manager.take(captured)
    assert manager.silence(agent) == pytest.approx(40.0, abs=1.0)


@pytest.mark.parametrize("jump", [-600.0, -30.0, 30.0, 600.0])
def test_an_amphora_whose_clock_jumps_is_asked_and_believed_again(manager: Manager, agent: Agent, jump: float) -> None:
    manager.know(agent)
    manager.clock.passed += 5.0
    asked = len(manager.wire.sent)
    manager.take(agent.make(body=NO_ANSWER, age=-5.0 - jump))
    if manager.silence(agent) != pytest.approx(0.0, abs=1.0):
        assert len(manager.wire.sent) == asked + 1
        manager.take(agent.make(body=manager.number(agent), age=-5.0 - jump))
    assert manager.silence(agent) == pytest.approx(0.0, abs=1.0)


def test_a_new_boot_of_one_that_can_answer_has_to_even_if_its_clock_was_set_back(manager: Manager, agent: Agent) -> None:
    manager.know(agent)
    manager.clock.passed += 5.0
    agent.boot_id, agent.sequence = os.urandom(8), 0
    assert list(manager.take(agent.make(body=NO_ANSWER, age=100.0)).fresh) == []
    assert list(manager.take(agent.make(body=manager.number(agent), age=100.0)).fresh) == [agent.id]
    assert manager.silence(agent) == pytest.approx(0.0, abs=1.0)


def test_datagrams_of_an_earlier_boot_are_refused_though_their_clock_was_ahead(manager: Manager, agent: Agent) -> None:
    manager.know(agent, age=-200.0)
    earlier = [agent.make(kind, body=NO_ANSWER, age=-205.0) for kind in (heartbeat.BEAT, heartbeat.REPORT)]
    manager.clock.passed += 5.0
    agent.boot_id, agent.sequence = os.urandom(8), 0
    manager.take(agent.make(body=NO_ANSWER))
    manager.take(agent.make(body=manager.number(agent)))
    manager.clock.passed += 20.0
    for datagram in earlier:
        assert manager.take(datagram).heard == {}
    assert manager.silence(agent) == pytest.approx(20.0, abs=1.0)


def test_an_answer_counts_once_in_time_and_for_the_manager_that_asked(manager: Manager, agent: Agent) -> None:
    other = Manager()
    for one in (manager, other):
        one.take(agent.make(body=NO_ANSWER, age=200.0))
    answer = agent.make(body=other.number(agent), age=200.0)
    manager.take(answer)
    assert manager.silence(agent) == pytest.approx(200.0, abs=1.0)
    late = agent.make(body=manager.number(agent), age=200.0)
    manager.clock.passed += 6.0
    manager.take(late)
    assert manager.silence(agent) == pytest.approx(206.0, abs=1.0)
    other.take(answer)
    assert other.silence(agent) == pytest.approx(0.0, abs=1.0)


def test_answers_to_two_managers_that_come_together_are_both_seen(manager: Manager, agent: Agent) -> None:
    manager.take(agent.make(body=NO_ANSWER, age=200.0))
    number = manager.number(agent)
    manager.take(agent.make(body=number, age=200.0), agent.make(body=os.urandom(16), age=200.0), agent.make(body=NO_ANSWER, age=200.0))
    assert manager.silence(agent) == pytest.approx(0.0, abs=1.0)


def test_only_who_can_answer_is_asked_because_of_its_clock(manager: Manager, agent: Agent) -> None:
    manager.take(*agent.report())
    for _ in range(5):
        manager.clock.passed += 2.0
        manager.take(agent.make(age=100.0))
    assert manager.wire.sent == []


def test_strangers_with_a_wrong_clock_are_remembered_up_to_a_number(manager: Manager) -> None:
    for number in range(3000):
        manager.take(Agent(str(uuid.UUID(int=number + 1))).make(body=NO_ANSWER, age=86_400.0))
    assert len(manager.receiver._strangers) == 1000
    assert manager.receiver.fleet == 0


def test_parts_under_new_boots_take_nothing_from_anybody(manager: Manager, agent: Agent) -> None:
    liar = Agent(str(uuid.uuid4()))
    body = os.urandom(59_000)
    for number in range(1500):
        liar.boot_id, liar.sequence = os.urandom(8), 0
        manager.take(liar.make(heartbeat.REPORT, body, 0, 2, age=200.0 - number / 10))
    assert manager.receiver._assemblies.size <= replay.ROOM
    manager.take(*agent.report(150_000)[:-1])
    assert manager.take(agent.make()).reports == {}
    agent.digest = os.urandom(16)
    assert list(manager.take(*agent.report(150_000)).reports) == [agent.id]


def test_an_amphora_that_begins_reports_all_the_time_holds_one(manager: Manager, agent: Agent) -> None:
    for _ in range(200):
        manager.take(agent.make(heartbeat.REPORT, bytes(50_000), 0, 60))
    assert manager.receiver._assemblies.size == 50_000
    for part in range(1, 60):
        manager.take(agent.make(heartbeat.REPORT, bytes(50_000), part, 60))
    assert manager.receiver._assemblies.size <= replay.ROOM


def test_a_report_without_room_is_refused_until_more_is_allowed(manager: Manager, agent: Agent) -> None:
    assert manager.take(agent.make()).fresh
    batch = manager.take(*agent.report(300_000))
    assert (list(batch.cramped), batch.reports) == ([agent.id], {})
    manager.receiver.allow(agent.id, 2 * replay.ROOM)
    assert list(manager.take(*agent.report(300_000)).reports) == [agent.id]


def test_one_drain_takes_no_more_bytes_than_fit(manager: Manager) -> None:
    manager.wire.waiting.extend([bytes(60_000)] * 1200)
    assert 500 < manager.receiver.turn() < 600


def test_reasons_for_a_refusal_are_few_whatever_is_sent(manager: Manager, agent: Agent) -> None:
    for number in range(300):
        beat = agent.make()
        manager.take(beat[:2] + bytes([number % 256]) + beat[3:], agent.make(heartbeat.REPORT, b"x", 0, 100 + number), beat[:number])
    assert len(manager.receiver.rejected) < 10


LARGE = 4_400_000
"""Bytes that can not be compressed, about as many as a report on a hundred listeners with a pool of two thousand members has."""


@pytest.mark.lengthy
def test_a_report_may_have_all_the_parts_that_its_room_takes(manager: Manager, agent: Agent) -> None:
    manager.take(agent.make())
    batch = manager.take(*agent.report(LARGE))
    assert (list(batch.cramped), batch.reports) == ([agent.id], {}), "room is looked for"
    manager.receiver.allow(agent.id, 2 * LARGE)
    assert list(manager.take(*agent.report(LARGE)).reports) == [agent.id]


@pytest.mark.parametrize("parts", [65, 75, 561, 562, 65_535])
def test_of_a_report_that_has_more_parts_than_its_room_takes_nothing_is_kept(manager: Manager, agent: Agent, parts: int) -> None:
    manager.take(agent.make())
    for part in range(65):
        batch = manager.take(agent.make(heartbeat.REPORT, b"x", part, parts))
        assert list(batch.cramped) == ([agent.id] if parts <= 561 else []), "no room is looked for where none could be enough"
    assert (len(manager.receiver._assemblies), manager.receiver._assemblies.size) == (0, 0)


@pytest.mark.parametrize("room", [replay.ROOM, LARGE, heartbeat.MAX_REPORT])
def test_parts_that_are_awaited_take_no_more_than_a_thousandth_of_the_room(manager: Manager, agent: Agent, room: int) -> None:
    manager.take(agent.make())
    manager.receiver.allow(agent.id, room)
    most = replay.most_parts(room)
    assert most * heartbeat.MAX_PART >= room
    manager.take(agent.make(heartbeat.REPORT, b"x", 0, most))
    (open_one,) = manager.receiver._assemblies._open.values()
    assert sys.getsizeof(open_one.bodies) <= max(1024, room / 1000)
    manager.take(agent.make(heartbeat.REPORT, b"x", 0, most + 1))
    assert list(manager.receiver._assemblies._open.values()) == [open_one]
