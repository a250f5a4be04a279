"""/flavors."""

from __future__ import annotations

import flask

from controller.api import answers, current, paging
from controller.changes import flavors
from controller.resources.flavor import SCHEMA

blueprint = flask.Blueprint("flavors", __name__)


@blueprint.get("/flavors")
def list_flavors() -> flask.Response:
    """List the flavors, among which every tenant may choose."""
    current.authorize("flavor:get_all", current.context().project_id)
    asked = paging.asked(SCHEMA)
    with current.services().db.read() as tx:
        found = tx.flavors.page(asked.query)
    return asked.answer(found)


@blueprint.post("/flavors")
def create_flavor() -> flask.Response:
    """Create a flavor: a name for a profile, which tenants may choose."""
    wanted = SCHEMA.create(flask.request.get_data())
    return answers.one(SCHEMA.name, SCHEMA.view(flavors.create(current.asking(), wanted)), 201)


@blueprint.get("/flavors/<flavor_id>")
def get_flavor(flavor_id: str) -> flask.Response:
    """Show a flavor."""
    current.authorize("flavor:get_one", current.context().project_id)
    with current.services().db.read() as tx:
        found = tx.flavors.get(flavor_id)
    return answers.one(SCHEMA.name, SCHEMA.view(found))


@blueprint.put("/flavors/<flavor_id>")
def update_flavor(flavor_id: str) -> flask.Response:
    """Change a flavor.

    One that is disabled can't be chosen for new load balancers; those that chose it before stay as they are.
    """
    values = SCHEMA.update(flask.request.get_data())
    return answers.one(SCHEMA.name, SCHEMA.view(flavors.update(current.asking(), flavor_id, values)))


@blueprint.delete("/flavors/<flavor_id>")
def delete_flavor(flavor_id: str) -> flask.Response:
    """Delete a flavor that no load balancer uses."""
    flavors.delete(current.asking(), flavor_id)
    return answers.empty(204)
