"""What a failure is told as, also when it was read back from a record."""

from __future__ import annotations

import pytest
from taskflow.types import failure

from controller import exceptions
from controller.model.words import ADVICE
from controller.tasks import retries

HOST = exceptions.HostFault.sentence


def _failed(error: Exception) -> failure.Failure:
    try:
        raise error
    except Exception:
        return failure.Failure()


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (exceptions.ComputeFault("no machine"), "compute", "no machine"),
        (exceptions.ConfigRefused("a1", "line 3: bad"), "config_refused", "amphora a1 refused: line 3: bad"),
        (exceptions.TimedOut("waited too long"), "timeout", "waited too long"),
        (ZeroDivisionError("division by zero"), "internal", f"division by zero ({ADVICE})"),
        (RuntimeError(""), "internal", f"RuntimeError ({ADVICE})"),
        (
            RuntimeError("at 10.0.0.9 and [fd00::7]:9443"),
            "internal",
            f"at (an address) and [(an address)]:9443 ({ADVICE})",
        ),
        (NotADirectoryError(20, "Not a directory", "/srv/x"), "host", f"{HOST}: Not a directory ({ADVICE})"),
    ],
)
@pytest.mark.parametrize("recorded", [False, True])
def test_code_and_words_of_a_failure(error: Exception, code: str, words: str, recorded: bool) -> None:
    what = _failed(error)
    if recorded:
        what = failure.Failure.from_dict(what.to_dict(include_args=False))
    assert retries.explain(what) == (code, words)
