"""What LBaaS v2 takes and shows: attributes, success codes, and the words in which it refuses."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from controller.db import tables
from tests.functional.api.conftest import PROJECT
from tests.functional.api.lbaasv2.conftest import Old

_COMMON = {"id", "tenant_id", "project_id", "admin_state_up"}
_KEYS = {
    "loadbalancer": _COMMON
    | {"name", "description", "vip_subnet_id", "vip_address", "vip_port_id", "provider", "provisioning_status", "operating_status"}
    | {"listeners", "pools"},
    "listener": _COMMON
    | {"name", "description", "loadbalancers", "default_pool_id", "protocol", "protocol_port", "connection_limit", "l7policies"}
    | {"default_tls_container_ref", "default_tls_container_id", "sni_container_refs"},
    "pool": _COMMON
    | {"name", "description", "protocol", "lb_algorithm", "session_persistence", "healthmonitor_id", "members", "listeners"}
    | {"loadbalancers", "l7_policies"},
    "member": _COMMON | {"name", "address", "protocol_port", "weight", "subnet_id"},
    "healthmonitor": _COMMON
    | {"name", "type", "delay", "timeout", "max_retries", "max_retries_down", "http_method", "url_path", "expected_codes", "pools"},
    "l7policy": _COMMON
    | {"name", "description", "listener_id", "action", "redirect_pool_id", "redirect_url", "position", "rules", "status"},
    "rule": _COMMON | {"type", "compare_type", "invert", "key", "value"},
}


def _whole(old: Old) -> dict[str, tuple[str, Any]]:
    """One of each resource: its path and what the answer to its POST showed."""
    load_balancer = old.load_balancer(tenant_id=PROJECT)
    listener = old.listener(load_balancer["id"])
    pool = old.pool(listener_id=listener["id"], session_persistence={"type": "APP_COOKIE", "cookie_name": "c"})
    other = old.pool(loadbalancer_id=load_balancer["id"])
    members = f"/pools/{pool['id']}/members"
    member = old.member(pool["id"])
    monitor = old.monitor(pool["id"])
    policy = old.create("l7policy", "/l7policies", listener_id=listener["id"], action="REDIRECT_TO_POOL", redirect_pool_id=other["id"])
    rules = f"/l7policies/{policy['id']}/rules"
    rule = old.create("rule", rules, type="PATH", compare_type="STARTS_WITH", value="/x")
    return {
        "loadbalancer": (f"/loadbalancers/{load_balancer['id']}", load_balancer),
        "listener": (f"/listeners/{listener['id']}", listener),
        "pool": (f"/pools/{pool['id']}", pool),
        "other": (f"/pools/{other['id']}", other),
        "member": (f"{members}/{member['id']}", member),
        "healthmonitor": (f"/healthmonitors/{monitor['id']}", monitor),
        "l7policy": (f"/l7policies/{policy['id']}", policy),
        "rule": (f"{rules}/{rule['id']}", rule),
    }


def test_each_resource_shows_exactly_the_attributes_of_lbaas_v2(old: Old) -> None:
    made = _whole(old)
    for name, keys in _KEYS.items():
        path, shown = made[name]
        assert set(shown) == keys, name
        assert shown["tenant_id"] == shown["project_id"] == PROJECT
        got = old.ok("GET", f"{path}.json")[name]
        listed = old.ok("GET", f"{path.rpartition('/')[0]}?id={shown['id']}")
        assert set(got) == keys, name
        (only,) = listed.popitem()[1]
        assert only == got, name


def test_objects_point_at_each_other(old: Old) -> None:
    made = _whole(old)
    ids = {name: shown["id"] for name, (_path, shown) in made.items()}
    load_balancer = old.ok("GET", made["loadbalancer"][0])["loadbalancer"]
    assert load_balancer["listeners"] == [{"id": ids["listener"]}]
    assert load_balancer["pools"] == [{"id": ids["pool"]}, {"id": ids["other"]}]
    listener = old.ok("GET", made["listener"][0])["listener"]
    assert (listener["default_pool_id"], listener["l7policies"]) == (ids["pool"], [{"id": ids["l7policy"]}])
    pool = old.ok("GET", made["pool"][0])["pool"]
    assert (pool["healthmonitor_id"], pool["members"]) == (ids["healthmonitor"], [{"id": ids["member"]}])
    assert pool["session_persistence"] == {"type": "APP_COOKIE", "cookie_name": "c"}
    assert (pool["listeners"], pool["l7_policies"]) == ([{"id": ids["listener"]}], [])
    assert old.ok("GET", made["other"][0])["pool"]["l7_policies"] == [{"id": ids["l7policy"]}]
    assert old.ok("GET", made["l7policy"][0])["l7policy"]["rules"] == [{"id": ids["rule"]}]
    assert old.ok("GET", made["healthmonitor"][0])["healthmonitor"]["pools"] == [{"id": ids["pool"]}]


def test_everything_can_be_changed_and_deleted_with_200_and_204(old: Old) -> None:
    made = _whole(old)
    changes: dict[str, dict[str, Any]] = {
        "loadbalancer": {"name": "n", "description": "d", "admin_state_up": False},
        "listener": {"connection_limit": "7", "name": "n"},
        "pool": {"lb_algorithm": "SOURCE_IP", "session_persistence": None},
        "member": {"weight": "3"},
        "healthmonitor": {"delay": 7, "expected_codes": "200-204", "http_method": "HEAD"},
        "l7policy": {"action": "REDIRECT_TO_URL", "redirect_url": "http://example.com/"},
        "rule": {"value": "/y", "invert": True},
    }
    for name, values in changes.items():
        changed = old.ok("PUT", made[name][0], {name: values})[name]
        for key, value in values.items():
            assert str(changed[key]) == str(value), name
    for name in ("rule", "l7policy", "healthmonitor", "member", "pool", "other", "listener"):
        answer = old.send("DELETE", made[name][0])
        assert (answer.status_code, answer.data) == (204, b""), (name, answer.data)
    old.api.settle()
    assert old.send("DELETE", made["loadbalancer"][0]).status_code == 204


def test_monitors_that_speak_no_http_show_nothing_of_it(old: Old) -> None:
    pool = old.pool(loadbalancer_id=old.load_balancer()["id"])
    monitor = old.monitor(pool["id"], type="PING", http_method="GET", url_path="/x")
    assert not set(monitor) & {"http_method", "url_path", "expected_codes"}
    path = f"/healthmonitors/{monitor['id']}"
    assert old.ok("PUT", path, {"healthmonitor": {"url_path": "/y", "max_retries": 3}})["healthmonitor"]["max_retries"] == 3


def test_an_empty_session_persistence_is_none(old: Old) -> None:
    assert old.pool(loadbalancer_id=old.load_balancer()["id"], session_persistence={})["session_persistence"] is None


def test_a_listener_finds_its_load_balancer_by_its_default_pool(old: Old) -> None:
    load_balancer = old.load_balancer()
    pool = old.pool(loadbalancer_id=load_balancer["id"])
    listener = old.create("listener", "/listeners", default_pool_id=pool["id"], protocol="HTTP", protocol_port=80)
    assert (listener["loadbalancers"], listener["default_pool_id"]) == ([{"id": load_balancer["id"]}], pool["id"])


def test_bodies_are_checked_as_declared(old: Old) -> None:
    load_balancer = old.load_balancer()
    path = f"/loadbalancers/{load_balancer['id']}"
    bad = "HTTPBadRequest"
    assert "'flavour'" in old.refused(400, bad, "POST", "/loadbalancers", {"loadbalancer": {"flavour": 1}})
    assert "'listeners' not allowed" in old.refused(400, bad, "POST", "/loadbalancers", {"loadbalancer": {"listeners": []}})
    assert "'vip_subnet_id' not specified" in old.refused(400, bad, "POST", "/loadbalancers", {"loadbalancer": {"name": "x"}})
    assert "read-only attribute vip_address" in old.refused(400, bad, "PUT", path, {"loadbalancer": {"vip_address": "10.0.0.1"}})
    assert "'tags'" in old.refused(400, bad, "PUT", path, {"loadbalancer": {"tags": ["x"]}})
    assert "Invalid input for name" in old.refused(400, bad, "PUT", path, {"loadbalancer": {"name": "x" * 256}})
    bodies: tuple[Any, ...] = ({}, [], {"listener": {}}, {"loadbalancer": []}, {"loadbalancer": {}, "x": 1}, {"loadbalancers": []})
    for body in bodies:
        old.refused(400, bad, "POST", "/loadbalancers", body)
    wanted = {"loadbalancer_id": load_balancer["id"], "protocol": "UDP", "protocol_port": 53}
    assert "protocol" in old.refused(400, bad, "POST", "/listeners", {"listener": wanted})


def test_rules_of_lbaas_v2_are_refused_by_their_names(old: Old) -> None:
    load_balancer = old.load_balancer()
    listener = old.listener(load_balancer["id"])
    pool = old.pool(listener_id=listener["id"])
    old.member(pool["id"])
    monitor = old.monitor(pool["id"])
    policy = old.create("l7policy", "/l7policies", listener_id=listener["id"], action="REJECT")
    tcp = old.listener(load_balancer["id"], protocol="TCP", protocol_port=81)
    members, below = f"/pools/{pool['id']}/members", {"loadbalancer_id": load_balancer["id"]}
    http_pool = {"protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"}
    times = {"delay": 1, "timeout": 1, "max_retries": 1}
    nothing = str(uuid.uuid4())

    def refused(status: int, kind: str, key: str, path: str, **fields: Any) -> str:
        return old.refused(status, kind, "POST", path, {key: fields})

    flavored = {"vip_subnet_id": old.api.network.subnet_id, "provider": "amphora", "flavor_id": nothing}
    refused(409, "ProviderFlavorConflict", "loadbalancer", "/loadbalancers", **flavored)
    refused(400, "RequiredAttributeNotSpecified", "listener", "/listeners", protocol="HTTP", protocol_port=90)
    refused(400, "RequiredAttributeNotSpecified", "pool", "/pools", **http_pool)
    refused(400, "TLSDefaultContainerNotSpecified", "listener", "/listeners", protocol="TERMINATED_HTTPS", protocol_port=90, **below)
    refused(409, "LoadBalancerListenerProtocolPortExists", "listener", "/listeners", protocol="TCP", protocol_port=80, **below)
    refused(409, "OnePoolPerListener", "pool", "/pools", listener_id=listener["id"], **http_pool)
    refused(409, "ListenerPoolProtocolMismatch", "pool", "/pools", listener_id=tcp["id"], **http_pool)
    mismatched = {"default_pool_id": pool["id"]}
    refused(409, "ListenerPoolProtocolMismatch", "listener", "/listeners", protocol="TCP", protocol_port=90, **mismatched, **below)
    old.refused(409, "ListenerPoolProtocolMismatch", "PUT", f"/listeners/{tcp['id']}", {"listener": mismatched})
    refused(409, "MemberExists", "member", members, **old.member_fields())
    refused(409, "OneHealthMonitorPerPool", "healthmonitor", "/healthmonitors", pool_id=pool["id"], type="TCP", **times)
    session = {"session_persistence": {"type": "APP_COOKIE"}}
    refused(400, "SessionPersistenceConfigurationInvalid", "pool", "/pools", **http_pool, **below, **session)
    assert nothing in refused(404, "EntityNotFound", "listener", "/listeners", loadbalancer_id=nothing, protocol="TCP", protocol_port=1)
    assert f"loadbalancer {nothing} could not be found" == old.refused(404, "EntityNotFound", "GET", f"/loadbalancers/{nothing}")
    old.refused(404, "MemberNotFoundForPool", "GET", f"{members}/{nothing}")
    refused(404, "SubnetNotFound", "member", members, **old.member_fields("10.0.0.9", subnet_id=nothing))
    refused(404, "SubnetNotFound", "loadbalancer", "/loadbalancers", vip_subnet_id=nothing)
    refused(404, "NetworkNotFound", "loadbalancer", "/loadbalancers", vip_network_id=nothing)
    for path in (f"/loadbalancers/{load_balancer['id']}", f"/listeners/{listener['id']}", f"/pools/{pool['id']}"):
        old.refused(409, "EntityInUse", "DELETE", path)
    old.refused(404, "HTTPNotFound", "GET", "/nothing")
    old.refused(405, "HTTPMethodNotAllowed", "PATCH", f"/pools/{pool['id']}")
    assert monitor["id"] in str(old.ok("GET", f"/pools/{pool['id']}"))  # nothing of this changed anything
    assert policy["id"] in str(old.ok("GET", f"/listeners/{listener['id']}"))


def test_l7_rules_are_refused_by_their_names(old: Old) -> None:
    listener = old.listener(old.load_balancer()["id"])
    policy = old.create("l7policy", "/l7policies", listener_id=listener["id"], action="REJECT")
    rules = f"/l7policies/{policy['id']}/rules"
    nowhere = {"listener_id": listener["id"], "action": "REDIRECT_TO_POOL"}
    assert "redirect_pool_id must not be None" in old.refused(400, "HTTPBadRequest", "POST", "/l7policies", {"l7policy": nowhere})
    old.refused(400, "L7RuleInvalidRegex", "POST", rules, {"rule": {"type": "PATH", "compare_type": "REGEX", "value": "("}})
    wrong = {"type": "FILE_TYPE", "compare_type": "CONTAINS", "value": "x"}
    old.refused(400, "L7RuleUnsupportedCompareType", "POST", rules, {"rule": wrong})


def test_a_full_quota_is_a_conflict(old: Old) -> None:
    old.ok("PUT", f"//v2.0/quotas/{PROJECT}", {"quota": {"loadbalancer": 1}})
    old.load_balancer()
    body = {"loadbalancer": {"vip_subnet_id": old.api.network.subnet_id}}
    assert "['loadbalancer']" in old.refused(409, "OverQuota", "POST", "/loadbalancers", body)


def test_the_preset_limits_load_balancers_and_pools_to_ten(api_with: Any) -> None:
    old = Old(api_with(("quotas", "preset"), "lbaasv2"))
    limits = old.ok("GET", "//v2.0/quotas/p/default")["quota"]
    assert {name: limits[name] for name in ("loadbalancer", "pool", "listener", "member")} == {
        "loadbalancer": 10,
        "pool": 10,
        "listener": -1,
        "member": -1,
    }
    fields = {"name": "x", "vip_subnet_id": old.api.network.subnet_id}
    old.refused(409, "OverQuota", "POST", "/loadbalancers", {"loadbalancers": [fields] * 11})
    assert len(old.ok("POST", "/loadbalancers", {"loadbalancers": [fields] * 10}, 201)["loadbalancers"]) == 10
    old.refused(409, "OverQuota", "POST", "/loadbalancers", {"loadbalancer": fields})


def test_a_load_balancer_that_is_being_deleted_is_in_no_state_for_changes(old: Old) -> None:
    load_balancer = old.load_balancer()
    old.ok("DELETE", f"/loadbalancers/{load_balancer['id']}", status=204)
    path = f"/loadbalancers/{load_balancer['id']}"
    sentence = old.refused(409, "StateInvalid", "PUT", path, {"loadbalancer": {"name": "x"}})
    assert sentence == f"Invalid state PENDING_DELETE of loadbalancer resource {load_balancer['id']}"


@pytest.mark.parametrize("strict", [True, False])
def test_a_delay_shorter_than_the_timeout_is_refused_only_where_the_operator_wants_it(api_with: Any, strict: bool) -> None:
    old = Old(api_with(("lbaasv2", "monitor_delay_over_timeout"), strict))
    pool = old.pool(loadbalancer_id=old.load_balancer()["id"])
    wanted = {"pool_id": pool["id"], "type": "TCP", "delay": 5, "timeout": 10, "max_retries": 1}
    if not strict:
        assert old.create("healthmonitor", "/healthmonitors", **wanted)["timeout"] == 10
        return
    old.refused(400, "DelayOrTimeoutInvalid", "POST", "/healthmonitors", {"healthmonitor": wanted})
    made = old.create("healthmonitor", "/healthmonitors", **(wanted | {"delay": 10}))
    old.refused(400, "DelayOrTimeoutInvalid", "PUT", f"/healthmonitors/{made['id']}", {"healthmonitor": {"delay": 1}})


def test_answers_and_jobs_bear_the_same_request_id(old: Old) -> None:
    answer = old.send("POST", "/loadbalancers", {"loadbalancer": {"vip_subnet_id": old.api.network.subnet_id}})
    (job,) = old.api.jobs()
    assert answer.headers["x-openstack-request-id"] in str(job)
    assert old.api.rings == 1


def test_statistics_have_four_numbers(old: Old) -> None:
    load_balancer = old.load_balancer()
    counted = old.ok("GET", f"/loadbalancers/{load_balancer['id']}/stats")["stats"]
    assert counted == {"active_connections": 0, "bytes_in": 0, "bytes_out": 0, "total_connections": 0}


def test_the_agent_of_a_load_balancer_is_the_one_in_its_amphora(old: Old) -> None:
    load_balancer = old.load_balancer()
    path = f"/loadbalancers/{load_balancer['id']}/loadbalancer-hosting-agent"
    old.refused(404, "NoActiveLbaasAgent", "GET", path)
    with old.api.db.begin() as tx:
        amphora = tx.amphorae.ensure(str(uuid.uuid4()), load_balancer["id"], "STANDALONE")  # type: ignore[arg-type]
    old.api.write(tables.amphorae.update().values(status="ALLOCATED"))
    agent = old.ok("GET", path)["agent"]
    assert (agent["id"], agent["alive"], agent["admin_state_up"]) == (amphora.id, False, True)
    hosted = old.ok("GET", f"//v2.0/agents/{amphora.id}/agent-loadbalancers")["loadbalancers"]
    assert [one["id"] for one in hosted] == [load_balancer["id"]]
    old.refused(404, "EntityNotFound", "GET", f"//v2.0/agents/{uuid.uuid4()}/agent-loadbalancers")


def test_flavors_are_found_by_name(old: Old) -> None:
    profile = {"name": "p", "provider_name": "amphora", "flavor_data": "{}"}
    profile_id = old.api.ok("POST", "/flavorprofiles", {"flavorprofile": profile}, 201)["flavorprofile"]["id"]
    flavor = {"name": "gold", "flavor_profile_id": profile_id}
    flavor_id = old.api.ok("POST", "/flavors", {"flavor": flavor}, 201)["flavor"]["id"]
    assert old.ok("GET", "//v2.0/flavors?fields=id&name=gold")["flavors"] == [{"id": flavor_id}]
    assert old.ok("GET", "//v2.0/flavors?name=silver")["flavors"] == []
    assert old.load_balancer(flavor_id=flavor_id)["flavor_id"] == flavor_id
