"""The collections below /v2.0/lbaas: one set of routes for all of them."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import flask

from controller.api import current
from controller.api.lbaasv2 import attributes, errors, lists, rules, shapes
from controller.api.lbaasv2.attributes import Resource
from controller.api.nouns import Noun
from controller.changes.asking import Asking
from controller.db import database
from controller.db.repositories import paging
from controller.model import load_balancer as model
from controller.resources import declare, kinds
from controller.resources.declare import Values

blueprint = flask.Blueprint("lbaasv2_resources", __name__)


def _routes(resource: Resource) -> None:
    """Add the five routes of a collection."""
    one = f"{resource.url}/<object_id>"
    for method, rule, route in (
        ("GET", resource.url, _list),
        ("POST", resource.url, _create),
        ("GET", one, _show),
        ("PUT", one, _update),
        ("DELETE", one, _delete),
    ):
        blueprint.add_url_rule(rule, f"{resource.name} {route.__name__}", functools.partial(route, resource), methods=[method])


def _list(resource: Resource, parent_id: str | None = None) -> flask.Response:
    noun = resource.noun
    with current.services().db.read() as tx:
        if noun.parent is None or parent_id is None:
            wanted = lists.query(resource, (), current.visible_project(noun.policy))
        else:
            wanted = lists.query(resource, [_below(tx, noun, noun.parent, parent_id)], None)
        found = noun.rows(tx).page(lists.with_neighbours(tx, resource, wanted))
        views = shapes.shown(resource, found, _policies(tx, resource, [one.id for one in found]))
    return lists.answer(resource, wanted, views)


def _below(tx: database.Transaction, noun: Noun, parent: Noun, parent_id: str) -> paging.Filter:
    """:raises NotFound: there is no such parent; :raises Forbidden: the caller may not see it, or not what is below it."""
    above = parent.rows(tx).head(parent_id)
    current.authorize(f"{parent.policy}:get_one", above.project_id)
    current.authorize(f"{noun.policy}:get_all", above.project_id)
    return paging.Filter(f"{parent.schema.name}_id", parent_id)


def _show(resource: Resource, object_id: str, parent_id: str | None = None) -> flask.Response:
    with current.services().db.read() as tx:
        found = resource.noun.get(tx, *_ids(parent_id, object_id))
        current.authorize(f"{resource.noun.policy}:get_one", found.project_id)
        view = _shown(tx, resource, found)
    return current.json({resource.name: lists.selected(view)})


def _create(resource: Resource, parent_id: str | None = None) -> flask.Response:
    given = body()
    if set(given) == {resource.collection}:
        return _create_many(resource, given[resource.collection], parent_id)
    mine = asking()
    made = store(mine, resource, whole(mine, resource, resource.created(envelope(given, resource.name))), parent_id)
    return current.json({resource.name: shapes.shown(resource, [made])[0]}, 201)


def _create_many(resource: Resource, given: Any, parent_id: str | None) -> flask.Response:
    """All of them or none: they are one transaction."""
    if not isinstance(given, list) or not given:
        raise errors.bad_request("Resources required")
    errors.no_more_than(kinds.MOST_ITEMS, resource.collection, given)
    mine = asking()
    wanted = [whole(mine, resource, values) for values in [resource.created(one) for one in given]]
    with resource.noun.looked(mine, wanted, parent_id, None) as seen, mine.together() as together:
        _lock_parents(together, wanted)
        made = [store(together, resource, values, parent_id, one) for values, one in zip(wanted, seen, strict=True)]
    return current.json({resource.collection: shapes.shown(resource, made)}, 201)


def _lock_parents(asking: Asking, wanted: Sequence[Values]) -> None:
    """Each of the changes takes its load balancer's lock, then its project's, and holds both: so the first ones must be held before."""
    named = {kind: [str(values[kind]) for values in wanted if values.get(kind)] for kind in ("loadbalancer_id", "listener_id", "pool_id")}
    with asking.read() as tx:
        tx.load_balancers.lock_several(named, None if asking.caller.is_admin else asking.caller.project_id)


def whole(asking: Asking, resource: Resource, values: Values) -> Values:
    """The values of a new object as changes take them, when the rules of LBaaS v2 are met.

    :raises ControllerError: one is broken.
    """
    if resource.name in rules.CREATES:
        rules.CREATES[resource.name](asking, values)
    return resource.complete(values)


def store(asking: Asking, resource: Resource, wanted: Values, parent_id: str | None = None, seen: Any = None) -> model.Resource:
    """Make one; `seen` is what was looked at before a block.

    :raises ControllerError: a rule is broken.
    """
    looked_at = {} if seen is None else {"seen": seen}
    made = resource.noun.changes.create(asking, *_ids(parent_id), wanted, **looked_at)
    created: model.Resource = made.load_balancer if resource is attributes.LOAD_BALANCER else made
    return created


def _update(resource: Resource, object_id: str, parent_id: str | None = None) -> flask.Response:
    values = resource.updated(envelope(body(), resource.name))
    with _looking_first(resource, rules.UPDATES) as mine:
        if resource.name in rules.UPDATES:
            rules.UPDATES[resource.name](mine, object_id, values)
        changed = resource.noun.changes.update(mine, *_ids(parent_id, object_id), resource.schema.updated(values))
    if resource is not attributes.POOL:  # nothing else is shown that its noun does not know
        return current.json({resource.name: shapes.shown(resource, [changed])[0]})
    with current.services().db.read() as tx:
        return current.json({resource.name: _shown(tx, resource, changed)})


def _delete(resource: Resource, object_id: str, parent_id: str | None = None) -> flask.Response:
    with _looking_first(resource, rules.DELETES) as mine:
        if resource.name in rules.DELETES:
            rules.DELETES[resource.name](mine, object_id)
        resource.noun.changes.delete(mine, *_ids(parent_id, object_id))
    return current.empty(204)


def _looking_first(resource: Resource, rules_that_look: Collection[str]) -> contextlib.AbstractContextManager[Asking]:
    """What a rule of LBaaS v2 has seen must still be so when the change is made: both are one transaction."""
    mine = asking()
    return mine.together() if resource.name in rules_that_look else contextlib.nullcontext(mine)


def _ids(*found: str | None) -> list[str]:
    return [one for one in found if one is not None]


def asking() -> Asking:
    """What changes are asked for with: as by the first API, and with the rules of LBaaS v2 beside those for all."""
    return current.asking(rules.Dialect(monitor_delay_over_timeout=current.settings().monitor_delay_over_timeout))


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


def _shown(tx: database.Transaction, resource: Resource, found: model.Resource) -> Values:
    return shapes.shown(resource, [found], _policies(tx, resource, [found.id]))[0]


def _policies(tx: database.Transaction, resource: Resource, pool_ids: list[str]) -> dict[str, list[str]]:
    """The L7 policies that redirect to these pools."""
    found: dict[str, list[str]] = {}
    if resource is attributes.POOL and pool_ids:
        for one in tx.l7policies.page(paging.Query(filters=(paging.Filter("redirect_pool_id", tuple(pool_ids)),))):
            found.setdefault(str(one.redirect_pool_id), []).append(one.id)
    return found


for _resource in attributes.RESOURCES:
    _routes(_resource)
