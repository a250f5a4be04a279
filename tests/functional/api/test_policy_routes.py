"""Every route, found in the application's own map, asks for the right leave: each role is let through or refused as the rules promise.
A route that is new must be told here who may call it; one that asks nobody's leave fails."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest
import sqlalchemy as sa

from controller import conf as configuration
from controller.api import app as api_app
from controller.api import gate, policies, policy
from controller.db import rows, tables
from tests import tls_material
from tests.functional.api.conftest import PROJECT, Api

FOREIGN = "another-project"
READ = frozenset(
    {"reader", "member", "admin", "load-balancer_observer", "load-balancer_member", "load-balancer_global_observer", "load-balancer_admin"}
)
WRITE = frozenset({"member", "admin", "load-balancer_member", "load-balancer_admin"})
ADMIN = frozenset({"admin", "load-balancer_admin"})
READ_QUOTA = READ | {"load-balancer_quota_admin"}
WRITE_QUOTA = ADMIN | {"load-balancer_quota_admin"}
ROLES = (*sorted(READ_QUOTA), "service", "stranger")
OF_EVERYBODY = READ | {"foreign"}  # what belongs to no project can be read in any
EVERYWHERE = {"admin", "load-balancer_admin", "load-balancer_global_observer", "load-balancer_quota_admin"}


def who(method: str, path: str) -> frozenset[str]:
    """The roles that may call a route, by the table of the rules; `foreign` is a member of a project that owns nothing of it."""
    read = method == "GET"
    if path.startswith("/v2/octavia/amphorae") or path.endswith("/failover") or "_capabilities" in path or "profiles" in path:
        return ADMIN
    if path.startswith(("/v2/flavors", "/v2/availabilityzones")):
        return OF_EVERYBODY if read else ADMIN
    if path == "/v2/providers":
        return OF_EVERYBODY
    if path.startswith("/v2/quotas"):
        own = READ_QUOTA if read else WRITE_QUOTA
        return own | {"foreign"} if path in ("/v2/quotas", "/v2/quotas/defaults") else own
    if path.startswith("/v2/secrets"):
        return WRITE | {"foreign"}  # it is about the caller's own project
    if path == "/v2/pools/<pool_id>/members" and read:
        return READ | {"service"}
    if re.fullmatch(r"/v2/(loadbalancers|listeners|pools|healthmonitors|l7policies)", path) and (read or path == "/v2/loadbalancers"):
        # Without a body that names a project, it is about the caller's own.
        return (READ if read else WRITE) | {"foreign"}
    if re.match(r"/v2/(loadbalancers|listeners|pools|healthmonitors|l7policies)\b", path):
        return READ if read else WRITE
    raise AssertionError(f"{method} {path} is new: say here who may call it")


@dataclasses.dataclass
class World:
    """An object of each kind, and an application that believes callers who they say they are."""

    app: Any
    ids: dict[str, str]
    bodies: dict[str, Any]

    def routes(self) -> list[tuple[str, str]]:
        """What is not public, and no mere refusal: method and path, those that destroy last, children before parents."""
        found = [
            (method, rule.rule)
            for rule in self.app.url_map.iter_rules()
            for method in sorted(rule.methods - {"HEAD", "OPTIONS"})
            if rule.rule not in gate.PUBLIC and not rule.endpoint.startswith("no ")
        ]
        order = ("GET", "POST", "PUT", "DELETE")
        return sorted(found, key=lambda route: (order.index(route[0]), -route[1].count("/"), route[1].startswith("/v2/load"), route[1]))

    def ask(self, role: str, method: str, path: str) -> int:
        """The status with which somebody with this role is answered."""
        headers = {"X-Roles": "member", "X-Project-Id": FOREIGN} if role == "foreign" else {"X-Roles": role, "X-Project-Id": PROJECT}
        url = re.sub(r"<(?:\w+:)?(\w+)>", lambda found: self.ids[found[1]], path)
        body = self.bodies.get(f"{method} {path}") if method in ("POST", "PUT") else None
        return int(self.app.test_client().open(url, method=method, json=body, headers=headers | {"X-User-Id": "u"}).status_code)


@pytest.fixture
def world(api: Api) -> World:
    """All of it in one database."""
    lb = api.load_balancer()["id"]
    listener = api.listener(lb)["id"]
    pool = api.pool(loadbalancer_id=lb)["id"]
    member = api.member(pool)["id"]
    monitor = api.monitor(pool)["id"]
    l7policy = api.create("l7policy", "/l7policies", listener_id=listener, action="REJECT")["id"]
    words = {"type": "PATH", "compare_type": "STARTS_WITH", "value": "/x"}
    l7rule = api.create("rule", f"/l7policies/{l7policy}/rules", **words)["id"]
    profiles = {
        kind: api.create(name, f"/{kind}profiles", name="p", provider_name="amphora", **{data: "{}"})["id"]
        for kind, name, data in (
            ("flavor", "flavorprofile", "flavor_data"),
            ("availabilityzone", "availability_zone_profile", "availability_zone_data"),
        )
    }
    flavor = api.create("flavor", "/flavors", name="f", flavor_profile_id=profiles["flavor"])["id"]
    api.create("availability_zone", "/availabilityzones", name="z", availability_zone_profile_id=profiles["availabilityzone"])
    amphora = "11111111-1111-4111-8111-111111111111"
    api.write(
        sa.insert(tables.amphorae).values(id=amphora, load_balancer_id=lb, status="ALLOCATED", role="STANDALONE", created_at=rows.now())
    )
    api.settle()
    conf = configuration.load([], [])
    conf.set_override("auth_strategy", "testing", group="api_settings")
    ids = {
        "load_balancer_id": lb,
        "listener_id": listener,
        "pool_id": pool,
        "member_id": member,
        "monitor_id": monitor,
        "policy_id": l7policy,
        "rule_id": l7rule,
        "project_id": PROJECT,
        "provider": "amphora",
        "flavor_id": flavor,
        "availability_zone_name": "z",
        "amphora_id": amphora,
        "reference": "nobody",
    }
    new = {
        "loadbalancer": {"vip_subnet_id": api.network.subnet_id},
        "listener": {"loadbalancer_id": lb, "protocol": "HTTP", "protocol_port": 81},
        "pool": {"loadbalancer_id": lb, "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"},
        "healthmonitor": {"pool_id": pool, "type": "HTTP", "delay": 5, "timeout": 3, "max_retries": 2},
        "l7policy": {"listener_id": listener, "action": "REJECT"},
        "member": {"address": "10.0.0.9", "protocol_port": 80},
        "rule": words,
        "quota": {"pool": 7},
        "secret": {"kind": "ca", "payload": tls_material.issue("ca.example", is_ca=True).pem.decode()},
        "flavor": {"name": "g", "flavor_profile_id": profiles["flavor"]},
        "availability_zone": {"name": "y", "availability_zone_profile_id": profiles["availabilityzone"]},
        "flavorprofile": {"name": "q", "provider_name": "amphora", "flavor_data": "{}"},
        "availability_zone_profile": {"name": "q", "provider_name": "amphora", "availability_zone_data": "{}"},
    }
    made = World(api_app.create_app(api.services, conf), ids, {})
    for method, path in made.routes():
        if method == "POST":
            key = _key(path)
            made.bodies[f"POST {path}"] = {key: new[key]}
        elif method == "PUT":
            key = _key(path.rsplit("/", 1)[0])
            made.bodies[f"PUT {path}"] = {key: new[key]} if key == "quota" else {key: {}}
    made.bodies["PUT /v2/pools/<pool_id>/members"] = {"members": []}
    made.ids = ids | {"profile_id": profiles["flavor"]}
    return made


_KEYS = {
    "secrets": "secret",
    "loadbalancers": "loadbalancer",
    "listeners": "listener",
    "pools": "pool",
    "healthmonitors": "healthmonitor",
    "l7policies": "l7policy",
    "members": "member",
    "rules": "rule",
    "quotas": "quota",
    "flavors": "flavor",
    "flavorprofiles": "flavorprofile",
    "availabilityzones": "availability_zone",
    "availabilityzoneprofiles": "availability_zone_profile",
}


def _key(path: str) -> str:
    return _KEYS.get(path.rsplit("/", 1)[-1], "none")


@pytest.mark.lengthy
def test_each_route_lets_through_whom_the_rules_name_and_nobody_else(world: World) -> None:
    wrong: list[str] = []
    routes = world.routes()
    assert len(routes) > 70
    callers = (*ROLES, "foreign")
    for method, path in routes:
        may = who(method, path)
        for role in callers:  # the refused first: what they could do would still be there
            if role not in may and (status := world.ask(role, method, path)) != 403:
                wrong.append(f"{method} {path} as {role}: {status} instead of 403")
        for role in callers:
            if role in may and ((status := world.ask(role, method, path)) in (401, 403) or status == 500):
                wrong.append(f"{method} {path} as {role}: {status}, though they may")
    assert not wrong, "\n".join(wrong)


def test_each_rule_is_asked_by_a_route_and_names_the_routes_that_ask_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: set[tuple[str, str, str]] = set()
    here = ["", ""]
    allows = policy.Policy.allows

    def noting(self: policy.Policy, action: str, *rest: Any) -> bool:
        method, path = here
        asked.add((action, method, path))
        return allows(self, action, *rest)

    monkeypatch.setattr(policy.Policy, "allows", noting)
    for method, path in world.routes():
        here[:] = [method, _shape(path)]
        world.ask("admin" if method == "GET" else "stranger", method, path)
        if method == "GET":
            world.ask("member", method, path)
    # Leave for what a body asks for, and for the second half of a batch, is asked after the first was given.
    later = {"loadbalancer:post:vip_sg_ids", "loadbalancer:put:vip_sg_ids", "member:put", "member:delete"}
    documented = {
        (rule.name.removeprefix(policies.PREFIX), operation["method"], _shape(operation["path"]))
        for rule in policies.list_rules()
        for operation in getattr(rule, "operations", ())
    }
    assert {entry for entry in documented - asked if entry[0] not in later} == set()
    assert asked - documented == set()


def _shape(path: str) -> str:
    """A path with its variables made alike."""
    return re.sub(r"<[\w:]+>|\{\w+\}", "*", path.replace("/lbaas/", "/"))


def test_the_old_root_says_nothing_of_foreign_objects_either(world: World, api: Api) -> None:
    mine = api.send("POST", "/loadbalancers", {"loadbalancer": {"vip_subnet_id": api.network.subnet_id}}, {"X-Project-Id": FOREIGN})
    own = mine.get_json()["loadbalancer"]["id"]
    headers = {"X-Roles": "member", "X-Project-Id": FOREIGN}
    taken = {"protocol": "HTTP", "protocol_port": 80, "loadbalancer_id": world.ids["load_balancer_id"]}
    foreign_pool = {"protocol": "TCP", "protocol_port": 70, "loadbalancer_id": own, "default_pool_id": world.ids["pool_id"]}
    asked = [
        world.app.test_client().post("/network/v2.0/lbaas/listeners", json={"listener": body}, headers=headers)
        for body in (taken, foreign_pool)
    ]
    assert [answer.status_code for answer in asked] == [403, 404]


@pytest.mark.parametrize("field", ["default_pool_id", "redirect_pool_id", "pool_id", "loadbalancer_id", "listener_id"])
def test_a_foreign_object_in_a_body_is_refused_without_a_word_about_it(world: World, api: Api, field: str) -> None:
    mine = api.send("POST", "/loadbalancers", {"loadbalancer": {"vip_subnet_id": api.network.subnet_id}}, {"X-Project-Id": FOREIGN})
    lb = mine.get_json()["loadbalancer"]["id"]
    listener = api.listener(lb)["id"]
    theirs = world.ids[
        {"default_pool_id": "pool_id", "redirect_pool_id": "pool_id", "loadbalancer_id": "load_balancer_id"}.get(field, field)
    ]
    path, body, expected = {
        "default_pool_id": ("listeners", {"listener": {"loadbalancer_id": lb, "protocol": "HTTP", "protocol_port": 90}}, 404),
        "redirect_pool_id": ("l7policies", {"l7policy": {"listener_id": listener, "action": "REDIRECT_TO_POOL"}}, 404),
        "pool_id": ("healthmonitors", {"healthmonitor": {"type": "PING", "delay": 5, "timeout": 3, "max_retries": 2}}, 403),
        "loadbalancer_id": ("listeners", {"listener": {"protocol": "HTTP", "protocol_port": 90}}, 403),
        "listener_id": ("pools", {"pool": {"protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN", "loadbalancer_id": lb}}, 403),
    }[field]
    (values,) = body.values()
    values[field] = theirs
    answer = world.app.test_client().post(f"/v2/{path}", json=body, headers={"X-Roles": "member", "X-Project-Id": FOREIGN})
    assert answer.status_code == expected, answer.get_data(as_text=True)
    said = answer.get_json()["faultstring"]
    assert said == (f"Pool {theirs} not found." if expected == 404 else "Policy does not allow this request to be performed.")


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_nothing_is_looked_up_for_who_may_not_change_the_members(world: World, api: Api, method: str) -> None:
    member = {"address": "10.0.0.7", "protocol_port": 80, "subnet_id": "11111111-1111-4111-8111-111111111111"}
    body = {"member": member} if method == "POST" else {"members": [member]}
    for role, project, status in (("member", FOREIGN, 403), ("reader", PROJECT, 403), ("member", PROJECT, 404)):
        headers = {"X-Roles": role, "X-Project-Id": project}
        answer = world.app.test_client().open(f"/v2/pools/{world.ids['pool_id']}/members", method=method, json=body, headers=headers)
        assert answer.status_code == status, (role, project, answer.get_data(as_text=True))


def test_a_list_of_another_project_needs_leave(world: World) -> None:
    def status(role: str, project: str, query: str) -> int:
        headers = {"X-Roles": role, "X-Project-Id": project}
        return int(world.app.test_client().get(f"/v2/pools{query}", headers=headers).status_code)

    assert status("member", FOREIGN, f"?project_id={PROJECT}") == 403
    assert status("member", FOREIGN, f"?tenant_id={PROJECT}") == 403
    assert status("member", FOREIGN, f"?project_id={FOREIGN}") == 200
    assert status("load-balancer_global_observer", FOREIGN, f"?project_id={PROJECT}") == 200
    assert status("member", "", "") == 403


_ABOVE = {
    "loadbalancers": "load_balancer_id",
    "listeners": "listener_id",
    "pools": "pool_id",
    "healthmonitors": "monitor_id",
    "l7policies": "policy_id",
    "members": "member_id",
    "rules": "rule_id",
    "quotas": "project_id",
    "agents": "amphora_id",
}
"""What the variable behind a word of LBaaS v2's paths stands for."""

