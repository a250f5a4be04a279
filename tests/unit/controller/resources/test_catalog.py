"""What every declaration must have: words, examples, a column and an attribute that agree with it."""

from __future__ import annotations

import ast
import dataclasses
import pathlib
import types
import typing
from collections.abc import Mapping
from typing import Any

import jsonschema
import pytest
import sqlalchemy as sa

import controller
from controller.db import columns, tables
from controller.model import amphora as amphora_model
from controller.model import load_balancer as model
from controller.model import offering
from controller.model.network import DIRECT, NORMAL
from controller.resources import json_schema, kinds, load_balancer, member, nouns, pool, secret
from controller.resources.catalog import SCHEMAS
from controller.resources.declare import Field, Schema

EVERY = pytest.mark.parametrize(
    "schema", [*SCHEMAS, load_balancer.NESTED_POOL, pool.PERSISTENCE, secret.SCHEMA], ids=lambda schema: schema.name
)

STORED: Mapping[str, tuple[type[Any], sa.Table]] = {
    "loadbalancer": (model.LoadBalancer, tables.load_balancers),
    "listener": (model.Listener, tables.listeners),
    "pool": (model.Pool, tables.pools),
    "member": (model.Member, tables.members),
    "healthmonitor": (model.HealthMonitor, tables.health_monitors),
    "l7policy": (model.L7Policy, tables.l7policies),
    "rule": (model.L7Rule, tables.l7rules),
    "amphora": (amphora_model.Amphora, tables.amphorae),
    "flavor": (offering.Flavor, tables.flavors),
    "flavorprofile": (offering.FlavorProfile, tables.flavor_profiles),
    "availability_zone": (offering.AvailabilityZone, tables.availability_zones),
    "availability_zone_profile": (offering.AvailabilityZoneProfile, tables.availability_zone_profiles),
}
_BY_ANOTHER = {
    *(("loadbalancer", "additional_vips"), ("pool", "session_persistence"), ("l7policy", "fixed_response"), ("l7policy", "split")),
    *(("listener", "rate_limit"), ("listener", "error_page"), ("loadbalancer", "access_log")),
}
"""Attributes that are objects of the model, made of what the column holds."""


EVERY_STORED = pytest.mark.parametrize(
    ("schema", "field"),
    [
        pytest.param(schema, field, id=f"{schema.name}-{field.name}")
        for schema in SCHEMAS
        for field in schema.fields.values()
        if schema.name in STORED and field.column is not None
    ],
)


@EVERY
def test_every_field_is_described_in_a_sentence(schema: Schema) -> None:
    for field in schema.fields.values():
        assert field.about.endswith("."), f"{schema.name}.{field.name} says nothing to users of the API"


@EVERY
def test_examples_are_what_they_are_examples_of(schema: Schema) -> None:
    if json_schema.example_of_post(schema):
        jsonschema.Draft202012Validator(json_schema.for_post(schema)).validate(json_schema.example_of_post(schema))
        assert schema.created(json_schema.example_of_post(schema), "an example").items() >= json_schema.example_of_post(schema).items()
    if json_schema.example_of_put(schema):
        jsonschema.Draft202012Validator(json_schema.for_put(schema)).validate(json_schema.example_of_put(schema))
        assert schema.updated(json_schema.example_of_put(schema), "an example") == json_schema.example_of_put(schema)
    jsonschema.Draft202012Validator(json_schema.for_view(schema)).validate(json_schema.example_of_view(schema))


def _default(column: sa.Column[Any]) -> Any:
    default: Any = column.default
    return default.arg if default is not None else None


@EVERY_STORED
def test_a_column_holds_what_its_field_takes(schema: Schema, field: Field) -> None:
    column, declared = STORED[schema.name][1].c[str(field.column)], columns.column(field)
    if isinstance(column.type, sa.Text):
        return
    assert type(column.type) is type(declared.type) or {type(column.type), type(declared.type)} == {sa.BigInteger, sa.Integer}
    assert _default(column) == _default(declared)
    if field.post or field.put or field.default is not None:
        assert getattr(column.type, "length", None) == getattr(declared.type, "length", None)
    if field.is_never_null:
        assert not column.nullable


