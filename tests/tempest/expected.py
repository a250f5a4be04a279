"""Which tests are expected to fail, why, and what a run says about that."""

from __future__ import annotations

import dataclasses
import pathlib
import re
from collections.abc import Collection, Iterable, Mapping

from tests.tempest.run import ROOT, Result

LIST = pathlib.Path(__file__).with_name("expected.txt")
BELOW = "octavia_tempest_plugin.tests.api.v2."
_REASON = re.compile(r'= (?P<words>[^"]+) "(?P<quoted>[^"]+)"')


class Malformed(ValueError):
    """A line of the list that is none; the message has it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Reason:
    """Why tests fail, and the sentence of docs/compatibility.md that says so."""

    words: str
    quoted: str


def read(text: str) -> Mapping[str, Reason]:
    """Reasons by test.

    :raises Malformed: a test without a reason, one that is named twice, or a line that is neither.
    """
    found: dict[str, Reason] = {}
    reason: Reason | None = None
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        if line.startswith("="):
            match = _REASON.fullmatch(line)
            if match is None:
                raise Malformed(line)
            reason = Reason(match["words"], match["quoted"])
        elif reason is None or line in found or not re.fullmatch(r"\w+\.\w+\.\w+", line):
            raise Malformed(line)
        else:
            found[line] = reason
    return found


def undocumented(reasons: Iterable[Reason]) -> list[str]:
    """What is quoted and does not stand in docs/compatibility.md."""
    page = " ".join((ROOT / "docs" / "compatibility.md").read_text().replace("`", "").split())
    return sorted({one.quoted for one in reasons if one.quoted.replace("`", "") not in page})


def name(result: Result) -> str:
    """As the list has it: without the path of the package and the id in brackets."""
    return result.test.removeprefix(BELOW).partition("[")[0]


def complaints(results: Collection[Result], expected: Mapping[str, Reason], *, whole: bool) -> list[str]:
    """What is wrong with a run, in sentences. If it was a `whole` one, an expected failure that did not come up at all is, too."""
    failed = {name(one) for one in results if one.status not in ("success", "skip")}
    passed = {name(one) for one in results if one.status == "success"}
    found = [f"{test} failed, and nobody expects that" for test in sorted(failed - expected.keys())]
    found += [f"{test} passed: take it out of {LIST.name}" for test in sorted(passed & expected.keys())]
    if not passed:
        return [*found, "no test passed at all"]
    if whole:
        seen = {name(one) for one in results}
        found += [f"{test} is in {LIST.name}, and there is no such test" for test in sorted(expected.keys() - seen)]
    return found
