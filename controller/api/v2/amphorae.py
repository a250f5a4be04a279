"""/octavia/amphorae, for administrators."""

from __future__ import annotations

import dataclasses

import flask

from controller import exceptions
from controller.api import current, paging
from controller.changes import amphorae
from controller.resources.amphora import SCHEMA

blueprint = flask.Blueprint("amphorae", __name__)


@blueprint.get("/amphorae")
def list_amphorae() -> flask.Response:
    """List all amphorae.

    With `project_id`, those that serve load balancers of that project.
    """
    current.authorize("amphora:get_all", None)
    project = flask.request.args.get("project_id", flask.request.args.get("tenant_id"))
    asked = paging.asked(SCHEMA, elsewhere=("project_id", "tenant_id"))
    with current.services().db.read() as tx:
        found = tx.amphorae.page(asked.query, project)
    return asked.answer(found)


@blueprint.get("/amphorae/<amphora_id>")
def get_amphora(amphora_id: str) -> flask.Response:
    """Show an amphora."""
    current.authorize("amphora:get_one", None)
    with current.services().db.read() as tx:
        amphora = amphorae.get(tx, amphora_id)
    return current.one(SCHEMA.name, SCHEMA.view(amphora))


@blueprint.get("/amphorae/<amphora_id>/stats")
def get_amphora_stats(amphora_id: str) -> flask.Response:
    """Show the traffic that an amphora has counted, listener by listener."""
    current.authorize("amphora:get_stats", None)
    with current.services().db.read() as tx:
        amphorae.get(tx, amphora_id)
        counters = tx.statistics.of_amphora(amphora_id)
    if not counters:
        raise exceptions.NotFound("Amphora stats for", amphora_id)
    shown = [{"id": amphora_id, **dataclasses.asdict(item)} for item in counters]
    return current.json({"amphora_stats": [item | {"loadbalancer_id": item.pop("load_balancer_id")} for item in shown]})


@blueprint.put("/amphorae/<amphora_id>/failover")
def fail_over_amphora(amphora_id: str) -> flask.Response:
    """Replace an amphora by a new one.

    The answer comes at once, and a worker does it: the load balancer is PENDING_UPDATE meanwhile.
    """
    amphorae.fail_over(current.asking(), amphora_id)
    return current.empty(202)


@blueprint.put("/amphorae/<amphora_id>/config")
def update_amphora_config(amphora_id: str) -> flask.Response:
    """Send the agent of an amphora its configuration anew."""
    amphorae.configure(current.asking(), amphora_id)
    return current.empty(202)


@blueprint.delete("/amphorae/<amphora_id>")
def delete_amphora(amphora_id: str) -> flask.Response:
    """Delete an amphora that is of no use any more.

    If its load balancer lacks an amphora then, it gets another one.
    """
    amphorae.delete(current.asking(), amphora_id)
    return current.empty(204)
