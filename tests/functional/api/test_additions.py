"""Fields that only we have: not seen until somebody sets them, refused where they can't work, unknown to LBaaS v2."""

from __future__ import annotations

import json
from typing import Any

import pytest

from controller.model.protocols import OF_POOLS, PROTOCOLS
from controller.resources import catalog
from tests.functional.api.conftest import Api
from tests.functional.api.lbaasv2.conftest import Old

_TARGET = {"protocol": "UDP", "address": "203.0.113.9", "port": 514, "ca_tls_container_ref": None, "host_name": None}
SET: dict[str, dict[str, Any]] = {
    "loadbalancer": {"access_log": _TARGET},
    "listener": {
        "rate_limit": {"requests": 20, "period": 3},
        "error_page": {"content_type": "text/plain", "body": 'Closed.\n\tZürück um 12 "%[env(HOME)]"'},
    },
    "pool": {"slow_start": 30, "drain_timeout": 300, "preserve_client_ip": True},
    "healthmonitor": {"grpc_service": "shop.Cart"},
    "l7policy": {
        "fixed_response": {"status": 200, "content_type": "application/json", "body": "{}"},
        "split": {"pools": [{"pool_id": "first", "weight": 90}, {"pool_id": "second", "weight": 10}], "by": "SOURCE_IP"},
    },
}
"""By resource and field: a value, in which pools have other names than their ids."""
WITH = {"fixed_response": {"action": "FIXED_RESPONSE"}, "split": {"action": "REDIRECT_TO_POOL", "redirect_pool_id": "first"}}
WITHOUT = {"fixed_response": {"action": "REJECT"}}
"""What else an object says to have the field, and to have it no more (the field is null otherwise)."""
OF_DATAGRAMS = ("preserve_client_ip",)
FIELDS = [(kind, name) for kind, values in SET.items() for name in values]


