"""Several objects in one request: bulk creates and graphs are stored whole, or not at all."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from controller.db import tables
from tests.functional.api import secrets_site
from tests.functional.api.conftest import PROJECT
from tests.functional.api.lbaasv2.conftest import Old

_HTTP = {"protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"}
_TIMES = {"delay": 1, "timeout": 1, "max_retries": 1}


def _rows(old: Old) -> dict[str, int]:
    """How many rows there are of everything that a request can leave behind."""
    counted = (
        tables.load_balancers,
        tables.listeners,
        tables.pools,
        tables.members,
        tables.health_monitors,
        tables.l7policies,
        tables.jobs,
    )
    with old.api.db.engine.connect() as connection:
        return {table.name: connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one() for table in counted}


def _ports(old: Old) -> int:
    return len(list(old.api.network.list_ours()))


@pytest.mark.parametrize("strict", [False, True])
def test_every_collection_takes_several_at_once(api_with: Any, strict: bool) -> None:
    old = Old(api_with(("api_settings", "immutable_while_pending"), strict))

    def many(collection: str, path: str, *wanted: dict[str, Any]) -> list[Any]:
        made: list[Any] = old.ok("POST", path, {collection: list(wanted)}, 201)[collection]
        assert len(made) == len(wanted)
        old.api.settle()
        return made

    subnet = {"vip_subnet_id": old.api.network.subnet_id}
    load_balancer, _other = many("loadbalancers", "/loadbalancers", subnet | {"name": "a"}, subnet | {"name": "b"})
    below = {"loadbalancer_id": load_balancer["id"], "protocol": "HTTP"}
    listener, _other = many("listeners", "/listeners", below | {"protocol_port": 80}, below | {"protocol_port": 81})
    pool, other = many("pools", "/pools", below | _HTTP | {"name": "p"}, below | _HTTP | {"name": "q"})
    members = f"/pools/{pool['id']}/members"
    assert [one["address"] for one in many("members", members, *(old.member_fields(f"10.0.0.{i}") for i in (1, 2, 3)))][2] == "10.0.0.3"
    monitored = ({"pool_id": one["id"], "type": "TCP"} | _TIMES for one in (pool, other))
    many("healthmonitors", "/healthmonitors", *monitored)
    reject = {"listener_id": listener["id"], "action": "REJECT"}
    policy, second = many("l7policies", "/l7policies", reject, reject)
    assert (policy["position"], second["position"]) == (1, 2)
    rule = {"type": "PATH", "compare_type": "STARTS_WITH"}
    many("rules", f"/l7policies/{policy['id']}/rules", rule | {"value": "/a"}, rule | {"value": "/b"})


def test_if_one_of_them_is_refused_none_is_stored_and_nobody_is_rung_for(old: Old) -> None:
    load_balancer = old.load_balancer()
    pool = old.pool(loadbalancer_id=load_balancer["id"])
    old.api.settle()
    before, ports, rings = _rows(old), _ports(old), old.api.rings
    generation = old.api.row(tables.load_balancers, load_balancer["id"])["generation"]
    twice = {"members": [old.member_fields("10.0.0.1"), old.member_fields("10.0.0.1")]}
    old.refused(409, "MemberExists", "POST", f"/pools/{pool['id']}/members", twice)
    below = {"loadbalancer_id": load_balancer["id"], "protocol": "HTTP", "protocol_port": 80}
    old.refused(409, "LoadBalancerListenerProtocolPortExists", "POST", "/listeners", {"listeners": [below, below]})
    subnet = {"vip_subnet_id": old.api.network.subnet_id}
    old.refused(400, "InvalidIpForSubnet", "POST", "/loadbalancers", {"loadbalancers": [subnet, subnet | {"vip_address": "1.2.3.4"}]})
    old.refused(400, "HTTPBadRequest", "POST", "/loadbalancers", {"loadbalancers": [subnet, {"name": "x"}]})
    assert (_rows(old), _ports(old), old.api.rings) == (before, ports, rings)
    assert old.api.row(tables.load_balancers, load_balancer["id"])["generation"] == generation


def _graph(old: Old, **last_rule: Any) -> dict[str, Any]:
    rules = [{"type": "PATH", "compare_type": "STARTS_WITH", "value": "/x"}, *([last_rule] if last_rule else [])]
    policy = {"action": "REDIRECT_TO_POOL", "redirect_pool": _HTTP | {"name": "r"}, "rules": rules}
    pool = _HTTP | {"members": [old.member_fields("10.0.0.1"), old.member_fields("10.0.0.2")], "healthmonitor": {"type": "PING"} | _TIMES}
    listeners = [
        {"protocol": "HTTP", "protocol_port": 80, "default_pool": pool, "l7policies": [policy]},
        {"protocol": "TCP", "protocol_port": 81},
    ]
    return {"graph": {"loadbalancer": {"name": "whole", "vip_subnet_id": old.api.network.subnet_id, "listeners": listeners}}}


@pytest.mark.parametrize("strict", [False, True])
def test_a_graph_is_one_request_and_its_answer_shows_it_whole(api_with: Any, strict: bool) -> None:
    old = Old(api_with(("api_settings", "immutable_while_pending"), strict))
    made = old.ok("POST", "/graphs", _graph(old), 201)["graph"]["loadbalancer"]
    first, second = made["listeners"]
    assert (made["name"], first["protocol_port"], second["default_pool"]) == ("whole", 80, None)
    assert [one["address"] for one in first["default_pool"]["members"]] == ["10.0.0.1", "10.0.0.2"]
    assert first["default_pool"]["healthmonitor"]["type"] == "PING"
    (policy,) = first["l7policies"]
    assert (policy["redirect_pool"]["name"], [rule["value"] for rule in policy["rules"]]) == ("r", ["/x"])
    assert len(made["pools"]) == 2
    assert old.api.rings == 1
    assert "create" in str(old.api.jobs()[0]).lower()
    tree = old.ok("GET", f"/loadbalancers/{made['id']}/statuses")["statuses"]["loadbalancer"]
    assert [len(one["l7policies"]) for one in tree["listeners"]] == [1, 0]


@pytest.mark.parametrize("way", ["bulk", "graph"])
def test_a_certificate_that_several_of_them_name_is_not_read_again(old: Old, way: str) -> None:
    ends = {"protocol": "TERMINATED_HTTPS", "default_tls_container_ref": secrets_site.store(old.api.secrets, PROJECT)["server"]}
    listeners = [ends | {"protocol_port": port} for port in (443, 444)]
    if way == "graph":
        wanted = {"vip_subnet_id": old.api.network.subnet_id, "listeners": listeners}
        made = old.ok("POST", "/graphs", {"graph": {"loadbalancer": wanted}}, 201)["graph"]["loadbalancer"]
    else:
        made = old.load_balancer()
        old.ok("POST", "/listeners", {"listeners": [one | {"loadbalancer_id": made["id"]} for one in listeners]}, 201)
    with old.api.db.read() as tx:
        assert [copy.is_stale for copy in tx.tenant_certificates.of(made["id"]).values()] == [False]


def test_a_graph_with_one_mistake_leaves_nothing_behind(old: Old) -> None:
    before = _rows(old)
    old.refused(400, "L7RuleInvalidRegex", "POST", "/graphs", _graph(old, type="PATH", compare_type="REGEX", value="("))
    wrongs: tuple[dict[str, Any], ...] = ({}, {"loadbalancer": []}, {"loadbalancer": {"listeners": {}}})
    for wrong in wrongs:
        old.refused(400, "HTTPBadRequest", "POST", "/graphs", {"graph": wrong})
    assert (_rows(old), _ports(old), old.api.rings) == (before, 0, 0)


def test_no_request_makes_more_than_it_can_in_its_time(old: Old) -> None:
    """All parts are one transaction, for which every other writer waits."""
    subnet = {"vip_subnet_id": old.api.network.subnet_id}
    before = _rows(old), _ports(old)
    many = [{"protocol": "HTTP", "protocol_port": port} for port in range(1, 1002)]
    for path, body in (
        ("/loadbalancers", {"loadbalancers": [subnet] * 1001}),
        ("/graphs", {"graph": {"loadbalancer": subnet | {"listeners": many}}}),
        ("/graphs", {"graph": {"loadbalancer": subnet | {"listeners": [many[0] | {"default_pool": _HTTP | {"members": [{}] * 1001}}]}}}),
    ):
        assert "1001 items, and 1000 are allowed" in old.refused(400, "HTTPBadRequest", "POST", path, body)
    assert (_rows(old), _ports(old)) == before
