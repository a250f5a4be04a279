"""/loadbalancers."""

from __future__ import annotations

import flask

from controller.api import current, nouns
from controller.api.v2 import collections, fully_populated, status_tree
from controller.changes import load_balancers
from controller.resources.load_balancer import SCHEMA

_ABOUT = collections.about(
    "a load balancer",
    "load balancers",
    "Create a load balancer, with everything below it if the body says so.\n\n"
    "The VIP is known at once; the load balancer is PENDING_CREATE until it takes traffic.",
    "Delete a load balancer; with `cascade`, everything below it, too.",
)


def _create() -> flask.Response:
    wanted = SCHEMA.create(flask.request.get_data())
    created = load_balancers.create(current.asking(), wanted)
    return current.one(SCHEMA.name, fully_populated.view(created), 201)


def _delete(load_balancer_id: str) -> flask.Response:
    load_balancers.delete(current.asking(), load_balancer_id, cascade=current.switch("cascade"))
    return current.empty(204)


blueprint = collections.routes(
    "load_balancers",
    "/loadbalancers",
    "load_balancer_id",
    nouns.LOAD_BALANCER,
    _ABOUT,
    words=("load_balancer", "load_balancers"),
    create=_create,
    delete=_delete,
)


@blueprint.put("/loadbalancers/<load_balancer_id>/failover")
def fail_over_load_balancer(load_balancer_id: str) -> flask.Response:
    """Replace every amphora of a load balancer by a new one, one after the other."""
    load_balancers.fail_over(current.asking(), load_balancer_id)
    return current.empty(202)


@blueprint.get("/loadbalancers/<load_balancer_id>/stats")
def get_load_balancer_stats(load_balancer_id: str) -> flask.Response:
    """Show the traffic of a load balancer, summed over its listeners and all amphorae that have ever served them."""
    return collections.counted(nouns.LOAD_BALANCER, load_balancer_id=load_balancer_id)


@blueprint.get("/loadbalancers/<load_balancer_id>/status")
@blueprint.get("/loadbalancers/<load_balancer_id>/statuses")
def get_load_balancer_status(load_balancer_id: str) -> flask.Response:
    """Show both statuses of a load balancer and of everything below it, as a tree."""
    return current.json({"statuses": status_tree.tree(status_tree.read(load_balancer_id))})
