"""/availabilityzones."""

from __future__ import annotations

import flask

from controller.api import answers, current, paging
from controller.changes import availability_zones
from controller.resources.availability_zone import SCHEMA

blueprint = flask.Blueprint("availability_zones", __name__)


@blueprint.get("/availabilityzones")
def list_availability_zones() -> flask.Response:
    """List the availability zones, among which every tenant may choose."""
    current.authorize("availability-zone:get_all", current.context().project_id)
    asked = paging.asked(SCHEMA)
    with current.services().db.read() as tx:
        found = tx.availability_zones.page(asked.query)
    return asked.answer(found)


@blueprint.post("/availabilityzones")
def create_availability_zone() -> flask.Response:
    """Create an availability zone: a name for a profile, which tenants may choose."""
    wanted = SCHEMA.create(flask.request.get_data())
    return answers.one(SCHEMA.name, SCHEMA.view(availability_zones.create(current.asking(), wanted)), 201)


@blueprint.get("/availabilityzones/<path:availability_zone_name>")
def get_availability_zone(availability_zone_name: str) -> flask.Response:
    """Show an availability zone."""
    current.authorize("availability-zone:get_one", current.context().project_id)
    with current.services().db.read() as tx:
        found = tx.availability_zones.get(availability_zone_name)
    return answers.one(SCHEMA.name, SCHEMA.view(found))


@blueprint.put("/availabilityzones/<path:availability_zone_name>")
def update_availability_zone(availability_zone_name: str) -> flask.Response:
    """Change an availability zone.

    One that is disabled can't be chosen for new load balancers; those that chose it before stay as they are.
    """
    values = SCHEMA.update(flask.request.get_data())
    return answers.one(SCHEMA.name, SCHEMA.view(availability_zones.update(current.asking(), availability_zone_name, values)))


@blueprint.delete("/availabilityzones/<path:availability_zone_name>")
def delete_availability_zone(availability_zone_name: str) -> flask.Response:
    """Delete an availability zone that no load balancer uses."""
    availability_zones.delete(current.asking(), availability_zone_name)
    return answers.empty(204)
