"""A write by LBaaS v2 asks the database what the same write by the first API asks it, in as many transactions.

What both cost in CPU is compared by `benchmarks/lbaasv2.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.functional.api.lbaasv2.conftest import Old

POOL = {"protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"}
MONITOR = {"type": "HTTP", "delay": 5, "timeout": 5, "max_retries": 3}


def _below(old: Old) -> dict[str, Any]:
    return {"loadbalancer_id": old.load_balancer()["id"]}


def _on_a_listener(old: Old) -> dict[str, Any]:
    return {"listener_id": old.listener(old.load_balancer()["id"])["id"]}


def _listener_of_a_pool(old: Old) -> dict[str, Any]:
    below = _below(old)
    return below | {"default_pool_id": old.pool(**below)["id"], "protocol": "HTTP", "protocol_port": 80}


def _rules(old: Old) -> str:
    policy = old.create("l7policy", "/l7policies", action="REJECT", **_on_a_listener(old))
    return f"/l7policies/{policy['id']}/rules"


def _members(old: Old) -> str:
    return f"/pools/{old.pool(**_below(old))['id']}/members"


WRITES: dict[str, Callable[[Old], tuple[str, str, dict[str, Any] | None]]] = {
    "create a load balancer": lambda old: ("POST", "/loadbalancers", {"loadbalancer": {"vip_subnet_id": old.api.network.subnet_id}}),
    "create a listener": lambda old: ("POST", "/listeners", {"listener": _below(old) | {"protocol": "HTTP", "protocol_port": 80}}),
    "create a listener with a pool": lambda old: ("POST", "/listeners", {"listener": _listener_of_a_pool(old)}),
    "create a pool": lambda old: ("POST", "/pools", {"pool": POOL | _below(old)}),
    "create a default pool": lambda old: ("POST", "/pools", {"pool": POOL | _on_a_listener(old)}),
    "create a member": lambda old: ("POST", _members(old), {"member": old.member_fields()}),
    "create a monitor": lambda old: ("POST", "/healthmonitors", {"healthmonitor": MONITOR | {"pool_id": old.pool(**_below(old))["id"]}}),
    "create a policy": lambda old: ("POST", "/l7policies", {"l7policy": {"action": "REJECT"} | _on_a_listener(old)}),
    "create a rule": lambda old: ("POST", _rules(old), {"rule": {"type": "PATH", "compare_type": "STARTS_WITH", "value": "/x"}}),
    "change a load balancer": lambda old: ("PUT", f"/loadbalancers/{old.load_balancer()['id']}", {"loadbalancer": {"name": "x"}}),
    "change a listener": lambda old: ("PUT", f"/listeners/{_on_a_listener(old)['listener_id']}", {"listener": {"name": "x"}}),
    "delete a load balancer": lambda old: ("DELETE", f"/loadbalancers/{old.load_balancer()['id']}", None),
    "delete a member": lambda old: ("DELETE", f"{(path := _members(old))}/{old.member(path.split('/')[2])['id']}", None),
}


@pytest.mark.parametrize("name", WRITES)
def test_a_write_costs_what_it_costs_by_the_first_api(old: Old, name: str) -> None:
    method, path, body = WRITES[name](old)
    with old.api.counted() as by_old:
        assert old.send(method, path, body).status_code in (200, 201, 204)
    method, path, body = WRITES[name](old)
    with old.api.counted() as by_first:
        assert old.api.send(method, path, body).status_code in (200, 201, 204)
    assert by_first
    assert by_old == by_first
