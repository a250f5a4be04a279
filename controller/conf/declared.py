"""Options that say what is stored where a client leaves a field out: each stands at its field, in `resources`."""

from __future__ import annotations

from oslo_config import cfg, types

from controller.resources import catalog, kinds
from controller.resources.fields import Operator


def options(group: str) -> list[cfg.Opt]:
    """The options of one section of the configuration file, as the fields that name them declare them."""
    found = [field for schema in catalog.SCHEMAS for field in schema.fields.values()]
    return [_option(field.kind, field.operator) for field in found if field.operator is not None and field.operator.group == group]


def _option(kind: kinds.Parser, operator: Operator) -> cfg.Opt:
    """An option of the type that the values of a kind have."""
    schema = kinds.schema_of(kind) or {}
    common = {"default": operator.default, "help": operator.help}
    match schema.get("type"):
        case "integer":
            lowest = schema.get("minimum") if operator.lowest is None else operator.lowest
            return cfg.IntOpt(operator.option, min=lowest, max=schema.get("maximum"), **common)
        case "boolean":
            return cfg.BoolOpt(operator.option, **common)
        case "array":
            return cfg.ListOpt(operator.option, item_type=types.String(choices=schema["items"].get("enum")), **common)
    return cfg.StrOpt(operator.option, choices=schema.get("enum"), **common)
