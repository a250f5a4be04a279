"""Counters never fall, whatever restarts."""

from __future__ import annotations

import errno
import pathlib
from typing import Any

import pytest

from amphora_agent import counters, system


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "counters.json"


def test_a_new_worker_starts_from_zero_and_the_totals_go_on(path: pathlib.Path) -> None:
    totals = counters.Counters(path)
    assert totals.take(1, {"l1": [10, 20, 3, 1]}) == {"l1": [10, 20, 3, 1]}
    assert totals.take(1, {"l1": [15, 20, 4, 1]}) == {"l1": [15, 20, 4, 1]}
    assert totals.take(2, {"l1": [1, 1, 1, 0]}) == {"l1": [16, 21, 5, 1]}
    assert totals.take(2, {"l1": [2, 1, 1, 0]}) == {"l1": [17, 21, 5, 1]}


def test_a_counter_that_falls_is_a_restart_even_under_the_same_process_id(path: pathlib.Path) -> None:
    totals = counters.Counters(path)
    totals.take(1, {"l1": [10, 20, 3, 1]})
    assert totals.take(1, {"l1": [1, 2, 1, 0]}) == {"l1": [11, 22, 4, 1]}


def test_a_worker_that_passes_the_old_count_before_it_is_seen_is_told_by_its_process_id(path: pathlib.Path) -> None:
    totals = counters.Counters(path)
    totals.take(1, {"l1": [10, 0, 0, 0]})
    assert totals.take(2, {"l1": [50, 0, 0, 0]}) == {"l1": [60, 0, 0, 0]}


def test_totals_survive_a_restart_of_the_agent(path: pathlib.Path) -> None:
    first = counters.Counters(path)
    first.take(1, {"l1": [10, 0, 0, 0]})
    first.take(2, {"l1": [5, 0, 0, 0]})
    first.save()
    assert counters.Counters(path).take(2, {"l1": [6, 0, 0, 0]}) == {"l1": [16, 0, 0, 0]}
    assert counters.Counters(path).take(3, {"l1": [1, 0, 0, 0]}) == {"l1": [16, 0, 0, 0]}


def test_a_listener_that_was_away_goes_on_from_where_it_was(path: pathlib.Path) -> None:
    totals = counters.Counters(path)
    totals.take(1, {"l1": [10, 0, 0, 0], "l2": [1, 0, 0, 0]})
    totals.take(2, {"l2": [1, 0, 0, 0]})
    assert totals.take(3, {"l1": [1, 0, 0, 0], "l2": [0, 0, 0, 0]}) == {"l1": [11, 0, 0, 0], "l2": [2, 0, 0, 0]}


def test_of_listeners_that_are_away_only_so_many_are_remembered(path: pathlib.Path) -> None:
    totals = counters.Counters(path)
    totals.take(1, {f"l{number}": [1, 0, 0, 0] for number in range(3000)})
    totals.take(2, {})
    totals.save()
    assert path.stat().st_size < 50_000
    assert totals.take(3, {"l0": [0, 0, 0, 0], "l2999": [0, 0, 0, 0]}) == {"l0": [0, 0, 0, 0], "l2999": [1, 0, 0, 0]}


def test_what_a_worker_counts_after_it_has_a_successor_is_added(path: pathlib.Path) -> None:
    totals = counters.Counters(path)
    totals.take(1, {"l1": [10, 20, 3, 1]})
    assert totals.take(2, {"l1": [1, 1, 1, 0]}, former={1}) == {"l1": [11, 21, 4, 1]}
    totals.take_former(1, {"l1": [50, 60, 3, 1]})
    assert totals.take(2, {"l1": [2, 1, 1, 0]}, former={1}) == {"l1": [52, 61, 4, 1]}
    totals.save()
    for again in (totals, counters.Counters(path)):
        assert again.take(2, {"l1": [2, 1, 1, 0]}, former={1}) == {"l1": [52, 61, 4, 1]}  # it is asked by the next agent, too
        assert again.take(2, {"l1": [2, 1, 1, 0]}) == {"l1": [52, 61, 4, 1]}  # it has ended
        assert again.take(3, {"l1": [0, 0, 0, 0]}) == {"l1": [52, 61, 4, 1]}


