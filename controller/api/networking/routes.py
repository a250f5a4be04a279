"""Routes of the Networking API: who may see and change what, and which call of the embedded network answers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import flask

from controller import exceptions
from controller.api import answers, current, policies, policy
from controller.api.networking import lists
from controller.embedded import attributes, networking
from controller.embedded.network import EmbeddedNetwork
from controller.embedded.networking import Document
from controller.resources import kinds

blueprint = flask.Blueprint("networking", __name__)
extensions = flask.Blueprint("networking_extensions", __name__)
"""The list of extensions, for the root where nothing else has one."""

_PATHS = "any('networks', 'subnets', 'subnetpools', 'ports', 'security-groups', 'security-group-rules', 'routers', 'floatingips')"
_ONE = f"/<{_PATHS}:path>/<object_id>"
_REFERENCES = {
    "network_id": networking.NETWORK,
    "floating_network_id": networking.NETWORK,
    "subnet_id": networking.SUBNET,
    "subnetpool_id": networking.SUBNET_POOL,
    "port_id": networking.PORT,
    "security_group_id": networking.SECURITY_GROUP,
    "remote_group_id": networking.SECURITY_GROUP,
}


def offered(network: object) -> bool:
    """Does a network driver have what these routes show?"""
    return isinstance(network, EmbeddedNetwork)


def _network() -> networking.TenantNetworking:
    return cast("EmbeddedNetwork", current.services().network).tenants


def _kind(path: str) -> tuple[str, str]:
    """The key of a list of what a path names, and the key of one."""
    collection = path.replace("-", "_")
    return collection, networking.COLLECTIONS[collection]


def _is_admin() -> bool:
    return current.context().is_admin  # policy says so; the role alone may be that of a domain


# Who may see and change what


@blueprint.before_request
def ask_policy() -> None:
    """Whoever reads or writes load balancers in their project does so with the networks below them; a reader changes nothing.

    :raises Forbidden: the caller does neither.
    """
    check = policies.READ if flask.request.method in ("GET", "HEAD") else policies.WRITE
    policy.authorize_base(check, current.context().project_id, current.context())


def _visible(kind: str, found: list[Document]) -> list[Document]:
    """What the caller may see: what is theirs, and what belongs to everybody."""
    if _is_admin():
        return found
    mine = current.context().project_id
    common: set[str] = set()
    if kind == networking.SUBNET:
        common = {one["id"] for one in _visible(networking.NETWORK, _network().documents(networking.NETWORK))}
    return [one for one in found if one["project_id"] == mine or _is_common(kind, one, common)]


def _is_common(kind: str, one: Document, networks: set[str]) -> bool:
    if kind == networking.NETWORK:
        return bool(one["shared"] or one["router:external"])
    if kind == networking.ROUTER:
        return not one["project_id"]
    if kind == networking.SUBNET_POOL:
        return bool(one["shared"])
    return kind == networking.SUBNET and one["network_id"] in networks


def _shown(kind: str, object_id: str) -> Document:
    """:raises NotFound: there is none, or none that the caller may see."""
    document = _network().document(kind, object_id)
    if not _visible(kind, [document]):
        raise exceptions.NotFound(_name(kind), object_id)
    return document


def _name(kind: str) -> str:
    known = {networking.FLOATING_IP: "FloatingIP", networking.SUBNET_POOL: "SubnetPool"}
    return known.get(kind, kind.title().replace("_", ""))


def _own(kind: str, object_id: str) -> None:
    """:raises NotFound: there is none that the caller may see; :raises Forbidden: they may not change it."""
    document = _shown(kind, object_id)
    if not _is_admin() and document["project_id"] != current.context().project_id:
        raise exceptions.Forbidden


def _service_groups(port_id: str) -> frozenset[str]:
    """Groups of the service that a tenant may name for a port: those that it has, for clients send the whole list, and that of its VIP."""
    own = _network().service_group(port_id)
    return frozenset([*_network().document(networking.PORT, port_id)["security_groups"], *([own] if own else [])])


def _check_references(values: dict[str, Any], known: frozenset[str] = frozenset()) -> None:
    """:raises NotFound: something that is named, and is not `known`, does not exist for the caller."""
    if _is_admin():
        return
    named = [(kind, values[name]) for name, kind in _REFERENCES.items() if values.get(name)]
    named += [(networking.SECURITY_GROUP, group_id) for group_id in values.get("security_groups") or ()]
    named += [(networking.SUBNET, one["subnet_id"]) for one in values.get("fixed_ips") or () if one.get("subnet_id")]
    gateway = values.get("external_gateway_info") or {}
    named += [(networking.NETWORK, gateway["network_id"])] if gateway.get("network_id") else []
    for kind, object_id in dict.fromkeys(one for one in named if one[1] not in known):
        _shown(kind, object_id)


def _project(values: dict[str, Any]) -> str:
    """Whose a new object is to be.

    :raises InvalidRequest: nobody said it; :raises Forbidden: another's than the caller's, who is no administrator.
    """
    own = current.context().project_id
    wanted = values.pop("tenant_id", None) or None
    wanted = values.pop("project_id", None) or wanted or own
    if not wanted:
        raise networking.NetworkInvalid("HTTPBadRequest", "Nobody said to which project this belongs: give a project_id.")
    if wanted != own and not _is_admin():
        raise exceptions.Forbidden
    return str(wanted)


# Routes


@blueprint.get(f"/<{_PATHS}:path>")
def show_all(path: str) -> flask.Response:
    """The list."""
    collection, kind = _kind(path)
    project = current.context().project_id
    if kind in (networking.SECURITY_GROUP, networking.SECURITY_GROUP_RULE) and project:
        _network().ensure_default_group(project)
    return answers.json(lists.chosen(collection, _visible(kind, _network().documents(kind))))


@blueprint.get(_ONE)
def show(path: str, object_id: str) -> flask.Response:
    """One."""
    _, kind = _kind(path)
    return answers.json({kind: lists.selected(_shown(kind, object_id))})


@blueprint.post(f"/<{_PATHS}:path>")
def create(path: str) -> flask.Response:
    """One, or several with one body; if one of them can't be made, those before it are taken away again."""
    collection, kind = _kind(path)
    body = _body()
    if collection in body:
        wanted = body[collection]
        if not isinstance(wanted, list) or not wanted:
            raise networking.NetworkInvalid("HTTPBadRequest", f"'{collection}' is not a list of what is to be made.")
        attributes.no_more_than_most(collection, wanted)
        return answers.json({collection: _create_several(kind, wanted)}, 201)
    return answers.json({kind: _create(kind, body.get(kind))}, 201)


