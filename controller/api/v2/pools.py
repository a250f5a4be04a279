"""/pools."""

from __future__ import annotations

import dataclasses

import flask

from controller.api import current, paging, policy
from controller.changes import pools
from controller.db import database
from controller.db.repositories import paging as pages
from controller.resources import pool as schema

SCHEMA = schema.SCHEMA
blueprint = flask.Blueprint("pools", __name__)


@blueprint.get("/pools")
def list_pools() -> flask.Response:
    """List the pools that you may see."""
    asked = paging.asked(SCHEMA, project=policy.visible_project("pool", current.context()), elsewhere=("healthmonitor_id",))
    with current.services().db.read() as tx:
        found = tx.pools.page(_of_monitors(tx, asked.query))
    return asked.answer(found, schema.view)


def _of_monitors(tx: database.Transaction, query: pages.Query) -> pages.Query:
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
    """Create a pool, as the default pool of a listener if the body names one.

    It is PENDING_CREATE until it is in effect.
    """
    wanted = SCHEMA.create(flask.request.get_data())
    return current.one(SCHEMA.name, schema.view(pools.create(current.asking(), wanted)), 201)


@blueprint.get("/pools/<pool_id>")
def get_pool(pool_id: str) -> flask.Response:
    """Show a pool."""
    with current.services().db.read() as tx:
        pool = tx.pools.get(pool_id)
    current.authorize("pool:get_one", pool.project_id)
    return current.one(SCHEMA.name, schema.view(pool))


@blueprint.put("/pools/<pool_id>")
def update_pool(pool_id: str) -> flask.Response:
    """Change a pool.

    It is PENDING_UPDATE until the new values are in effect.
    """
    values = SCHEMA.update(flask.request.get_data())
    return current.one(SCHEMA.name, schema.view(pools.update(current.asking(), pool_id, values)))


@blueprint.delete("/pools/<pool_id>")
def delete_pool(pool_id: str) -> flask.Response:
    """Delete a pool with its members and its health monitor; listeners that used it have no default pool then."""
    pools.delete(current.asking(), pool_id)
    return current.empty(204)
