"""/listeners."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import flask

from controller import exceptions
from controller.api import answers, current, paging, policy
from controller.api.v2 import certificates, quotas, rules, writes
from controller.db import transaction
from controller.resources.listener import SCHEMA

blueprint = flask.Blueprint("listeners", __name__)


@blueprint.get("/listeners")
def list_listeners() -> flask.Response:
    """All that the caller may see."""
    asked = paging.asked(SCHEMA, project=policy.visible_project("listener", current.context()))
    with current.services().db.read() as tx:
        found = tx.listeners.page(asked.query)
    return asked.answer(found)


@blueprint.post("/listeners")
def create_listener() -> flask.Response:
    """Store a listener as PENDING_CREATE and have a worker build it."""
    wanted = SCHEMA.create(flask.request.get_data())
    rules.new_listener(wanted)
    _check_secrets(wanted, wanted["loadbalancer_id"])
    with writes.begin() as tx:
        load_balancer = tx.load_balancers.get(wanted["loadbalancer_id"])
        current.authorize("listener:post", load_balancer.project_id)
        generation = writes.accept(tx, load_balancer.id)
        taken = tx.listeners.protocols_on_port(load_balancer.id, wanted["protocol_port"])
        rules.free_port(wanted["protocol"], wanted["protocol_port"], taken)
        rules.cidrs(wanted["allowed_cidrs"], load_balancer.vip_versions, own_groups=bool(load_balancer.vip.sg_ids))
        _check_default_pool(tx, wanted["default_pool_id"], load_balancer.id, wanted["protocol"])
        row = {**SCHEMA.columns(wanted), **writes.new_row(load_balancer.project_id, load_balancer.id, generation)}
        quotas.reserve(tx, load_balancer.project_id, listener=1)
        rules.supported(SCHEMA, wanted)
        tx.listeners.add([row])
        listener = tx.listeners.get(row["id"])
    return answers.one(SCHEMA.name, SCHEMA.view(listener), 201)


@blueprint.get("/listeners/<listener_id>")
def get_listener(listener_id: str) -> flask.Response:
    """One."""
    with current.services().db.read() as tx:
        listener = tx.listeners.get(listener_id)
    current.authorize("listener:get_one", listener.project_id)
    return answers.one(SCHEMA.name, SCHEMA.view(listener))


@blueprint.put("/listeners/<listener_id>")
def update_listener(listener_id: str) -> flask.Response:
    """Store the new values and have a worker apply them."""
    values = SCHEMA.update(flask.request.get_data())
    _check_changed_secrets(values, listener_id)
    with writes.begin() as tx:
        listener = tx.listeners.get(listener_id)
        current.authorize("listener:put", listener.project_id)
        generation = writes.accept(tx, listener.load_balancer_id)
        writes.need(current.settings().mutable, "Listener", listener_id, listener.provisioning_status)
        rules.changed_listener(values, listener)
        if values.get("allowed_cidrs"):
            load_balancer = tx.load_balancers.get(listener.load_balancer_id)
            rules.cidrs(values["allowed_cidrs"], load_balancer.vip_versions, own_groups=bool(load_balancer.vip.sg_ids))
        _check_default_pool(tx, values.get("default_pool_id"), listener.load_balancer_id, listener.protocol)
        rules.supported(SCHEMA, values)
        tx.listeners.change(listener_id, SCHEMA.columns(values), generation)
        listener = tx.listeners.get(listener_id)
    return answers.one(SCHEMA.name, SCHEMA.view(listener))


@blueprint.delete("/listeners/<listener_id>")
def delete_listener(listener_id: str) -> flask.Response:
    """Have a worker remove it with its L7 policies; its default pool stays."""
    with writes.begin() as tx:
        listener = tx.listeners.get(listener_id)
        current.authorize("listener:delete", listener.project_id)
        generation = writes.accept(tx, listener.load_balancer_id)
        writes.need(current.settings().removable, "Listener", listener_id, listener.provisioning_status)
        tx.listeners.mark_deleted(listener_id, generation)
        tx.l7rules.mark_deleted_below(listener_id, generation)
        tx.l7policies.mark_deleted_in(listener_id, generation)
    return answers.empty(204)


@blueprint.get("/listeners/<listener_id>/stats")
def get_listener_stats(listener_id: str) -> flask.Response:
    """Its traffic, summed over all amphorae that ever served it."""
    with current.services().db.read() as tx:
        listener = tx.listeners.get(listener_id)
        counters = tx.statistics.of_listener(listener_id)
    current.authorize("listener:get_stats", listener.project_id)
    return answers.json({"stats": dataclasses.asdict(counters)})


def _check_secrets(values: Mapping[str, Any], load_balancer_id: str) -> None:
    """What a new listener names of the secret store, read before the transaction, which must not wait for it."""
    if not certificates.LISTENER.named(values):
        return
    with current.services().db.read() as tx:
        project_id = tx.load_balancers.get(load_balancer_id).project_id
    current.authorize("listener:post", project_id)
    certificates.check(certificates.LISTENER, values, project_id)


def _check_changed_secrets(values: Mapping[str, Any], listener_id: str) -> None:
    """The same for a listener that changes: a CA and its revocations are looked at together, even if only one of them is new."""
    if not certificates.LISTENER.named(values):
        return
    with current.services().db.read() as tx:
        listener = tx.listeners.get(listener_id)
    current.authorize("listener:put", listener.project_id)
    rules.changed_listener(dict(values), listener)
    certificates.check(certificates.LISTENER, certificates.LISTENER.after(values, listener), listener.project_id)


def _check_default_pool(tx: transaction.Transaction, pool_id: str | None, load_balancer_id: str, protocol: str) -> None:
    if pool_id is None:
        return
    pool = tx.pools.head(pool_id)
    if pool.load_balancer_id != load_balancer_id:
        raise exceptions.NotFound("Pool", pool_id)
    if pool.is_being_deleted:
        raise exceptions.ObjectImmutable("Pool", pool_id)
    rules.pool_below(protocol, pool.protocol)
