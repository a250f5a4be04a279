"""The JSON Schemas of a resource's declaration: what a POST and a PUT may hold, and what answers show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from controller.resources import kinds

if TYPE_CHECKING:
    from controller.resources.declare import Field

Json = dict[str, Any]

IGNORED: Json = {"description": "Accepted, without effect.", "deprecated": True}
FAULT: Json = {
    "type": "object",
    "description": "Why the newest change has failed; only there while it has.",
    "additionalProperties": False,
    "properties": {
        "code": {"type": ["string", "null"]},
        "message": {"type": ["string", "null"]},
        "step": {"type": ["string", "null"]},
        "request_id": {"type": ["string", "null"]},
        "occurred_at": {"type": ["string", "null"], "format": "naive-date-time"},
        "next_try_at": {"type": ["string", "null"], "format": "naive-date-time"},
    },
}


def for_post(fields: Iterable[Field]) -> Json:
    """An object that is to be made."""
    accepted = [field for field in fields if field.post]
    schema = _object({name: _asked(field) for field in accepted for name in _names(field)})
    required = [field.name for field in accepted if field.required]
    return schema | ({"required": required} if required else {})


def for_put(fields: Iterable[Field]) -> Json:
    """Changes of an object; what is left out stays."""
    accepted = [field for field in fields if field.put]
    return _object({name: _without_default(_asked(field)) for field in accepted for name in _names(field)})


def for_view(fields: Iterable[Field], *, shows_fault: bool) -> Json:
    """An object as answers show it. No key is promised, since a GET may choose its `fields`."""
    shown = {name: _shown(field) for field in fields if field.is_shown for name in _names(field)}
    return _object(dict(sorted(shown.items())) | ({"fault": FAULT} if shows_fault else {}))


def nullable(schema: Mapping[str, Any]) -> Json:
    """The values of a schema, or null."""
    if "type" not in schema:
        return dict(schema)
    made = {**schema, "type": [schema["type"], "null"] if isinstance(schema["type"], str) else schema["type"]}
    return made | ({"enum": [*schema["enum"], None]} if "enum" in schema else {})


def _object(properties: Json) -> Json:
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _names(field: Field) -> list[str]:
    return [name for name in (field.name, field.alias) if name]


def _asked(field: Field) -> Json:
    schema = dict(kinds.schema_of(field.kind) or {})
    if not field.required:
        schema = nullable(schema)
    if field.ignored:
        return schema | IGNORED
    if field.default is not None:
        schema["default"] = field.default
    if field.supported is not None:
        possible = sorted({str(value) for value in field.supported if value not in (None, "", [], {})})
        schema["description"] = f"Other values than {', '.join(possible) or 'none at all'} are answered with 501 as yet."
    return schema


def _without_default(schema: Json) -> Json:
    return {name: value for name, value in schema.items() if name != "default"}


def _shown(field: Field) -> Json:
    view = kinds.schema_of(field.show)
    return dict(view) if view is not None else nullable(kinds.schema_of(field.kind) or {})
