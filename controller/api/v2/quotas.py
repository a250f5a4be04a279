"""/quotas, and what else reads or writes them (`defaults()`, `show()` and `change()` serve LBaaS v2 too); `reserve()` is where they hold.

Quotas hold in every strategy of authentication. What a project uses is shown to who asks for it: `?usage=true`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import flask

from controller.api import answers, arguments, current, paging, policy
from controller.db import transaction
from controller.model import quota as model
from controller.resources import declare, kinds
from controller.resources.quota import SCHEMA

blueprint = flask.Blueprint("quotas", __name__)

_DEFAULTS = "defaults"  # what stands in the place of a project's id, where there is no project
_PROJECT = kinds.text(36)


@blueprint.get("/quotas")
def list_quotas() -> flask.Response:
    """Those that somebody set, of the projects that the caller may see."""
    asked = paging.asked(SCHEMA, project=policy.visible_project("quota", current.context()))
    with current.services().db.read() as tx:
        found = tx.quotas.page(asked.query, current.settings().quotas)
    return asked.answer(found)


@blueprint.get("/quotas/defaults")
def get_defaults() -> flask.Response:
    """What holds for a project that has no limits of its own."""
    current.authorize("quota:get_defaults", current.context().project_id)
    return answers.one(SCHEMA.name, SCHEMA.view(defaults()))


@blueprint.get("/quotas/<project_id>")
def get_quota(project_id: str) -> flask.Response:
    """What holds for a project, and with `usage=true` how much of it is used."""
    current.authorize("quota:get_one", project_id)
    with_usage = arguments.boolean("usage")
    with current.services().db.read() as tx:
        view = SCHEMA.view(show(tx, project_id))
        if with_usage:
            view["usage"] = tx.quotas.usage(project_id)
    return answers.one(SCHEMA.name, view)


@blueprint.get("/quotas/<project_id>/default")
def get_default(project_id: str) -> flask.Response:
    """What would hold for the project if it had no limits of its own."""
    current.authorize("quota:get_defaults", project_id)
    return answers.one(SCHEMA.name, SCHEMA.view(dataclasses.replace(defaults(), project_id=project_id)))


@blueprint.put("/quotas/<project_id>")
def set_quota(project_id: str) -> flask.Response:
    """Set limits of a project."""
    current.authorize("quota:put", project_id)
    values = SCHEMA.columns(SCHEMA.update(flask.request.get_data()))
    with current.services().db.begin() as tx:
        quota = change(tx, project_id, values)
    return answers.one(SCHEMA.name, SCHEMA.view(quota), 202)


@blueprint.delete("/quotas/<project_id>")
def reset_quota(project_id: str) -> flask.Response:
    """Let the defaults hold for a project again."""
    current.authorize("quota:delete", project_id)
    with current.services().db.begin() as tx:
        tx.quotas.reset(project_id)
    return answers.empty(202)


def defaults() -> model.Quota:
    """The limits of who has none of his own."""
    return model.merged(_DEFAULTS, {}, current.settings().quotas)


def show(tx: transaction.Transaction, project_id: str) -> model.Quota:
    """The limits that hold for a project."""
    return model.merged(project_id, tx.quotas.own(project_id), current.settings().quotas)


def change(tx: transaction.Transaction, project_id: str, limits: Mapping[str, int | None]) -> model.Quota:
    """Set some limits of a project, by kind; None goes back to the default. Returns those that hold now.

    :raises InvalidRequest: the project's id can't be one.
    """
    try:
        _PROJECT(project_id)
        if not project_id.isascii() or project_id == _DEFAULTS:
            raise kinds.Reject("Value should be the id of a project")
    except kinds.Reject as reason:
        raise declare.invalid("project_id", project_id, str(reason)) from None
    tx.quotas.put(project_id, limits)
    return show(tx, project_id)


def check(project_id: str, **asked: int) -> None:
    """Whether the project may have so many more of each kind, told before something outside of the database is made for them.

    :raises QuotaExceeded: it may not.
    """
    with current.services().db.read() as tx:
        tx.quotas.check(project_id, asked, current.settings().quotas)


def reserve(tx: transaction.Transaction, project_id: str, **asked: int) -> None:
    """Let the project have so many more of each kind, which this transaction adds. To be called after the load balancer's lock was taken.

    :raises QuotaExceeded: it may not.
    """
    tx.quotas.reserve(project_id, asked, current.settings().quotas)
