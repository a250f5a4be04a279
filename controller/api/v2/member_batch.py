"""PUT /pools/{id}/members: the whole membership of a pool in one request."""

from __future__ import annotations

import flask

from controller.api import current
from controller.changes import member_batch
from controller.resources import declare, kinds
from controller.resources.member import SCHEMA

blueprint = flask.Blueprint("member_batch", __name__)


@blueprint.put("/pools/<pool_id>/members")
def replace_members(pool_id: str) -> flask.Response:
    """Replace the members of a pool by those of the body, in one change.

    Members are told apart by address and port: new ones are created, known ones changed, and those that the body doesn't name deleted; with
    `additive_only`, none is deleted.
    """
    wanted = _batch(flask.request.get_data())
    member_batch.replace(current.asking(), pool_id, wanted, additive=current.switch("additive_only"))
    return current.empty(202)


def _batch(body: bytes) -> list[member_batch.Wanted]:
    given = declare.envelope(body, "members_", "members")
    if not isinstance(given, list):
        raise declare.invalid("members", given, "Value should be a list")
    if len(given) > kinds.MOST_OBJECTS:
        raise declare.invalid("members", f"{len(given)} items", f"Value should have at most {kinds.MOST_OBJECTS} items")
    return [member_batch.Wanted(SCHEMA.created(item, f"members_.members[{index}]"), frozenset(item)) for index, item in enumerate(given)]
