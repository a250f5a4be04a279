"""When a program is taken for hung, how soon it is started again, and what is remembered of it."""

from __future__ import annotations

import itertools
import os
import pathlib
import time
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest

from amphora_agent import errors, keepalived, keepalived_dump, programs, system, watch


class Clock:
    """A monotonic clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Iterator[Clock]:
    with mock.patch.object(time, "monotonic", Clock()) as clock:
        yield clock


@pytest.mark.parametrize(("busy", "hung_after"), [(False, programs.HUNG_AFTER), (True, programs.BUSY_AFTER)])
def test_a_program_hangs_when_it_has_owed_an_answer_for_long_enough(clock: Clock, busy: bool, hung_after: float) -> None:
    pulse, started = programs.Pulse(), clock.now
    verdicts = []
    while clock.now - started <= hung_after + 0.5:
        asked_at = clock.now
        clock.now += 0.5
        verdicts.append((clock.now - started >= hung_after, pulse.missed(asked_at, busy)))
    assert [expected for expected, _ in verdicts] == [found for _, found in verdicts]
    pulse.answered()
    assert not pulse.missed(clock.now, busy)


def test_one_question_that_took_very_long_is_no_hang(clock: Clock) -> None:
    pulse, asked_at = programs.Pulse(), clock.now
    clock.now += 60  # this process was asleep itself
    assert not pulse.missed(asked_at)


def test_a_program_that_dies_again_and_again_is_started_after_growing_waits(clock: Clock) -> None:
    restarts, started_at = programs.Restarts(), []
    for _ in range(600):
        if restarts.may_start():
            started_at.append(clock.now)
        clock.now += 0.1
    gaps = [round(after - before) for before, after in itertools.pairwise(started_at)]
    assert gaps == [1, 2, 4, 8, *[10] * (len(gaps) - 4)]
    clock.now += 3 * programs.Restarts.LONGEST
    assert restarts.may_start()
    clock.now += 1.1
    assert restarts.may_start()


def test_counts_outlive_the_agent_and_its_death_is_one_of_them(tmp_path: pathlib.Path) -> None:
    first = programs.Record(tmp_path / "programs.json")
    first.begin()
    first.note(programs.HAPROXY, programs.DIED)
    first.note(programs.HAPROXY, programs.HUNG)
    first.note(programs.HAPROXY, programs.HUNG)
    second = programs.Record(tmp_path / "programs.json")
    second.begin()
    assert second.show({programs.HAPROXY: programs.SILENT}) == {
        "agent": {"state": "runs", "died": 1, "hung": 0},
        "haproxy": {"state": "silent", "died": 1, "hung": 2},
    }
    second.end()
    third = programs.Record(tmp_path / "programs.json")
    third.begin()
    assert third.show({})["agent"]["died"] == 1


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"counts": {"haproxy": {"died": "many"}}, "agent": 1}', b"\xff"])
def test_a_record_that_can_not_be_read_starts_from_nothing(tmp_path: pathlib.Path, content: bytes) -> None:
    (tmp_path / "programs.json").write_bytes(content)
    record = programs.Record(tmp_path / "programs.json")
    record.begin()
    record.note(programs.KEEPALIVED, programs.DIED)
    assert record.show({programs.KEEPALIVED: programs.RUNS})["keepalived"]["died"] == 1


def test_a_full_disk_keeps_nobody_from_being_started_again(tmp_path: pathlib.Path) -> None:
    record = programs.Record(tmp_path / "programs.json")
    with mock.patch.object(system, "write_file", side_effect=OSError(28, "No space left on device")):
        record.note(programs.HAPROXY, programs.DIED)
    assert record.show({programs.HAPROXY: programs.RUNS})["haproxy"]["died"] == 1


def test_the_addresses_that_keepalived_hands_over_are_read_from_its_configuration() -> None:
    text = """vrrp_instance a {
    unicast_peer {
        198.19.251.3
    }
    virtual_ipaddress {
        198.19.251.100/24 dev eth1
    }
    virtual_ipaddress_excluded {
        fd00:f1::100/64 dev eth2
    }
}
"""
    assert keepalived_dump.addresses(text) == [("198.19.251.100/24", "eth1"), ("fd00:f1::100/64", "eth2")]
    assert keepalived_dump.addresses("") == []


def test_keepalived_is_told_what_is_new_and_nothing_twice() -> None:
    answers = iter([False, False, None, True, True, None, False])
    told: list[Any] = []
    changes: list[None] = []
    watcher = watch.Watch(lambda: True, lambda: next(answers), told.append, lambda: changes.append(None))
    waits = {watcher.turn() for _ in range(7)}
    assert (told, len(changes), waits) == ([False, True, False], 2, {watch.INTERVAL})


def test_where_there_is_no_pair_nobody_is_asked() -> None:
    asked: list[None] = []
    watcher = watch.Watch(lambda: False, lambda: asked.append(None), lambda _: None, lambda: None)
    assert (watcher.turn(), asked) == (watch.IDLE, [])


@pytest.mark.parametrize(
    ("state", "held", "differs"),
    [
        (keepalived_dump.MASTER, {"192.0.2.100", "2001:db8::100"}, False),
        (keepalived_dump.MASTER, {"192.0.2.100"}, True),
        (keepalived_dump.MASTER, set(), True),
        (keepalived_dump.BACKUP, set(), False),
        (keepalived_dump.BACKUP, {"2001:db8::100"}, True),
        (keepalived_dump.FAULT, {"192.0.2.100"}, True),
        (keepalived_dump.UNKNOWN, {"192.0.2.100"}, False),  # another keepalived, whose words we do not know: it may be the master
        (None, {"192.0.2.100"}, False),
    ],
)
def test_the_kernel_holds_every_vip_of_a_master_and_none_of_another(
    tmp_path: pathlib.Path, state: str | None, held: set[str], differs: bool
) -> None:
    text = "virtual_ipaddress {\n192.0.2.100/24 dev eth1\n}\nvirtual_ipaddress_excluded {\n2001:db8::100/128 dev eth1\n}\n"
    (tmp_path / "keepalived.conf").write_text(text)
    half = keepalived.Keepalived(tmp_path, tmp_path, "keepalived", "haproxy", "1", programs.Record(tmp_path / "programs.json"), "")
    half.vrrp = None if state is None else keepalived_dump.Vrrp(state)
    with mock.patch.object(system, "local_addresses", return_value=frozenset({"127.0.0.1", *held})):
        assert half._differs() is differs
    with mock.patch.object(system, "local_addresses", return_value=frozenset()):
        assert half._differs() is False, "what the kernel holds is not known"


@pytest.mark.parametrize(
    ("written", "answers", "held", "logged"),
    [
        ("(one) Entering BACKUP STATE (init)", [keepalived_dump.Vrrp(keepalived_dump.BACKUP, heard=1)], set(), False),
        ("(one) Entering BACKUP STATE (init)", [None, keepalived_dump.Vrrp(keepalived_dump.MASTER)], {"192.0.2.100"}, False),
        ("(one) Entering BACKUP STATE (init)", [keepalived_dump.Vrrp(keepalived_dump.MASTER)], set(), True),
        ("(one) Entering BACKUP STATE (init)", [keepalived_dump.Vrrp(keepalived_dump.BACKUP)], set(), True),
        ("(one) Entering FAULT STATE", [None], set(), True),
        ("Starting VRRP child process", [], set(), True),
    ],
    ids=["the other has it", "this one has it", "not yet on the interface", "nobody", "out of service", "not begun, so not asked"],
)
def test_a_push_waits_until_a_half_has_the_vip_and_not_for_ever(
    tmp_path: pathlib.Path,
    caplog: pytest.LogCaptureFixture,
    written: str,
    answers: list[keepalived_dump.Vrrp | None],
    held: set[str],
    logged: bool,
) -> None:
    (tmp_path / "keepalived.conf").write_text("virtual_ipaddress {\n192.0.2.100/24 dev eth1\n}\n")
    (tmp_path / "keepalived.log").write_text(written + "\n")
    half = keepalived.Keepalived(tmp_path, tmp_path, "keepalived", "haproxy", "1", programs.Record(tmp_path / "programs.json"), "")
    half._dump = mock.Mock(is_possible=lambda pid: True)
    half._dump.ask.side_effect = itertools.chain(answers, itertools.repeat(answers[-1] if answers else None))
    with (
        mock.patch.object(half, "pid", return_value=1),
        mock.patch.object(system, "local_addresses", return_value=frozenset({"127.0.0.1", *held})),
        mock.patch.object(keepalived, "ELECTION_TIMEOUT", 0.2 if logged else 60.0),
    ):
        half._await_election()
    assert ("neither has the VIP nor hears" in caplog.text) is logged
    assert bool(half._dump.ask.mock_calls) is bool(answers)


@pytest.mark.parametrize(
    "dump",
    ['[{"data": {"state": 1}, "stats": {"advert_rcvd": 7}}]', '{"vrrp": [{}, {"data": {"state": 1}, "stats": {"advert_rcvd": 7}}]}'],
    ids=["a list", "an object"],
)
def test_a_dump_tells_the_state_and_what_was_heard(tmp_path: pathlib.Path, dump: str) -> None:
    asked = keepalived_dump.Dump("keepalived", tmp_path)
    (tmp_path / "keepalived").mkdir()
    (tmp_path / "keepalived" / "keepalived.json").write_text(dump)
    assert asked._read() == keepalived_dump.Vrrp(keepalived_dump.BACKUP, heard=7)
    for broken in ('[{"data": {"state": "up"}}]', '[{"data": 3}]', "[]", "3"):
        (tmp_path / "keepalived" / "keepalived.json").write_text(broken)
        assert asked._read() == keepalived_dump.Vrrp(keepalived_dump.UNKNOWN)


@pytest.mark.parametrize("busy", [True, False])
def test_a_keepalived_that_waits_for_a_processor_has_not_hung_over_its_new_text(tmp_path: pathlib.Path, busy: bool) -> None:
    half = keepalived.Keepalived(tmp_path, tmp_path, "keepalived", "", "1", programs.Record(tmp_path / "programs.json"), "")
    half._dump = mock.Mock(is_possible=lambda pid: True)
    half._dump.ask.side_effect = [*[None] * 8, keepalived_dump.Vrrp(keepalived_dump.MASTER)]
    with mock.patch.object(system, "is_busy", return_value=busy), mock.patch.object(programs, "HUNG_AFTER", 0.0):
        assert half._answers(os.getpid()) is busy


@pytest.mark.parametrize(
    ("does", "within", "error"),
    [("exec sleep 60", 0.5, errors.ProgramFailed), ("echo 'unknown keyword'; exit 1", 30.0, errors.ConfigRefused)],
)
def test_a_keepalived_that_is_slow_to_start_has_not_refused_its_configuration(
    tmp_path: pathlib.Path, does: str, within: float, error: type[errors.AgentError]
) -> None:
    command = tmp_path / "program"
    command.write_text(f"#!/bin/sh\n{does}\n")
    command.chmod(0o755)
    half = keepalived.Keepalived(tmp_path, tmp_path, str(command), "", "1", programs.Record(tmp_path / "programs.json"), "")
    wanted = mock.Mock()
    with mock.patch.object(keepalived, "START_TIMEOUT", within), pytest.raises(error):
        half.apply("vrrp_instance one {\n}\n", wanted)
    assert half._process is not None
    half._process.kill()
    half._process.wait()
