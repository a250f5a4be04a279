"""/healthmonitors."""

from __future__ import annotations

import flask

from controller.api import current, paging, policy
from controller.changes import health_monitors
from controller.resources.health_monitor import SCHEMA

blueprint = flask.Blueprint("health_monitors", __name__)


@blueprint.get("/healthmonitors")
def list_health_monitors() -> flask.Response:
    """List the health monitors that you may see."""
    asked = paging.asked(SCHEMA, project=policy.visible_project("healthmonitor", current.context()))
    with current.services().db.read() as tx:
        found = tx.health_monitors.views(asked.query, SCHEMA)
    return asked.answer_views(found)


@blueprint.post("/healthmonitors")
def create_health_monitor() -> flask.Response:
    """Create the health monitor of a pool.

    It is PENDING_CREATE until the pool's members are being checked.
    """
    wanted = SCHEMA.create(flask.request.get_data())
    return current.one(SCHEMA.name, SCHEMA.view(health_monitors.create(current.asking(), wanted)), 201)


@blueprint.get("/healthmonitors/<monitor_id>")
def get_health_monitor(monitor_id: str) -> flask.Response:
    """Show a health monitor."""
    with current.services().db.read() as tx:
        monitor = tx.health_monitors.get(monitor_id)
    current.authorize("healthmonitor:get_one", monitor.project_id)
    return current.one(SCHEMA.name, SCHEMA.view(monitor))


@blueprint.put("/healthmonitors/<monitor_id>")
def update_health_monitor(monitor_id: str) -> flask.Response:
    """Change a health monitor.

    It is PENDING_UPDATE until the new values are in effect.
    """
    values = SCHEMA.update(flask.request.get_data())
    return current.one(SCHEMA.name, SCHEMA.view(health_monitors.update(current.asking(), monitor_id, values)))


@blueprint.delete("/healthmonitors/<monitor_id>")
def delete_health_monitor(monitor_id: str) -> flask.Response:
    """Delete a health monitor: its pool's members are not checked any more, and take traffic."""
    health_monitors.delete(current.asking(), monitor_id)
    return current.empty(204)
