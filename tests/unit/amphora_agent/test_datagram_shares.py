"""Shares of members: proportions, evenness, and who moves when somebody comes or goes."""

from __future__ import annotations

import collections
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amphora_agent import datagram_shares as shares


def _weights(each: st.SearchStrategy[int], most: int) -> st.SearchStrategy[shares.Weights]:
    return st.dictionaries(st.uuids().map(str), each, min_size=1, max_size=most).map(lambda found: tuple(found.items()))


_WEIGHTS = _weights(st.integers(1, 256), 12)
_FAR_APART = _weights(st.sampled_from([1, 100, 256]), 30)
_SOME = st.one_of(_WEIGHTS, _FAR_APART)


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


@given(weights=_SOME)
def test_the_numbers_of_a_hash_are_shared_by_weight(weights: shares.Weights) -> None:
    table = shares.by_hash(weights, {name for name, _ in weights})
    found, total = collections.Counter(table), sum(weight for _, weight in weights)
    for name, weight in weights:
        assert abs(found[name] - len(table) * weight / total) <= len(weights), "as near as turns can make it"


@given(weights=_SOME, data=st.data())
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


@given(weights=_FAR_APART, data=st.data())
def test_whoever_is_left_serves_however_light(weights: shares.Weights, data: st.DataObject) -> None:
    names = [name for name, _ in weights]
    assert set(shares.by_hash(weights, names)) == set(names), "each has one number at least"
    left = set(data.draw(st.lists(st.sampled_from(names), min_size=1)))
    assert set(shares.by_hash(weights, left)) == left


@pytest.mark.parametrize(
    ("weights", "size"),
    [([100] * 6 + [1], 251), ([256, 256, 1], 251), ([100] * 21 + [1], 1021), ([256] * 99 + [1] * 10, 4093)],
)
def test_the_lightest_serves_alone_and_beside_the_others(weights: list[int], size: int) -> None:
    some = tuple((f"m-{number}", weight) for number, weight in enumerate(weights))
    lightest, _ = some[-1]
    table = shares.by_hash(some, [name for name, _ in some])
    assert (len(table), table.count(lightest)) == (size, 1)
    assert shares.by_hash(some, [lightest]) == (lightest,) * size


@pytest.mark.parametrize("heavy", [8, 90, 300])
def test_the_light_ones_that_are_left_share_by_weight(heavy: int) -> None:
    """Their few numbers in the table say little of it. The bounds are six times the deviation of independent lots."""
    light = (("a", 1), ("b", 2), ("c", 5))
    table = shares.by_hash((*((f"m-{number}", 256) for number in range(heavy)), *light), [name for name, _ in light])
    for name, weight in light:
        share = weight / 8
        wide = 6 * (share * (1 - share) / len(table)) ** 0.5
        assert table.count(name) / len(table) == pytest.approx(share, abs=wide)


def test_nobody_present_is_nobody_asked() -> None:
    assert shares.by_hash((("a", 1),), ()) == ()
    assert shares.in_turn(()) == ()
    assert shares.by_fewest((), {}, 10) == []


def test_the_next_flows_go_to_whoever_has_fewest() -> None:
    weights = (("a", 1), ("b", 1), ("c", 2))
    found = shares.by_fewest(weights, {"a": 5, "b": 0, "c": 0}, 6)
    assert "a" not in found
    assert collections.Counter(shares.by_fewest(weights, {}, 400)) == {"a": 100, "b": 100, "c": 200}
