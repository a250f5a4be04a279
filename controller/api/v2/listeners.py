"""/listeners."""

from __future__ import annotations

import flask

from controller.api import nouns
from controller.api.v2 import collections

_ABOUT = collections.about(
    "a listener",
    "listeners",
    "Create a listener of a load balancer.\n\nIt is PENDING_CREATE until it takes traffic.",
    "Delete a listener with its L7 policies; its default pool stays.",
)
blueprint = collections.routes("listeners", "/listeners", "listener_id", nouns.LISTENER, _ABOUT, words=("listener", "listeners"))


@blueprint.get("/listeners/<listener_id>/stats")
def get_listener_stats(listener_id: str) -> flask.Response:
    """Show the traffic of a listener, summed over all amphorae that have ever served it."""
    return collections.counted(nouns.LISTENER, listener_id=listener_id)
