"""/l7policies."""

from __future__ import annotations

import flask

from controller.api import current, paging, policy
from controller.changes import l7policies
from controller.resources.l7policy import SCHEMA

blueprint = flask.Blueprint("l7policies", __name__)


@blueprint.get("/l7policies")
def list_l7policies() -> flask.Response:
    """List the L7 policies that you may see."""
    asked = paging.asked(SCHEMA, project=policy.visible_project("l7policy", current.context()))
    with current.services().db.read() as tx:
        found = tx.l7policies.views(asked.query, SCHEMA)
    return asked.answer_views(found)


@blueprint.post("/l7policies")
def create_l7policy() -> flask.Response:
    """Create an L7 policy of a listener, at its position among the listener's policies."""
    wanted = SCHEMA.create(flask.request.get_data())
    return current.one(SCHEMA.name, SCHEMA.view(l7policies.create(current.asking(), wanted)), 201)


@blueprint.get("/l7policies/<policy_id>")
def get_l7policy(policy_id: str) -> flask.Response:
    """Show an L7 policy."""
    with current.services().db.read() as tx:
        found = tx.l7policies.get(policy_id)
    current.authorize("l7policy:get_one", found.project_id)
    return current.one(SCHEMA.name, SCHEMA.view(found))


@blueprint.put("/l7policies/<policy_id>")
def update_l7policy(policy_id: str) -> flask.Response:
    """Change an L7 policy.

    With a new `position`, the policies between the old and the new one move by one.
    """
    values = SCHEMA.update(flask.request.get_data())
    return current.one(SCHEMA.name, SCHEMA.view(l7policies.update(current.asking(), policy_id, values)))


@blueprint.delete("/l7policies/<policy_id>")
def delete_l7policy(policy_id: str) -> flask.Response:
    """Delete an L7 policy with its rules; those behind it move up."""
    l7policies.delete(current.asking(), policy_id)
    return current.empty(204)
