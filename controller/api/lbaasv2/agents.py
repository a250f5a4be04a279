"""Which agent hosts a load balancer. The agent is the one inside its amphora: it has an id, a host, and a sign of life.

Of a pair, it is that of the amphora which prefers to be master.
"""

from __future__ import annotations

import datetime
from typing import Any

import flask

from controller import exceptions
from controller.api import current
from controller.api.lbaasv2 import attributes, errors, lists, shapes
from controller.db import database
from controller.model.amphora import Amphora
from controller.model.status import AmphoraStatus, Role

blueprint = flask.Blueprint("lbaasv2_agents", __name__)

_BINARY = "figlina-agent"
_TYPE = "Loadbalancerv2 agent"
_ORDER = {Role.STANDALONE: 0, Role.MASTER: 1, Role.BACKUP: 2}


@blueprint.get("/lbaas/loadbalancers/<load_balancer_id>/loadbalancer-hosting-agent")
def get_hosting_agent(load_balancer_id: str) -> flask.Response:
    """The agent of the amphora that serves a load balancer."""
    with current.services().db.read() as tx:
        load_balancer = tx.load_balancers.get(load_balancer_id)
        current.authorize("loadbalancer:get_one", load_balancer.project_id)
        current.authorize("amphora:get_all", None)
        serving = [one for one in tx.amphorae.of_load_balancer(load_balancer_id) if one.status is AmphoraStatus.ALLOCATED]
    if not serving:
        raise errors.Fault(404, "NoActiveLbaasAgent", f"No active agent hosts loadbalancer {load_balancer_id}")
    chosen = min(serving, key=lambda one: (_ORDER.get(one.role, 3) if one.role else 3, one.id))
    return current.json({"agent": lists.selected(view(chosen))})


@blueprint.get("/agents/<agent_id>/agent-loadbalancers")
def list_load_balancers(agent_id: str) -> flask.Response:
    """The load balancer that an agent hosts: one, or none."""
    current.authorize("amphora:get_all", None)
    with current.services().db.read() as tx:
        agent = _agent(tx, agent_id)
        found = []
        if agent.load_balancer_id is not None:
            found.append(tx.load_balancers.get(agent.load_balancer_id))
    return current.json({"loadbalancers": [lists.selected(one) for one in shapes.shown(attributes.LOAD_BALANCER, found)]})


def _agent(tx: database.Transaction, agent_id: str) -> Amphora:
    agent = tx.amphorae.get(agent_id)
    if agent.status is AmphoraStatus.DELETED:
        raise exceptions.NotFound("Amphora", agent_id)
    return agent


def view(amphora: Amphora) -> dict[str, Any]:
    """An amphora's agent, in the form of the network service's agents."""
    heard = amphora.last_heartbeat_at
    alive = heard is not None and (datetime.datetime.now(datetime.UTC) - heard).total_seconds() <= current.settings().heartbeat_timeout
    return {
        "id": amphora.id,
        "agent_type": _TYPE,
        "binary": _BINARY,
        "host": amphora.compute_id or amphora.id,
        "topic": _BINARY,
        "admin_state_up": True,
        "alive": alive,
        "availability_zone": amphora.cached_zone,
        "configurations": {"device_drivers": ["amphora"], "management_address": amphora.management_address, "role": amphora.role},
        "description": "The agent inside an amphora",
        "created_at": _time(amphora.created_at),
        "started_at": _time(amphora.first_heartbeat_at or amphora.created_at),
        "heartbeat_timestamp": _time(heard),
    }


def _time(moment: datetime.datetime | None) -> str | None:
    return None if moment is None else moment.strftime("%Y-%m-%d %H:%M:%S")
