"""/flavors, /flavorprofiles, /availabilityzones and /availabilityzoneprofiles: what tenants choose, and what operators let it mean."""

from __future__ import annotations

import types
from collections.abc import Mapping

import flask

from controller.api import current, nouns, paging
from controller.api.v2 import collections
from controller.changes import offerings


def _routes(name: str, path: str, key: str, kind: offerings.Kind, about: Mapping[str, str]) -> flask.Blueprint:
    """What can be chosen, callers may look at in the name of their own project; at profiles those only who may anywhere."""
    changes = types.SimpleNamespace(
        create=lambda asking, wanted: offerings.create(asking, kind, wanted),
        update=lambda asking, key, values: offerings.update(asking, kind, key, values),
        delete=lambda asking, key: offerings.delete(asking, kind, key),
    )
    noun = nouns.Noun(policy=kind.policy, schema=kind.schema, repository=kind.repository, changes=changes)

    def let_look(action: str) -> None:
        current.authorize(f"{kind.policy}:{action}", current.context().project_id if kind.profiles else None)

    def index() -> flask.Response:
        let_look("get_all")
        asked = paging.asked(kind.schema)
        with current.services().db.read() as tx:
            found = noun.rows(tx).page(asked.query)
        return asked.answer(found)

    def get(**named: str) -> flask.Response:
        let_look("get_one")
        with current.services().db.read() as tx:
            found = noun.get(tx, *named.values())
        return collections.shown(noun, found)

    return collections.routes(name, path, key, noun, about, words=(name.removesuffix("s"), name), list=index, get=get)


def _of_offerings(one: str, several: str) -> dict[str, str]:
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
_AVAILABILITY_ZONE, _ZONE_PROFILE = offerings.AVAILABILITY_ZONE, offerings.AVAILABILITY_ZONE_PROFILE
BLUEPRINTS = (
    _routes("flavors", "/flavors", "flavor_id", offerings.FLAVOR, _of_offerings(*_FLAVOR)),
    _routes("flavor_profiles", "/flavorprofiles", "profile_id", offerings.FLAVOR_PROFILE, _of_profiles(*_FLAVOR)),
    _routes("availability_zones", "/availabilityzones", "path:availability_zone_name", _AVAILABILITY_ZONE, _of_offerings(*_ZONE)),
    _routes("availability_zone_profiles", "/availabilityzoneprofiles", "profile_id", _ZONE_PROFILE, _of_profiles(*_ZONE)),
)
