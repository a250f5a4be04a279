"""Quotas: what administrators set for projects. `Asking.reserve()` is where they hold."""

from __future__ import annotations

from collections.abc import Mapping

from controller.changes.asking import Asking
from controller.db import database
from controller.model import quota as model
from controller.resources import declare, kinds

_DEFAULTS = "defaults"  # what stands in the place of a project's id, where there is no project
_PROJECT = kinds.text(36)


def defaults(asking: Asking) -> model.Quota:
    """The limits of a project that has none of its own."""
    return model.merged(_DEFAULTS, {}, asking.settings.quotas)


def effective(asking: Asking, tx: database.Transaction, project_id: str) -> model.Quota:
    """The limits that hold for a project."""
    return model.merged(project_id, tx.quotas.own(project_id), asking.settings.quotas)


def update(asking: Asking, project_id: str, limits: Mapping[str, int | None]) -> model.Quota:
    """Set some limits of a project, by kind; None goes back to the default. Returns those that hold now.

    :raises InvalidRequest: the project's id can't be one.
    """
    asking.authorize("quota:put", project_id)
    try:
        _PROJECT(project_id)
        if not project_id.isascii() or project_id == _DEFAULTS:
            raise kinds.Reject("Value should be the id of a project")
    except kinds.Reject as reason:
        raise declare.invalid("project_id", project_id, str(reason)) from None
    with asking.write() as tx:
        tx.quotas.put(project_id, limits)
        return effective(asking, tx, project_id)


def reset(asking: Asking, project_id: str) -> None:
    """Let the defaults hold for a project again.

    :raises NotFound: nobody ever set a limit of it.
    """
    asking.authorize("quota:delete", project_id)
    with asking.write() as tx:
        tx.quotas.reset(project_id)
