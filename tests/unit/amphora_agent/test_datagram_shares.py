"""Shares of members: proportions, evenness, and who moves when somebody comes or goes."""

from __future__ import annotations

import collections
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amphora_agent import datagram_shares as shares

_WEIGHTS = st.dictionaries(st.uuids().map(str), st.integers(1, 256), min_size=1, max_size=12).map(lambda found: tuple(found.items()))


@given(weights=_WEIGHTS)
def test_a_turn_has_each_member_as_often_as_its_weight_says(weights: shares.Weights) -> None:
    turn = collections.Counter(shares.in_turn(weights))
    assert set(turn) == {name for name, _ in weights}
    assert len({turn[name] * weights[0][1] - weight * turn[weights[0][0]] for name, weight in weights}) == 1, "proportions are exact"


def test_equal_members_take_turns() -> None:
    assert shares.in_turn((("a", 5), ("b", 5), ("c", 5))) == ("a", "b", "c")


def test_heavy_members_do_not_get_all_of_theirs_in_a_row() -> None:
    turn = "".join(shares.in_turn((("a", 2), ("b", 4))))
    assert sorted(turn) == ["a", "b", "b"]
    assert "aa" not in "".join(shares.in_turn((("a", 3), ("b", 4))))


def test_two_thousand_members_of_all_weights_have_a_turn_that_is_not_too_long() -> None:
    turn = collections.Counter(shares.in_turn(tuple((str(number), number % 256 + 1) for number in range(2000))))
    assert len(turn) == 2000
    assert sum(turn.values()) < 2 * shares.LONGEST_TURN


@given(weights=_WEIGHTS)
def test_the_numbers_of_a_hash_are_shared_by_weight(weights: shares.Weights) -> None:
    table = shares.by_hash(weights, {name for name, _ in weights})
    found, total = collections.Counter(table), sum(weight for _, weight in weights)
    for name, weight in weights:
        assert abs(found[name] - len(table) * weight / total) <= len(weights), "as near as turns can make it"


@given(weights=_WEIGHTS, data=st.data())
def test_only_clients_of_a_dead_member_move_and_they_come_back(weights: shares.Weights, data: st.DataObject) -> None:
    names = [name for name, _ in weights]
    present: set[str] = set(names)
    before = shares.by_hash(weights, present)
    for change in data.draw(st.lists(st.sampled_from(names), max_size=5)):
        present ^= {change}
        after = shares.by_hash(weights, present)
        assert set(after) <= present
        for old, new in itertools.zip_longest(before, after):
            assert old == new or change in (old, new) or not before or not after
        before = after
    assert shares.by_hash(weights, names) == shares.by_hash(weights, set(names))


@pytest.mark.parametrize("count", [2, 10, 50])
def test_a_new_member_moves_little_more_than_its_share(count: int) -> None:
    weights = tuple((f"member-{number}", 1) for number in range(count))
    new = (*weights, ("new", 1))
    old_table, new_table = (shares.by_hash(some, {name for name, _ in some}) for some in (weights, new))
    if len(old_table) == len(new_table):
        moved = sum(a != b for a, b in zip(old_table, new_table, strict=True)) / len(old_table)
        assert moved < 4 / (count + 1)


def test_nobody_present_is_nobody_asked() -> None:
    assert shares.by_hash((("a", 1),), ()) == ()
    assert shares.in_turn(()) == ()
    assert shares.by_fewest((), {}, 10) == []


def test_the_next_flows_go_to_whoever_has_fewest() -> None:
    weights = (("a", 1), ("b", 1), ("c", 2))
    found = shares.by_fewest(weights, {"a": 5, "b": 0, "c": 0}, 6)
    assert "a" not in found
    assert collections.Counter(shares.by_fewest(weights, {}, 400)) == {"a": 100, "b": 100, "c": 200}
