"""When a failed flow is tried again."""

from __future__ import annotations

import dataclasses

from controller.model import status
from controller.worker import pacing
from tests import builders


def test_each_failure_doubles_the_pause_up_to_the_longest() -> None:
    assert [pacing.backoff(failures, 5.0, 60.0) for failures in range(6)] == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0]


def test_a_very_long_row_of_failures_is_no_trouble() -> None:
    assert pacing.backoff(10_000, 5.0, 300.0) == 300.0


def test_a_flow_that_settled_something_or_changed_an_amphora_did_something() -> None:
    before = builders.a_serving_snapshot(word="one")
    assert pacing.standing(before) == pacing.standing(builders.a_serving_snapshot(word="one"))
    settled = dataclasses.replace(before.load_balancer, applied_generation=before.load_balancer.applied_generation + 1)
    lost = dataclasses.replace(before.amphorae[0], status=status.AmphoraStatus.ERROR)
    assert pacing.standing(before) != pacing.standing(dataclasses.replace(before, load_balancer=settled))
    assert pacing.standing(before) != pacing.standing(dataclasses.replace(before, amphorae=(lost,)))
