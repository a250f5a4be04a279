"""A whole load balancer in one body, its status tree, and the batch of members."""

from __future__ import annotations

from typing import Any

import pytest

from controller.db import tables
from tests.functional.api.conftest import Api


def _listener(port: int = 80, **fields: Any) -> dict[str, Any]:
    return {"protocol": "HTTP", "protocol_port": port} | fields


def _pool(name: str = "web", **fields: Any) -> dict[str, Any]:
    return {"name": name, "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"} | fields


def _member(address: str = "10.0.0.1", **fields: Any) -> dict[str, Any]:
    return {"address": address, "protocol_port": 80} | fields


def _redirect(pool: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"action": "REDIRECT_TO_POOL", "redirect_pool": pool} | fields


RULE = {"type": "PATH", "compare_type": "STARTS_WITH", "value": "/a"}
MONITOR = {"type": "HTTP", "delay": 5, "timeout": 3, "max_retries": 2}


def test_everything_is_made_at_once_and_shown_whole(api: Api) -> None:
    made = api.load_balancer(
        listeners=[
            _listener(
                80, name="a", tags=["front"], default_pool=_pool("web", members=[_member(weight=7, tags=["m"])], healthmonitor=MONITOR)
            ),
            _listener(81, name="b", default_pool={"name": "shared"}),
            _listener(82, name="c", protocol="TCP", default_pool={"name": "shared"}),
            _listener(83, name="d", default_pool_id=None),
        ],
        pools=[_pool("shared", members=[_member("10.0.0.2"), _member("10.0.0.3")]), _pool("unused")],
    )
    pools = {pool["name"]: pool for pool in made["pools"]}
    listeners = {listener["name"]: listener for listener in made["listeners"]}
    assert {name: listener["default_pool_id"] for name, listener in listeners.items()} == {
        "a": pools["web"]["id"],
        "b": pools["shared"]["id"],
        "c": pools["shared"]["id"],
        "d": None,
    }
    assert (listeners["a"]["tags"], listeners["a"]["timeout_client_data"]) == (["front"], 50000)
    assert "loadbalancers" not in listeners["a"]
    (member,) = pools["web"]["members"]
    assert (member["weight"], member["tags"], member["operating_status"]) == (7, ["m"], "OFFLINE")
    assert pools["web"]["healthmonitor"]["id"] == pools["web"]["healthmonitor_id"]
    assert pools["web"]["healthmonitor"]["url_path"] == "/"
    assert {item["operating_status"] for item in pools["shared"]["members"]} == {"NO_MONITOR"}
    assert set(pools) == {"web", "shared", "unused"}
    everything = [made, *listeners.values(), *pools.values(), member, pools["web"]["healthmonitor"]]
    assert {item["provisioning_status"] for item in everything} == {"PENDING_CREATE"}
    assert {item["project_id"] for item in everything} == {made["project_id"]}
    assert [job["kind"] for job in api.jobs()] == ["create-load-balancer"]
    assert api.row(tables.members, member["id"])["generation"] == 1
    assert api.get("pool", f"/pools/{pools['shared']['id']}")["listeners"] == [{"id": listeners[name]["id"]} for name in "bc"]
    assert len(api.get("loadbalancer", f"/loadbalancers/{made['id']}")["listeners"]) == 4


