"""Counters of pools and members never fall, whatever becomes of their listeners and servers."""

from __future__ import annotations

import pathlib

import pytest

from amphora_agent import member_counters

A, B = "p1:l1/m1", "p1:l2/m1"


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "members-counters.json"


def test_a_member_is_counted_over_all_listeners_of_its_pool(path: pathlib.Path) -> None:
    counted = member_counters.MemberCounters(path)
    counted.note(1, {A: [1, 2, 3, 4], B: [10, 20, 30, 40], "p1:l1": [5, 5, 5, 5], "p1:l2": [6, 6, 6, 6], "p2:l1": [0, 0, 0, 0]})
    assert counted.by_id() == {"m1": [11, 22, 33, 44], "p1": [11, 11, 11, 11]}


def test_what_was_counted_by_way_of_a_listener_that_is_gone_stays(path: pathlib.Path) -> None:
    counted = member_counters.MemberCounters(path)
    counted.note(1, {A: [1, 0, 0, 0], B: [10, 0, 0, 0]})
    counted.note(2, {A: [2, 0, 0, 0]})
    assert counted.by_id() == {"m1": [13, 0, 0, 0]}
    counted.note(3, {A: [0, 0, 0, 0], B: [0, 0, 0, 0]})
    assert counted.by_id() == {"m1": [13, 0, 0, 0]}


def test_a_server_that_is_made_anew_goes_on_though_it_soon_counts_more_than_before(path: pathlib.Path) -> None:
    counted = member_counters.MemberCounters(path)
    counted.note(1, {A: [10, 10, 1, 0], B: [1, 1, 1, 0]})
    counted.begin_anew(A)
    assert counted.by_id()["m1"] == [11, 11, 2, 0]
    counted.note(1, {A: [50, 60, 7, 0], B: [1, 1, 1, 0]})
    assert counted.by_id()["m1"] == [61, 71, 9, 0]
    counted.begin_anew("p9:l9/m9")
    counted.save()
    assert member_counters.MemberCounters(path).by_id()["m1"] == [61, 71, 9, 0]


def test_of_what_is_gone_for_long_only_so_much_is_kept_and_nothing_of_who_is_there_gets_lost(path: pathlib.Path) -> None:
    counted = member_counters.MemberCounters(path)
    counted.note(1, {"p1:l1": [1, 0, 0, 0], A: [1, 0, 0, 0]})
    for number in range(5000):
        counted.note(number + 2, {"p1:l2": [1, 0, 0, 0], B: [1, 0, 0, 0], f"p1:l2/gone-{number}": [1, 0, 0, 0]})
    found = counted.by_id()
    assert (found["m1"][0], found["p1"][0]) == (5001, 5001)
    assert 1900 < len(found) < 2100
    counted.save()
    assert path.stat().st_size < 200_000
