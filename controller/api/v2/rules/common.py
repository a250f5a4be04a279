"""What the rules of all resources share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controller import exceptions
from controller.api import current
from controller.db.repositories import paging
from controller.resources import declare
from controller.resources.declare import Schema

OWN_FAMILY = ("UDP", "SCTP")
"""Protocols of listeners and pools that are no stream of TCP."""


def failure(detail: str) -> exceptions.InvalidRequest:
    """A rule across fields is broken."""
    return exceptions.InvalidRequest(f"Validation failure: {detail}")


def not_allowed(option: str, value: str) -> exceptions.InvalidRequest:
    """The operator does not let tenants ask for this."""
    return exceptions.InvalidRequest(f"The selected {option} is not allowed in this deployment: {value}")


def supported(schema: Schema, values: Mapping[str, Any]) -> None:
    """The last rule: the data plane can do it.

    :raises NotSupported: not yet.
    """
    if current.settings().refuse_unsupported:
        schema.check_supported(values)


def project(values: Mapping[str, Any]) -> str:
    """The project of a new object that has no parent.

    :raises InvalidRequest: neither the body nor the caller names one, or what is named can't be an id: its quota could not be stored.
    """
    named = values["project_id"] or current.context().project_id
    if not named:
        raise failure("Missing project ID in request where one is required. Name it in the body as project_id, or in the token.")
    if not paging.may_exist(named):
        raise declare.invalid("project_id", named, "Value should be the id of a project")
    return str(named)