@pytest.mark.parametrize(
    ("fields", "status", "sentence"),
    [
        ({"pools": [_pool(), _pool()]}, 400, "The pool name 'web' is defined more than once."),
        ({"pools": [_pool("")]}, 400, "A pool of a load balancer that is created with its pools must have a name."),
        ({"pools": [{"name": "x", "protocol": "HTTP"}]}, 400, "Details of pool 'x' are missing: protocol and lb_algorithm."),
        ({"pools": [{"name": "x"}]}, 400, "Details of pool 'x' are missing: protocol and lb_algorithm."),
        (
            {"listeners": [_listener(default_pool={"name": "x"})]},
            400,
            "Details of pool 'x' are missing: nothing in the request defines it.",
        ),
        (
            {"pools": [_pool()], "listeners": [_listener(default_pool={"name": "web", "session_persistence": {"type": "SOURCE_IP"}})]},
            400,
            "Details of pool 'web' are missing: protocol and lb_algorithm.",
        ),
        ({"listeners": [_listener(default_pool_id="11111111-1111-4111-8111-111111111111")]}, 404, "Pool 1111"),
        ({"listeners": [_listener(default_pool=_pool(protocol="TCP"))]}, 400, "The pool protocol 'TCP' is invalid while"),
        ({"listeners": [_listener(), _listener(protocol="TCP")]}, 409, "already using protocol TCP and protocol_port 80"),
        ({"pools": [_pool(members=[_member(), _member()])]}, 409, "already using ip 10.0.0.1 on protocol_port 80"),
        ({"pools": [_pool(members=[_member(subnet_id="11111111-1111-4111-8111-111111111111")])]}, 404, "Subnet 1111"),
        (
            {"pools": [_pool(members=[{"address": "10.0.0.1"}])]},
            400,
            "field/attribute protocol_port. Value: 'None'. Mandatory field missing.",
        ),
        ({"pools": [_pool(members=[_member(colour="red")])]}, 400, "Unknown attribute for argument members[0]: colour"),
        ({"pools": [_pool(healthmonitor=MONITOR | {"type": "SCTP"})]}, 400, "The health monitor type 'SCTP' is invalid"),
        ({"pools": [_pool(healthmonitor=MONITOR | {"pool_id": "x"})]}, 400, "Unknown attribute for argument healthmonitor: pool_id"),
        ({"pools": [_pool(session_persistence={"type": "APP_COOKIE"})]}, 400, "must have a cookie_name"),
        (
            {"listeners": [_listener(loadbalancer_id="x")]},
            400,
            "Unknown attribute for argument load_balancer.loadbalancer.listeners[0]: loadbal",
        ),
        ({"listeners": [_listener(allowed_cidrs=["::/0"])]}, 400, "is not."),
        (
            {"listeners": [_listener(protocol="TCP", l7policies=[{"action": "REJECT"}])]},
            501,
            "option: l7policies of a listener of protocol TCP",
        ),
        ({"listeners": [_listener(l7policies=[{"action": "REDIRECT_TO_URL"}])]}, 400, "redirect_url must not be None"),
        ({"listeners": [_listener(l7policies=[_redirect({"name": "x"})])]}, 400, "Details of pool 'x' are missing: nothing in the request"),
        ({"listeners": [_listener(l7policies=[_redirect(_pool(protocol="TCP"))])]}, 400, "The pool protocol 'TCP' is invalid while"),
        (
            {"listeners": [_listener(l7policies=[_redirect(_pool()), _redirect(_pool())])]},
            400,
            "The pool name 'web' is defined more than once.",
        ),
        ({"listeners": [_listener(l7policies=[_redirect(_pool(), redirect_pool_id="x")])]}, 400, "l7policies[0]: redirect_pool_id"),
        ({"listeners": [_listener(l7policies=[{"action": "REJECT", "rules": [RULE | {"value": "a b"}]}])]}, 400, "in comparison value"),
        ({"listeners": [_listener(l7policies=[{"action": "REJECT", "rules": [RULE | {"value": "a\nb"}]}])]}, 400, "control characters"),
        ({"listeners": [_listener(l7policies=[{"action": "REJECT", "rules": [RULE] * 51}])]}, 409, "can't have more than 50 rules"),
        ({"pools": [_pool(protocol="TCP", lb_algorithm="SOURCE_IP_PORT")]}, 501, "requested option: lb_algorithm SOURCE_IP_PORT"),
        ({"listeners": [5]}, 400, "Value should be a JSON object"),
        ({"listeners": [_listener(insert_headers={"X-SSL-Issuer": "true"})]}, 400, "insert_headers of a HTTP listener"),
    ],
)
def test_one_mistake_rolls_everything_back(api: Api, fields: dict[str, Any], status: int, sentence: str) -> None:
    body = {"loadbalancer": {"vip_subnet_id": api.network.subnet_id} | fields}
    assert sentence in api.refused(status, "POST", "/loadbalancers", body)
    for key in ("loadbalancers", "listeners", "pools"):
        assert api.ok("GET", f"/{key}")[key] == []
    assert (api.jobs(), list(api.network.list_ours())) == ([], [])


