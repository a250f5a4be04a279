"""The JSON Schemas of a resource's declaration (what a POST and a PUT may hold, and what answers show), and an example of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from controller.resources import kinds
from controller.resources.fields import ABSENT, Field

if TYPE_CHECKING:
    from controller.resources.declare import Schema

Json = dict[str, Any]

FAULT: Json = {
    "type": "object",
    "description": "Why the newest change has failed; only there while it has.",
    "additionalProperties": False,
    "properties": {
        "code": {"type": ["string", "null"], "description": "A short word for programs."},
        "message": {"type": ["string", "null"], "description": "A sentence for people."},
        "step": {"type": ["string", "null"], "description": "What was being done."},
        "request_id": {"type": ["string", "null"], "description": "The id of the request that asked for it."},
        "occurred_at": {"type": ["string", "null"], "format": "naive-date-time", "description": "When it failed. In UTC."},
        "next_try_at": {"type": ["string", "null"], "format": "naive-date-time", "description": "When it is tried again. In UTC."},
    },
}


def for_post(declared: Schema) -> Json:
    """An object that is to be made."""
    accepted = [field for field in declared.fields.values() if field.post]
    schema = _object({name: _asked(field) for field in accepted for name in field.names})
    required = [field.name for field in accepted if field.required]
    return schema | ({"required": required} if required else {})


def for_put(declared: Schema) -> Json:
    """Changes of an object; what is left out stays."""
    accepted = [field for field in declared.fields.values() if field.put]
    return _object({name: _without_default(_asked(field)) for field in accepted for name in field.names})


def for_view(declared: Schema) -> Json:
    """An object as answers show it. No key is promised, since a GET may choose its `fields`."""
    shown = {name: _shown(field) for field in declared.fields.values() if field.is_shown for name in field.names}
    return _object(dict(sorted(shown.items())) | ({"fault": FAULT} if declared.shows_fault else {}))


def example_of_post(declared: Schema) -> Json:
    """What must be given, and what a client would add first: the fields that have an example of their own."""
    return {
        field.name: _example(field)
        for field in declared.fields.values()
        if field.post and not field.ignored and (field.required or _has_own(field))
    }


def example_of_put(declared: Schema) -> Json:
    """A change of what has an example of its own, or else of the first field that can change."""
    accepted = [field for field in declared.fields.values() if field.put and not field.ignored]
    return {field.name: _example(field) for field in [field for field in accepted if _has_own(field)] or accepted[:1]}


def example_of_view(declared: Schema) -> Json:
    """An object of which little was said."""
    fields = [field for field in declared.fields.values() if field.is_shown and not field.added]
    shown = {name: _shown_example(field) for field in fields for name in field.names}
    return dict(sorted(shown.items()))


def nullable(schema: Mapping[str, Any]) -> Json:
    """The values of a schema, or null."""
    if "type" not in schema:
        return dict(schema)
    made = {**schema, "type": [schema["type"], "null"] if isinstance(schema["type"], str) else schema["type"]}
    return made | ({"enum": [*schema["enum"], None]} if "enum" in schema else {})


def _object(properties: Json) -> Json:
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _asked(field: Field) -> Json:
    schema = dict(kinds.schema_of(field.kind) or {})
    if not field.required:
        schema = nullable(schema)
    if field.ignored:
        return schema | {"description": f"{field.about} Accepted here, without effect.".strip(), "deprecated": True}
    if field.default not in (None, ABSENT):
        schema["default"] = field.default
    return schema | _words(field.about, _example(field))


def _without_default(schema: Json) -> Json:
    return {name: value for name, value in schema.items() if name != "default"}


def _shown(field: Field) -> Json:
    view = kinds.schema_of(field.show)
    schema = dict(view) if view is not None else nullable(kinds.schema_of(field.kind) or {})
    return schema | _words(field.about, _shown_example(field))


def _words(about: str, example: Any) -> Json:
    return ({"description": about} if about else {}) | ({"examples": [example]} if example is not None else {})


def _has_own(field: Field) -> bool:
    return field.example is not None


def _example(field: Field) -> Any:
    return field.example if _has_own(field) else kinds.example_of(field.kind)


def _shown_example(field: Field) -> Any:
    """What such an object shows: what was asked for in the example of a POST, or else the default."""
    if field.show is not None and kinds.schema_of(field.show) is not None:
        return kinds.example_of(field.show)
    if field.post and not _has_own(field) and (field.default is not None or not field.is_never_null):
        return field.show(field.default) if field.show is not None and field.default is not ABSENT else field.default
    return _example(field)
