"""Whose job is next where there are more than places."""

from __future__ import annotations

import itertools

from controller.jobs.turns import Due, Standing, Turns, choose

_HELD: tuple[dict[str | None, int], ...] = ({}, {"a": 2}, {"b": 1, "c": 3})


def due(projects: str) -> list[Due]:
    """A job for each letter, whose project it is."""
    return [Due(f"{project}{number}", f"lb-{number}", project) for number, project in enumerate(projects)]


def chosen(projects: str, most: int, held: dict[str | None, int] | None = None, recent: str = "") -> list[str]:
    return [one.id for one in choose(due(projects), most, Standing(held or {}, tuple(recent)))]


def test_projects_take_turns() -> None:
    assert chosen("aaaaabb", 4) == ["a0", "b5", "a1", "b6"]


def test_who_holds_fewer_places_is_next() -> None:
    assert chosen("aaab", 2, {"a": 1}) == ["b3", "a0"]
    assert chosen("aaabb", 3, {"b": 2}) == ["a0", "a1", "a2"]


def test_of_those_that_hold_equally_many_the_one_is_next_whose_turn_was_longest_ago() -> None:
    assert chosen("aab", 1, recent="ca") == ["b2"]
    assert chosen("aab", 1, recent="ab") == ["a0"]
    assert chosen("aab", 1, {"b": 1}, recent="a") == ["a0"]


def test_whose_turn_it_was_is_remembered_and_not_for_ever() -> None:
    turns = Turns()
    for project in ("a", "b", "a", *map(str, range(62)), "a"):
        turns.had(project)
    assert turns.standing(["b", "b"]) == Standing({"b": 2}, ("b", *map(str, range(62)), "a"))
    turns.had("new")
    assert turns.standing([]).recent[0] == "0"


def test_one_project_alone_has_all_places_in_the_order_in_which_it_asked() -> None:
    assert chosen("aaaa", 3, {"a": 5}) == ["a0", "a1", "a2"]


def test_what_belongs_to_no_load_balancer_any_more_has_its_turn() -> None:
    gone = Due("gone", "x", None)
    assert gone in choose([*due("aaaa"), gone], 2, Standing())


def test_no_project_gets_two_places_more_than_one_that_still_waits() -> None:
    for projects, running, most in itertools.product(map("".join, itertools.product("abc", repeat=6)), _HELD, range(1, 7)):
        got = choose(due(projects), most, Standing(running))
        assert len(got) == len(set(got)) == most
        held = {one: running.get(one, 0) + sum(each.project_id == one for each in got) for one in projects}
        served = {each.project_id for each in got}
        waiting = {each.project_id for each in due(projects) if each not in got}
        assert all(held[one] <= held[other] + 1 for one in served for other in waiting if one and other), (projects, running, most)
