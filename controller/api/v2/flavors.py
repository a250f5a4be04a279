"""/flavors."""

from __future__ import annotations

import uuid

import flask

from controller.api import answers, current, paging
from controller.api.v2 import foreign
from controller.resources.flavor import SCHEMA

blueprint = flask.Blueprint("flavors", __name__)


@blueprint.get("/flavors")
def list_flavors() -> flask.Response:
    """All: everybody may choose among them."""
    current.authorize("flavor:get_all", current.context().project_id)
    asked = paging.asked(SCHEMA)
    with current.services().db.read() as tx:
        found = tx.flavors.page(asked.query)
    return asked.answer(found)


@blueprint.post("/flavors")
def create_flavor() -> flask.Response:
    """Give a profile a name that tenants may choose."""
    wanted = SCHEMA.create(flask.request.get_data())
    current.authorize("flavor:post", None)
    key = str(uuid.uuid4())
    with current.services().db.begin() as tx:
        with foreign.in_a_body():
            tx.flavor_profiles.hold(wanted["flavor_profile_id"])
        tx.flavors.add({"id": key, **SCHEMA.columns(wanted)})
        made = tx.flavors.get(key)
    return answers.one(SCHEMA.name, SCHEMA.view(made), 201)


@blueprint.get("/flavors/<flavor_id>")
def get_flavor(flavor_id: str) -> flask.Response:
    """One."""
    current.authorize("flavor:get_one", current.context().project_id)
    with current.services().db.read() as tx:
        found = tx.flavors.get(flavor_id)
    return answers.one(SCHEMA.name, SCHEMA.view(found))


@blueprint.put("/flavors/<flavor_id>")
def update_flavor(flavor_id: str) -> flask.Response:
    """Store the new values. One that is disabled can't be chosen any more; what chose it before stays as it is."""
    values = SCHEMA.update(flask.request.get_data())
    current.authorize("flavor:put", None)
    with current.services().db.begin() as tx:
        tx.flavors.lock(flavor_id)
        tx.flavors.change(flavor_id, SCHEMA.columns(values))
        found = tx.flavors.get(flavor_id)
    return answers.one(SCHEMA.name, SCHEMA.view(found))


@blueprint.delete("/flavors/<flavor_id>")
def delete_flavor(flavor_id: str) -> flask.Response:
    """Delete one that no load balancer uses."""
    current.authorize("flavor:delete", None)
    with current.services().db.begin() as tx:
        tx.flavors.delete(flavor_id)
    return answers.empty(204)
