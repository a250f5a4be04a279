"""One declaration per resource: what may come in, where it is stored, what goes out, and by what lists can be filtered.

Its parts: `kinds` (what values there are), `fields` (what there is to say about one field), `dialects` (how an API refuses), and
`json_schema` (what the OpenAPI document shows).
"""

from __future__ import annotations

import datetime
import functools
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import orjson

from controller import exceptions
from controller.refusals import Refusal
from controller.resources import dialects, fields, json_schema, kinds
from controller.resources.dialects import invalid
from controller.resources.fields import Field

__all__ = ["Field", "Schema", "Values", "envelope", "invalid", "load"]

Values = dict[str, Any]

_ABSENT: Final = object()
_FIRST_API: Final = dialects.LoadBalancing()


class Schema:
    """A resource: `name` is its key in bodies, `collection` that of lists, `argument` what messages about unknown keys call the body,
    and `key` the attribute that paths and markers know it by.
    """

    def __init__(
        self,
        *,
        name: str,
        fields: Sequence[Field],
        collection: str = "",
        argument: str = "",
        shows_fault: bool = True,
        key: str = "id",
        links: str | None = None,
        dialect: dialects.Dialect = _FIRST_API,
    ) -> None:
        self.name = name
        self.collection = collection
        self.links = links or f"{collection}_links"
        self.argument = argument
        self.key = key
        self.fields = {field.name: field for field in fields}
        self.names = frozenset(key for field in fields for key in field.names)
        self._dialect = dialect
        self._post = [field for field in fields if field.post]
        self._put = {key: field for field in fields if field.put for key in field.names}
        self._post_keys = frozenset(key for field in self._post for key in field.names)
        self._columns = [(field.name, field.column) for field in fields if field.column is not None]
        self.filters = {
            key: field for field in fields for key in (*field.names, field.filter_alias) if key is not None and field.column is not None
        }
        self.operators = [field.name for field in fields if field.operator is not None and field.operator.always]
        self._added = [field.name for field in fields if field.added]
        self.shows_fault = shows_fault

    @property
    def defaults(self) -> Values:
        """What is stored of a POST that gives nothing."""
        return {field.name: field.default for field in self._post if field.default is not fields.ABSENT}

    def create(self, body: bytes) -> Values:
        """The fields of a POST, those left out at their defaults.

        :raises InvalidRequest: the body is not as declared; the message names the field and the reason.
        """
        return self.created(envelope(body, self.argument, self.name), f"{self.argument}.{self.name}")

    def update(self, body: bytes) -> Values:
        """The fields that a PUT names.

        :raises InvalidRequest: the body is not as declared; the message names the field and the reason.
        """
        return self.updated(envelope(body, self.argument, self.name), f"{self.argument}.{self.name}")

    def created(self, given: Any, path: str = "") -> Values:
        """The fields of an object that is to be made, found at `path` of a body.

        :raises ControllerError: as the dialect says it: of the first API, InvalidRequest as by `create()`.
        """
        self._check_names(given, self._post_keys, path, creating=True)
        if self._dialect.missing_first:
            self._check_required(given)
        values: Values = {}
        for field in self._post:
            value = given.get(field.name, _ABSENT) if field.alias is None else _by_either_name(given, field.name, field.alias)
            if value is not _ABSENT:
                values[field.name] = self.accepted(field, value)
            elif field.required:
                raise self._dialect.missing(self, field)
            elif field.default is not fields.ABSENT:
                values[field.name] = field.default
        return values

    def updated(self, given: Any, path: str = "") -> Values:
        """The fields that are to be changed, found at `path` of a body.

        :raises ControllerError: as `created()`.
        """
        self._check_names(given, self._put.keys(), path, creating=False)
        values: Values = {}
        for key, value in given.items():
            field = self._put[key]
            is_blank = type(value) is type(field.blank) and value == field.blank
            values[field.name] = self.accepted(field, None if is_blank else value)
        return values

    def _check_names(self, given: Any, accepted: Any, path: str, *, creating: bool) -> None:
        if not isinstance(given, dict):
            raise self._dialect.no_object(self, given)
        if not given.keys() <= accepted:
            raise self._dialect.refused(self, given.keys() - accepted, path, creating=creating)

    def _check_required(self, given: Mapping[str, Any]) -> None:
        for field in self._post:
            if field.required and field.name not in given:
                raise self._dialect.missing(self, field)

    def accepted(self, field: Field, value: Any) -> Any:
        """What is stored for a value of JSON.

        :raises ControllerError: as the dialect says it: it is not of the field's kind.
        """
        if value is None and field.null is fields.SAME:
            if field.required:
                raise self._dialect.missing(self, field)
            return field.default
        if value is None and field.null is not fields.REFUSED:
            return field.null
        try:
            accepted = field.kind(value)
        except kinds.Reject as reason:
            raise self._dialect.bad(field, value, reason) from None
        return None if field.ignored else accepted

    def nested(self, path: str) -> kinds.Described[Values]:
        """The kind of a field that holds such an object whole; `path` is where in the body."""
        return kinds.Described(
            lambda value: self.created(value, path), json_schema.for_post(self), example=json_schema.example_of_post(self)
        )

    def nested_list(self, path: str) -> kinds.Described[list[Values]]:
        """The kind of a field that holds a list of such objects."""

        item = json_schema.for_post(self)

        @kinds.described("array", items=item, maxItems=kinds.MOST_OBJECTS, example=[json_schema.example_of_post(self)])
        def parse(value: Any) -> list[Values]:
            if not isinstance(value, list):
                raise kinds.Reject("Value should be a list")
            kinds.no_more_than(kinds.MOST_OBJECTS, value)
            return [self.created(item, f"{path}[{index}]") for index, item in enumerate(value)]

        return parse

    def columns(self, values: Mapping[str, Any]) -> Values:
        """What of the values is stored in the resource's row, by column; and its tags, which have their own table."""
        row = {column: values[name] for name, column in self._columns if name in values}
        if "tags" in values:
            row["tags"] = values["tags"]
        return row

    @functools.cached_property
    def _view(self) -> Callable[[Any], Values]:
        return _plan(list(self.fields.values()))

    def view(self, noun: Any) -> Values:
        """The JSON object of a response."""
        view = self._view(noun)
        self.drop_unset(view)
        if self.shows_fault and noun.fault is not None:
            view["fault"] = dict(of_fault(noun.fault))
        return view

    def drop_unset(self, view: Values) -> None:
        """Take away what only we have, where it is not set."""
        for name in self._added:
            if view[name] is None:
                del view[name]