def test_the_status_tree_shows_what_listeners_reach(api: Api) -> None:
    made = api.load_balancer(
        listeners=[
            _listener(80, name="a", default_pool=_pool(members=[_member(name="m")], healthmonitor=MONITOR | {"name": "h"})),
            _listener(81),
        ],
        pools=[_pool("unreached")],
    )
    new = {"operating_status": "OFFLINE", "provisioning_status": "PENDING_CREATE"}
    pool = next(pool for pool in made["pools"] if pool["name"] == "web")
    listeners = {listener["protocol_port"]: listener["id"] for listener in made["listeners"]}
    expected_pool = {
        "id": pool["id"],
        "name": "web",
        **new,
        "health_monitor": {"id": pool["healthmonitor_id"], "name": "h", "type": "HTTP", **new},
        "members": [{"id": pool["members"][0]["id"], "name": "m", "address": "10.0.0.1", "protocol_port": 80, **new}],
    }
    for path in ("status", "statuses"):
        tree = api.ok("GET", f"/loadbalancers/{made['id']}/{path}")["statuses"]["loadbalancer"]
        shown = {listener["id"]: listener["pools"] for listener in tree.pop("listeners")}
        assert tree == {"id": made["id"], "name": "lb-1", **new}
        assert shown == {listeners[80]: [expected_pool], listeners[81]: []}


def test_policies_are_made_with_their_listener_and_shown_whole(api: Api) -> None:
    rule = RULE | {"tags": ["r"]}
    made = api.load_balancer(
        listeners=[
            _listener(
                80,
                default_pool={"name": "shared"},
                l7policies=[
                    {"name": "a", "action": "REDIRECT_TO_URL", "redirect_url": "https://a.example/", "rules": [rule, RULE]},
                    _redirect(_pool("api", members=[_member()]), name="b", tags=["t"]),
                    _redirect({"name": "shared"}, name="c", rules=[RULE]),
                    {"name": "first", "action": "REJECT", "position": 1, "redirect_pool": _pool("still made")},
                ],
            ),
            _listener(81, l7policies=[{"action": "REJECT"}]),
        ],
        pools=[_pool("shared")],
    )
    pools = {pool["name"]: pool for pool in made["pools"]}
    listeners = {listener["protocol_port"]: listener for listener in made["listeners"]}
    policies = listeners[80]["l7policies"]
    assert [(policy["name"], policy["position"], len(policy["rules"])) for policy in policies] == [
        ("first", 1, 0), ("a", 2, 2), ("b", 3, 0), ("c", 4, 1),
    ]  # fmt: skip
    assert [policy["redirect_pool_id"] for policy in policies] == [None, None, pools["api"]["id"], pools["shared"]["id"]]
    assert (policies[1]["redirect_http_code"], policies[2]["tags"], policies[1]["rules"][0]["tags"]) == (302, ["t"], ["r"])
    assert [policy["position"] for policy in listeners[81]["l7policies"]] == [1]
    assert set(pools) == {"shared", "api", "still made"}
    assert api.get("l7policy", f"/l7policies/{policies[1]['id']}") == policies[1] | {
        "rules": [{"id": rule["id"]} for rule in policies[1]["rules"]]
    }
    assert api.get("rule", f"/l7policies/{policies[3]['id']}/rules/{policies[3]['rules'][0]['id']}") == policies[3]["rules"][0]
    everything = [*policies, *(rule for policy in policies for rule in policy["rules"])]
    assert {(item["provisioning_status"], item["project_id"]) for item in everything} == {("PENDING_CREATE", made["project_id"])}
    tree = api.ok("GET", f"/loadbalancers/{made['id']}/status")["statuses"]["loadbalancer"]
    shown = {listener["id"]: [pool["name"] for pool in listener["pools"]] for listener in tree["listeners"]}
    assert shown == {listeners[80]["id"]: ["shared", "api"], listeners[81]["id"]: []}
    api.ok("PUT", f"/l7policies/{policies[2]['id']}", {"l7policy": {"admin_state_up": False}})
    tree = api.ok("GET", f"/loadbalancers/{made['id']}/status")["statuses"]["loadbalancer"]
    assert [pool["name"] for listener in tree["listeners"] for pool in listener["pools"]] == ["shared"]


