"""/pools/{id}/members: one by one, and the whole membership of a pool in one request."""

from __future__ import annotations

import flask

from controller.api import current, nouns
from controller.api.v2 import collections
from controller.changes import member_batch
from controller.resources import declare, kinds
from controller.resources.member import SCHEMA

_ABOUT = collections.about(
    "a member of a pool",
    "members of a pool",
    "Add a member to a pool.\n\nIt is PENDING_CREATE until it can take traffic.",
    "Remove a member from a pool.",
)
blueprint = collections.routes("members", "/pools/<pool_id>/members", "member_id", nouns.MEMBER, _ABOUT, words=("member", "members"))


@blueprint.put("/pools/<pool_id>/members")
def replace_members(pool_id: str) -> flask.Response:
    """Replace the members of a pool by those of the body, in one change.

    Members are told apart by address and port: new ones are created, known ones changed, and those that the body doesn't name deleted; with
    `additive_only`, none is deleted.
    """
    wanted = _batch(flask.request.get_data())
    member_batch.replace(current.asking(), pool_id, wanted, additive=current.switch("additive_only"))
    return current.empty(202)


@blueprint.get("/pools/<pool_id>/members/<member_id>/stats")
def get_member_stats(pool_id: str, member_id: str) -> flask.Response:
    """Show the traffic of a member of a pool, summed over all listeners that lead to it and all amphorae that have ever served it.

    Of HTTP, a connection is counted for each request: those of one client may be for several members.
    """
    return collections.counted(nouns.MEMBER, pool_id=pool_id, member_id=member_id)


def _batch(body: bytes) -> list[member_batch.Wanted]:
    given = declare.envelope(body, "members_", "members")
    if not isinstance(given, list):
        raise declare.invalid("members", given, "Value should be a list")
    if len(given) > kinds.MOST_OBJECTS:
        raise declare.invalid("members", f"{len(given)} items", f"Value should have at most {kinds.MOST_OBJECTS} items")
    return [member_batch.Wanted(SCHEMA.created(item, f"members_.members[{index}]"), frozenset(item)) for index, item in enumerate(given)]
