"""What a client asks of a list (limit, marker, sorting, filters, tags, fields), and the links to the pages before and after."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Sequence
from typing import Any
from urllib import parse as urls

import flask

from controller import exceptions
from controller.api import current, errors
from controller.db.repositories import paging
from controller.resources import declare, kinds

_TAGS = {"tags": "all", "tags-any": "any", "not-tags": "not_all", "not-tags-any": "not_any"}
_NO_TAG = "-" * 256  # longer than any tag
_PLACE = frozenset({"limit", "marker", "page_reverse"})
_CONTROL = _PLACE | {"sort", "sort_key", "sort_dir", "fields", *_TAGS}


@dataclasses.dataclass(frozen=True, slots=True)
class Asked:
    """A page of a resource's list."""

    schema: declare.Schema
    query: paging.Query

    def answer(self, found: Sequence[Any], view: Callable[[Any], dict[str, Any]] | None = None) -> flask.Response:
        """The page that was found."""
        show = view or self.schema.view
        return self._answer([show(item) for item in found], [str(getattr(item, self.schema.key)) for item in found])

    def answer_views(self, views: Sequence[dict[str, Any]]) -> flask.Response:
        """The page that was found, as views."""
        return self._answer(views, [view[self.schema.key] for view in views])

    def _answer(self, views: Sequence[dict[str, Any]], ids: Sequence[str]) -> flask.Response:
        chosen = current.selection()
        if chosen:
            views = [current.select(item, chosen) for item in views]
        return current.json({self.schema.collection: views, self.schema.links: self._links(ids)})

    def _links(self, ids: Sequence[str]) -> list[dict[str, str]] | None:
        if not current.settings().allow_pagination:
            return None
        limit = self.query.limit
        found = []
        if ids and limit is not None and len(ids) >= limit:
            found.append({"rel": "next", "href": href(ids[-1], limit)})
        if ids and self.query.marker is not None:
            found.append({"rel": "previous", "href": href(ids[0], limit, page_reverse="True")})
        return found


def href(marker: str, limit: int | None, **more: str) -> str:
    """The same question for another page. Its filters are part of it: a client that follows links asks for what it wants only once."""
    given = [(name, value) for name, value in flask.request.args.items(multi=True) if name not in _PLACE]
    limited = [] if limit is None else [("limit", str(limit))]
    return f"{current.url()}?{urls.urlencode([*limited, *given, ('marker', marker), *more.items()], safe=':,')}"


def asked(
    schema: declare.Schema, *, fixed: Sequence[paging.Filter] = (), project: str | None = None, elsewhere: Collection[str] = ()
) -> Asked:
    """Read the query string. `fixed` filters come from the path; `project` is the only one that the caller may see; the route itself
    reads the arguments `elsewhere`.

    :raises InvalidRequest: an unknown filter, an unknown sort key.
    :raises BadQuery: a limit or a direction that is none.
    """
    within = tuple(fixed) if project is None else (*fixed, paging.Filter("project_id", project))
    arguments = flask.request.args
    if not flask.request.query_string:
        return Asked(schema, paging.Query(within=within, limit=_limit(None)))
    more, possible = _filters(schema, arguments, elsewhere)
    paged = current.settings().allow_pagination
    return Asked(
        schema,
        paging.Query(
            within=within,
            filters=tuple(more),
            nothing=not possible,
            tags=_tags(arguments),
            order=_order(schema, arguments),
            limit=_limit(arguments.get("limit")),
            marker=arguments.get("marker") if paged else None,
            reverse=paged and arguments.get("page_reverse") == "True",
        ),
    )


def _limit(word: str | None) -> int | None:
    settings = current.settings()
    if not settings.allow_pagination:
        return None
    highest = settings.page_limit
    if word is None or word == "infinite":
        return highest
    try:
        limit = int(word)
    except ValueError:
        raise errors.BadQuery(f"Limit value must be an integer, not {word[:64]!r}") from None
    if limit < 1:
        return highest
    return min(limit, highest or 2**31 - 1)


def _tags(arguments: Any) -> paging.Tags:
    if not current.settings().allow_filtering:
        return paging.Tags()
    asked_for = {
        key: tuple(_tag(tag) for words in arguments.getlist(name) for tag in words.split(",") if tag) for name, key in _TAGS.items()
    }
    return paging.Tags(**asked_for)


def _tag(word: str) -> str:
    """A tag that is none would be refused by some engines: it stands for one that nothing can have."""
    try:
        return kinds.name(word)
    except kinds.Reject:
        return _NO_TAG


def _filters(schema: declare.Schema, arguments: Any, elsewhere: Collection[str]) -> tuple[list[paging.Filter], bool]:
    """Filters by attribute, and whether any row can pass: a value that is not of its field's kind equals none."""
    found: list[paging.Filter] = []
    possible = True
    if not current.settings().allow_filtering:
        return found, possible
    for name, values in arguments.lists():
        if name in elsewhere or (name in _CONTROL and (name not in _TAGS or "tags" in schema.fields)):
            continue
        field = schema.filters.get(name)
        if field is None or len(values) != 1:
            raise bad_filter()
        try:
            value = field.kind(values[0])
        except kinds.Reject:
            possible = False
            continue
        found.append(paging.Filter(str(field.column), value))
    return found, possible


def bad_filter() -> exceptions.InvalidRequest:
    """The error of a filter that is unknown, or named twice."""
    return exceptions.InvalidRequest("One or more arguments are either duplicate or invalid")


def _order(schema: declare.Schema, arguments: Any) -> tuple[paging.Order, ...]:
    if not current.settings().allow_sorting:
        return ()
    if "sort" in arguments:
        pairs = [_pair(word) for word in arguments["sort"].split(",") if word]
    else:
        names = [word for word in arguments.get("sort_key", "").split(",") if word]
        directions = [word for word in arguments.get("sort_dir", "").split(",") if word]
        pairs = list(zip(names, [*directions, *["asc"] * len(names)], strict=False))
    return tuple(_ordered(schema, name, direction) for name, direction in pairs)


def _pair(word: str) -> tuple[str, str]:
    name, *directions = word.split(":")
    if len(directions) > 1:
        raise errors.BadQuery(f"Sort key {word[:64]!r} may have one direction only")
    return name, directions[0] if directions else "asc"


def _ordered(schema: declare.Schema, name: str, direction: str) -> paging.Order:
    if direction not in ("asc", "desc"):
        raise errors.BadQuery(f"Sort direction must be asc or desc, not {direction[:64]!r}")
    field = schema.filters.get(name)
    if field is None or field.column is None:
        raise exceptions.RuleBroken(f"items can't be sorted by {name[:64]!r}.")
    return paging.Order(field.column, direction == "desc")