_TELLS_OF_NOBODY = ("/", "/v2.0", "/v2.0/extensions", "/v2.0/extensions/<alias>", "/v2.0/service-providers")


def _who_of_old(method: str, path: str) -> frozenset[str]:
    """The same table for the paths of LBaaS v2."""
    if "agent" in path:
        return ADMIN
    if path == "/v2.0/lbaas/graphs":
        return WRITE | {"foreign"}
    if path.endswith("/details"):
        return READ_QUOTA
    if path == "/v2.0/lbaas/pools/<parent_id>/members" and method == "GET":
        return READ  # services ask the first API
    return who(method, re.sub(r"^/v2\.0/(?:lbaas/)?", "/v2/", path))


@pytest.mark.lengthy
def test_the_old_root_lets_through_the_same_roles(world: World) -> None:
    old = world.app.wsgi_app._application.mounts["/network"]._application  # behind the gate, at the mounting point, and below that
    routes = [
        (method, rule.rule)
        for rule in old.url_map.iter_rules()
        for method in sorted(rule.methods - {"HEAD", "OPTIONS"})
        if rule.rule not in _TELLS_OF_NOBODY and "any(" not in rule.rule
    ]
    assert len(routes) > 40
    order = ("GET", "POST", "PUT", "DELETE")
    routes.sort(key=lambda route: (order.index(route[0]), -route[1].count("/"), route[1].startswith("/v2.0/lbaas/load"), route[1]))
    wrong: list[str] = []
    for method, path in routes:
        words = path.split("/")
        for place, word in enumerate(words):
            if word.startswith("<"):
                words[place] = world.ids[_ABOVE[words[place - 1]]]
        url = "/network" + "/".join(words)
        collection = path.removesuffix("/<object_id>").removesuffix("/<project_id>").rsplit("/", 1)[-1]
        body = None
        if method == "POST":
            body = {"graph": world.bodies["POST /v2/loadbalancers"]} if collection == "graphs" else _old_body(world, collection)
        elif method == "PUT":
            body = {"quota": {"pool": 5}} if collection == "quotas" else {_KEYS[collection]: {"admin_state_up": True}}
        may = _who_of_old(method, path)
        for refused in (True, False):
            for role in (*ROLES, "foreign"):
                if (role in may) is refused:
                    continue
                mine = {"X-Roles": "member", "X-Project-Id": FOREIGN} if role == "foreign" else {"X-Roles": role, "X-Project-Id": PROJECT}
                answer = world.app.test_client().open(url, method=method, json=body, headers=mine)
                status = answer.status_code
                if (refused and status != 403) or (not refused and (status in (401, 403) or status == 500)):
                    wrong.append(f"{method} {path} as {role}: {status} {answer.get_data(as_text=True)[:150]}")
                if role == "foreign" and method == "GET" and not refused:
                    assert world.ids["load_balancer_id"] not in answer.get_data(as_text=True)
    assert not wrong, "\n".join(wrong)


def _old_body(world: World, collection: str) -> dict[str, Any]:
    (found,) = (body for route, body in world.bodies.items() if route.startswith("POST ") and route.endswith(f"/{collection}"))
    return (
        {"member": found["member"] | {"subnet_id": world.bodies["POST /v2/loadbalancers"]["loadbalancer"]["vip_subnet_id"]}}
        if (collection == "members")
        else dict(found)
    )
