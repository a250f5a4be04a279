"""/healthmonitors."""

from __future__ import annotations

import flask

from controller import exceptions
from controller.api import answers, current, paging, policy
from controller.api.v2 import quotas, rules, writes
from controller.changes import pools as change_pools
from controller.refusals import Refusal
from controller.resources.health_monitor import HTTP_ONLY, SCHEMA

blueprint = flask.Blueprint("health_monitors", __name__)


@blueprint.get("/healthmonitors")
def list_health_monitors() -> flask.Response:
    """All that the caller may see."""
    asked = paging.asked(SCHEMA, project=policy.visible_project("healthmonitor", current.context()))
    with current.services().db.read() as tx:
        found = tx.health_monitors.page(asked.query)
    return asked.answer(found)


@blueprint.post("/healthmonitors")
def create_health_monitor() -> flask.Response:
    """Store a monitor as PENDING_CREATE and have a worker turn it on."""
    wanted = SCHEMA.create(flask.request.get_data())
    with writes.begin() as tx:
        pool = tx.pools.head(wanted["pool_id"])
        current.authorize("healthmonitor:post", pool.project_id)
        rules.new_monitor(wanted, pool.protocol)
        generation = change_pools.accept_below(current.asking(), tx, pool)
        if tx.pools.head(pool.id).has_monitor:  # asked again, under the load balancer's lock
            raise exceptions.Conflict("This pool already has a health monitor", code=Refusal.MONITOR_EXISTS)
        row = {**SCHEMA.columns(wanted), **writes.new_row(pool.project_id, pool.load_balancer_id, generation)}
        quotas.reserve(tx, pool.project_id, health_monitor=1)
        tx.health_monitors.add([row])
        monitor = tx.health_monitors.get(row["id"])
    return answers.one(SCHEMA.name, SCHEMA.view(monitor), 201)


@blueprint.get("/healthmonitors/<monitor_id>")
def get_health_monitor(monitor_id: str) -> flask.Response:
    """One."""
    with current.services().db.read() as tx:
        monitor = tx.health_monitors.get(monitor_id)
    current.authorize("healthmonitor:get_one", monitor.project_id)
    return answers.one(SCHEMA.name, SCHEMA.view(monitor))


@blueprint.put("/healthmonitors/<monitor_id>")
def update_health_monitor(monitor_id: str) -> flask.Response:
    """Store the new values and have a worker apply them."""
    values = SCHEMA.update(flask.request.get_data())
    with writes.begin() as tx:
        monitor = tx.health_monitors.get(monitor_id)
        current.authorize("healthmonitor:put", monitor.project_id)
        generation = change_pools.accept_below(current.asking(), tx, tx.pools.head(monitor.pool_id))
        rules.changed_monitor(values, monitor.type, {name: getattr(monitor, name) for name in HTTP_ONLY})
        tx.health_monitors.change(monitor_id, SCHEMA.columns(values), generation)
        monitor = tx.health_monitors.get(monitor_id)
    return answers.one(SCHEMA.name, SCHEMA.view(monitor))


@blueprint.delete("/healthmonitors/<monitor_id>")
def delete_health_monitor(monitor_id: str) -> flask.Response:
    """Have a worker turn it off."""
    with writes.begin() as tx:
        monitor = tx.health_monitors.get(monitor_id)
        current.authorize("healthmonitor:delete", monitor.project_id)
        generation = change_pools.accept_below(current.asking(), tx, tx.pools.head(monitor.pool_id))
        tx.health_monitors.mark_deleted(monitor_id, generation)
    return answers.empty(204)
