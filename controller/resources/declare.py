"""One declaration per resource: what may come in, where it is stored, what goes out, and by what lists can be filtered.

A `Field` that is no more than a name and a kind is accepted by POST and PUT, stored in the column of its name, shown, and can be
filtered by. Everything else about it is a keyword. So a new field is one line here beside its column and its attribute.
"""

from __future__ import annotations

import dataclasses
import datetime
import operator
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final

import orjson

from controller import exceptions
from controller.model.status import OperatingStatus, ProvisioningStatus
from controller.refusals import Refusal
from controller.resources import json_schema, kinds

Values = dict[str, Any]

SAME: Final = object()
_ABSENT: Final = object()
_REFERENCES: Final = {
    "items": {"type": "object", "properties": {"id": kinds.uuid.schema}, "required": ["id"], "additionalProperties": False},
}
NOTHING: Final[tuple[Any, ...]] = (None, [], {}, "")
"""For `Field.supported`: the field may say that it asks for nothing."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Field:
    """One attribute of a resource."""

    name: str
    kind: kinds.Parser = kinds.name
    post: bool = True
    put: bool = True
    required: bool = False  # by POST; a PUT may leave it out, but not null it
    default: Any = None  # what POST stores when it is left out
    null: Any = SAME  # what an explicit null stores, if that is not the default
    blank: str | int | None = None  # this value in a PUT means null: so do clients unset what has no null in their language
    alias: str | None = None  # a second name, accepted and shown like the first
    filter_alias: str | None = None  # a second name for filters only
    column: str | None = ""  # where it is stored; "": in the column of its name, None: nowhere
    attribute: str | None = ""  # of the noun, may have dots; "": of its name, None: it is not shown
    show: Callable[[Any], Any] | None = None  # from the attribute to the JSON value
    hidden: bool = False  # accepted, never shown
    ignored: bool = False  # accepted without effect
    refusal: Refusal = Refusal.INVALID_FIELD  # of a value that is not of its kind
    supported: Collection[Any] | None = None  # the valid values that the data plane can do as yet; the others are 501

    def __post_init__(self) -> None:
        """Settle what follows from the name."""
        for which in ("column", "attribute"):
            if getattr(self, which) == "":
                object.__setattr__(self, which, self.name)

    @property
    def is_shown(self) -> bool:
        """Whether answers have it."""
        return not self.hidden and self.attribute is not None

    def accept(self, value: Any) -> Any:
        """What is stored for a value of JSON.

        :raises InvalidRequest: it is not of the field's kind.
        """
        if value is None:
            if self.required:
                raise invalid(self.name, None, "Mandatory field missing.")
            return self.default if self.null is SAME else self.null
        try:
            accepted = self.kind(value)
            return None if self.ignored else accepted
        except kinds.Reject as reason:
            raise invalid(self.name, value, str(reason), self.refusal) from None

    def accept_change(self, value: Any) -> Any:
        """What is stored for a value in a PUT.

        :raises InvalidRequest: as `accept()`.
        """
        return self.accept(None if type(value) is type(self.blank) and value == self.blank else value)


def read_only(name: str, kind: kinds.Parser = kinds.name, **keywords: Any) -> Field:
    """A field that only we write."""
    return Field(name=name, kind=kind, post=False, put=False, **keywords)


def loosened(field: Field) -> Field:
    """The field, which may be left out."""
    return dataclasses.replace(field, required=False)


@kinds.described("array", **_REFERENCES)
def ids(values: Iterable[str]) -> list[dict[str, str]]:
    """References to other objects."""
    return [{"id": value} for value in values]


@kinds.described("array", **_REFERENCES, maxItems=1)
def one_id(value: str | None) -> list[dict[str, str]]:
    """The reference to another object, as a list of one or none."""
    return [] if value is None else [{"id": value}]


def naive(value: datetime.datetime | None) -> datetime.datetime | None:
    """A time without its zone, which clients can't read."""
    return None if value is None else value.replace(tzinfo=None)


def timestamp(name: str) -> Field:
    """When something happened."""
    return read_only(name, kinds.timestamp, show=naive)


def common(*, description: bool = True, project: bool = True) -> tuple[Field, ...]:
    """What every resource of a project has; `project=False`: the one of its parent is taken, whatever the body says."""
    fields = (
        read_only("id", kinds.uuid),
        Field(name="name", default=""),
        Field(name="description", kind=kinds.description, default=""),
        Field(name="admin_state_up", kind=kinds.boolean, default=True),
        Field(name="project_id", kind=kinds.text(36), alias="tenant_id", put=False),
        Field(name="tags", kind=kinds.tags, default=[], column=None),
        read_only("provisioning_status", kinds.one_of(*ProvisioningStatus)),
        read_only("operating_status", kinds.one_of(*OperatingStatus)),
        timestamp("created_at"),
        timestamp("updated_at"),
    )
    wanted = fields if description else tuple(field for field in fields if field.name != "description")
    return (
        wanted if project else tuple(dataclasses.replace(field, ignored=True) if field.name == "project_id" else field for field in wanted)
    )


