"""Checks, what they find, and how it is told."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

Site = TypeVar("Site")


class Level(enum.IntEnum):
    """How bad it is; the worst one is the exit code, as those of oslo.upgradecheck: 0 success, 1 warning, 2 failure."""

    OK = 0
    WARNING = 1
    FAILURE = 2


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One line: a short stable word for it, what was found, and a command or option that mends it."""

    level: Level
    code: str
    found: str
    fix: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A finding, with the check that it is of."""

    check: str
    finding: Finding


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Check(Generic[Site]):
    """`applies` looks at the configuration only. It is passed over while one of `needs` fails, for it would only say so again."""

    name: str
    question: str
    run: Callable[[Site], Finding | Iterable[Finding]]
    applies: Callable[[Any], bool] = lambda conf: True
    needs: tuple[str, ...] = ()


def ok(found: str) -> Finding:
    """All is well."""
    return Finding(Level.OK, "ok", found)


def warning(code: str, found: str, fix: str) -> Finding:
    """A finding about what may work all the same, and at which somebody should look."""
    return Finding(Level.WARNING, code, found, fix)


def failure(code: str, found: str, fix: str) -> Finding:
    """No load balancer can be made, or none would live."""
    return Finding(Level.FAILURE, code, found, fix)


def run(checks: Sequence[Check[Site]], site: Site, conf: Any) -> Iterator[Told]:
    """Make every check that applies, in this order; whatever a check raises is a finding, too.

    After a failure, nothing of the same check is told to be well.
    """
    failed: set[str] = set()
    for check in checks:
        if not check.applies(conf):
            continue
        missing = sorted(failed & set(check.needs))
        if missing:
            failed.add(check.name)
            yield Told(check=check.name, finding=warning("not-asked", "not looked at", f"mend `{'`, `'.join(missing)}` first"))
            continue
        for finding in _found(check, site):
            if finding.level is Level.FAILURE:
                failed.add(check.name)
            elif finding.level is Level.OK and check.name in failed:
                continue
            yield Told(check=check.name, finding=finding)


def _found(check: Check[Site], site: Site) -> Iterator[Finding]:
    try:
        found = check.run(site)
        yield from [found] if isinstance(found, Finding) else found
    except Exception as error:
        yield failure(
            "unanswered",
            f"it can't be found out: {type(error).__name__}: {error}",
            f"see to what the sentence says, then ask again ({check.question})",
        )


def exit_code(told: Iterable[Told]) -> int:
    """0: all is well; 1: there are warnings; 2: something fails."""
    return max((one.finding.level.value for one in told), default=0)
