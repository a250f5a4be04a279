"""Which of several failures a person is told."""

from __future__ import annotations

from taskflow.types import failure

from controller import exceptions
from controller.tasks import status


def a_failure(error: Exception) -> failure.Failure:
    try:
        raise error
    except Exception:
        return failure.Failure()


def test_a_refusal_says_more_than_silence() -> None:
    told = status.reason(
        {
            "Boot BACKUP": a_failure(exceptions.Transient("no answer")),
            "Boot MASTER": a_failure(exceptions.ComputeFault("no valid host was found")),
        }
    )
    assert told == ("Boot MASTER", "compute", "no valid host was found")


def test_a_mistake_of_ours_is_told_too() -> None:
    step, code, said = status.reason({"Push": a_failure(ZeroDivisionError("division by zero"))})
    assert (step, code) == ("Push", "internal")
    assert said.startswith("division by zero (a fault of ours: it is tried again by itself")


def test_a_failure_read_back_from_a_record_says_the_same() -> None:
    told = a_failure(exceptions.ConfigRefused("amphora-1", "unknown keyword")).to_dict(include_args=False)
    assert status.reason({"Push": failure.Failure.from_dict(told)})[:2] == ("Push", "config_refused")