class Schema:
    """A resource: `name` is its key in bodies, `collection` that of lists, `argument` what messages about unknown keys call the body,
    and `key` the attribute that paths and markers know it by.
    """

    def __init__(
        self,
        *,
        name: str,
        collection: str,
        argument: str,
        fields: Sequence[Field],
        shows_fault: bool = True,
        key: str = "id",
        links: str | None = None,
    ) -> None:
        self.name = name
        self.collection = collection
        self.links = links or f"{collection}_links"
        self.argument = argument
        self.key = key
        self.fields = {field.name: field for field in fields}
        self._post = [field for field in fields if field.post]
        self._put = {key: field for field in fields if field.put for key in (field.name, field.alias) if key}
        self._post_keys = frozenset(key for field in self._post for key in (field.name, field.alias) if key)
        self._columns = [(field.name, field.column) for field in fields if field.column is not None]
        self.filters = {
            key: field for field in fields for key in (field.name, field.alias, field.filter_alias) if key and _filterable(field)
        }
        self._shows_fault = shows_fault
        self._template, self._names, self._attributes, self._shows = _view_plan(fields)

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

    def created(self, given: Any, path: str) -> Values:
        """The fields of an object that is to be made, found at `path` of a body.

        :raises InvalidRequest: as `create()`.
        """
        _check_keys(given, self._post_keys, self.name, path)
        values: Values = {}
        for field in self._post:
            value = given.get(field.name, _ABSENT) if field.alias is None else _by_either_name(given, field.name, field.alias)
            if value is not _ABSENT:
                values[field.name] = field.accept(value)
            elif field.required:
                raise invalid(field.name, None, "Mandatory field missing.")
            else:
                values[field.name] = field.default
        return values

    def updated(self, given: Any, path: str) -> Values:
        """The fields that are to be changed, found at `path` of a body.

        :raises InvalidRequest: as `update()`.
        """
        _check_keys(given, self._put.keys(), self.name, path)
        return {self._put[key].name: self._put[key].accept_change(value) for key, value in given.items()}

    def nested(self, path: str) -> kinds.Described[Values]:
        """The kind of a field that holds such an object whole; `path` is where in the body."""
        return kinds.Described(lambda value: self.created(value, path), self.post_schema)

    def nested_list(self, path: str) -> kinds.Described[list[Values]]:
        """The kind of a field that holds a list of such objects."""

        @kinds.described("array", items=self.post_schema, maxItems=kinds.MOST_OBJECTS)
        def parse(value: Any) -> list[Values]:
            if not isinstance(value, list):
                raise kinds.Reject("Value should be a list")
            kinds.no_more_than(kinds.MOST_OBJECTS, value)
            return [self.created(item, f"{path}[{index}]") for index, item in enumerate(value)]

        return parse

    @property
    def post_schema(self) -> kinds.JsonSchema:
        """The JSON Schema of an object that is to be made."""
        return json_schema.for_post(self.fields.values())

    @property
    def put_schema(self) -> kinds.JsonSchema:
        """The JSON Schema of changes."""
        return json_schema.for_put(self.fields.values())

    @property
    def view_schema(self) -> kinds.JsonSchema:
        """The JSON Schema of the object in answers."""
        return json_schema.for_view(self.fields.values(), shows_fault=self._shows_fault)

    def columns(self, values: Mapping[str, Any]) -> Values:
        """What of the values is stored in the resource's row, by column; and its tags, which have their own table."""
        row = {column: values[name] for name, column in self._columns if name in values}
        if "tags" in values:
            row["tags"] = values["tags"]
        return row

    def view(self, noun: Any) -> Values:
        """The JSON object of a response."""
        values = list(self._attributes(noun))
        for position, show in self._shows:
            values[position] = show(values[position])
        view = self._template.copy()
        view.update(zip(self._names, values, strict=True))
        if self._shows_fault and noun.fault is not None:
            view["fault"] = dict(_fault_view(noun.fault))
        return view


def _filterable(field: Field) -> bool:
    return field.column is not None


def _view_plan(fields: Sequence[Field]) -> tuple[Values, list[str], Callable[[Any], Any], list[tuple[int, Callable[[Any], Any]]]]:
    """Keys in their order; then what is read from the noun, in one `attrgetter`, and how it is shown."""
    shown = [(key, field) for field in fields for key in (field.name, field.alias) if key and field.is_shown]
    shown.sort(key=lambda pair: pair[0])
    template = dict.fromkeys(key for key, _field in shown)
    read = [(key, field) for key, field in shown if field.attribute]
    getter = operator.attrgetter(*(str(field.attribute) for _key, field in read))
    return template, [key for key, _field in read], getter, [(i, field.show) for i, (_key, field) in enumerate(read) if field.show]


def _fault_view(fault: Any) -> Iterable[tuple[str, Any]]:
    for key in ("code", "message", "step", "request_id", "occurred_at", "next_try_at"):
        value = getattr(fault, key)
        yield key, naive(value) if isinstance(value, datetime.datetime) else value


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


def envelope(body: bytes, argument: str, key: str) -> Any:
    """What a body holds under its one key.

    :raises InvalidRequest: the body is no JSON object, has other keys, or lacks this one.
    """
    given = load(body)
    _check_keys(given, {key}, argument, argument)
    if given.get(key) is None:
        raise invalid(key, None, "Mandatory field missing.")
    return given[key]


def _check_keys(given: Any, known: Collection[str], name: str, path: str) -> None:
    if not isinstance(given, dict):
        raise invalid(name, given, "Value should be a JSON object")
    unknown = given.keys() - known
    if unknown:
        words = f"Unknown attribute for argument {path}: {_shortened(', '.join(sorted(unknown)))}"
        raise exceptions.InvalidRequest(words, code=Refusal.UNKNOWN_FIELD)


def invalid(name: str, value: Any, reason: str, code: Refusal = Refusal.INVALID_FIELD) -> exceptions.InvalidRequest:
    """The error of a field's value."""
    return exceptions.InvalidRequest(f"Invalid input for field/attribute {name}. Value: '{_shortened(str(value))}'. {reason}", code=code)


def unsupported(option: str, value: Any) -> exceptions.NotSupported:
    """The error of a valid value that no amphora can do yet."""
    return exceptions.NotSupported(f"Provider 'amphora' does not support a requested option: {option} {_shortened(str(value))}")


def _shortened(shown: str) -> str:
    return shown if len(shown) <= 300 else f"{shown[:297]}..."
