"""/pools/{id}/members, one by one and as a batch."""

from __future__ import annotations

import flask

from controller.api import answers, arguments, current, paging
from controller.changes import member_batch, members
from controller.db.repositories import paging as rows
from controller.resources import declare, kinds
from controller.resources.member import SCHEMA

blueprint = flask.Blueprint("members", __name__)


@blueprint.get("/pools/<pool_id>/members")
def list_members(pool_id: str) -> flask.Response:
    """All of the pool's."""
    asked = paging.asked(SCHEMA, fixed=[rows.Filter("pool_id", pool_id)])
    with current.services().db.read() as tx:
        pool = tx.pools.head(pool_id)
        current.authorize("member:get_all", pool.project_id)
        found = tx.members.page(asked.query)
    return asked.answer(found)


@blueprint.post("/pools/<pool_id>/members")
def create_member(pool_id: str) -> flask.Response:
    """Store a member as PENDING_CREATE and have a worker add it."""
    wanted = SCHEMA.create(flask.request.get_data())
    return answers.one(SCHEMA.name, SCHEMA.view(members.create(current.asking(), pool_id, wanted)), 201)


@blueprint.get("/pools/<pool_id>/members/<member_id>")
def get_member(pool_id: str, member_id: str) -> flask.Response:
    """One."""
    with current.services().db.read() as tx:
        member = members.get(tx, pool_id, member_id)
    current.authorize("member:get_one", member.project_id)
    return answers.one(SCHEMA.name, SCHEMA.view(member))


@blueprint.put("/pools/<pool_id>/members/<member_id>")
def update_member(pool_id: str, member_id: str) -> flask.Response:
    """Store the new values and have a worker apply them."""
    values = SCHEMA.update(flask.request.get_data())
    return answers.one(SCHEMA.name, SCHEMA.view(members.update(current.asking(), pool_id, member_id, values)))


@blueprint.delete("/pools/<pool_id>/members/<member_id>")
def delete_member(pool_id: str, member_id: str) -> flask.Response:
    """Have a worker remove it."""
    members.delete(current.asking(), pool_id, member_id)
    return answers.empty(204)


@blueprint.put("/pools/<pool_id>/members")
def replace_members(pool_id: str) -> flask.Response:
    """Create, change and delete members until the pool has those of the body (with `additive_only`: at least those)."""
    wanted = _batch(flask.request.get_data())
    member_batch.replace(current.asking(), pool_id, wanted, additive=arguments.boolean("additive_only"))
    return answers.empty(202)


def _batch(body: bytes) -> list[member_batch.Wanted]:
    given = declare.envelope(body, "members_", "members")
    if not isinstance(given, list):
        raise declare.invalid("members", given, "Value should be a list")
    if len(given) > kinds.MOST_OBJECTS:
        raise declare.invalid("members", f"{len(given)} items", f"Value should have at most {kinds.MOST_OBJECTS} items")
    return [member_batch.Wanted(SCHEMA.created(item, f"members_.members[{index}]"), frozenset(item)) for index, item in enumerate(given)]
