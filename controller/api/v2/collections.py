"""/pools/{id}/members, one by one. The batch is in `member_batch`."""

from __future__ import annotations

import flask

from controller.api import current, paging
from controller.changes import members
from controller.db.repositories import paging as rows
from controller.resources.member import SCHEMA

blueprint = flask.Blueprint("members", __name__)


@blueprint.get("/pools/<pool_id>/members")
def list_members(pool_id: str) -> flask.Response:
    """List the members of a pool."""
    asked = paging.asked(SCHEMA, fixed=[rows.Filter("pool_id", pool_id)])
    with current.services().db.read() as tx:
        pool = tx.pools.head(pool_id)
        current.authorize("member:get_all", pool.project_id)
        found = tx.members.views(asked.query, SCHEMA)
    return asked.answer_views(found)


@blueprint.post("/pools/<pool_id>/members")
def create_member(pool_id: str) -> flask.Response:
    """Add a member to a pool.

    It is PENDING_CREATE until it can take traffic.
    """
    wanted = SCHEMA.create(flask.request.get_data())
    return current.one(SCHEMA.name, SCHEMA.view(members.create(current.asking(), pool_id, wanted)), 201)


@blueprint.get("/pools/<pool_id>/members/<member_id>")
def get_member(pool_id: str, member_id: str) -> flask.Response:
    """Show a member of a pool."""
    with current.services().db.read() as tx:
        member = members.get(tx, pool_id, member_id)
    current.authorize("member:get_one", member.project_id)
    return current.one(SCHEMA.name, SCHEMA.view(member))


@blueprint.put("/pools/<pool_id>/members/<member_id>")
def update_member(pool_id: str, member_id: str) -> flask.Response:
    """Change a member of a pool.

    It is PENDING_UPDATE until the new values are in effect.
    """
    values = SCHEMA.update(flask.request.get_data())
    return current.one(SCHEMA.name, SCHEMA.view(members.update(current.asking(), pool_id, member_id, values)))


@blueprint.delete("/pools/<pool_id>/members/<member_id>")
def delete_member(pool_id: str, member_id: str) -> flask.Response:
    """Remove a member from a pool."""
    members.delete(current.asking(), pool_id, member_id)
    return current.empty(204)
