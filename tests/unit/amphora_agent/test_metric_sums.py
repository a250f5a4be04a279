"""What metrics go on from: no count that a scraper has seen falls, whoever dies, and little is kept."""

from __future__ import annotations

import json
import os
import pathlib

import pytest

from amphora_agent import exporter, haproxy_runtime, metric_sums, metrics

NAME = "octavia_listener_bytes_in_total"
ENDED = 2**22 + 1  # no process has this number, nor the next ones


def counted(value: float, listener: str = "l") -> metrics.Families:
    return {NAME: {(("listener", listener),): value}}


def told(sums: metric_sums.Sums, worker: int, value: float, listener: str = "l") -> float:
    """What a scraper is told while this worker, which has counted so much, answers."""
    return value + sums.take(worker, counted(value, listener)).get(NAME, {}).get((("listener", listener),), 0.0)


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "state" / "metrics.json"


def test_an_agent_that_is_killed_after_a_reload_takes_nothing_with_it(path: pathlib.Path) -> None:
    sums = metric_sums.Sums(path)
    assert told(sums, 7, 50) == 50
    sums.leave(7, counted(60))
    assert told(sums, os.getpid(), 5) == 65
    assert told(metric_sums.Sums(path), os.getpid(), 6) == 66
    sums.leave(7, counted(70))  # it has finished its last connection
    sums.end(7)
    assert told(sums, os.getpid(), 6) == 76
    assert told(metric_sums.Sums(path), os.getpid(), 6) == 76


def test_a_worker_that_is_left_counts_once_whoever_answers_meanwhile(path: pathlib.Path) -> None:
    """A scraper may meet the new worker before the old one is noted, and the old one after."""
    sums, old, new = metric_sums.Sums(path), os.getpid(), os.getppid()
    assert told(sums, old, 50) == 50
    assert told(sums, new, 1) == 51
    sums.leave(old, counted(60))
    assert told(sums, new, 2) == 62
    assert told(sums, old, 61) == 63
    assert told(sums, new, 3) == 64
    sums.end(old)
    assert told(sums, new, 3) == 64


def test_a_haproxy_that_dies_takes_nothing_with_it_that_was_told(path: pathlib.Path) -> None:
    sums = metric_sums.Sums(path)
    for number, expected in enumerate((50, 100, 150)):
        assert told(sums, ENDED + number, 50) == expected
    sums.save()
    assert told(metric_sums.Sums(path), ENDED + 3, 1) == 151  # nor with the agent


