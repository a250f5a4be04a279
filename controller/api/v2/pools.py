"""/pools."""

from __future__ import annotations

import dataclasses
from typing import Any

import flask

from controller import exceptions
from controller.api import answers, current, paging, policy
from controller.api.v2 import certificates, quotas, rules, writes
from controller.db import transaction
from controller.db.repositories import paging as pages
from controller.model import load_balancer as model
from controller.refusals import Refusal
from controller.resources import pool as schema

SCHEMA = schema.SCHEMA
blueprint = flask.Blueprint("pools", __name__)


@blueprint.get("/pools")
def list_pools() -> flask.Response:
    """All that the caller may see."""
    asked = paging.asked(SCHEMA, project=policy.visible_project("pool", current.context()), elsewhere=("healthmonitor_id",))
    with current.services().db.read() as tx:
        found = tx.pools.page(_of_monitors(tx, asked.query))
    return asked.answer(found, schema.view)


def _of_monitors(tx: transaction.Transaction, query: pages.Query) -> pages.Query:
    """With the filter `healthmonitor_id`, which is the one attribute that stands in another resource's row."""
    wanted = flask.request.args.getlist("healthmonitor_id")
    if not wanted or not current.settings().allow_filtering:
        return query
    if len(wanted) > 1:
        raise paging.bad_filter()
    pool_id = tx.health_monitors.pool_of(wanted[0])
    return dataclasses.replace(query, filters=(*query.filters, pages.Filter("id", pool_id)), nothing=query.nothing or pool_id is None)


@blueprint.post("/pools")
def create_pool() -> flask.Response:
    """Store a pool as PENDING_CREATE, below its listener if it names one, and have a worker build it."""
    wanted = SCHEMA.create(flask.request.get_data())
    rules.new_pool(wanted)
    _check_secrets(wanted)
    with writes.begin() as tx:
        load_balancer_id, project_id, listener = _parents(tx, wanted)
        current.authorize("pool:post", project_id)
        generation = writes.accept(tx, load_balancer_id)
        if listener is not None:
            _check_listener(tx.listeners.get(listener.id), wanted["protocol"])
        row = {
            **SCHEMA.columns(wanted),
            **writes.new_row(project_id, load_balancer_id, generation),
        }
        quotas.reserve(tx, project_id, pool=1)
        rules.supported(SCHEMA, wanted)
        tx.pools.add([row])
        if listener is not None:
            tx.listeners.change(listener.id, {"default_pool_id": row["id"]}, generation)
        pool = tx.pools.get(row["id"])
    return answers.one(SCHEMA.name, schema.view(pool), 201)


@blueprint.get("/pools/<pool_id>")
def get_pool(pool_id: str) -> flask.Response:
    """One."""
    with current.services().db.read() as tx:
        pool = tx.pools.get(pool_id)
    current.authorize("pool:get_one", pool.project_id)
    return answers.one(SCHEMA.name, schema.view(pool))


@blueprint.put("/pools/<pool_id>")
def update_pool(pool_id: str) -> flask.Response:
    """Store the new values and have a worker apply them."""
    values = SCHEMA.update(flask.request.get_data())
    asked_for = dict(values)  # without the operator's defaults, which take the place of nulls
    _check_changed_secrets(values, pool_id)
    with writes.begin() as tx:
        pool = tx.pools.get(pool_id)
        current.authorize("pool:put", pool.project_id)
        generation = writes.accept(tx, pool.load_balancer_id)
        writes.need_users(tx, pool_id)
        rules.changed_pool(values, pool)
        rules.supported(SCHEMA, asked_for)
        tx.pools.change(pool_id, SCHEMA.columns(values), generation)
        tx.listeners.touch_users(pool_id, generation)
        pool = tx.pools.get(pool_id)
    return answers.one(SCHEMA.name, schema.view(pool))


@blueprint.delete("/pools/<pool_id>")
def delete_pool(pool_id: str) -> flask.Response:
    """Have a worker remove it with its members and its monitor; listeners lose their default pool."""
    with writes.begin() as tx:
        pool = tx.pools.head(pool_id)
        current.authorize("pool:delete", pool.project_id)
        generation = writes.accept(tx, pool.load_balancer_id)
        writes.need_users(tx, pool_id)
        if (user := tx.l7policies.user_of(pool_id)) is not None:
            raise exceptions.Conflict(f"Pool {pool_id} is in use by L7 policy {user}", code=Refusal.POOL_IN_USE)
        tx.pools.mark_deleted(pool_id, generation)
        tx.members.mark_deleted_in(pool_id, generation)
        tx.health_monitors.mark_deleted_in(pool_id, generation)
        tx.listeners.detach(pool_id, generation)
    return answers.empty(204)


def _parents(tx: transaction.Transaction, wanted: dict[str, Any]) -> tuple[str, str, model.Listener | None]:
    """The load balancer's id and project, and the listener if one was named."""
    if wanted["listener_id"] is not None:
        listener = tx.listeners.get(wanted["listener_id"])
        current.authorize("pool:post", listener.project_id)  # before a word about where somebody else's listener is
        if wanted["loadbalancer_id"] not in (None, listener.load_balancer_id):
            raise rules.failure(f"Listener {listener.id} is not on load balancer {wanted['loadbalancer_id']}.")
        wanted["loadbalancer_id"] = listener.load_balancer_id
        return listener.load_balancer_id, listener.project_id, listener
    if wanted["loadbalancer_id"] is None:
        raise rules.failure("Must provide at least one of: loadbalancer_id, listener_id")
    load_balancer = tx.load_balancers.get(wanted["loadbalancer_id"])
    return load_balancer.id, load_balancer.project_id, None


def _check_secrets(wanted: dict[str, Any]) -> None:
    """What a new pool names of the secret store, read before the transaction, which must not wait for it."""
    if not certificates.POOL.named(wanted):
        return
    with current.services().db.read() as tx:
        _load_balancer_id, project_id, _listener = _parents(tx, wanted)
    current.authorize("pool:post", project_id)
    certificates.check(certificates.POOL, wanted, project_id)


def _check_changed_secrets(values: dict[str, Any], pool_id: str) -> None:
    """The same for a pool that changes."""
    if not certificates.POOL.named(values):
        return
    with current.services().db.read() as tx:
        pool = tx.pools.get(pool_id)
    current.authorize("pool:put", pool.project_id)
    rules.changed_pool(dict(values), pool)
    certificates.check(certificates.POOL, certificates.POOL.after(values, pool), pool.project_id)


def _check_listener(listener: model.Listener, protocol: str) -> None:
    """Whether the listener, read under the load balancer's lock, can take the new pool."""
    writes.need(current.settings().mutable, "Listener", listener.id, listener.provisioning_status)
    rules.pool_below(listener.protocol, protocol)
    if listener.default_pool_id is not None:
        words = f"Listener {listener.id} already has a default pool: {listener.default_pool_id}"
        raise exceptions.Conflict(words, code=Refusal.DEFAULT_POOL_EXISTS)
