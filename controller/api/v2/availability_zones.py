"""/availabilityzones."""

from __future__ import annotations

import flask

from controller.api import answers, current, paging
from controller.api.v2 import foreign
from controller.resources.availability_zone import SCHEMA

blueprint = flask.Blueprint("availability_zones", __name__)


@blueprint.get("/availabilityzones")
def list_availability_zones() -> flask.Response:
    """All: everybody may choose among them."""
    current.authorize("availability-zone:get_all", current.context().project_id)
    asked = paging.asked(SCHEMA)
    with current.services().db.read() as tx:
        found = tx.availability_zones.page(asked.query)
    return asked.answer(found)


@blueprint.post("/availabilityzones")
def create_availability_zone() -> flask.Response:
    """Give a profile a name that tenants may choose."""
    wanted = SCHEMA.create(flask.request.get_data())
    current.authorize("availability-zone:post", None)
    key = wanted["name"]
    with current.services().db.begin() as tx:
        with foreign.in_a_body():
            tx.availability_zone_profiles.hold(wanted["availability_zone_profile_id"])
        tx.availability_zones.add(SCHEMA.columns(wanted))
        made = tx.availability_zones.get(key)
    return answers.one(SCHEMA.name, SCHEMA.view(made), 201)


@blueprint.get("/availabilityzones/<path:availability_zone_name>")
def get_availability_zone(availability_zone_name: str) -> flask.Response:
    """One."""
    current.authorize("availability-zone:get_one", current.context().project_id)
    with current.services().db.read() as tx:
        found = tx.availability_zones.get(availability_zone_name)
    return answers.one(SCHEMA.name, SCHEMA.view(found))


@blueprint.put("/availabilityzones/<path:availability_zone_name>")
def update_availability_zone(availability_zone_name: str) -> flask.Response:
    """Store the new values. One that is disabled can't be chosen any more; what chose it before stays as it is."""
    values = SCHEMA.update(flask.request.get_data())
    current.authorize("availability-zone:put", None)
    with current.services().db.begin() as tx:
        tx.availability_zones.lock(availability_zone_name)
        tx.availability_zones.change(availability_zone_name, SCHEMA.columns(values))
        found = tx.availability_zones.get(availability_zone_name)
    return answers.one(SCHEMA.name, SCHEMA.view(found))


@blueprint.delete("/availabilityzones/<path:availability_zone_name>")
def delete_availability_zone(availability_zone_name: str) -> flask.Response:
    """Delete one that no load balancer uses."""
    current.authorize("availability-zone:delete", None)
    with current.services().db.begin() as tx:
        tx.availability_zones.delete(availability_zone_name)
    return answers.empty(204)
