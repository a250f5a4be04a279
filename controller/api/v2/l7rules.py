"""/l7policies/{id}/rules."""

from __future__ import annotations

import flask

from controller.api import current, paging
from controller.changes import l7rules
from controller.db.repositories import paging as rows
from controller.resources.l7rule import SCHEMA

blueprint = flask.Blueprint("l7rules", __name__)


@blueprint.get("/l7policies/<policy_id>/rules")
def list_rules(policy_id: str) -> flask.Response:
    """List the rules of an L7 policy."""
    asked = paging.asked(SCHEMA, fixed=[rows.Filter("l7policy_id", policy_id)])
    with current.services().db.read() as tx:
        policy = tx.l7policies.head(policy_id)
        current.authorize("l7rule:get_all", policy.project_id)
        found = tx.l7rules.views(asked.query, SCHEMA)
    return asked.answer_views(found)


@blueprint.post("/l7policies/<policy_id>/rules")
def create_rule(policy_id: str) -> flask.Response:
    """Create a rule of an L7 policy."""
    wanted = SCHEMA.create(flask.request.get_data())
    return current.one(SCHEMA.name, SCHEMA.view(l7rules.create(current.asking(), policy_id, wanted)), 201)


@blueprint.get("/l7policies/<policy_id>/rules/<rule_id>")
def get_rule(policy_id: str, rule_id: str) -> flask.Response:
    """Show a rule of an L7 policy."""
    with current.services().db.read() as tx:
        rule = l7rules.get(tx, policy_id, rule_id)
    current.authorize("l7rule:get_one", rule.project_id)
    return current.one(SCHEMA.name, SCHEMA.view(rule))


@blueprint.put("/l7policies/<policy_id>/rules/<rule_id>")
def update_rule(policy_id: str, rule_id: str) -> flask.Response:
    """Change a rule of an L7 policy."""
    values = SCHEMA.update(flask.request.get_data())
    return current.one(SCHEMA.name, SCHEMA.view(l7rules.update(current.asking(), policy_id, rule_id, values)))


@blueprint.delete("/l7policies/<policy_id>/rules/<rule_id>")
def delete_rule(policy_id: str, rule_id: str) -> flask.Response:
    """Delete a rule of an L7 policy."""
    l7rules.delete(current.asking(), policy_id, rule_id)
    return current.empty(204)
