"""Which worker of before a reload goes first when memory is short."""

from __future__ import annotations

import signal

import pytest

from amphora_agent import former_workers, system


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    found: list[int] = []
    monkeypatch.setattr(system, "send_signal", lambda pid, number: found.append(pid) if number == signal.SIGTERM else None)
    return found


def test_nobody_goes_while_there_is_memory(ended: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "processor_time", lambda pid: 1)
    watched = former_workers.FormerWorkers(available=lambda: 64.0)
    assert [watched.look([1, 2], 64) for _ in range(5)] == [None] * 5
    assert ended == []


def test_the_longest_idle_goes_first_and_of_several_the_oldest(ended: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    used = {1: 10, 2: 10, 3: 10}
    monkeypatch.setattr(system, "processor_time", used.__getitem__)
    monkeypatch.setattr(system, "started_at", {1: 300, 2: 200, 3: 100}.__getitem__)
    memory = [100.0]
    watched = former_workers.FormerWorkers(available=lambda: memory[0])
    watched.look([1, 2, 3], 64)
    used[3] += 1  # the oldest is not idle
    watched.look([1, 2, 3], 64)
    memory[0] = 10.0
    assert watched.look([1, 2, 3], 64) == 2
    assert watched.look([1, 3], 64) == 1
    assert watched.look([3], 64) == 3
    assert ended == [2, 1, 3]
