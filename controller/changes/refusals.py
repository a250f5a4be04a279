"""The errors of broken rules."""

from __future__ import annotations

from controller import exceptions
from controller.refusals import Refusal


def failure(detail: str, code: Refusal | None = None) -> exceptions.RuleBroken:
    """A rule across fields is broken."""
    return exceptions.RuleBroken(detail, code=code)


def not_allowed(option: str, value: str) -> exceptions.InvalidRequest:
    """The operator does not let tenants ask for this."""
    return exceptions.InvalidRequest(f"The selected {option} is not allowed in this deployment: {value}", code=Refusal.NOT_ALLOWED)
