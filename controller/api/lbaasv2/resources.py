"""The collections below /v2.0/lbaas: one set of routes for all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flask

from controller.api import answers, current, policy
from controller.api.lbaasv2 import attributes, errors, first, lists, rules, shapes
from controller.api.lbaasv2.attributes import Resource
from controller.db import transaction
from controller.db.repositories import paging
from controller.resources import declare, kinds
from controller.resources.declare import Values

blueprint = flask.Blueprint("lbaasv2_resources", __name__)

_REPOSITORIES = {
    "loadbalancer": "load_balancers",
    "listener": "listeners",
    "pool": "pools",
    "member": "members",
    "healthmonitor": "health_monitors",
    "l7policy": "l7policies",
    "rule": "l7rules",
}
_POLICY_NAMES = {"member": "member", "rule": "l7rule"}
_PARENTS = {resource.collection: resource for resource in (attributes.POOL, attributes.L7POLICY)}


def _routes(resource: Resource) -> None:
    """Add the five routes of a collection."""

    def index(parent_id: str | None = None) -> flask.Response:
        return _list(resource, parent_id)

    def create(parent_id: str | None = None) -> flask.Response:
        return _create(resource, parent_id)

    def show(object_id: str, parent_id: str | None = None) -> flask.Response:
        return _show(resource, object_id, parent_id)

    def update(object_id: str, parent_id: str | None = None) -> flask.Response:
        return _update(resource, object_id, parent_id)

    def delete(object_id: str, parent_id: str | None = None) -> flask.Response:
        return _delete(resource, object_id, parent_id)

    def add(method: str, rule: str, route: Callable[..., flask.Response]) -> None:
        blueprint.add_url_rule(rule, f"{resource.name} {route.__name__}", route, methods=[method])

    add("GET", resource.url, index)
    add("POST", resource.url, create)
    add("GET", f"{resource.url}/<object_id>", show)
    add("PUT", f"{resource.url}/<object_id>", update)
    add("DELETE", f"{resource.url}/<object_id>", delete)


def _list(resource: Resource, parent_id: str | None) -> flask.Response:
    fixed: list[paging.Filter] = []
    project = None
    if resource.parent is None:
        project = policy.visible_project(resource.name, current.context())
    elif parent_id is not None:
        parent = _PARENTS[resource.parent]
        above = first.call("GET", _path(parent, None, parent_id))[parent.name]
        current.authorize(f"{_POLICY_NAMES[resource.name]}:get_all", above["project_id"])
        fixed.append(paging.Filter(f"{parent.name}_id", parent_id))
    asked = lists.query(resource, fixed, project)
    with current.services().db.read() as tx:
        found = getattr(tx, _REPOSITORIES[resource.name]).page(lists.with_neighbours(tx, resource, asked))
        views = shapes.shown(resource, [resource.schema.view(one) for one in found], _policies(tx, resource, [one.id for one in found]))
    return lists.answer(resource, asked, views)


def _show(resource: Resource, object_id: str, parent_id: str | None) -> flask.Response:
    view = first.call("GET", _path(resource, parent_id, object_id))[resource.name]
    return answers.json({resource.name: lists.selected(_one(resource, view))})


def _create(resource: Resource, parent_id: str | None) -> flask.Response:
    given = body()
    if set(given) == {resource.collection}:
        return _create_many(resource, given[resource.collection], parent_id)
    made = create(resource, resource.created(envelope(given, resource.name)), parent_id)
    return answers.json({resource.name: _one(resource, made)}, 201)


def _create_many(resource: Resource, given: Any, parent_id: str | None) -> flask.Response:
    """All of them or none: they are one transaction."""
    if not isinstance(given, list) or not given:
        raise errors.bad_request("Resources required")
    errors.no_more_than(kinds.MOST_ITEMS, resource.collection, given)
    wanted = [resource.created(one) for one in given]
    made = []
    with first.together():
        _lock_parents(wanted)
        for values in wanted:
            made.append(create(resource, values, parent_id))
            first.allow_own_changes()
    return answers.json({resource.collection: shapes.shown(resource, made)}, 201)


def _lock_parents(wanted: Sequence[Values]) -> None:
    """Each of the calls takes its load balancer's lock, then its project's, and holds both: so the first ones must be held before."""
    named = {kind: [str(values[kind]) for values in wanted if values.get(kind)] for kind in ("loadbalancer_id", "listener_id", "pool_id")}
    caller = current.context()
    with first.read() as tx:
        tx.load_balancers.lock_several(named, None if caller.is_admin else caller.project_id)


def create(resource: Resource, values: Values, parent_id: str | None = None) -> Values:
    """Make one, of values that are checked already; the first API's view of it.

    :raises ControllerError: a rule is broken.
    """
    rules.before_create(resource.name, values)
    made: Values = first.call("POST", _path(resource, parent_id), {resource.name: shapes.wanted(resource, values)})[resource.name]
    return made


def _update(resource: Resource, object_id: str, parent_id: str | None) -> flask.Response:
    values = resource.updated(envelope(body(), resource.name))
    rules.before_update(resource.name, object_id, values)
    path = _path(resource, parent_id, object_id)
    view = first.call("PUT", path, {resource.name: shapes.wanted(resource, values)})[resource.name]
    return answers.json({resource.name: _one(resource, view)})


def _delete(resource: Resource, object_id: str, parent_id: str | None) -> flask.Response:
    rules.before_delete(resource.name, object_id)
    first.call("DELETE", _path(resource, parent_id, object_id))
    return answers.empty(204)


def body() -> dict[str, Any]:
    """The JSON object of the request.

    :raises Fault: it holds none.
    """
    given = declare.load(flask.request.get_data())
    if not isinstance(given, dict):
        raise errors.bad_request("The body of the request must be an object")
    return given


def envelope(given: Mapping[str, Any], name: str) -> Any:
    """What a body holds under its one key.

    :raises Fault: the key is missing, or there are others.
    """
    if name not in given or len(given) != 1:
        raise errors.bad_request(f"Unable to find '{name}' in request body")
    return given[name]


def _one(resource: Resource, view: Values) -> Values:
    if resource is attributes.POOL:
        with current.services().db.read() as tx:
            return shapes.shown(resource, [view], _policies(tx, resource, [view["id"]]))[0]
    return shapes.shown(resource, [view])[0]


def _policies(tx: transaction.Transaction, resource: Resource, pool_ids: list[str]) -> dict[str, list[str]]:
    """The L7 policies that redirect to these pools."""
    found: dict[str, list[str]] = {}
    if resource is attributes.POOL and pool_ids:
        for one in tx.l7policies.page(paging.Query(filters=(paging.Filter("redirect_pool_id", tuple(pool_ids)),))):
            found.setdefault(str(one.redirect_pool_id), []).append(one.id)
    return found


def _path(resource: Resource, parent_id: str | None, object_id: str | None = None) -> str:
    """In the first API. An id can hold no slash, for it was one segment of a path."""
    parts = ["/v2", *([resource.parent, parent_id] if resource.parent and parent_id else []), resource.collection, object_id]
    return "/".join(part for part in parts if part)


for _resource in attributes.RESOURCES:
    _routes(_resource)
