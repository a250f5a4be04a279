"""What load balancers have beside the five routes of every collection: statistics, the status tree, and whole graphs in one body."""

from __future__ import annotations

import contextlib
import dataclasses
import uuid
from collections.abc import Iterator, Mapping, Sequence
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

_NOTHING: Mapping[str, Any] = {}
_LATER = str(uuid.uuid4())
"""Stands where the id of a part will be that is yet to be made."""
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
    mine = resources.asking()
    parts = _Reader(mine).read(wanted)
    with _looked(mine, parts), mine.together() as together:
        for part in parts:
            _store(together, part)
        with together.read() as tx:
            view = _graph(tx, parts[0].id)
    return current.json({"graph": {"loadbalancer": view}}, 201)


@dataclasses.dataclass
class _Part:
    """One object of a graph. Fields named in `above` are to have the ids of those parts; `parent` is the one that its path would name."""

    resource: Resource
    wanted: Values
    above: Mapping[str, _Part]
    parent: _Part | None = None
    seen: Any = None
    id: str = ""


class _Reader:
    """Reads a graph into its parts, in the order in which they can be made; the load balancer is the first one."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking
        self._parts: list[_Part] = []

    def read(self, wanted: Any) -> list[_Part]:
        """:raises ControllerError: a part is not as declared, or a rule of LBaaS v2 is broken."""
        own, listeners = _split(wanted, "listeners")
        top = self._add(attributes.LOAD_BALANCER, own)
        for listener in _many(listeners, "listeners"):
            self._add_listener(top, listener)
        return self._parts

    def _add_listener(self, top: _Part, wanted: Any) -> None:
        own, pool, policies = _split(wanted, "default_pool", "l7policies")
        listener = self._add(attributes.LISTENER, own, {"loadbalancer_id": top})
        if pool is not None:
            self._add_pool(pool, {"listener_id": listener})
        for policy in _many(policies, "l7policies"):
            self._add_policy(top, listener, policy)

    def _add_pool(self, wanted: Any, above: Mapping[str, _Part]) -> _Part:
        own, members, monitor = _split(wanted, "members", "healthmonitor")
        pool = self._add(attributes.POOL, own, above)
        for member in _many(members, "members"):
            self._add(attributes.MEMBER, member, parent=pool)
        if monitor:
            self._add(attributes.HEALTH_MONITOR, _split(monitor)[0], {"pool_id": pool})
        return pool

    def _add_policy(self, top: _Part, listener: _Part, wanted: Any) -> None:
        own, pool, rules = _split(wanted, "redirect_pool", "rules")
        above = {"listener_id": listener}
        if pool is not None:
            above["redirect_pool_id"] = self._add_pool(pool, {"loadbalancer_id": top})
        policy = self._add(attributes.L7POLICY, own, above)
        for rule in _many(rules, "rules"):
            self._add(attributes.L7RULE, rule, parent=policy)

    def _add(self, resource: Resource, given: Any, above: Mapping[str, _Part] = _NOTHING, parent: _Part | None = None) -> _Part:
        values = resource.created(given | dict.fromkeys(above, _LATER) if above else given)
        part = _Part(resource, resources.whole(self._asking, resource, values), above, parent)
        self._parts.append(part)
        return part


@contextlib.contextmanager
def _looked(asking: Asking, parts: Sequence[_Part]) -> Iterator[None]:
    """Look at all that the parts name outside, and have the VIP's port made."""
    with contextlib.ExitStack() as stack:
        project_id = None
        for resource in attributes.RESOURCES:  # the load balancer, whose the others are, is the first
            same = [part for part in parts if part.resource is resource]
            seen = stack.enter_context(resource.noun.looked(asking, [part.wanted for part in same], None, project_id))
            for part, one in zip(same, seen, strict=True):
                part.seen = one
            project_id = project_id or parts[0].seen.row["project_id"]
        yield


def _store(asking: Asking, part: _Part) -> None:
    wanted = part.wanted | {name: above.id for name, above in part.above.items()}
    part.id = resources.store(asking, part.resource, wanted, part.parent.id if part.parent else None, part.seen).id


def _split(given: Any, *children: str) -> list[Any]:
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
