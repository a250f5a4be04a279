"""/providers, and what flavors and availability zones can say to each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import flask

from controller import exceptions
from controller.api import current
from controller.providers.interface import Capability

blueprint = flask.Blueprint("providers", __name__)
_WITHOUT_EFFECT = frozenset({"fields", "limit", "marker", "page_reverse", "sort", "sort_key", "sort_dir"})
"""Arguments of every list, where a list is too short to need them; `fields` is heeded."""


@blueprint.get("/providers")
def list_providers() -> flask.Response:
    """List the providers that a load balancer may name."""
    current.authorize("provider:get_all", current.context().project_id)
    return _answer("providers", current.settings().providers.items())


@blueprint.get("/providers/<provider>/flavor_capabilities")
def list_flavor_capabilities(provider: str) -> flask.Response:
    """List what the profile of a flavor can say to a provider."""
    current.authorize("provider-flavor:get_all", None)
    return _answer("flavor_capabilities", _described(current.asking().provider(provider).flavor_capabilities))


@blueprint.get("/providers/<provider>/availability_zone_capabilities")
def list_availability_zone_capabilities(provider: str) -> flask.Response:
    """List what the profile of an availability zone can say to a provider."""
    current.authorize("provider-availability-zone:get_all", None)
    return _answer("availability_zone_capabilities", _described(current.asking().provider(provider).availability_zone_capabilities))


def _described(capabilities: Sequence[Capability]) -> Iterable[tuple[str, str]]:
    return ((capability.name, capability.about) for capability in capabilities)


def _answer(key: str, described: Iterable[tuple[str, str]]) -> flask.Response:
    """A list of names and descriptions, as far as the filters let them through."""
    views = [{"name": name, "description": description} for name, description in described]
    if current.settings().allow_filtering:
        filters = _filters()
        views = [view for view in views if filters.items() <= view.items()]
    chosen = current.selection()
    return current.json({key: [current.select(view, chosen) for view in views] if chosen else views})


def _filters() -> dict[str, str]:
    found = {}
    for name, values in flask.request.args.lists():
        if name in _WITHOUT_EFFECT:
            continue
        if name not in ("name", "description") or len(values) != 1:
            raise exceptions.InvalidRequest("One or more arguments are either duplicate or invalid")
        found[name] = values[0]
    return found
