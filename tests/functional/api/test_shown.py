"""Lists are made straight from rows, single objects of nouns: both show the same."""

from __future__ import annotations

import datetime

import orjson
import pytest

from controller.db.repositories import paging
from controller.model import load_balancer as model
from controller.resources import declare, health_monitor, l7policy, l7rule, listener, load_balancer, member
from tests.functional.api.conftest import Api

SCHEMAS = {
    "load_balancers": load_balancer.SCHEMA,
    "listeners": listener.SCHEMA,
    "members": member.SCHEMA,
    "health_monitors": health_monitor.SCHEMA,
    "l7policies": l7policy.SCHEMA,
    "l7rules": l7rule.SCHEMA,
}
WHOLE = {
    "listeners": [
        {
            "name": "é",
            "protocol": "HTTP",
            "protocol_port": 80,
            "tags": ["b", "a"],
            "insert_headers": {"X-Forwarded-For": "true"},
            "allowed_cidrs": ["10.0.0.0/8"],
            "rate_limit": {"requests": 5},
            "default_pool": {
                "name": "pool",
                "protocol": "HTTP",
                "lb_algorithm": "ROUND_ROBIN",
                "tags": ["c"],
                "healthmonitor": {"type": "HTTP", "delay": 5, "timeout": 3, "max_retries": 2, "tags": ["m"]},
                "members": [
                    {"address": "10.1.0.1", "protocol_port": 80, "backup": True, "tags": ["d", "e"]},
                    {"address": "2001:db8::1", "protocol_port": 8080, "weight": 0, "monitor_port": 9000},
                ],
            },
            "l7policies": [
                {
                    "action": "REJECT",
                    "tags": ["p"],
                    "rules": [
                        {"type": "PATH", "compare_type": "STARTS_WITH", "value": "/a", "tags": ["r"]},
                        {"type": "HEADER", "compare_type": "EQUAL_TO", "key": "k", "value": "v", "invert": True},
                    ],
                },
                {"action": "REDIRECT_TO_URL", "redirect_url": "http://a.example/", "admin_state_up": False},
            ],
        },
        {"protocol": "TCP", "protocol_port": 81},
    ],
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_list_shows_what_single_objects_show(api: Api, name: str) -> None:
    """With faults, tags, children, and what is left out."""
    whole = api.load_balancer(**WHOLE, tags=["x", "y"], vip_sg_ids=[])
    api.load_balancer()
    with api.db.begin() as tx:
        repository = getattr(tx, name)
        first = repository.page()[0]
        at = datetime.datetime.now(datetime.UTC)
        fault = model.Fault(code="x", message="It broke.", step="s", request_id="req-1", occurred_at=at, next_try_at=at)
        tx.faults.put(whole["id"], [first.id], fault)
    schema: declare.Schema = SCHEMAS[name]
    with api.db.read() as tx:
        repository = getattr(tx, name)
        nouns, views = repository.page(), repository.views(paging.EVERYTHING, schema)
    assert "fault" in views[0]
    assert any(view["tags"] for view in views)
    assert [orjson.loads(orjson.dumps(view)) for view in views] == [orjson.loads(orjson.dumps(schema.view(noun))) for noun in nouns]
    assert [list(view) for view in views] == [list(schema.view(noun)) for noun in nouns], "the keys have one order"


def test_other_vips_are_shown_with_all_that_they_can_say(api: Api) -> None:
    made = api.load_balancer()
    with api.db.begin() as tx:
        tx.load_balancers.change(
            made["id"], {"additional_vips": [{"subnet_id": "s", "ip_address": "192.0.2.7", "port_id": made["vip_port_id"]}]}, 2
        )
        (noun,), (view,) = tx.load_balancers.page(), tx.load_balancers.views(paging.EVERYTHING, load_balancer.SCHEMA)
    assert view["additional_vips"] == load_balancer.SCHEMA.view(noun)["additional_vips"] != []
