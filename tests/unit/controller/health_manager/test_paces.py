"""What can be caused again and again is said a few times at once, and then now and then."""

from __future__ import annotations

from controller.health_manager import paces
from tests.clocks import SetClock

DAY = 86400


def test_a_few_at_once_then_one_in_a_while_up_to_day_31() -> None:
    clock = SetClock()
    pace = paces.Pace(few=5, seldom=3600.0, clock=clock)
    taken = []
    for second in range(0, 31 * DAY, 10):
        clock.passed = second
        taken.append(pace.take("liar"))
    assert taken[:6] == [True] * 5 + [False]
    assert 31 * 24 <= sum(taken) <= 31 * 24 + 5


def test_who_was_quiet_may_say_a_few_again_and_others_never_wait() -> None:
    clock = SetClock()
    pace = paces.Pace(few=2, seldom=100.0, clock=clock)
    assert [pace.take("one") for _ in range(3)] == [True, True, False]
    assert pace.take("other")
    clock.passed = 110.0
    assert [pace.take("one") for _ in range(2)] == [True, False]
    clock.passed = 500.0
    assert [pace.take("one") for _ in range(3)] == [True, True, False]


def test_to_ask_takes_nothing_and_the_quiet_are_forgotten() -> None:
    clock = SetClock()
    pace = paces.Pace(few=1, seldom=100.0, clock=clock)
    assert all(pace.allows("one") for _ in range(5))
    pace.note("one")
    assert not pace.allows("one")
    pace.prune()
    assert not pace.allows("one"), "it was forgotten too early"
    clock.passed = 101.0
    pace.prune()
    assert pace._full_until == {}
