"""/loadbalancers."""

from __future__ import annotations

import dataclasses

import flask

from controller.api import current, paging, policy
from controller.api.v2 import fully_populated, status_tree
from controller.changes import load_balancers
from controller.resources.load_balancer import SCHEMA

blueprint = flask.Blueprint("load_balancers", __name__)


@blueprint.get("/loadbalancers")
def list_load_balancers() -> flask.Response:
    """List the load balancers that you may see."""
    asked = paging.asked(SCHEMA, project=policy.visible_project("loadbalancer", current.context()))
    with current.services().db.read() as tx:
        found = tx.load_balancers.views(asked.query, SCHEMA)
    return asked.answer_views(found)


@blueprint.post("/loadbalancers")
def create_load_balancer() -> flask.Response:
    """Create a load balancer, with everything below it if the body says so.

    The VIP is known at once; the load balancer is PENDING_CREATE until it takes traffic.
    """
    wanted = SCHEMA.create(flask.request.get_data())
    created = load_balancers.create(current.asking(), wanted)
    return current.one(SCHEMA.name, fully_populated.view(created), 201)


@blueprint.get("/loadbalancers/<load_balancer_id>")
def get_load_balancer(load_balancer_id: str) -> flask.Response:
    """Show a load balancer."""
    with current.services().db.read() as tx:
        load_balancer = tx.load_balancers.get(load_balancer_id)
    current.authorize("loadbalancer:get_one", load_balancer.project_id)
    return current.one(SCHEMA.name, SCHEMA.view(load_balancer))


@blueprint.put("/loadbalancers/<load_balancer_id>")
def update_load_balancer(load_balancer_id: str) -> flask.Response:
    """Change a load balancer.

    It is PENDING_UPDATE until the new values are in effect.
    """
    values = SCHEMA.update(flask.request.get_data())
    return current.one(SCHEMA.name, SCHEMA.view(load_balancers.update(current.asking(), load_balancer_id, values)))


@blueprint.delete("/loadbalancers/<load_balancer_id>")
def delete_load_balancer(load_balancer_id: str) -> flask.Response:
    """Delete a load balancer; with `cascade`, everything below it, too."""
    load_balancers.delete(current.asking(), load_balancer_id, cascade=current.switch("cascade"))
    return current.empty(204)


@blueprint.put("/loadbalancers/<load_balancer_id>/failover")
def fail_over_load_balancer(load_balancer_id: str) -> flask.Response:
    """Replace every amphora of a load balancer by a new one, one after the other."""
    load_balancers.fail_over(current.asking(), load_balancer_id)
    return current.empty(202)


@blueprint.get("/loadbalancers/<load_balancer_id>/stats")
def get_load_balancer_stats(load_balancer_id: str) -> flask.Response:
    """Show the traffic of a load balancer, summed over its listeners and all amphorae that have ever served them."""
    with current.services().db.read() as tx:
        load_balancer = tx.load_balancers.get(load_balancer_id)
        counters = tx.statistics.of_load_balancer(load_balancer_id)
    current.authorize("loadbalancer:get_stats", load_balancer.project_id)
    return current.json({"stats": dataclasses.asdict(counters)})


@blueprint.get("/loadbalancers/<load_balancer_id>/status")
@blueprint.get("/loadbalancers/<load_balancer_id>/statuses")
def get_load_balancer_status(load_balancer_id: str) -> flask.Response:
    """Show both statuses of a load balancer and of everything below it, as a tree."""
    return current.json({"statuses": status_tree.tree(status_tree.read(load_balancer_id))})
