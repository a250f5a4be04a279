"""What load balancers have beside the five routes of every collection: statistics, the status tree, and whole graphs in one body."""

from __future__ import annotations

from typing import Any

import flask

from controller.api import current
from controller.api.lbaasv2 import attributes, errors, lists, resources, shapes, status_tree
from controller.api.lbaasv2.attributes import Resource
from controller.api.v2 import status_tree as statuses
from controller.changes.asking import Asking
from controller.db import database
from controller.resources import kinds
from controller.resources.declare import Values

blueprint = flask.Blueprint("lbaasv2_load_balancers", __name__)

_COUNTERS = ("active_connections", "bytes_in", "bytes_out", "total_connections")


@blueprint.get("/loadbalancers/<load_balancer_id>/stats")
def get_stats(load_balancer_id: str) -> flask.Response:
    """Its traffic: four numbers."""
    with current.services().db.read() as tx:
        load_balancer = tx.load_balancers.get(load_balancer_id)
        counters = tx.statistics.of_load_balancer(load_balancer_id)
    current.authorize("loadbalancer:get_stats", load_balancer.project_id)
    return current.json({"stats": lists.selected({name: getattr(counters, name) for name in _COUNTERS})})


@blueprint.get("/loadbalancers/<load_balancer_id>/statuses")
def get_statuses(load_balancer_id: str) -> flask.Response:
    """Both statuses of everything below it, as a tree."""
    return current.json({"statuses": status_tree.tree(statuses.read(load_balancer_id))})


@blueprint.post("/graphs")
def create_graph() -> flask.Response:
    """A load balancer with everything below it: one transaction, in which the parts are made one after the other."""
    graph = resources.envelope(resources.body(), "graph")
    wanted = resources.envelope(graph if isinstance(graph, dict) else {}, "loadbalancer")
    own, listeners = _parts(wanted, "listeners")
    with resources.asking().together() as asking:
        made = _make(asking, attributes.LOAD_BALANCER, own)
        for listener in _many(listeners, "listeners"):
            _add_listener(asking, made, listener)
        with asking.read() as tx:
            view = _graph(tx, made)
    return current.json({"graph": {"loadbalancer": view}}, 201)


def _add_listener(asking: Asking, load_balancer_id: str, wanted: Any) -> None:
    own, pool, policies = _parts(wanted, "default_pool", "l7policies")
    made = _make(asking, attributes.LISTENER, own | {"loadbalancer_id": load_balancer_id})
    if pool is not None:
        _add_pool(asking, pool, {"listener_id": made})
    for policy in _many(policies, "l7policies"):
        _add_policy(asking, load_balancer_id, made, policy)


def _add_pool(asking: Asking, wanted: Any, parent: Values) -> str:
    own, members, monitor = _parts(wanted, "members", "healthmonitor")
    made = _make(asking, attributes.POOL, own | parent)
    for member in _many(members, "members"):
        _make(asking, attributes.MEMBER, member, made)
    if monitor:
        _make(asking, attributes.HEALTH_MONITOR, _parts(monitor)[0] | {"pool_id": made})
    return made


def _add_policy(asking: Asking, load_balancer_id: str, listener_id: str, wanted: Any) -> None:
    own, pool, rules = _parts(wanted, "redirect_pool", "rules")
    values = own | {"listener_id": listener_id}
    if pool is not None:
        values["redirect_pool_id"] = _add_pool(asking, pool, {"loadbalancer_id": load_balancer_id})
    made = _make(asking, attributes.L7POLICY, values)
    for rule in _many(rules, "rules"):
        _make(asking, attributes.L7RULE, rule, made)


def _make(asking: Asking, resource: Resource, given: Any, parent_id: str | None = None) -> str:
    """Make a part; its id."""
    return resources.create(asking, resource, resource.created(given), parent_id).id


def _parts(given: Any, *children: str) -> list[Any]:
    """An object without its children, and each of them (None if there is none)."""
    if not isinstance(given, dict):
        raise errors.bad_request("Every part of a graph must be an object")
    return [{name: value for name, value in given.items() if name not in children}, *(given.get(name) for name in children)]


def _many(given: Any, name: str) -> list[Any]:
    if given is None:
        return []
    if not isinstance(given, list):
        raise errors.bad_request(f"Invalid input for {name}. Reason: it is not a list.")
    errors.no_more_than(kinds.MOST_ITEMS, name, given)
    return given


def _graph(tx: database.Transaction, load_balancer_id: str) -> Values:
    """Everything that was made, each object whole and in the place where it was asked for."""
    found: dict[str, list[Values]] = {
        resource.name: shapes.shown(resource, resource.noun.rows(tx).of_load_balancer(load_balancer_id))
        for resource in attributes.RESOURCES
        if resource is not attributes.LOAD_BALANCER
    }
    whole = shapes.shown(attributes.LOAD_BALANCER, [tx.load_balancers.get(load_balancer_id)])[0]
    by_id = {name: {one["id"]: one for one in views} for name, views in found.items()}
    for pool in found["pool"]:
        pool["l7_policies"] = [{"id": one["id"]} for one in found["l7policy"] if one["redirect_pool_id"] == pool["id"]]
        pool["members"] = [by_id["member"][one["id"]] for one in pool["members"]]
        pool["healthmonitor"] = by_id["healthmonitor"].get(pool["healthmonitor_id"])
    for policy in found["l7policy"]:
        policy["rules"] = [by_id["rule"][one["id"]] for one in policy["rules"]]
        policy["redirect_pool"] = by_id["pool"].get(policy["redirect_pool_id"])
    for listener in found["listener"]:
        listener["l7policies"] = [by_id["l7policy"][one["id"]] for one in listener["l7policies"]]
        listener["default_pool"] = by_id["pool"].get(listener["default_pool_id"])
    whole["listeners"] = found["listener"]
    return whole