def _create_several(kind: str, wanted: list[Any]) -> list[Document]:
    made: list[Document] = []
    try:
        for one in wanted:
            made.append(_create(kind, one))
    except exceptions.ControllerError:
        for document in reversed(made):
            _network().delete(kind, document["id"])
        raise
    return made


def _create(kind: str, given: Any) -> Document:
    values = attributes.parsed(kind, given, creating=True, is_admin=_is_admin())
    values["project_id"] = _project(values)
    _check_references(values)
    if kind == networking.SUBNET:
        _own(networking.NETWORK, values["network_id"])
    if kind == networking.SECURITY_GROUP_RULE:
        _own(networking.SECURITY_GROUP, values["security_group_id"])
    return _network().create(kind, values)


@blueprint.put(_ONE)
def update(path: str, object_id: str) -> flask.Response:
    """Change what the body names."""
    _, kind = _kind(path)
    _own(kind, object_id)
    values = attributes.parsed(kind, _body().get(kind), creating=False, is_admin=_is_admin())
    _check_references(values, _service_groups(object_id) if values.get("security_groups") else frozenset())
    return answers.json({kind: _network().update(kind, object_id, values)})


@blueprint.delete(_ONE)
def delete(path: str, object_id: str) -> flask.Response:
    """Delete one."""
    _, kind = _kind(path)
    _own(kind, object_id)
    _network().delete(kind, object_id)
    return answers.empty(204)