def _plan(declared: Sequence[Field]) -> Callable[[Any], dict[str, Any]]:
    """The view of a noun: what is shown, by its keys in their order. All attributes are read at once."""
    shown = sorted(((key, field) for field in declared if field.is_shown for key in field.names), key=lambda pair: pair[0])
    names = [key for key, _field in shown]
    shows = [(position, field.show) for position, (_key, field) in enumerate(shown) if field.show]
    first, second, *rest = [str(field.attribute) for _key, field in shown]  # of one alone, an `attrgetter` gives no tuple
    attributes = operator.attrgetter(first, second, *rest)

    def view(noun: Any) -> dict[str, Any]:
        values = list(attributes(noun))
        for position, show in shows:
            values[position] = show(values[position])
        return dict(zip(names, values, strict=True))

    return view


def of_fault(fault: Any) -> Iterable[tuple[str, Any]]:
    """Why the newest change has failed."""
    for key in ("code", "message", "step", "request_id", "occurred_at", "next_try_at"):
        value = getattr(fault, key)
        yield key, kinds.naive(value) if isinstance(value, datetime.datetime) else value


def _by_either_name(given: Mapping[str, Any], name: str, alias: str) -> Any:
    """The value of a field with two names: the one by the second name, unless that is null."""
    second = given.get(alias, _ABSENT)
    return given.get(name, second) if second is None or second is _ABSENT else second


def load(body: bytes) -> Any:
    """The JSON of a body.

    :raises InvalidRequest: it is none.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        raise exceptions.InvalidRequest("Request is not in valid JSON format", code=Refusal.MALFORMED_BODY) from None


def envelope(body: bytes, argument: str, key: str, *, repeats: bool = True) -> Any:
    """What a body holds under its one key; errors tell what else it is, if they may repeat it.

    :raises InvalidRequest: the body is no JSON object, has other keys, or lacks this one.
    """
    given = load(body)
    if not isinstance(given, dict):
        raise dialects.no_object(argument, given) if repeats else dialects.withheld(argument, dialects.NO_OBJECT)
    if given.keys() - {key}:
        raise dialects.unknown(given.keys() - {key}, argument) if repeats else dialects.unknown_withheld([key], argument)
    if given.get(key) is None:
        raise dialects.missing(key)
    return given[key]
