"""/quotas. What a project uses is shown to whoever asks for it: `?usage=true`."""

from __future__ import annotations

import dataclasses

import flask

from controller.api import current, paging
from controller.changes import quotas
from controller.resources.quota import SCHEMA

blueprint = flask.Blueprint("quotas", __name__)


@blueprint.get("/quotas")
def list_quotas() -> flask.Response:
    """List the quotas that were set, of the projects that you may see."""
    asked = paging.asked(SCHEMA, project=current.visible_project("quota"))
    with current.services().db.read() as tx:
        found = tx.quotas.page(asked.query, current.settings().quotas)
    return asked.answer(found)


@blueprint.get("/quotas/defaults")
def get_defaults() -> flask.Response:
    """Show the limits of a project that has none of its own."""
    current.authorize("quota:get_defaults", current.context().project_id)
    return current.one(SCHEMA.name, SCHEMA.view(quotas.defaults(current.asking())))


@blueprint.get("/quotas/<project_id>")
def get_quota(project_id: str) -> flask.Response:
    """Show the limits of a project, and with `usage=true` how much of them is used."""
    current.authorize("quota:get_one", project_id)
    with_usage = current.switch("usage")
    with current.services().db.read() as tx:
        view = SCHEMA.view(quotas.effective(current.asking(), tx, project_id))
        if with_usage:
            view["usage"] = tx.quotas.usage(project_id)
    return current.one(SCHEMA.name, view)


@blueprint.get("/quotas/<project_id>/default")
def get_default(project_id: str) -> flask.Response:
    """Show the limits that the project would have if none of its own were set."""
    current.authorize("quota:get_defaults", project_id)
    return current.one(SCHEMA.name, SCHEMA.view(dataclasses.replace(quotas.defaults(current.asking()), project_id=project_id)))


@blueprint.put("/quotas/<project_id>")
def set_quota(project_id: str) -> flask.Response:
    """Set the limits of a project."""
    values = SCHEMA.columns(SCHEMA.update(flask.request.get_data()))
    return current.one(SCHEMA.name, SCHEMA.view(quotas.update(current.asking(), project_id, values)), 202)


@blueprint.delete("/quotas/<project_id>")
def reset_quota(project_id: str) -> flask.Response:
    """Remove the limits of a project: the defaults hold for it again."""
    quotas.reset(current.asking(), project_id)
    return current.empty(202)
