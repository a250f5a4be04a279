"""What SQLite's driver is asked directly is what SQLAlchemy would have found. Where somebody counts statements, SQLAlchemy is asked."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest
import sqlalchemy as sa

from controller.db import rows, tables
from controller.db.repositories import l7policies, load_balancers, pools
from controller.db.repositories.resources import Resources
from controller.resources import health_monitor, l7policy, l7rule, listener, load_balancer, member, pool
from tests.functional.api.conftest import Api
from tests.functional.api.test_list_order import filled  # noqa: F401 - a fixture

_KINDS: dict[type[Resources[Any]], Any] = {
    load_balancers.LoadBalancers: (load_balancer.SCHEMA, "/loadbalancers"),
    load_balancers.Listeners: (listener.SCHEMA, "/listeners"),
    pools.Pools: (pool.SCHEMA, "/pools"),
    pools.Members: (member.SCHEMA, "/pools/{pool}/members"),
    pools.HealthMonitors: (health_monitor.SCHEMA, "/healthmonitors"),
    l7policies.L7Policies: (l7policy.SCHEMA, "/l7policies"),
    l7policies.L7Rules: (l7rule.SCHEMA, "/l7policies/{l7policy}/rules"),
}


def _subclasses(parent: type) -> Iterator[type]:
    children: list[type] = parent.__subclasses__()
    for child in children:
        yield child
        yield from _subclasses(child)


def test_every_resource_is_compared() -> None:
    assert set(_KINDS) == {kind for kind in _subclasses(Resources) if "table" in vars(kind)}


def _both(api: Api, path: str) -> tuple[Any, Any]:
    """The answer, and that of SQLAlchemy alone."""
    direct = api.ok("GET", path)
    with api.counted() as statements:
        slow = api.ok("GET", path)
    assert statements
    return direct, slow


@pytest.mark.lengthy
@pytest.mark.parametrize("kind", _KINDS, ids=lambda kind: kind.__name__)
def test_objects_and_pages_are_those_of_sqlalchemy(filled: Api, kind: type[Resources[Any]]) -> None:  # noqa: F811
    schema, path = _KINDS[kind]
    with filled.db.begin() as tx:
        owner = tx.connection.execute(sa.select(kind.table.c.id)).scalars().first()
        tx.connection.execute(sa.insert(tables.tags), [{"resource_id": owner, "tag": tag} for tag in ("b", "a")])
        above = tx.connection.execute(sa.select(tables.load_balancers.c.id)).scalars().first()
        fault = {"object_id": owner, "load_balancer_id": above, "code": "c", "message": "m", "step": "s", "request_id": "r"}
        tx.connection.execute(sa.insert(tables.faults), fault | {"occurred_at": datetime.datetime.now(datetime.UTC)})
    first = {name: filled.ok("GET", f"/{name.replace('l7policy', 'l7policies').replace('pool', 'pools')}") for name in ("pool", "l7policy")}
    ids = {name: next(iter(found.values())) for name, found in first.items()}
    parents = {
        "pool": next(one["id"] for one in ids["pool"] if one.get("members")),
        "l7policy": next(one["id"] for one in ids["l7policy"] if one["rules"]),
    }
    at = path.format(**parents)
    shown = filled.ok("GET", at)[schema.collection]
    assert len(shown) == 4
    questions = [f"{at}/{one['id']}" for one in shown] + [at, f"{at}?limit=2", f"{at}?limit=1"]
    questions += [f"{at}?{name}={value}" for name in schema.filters for value in {str(one.get(name)) for one in shown}]
    questions += [f"{at}?sort_key={name}&limit=3" for name, field in schema.filters.items() if field.column]
    for question in questions:
        if filled.send("GET", question).status_code != 200:
            continue  # not everything can be sorted
        direct, slow = _both(filled, question)
        assert direct == slow, question


@pytest.mark.parametrize("number", [1, 2, 31, 32, 33])
def test_lists_of_any_length_have_the_children_and_tags_of_each(api: Api, number: int) -> None:
    balancers = [api.load_balancer(tags=[f"t{n}", "a"])["id"] for n in range(number)]
    of = {one: api.pool(loadbalancer_id=one)["id"] for one in balancers}
    direct, slow = _both(api, "/loadbalancers")
    assert direct == slow
    assert {one["id"]: [child["id"] for child in one["pools"]] for one in direct["loadbalancers"]} == {
        key: [value] for key, value in of.items()
    }


def test_the_usual_questions_go_to_the_driver(api: Api) -> None:
    one = api.load_balancer()["id"]
    with mock.patch.object(sa.Connection, "execute", side_effect=AssertionError("SQLAlchemy was asked")):
        assert api.ok("GET", f"/loadbalancers/{one}")["loadbalancer"]["id"] == one
        assert len(api.ok("GET", "/loadbalancers?limit=20&operating_status=OFFLINE")["loadbalancers"]) == 1


def test_an_error_of_the_driver_is_one_of_sqlalchemy(api: Api) -> None:
    broken = rows.Prepared(sa.select(sa.Table("nowhere", sa.MetaData(), sa.Column("id", sa.String)).c.id))
    with api.db.read() as tx, pytest.raises(sa.exc.OperationalError, match="no such table"):
        broken.all(tx.connection, {})


def test_the_time_is_asked_whenever_a_statement_is_executed(api: Api) -> None:
    """A pool whose member is made is changed now, not when its statement was compiled."""
    pool_id = api.pool(loadbalancer_id=api.load_balancer()["id"])["id"]
    changed = []
    for place in range(2):
        with api.db.begin() as tx:
            tx.connection.execute(sa.update(tables.pools).values(provisioning_status="ACTIVE"))
            tx.connection.execute(sa.update(tables.load_balancers).values(provisioning_status="ACTIVE"))
        api.member(pool_id, f"10.0.0.{place + 1}")
        changed.append(api.get("pool", f"/pools/{pool_id}")["updated_at"])
    assert changed[0] < changed[1]
