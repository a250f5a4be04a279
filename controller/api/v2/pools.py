"""/pools."""

from __future__ import annotations

import dataclasses

import flask

from controller.api import current, nouns, paging
from controller.api.v2 import collections
from controller.db import database
from controller.db.repositories import paging as pages
from controller.resources import pool as schema

_ABOUT = collections.about(
    "a pool",
    "pools",
    "Create a pool, as the default pool of a listener if the body names one.\n\nIt is PENDING_CREATE until it is in effect.",
    "Delete a pool with its members and its health monitor; listeners that used it have no default pool then.",
)


def _list() -> flask.Response:
    asked = paging.asked(schema.SCHEMA, project=current.visible_project("pool"), elsewhere=("healthmonitor_id",))
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


blueprint = collections.routes("pools", "/pools", "pool_id", nouns.POOL, _ABOUT, words=("pool", "pools"), list=_list)


@blueprint.get("/pools/<pool_id>/stats")
def get_pool_stats(pool_id: str) -> flask.Response:
    """Show the traffic of a pool, summed over all listeners that lead to it and all amphorae that have ever served it.

    What its members could not be asked, or did not answer, counts as an error.
    """
    return collections.counted(nouns.POOL, pool_id=pool_id)
