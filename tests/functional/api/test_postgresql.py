"""What the API asks of the database, PostgreSQL answers too: it refuses some strings and comparisons that SQLite lets pass."""

from __future__ import annotations

import pathlib
import uuid
from collections.abc import Iterator
from concurrent import futures
from typing import Any
from urllib import parse as urls

import pytest

from controller.db import tables
from controller.resources import (
    amphora,
    health_monitor,
    l7policy,
    l7rule,
    listener,
    load_balancer,
    member,
    offering,
    pool,
)
from tests.fake_network import FakeNetwork
from tests.functional import small_flows
from tests.functional.api.conftest import Api

pytestmark = pytest.mark.slow

SCHEMAS = {
    "/loadbalancers": load_balancer.SCHEMA,
    "/listeners": listener.SCHEMA,
    "/pools": pool.SCHEMA,
    "/pools/{pool}/members": member.SCHEMA,
    "/healthmonitors": health_monitor.SCHEMA,
    "/l7policies": l7policy.SCHEMA,
    "/l7policies/{policy}/rules": l7rule.SCHEMA,
    "//v2/octavia/amphorae": amphora.SCHEMA,
    "/flavors": offering.FLAVOR,
    "/flavorprofiles": offering.FLAVOR_PROFILE,
    "/availabilityzones": offering.AVAILABILITY_ZONE,
    "/availabilityzoneprofiles": offering.AVAILABILITY_ZONE_PROFILE,
}
HOSTILE = [
    "\0",
    "a\0b",
    "\ud800",
    "\uffff",
    "x" * 2000,
    "'",
    "%",
    "-9" * 30,
    "1" * 18,
    "[]",
    "{}",
    "null",
    "true",
    "2026-01-31T12:00:00",
    "",
]
OF_EVERY_KIND = ["\0", "1" * 18, "true", "2026-01-31T12:00:00", "{}"]


@pytest.fixture(scope="module")
def api(postgresql_server: str) -> Iterator[Api]:
    """An application over PostgreSQL with one of everything."""
    db = small_flows.new_database(pathlib.Path(), postgresql_server % "postgres")
    cloud = str(uuid.uuid4())
    try:
        yield Api(db, FakeNetwork(cloud))
    finally:
        tables.metadata.drop_all(db.engine)
        db.close()
        FakeNetwork.forget(cloud)


@pytest.fixture(scope="module")
def paths(api: Api) -> dict[str, Any]:
    """The path of each collection, in each of which is something."""
    load_balancer_id = api.load_balancer(tags=["a"])["id"]
    listener_id = api.listener(load_balancer_id)["id"]
    pool_id = api.pool(listener_id=listener_id, session_persistence={"type": "SOURCE_IP"})["id"]
    policies = [
        api.create("l7policy", "/l7policies", listener_id=listener_id, action="REDIRECT_TO_POOL", redirect_pool_id=pool_id, position=1)
        for _ in range(3)
    ]
    policy_id = policies[0]["id"]
    api.create("rule", f"/l7policies/{policy_id}/rules", type="PATH", compare_type="EQUAL_TO", value="/")
    api.ok("PUT", f"/l7policies/{policy_id}", {"l7policy": {"position": 1}})
    shown = [item["id"] for item in api.get("listener", f"/listeners/{listener_id}")["l7policies"]]
    assert shown == [policies[number]["id"] for number in (0, 2, 1)]
    assert api.get("pool", f"/pools/{pool_id}")["listeners"] == [{"id": listener_id}]
    api.member(pool_id)
    api.monitor(pool_id)
    profile = api.create("flavorprofile", "/flavorprofiles", name="p", provider_name="amphora", flavor_data="{}")
    api.create("flavor", "/flavors", name="gold", flavor_profile_id=profile["id"])
    profile = api.create(
        "availability_zone_profile", "/availabilityzoneprofiles", name="p", provider_name="amphora", availability_zone_data="{}"
    )
    api.create("availability_zone", "/availabilityzones", name="east", availability_zone_profile_id=profile["id"])
    return {path.format(pool=pool_id, policy=policy_id): schema for path, schema in SCHEMAS.items()}


def test_every_attribute_sorts_and_filters_or_is_refused(api: Api, paths: dict[str, Any]) -> None:
    for path, schema in paths.items():
        shown = api.ok("GET", path)[schema.collection]
        marker = urls.quote(shown[0][schema.key]) if shown else "none"
        for name in schema.filters:
            for query in (
                f"sort={name}&marker={marker}",
                f"sort={name}:desc&limit=1",
                *(f"{name}={urls.quote(word, errors='surrogatepass')}" for word in OF_EVERY_KIND),
            ):
                answer = api.send("GET", f"{path}?{query}")
                assert answer.status_code in (200, 400), (path, query, answer.get_data(as_text=True))


