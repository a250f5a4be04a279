"""/flavors, /flavorprofiles, /availabilityzones and /availabilityzoneprofiles: what tenants choose, and what operators let it mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import flask

from controller.api import current, paging
from controller.changes import choices, profiles


def _routes(name: str, path: str, key: str, changes: Any, kind: Any, *, everybody: bool, about: Mapping[str, str]) -> flask.Blueprint:
    """The five routes of a kind, known in paths by its `key`. `everybody`: callers may look in the name of their own project; otherwise
    those only who may anywhere. `about` are sentences for the OpenAPI document.
    """
    blueprint = flask.Blueprint(name, __name__)
    schema, one = kind.schema, name.removesuffix("s")

    def route(verb: str, rule: str, method: str, view: Callable[..., flask.Response]) -> None:
        view.__doc__ = about[verb]
        blueprint.add_url_rule(rule, f"{verb}_{name if verb == 'list' else one}", view, methods=[method])

    def let_look(action: str) -> None:
        current.authorize(f"{kind.policy}:{action}", current.context().project_id if everybody else None)

    def list_page() -> flask.Response:
        let_look("get_all")
        asked = paging.asked(schema)
        with current.services().db.read() as tx:
            found = kind.of(tx).page(asked.query)
        return asked.answer(found)

    def create() -> flask.Response:
        wanted = schema.create(flask.request.get_data())
        return current.one(schema.name, schema.view(changes.create(current.asking(), kind, wanted)), 201)

    def get(**named: str) -> flask.Response:
        let_look("get_one")
        with current.services().db.read() as tx:
            found = kind.of(tx).get(*named.values())
        return current.one(schema.name, schema.view(found))

    def update(**named: str) -> flask.Response:
        values = schema.update(flask.request.get_data())
        return current.one(schema.name, schema.view(changes.update(current.asking(), kind, *named.values(), values)))

    def delete(**named: str) -> flask.Response:
        changes.delete(current.asking(), kind, *named.values())
        return current.empty(204)

    route("list", path, "GET", list_page)
    route("create", path, "POST", create)
    for verb, method, view in (("get", "GET", get), ("update", "PUT", update), ("delete", "DELETE", delete)):
        route(verb, f"{path}/<{key}>", method, view)
    return blueprint


def _of_choices(one: str, several: str) -> dict[str, str]:
    return {
        "list": f"List the {several}, among which every tenant may choose.",
        "create": f"Create {one}: a name for a profile, which tenants may choose.",
        "get": f"Show {one}.",
        "update": f"Change {one}.\n\n"
        "One that is disabled can't be chosen for new load balancers; those that chose it before stay as they are.",
        "delete": f"Delete {one} that no load balancer uses.",
    }


def _of_profiles(one: str, several: str) -> dict[str, str]:
    return {
        "list": f"List the profiles of {several}.",
        "create": f"Create a profile, which says what {one} means to a provider.",
        "get": f"Show a profile of {several}.",
        "update": f"Change a profile of {several}.",
        "delete": f"Delete a profile that no {one.partition(' ')[2]} uses.",
    }


_FLAVOR, _ZONE = ("a flavor", "flavors"), ("an availability zone", "availability zones")
BLUEPRINTS = (
    _routes("flavors", "/flavors", "flavor_id", choices, choices.FLAVOR, everybody=True, about=_of_choices(*_FLAVOR)),
    _routes("flavor_profiles", "/flavorprofiles", "profile_id", profiles, profiles.FLAVOR, everybody=False, about=_of_profiles(*_FLAVOR)),
    _routes(
        "availability_zones",
        "/availabilityzones",
        "path:availability_zone_name",
        choices,
        choices.AVAILABILITY_ZONE,
        everybody=True,
        about=_of_choices(*_ZONE),
    ),
    _routes(
        "availability_zone_profiles",
        "/availabilityzoneprofiles",
        "profile_id",
        profiles,
        profiles.AVAILABILITY_ZONE,
        everybody=False,
        about=_of_profiles(*_ZONE),
    ),
)
