"""Lists with the habits of the network service: a repeated filter means OR, unknown ones mean nothing, sort keys come in repeated pairs."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import flask

from controller.api import current
from controller.api import paging as pages
from controller.api.lbaasv2 import errors
from controller.api.lbaasv2.attributes import Resource
from controller.db import database, rows
from controller.db.repositories import paging
from controller.resources import kinds
from controller.resources.declare import Values

_CONTROL = frozenset({"limit", "marker", "page_reverse", "sort_key", "sort_dir", "fields"})
_TRUE = frozenset({"true", "1", "yes", "on"})
_OTHER_NAMES = {
    ("listener", "loadbalancers"): "loadbalancer_id",
    ("listener", "default_tls_container_id"): "default_tls_container_ref",
    ("pool", "loadbalancers"): "loadbalancer_id",
    ("healthmonitor", "pools"): "pool_id",
    ("l7policy", "status"): "provisioning_status",
}
"""Attributes that are a second name, or a list of one, for another one."""

_NEIGHBOURS: dict[str, dict[str, tuple[str, str]]] = {
    "pool": {
        "healthmonitor_id": ("health_monitors", "pool_id"),
        "listener_id": ("listeners", "default_pool_id"),
        "listeners": ("listeners", "default_pool_id"),
        "members": ("members", "pool_id"),
    }
}
"""Attributes whose value another table knows: which repository, and which of its attributes names the row that is looked for."""


def query(resource: Resource, fixed: Sequence[paging.Filter], project: str | None) -> paging.Query:
    """What the query string asks for. `fixed` filters come from the path; `project` is the only one that the caller may see.

    :raises Fault: a limit, a direction or a sort key that is none.
    """
    within = tuple(fixed) if project is None else (*fixed, paging.Filter("project_id", project))
    more, possible = _filters(resource)
    arguments = flask.request.args
    return paging.Query(
        within=within,
        filters=tuple(more),
        nothing=not possible,
        order=_order(resource),
        limit=_limit(arguments.get("limit")),
        marker=arguments.get("marker") or None,
        reverse=arguments.get("page_reverse", "").lower() in _TRUE,
    )


def with_neighbours(tx: database.Transaction, resource: Resource, asked: paging.Query) -> paging.Query:
    """The same with the filters whose answer stands in another table."""
    for name, (repository, attribute) in _NEIGHBOURS.get(resource.name, {}).items():
        if name in flask.request.args:
            words = tuple(word for word in flask.request.args.getlist(name) if rows.may_exist(word))
            found = getattr(tx, repository).page(paging.Query(filters=(paging.Filter("id", words),)))
            ids = tuple({getattr(one, attribute) for one in found} - {None})
            asked = dataclasses.replace(asked, filters=(*asked.filters, paging.Filter("id", ids)), nothing=asked.nothing or not ids)
    return asked


def everything(*within: paging.Filter) -> paging.Query:
    """The first page of a list that knows no paging: as long as one may be."""
    settings = current.settings()
    return paging.Query(within=within, limit=settings.page_limit if settings.allow_pagination else None)


def answer(resource: Resource, asked: paging.Query, views: Sequence[Values]) -> flask.Response:
    """The page, and links to its neighbours if a limit was asked for."""
    body: dict[str, Any] = {resource.collection: [selected(view) for view in views]}
    found = _links(asked, [view["id"] for view in views])
    if found:
        body[f"{resource.collection}_links"] = found
    return current.json(body)


def selected(view: Values) -> Values:
    """Only the attributes that `fields=` names, if it names any."""
    chosen = {name for words in flask.request.args.getlist("fields") for name in words.split(",") if name}
    return {name: value for name, value in view.items() if name in chosen} if chosen else view


def _filters(resource: Resource) -> tuple[list[paging.Filter], bool]:
    """Filters by attribute, and whether any row can pass: a value that is not of its attribute's kind equals none."""
    found = []
    for name, words in flask.request.args.lists():
        field = resource.schema.filters.get(_OTHER_NAMES.get((resource.name, name), name))
        if name in _CONTROL or field is None or name not in resource.fields:
            continue
        values = []
        for word in words:
            try:
                values.append(field.kind(word))
            except kinds.Reject:
                continue
        if not values:
            return [], False
        found.append(paging.Filter(str(field.column), values[0] if len(values) == 1 else tuple(values)))
    return found, True


def _order(resource: Resource) -> tuple[paging.Order, ...]:
    names = flask.request.args.getlist("sort_key")
    directions = flask.request.args.getlist("sort_dir")
    if len(directions) > len(names):
        raise errors.bad_request("The number of sort_keys and sort_dirs must be same")
    found = []
    for name, direction in itertools.zip_longest(names, directions, fillvalue="asc"):
        field = resource.schema.filters.get(name)
        if field is None or field.column is None or name not in resource.fields:
            raise errors.bad_request(f"{name[:64]!r} is an invalid attribute for sort keys")
        if direction not in ("asc", "desc"):
            raise errors.bad_request(f"{direction[:64]!r} is an invalid sort direction: it is asc or desc")
        found.append(paging.Order(field.column, direction == "desc"))
    return tuple(found)


def _limit(word: str | None) -> int | None:
    highest = current.settings().page_limit
    if word is None:
        return highest
    if not word.isascii() or not word.isdecimal() or len(word) > 9:
        raise errors.bad_request(f"Invalid input for limit. Reason: {word[:64]!r} is not an integer.")
    return min(int(word) or highest or 2**31 - 1, highest or 2**31 - 1)


def _links(asked: paging.Query, ids: Sequence[str]) -> list[dict[str, str]]:
    """The next page if this one is full; the one before if this is not the first."""
    found: list[dict[str, str]] = []
    full = asked.limit is not None and len(ids) >= asked.limit
    if not ids or ("limit" not in flask.request.args and not full):
        return found
    if full or asked.reverse:
        found.append({"rel": "next", "href": pages.href(ids[-1], asked.limit)})
    if (asked.marker is not None and not asked.reverse) or (asked.reverse and full):
        found.append({"rel": "previous", "href": pages.href(ids[0], asked.limit, page_reverse="True")})
    return found
