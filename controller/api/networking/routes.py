"""Routes of the Networking API: decode, ask the embedded cloud's `Front`, answer."""

from typing import Any, cast

import flask

from controller import exceptions
from controller.api import current, policies
from controller.embedded import lists, networking
from controller.embedded.front import Front
from controller.embedded.network import EmbeddedNetwork
from controller.embedded.networking import Document

blueprint = flask.Blueprint("networking", __name__)
extensions = flask.Blueprint("networking_extensions", __name__)
"""The list of extensions, for the root where nothing else has one."""

_PATHS = "any('networks', 'subnets', 'ports', 'security-groups', 'security-group-rules', 'routers', 'floatingips')"
_ONE = f"/<{_PATHS}:path>/<object_id>"


def offered(network: object) -> bool:
    """Does a network driver have what these routes show?"""
    return isinstance(network, EmbeddedNetwork)


def _is_admin() -> bool:
    return current.context().is_admin  # policy says so; the role alone may be that of a domain


def _front() -> Front:
    network = cast("EmbeddedNetwork", current.services().network)
    return Front(network.inventory, current.context().project_id, _is_admin())


def _kind(path: str) -> tuple[str, str]:
    """The key of a list of what a path names, and the key of one."""
    collection = path.replace("-", "_")
    return collection, networking.COLLECTIONS[collection]


def _query() -> lists.Query:
    return flask.request.args.to_dict(flat=False)


def _body() -> dict[str, Any]:
    """:raises NetworkInvalid: the body is no JSON object."""
    found = flask.request.get_json(force=True, silent=True)
    if not isinstance(found, dict):
        raise networking.NetworkInvalid("HTTPBadRequest", "The body is not a JSON object.")
    return found


@blueprint.before_request
def ask_policy() -> None:
    """Whoever reads or writes load balancers in their project does so with the networks below them; a reader changes nothing.

    :raises Forbidden: the caller does neither.
    """
    check = policies.READ if flask.request.method in ("GET", "HEAD") else policies.WRITE
    current.authorize(check, current.context().project_id)


@blueprint.get(f"/<{_PATHS}:path>")
def show_all(path: str) -> flask.Response:
    collection, kind = _kind(path)
    return current.json(lists.chosen(collection, _front().all(kind), _query(), current.url()))


@blueprint.get(_ONE)
def show(path: str, object_id: str) -> flask.Response:
    _, kind = _kind(path)
    return current.json({kind: lists.selected(_front().shown(kind, object_id), _query())})


@blueprint.post(f"/<{_PATHS}:path>")
def create(path: str) -> flask.Response:
    _, kind = _kind(path)
    return current.json({kind: _front().create(kind, _body().get(kind))}, 201)


@blueprint.put(_ONE)
def update(path: str, object_id: str) -> flask.Response:
    _, kind = _kind(path)
    return current.json({kind: _front().update(kind, object_id, _body().get(kind))})


@blueprint.delete(_ONE)
def delete(path: str, object_id: str) -> flask.Response:
    _front().delete(_kind(path)[1], object_id)
    return current.empty(204)


@blueprint.put("/routers/<router_id>/<any(add_router_interface, remove_router_interface):verb>")
def router_interface(router_id: str, verb: str) -> flask.Response:
    """Give a router a leg on a subnet, or take it away."""
    return current.json(_front().router_interface(router_id, _body(), add=verb == "add_router_interface"))


@blueprint.get(f"{_ONE}/tags")
def tags(path: str, object_id: str) -> flask.Response:
    return current.json({"tags": _front().shown(_kind(path)[1], object_id)["tags"]})


@blueprint.put(f"{_ONE}/tags")
def set_tags(path: str, object_id: str) -> flask.Response:
    return current.json({"tags": _front().set_tags(_kind(path)[1], object_id, _body().get("tags"))})


@extensions.get("/extensions")
def show_extensions() -> flask.Response:
    return current.json({"extensions": [_extension(alias) for alias in networking.EXTENSIONS]})


@extensions.get("/extensions/<alias>")
def show_extension(alias: str) -> flask.Response:
    if alias not in networking.EXTENSIONS:
        raise exceptions.NotFound("Extension", alias)
    return current.json({"extension": _extension(alias)})


def _extension(alias: str) -> Document:
    words = alias.replace("-", " ")
    return {"alias": alias, "name": words, "description": f"The extension {words}.", "updated": "2024-01-01T00:00:00-00:00", "links": []}
