"""The order of every list of whose order nothing was said: what clients of the compatible API expect of each."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.functional.api.conftest import Api

_BY_AGE = "created_at"
_ORDERS = {
    "loadbalancers": _BY_AGE,
    "listeners": _BY_AGE,
    "pools": _BY_AGE,
    "members": _BY_AGE,
    "healthmonitors": _BY_AGE,
    "l7policies": _BY_AGE,
    "rules": _BY_AGE,
    "amphorae": _BY_AGE,
    "flavors": "id",
    "flavorprofiles": "id",
    "availability_zones": "name",
    "availability_zone_profiles": "id",
    "quotas": "project_id",
}
"""By the key of the list. Of equal times, the id decides."""

_IN_OTHER_ORDER = {"providers", "flavor_capabilities", "availability_zone_capabilities", "events"}
"""As the operator wrote them; by name; newest first."""

_NAMES = ("m", "a", "z", "c")


@pytest.fixture
def filled(api: Api) -> Api:
    """Four of everything, made in no order of names; ids are chance."""
    balancers = [api.load_balancer(name=name)["id"] for name in _NAMES]
    listeners = [api.listener(balancers[0], name=name, protocol_port=80 + n)["id"] for n, name in enumerate(_NAMES)]
    pools = [api.pool(loadbalancer_id=balancers[0], name=name)["id"] for name in _NAMES]
    for n, name in enumerate(_NAMES):
        api.member(pools[0], f"10.0.0.{9 - n}", name=name)
        api.monitor(pools[n], name=name)
    policies = [api.create("l7policy", "/l7policies", listener_id=listeners[0], action="REJECT", name=name, position=1) for name in _NAMES]
    for value in _NAMES:
        path = f"/l7policies/{policies[0]['id']}/rules"
        api.create("rule", path, type="PATH", compare_type="STARTS_WITH", value=f"/{value}")
    for name in _NAMES:
        flavor = api.create("flavorprofile", "/flavorprofiles", name=name, provider_name="amphora", flavor_data="{}")
        api.create("flavor", "/flavors", name=name, flavor_profile_id=flavor["id"])
        zone = {"name": name, "provider_name": "amphora", "availability_zone_data": "{}"}
        made = api.create("availability_zone_profile", "/availabilityzoneprofiles", **zone)
        api.create("availability_zone", "/availabilityzones", name=name, availability_zone_profile_id=made["id"])
        api.ok("PUT", f"/quotas/{name * 32}", {"quota": {"pool": 7}}, 202)
    with api.db.begin() as tx:
        for n, name in enumerate(("0c", "0a", "0b")):
            tx.amphorae.ensure(f"{name}{n}", balancers[0], "STANDALONE")  # type: ignore[arg-type]
    return api


def _lists(api: Api) -> dict[str, str]:
    """The paths of all lists of this API, by key; ids in paths are those of the first object above."""
    parents = {"pool_id": "/pools", "policy_id": "/l7policies", "load_balancer_id": "/loadbalancers"}
    found = {}
    for rule in api.app.url_map.iter_rules():
        if "GET" not in (rule.methods or ()) or not rule.rule.startswith("/v2/"):
            continue
        path = rule.rule
        for name in re.findall(r"<(?:\w+:)?(\w+)>", path):
            if name in parents:
                first = {"pool_id": "pools", "policy_id": "l7policies", "load_balancer_id": "loadbalancers"}[name]
                named = [one for one in api.ok("GET", parents[name])[first] if one["name"] == _NAMES[0]]
                path = re.sub(rf"<(?:\w+:)?{name}>", named[0]["id"], path)
            elif name == "provider":
                path = path.replace("<provider>", "amphora")
        if "<" in path:
            continue
        answer = api.send("GET", f"/{path}")
        body = answer.get_json()
        if not isinstance(body, dict):
            continue
        lists = [key for key, value in body.items() if isinstance(value, list) and not key.endswith("_links")]
        found.update(dict.fromkeys(lists, path) if answer.status_code == 200 and len(lists) == 1 else {})
    return found


def test_every_list_has_the_order_that_clients_expect(filled: Api) -> None:
    lists = _lists(filled)
    assert lists.keys() == _ORDERS.keys() | _IN_OTHER_ORDER
    for key, by in _ORDERS.items():
        shown = filled.ok("GET", f"/{lists[key]}")[key]
        assert len(shown) >= 3, key
        assert shown == sorted(shown, key=_sorter(by)), key
        backwards = filled.ok("GET", f"/{lists[key]}?sort={by}:desc")[key]
        assert [one[by] for one in backwards] == sorted((one[by] for one in shown), reverse=True), key


def _sorter(by: str) -> Callable[[dict[str, Any]], tuple[str, str]]:
    return lambda one: (one[by], str(one.get("id", "")))
