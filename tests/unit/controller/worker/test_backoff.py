"""When a failed flow is tried again."""

from __future__ import annotations

from controller.worker import conductor


def test_each_failure_doubles_the_pause_up_to_the_longest() -> None:
    assert [conductor.backoff(failures, 5.0, 60.0) for failures in range(6)] == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0]


def test_a_very_long_row_of_failures_is_no_trouble() -> None:
    assert conductor.backoff(10_000, 5.0, 300.0) == 300.0