class Site:
    """One object of each resource that has such fields, with its path."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.load_balancer = api.load_balancer()["id"]
        self.listener = api.listener(self.load_balancer)["id"]
        self.pool = api.pool(loadbalancer_id=self.load_balancer)["id"]
        self.monitor = api.create("healthmonitor", "/healthmonitors", pool_id=self.pool, type="HTTP", delay=5, timeout=3, max_retries=2)[
            "id"
        ]
        self.second = api.pool(loadbalancer_id=self.load_balancer)["id"]
        self.policy = api.create("l7policy", "/l7policies", listener_id=self.listener, action="REJECT")["id"]

    def use_datagrams(self) -> None:
        """Have a pool of UDP instead, where nothing keeps amphorae from speaking in the name of clients."""
        network = self.api.network.create_network("open")
        self.api.network.change_network(network, port_security_enabled=False)
        subnet = self.api.network.create_subnet("open", "open", "10.20.0.0/16")
        load_balancer = self.api.load_balancer(vip_subnet_id=subnet)["id"]
        self.pool = self.api.pool(loadbalancer_id=load_balancer, protocol="UDP")["id"]

    def path(self, kind: str) -> str:
        return {
            "loadbalancer": f"/loadbalancers/{self.load_balancer}",
            "listener": f"/listeners/{self.listener}",
            "pool": f"/pools/{self.pool}",
            "healthmonitor": f"/healthmonitors/{self.monitor}",
            "l7policy": f"/l7policies/{self.policy}",
        }[kind]

    def named(self, values: Any) -> Any:
        """The same with the ids of pools."""
        return json.loads(json.dumps(values).replace('"first"', f'"{self.pool}"').replace('"second"', f'"{self.second}"'))

    def change(self, kind: str, **values: Any) -> Any:
        return self.api.ok("PUT", self.path(kind), {kind: self.named(values)})[kind]

    def refused(self, kind: str, **values: Any) -> str:
        return self.api.refused(400, "PUT", self.path(kind), {kind: self.named(values)})


@pytest.fixture
def site(api: Api) -> Site:
    return Site(api)


def test_all_that_are_declared_are_here() -> None:
    declared = {(schema.name, field.name) for schema in catalog.SCHEMAS for field in schema.fields.values() if field.added and field.put}
    assert declared == set(FIELDS)


@pytest.mark.parametrize(("kind", "name"), FIELDS)
def test_it_is_seen_while_it_is_set(site: Site, kind: str, name: str) -> None:
    if name in OF_DATAGRAMS:
        site.use_datagrams()
    value, with_it = site.named(SET[kind][name]), site.named(WITH.get(name, {}))
    before = site.api.get(kind, site.path(kind))
    assert name not in before
    assert site.change(kind, **{name: value}, **with_it)[name] == value
    after = site.api.get(kind, site.path(kind))
    assert after == before | {name: value, **with_it, **{key: after[key] for key in ("updated_at", "provisioning_status")}}
    collection = site.path(kind).rpartition("/")[0]
    assert [one[name] for one in site.api.ok("GET", collection)[collection[1:]] if name in one] == [value]
    assert site.api.get(kind, f"{site.path(kind)}?fields={name}") == {name: value}
    assert site.change(kind, name="another")[name] == value
    assert name not in site.change(kind, **WITHOUT.get(name, {name: None}))
    assert all(name not in one for one in site.api.ok("GET", collection)[collection[1:]])


@pytest.mark.parametrize(("kind", "name"), FIELDS)
def test_lbaas_v2_neither_takes_nor_shows_it(api: Api, kind: str, name: str) -> None:
    old = Old(api)
    load_balancer = old.load_balancer()
    listener = old.listener(load_balancer["id"])
    policy = old.create("l7policy", "/l7policies", listener_id=listener["id"], action="REJECT")
    pool = old.pool(listener_id=listener["id"])
    monitor = old.create("healthmonitor", "/healthmonitors", pool_id=pool["id"], type="HTTP", delay=5, timeout=3, max_retries=2)
    nouns = {"loadbalancer": load_balancer, "listener": listener, "pool": pool, "healthmonitor": monitor, "l7policy": policy}
    made = nouns[kind]
    path = {"l7policy": "/l7policies"}.get(kind, f"/{kind}s") + f"/{made['id']}"
    said = old.send("PUT", path, {kind: {name: SET[kind][name]}})
    assert (said.status_code, f"'{name}'" in said.get_data(as_text=True)) == (400, True)
    assert name not in made


@pytest.mark.parametrize(
    ("kind", "values", "sentence"),
    [
        ("listener", {"rate_limit": {}}, "Mandatory field missing"),
        ("listener", {"rate_limit": 5}, "rate_limit"),
        ("listener", {"rate_limit": {"requests": 0}}, "Value should be greater or equal to 1"),
        ("listener", {"rate_limit": {"requests": 1, "period": 3601}}, "Value should be lower or equal to 3600"),
        ("listener", {"rate_limit": {"requests": 1, "burst": 3}}, "Unknown attribute"),
        ("listener", {"error_page": {"body": ""}}, "Value should have from 1 to 4096 bytes in UTF-8"),
        ("listener", {"error_page": {"body": "ä" * 2049}}, "Value should have from 1 to 4096 bytes in UTF-8"),
        ("listener", {"error_page": {"body": "a\0b"}}, "Value should not contain control characters"),
        ("listener", {"error_page": {"body": "a", "content_type": "text/html\r\nX: y"}}, "Value should be a content type"),
        ("l7policy", {"action": "FIXED_RESPONSE"}, "Invalid L7 Policy arguments: fixed_response must not be None"),
        ("l7policy", {"action": "FIXED_RESPONSE", "fixed_response": {"body": "a"}}, "Mandatory field missing"),
        ("l7policy", {"action": "FIXED_RESPONSE", "fixed_response": {"status": 199}}, "Value should be greater or equal to 200"),
        ("l7policy", {"action": "FIXED_RESPONSE", "fixed_response": {"status": 204, "body": "a"}}, "an answer of status 204 has no body"),
        ("loadbalancer", {"access_log": {"protocol": "UDP", "port": 514}}, "Mandatory field missing"),
        ("loadbalancer", {"access_log": _TARGET | {"protocol": "RELP"}}, "Value should be one of: UDP, TCP, TLS"),
        ("loadbalancer", {"access_log": _TARGET | {"port": 0}}, "Value should be greater or equal to 1"),
        ("loadbalancer", {"access_log": _TARGET | {"host_name": "a b"}}, "Value must be a valid host name"),
        ("loadbalancer", {"access_log": _TARGET | {"address": "logs.example"}}, "Value should be IPv4 or IPv6 format"),
        *(
            ("loadbalancer", {"access_log": _TARGET | {"address": one}}, f"{one} is not a valid address of a target: no other machine")
            for one in ("127.0.0.1", "0.0.0.0", "169.254.169.254", "224.0.0.1", "255.255.255.255", "::1", "::ffff:127.0.0.1", "fe80::1")
        ),
        ("loadbalancer", {"access_log": _TARGET | {"address": "2001:db8::1"}}, "can't be reached by a load balancer without an IPv6 VIP"),
        ("loadbalancer", {"access_log": _TARGET | {"host_name": "a.example"}}, "host_name can be given with protocol TLS only"),
        (
            "loadbalancer",
            {"access_log": _TARGET | {"ca_tls_container_ref": "x"}},
            "ca_tls_container_ref can be given with protocol TLS only",
        ),
        ("loadbalancer", {"access_log": _TARGET | {"protocol": "TLS"}}, "protocol TLS needs a ca_tls_container_ref"),
        (
            "loadbalancer",
            {"access_log": _TARGET | {"protocol": "TLS", "ca_tls_container_ref": "local:nothing"}},
            "Could not retrieve certificate: ['local:nothing']",
        ),
        ("l7policy", {**WITH["split"], "split": {"pools": []}}, "between 2 to 10 pools, each named once"),
        (
            "l7policy",
            {**WITH["split"], "split": {"pools": [{"pool_id": "first", "weight": 1}] * 2}},
            "between 2 to 10 pools, each named once",
        ),
        (
            "l7policy",
            {**WITH["split"], "split": {"pools": [{"pool_id": one, "weight": 0} for one in ("first", "second")]}},
            "at least one pool needs a weight above 0",
        ),
        ("l7policy", {**WITH["split"], "split": {"pools": [{"pool_id": "first"}]}}, "Mandatory field missing"),
        ("l7policy", {**WITH["split"], "split": {"pools": [{"pool_id": "first", "weight": -1}]}}, "greater or equal to 0"),
        ("l7policy", {**WITH["split"], "split": SET["l7policy"]["split"] | {"by": "COOKIE"}}, "Value should be one of: REQUEST, SOURCE_IP"),
        ("pool", {"drain_timeout": 0}, "Value should be greater or equal to 1"),
        ("pool", {"slow_start": 0}, "Value should be greater or equal to 1"),
        ("pool", {"slow_start": 86401}, "Value should be lower or equal to 86400"),
        ("pool", {"slow_start": "soon"}, "Value should be integer"),
        ("pool", {"preserve_client_ip": "yes, please"}, "preserve_client_ip"),
        ("healthmonitor", {"grpc_service": "shop Cart"}, "Value should be the name of a service of gRPC"),
        ("healthmonitor", {"grpc_service": "a" * 101}, "a maximum character requirement of 100"),
    ],
)
def test_a_value_that_is_none_is_refused(site: Site, kind: str, values: dict[str, Any], sentence: str) -> None:
    assert sentence in site.refused(kind, **values)


@pytest.mark.parametrize("protocol", [name for name, one in PROTOCOLS.items() if one.pools is not None and not one.has_requests])
@pytest.mark.parametrize("name", SET["listener"])
def test_where_no_requests_are_seen_none_can_be_counted(site: Site, protocol: str, name: str) -> None:
    fields = {"loadbalancer_id": site.load_balancer, "protocol": protocol, "protocol_port": 99}
    words = f"A listener of protocol {protocol} can't have {name}: it sees no requests."
    said = site.api.refused(400, "POST", "/listeners", {"listener": fields | {name: SET["listener"][name]}})
    assert words in said
    if PROTOCOLS[protocol].program is not None:
        made = site.api.create("listener", "/listeners", **fields, **{name: None})
        assert words in site.api.refused(400, "PUT", f"/listeners/{made['id']}", {"listener": {name: SET["listener"][name]}})


@pytest.mark.parametrize("protocol", ["UDP", "SCTP"])
@pytest.mark.parametrize("name", sorted(SET["pool"].keys() - {*OF_DATAGRAMS}))
def test_what_is_for_streams_is_refused_for_datagrams(site: Site, protocol: str, name: str) -> None:
    fields = {"loadbalancer_id": site.load_balancer, "protocol": protocol, "lb_algorithm": "ROUND_ROBIN", name: SET["pool"][name]}
    said = site.api.refused(400, "POST", "/pools", {"pool": fields})
    assert f"A pool of protocol {protocol} can't have {name}: that is for pools over TCP." in said


@pytest.mark.parametrize("protocol", sorted(name for name in OF_POOLS if PROTOCOLS[name].transport == "tcp"))
def test_what_is_for_datagrams_is_refused_for_streams(site: Site, protocol: str) -> None:
    fields = {"loadbalancer_id": site.load_balancer, "protocol": protocol, "lb_algorithm": "ROUND_ROBIN"}
    words = f"A pool of protocol {protocol} can't have preserve_client_ip: that is for pools of protocol UDP or SCTP."
    assert words in site.api.refused(400, "POST", "/pools", {"pool": fields | {"preserve_client_ip": True}})
    assert site.api.create("pool", "/pools", **fields, preserve_client_ip=False)["preserve_client_ip"] is False
    made = site.api.create("pool", "/pools", **fields, preserve_client_ip=None)
    assert words in site.api.refused(400, "PUT", f"/pools/{made['id']}", {"pool": {"preserve_client_ip": True}})


_OF_THE_VIP, _OF_A_NETWORK = "port security of the VIP's port", "port security of network"


def test_where_port_security_is_on_no_addresses_of_clients_are_promised(site: Site) -> None:
    """It would drop what amphorae send. Whoever makes a VIP port or a network without it says that they may."""
    api, of_udp = site.api, {"protocol": "UDP", "lb_algorithm": "ROUND_ROBIN", "preserve_client_ip": True}
    guarded = api.pool(loadbalancer_id=site.load_balancer, protocol="UDP")["id"]
    assert _OF_THE_VIP in api.refused(400, "POST", "/pools", {"pool": {**of_udp, "loadbalancer_id": site.load_balancer}})
    assert _OF_THE_VIP in api.refused(400, "PUT", f"/pools/{guarded}", {"pool": {"preserve_client_ip": True}})
    api.ok("PUT", f"/pools/{guarded}", {"pool": {"preserve_client_ip": False}})

    network = api.network.create_network("far")
    far = api.network.create_subnet("far", "far", "10.21.0.0/16")
    site.use_datagrams()
    own = api.network.create_subnet("open", "also open", "10.22.0.0/16")
    opened, members = f"/pools/{site.pool}", f"/pools/{site.pool}/members"
    elsewhere = {"address": "10.21.0.5", "protocol_port": 53, "subnet_id": far}
    here = [{"address": "10.20.0.5", "protocol_port": 53}, {"address": "10.22.0.5", "protocol_port": 53, "subnet_id": own}]
    far_one = api.create("member", members, **elsewhere)["id"]
    assert _OF_A_NETWORK in api.refused(400, "PUT", opened, {"pool": {"preserve_client_ip": True}})
    api.ok("DELETE", f"{members}/{far_one}", status=204)
    api.network.change_network(network, port_security_enabled=False)
    api.ok("PUT", opened, {"pool": {"preserve_client_ip": True}})
    api.create("member", members, **elsewhere, name="open, too")
    api.network.change_network(network, port_security_enabled=True)
    other = {**elsewhere, "address": "10.21.0.6"}
    assert _OF_A_NETWORK in api.refused(400, "POST", members, {"member": other})
    assert _OF_A_NETWORK in api.refused(400, "PUT", members, {"members": [*here, other]})
    api.ok("PUT", f"{members}?additive_only=true", {"members": here}, status=202)

    pool = {"name": "p", **of_udp}
    listener = {"protocol": "UDP", "protocol_port": 53}
    for subnet, some, words in (
        (api.network.subnet_id, [], _OF_THE_VIP),
        (own, [other], _OF_A_NETWORK),
        (own, here, ""),
    ):
        body = {"loadbalancer": {"vip_subnet_id": subnet, "listeners": [{**listener, "default_pool": {**pool, "members": some}}]}}
        before = {one.id for one in api.network.list_ours()}
        if words:
            assert words in api.refused(400, "POST", "/loadbalancers", body)
            assert {one.id for one in api.network.list_ours()} == before, "the VIP was given back"
        else:
            made = api.ok("POST", "/loadbalancers", body, 201)["loadbalancer"]
            assert made["pools"][0]["preserve_client_ip"] is True


@pytest.mark.parametrize("kind", ["UDP-CONNECT", "HTTP"])
def test_members_of_datagrams_are_not_asked_by_grpc(site: Site, kind: str) -> None:
    pool = site.api.pool(loadbalancer_id=site.load_balancer, protocol="UDP")["id"]
    monitor = {"pool_id": pool, "type": kind, "delay": 5, "timeout": 3, "max_retries": 2}
    said = site.api.refused(400, "POST", "/healthmonitors", {"healthmonitor": monitor | {"grpc_service": ""}})
    assert ("that is for pools over TCP" if kind == "HTTP" else "grpc_service is not a valid option") in said
    made = site.api.create("healthmonitor", "/healthmonitors", **monitor)
    assert said == site.api.refused(400, "PUT", f"/healthmonitors/{made['id']}", {"healthmonitor": {"grpc_service": ""}})


def test_all_of_members_is_a_service_too(site: Site) -> None:
    assert site.change("healthmonitor", grpc_service="")["grpc_service"] == ""
    assert site.change("healthmonitor", delay=6)["grpc_service"] == ""


def test_all_of_them_come_with_a_whole_load_balancer(api: Api) -> None:
    of_streams = {name: value for name, value in SET["pool"].items() if name not in OF_DATAGRAMS}
    pool = {"name": "kilns", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN", **of_streams}
    listener = {"protocol": "HTTP", "protocol_port": 80, "default_pool": pool, **SET["listener"]}
    response = SET["l7policy"]["fixed_response"]
    shares = [{"pool_name": "canaries", "weight": 1}, {"pool_name": "kilns", "weight": 9}]
    split = {"action": "REDIRECT_TO_POOL", "split": {"pools": shares}}
    listener["l7policies"] = [{"fixed_response": response, **WITH["fixed_response"]}, split]
    canaries = {"name": "canaries", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"}
    made = api.load_balancer(pools=[canaries], listeners=[listener, {"protocol": "TCP", "protocol_port": 81}], **SET["loadbalancer"])
    assert {name: made[name] for name in SET["loadbalancer"]} == SET["loadbalancer"]
    first, second = made["listeners"]
    assert {name: first[name] for name in SET["listener"]} == SET["listener"]
    assert not second.keys() & SET["listener"].keys()
    pools = {pool["name"]: pool for pool in made["pools"]}
    assert first["l7policies"][0]["fixed_response"] == response
    ids = [pools["canaries"]["id"], pools["kilns"]["id"]]
    shares = [{"pool_id": pool_id, "weight": weight} for pool_id, weight in zip(ids, (1, 9), strict=True)]
    assert first["l7policies"][1]["split"] == {"pools": shares, "by": "REQUEST"}
    assert first["l7policies"][1]["redirect_pool_id"] == ids[0]
    assert {name: pools["kilns"][name] for name in of_streams} == of_streams


def test_a_split_of_a_whole_load_balancer_names_pools_of_its_body(api: Api) -> None:
    split = {"pools": [{"pool_name": "here", "weight": 1}, {"pool_name": "nowhere", "weight": 1}]}
    listener = {"protocol": "HTTP", "protocol_port": 80, "l7policies": [{"action": "REDIRECT_TO_POOL", "split": split}]}
    pool = {"name": "here", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"}
    body = {"loadbalancer": {"vip_subnet_id": api.network.subnet_id, "pools": [pool], "listeners": [listener]}}
    assert "Details of pool 'nowhere' are missing" in api.refused(400, "POST", "/loadbalancers", body)


def test_a_policy_keeps_its_answer_until_it_does_something_else(site: Site) -> None:
    value = SET["l7policy"]["fixed_response"]
    site.change("l7policy", action="FIXED_RESPONSE", fixed_response=value)
    assert site.change("l7policy", position=1, redirect_http_code=301)["redirect_http_code"] is None
    assert site.change("l7policy", action="FIXED_RESPONSE")["fixed_response"] == value
    assert "fixed_response" not in site.change("l7policy", action="REDIRECT_TO_URL", redirect_url="https://www.example.com/")
    assert "fixed_response" not in site.change("l7policy", fixed_response=value), "as with the targets of other actions"
    said = site.change("l7policy", action="FIXED_RESPONSE", fixed_response={"status": 204})
    assert (said["redirect_url"], said["fixed_response"]["body"]) == (None, "")


def test_lines_are_not_sent_to_the_load_balancer_itself(site: Site) -> None:
    vip = site.api.get("loadbalancer", site.path("loadbalancer"))["vip_address"]
    for spelled in (vip, f"::ffff:{vip}") if ":" not in vip else (vip,):
        said = site.refused("loadbalancer", access_log=_TARGET | {"address": spelled})
        assert "VIP" in said
    subnet = site.api.get("loadbalancer", site.path("loadbalancer"))["vip_subnet_id"]
    chosen = f"{vip.rpartition('.')[0]}.77"
    body = {"loadbalancer": {"vip_subnet_id": subnet, "vip_address": chosen, "access_log": _TARGET | {"address": chosen}}}
    assert "is a VIP of this load balancer" in site.api.refused(400, "POST", "/loadbalancers", body)
    body["loadbalancer"]["access_log"] = None
    site.api.create("loadbalancer", "/loadbalancers", **body["loadbalancer"])  # the address was given back


def test_pools_of_a_split_are_in_use(site: Site) -> None:
    value = SET["l7policy"]["split"]
    site.change("l7policy", **WITH["split"], split=value)
    for pool_id in (site.pool, site.second):
        assert f"in use by L7 policy {site.policy}" in site.api.refused(409, "DELETE", f"/pools/{pool_id}")
    (listener,) = site.api.ok("GET", f"/loadbalancers/{site.load_balancer}/status")["statuses"]["loadbalancer"]["listeners"]
    assert [pool["id"] for pool in listener["pools"]] == [site.pool, site.second]
    site.api.create("rule", f"/l7policies/{site.policy}/rules", type="PATH", compare_type="EQUAL_TO", value="/")
    for pool_id in (site.pool, site.second):
        assert [one["id"] for one in _listeners(site, pool_id)] == [site.listener]
    site.change("l7policy", split=None)
    assert _listeners(site, site.second) == []
    site.api.ok("DELETE", f"/pools/{site.second}", status=204)
    assert f"in use by L7 policy {site.policy}" in site.api.refused(409, "DELETE", f"/pools/{site.pool}")


def test_the_pool_of_a_policy_is_one_of_its_split(site: Site) -> None:
    value = SET["l7policy"]["split"]
    assert site.change("l7policy", action="REDIRECT_TO_POOL", split=value)["redirect_pool_id"] == site.pool
    third = site.api.pool(loadbalancer_id=site.load_balancer)["id"]
    assert f"redirect_pool_id {third} is none of its pools" in site.refused("l7policy", redirect_pool_id=third)
    both = {"pools": [{"pool_id": third, "weight": 1}, {"pool_id": "second", "weight": 1}]}
    assert site.change("l7policy", split=both)["redirect_pool_id"] == third, "the pool of before is no more there"
    assert site.change("l7policy", redirect_pool_id="second")["redirect_pool_id"] == site.second
    shown = site.change("l7policy", split=None)
    assert (shown["redirect_pool_id"], "split" in shown) == (site.second, False)
    shown = site.change("l7policy", action="REJECT", split=value)
    assert (shown["redirect_pool_id"], "split" in shown) == (None, False), "as with the targets of other actions"


def test_pools_of_a_split_must_be_there_and_fit(site: Site) -> None:
    elsewhere = site.api.pool(loadbalancer_id=site.api.load_balancer()["id"])["id"]
    plain = site.api.pool(loadbalancer_id=site.load_balancer, protocol="TCP")["id"]
    for pool_id, status, words in ((elsewhere, 404, f"Pool {elsewhere} not found"), (plain, 400, "pool protocol 'TCP' is invalid")):
        split = {"pools": [{"pool_id": site.pool, "weight": 1}, {"pool_id": pool_id, "weight": 1}]}
        change = {"l7policy": {"action": "REDIRECT_TO_POOL", "split": split}}
        assert words in site.api.refused(status, "PUT", site.path("l7policy"), change)
        body = {"l7policy": {"listener_id": site.listener, **change["l7policy"]}}
        assert words in site.api.refused(status, "POST", "/l7policies", body)


def _listeners(site: Site, pool_id: str) -> Any:
    return site.api.get("pool", f"/pools/{pool_id}")["listeners"]