def test_another_process_of_the_same_number_goes_on_from_the_first(path: pathlib.Path) -> None:
    sums = metric_sums.Sums(path)
    assert told(sums, 7, 50) == 50
    sums.save()
    again = metric_sums.Sums(path)
    assert told(again, 7, 10) == 60
    assert told(again, 7, 20) == 70


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 100,
        b"[]",
        b"null",
        b"7",
        b'{"ended": {}}',
        b"[" * 100_000,
        b'{"labels": [], "ended": {"x": [0, 5]}, "workers": {}}',
        b'{"labels": [[["listener", "l"]]], "ended": {"octavia_listener_bytes_in_total": [0, NaN]}, "workers": {}}',
        b'{"labels": [[["listener", "l"]]], "ended": {"octavia_listener_bytes_in_total": [0, -1]}, "workers": {}}',
        b'{"labels": [[["listener", "l"]]], "ended": {"octavia_listener_bytes_in_total": [0, "many"]}, "workers": {}}',
        b'{"labels": [[["listener", "l"]]], "ended": {"octavia_listener_bytes_in_total": [0, 5]}, "workers": {"x": {}}}',
        b'{"labels": [[["listener", "l"]]], "ended": {"octavia_listener_bytes_in_total": [0]}, "workers": {}}',
        b'{"labels": [[["listener", "l"]]], "ended": 7, "workers": {}}',
        b'{"labels": [[7]], "ended": {}, "workers": {}}',
        b'{"labels": [], "ended": {}, "workers": []}',
    ],
)
def test_a_damaged_file_is_as_none(path: pathlib.Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    sums = metric_sums.Sums(path)
    assert told(sums, 7, 5) == 5
    sums.leave(7, counted(5))
    assert told(metric_sums.Sums(path), os.getpid(), 1) == 6


def test_each_cut_of_the_file_is_as_none_or_whole(path: pathlib.Path) -> None:
    metric_sums.Sums(path).leave(7, counted(5))
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        assert told(metric_sums.Sums(path), 8, 1) == 1


def test_a_file_that_can_not_be_read_or_written_stops_nobody(path: pathlib.Path) -> None:
    path.mkdir(parents=True)
    sums = metric_sums.Sums(path)
    sums.leave(7, counted(5))
    sums.save()
    assert told(sums, os.getpid(), 1) == 6


def many(member_count: int, value: float) -> metrics.Families:
    """As of so many members: twenty counts of each, and six by codes."""
    members: list[metrics.Labels] = [(("pool", f"{0:036}"), ("member", f"{number:036}")) for number in range(member_count)]
    found: metrics.Families = {
        f"octavia_member_count_of_some_kind_{kind}_total": dict.fromkeys(members, value + kind) for kind in range(20)
    }
    codes: dict[metrics.Labels, float] = {(*one, ("code", f"{code}xx")): value for one in members for code in range(6)}
    return {**found, "octavia_member_http_responses_total": codes}


@pytest.mark.lengthy
def test_two_thousand_members_take_few_megabytes_however_often_they_change(path: pathlib.Path) -> None:
    sums, sizes = metric_sums.Sums(path), []
    for number in range(4):
        sums.leave(ENDED + number, many(2000, 123_456_789.0 + number))
        sums.end(ENDED + number)
        sums.take(os.getpid(), many(2000, 5.0))
        sums.save()
        sizes.append(path.stat().st_size)
    assert max(sizes) < 4_000_000
    assert max(sizes) < 1.1 * sizes[0]
    for _ in range(3):
        sums.take(os.getpid(), {})
        sums.save()
    assert path.stat().st_size < 100


def test_scrapes_write_now_and_then_and_the_end_of_the_agent_what_is_left(path: pathlib.Path) -> None:
    sums = metric_sums.Sums(path)
    written = set()
    for number in range(50):
        told(sums, 7, number)
        sums.save_now_and_then()
        written.add(path.read_bytes())
    assert len(written) <= 2
    sums.save()
    assert told(metric_sums.Sums(path), ENDED, 0) == 49
    path.unlink()
    sums.save()
    assert not path.exists(), "nothing is new"


def test_nothing_is_kept_for_another_load_balancer(path: pathlib.Path) -> None:
    sums = metric_sums.Sums(path)
    sums.leave(7, counted(5))
    sums.forget()
    assert told(sums, os.getpid(), 1) == 1
    assert told(metric_sums.Sums(path), os.getpid(), 1) == 1


class Worker(haproxy_runtime.Session):
    """One with one member."""

    def __init__(self, member: str) -> None:
        self.member = member

    def ask(self, command: str) -> str:
        if command != "show stat":
            return "CumReq: 3\n"
        return f"# pxname,svname,status,bin,stot\np,{self.member},UP,5,1\n"


def kept(path: pathlib.Path) -> set[str]:
    """The members of which something is written down."""
    return {word for labels in json.loads(path.read_bytes())["labels"] for name, word in labels if name == "member"}


@pytest.fixture
def made(path: pathlib.Path) -> exporter.Exporter:
    made = exporter.Exporter(path.with_name("metrics.sock"), haproxy_runtime.RuntimeApi(path.with_name("nobody")), path)
    made.ensure_serving()
    return made


def test_what_is_remembered_does_not_grow_with_each_member_that_ever_was(made: exporter.Exporter, path: pathlib.Path) -> None:
    """Nobody scrapes, and each change of members is a reload: an amphora lives for months."""
    for pid in range(1, 40):
        made.note(pid, worker := Worker(f"m{pid}"))
        made.note(pid, worker)  # once more at its end
        made.sums.end(pid)
        assert kept(path) <= {f"m{pid}", f"m{pid - 1}"}


def test_a_worker_of_long_ago_that_ends_takes_nothing_from_those_after_it(made: exporter.Exporter, path: pathlib.Path) -> None:
    made.note(1, old := Worker("former"))
    made.note(2, Worker("present"))
    made.sums.end(2)
    made.note(1, old)  # it has finished its last connection
    made.sums.end(1)
    assert "present" in kept(path)
