"""A declaration is enough: validation, storage, views and filters follow from it."""

from __future__ import annotations

import dataclasses
import datetime
from typing import Any

import pytest

from controller import exceptions
from controller.db import tables
from controller.resources import amphora, fields, health_monitor, kinds, listener, load_balancer, member, pool
from controller.resources.declare import Field, Schema
from tests import builders

VASE = Schema(
    name="vase",
    collection="vases",
    argument="vase_",
    shows_fault=False,
    fields=[
        fields.read_only("id", kinds.uuid),
        Field(name="handles", kind=kinds.integer(0, 2), default=2),
        Field(name="clay", required=True, put=False),
        Field(name="owner_id", alias="keeper_id", default=None),
        Field(name="potter", column="potter_name", attribute="maker.name"),
        Field(name="glaze", kind=kinds.one_of("red", "black"), blank=""),
        Field(name="shape", kind=kinds.one_of("round", "tall"), default="round"),
        fields.timestamp("fired_at"),
    ],
)


@dataclasses.dataclass
class _Maker:
    name: str


@dataclasses.dataclass
class _Vase:
    id: str
    handles: int
    clay: str
    owner_id: str | None
    maker: _Maker
    glaze: str | None
    shape: str
    fired_at: datetime.datetime


def test_what_is_left_out_of_a_create_has_its_default() -> None:
    values = VASE.create(b'{"vase": {"clay": "red"}}')
    assert values == {"handles": 2, "clay": "red", "owner_id": None, "potter": None, "glaze": None, "shape": "round"}


def test_what_is_left_out_of_an_update_is_left_alone() -> None:
    assert VASE.update(b'{"vase": {"handles": null}}') == {"handles": 2}
    assert VASE.update(b'{"vase": {}}') == {}


def test_an_empty_string_unsets_where_that_is_said_and_only_in_an_update() -> None:
    assert VASE.update(b'{"vase": {"glaze": ""}}') == {"glaze": None}
    for call, body in ((VASE.update, b'{"vase": {"shape": ""}}'), (VASE.create, b'{"vase": {"clay": "red", "glaze": ""}}')):
        with pytest.raises(exceptions.InvalidRequest, match="Value should be one of"):
            call(body)


def test_values_are_stored_in_their_columns() -> None:
    assert VASE.columns(VASE.create(b'{"vase": {"clay": "red", "potter": "Exekias"}}')) == {
        "handles": 2,
        "clay": "red",
        "owner_id": None,
        "potter_name": "Exekias",
        "glaze": None,
        "shape": "round",
    }


def test_an_alias_is_accepted_shown_and_wins() -> None:
    assert VASE.create(b'{"vase": {"clay": "red", "owner_id": "a", "keeper_id": "b"}}')["owner_id"] == "b"
    assert VASE.update(b'{"vase": {"keeper_id": "b"}}') == {"owner_id": "b"}


def test_a_view_has_every_key_in_order() -> None:
    fired = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
    view = VASE.view(_Vase("1", 1, "red", "o", _Maker("Exekias"), None, "round", fired))
    assert list(view) == sorted(view)
    assert view == {
        "id": "1",
        "handles": 1,
        "clay": "red",
        "owner_id": "o",
        "keeper_id": "o",
        "potter": "Exekias",
        "glaze": None,
        "shape": "round",
        "fired_at": fired.replace(tzinfo=None),
    }


def test_filters_know_both_names() -> None:
    assert {"id", "handles", "clay", "owner_id", "keeper_id", "potter", "glaze", "shape", "fired_at"} == set(VASE.filters)


@pytest.mark.parametrize(
    ("schema", "table"),
    [
        (load_balancer.SCHEMA, tables.load_balancers),
        (listener.SCHEMA, tables.listeners),
        (pool.SCHEMA, tables.pools),
        (member.SCHEMA, tables.members),
        (health_monitor.SCHEMA, tables.health_monitors),
        (amphora.SCHEMA, tables.amphorae),
    ],
    ids=lambda item: item.name,
)
def test_every_declared_column_exists(schema: Schema, table: Any) -> None:
    declared = {field.column for field in schema.fields.values() if field.column is not None}
    assert declared <= set(table.c.keys())


@pytest.mark.parametrize(
    ("schema", "noun"),
    [
        (load_balancer.SCHEMA, builders.a_load_balancer()),
        (listener.SCHEMA, builders.a_listener()),
        (pool.SCHEMA, builders.a_pool()),
        (member.SCHEMA, builders.a_member()),
        (health_monitor.SCHEMA, builders.a_health_monitor()),
        (amphora.SCHEMA, builders.an_amphora()),
    ],
    ids=["load balancer", "listener", "pool", "member", "health monitor", "amphora"],
)
def test_every_declared_attribute_exists(schema: Schema, noun: Any) -> None:
    assert schema.view(noun)["id"] == noun.id
