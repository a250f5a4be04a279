"""Which documents of a list are shown, and which of their attributes."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib import parse as urls

from controller.embedded import networking
from controller.embedded.networking import Document

Query = Mapping[str, list[str]]
"""The values of each name of a query, in their order."""

_NOT_FILTERS = frozenset({"fields", "limit", "marker"})
_TAG_FILTERS: Mapping[str, Callable[[set[str], set[str]], bool]] = {
    "tags": lambda wanted, present: wanted <= present,
    "tags-any": lambda wanted, present: bool(wanted & present),
    "not-tags": lambda wanted, present: not wanted <= present,
    "not-tags-any": lambda wanted, present: not wanted & present,
}
_TRUE, _FALSE = frozenset({"true", "1"}), frozenset({"false", "0"})


def chosen(collection: str, documents: Iterable[Document], query: Query, here: str) -> dict[str, Any]:
    """The body that a query asks for; `here` is the address of the list.

    :raises NetworkInvalid: the page it asks for makes no sense.
    """
    found = [document for document in documents if _fits(document, query)]
    first, last = _page(found, query)
    body: dict[str, Any] = {collection: [selected(document, query) for document in found[first:last]]}
    if first < last < len(found):
        kept = [(name, value) for name, values in query.items() for value in values if name != "marker"]
        body[f"{collection}_links"] = [{"rel": "next", "href": f"{here}?{urls.urlencode([*kept, ('marker', found[last - 1]['id'])])}"}]
    return body


def selected(document: Document, query: Query) -> Document:
    """Only the attributes that `fields` names, if it does."""
    names = {name for words in query.get("fields", ()) for name in words.split(",") if name}
    return {name: value for name, value in document.items() if name in names} if names else document


def _fits(document: Document, query: Query) -> bool:
    """Does it have, for each attribute that is asked for, one of the values? Names that no document has are passed over."""
    for name, wanted in query.items():
        if name in _TAG_FILTERS:
            if not _TAG_FILTERS[name]({tag for words in wanted for tag in words.split(",")}, set(document.get("tags", ()))):
                return False
            continue
        if name in _NOT_FILTERS or name not in document:
            continue
        if not any(_equals(document[name], text) for text in wanted):
            return False
    return True


def _equals(value: Any, text: str) -> bool:
    if isinstance(value, bool):
        return text.lower() in (_TRUE if value else _FALSE)
    if value is None:
        return text in ("", "null", "None")
    if isinstance(value, list):
        return any(_equals(one, text) for one in value)
    if isinstance(value, Mapping):
        key, equals, rest = text.partition("=")
        return bool(equals) and key in value and _equals(value[key], rest)
    return str(value) == text


def _page(found: list[Document], query: Query) -> tuple[int, int]:
    """Where the page begins, after the marker, and where it ends."""
    marker, limit = _first(query, "marker"), _first(query, "limit") or "0"
    if not limit.isascii() or not limit.isdecimal():
        raise networking.NetworkInvalid("HTTPBadRequest", f"The limit {limit} is no number of items.")
    first = 0 if marker is None else next((place for place, one in enumerate(found, start=1) if one["id"] == marker), None)
    if first is None:
        raise networking.NetworkInvalid("HTTPBadRequest", f"The marker {marker} is not in the list.")
    return first, min(first + (int(limit[:9]) or len(found)), len(found))


def _first(query: Query, name: str) -> str | None:
    return next(iter(query.get(name, ())), None)
