"""A worker that has a successor is held until it has been counted, and nobody waits for its answers."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from amphora_agent import counters, exporter, former_counts, haproxy_runtime, member_counters, system

_ROW = "l1,FRONTEND,,,1,1,100,{total},{bytes},{bytes},0,0,0,,,,,OPEN" + "," * 30
_ROWS = "\n".join((_ROW, _ROW.replace("l1,FRONTEND", "p1:l1,BACKEND"), _ROW.replace("l1,FRONTEND", "p1:l1,m1")))


@dataclasses.dataclass
class Worker:
    """Answers on a socket as a worker of HAProxy does."""

    path: pathlib.Path
    pid: int = 7
    counted: int = 0
    connections: int = 2
    stopping: int = 0
    answers: threading.Event = dataclasses.field(default_factory=threading.Event)
    held: int = 0
    pause: float = 0.0  # seconds before the answer to each command

    def listen(self) -> None:
        self.answers.set()
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(self.path))
        listening.listen()
        threading.Thread(target=self._serve, args=(listening,), daemon=True).start()

    def _serve(self, listening: socket.socket) -> None:
        while True:
            threading.Thread(target=self._talk, args=(listening.accept()[0],), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        self.held += 1
        with contextlib.suppress(OSError), connection, connection.makefile("r") as lines:
            for line in lines:
                for command in line.strip().split(";"):
                    self.answers.wait()
                    time.sleep(self.pause)
                    connection.sendall(f"{self._said(command)}\n> ".encode())
        self.held -= 1

    def _said(self, line: str) -> str:
        info = f"Pid: {self.pid}\nCurrConns: {self.connections}\nStopping: {self.stopping}\n" if "show info" in line else ""
        return info + (_ROWS.format(total=self.counted, bytes=10 * self.counted) + "\n" if "show stat" in line else "")


@pytest.fixture
def worker(tmp_path: pathlib.Path) -> Iterator[Worker]:
    made = Worker(tmp_path / "worker.sock")
    made.listen()
    yield made
    made.answers.set()


def _former(
    counted: counters.Counters,
    runtime: haproxy_runtime.RuntimeApi,
    tmp_path: pathlib.Path,
    members: member_counters.MemberCounters | None = None,
) -> former_counts.FormerCounts:
    exporting = exporter.Exporter(tmp_path / "metrics.sock", runtime, tmp_path / "metrics.json")
    return former_counts.FormerCounts(counted, members or member_counters.MemberCounters(tmp_path / "members.json"), exporting)


def total(counted: counters.Counters, former: former_counts.FormerCounts) -> int:
    """What the present worker, which has counted nothing yet, and all before it have."""
    return counted.take(8, {"l1": [0, 0, 0, 0]}, former.workers)["l1"][2]


def test_it_is_counted_until_it_has_no_connection_and_then_let_go(worker: Worker, tmp_path: pathlib.Path) -> None:
    counted, runtime = counters.Counters(tmp_path / "counters.json"), haproxy_runtime.RuntimeApi(worker.path)
    former = _former(counted, runtime, tmp_path)
    counted.take(7, {"l1": [50, 50, 5, 0]})
    with former.beside(runtime) as succeeded:
        assert total(counted, former) == 5  # another worker is asked before it is known that it has taken over
        succeeded()
    worker.counted, worker.stopping = 8, 1
    look_until(former, lambda: total(counted, former) == 8)
    assert worker.held == 1
    worker.answers.clear()
    worker.counted = 9
    began = time.monotonic()
    for _ in range(3):
        former.look()
    assert time.monotonic() - began < 3, "a session waits so long for each answer"
    assert total(counted, former) == 8
    worker.answers.set()
    look_until(former, lambda: total(counted, former) == 9)
    assert former.workers == {7}
    worker.connections = 0
    look_until(former, lambda: former.workers == set())
    assert total(counted, former) == 9
    assert system.wait_until(lambda: worker.held == 0, 30)


def test_what_members_carry_in_a_former_worker_is_counted(worker: Worker, tmp_path: pathlib.Path) -> None:
    counted, members = counters.Counters(tmp_path / "counters.json"), member_counters.MemberCounters(tmp_path / "members.json")
    runtime = haproxy_runtime.RuntimeApi(worker.path)
    former = _former(counted, runtime, tmp_path, members)
    members.note(7, {"p1:l1/m1": [50, 50, 5, 0]})
    with former.beside(runtime) as succeeded:
        succeeded()
    members.note(8, {"p1:l1/m1": [1, 1, 1, 0]}, former.workers)
    worker.counted, worker.stopping, worker.connections = 8, 1, 0
    look_until(former, lambda: former.workers == set())
    assert members.by_id() == {"m1": [81, 81, 9, 0], "p1": [80, 80, 8, 0]}


def test_connections_that_are_open_in_a_former_worker_are_open(worker: Worker, tmp_path: pathlib.Path) -> None:
    former = _former(counters.Counters(tmp_path / "counters.json"), runtime := haproxy_runtime.RuntimeApi(worker.path), tmp_path)
    with former.beside(runtime) as succeeded:
        succeeded()
    worker.stopping = 1
    look_until(former, lambda: former.active() == {"l1": 1, "p1:l1": 1, "p1:l1/m1": 1})
    worker.connections = 0
    look_until(former, lambda: former.workers == set())
    assert former.active() == {}


def test_who_was_not_come_to_is_looked_at_first_the_next_time(
    worker: Worker, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    former = _former(counters.Counters(tmp_path / "counters.json"), haproxy_runtime.RuntimeApi(worker.path), tmp_path)
    looked: list[int] = []
    former.adopt([1, 2, 3], haproxy_runtime.RuntimeApi(worker.path))
    for pid in (1, 2, 3):
        former._former[pid] = former_counts._Former(lambda pid=pid: looked.append(pid))  # type: ignore[misc]
    monkeypatch.setattr(former_counts, "_LOOK", 0.0)
    for _ in range(50):
        former.look()
    monkeypatch.undo()
    before = len(looked)
    former.look()
    assert before < 150
    assert set(looked) == {1, 2, 3}
    assert sorted(looked[before:]) == [1, 2, 3]


def test_answers_that_come_in_pieces_are_whole_before_they_count(worker: Worker, tmp_path: pathlib.Path) -> None:
    """A worker that is let go after the first piece of its last answer would take its counts with it."""
    counted, runtime = counters.Counters(tmp_path / "counters.json"), haproxy_runtime.RuntimeApi(worker.path)
    former = _former(counted, runtime, tmp_path)
    with former.beside(runtime) as succeeded:
        succeeded()
    worker.stopping, worker.pause = 1, 0.03
    for worker.counted in range(1, 6):
        look_until(former, lambda: total(counted, former) == worker.counted)
        assert former.workers == {7}
    worker.counted, worker.connections = 9, 0
    look_until(former, lambda: former.workers == set())
    assert total(counted, former) == 9


def look_until(former: former_counts.FormerCounts, is_so: Callable[[], bool]) -> None:
    """Until what is answered now has been taken in, however long the worker's thread waits for a processor."""

    def looked() -> bool:
        former.look()
        return is_so()

    assert system.wait_until(looked, 30)


