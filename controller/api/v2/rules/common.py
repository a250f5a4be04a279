"""What rules that are not yet in `changes` take of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controller.api import current
from controller.changes.pools import DATAGRAMS as OWN_FAMILY
from controller.changes.refusals import failure, not_allowed
from controller.db.repositories import paging
from controller.resources import declare
from controller.resources.declare import Schema

__all__ = ["OWN_FAMILY", "failure", "not_allowed", "project", "supported"]


def supported(schema: Schema, values: Mapping[str, Any]) -> None:
    asking = current.asking()
    asking.supports(asking.provider("amphora"), schema.name, values)


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