def test_a_former_worker_that_answers_for_the_present_one_does_not_end_it(path: pathlib.Path) -> None:
    """Of several workers that share a socket any may answer while HAProxy hands over."""
    totals = counters.Counters(path)
    totals.take(1, {"l1": [10, 10, 1, 0]})
    totals.take(2, {"l1": [1, 1, 1, 0]}, former={1})
    for _ in range(2):
        assert totals.take(1, {"l1": [10, 10, 1, 0]}, former={1}) == {"l1": [11, 11, 2, 0]}
        assert totals.take(2, {"l1": [1, 1, 1, 0]}, former={1}) == {"l1": [11, 11, 2, 0]}


def test_what_an_agent_of_before_has_written_is_read(path: pathlib.Path) -> None:
    path.write_text('{"worker": 2, "base": {"l1": [10, 0, 0, 0]}, "last": {"l1": [5, 0, 0, 0]}}')
    assert counters.Counters(path).take(2, {"l1": [6, 0, 0, 0]}) == {"l1": [16, 0, 0, 0]}
    assert counters.Counters(path).take(3, {"l1": [1, 0, 0, 0]}) == {"l1": [16, 0, 0, 0]}


@pytest.mark.parametrize(
    "content",
    [
        b"[not json",
        b"\xff\xfe",
        b"[]",
        b"7",
        b"null",
        b"[" * 100_000,
        b'{"base": []}',
        b'{"base": {"l1": 5}}',
        b'{"workers": {"one": {}}}',
        b'{"workers": {"1": {"l1": [9, 9, 9]}}}',
        b'{"worker": "one"}',
        b'{"worker": [1]}',
        *(b'{"worker": 1, "base": {"l1": [%s, 0, 0, 0]}}' % number for number in (b"-1", b'"1"', b"1.5", b"NaN", b"-Infinity", b"1e999",
                                                                           b"true", b"null", b"[1]", b"1" * 20, b"9" * 5000)),
    ],
)  # fmt: skip
def test_a_damaged_file_is_set_aside_and_counting_goes_on(path: pathlib.Path, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    path.write_bytes(content)
    totals = counters.Counters(path)
    assert f"{path} is damaged" in caplog.text
    assert pathlib.Path(f"{path}{counters.DAMAGED}").read_bytes() == content
    assert totals.take(1, {"l1": [1, 0, 0, 0]}) == {"l1": [1, 0, 0, 0]}
    totals.save()
    caplog.clear()
    assert counters.Counters(path).take(2, {"l1": [1, 0, 0, 0]}) == {"l1": [2, 0, 0, 0]}
    assert caplog.text == ""


def test_what_is_sound_of_a_damaged_file_is_gone_on_from(path: pathlib.Path) -> None:
    path.write_text('{"worker": 1, "base": {"l1": [10, 0, 0, 0], "l2": [-1, 0, 0, 0]}, "workers": {"1": {"l1": [5, 0, 0, 0], "l2": 7}}}')
    totals = counters.Counters(path)
    assert totals.take(2, {"l1": [1, 0, 0, 0], "l2": [1, 0, 0, 0]}) == {"l1": [16, 0, 0, 0], "l2": [1, 0, 0, 0]}


def test_a_file_that_can_not_be_read_or_moved_costs_no_amphora(path: pathlib.Path) -> None:
    path.mkdir()
    pathlib.Path(f"{path}{counters.DAMAGED}").write_text("in the way")
    assert counters.Counters(path).take(1, {"l1": [1, 0, 0, 0]}) == {"l1": [1, 0, 0, 0]}


def test_the_worker_that_has_a_successor_is_known(path: pathlib.Path) -> None:
    totals = counters.Counters(path)
    known = []
    for worker in (1, 1, 2, 2, 3):
        totals.take(worker, {})
        known.append(totals.former_worker)
    assert known == [None, None, 1, 1, 2]


def test_a_full_disk_is_told_once_and_so_is_its_end(
    path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    counted = counters.Counters(path)
    with monkeypatch.context() as patch:
        patch.setattr(system, "write_file", full)
        for total in range(5):
            counted.note(1, {"l1": [total, 0, 0, 0]})
            counted.save()
    assert len(caplog.records) == 1
    counted.save()
    assert len(caplog.records) == 2
    assert counters.Counters(path).take(2, {"l1": [0, 0, 0, 0]}) == {"l1": [4, 0, 0, 0]}