@pytest.mark.parametrize("word", HOSTILE)
def test_strings_that_postgresql_refuses_find_nothing(api: Api, paths: dict[str, Any], word: str) -> None:
    quoted = urls.quote(word, errors="surrogatepass")
    for path in paths:
        for name in ("marker", "tags", "tags-any", "not-tags", "not-tags-any", "project_id", "fields", "limit", "sort_key"):
            answer = api.send("GET", f"{path}?{name}={quoted}")
            assert answer.status_code in (200, 400), (path, name, answer.get_data(as_text=True))
        assert api.send("GET", f"{path}/{quoted}").status_code in (200, 404)
    for below in (
        "loadbalancers/{}/status",
        "loadbalancers/{}/stats",
        "loadbalancers/{}/events",
        "listeners/{}/stats",
        "pools/{}/stats",
        "pools/{}/members",
    ):
        for root in ("/", "//network/v2.0/lbaas/"):
            assert api.send("GET", root + below.format(quoted)).status_code in (200, 404), (root, below, word)


def test_events_are_paged_by_numbers(api: Api) -> None:
    path = f"/loadbalancers/{api.load_balancer()['id']}/events"
    (event,) = api.ok("GET", path)["events"]
    for query in ("limit=1", "page_reverse=True", "sort=occurred_at:desc"):
        assert api.ok("GET", f"{path}?marker={event['id']}&{query}")["events"] == []
    for unknown in (event["id"] + 1, "1" * 18, "1" * 19):
        api.refused(400, "GET", f"{path}?marker={unknown}")


def test_a_load_balancer_lives_and_dies(api: Api, paths: dict[str, Any]) -> None:
    (members,) = [path for path in paths if path.endswith("/members")]
    api.ok("PUT", members, {"members": [{"address": "10.0.0.2", "protocol_port": 80, "tags": ["b"]}]}, 202)
    load_balancer_id = api.get("pool", members.removesuffix("/members"))["loadbalancers"][0]["id"]
    assert api.get("statuses", f"/loadbalancers/{load_balancer_id}/status")["loadbalancer"]["listeners"][0]["pools"]
    assert api.get("stats", f"/loadbalancers/{load_balancer_id}/stats")["bytes_in"] == 0
    whole = {"name": "p", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN", "members": [{"address": "10.0.0.2", "protocol_port": 80}]}
    api.load_balancer(listeners=[{"protocol": "HTTP", "protocol_port": 80, "default_pool": whole}])
    api.ok("DELETE", f"/loadbalancers/{load_balancer_id}?cascade=true", status=204)


def test_what_is_taken_into_use_is_never_deleted_at_the_same_time(api: Api) -> None:
    def send(method: str, path: str, body: Any = None) -> int:
        answer: Any = api.app.test_client().open(f"/v2{path}", method=method, json=body, headers={"X-Project-Id": "p"})
        return int(answer.status_code)

    seen = set()
    with futures.ThreadPoolExecutor(2) as pool:
        for number in range(12):
            profile = api.create("flavorprofile", "/flavorprofiles", name="p", provider_name="amphora", flavor_data="{}")
            flavor = {"name": f"race-{number}", "flavor_profile_id": profile["id"]}
            racing = [
                pool.submit(send, "POST", "/flavors", {"flavor": flavor}),
                pool.submit(send, "DELETE", f"/flavorprofiles/{profile['id']}"),
            ]
            seen.add(tuple(one.result() for one in racing))
            found = api.ok("GET", f"/flavors?name=race-{number}")["flavors"]
            if not found:
                continue
            body = {"loadbalancer": {"vip_subnet_id": api.network.subnet_id, "flavor_id": found[0]["id"]}}
            racing = [pool.submit(send, "POST", "/loadbalancers", body), pool.submit(send, "DELETE", f"/flavors/{found[0]['id']}")]
            seen.add(tuple(one.result() for one in racing))
    assert seen <= {(201, 409), (400, 204)}


def test_requests_that_change_several_load_balancers_do_not_wait_in_a_circle(api: Api) -> None:
    parents = [api.load_balancer(project_id="bulk")["id"] for _ in range(2)]
    api.ok("PUT", "/quotas/bulk", {"quota": {"listener": 100}}, 202)

    def send(number: int) -> int:
        order = parents if number % 2 else parents[::-1]
        wanted = [{"loadbalancer_id": parent, "protocol": "HTTP", "protocol_port": 1000 + number} for parent in order]
        answer: Any = api.app.test_client().post(
            "/network/v2.0/lbaas/listeners", json={"listeners": wanted}, headers={"X-Project-Id": "bulk"}
        )
        return int(answer.status_code)

    with futures.ThreadPoolExecutor(6) as pool:
        assert set(pool.map(send, range(12))) == {201}
    assert api.ok("GET", "/quotas/bulk?usage=true")["quota"]["usage"]["listener"] == 24
