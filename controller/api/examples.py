"""An example of what a JSON Schema of the OpenAPI document describes, made of the examples of its parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_OF_TYPES: Mapping[str, Any] = {"string": "string", "integer": 0, "number": 0.0, "boolean": True, "null": None}


def of(schema: Mapping[str, Any], components: Mapping[str, Any]) -> Any:
    """A value that the schema describes; `components` are the schemas that references name."""
    if "$ref" in schema:
        return of(components[schema["$ref"].rpartition("/")[-1]], components)
    for found in ([schema["const"]] if "const" in schema else schema.get("examples") or schema.get("enum") or ())[:1]:
        return found
    if "anyOf" in schema and "type" not in schema:
        return of(schema["anyOf"][0], components)
    kind = schema.get("type", "object")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        return {name: of(part, components) for name, part in schema.get("properties", {}).items()}
    return [of(schema["items"], components)] if kind == "array" else _OF_TYPES[kind]
