"""What clients ask of a network endpoint before anything else: its versions, its extensions, and who provides load balancers."""

from __future__ import annotations

from typing import Any

import flask

from controller.api import current
from controller.api.lbaasv2 import attributes, errors, lists, neutron
from controller.embedded import networking
from controller.model import offering

blueprint = flask.Blueprint("lbaasv2_service", __name__)

_UPDATED = "2016-06-15T10:00:00-00:00"
_OURS = {
    "lbaasv2": ("LoadBalancing service v2", "Load balancers, listeners, pools, members and health monitors"),
    "shared_pools": ("Shared pools for LBaaSv2", "Pools of a load balancer that listeners share"),
    "l7": ("L7 capabilities for LBaaSv2", "L7 policies and rules"),
    "lbaas_agent_schedulerv2": ("Loadbalancer Agent Scheduler V2", "Which agent hosts a load balancer"),
    "service-type": ("Neutron Service Type Management", "Who provides a service"),
    "lb-graph": ("Load Balancer Graph", "A load balancer with everything below it in one request"),
    "lb_network_vip": ("Create loadbalancer with network_id", "A VIP on a network, whatever the subnet"),
    "hm_max_retries_down": ("Add a fall threshold to health monitor", "How many failed checks take a member out"),
}
"""Aliases of the extensions that this API is, with a name and a description."""


@blueprint.get("/")
def list_versions() -> flask.Response:
    return current.json({"versions": [{"id": "v2.0", "status": "CURRENT", "links": [_link("v2.0/")]}]})


@blueprint.get("/v2.0")
def list_resources() -> flask.Response:
    names = [(resource.collection, resource.name) for resource in attributes.RESOURCES if resource.noun.parent is None]
    ours = [{"name": name, "collection": collection, "links": [_link(f"v2.0/lbaas/{collection}")]} for collection, name in names]
    return current.json({"resources": [*_theirs("", "resources"), *ours]})


@blueprint.get("/v2.0/extensions")
def list_extensions() -> flask.Response:
    """List our extensions, and those of the network service behind."""
    theirs = [one for one in _network_extensions() if one.get("alias") not in _OURS]
    return current.json({"extensions": [lists.selected(one) for one in [*theirs, *map(_extension, _OURS)]]})


@blueprint.get("/v2.0/extensions/<alias>")
def get_extension(alias: str) -> flask.Response:
    """Show an extension, of ours or of the network service."""
    if alias in _OURS:
        return current.json({"extension": _extension(alias)})
    for one in _network_extensions():
        if one.get("alias") == alias:
            return current.json({"extension": one})
    raise errors.Fault(404, "HTTPNotFound", f"Extension with alias {alias[:64]} does not exist")


@blueprint.get("/v2.0/service-providers")
def list_service_providers() -> flask.Response:
    """List the providers that load balancers may name, and those of the network's other services."""
    settings = current.settings()
    ours = [{"service_type": "LOADBALANCERV2", "name": name, "default": name == settings.default_provider} for name in settings.providers]
    theirs = [one for one in _theirs("service-providers", "service_providers") if one.get("service_type") != "LOADBALANCERV2"]
    return _matching("service_providers", [*theirs, *ours], "service_type", "name")


@blueprint.get("/v2.0/flavors")
def list_flavors() -> flask.Response:
    """List the flavors that load balancers may name, and those of the network's other services."""
    current.authorize("flavor:get_all", current.context().project_id)
    with current.services().db.read() as tx:
        ours = [_flavor(one) for one in tx.flavors.page(lists.everything())]
    return _matching("flavors", [*_theirs("flavors", "flavors"), *ours], "id", "name")


def _theirs(path: str, key: str) -> list[dict[str, Any]]:
    """What the network service has in a list, where there is one."""
    found: list[dict[str, Any]] = (neutron.get(f"/v2.0/{path}".rstrip("/")) or {}).get(key, []) if neutron.is_there() else []
    return found


def _matching(key: str, both: list[dict[str, Any]], *filters: str) -> flask.Response:
    asked = {name: set(flask.request.args.getlist(name)) for name in filters if name in flask.request.args}
    matching = [one for one in both if all(one.get(name) in words for name, words in asked.items())]
    return current.json({key: [lists.selected(one) for one in matching]})


def _flavor(flavor: offering.Flavor) -> dict[str, Any]:
    shown = {name: getattr(flavor, name) for name in ("id", "name", "description", "enabled")}
    return shown | {"service_type": "LOADBALANCERV2", "service_profiles": []}


def _network_extensions() -> list[dict[str, Any]]:
    if neutron.is_there():
        return _theirs("extensions", "extensions")
    if current.settings().embedded_networking:
        return [_shown(alias, alias, "Of the embedded network") for alias in networking.EXTENSIONS]
    return []


def _extension(alias: str) -> dict[str, Any]:
    return _shown(alias, *_OURS[alias])


def _shown(alias: str, name: str, description: str) -> dict[str, Any]:
    return {"alias": alias, "name": name, "description": description, "updated": _UPDATED, "links": []}


def _link(path: str) -> dict[str, str]:
    return {"rel": "self", "href": f"{current.base_url()}/{path}"}