@EVERY_STORED
def test_an_attribute_is_of_the_kind_of_its_field_and_has_no_default_of_its_own(schema: Schema, field: Field) -> None:
    noun = STORED[schema.name][0]
    if field.attribute is None or (schema.name, field.name) in _BY_ANOTHER:
        return
    owner, name = (model.Vip, field.attribute.removeprefix("vip.")) if field.attribute.startswith("vip.") else (noun, field.attribute)
    computed = getattr(owner, name, None)
    annotated = typing.get_type_hints(computed.fget)["return"] if isinstance(computed, property) else typing.get_type_hints(owner)[name]
    parts = typing.get_args(annotated) if isinstance(annotated, types.UnionType) else (annotated,)
    assert _json_type(parts[0]) == (kinds.schema_of(field.kind) or {})["type"], f"{noun.__name__}.{name}"
    if field.post or field.put:
        assert (type(None) in parts) != field.is_never_null, f"{noun.__name__}.{name}"
    if computed is None or not isinstance(computed, property):
        attribute = {one.name: one for one in dataclasses.fields(owner)}[name]
        # What the network service, or only we, say may be left out, and is then as it is declared.
        may_be_left_out = owner is model.Vip or not (field.post or field.put)
        declared = tuple(field.default) if isinstance(field.default, list) else field.default
        assert attribute.default is dataclasses.MISSING or (may_be_left_out and attribute.default == declared)
        assert attribute.default_factory is dataclasses.MISSING


@pytest.mark.lengthy
def test_how_ports_are_made_is_spelled_once() -> None:
    """What those have that say nothing (`normal`) stands in the declaration, by its one name."""
    package = pathlib.Path(controller.__file__).parent
    spelled = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if any(isinstance(node, ast.Constant) and node.value in (NORMAL, DIRECT) for node in ast.walk(ast.parse(path.read_text())))
    }
    assert spelled == {"model/network.py"}
    assert {schema.fields[name].default for schema, name in ((member.SCHEMA, "vnic_type"), (load_balancer.SCHEMA, "vip_vnic_type"))} == {
        NORMAL
    }


@pytest.mark.parametrize(
    ("noun", "field"),
    [
        pytest.param(STORED[schema.name][0], field, id=f"{schema.name}-{field.name}")
        for schema in SCHEMAS
        for field in schema.fields.values()
        if (schema.name, field.name) in _BY_ANOTHER and "properties" in (kinds.schema_of(field.kind) or {})
    ],
)
def test_what_an_object_of_the_model_holds_is_declared_and_has_its_default_there_alone(noun: type[Any], field: Field) -> None:
    _check_parts(typing.get_args(typing.get_type_hints(noun)[str(field.attribute)])[0], kinds.schema_of(field.kind) or {})


def _check_parts(made: type[Any], declared: Mapping[str, Any]) -> None:
    """Null may be left out where an object is made: some columns hold only what was given."""
    hints, attributes = typing.get_type_hints(made), {one.name: one for one in dataclasses.fields(made)}
    assert attributes.keys() == declared["properties"].keys()
    for name, said in declared["properties"].items():
        arguments = typing.get_args(hints[name])
        annotated = arguments[0] if isinstance(hints[name], types.UnionType) else hints[name]
        assert _json_type(annotated) in said["type"], f"{made.__name__}.{name}"
        assert attributes[name].default in (dataclasses.MISSING, None), f"{made.__name__}.{name}"
        assert attributes[name].default is dataclasses.MISSING or said.get("default") is None, f"{made.__name__}.{name}"
        if said.get("items", {}).get("properties"):
            _check_parts(arguments[0], said["items"])


def _json_type(annotated: Any) -> str:
    known = {str: "string", int: "integer", bool: "boolean", float: "number", tuple: "array", Mapping: "object"}
    origin = typing.get_origin(annotated) or annotated
    for kind, name in known.items():
        if origin is kind or (isinstance(origin, type) and issubclass(origin, str) and kind is str):
            return name
    return "string" if origin.__name__ == "datetime" else origin.__name__


def test_a_field_that_no_code_reads_needs_no_line_in_the_model() -> None:
    vase = Schema(name="vase", fields=[Field(name="weight", kind=kinds.integer()), Field(name="glaze"), Field(name="owner", column=None)])
    made = nouns.noun(model.Member, vase)
    assert [field.name for field in dataclasses.fields(made)][-1] == "glaze"
    assert {field.name for field in dataclasses.fields(made)} - {field.name for field in dataclasses.fields(model.Member)} == {"glaze"}
    assert nouns.Member is model.Member  # nothing is added where nothing is missing
