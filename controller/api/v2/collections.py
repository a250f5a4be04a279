"""The five routes that every collection has, made of what is declared of its noun; and the collections that have no others."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import flask

from controller.api import current, nouns, paging
from controller.db.repositories import paging as rows

Route = Callable[..., flask.Response]
_IN_EFFECT = "It is PENDING_UPDATE until the new values are in effect."


def routes(name: str, path: str, key: str, noun: Any, about: Mapping[str, str], *, words: tuple[str, str], **own: Route) -> flask.Blueprint:
    """The blueprint of a collection, in which paths know an object by its `key`. `about` has a sentence on each verb for the OpenAPI
    document, `words` what one and what several are called in the names of routes. A verb may have a route of its `own`.
    """
    blueprint, usual = flask.Blueprint(name, __name__), _usual(noun)
    for verb, method in (("list", "GET"), ("create", "POST"), ("get", "GET"), ("update", "PUT"), ("delete", "DELETE")):
        view = own.get(verb, usual[verb])
        view.__doc__ = about[verb]
        rule = path if verb in ("list", "create") else f"{path}/<{key}>"
        blueprint.add_url_rule(rule, f"{verb}_{words[verb == 'list']}", view, methods=[method])
    return blueprint


def _usual(noun: nouns.Noun) -> Mapping[str, Route]:
    schema, changes = noun.schema, noun.changes

    def index(**above: str) -> flask.Response:
        fixed = [rows.Filter(f"{noun.parent.schema.name}_id", parent_id) for parent_id in above.values()] if noun.parent else []
        project = None if noun.parent else current.visible_project(noun.policy)
        asked = paging.asked(schema, fixed=fixed, project=project)
        with current.services().db.read() as tx:
            if noun.parent:
                current.authorize(f"{noun.policy}:get_all", noun.parent.rows(tx).head(*above.values()).project_id)
            found = noun.rows(tx).views(asked.query, schema)
        return asked.answer_views(found)

    def create(**above: str) -> flask.Response:
        wanted = schema.create(flask.request.get_data())
        return shown(noun, changes.create(current.asking(), *above.values(), wanted), 201)

    def get(**ids: str) -> flask.Response:
        with current.services().db.read() as tx:
            found = noun.get(tx, *ids.values())
        current.authorize(f"{noun.policy}:get_one", found.project_id)
        return shown(noun, found)

    def update(**ids: str) -> flask.Response:
        values = schema.update(flask.request.get_data())
        return shown(noun, changes.update(current.asking(), *ids.values(), values))

    def delete(**ids: str) -> flask.Response:
        changes.delete(current.asking(), *ids.values())
        return current.empty(204)

    return {"list": index, "create": create, "get": get, "update": update, "delete": delete}


def shown(noun: nouns.Noun, found: Any, status: int = 200) -> flask.Response:
    """The answer that shows an object."""
    return current.one(noun.schema.name, (noun.view or noun.schema.view)(found), status)


def counted(noun: nouns.Noun, **ids: str) -> flask.Response:
    """The traffic of an object."""
    with current.services().db.read() as tx:
        found = noun.get(tx, *ids.values())
        counters = getattr(getattr(tx, noun.statistics), f"of_{noun.repository.removesuffix('s')}")(*ids.values())
    current.authorize(f"{noun.policy}:get_stats", found.project_id)
    return current.json({"stats": dataclasses.asdict(counters)})


def about(one: str, several: str, create: str, delete: str, update: str = _IN_EFFECT) -> Mapping[str, str]:
    """The sentences on the verbs of a collection."""
    return {
        "list": f"List the {several} that you may see.",
        "create": create,
        "get": f"Show {one}.",
        "update": f"Change {one}.\n\n{update}",
        "delete": delete,
    }


_HEALTH_MONITOR = about(
    "a health monitor",
    "health monitors",
    "Create the health monitor of a pool.\n\nIt is PENDING_CREATE until the pool's members are being checked.",
    "Delete a health monitor: its pool's members are not checked any more, and take traffic.",
)
_L7POLICY = about(
    "an L7 policy",
    "L7 policies",
    "Create an L7 policy of a listener, at its position among the listener's policies.",
    "Delete an L7 policy with its rules; those behind it move up.",
    "With a new `position`, the policies between the old and the new one move by one.",
)
_L7RULE = about("a rule of an L7 policy", "rules of an L7 policy", "Create a rule of an L7 policy.", "Delete a rule of an L7 policy.")
BLUEPRINTS = (
    routes(
        "health_monitors",
        "/healthmonitors",
        "monitor_id",
        nouns.HEALTH_MONITOR,
        _HEALTH_MONITOR,
        words=("health_monitor", "health_monitors"),
    ),
    routes("l7policies", "/l7policies", "policy_id", nouns.L7POLICY, _L7POLICY, words=("l7policy", "l7policies")),
    routes("l7rules", "/l7policies/<policy_id>/rules", "rule_id", nouns.L7RULE, _L7RULE, words=("rule", "rules")),
)