@pytest.mark.lengthy
@pytest.mark.parametrize("late", ["show info", "show stat"])
def test_an_answer_that_nobody_waits_for_any_more_is_not_taken_for_another(worker: Worker, late: str) -> None:
    with haproxy_runtime.RuntimeApi(worker.path, timeout=0.5).session() as session:
        worker.answers.clear()
        for _ in range(2):
            with pytest.raises(haproxy_runtime.RuntimeFailed):
                session.ask(late)
        worker.answers.set()
        assert session.ask("show info").startswith("Pid: 7\n")
        assert session.ask("show stat").startswith("l1,FRONTEND")
        while (answers := session.ask_again("show info", "show stat")) is None:
            pass
        assert answers.splitlines()[::3] == ["Pid: 7", _ROW.format(total=0, bytes=0)]


def test_it_goes_on_serving_if_the_reload_fails(worker: Worker, tmp_path: pathlib.Path) -> None:
    counted, runtime = counters.Counters(tmp_path / "counters.json"), haproxy_runtime.RuntimeApi(worker.path)
    former = _former(counted, runtime, tmp_path)
    with former.beside(runtime):
        assert former.workers == {7}
    assert former.workers == set()


def test_one_that_does_not_answer_costs_the_reload_nothing_but_its_counts(tmp_path: pathlib.Path) -> None:
    counted, runtime = counters.Counters(tmp_path / "counters.json"), haproxy_runtime.RuntimeApi(tmp_path / "nobody")
    former = _former(counted, runtime, tmp_path)
    with former.beside(runtime) as succeeded:
        succeeded()
    former.look()
    assert former.workers == set()
