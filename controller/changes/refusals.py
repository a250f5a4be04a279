"""The errors of broken rules."""

from __future__ import annotations

from controller import exceptions


def failure(detail: str) -> exceptions.InvalidRequest:
    """A rule across fields is broken."""
    return exceptions.InvalidRequest(f"Validation failure: {detail}")


def not_allowed(option: str, value: str) -> exceptions.InvalidRequest:
    """The operator does not let tenants ask for this."""
    return exceptions.InvalidRequest(f"The selected {option} is not allowed in this deployment: {value}")