class Batch:
    """A settled pool with the members 10.0.0.1 and 10.0.0.2."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.pool = api.pool(loadbalancer_id=api.load_balancer()["id"])["id"]
        self.ids = [
            api.member(self.pool, address, weight=9, name="kept", tags=["kept"], backup=True, monitor_port=99)["id"]
            for address in ("10.0.0.1", "10.0.0.2")
        ]
        api.settle()

    def put(self, members: list[dict[str, Any]], query: str = "") -> dict[str, Any]:
        """Send the batch; the members by their address."""
        self.api.ok("PUT", f"/pools/{self.pool}/members{query}", {"members": members}, 202)
        return self.members()

    def members(self) -> dict[str, Any]:
        """The members by their address."""
        return {member["address"]: member for member in self.api.ok("GET", f"/pools/{self.pool}/members")["members"]}


@pytest.fixture
def batch(api: Api) -> Batch:
    """A pool with two members."""
    return Batch(api)


def test_a_batch_creates_changes_and_deletes(batch: Batch) -> None:
    found = batch.put([_member("10.0.0.1", weight=3), _member("10.0.0.3", name="new")])
    assert {address: member["provisioning_status"] for address, member in found.items()} == {
        "10.0.0.1": "PENDING_UPDATE",
        "10.0.0.2": "PENDING_DELETE",
        "10.0.0.3": "PENDING_CREATE",
    }
    assert [found["10.0.0.1"]["id"], found["10.0.0.2"]["id"]] == batch.ids
    assert [job["kind"] for job in batch.api.jobs()] == ["update-load-balancer"]
    batch.api.settle()
    assert set(batch.members()) == {"10.0.0.1", "10.0.0.3"}


def test_a_batch_resets_what_has_a_default_and_keeps_names_and_tags(batch: Batch) -> None:
    found = batch.put([_member("10.0.0.1"), _member("10.0.0.2", name="renamed", tags=["new"], subnet_id=batch.api.network.subnet_id)])
    first, second = found["10.0.0.1"], found["10.0.0.2"]
    assert (first["weight"], first["backup"], first["monitor_port"], first["name"], first["tags"]) == (1, False, None, "kept", ["kept"])
    assert (second["name"], second["tags"], second["subnet_id"]) == ("renamed", ["new"], batch.api.network.subnet_id)


def test_an_additive_batch_deletes_nothing(batch: Batch) -> None:
    found = batch.put([_member("10.0.0.3")], "?additive_only=true")
    assert {address: member["provisioning_status"] for address, member in found.items()} == {
        "10.0.0.1": "ACTIVE",
        "10.0.0.2": "ACTIVE",
        "10.0.0.3": "PENDING_CREATE",
    }
    generation = batch.api.row(tables.pools, batch.pool)["generation"]
    batch.put([], "?additive_only=true")
    assert batch.api.row(tables.pools, batch.pool)["generation"] == generation  # nothing to do, nothing done
    assert {member["provisioning_status"] for member in batch.put([]).values()} == {"PENDING_DELETE"}


@pytest.mark.parametrize(("address", "status"), [("10.0.0.1", 400), ("10.0.0.9", 409)])
def test_one_server_twice_in_a_batch(batch: Batch, address: str, status: int) -> None:
    said = batch.api.refused(status, "PUT", f"/pools/{batch.pool}/members", {"members": [_member(address), _member(address)]})
    assert said == f"Another member on this pool is already using ip {address} on protocol_port 80"


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({}, "Invalid input for field/attribute members. Value: 'None'. Mandatory field missing."),
        ({"members": None}, "Invalid input for field/attribute members. Value: 'None'. Mandatory field missing."),
        ({"members": {}}, "Invalid input for field/attribute members. Value: '{}'. Value should be a list"),
        ({"member": []}, "Unknown attribute for argument members_: member"),
        ({"members": [_member(pool_id="x")]}, "Unknown attribute for argument members_.members[0]: pool_id"),
        (
            {"members": [{"address": "10.0.0.1"}]},
            "Invalid input for field/attribute protocol_port. Value: 'None'. Mandatory field missing.",
        ),
    ],
)
def test_a_batch_that_is_none(batch: Batch, body: Any, sentence: str) -> None:
    assert batch.api.refused(400, "PUT", f"/pools/{batch.pool}/members", body) == sentence


def test_a_batch_of_known_members_only_is_an_update(batch: Batch) -> None:
    found = batch.put([_member("10.0.0.1", weight=9, backup=True, monitor_port=99)], "?additive_only=True")
    assert found["10.0.0.1"]["provisioning_status"] == "PENDING_UPDATE"


def test_a_member_on_its_way_out_is_added_anew(batch: Batch) -> None:
    batch.put([])
    batch.put([_member("10.0.0.1")])
    same = [member for member in batch.api.ok("GET", f"/pools/{batch.pool}/members")["members"] if member["address"] == "10.0.0.1"]
    assert sorted(member["provisioning_status"] for member in same) == ["PENDING_CREATE", "PENDING_DELETE"]
