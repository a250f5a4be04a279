"""/listeners."""

from __future__ import annotations

import dataclasses

import flask

from controller.api import current, paging, policy
from controller.changes import listeners
from controller.resources.listener import SCHEMA

blueprint = flask.Blueprint("listeners", __name__)


@blueprint.get("/listeners")
def list_listeners() -> flask.Response:
    """List the listeners that you may see."""
    asked = paging.asked(SCHEMA, project=policy.visible_project("listener", current.context()))
    with current.services().db.read() as tx:
        found = tx.listeners.views(asked.query, SCHEMA)
    return asked.answer_views(found)


@blueprint.post("/listeners")
def create_listener() -> flask.Response:
    """Create a listener of a load balancer.

    It is PENDING_CREATE until it takes traffic.
    """
    wanted = SCHEMA.create(flask.request.get_data())
    return current.one(SCHEMA.name, SCHEMA.view(listeners.create(current.asking(), wanted)), 201)


@blueprint.get("/listeners/<listener_id>")
def get_listener(listener_id: str) -> flask.Response:
    """Show a listener."""
    with current.services().db.read() as tx:
        listener = tx.listeners.get(listener_id)
    current.authorize("listener:get_one", listener.project_id)
    return current.one(SCHEMA.name, SCHEMA.view(listener))


@blueprint.put("/listeners/<listener_id>")
def update_listener(listener_id: str) -> flask.Response:
    """Change a listener.

    It is PENDING_UPDATE until the new values are in effect.
    """
    values = SCHEMA.update(flask.request.get_data())
    return current.one(SCHEMA.name, SCHEMA.view(listeners.update(current.asking(), listener_id, values)))


@blueprint.delete("/listeners/<listener_id>")
def delete_listener(listener_id: str) -> flask.Response:
    """Delete a listener with its L7 policies; its default pool stays."""
    listeners.delete(current.asking(), listener_id)
    return current.empty(204)


@blueprint.get("/listeners/<listener_id>/stats")
def get_listener_stats(listener_id: str) -> flask.Response:
    """Show the traffic of a listener, summed over all amphorae that have ever served it."""
    with current.services().db.read() as tx:
        listener = tx.listeners.get(listener_id)
        counters = tx.statistics.of_listener(listener_id)
    current.authorize("listener:get_stats", listener.project_id)
    return current.json({"stats": dataclasses.asdict(counters)})
