"""/l7policies."""

from __future__ import annotations

import flask

from controller import exceptions
from controller.api import answers, current, paging, policy
from controller.api.v2 import l7, quotas, rules, writes
from controller.db import transaction
from controller.model import load_balancer as model
from controller.model.status import ProvisioningStatus
from controller.resources.l7policy import SCHEMA

blueprint = flask.Blueprint("l7policies", __name__)


@blueprint.get("/l7policies")
def list_l7policies() -> flask.Response:
    """All that the caller may see."""
    asked = paging.asked(SCHEMA, project=policy.visible_project("l7policy", current.context()))
    with current.services().db.read() as tx:
        found = tx.l7policies.page(asked.query)
    return asked.answer(found)


@blueprint.post("/l7policies")
def create_l7policy() -> flask.Response:
    """Store a policy as PENDING_CREATE, at its position among those of its listener, and have a worker apply it."""
    wanted = SCHEMA.create(flask.request.get_data())
    l7.new_policy(wanted)
    with writes.begin() as tx:
        listener = tx.listeners.get(wanted["listener_id"])
        current.authorize("l7policy:post", listener.project_id)
        l7.policy_below(listener.protocol)
        generation = writes.accept(tx, listener.load_balancer_id)
        writes.need(current.settings().mutable, "Listener", listener.id, listener.provisioning_status)
        tx.listeners.touch(listener.id, generation)
        _check_pool(tx, wanted["redirect_pool_id"], listener)
        position = min(wanted["position"], tx.l7policies.last_position(listener.id) + 1)
        quotas.reserve(tx, listener.project_id, l7policy=1)
        l7.supported_below(listener.protocol)
        row = {
            **SCHEMA.columns(wanted),
            **writes.new_row(listener.project_id, listener.load_balancer_id, generation),
            "position": position,
        }
        tx.l7policies.make_room(listener.id, position, generation)
        tx.l7policies.add([row])
        _touch_users(tx, generation, wanted["redirect_pool_id"])
        created = tx.l7policies.get(row["id"])
    return answers.one(SCHEMA.name, SCHEMA.view(created), 201)


@blueprint.get("/l7policies/<policy_id>")
def get_l7policy(policy_id: str) -> flask.Response:
    """One."""
    with current.services().db.read() as tx:
        found = tx.l7policies.get(policy_id)
    current.authorize("l7policy:get_one", found.project_id)
    return answers.one(SCHEMA.name, SCHEMA.view(found))


@blueprint.put("/l7policies/<policy_id>")
def update_l7policy(policy_id: str) -> flask.Response:
    """Store the new values, move the policy and those between its old and its new position, and have a worker apply it."""
    values = SCHEMA.update(flask.request.get_data())
    with writes.begin() as tx:
        head = tx.l7policies.head(policy_id)
        current.authorize("l7policy:put", head.project_id)
        generation = writes.accept(tx, head.load_balancer_id)
        stored = tx.l7policies.get(policy_id)  # under the load balancer's lock
        writes.need(current.settings().mutable, "L7 Policy", policy_id, stored.provisioning_status)
        tx.l7policies.touch(policy_id, generation)
        listener = tx.listeners.get(stored.listener_id)
        tx.listeners.touch(listener.id, generation)
        l7.changed_policy(values, stored)
        if values["redirect_pool_id"] != stored.redirect_pool_id:
            _check_pool(tx, values["redirect_pool_id"], listener)
        if "position" in values:
            values["position"] = min(values["position"], tx.l7policies.last_position(listener.id))
            tx.l7policies.move(stored, values["position"], generation)
        _touch_users(tx, generation, stored.redirect_pool_id)
        tx.l7policies.change(policy_id, SCHEMA.columns(values), generation)
        _touch_users(tx, generation, values["redirect_pool_id"])
        changed = tx.l7policies.get(policy_id)
    return answers.one(SCHEMA.name, SCHEMA.view(changed))


@blueprint.delete("/l7policies/<policy_id>")
def delete_l7policy(policy_id: str) -> flask.Response:
    """Have a worker remove it with its rules; those behind it move up."""
    with writes.begin() as tx:
        head = tx.l7policies.head(policy_id)
        current.authorize("l7policy:delete", head.project_id)
        generation = writes.accept(tx, head.load_balancer_id)
        stored = tx.l7policies.get(policy_id)
        writes.need(current.settings().removable, "L7 Policy", policy_id, stored.provisioning_status)
        tx.l7policies.mark_deleted(policy_id, generation)
        tx.l7rules.mark_deleted_in(policy_id, generation)
        tx.l7policies.close_gap(stored.listener_id, stored.position, generation)
        tx.listeners.touch(stored.listener_id, generation)
        _touch_users(tx, generation, stored.redirect_pool_id)
    return answers.empty(204)


def _check_pool(tx: transaction.Transaction, pool_id: str | None, listener: model.Listener) -> None:
    """Whether requests of the listener can be given to the pool, read under the load balancer's lock."""
    if pool_id is None:
        return
    pool = tx.pools.head(pool_id)
    if pool.load_balancer_id != listener.load_balancer_id:
        raise exceptions.NotFound("Pool", pool_id)
    if pool.provisioning_status is ProvisioningStatus.PENDING_DELETE:
        raise exceptions.ObjectImmutable("Pool", pool_id)
    rules.pool_below(listener.protocol, pool.protocol)


def _touch_users(tx: transaction.Transaction, generation: int, pool_id: str | None) -> None:
    if pool_id is not None:
        tx.listeners.touch_users(pool_id, generation)
