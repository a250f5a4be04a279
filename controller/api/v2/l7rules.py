"""/l7policies/{id}/rules."""

from __future__ import annotations

import flask

from controller import exceptions
from controller.api import answers, current, paging
from controller.api.v2 import l7, quotas, rules, writes
from controller.db import transaction
from controller.db.repositories import l7policies
from controller.db.repositories import paging as rows
from controller.model import load_balancer as model
from controller.resources.l7rule import SCHEMA

blueprint = flask.Blueprint("l7rules", __name__)


@blueprint.get("/l7policies/<policy_id>/rules")
def list_rules(policy_id: str) -> flask.Response:
    """All of the policy's."""
    asked = paging.asked(SCHEMA, fixed=[rows.Filter("l7policy_id", policy_id)])
    with current.services().db.read() as tx:
        policy = tx.l7policies.head(policy_id)
        current.authorize("l7rule:get_all", policy.project_id)
        found = tx.l7rules.page(asked.query)
    return asked.answer(found)


@blueprint.post("/l7policies/<policy_id>/rules")
def create_rule(policy_id: str) -> flask.Response:
    """Store a rule as PENDING_CREATE and have a worker apply it."""
    wanted = SCHEMA.create(flask.request.get_data())
    l7.rule(wanted)
    with writes.begin() as tx:
        policy = tx.l7policies.head(policy_id)
        current.authorize("l7rule:post", policy.project_id)
        generation = _change_policy(tx, policy)
        l7.room_for_rules(policy_id, tx.l7policies.head(policy_id).rules + 1)  # counted under the load balancer's lock
        quotas.reserve(tx, policy.project_id, l7rule=1)
        rules.supported(SCHEMA, wanted)
        row = {
            **SCHEMA.columns(wanted),
            **writes.new_row(policy.project_id, policy.load_balancer_id, generation),
            "l7policy_id": policy_id,
        }
        tx.l7rules.add([row])
        rule = tx.l7rules.get(row["id"])
    return answers.one(SCHEMA.name, SCHEMA.view(rule), 201)


@blueprint.get("/l7policies/<policy_id>/rules/<rule_id>")
def get_rule(policy_id: str, rule_id: str) -> flask.Response:
    """One."""
    with current.services().db.read() as tx:
        rule = _rule(tx, policy_id, rule_id)
    current.authorize("l7rule:get_one", rule.project_id)
    return answers.one(SCHEMA.name, SCHEMA.view(rule))


@blueprint.put("/l7policies/<policy_id>/rules/<rule_id>")
def update_rule(policy_id: str, rule_id: str) -> flask.Response:
    """Store the new values and have a worker apply them."""
    values = SCHEMA.update(flask.request.get_data())
    with writes.begin() as tx:
        policy = tx.l7policies.head(policy_id)
        rule = _rule(tx, policy_id, rule_id)
        current.authorize("l7rule:put", rule.project_id)
        generation = _change_policy(tx, policy)
        l7.rule(l7.whole_rule(tx.l7rules.get(rule_id), values))  # read again, under the load balancer's lock
        rules.supported(SCHEMA, values)
        tx.l7rules.change(rule_id, SCHEMA.columns(values), generation)
        rule = tx.l7rules.get(rule_id)
    return answers.one(SCHEMA.name, SCHEMA.view(rule))


@blueprint.delete("/l7policies/<policy_id>/rules/<rule_id>")
def delete_rule(policy_id: str, rule_id: str) -> flask.Response:
    """Have a worker remove it."""
    with writes.begin() as tx:
        policy = tx.l7policies.head(policy_id)
        rule = _rule(tx, policy_id, rule_id)
        current.authorize("l7rule:delete", rule.project_id)
        generation = _change_policy(tx, policy)
        tx.l7rules.mark_deleted(rule_id, generation)
    return answers.empty(204)


def _change_policy(tx: transaction.Transaction, policy: l7policies.Head) -> int:
    """Accept a change below a policy: stamps the load balancer, the listener and the policy; returns the new generation.

    :raises Immutable: the load balancer takes no changes now.
    :raises Conflict: the policy is being deleted or, in the strict mode, not at rest.
    """
    generation = writes.accept(tx, policy.load_balancer_id)
    writes.need(current.settings().mutable, "L7 Policy", policy.id, policy.provisioning_status)
    tx.l7policies.touch(policy.id, generation)
    tx.listeners.touch(policy.listener_id, generation)
    return generation


def _rule(tx: transaction.Transaction, policy_id: str, rule_id: str) -> model.L7Rule:
    rule = tx.l7rules.get(rule_id)
    if rule.l7policy_id != policy_id:
        raise exceptions.NotFound("L7 Rule", rule_id)
    return rule
