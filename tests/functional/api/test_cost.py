"""What a request costs the database does not depend on how much there is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.functional.api.conftest import Api


def _whole(api: Api, size: int) -> Any:
    pool = {"protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN", "healthmonitor": {"type": "TCP", "delay": 1, "timeout": 1, "max_retries": 1}}
    return api.load_balancer(
        name="whole",
        tags=["x"],
        listeners=[
            {
                "protocol": "HTTP",
                "protocol_port": 80 + i,
                "tags": ["t"],
                "default_pool": pool
                | {
                    "name": f"p-{i}",
                    "members": [{"address": f"10.{i}.0.{k + 1}", "protocol_port": 80, "tags": ["m"]} for k in range(size)],
                },
            }
            for i in range(size)
        ],
    )


def _batch(size: int) -> dict[str, Any]:
    return {"members": [{"address": f"10.0.0.{k + 1}", "protocol_port": 80, "weight": 2, "tags": ["b"]} for k in range(size)]}


REQUESTS: dict[str, tuple[int, Callable[[Api, Any, int], Any]]] = {
    "get a load balancer": (2, lambda api, lb, _: api.ok("GET", f"/loadbalancers/{lb['id']}")),
    "list load balancers": (2, lambda api, _lb, _: api.ok("GET", "/loadbalancers")),
    "list listeners": (2, lambda api, _lb, _: api.ok("GET", "/listeners?sort=name")),
    "list pools": (2, lambda api, _lb, _: api.ok("GET", "/pools?tags-any=x,y")),
    "list members": (3, lambda api, lb, _: api.ok("GET", f"/pools/{lb['pools'][0]['id']}/members")),
    "list amphorae": (1, lambda api, _lb, _: api.ok("GET", "//v2/octavia/amphorae")),
    "status tree": (6, lambda api, lb, _: api.ok("GET", f"/loadbalancers/{lb['id']}/status")),
    "stats": (3, lambda api, lb, _: api.ok("GET", f"/loadbalancers/{lb['id']}/stats")),
    "create a member": (11, lambda api, lb, _: api.member(lb["pools"][0]["id"], "10.200.0.1")),
    "change a pool": (11, lambda api, lb, _: api.ok("PUT", f"/pools/{lb['pools'][0]['id']}", {"pool": {"name": "x"}})),
    "batch of members": (16, lambda api, lb, size: api.ok("PUT", f"/pools/{lb['pools'][0]['id']}/members", _batch(size), 202)),
    "create a whole load balancer": (21, lambda api, _lb, size: _whole(api, size)),
    "delete with cascade": (12, lambda api, lb, _: api.ok("DELETE", f"/loadbalancers/{lb['id']}?cascade=true", status=204)),
}


@pytest.mark.parametrize("request_name", REQUESTS)
def test_the_number_of_statements_is_the_same_for_one_and_for_many(api: Api, request_name: str) -> None:
    at_most, act = REQUESTS[request_name]
    counts = []
    for size in (1, 6):
        whole = _whole(api, size)
        api.settle()
        with api.counted() as seen:
            act(api, whole, size)
        counts.append(len([statement for statement in seen if not statement.startswith("BEGIN")]))
    assert counts[0] == counts[1], seen
    assert counts[0] <= at_most, (counts, seen)