@blueprint.put("/routers/<router_id>/<any(add_router_interface, remove_router_interface):verb>")
def router_interface(router_id: str, verb: str) -> flask.Response:
    """Give a router a leg on a subnet, or take it away."""
    _own(networking.ROUTER, router_id)
    body = _body()
    values = {name: attributes.checked(kinds.uuid, name, body[name]) for name in ("subnet_id", "port_id") if body.get(name)}
    if verb == "add_router_interface":
        _check_references(values)
        return answers.json(_network().add_router_interface(router_id, values.get("subnet_id"), values.get("port_id")))
    return answers.json(_network().remove_router_interface(router_id, values.get("subnet_id"), values.get("port_id")))


@blueprint.get(f"{_ONE}/tags")
def tags(path: str, object_id: str) -> flask.Response:
    """The tags of one."""
    return answers.json({"tags": _shown(_kind(path)[1], object_id)["tags"]})


@blueprint.put(f"{_ONE}/tags")
def set_tags(path: str, object_id: str) -> flask.Response:
    """Exactly these tags, from now on."""
    _, kind = _kind(path)
    _own(kind, object_id)
    wanted = attributes.checked(attributes.TAGS, "tags", _body().get("tags") or [])
    return answers.json({"tags": _tag(kind, object_id, wanted)})


@blueprint.delete(f"{_ONE}/tags")
def remove_tags(path: str, object_id: str) -> flask.Response:
    """No tags at all."""
    _, kind = _kind(path)
    _own(kind, object_id)
    _tag(kind, object_id, ())
    return answers.empty(204)


@blueprint.get(f"{_ONE}/tags/<tag>")
def has_tag(path: str, object_id: str, tag: str) -> flask.Response:
    """Whether one has a tag: 204 or 404."""
    if tag not in _shown(_kind(path)[1], object_id)["tags"]:
        raise exceptions.NotFound("Tag", tag)
    return answers.empty(204)


@blueprint.put(f"{_ONE}/tags/<tag>")
def add_tag(path: str, object_id: str, tag: str) -> flask.Response:
    """One more tag; there already is fine."""
    _, kind = _kind(path)
    _own(kind, object_id)
    _tag(kind, object_id, [*_network().document(kind, object_id)["tags"], attributes.checked(attributes.TAG, "tag", tag)])
    return answers.empty(201)


@blueprint.delete(f"{_ONE}/tags/<tag>")
def remove_tag(path: str, object_id: str, tag: str) -> flask.Response:
    """One tag less."""
    _, kind = _kind(path)
    _own(kind, object_id)
    present = _network().document(kind, object_id)["tags"]
    if tag not in present:
        raise exceptions.NotFound("Tag", tag)
    _tag(kind, object_id, [one for one in present if one != tag])
    return answers.empty(204)


def _tag(kind: str, object_id: str, wanted: Iterable[str]) -> list[str]:
    found: list[str] = _network().update(kind, object_id, {"tags": sorted(set(wanted))})["tags"]
    return found


@extensions.get("/extensions")
def show_extensions() -> flask.Response:
    """What of the Networking API there is beside its core."""
    return answers.json({"extensions": [_extension(alias) for alias in networking.EXTENSIONS]})


@extensions.get("/extensions/<alias>")
def show_extension(alias: str) -> flask.Response:
    """One of them."""
    if alias not in networking.EXTENSIONS:
        raise exceptions.NotFound("Extension", alias)
    return answers.json({"extension": _extension(alias)})


def _extension(alias: str) -> Document:
    words = alias.replace("-", " ")
    return {"alias": alias, "name": words, "description": f"The extension {words}.", "updated": "2024-01-01T00:00:00-00:00", "links": []}


def _body() -> dict[str, Any]:
    """:raises NetworkInvalid: the body is no JSON object."""
    found = flask.request.get_json(force=True, silent=True)
    if not isinstance(found, dict):
        raise networking.NetworkInvalid("HTTPBadRequest", "The body is not a JSON object.")
    return found
