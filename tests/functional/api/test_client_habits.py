"""What typed clients send to unset, how they read answers, and how they walk lists; the walks with a data plane are in
`tests/integration/test_client_habits.py`.
"""

from __future__ import annotations

import datetime
import re
import uuid
from typing import Any
from urllib import parse as urls

import pytest
import requests

from tests.functional.api.conftest import Api

# Fields that can be unset, what a typed client may send for it, what it then wants to find
_UNSET: dict[str, list[tuple[str, tuple[Any, ...], Any]]] = {
    "loadbalancer": [("name", ("", None), ""), ("description", ("", None), ""), ("tags", ([], None), [])],
    "listener": [
        ("name", ("", None), ""),
        ("tags", ([], None), []),
        ("default_pool_id", ("", None), None),
        ("insert_headers", ({}, None), {}),
        ("allowed_cidrs", ([], None), None),
        ("connection_limit", (-1, None), -1),
        ("timeout_client_data", (50000, None), 50000),
        ("timeout_tcp_inspect", (0, None), 0),
        ("default_tls_container_ref", ("", None), None),
        ("sni_container_refs", ([], None), []),
    ],
    "pool": [
        ("name", ("", None), ""),
        ("tags", ([], None), []),
        ("session_persistence", (None,), None),
        ("tls_container_ref", ("", None), None),
        ("ca_tls_container_ref", ("", None), None),
        ("tls_enabled", (False,), False),
    ],
    "member": [
        ("name", ("", None), ""),
        ("tags", ([], None), []),
        ("weight", (1, None), 1),
        ("backup", (False, None), False),
        ("monitor_address", ("", None), None),
        ("monitor_port", (None,), None),
    ],
    "healthmonitor": [
        ("name", ("", None), ""),
        ("tags", ([], None), []),
        ("max_retries_down", (3, None), 3),
        ("http_method", ("", None), "GET"),
        ("url_path", ("", None), "/"),
        ("expected_codes", ("", None), "200"),
        ("domain_name", ("", None), None),
        ("http_version", (None,), None),
    ],
    "l7policy": [("name", ("", None), ""), ("description", ("", None), ""), ("redirect_prefix", ("", None), None)],
}


class Site:
    """One of everything, with a value in every field that can be unset."""

    def __init__(self, api: Api) -> None:
        self.api = api
        named: dict[str, Any] = {"name": "x", "tags": ["t"]}
        self.load_balancer = api.load_balancer(**named, description="x")["id"]
        self.pool = api.pool(loadbalancer_id=self.load_balancer, session_persistence={"type": "SOURCE_IP"}, **named)["id"]
        self.listener = api.listener(self.load_balancer, **named, **self.listening)["id"]
        watched: dict[str, Any] = {"monitor_address": "10.0.0.9", "monitor_port": 81, "weight": 7, "backup": True}
        self.member = api.member(self.pool, **named, **watched)["id"]
        probe: dict[str, Any] = {
            "http_method": "HEAD",
            "url_path": "/x",
            "expected_codes": "200, 204",
            "domain_name": "a.example",
            "http_version": 1.1,
        }
        self.monitor = api.monitor(self.pool, **named, **probe, max_retries_down=5)["id"]
        away = {"action": "REDIRECT_TO_URL", "redirect_url": "http://a.example/"}
        self.policy = api.create("l7policy", "/l7policies", listener_id=self.listener, description="x", name="x", **away)["id"]

    @property
    def listening(self) -> dict[str, Any]:
        """What its listener says."""
        return {
            "default_pool_id": self.pool,
            "insert_headers": {"X-Forwarded-For": "true"},
            "allowed_cidrs": ["10.0.0.0/8"],
            "connection_limit": 5,
            "timeout_client_data": 1,
            "timeout_tcp_inspect": 1,
        }

    def path(self, key: str) -> str:
        """Where an object is."""
        return {
            "loadbalancer": f"/loadbalancers/{self.load_balancer}",
            "listener": f"/listeners/{self.listener}",
            "pool": f"/pools/{self.pool}",
            "member": f"/pools/{self.pool}/members/{self.member}",
            "healthmonitor": f"/healthmonitors/{self.monitor}",
            "l7policy": f"/l7policies/{self.policy}",
        }[key]


@pytest.fixture
def site(api: Api) -> Site:
    """One of everything."""
    return Site(api)


@pytest.mark.parametrize("key", _UNSET)
def test_what_typed_clients_send_for_nothing_unsets(site: Site, key: str) -> None:
    before = site.api.get(key, site.path(key))
    for field, nothings, expected in _UNSET[key]:
        for nothing in nothings:
            if nothing != before[field]:
                site.api.ok("PUT", site.path(key), {key: {field: before[field]}})
            answered = site.api.ok("PUT", site.path(key), {key: {field: nothing}})[key]
            assert answered[field] == site.api.get(key, site.path(key))[field] == expected, (field, nothing)


@pytest.mark.parametrize("change", [{"default_pool_id": " "}, {"default_pool_id": 0}, {"allowed_cidrs": ""}, {"insert_headers": []}])
def test_what_is_nothing_of_another_type_is_refused(site: Site, change: dict[str, Any]) -> None:
    assert site.api.refused(400, "PUT", site.path("listener"), {"listener": change}).startswith("Invalid input for field/attribute ")


def test_a_policy_that_leads_elsewhere_may_drop_its_old_target_in_the_same_call(site: Site) -> None:
    change = {"action": "REDIRECT_TO_POOL", "redirect_pool_id": site.pool, "redirect_url": ""}
    changed = site.api.ok("PUT", site.path("l7policy"), {"l7policy": change})["l7policy"]
    assert (changed["redirect_url"], changed["redirect_pool_id"]) == (None, site.pool)
    changed = site.api.ok("PUT", site.path("l7policy"), {"l7policy": {"action": "REJECT", "redirect_pool_id": ""}})["l7policy"]
    assert changed["redirect_pool_id"] is None


def test_a_client_that_compares_finds_what_it_sent(site: Site) -> None:
    assert site.api.get("healthmonitor", site.path("healthmonitor"))["expected_codes"] == "200, 204"
    found = site.api.get("listener", site.path("listener"))
    assert {name: found[name] for name in site.listening} == site.listening
    ranges = ["192.0.2.0/24", "10.0.0.0/8", "198.51.100.7/32"]
    site.api.ok("PUT", site.path("listener"), {"listener": {"allowed_cidrs": ranges}})
    assert site.api.get("listener", site.path("listener"))["allowed_cidrs"] == ranges


def test_times_have_no_zone_in_every_answer_and_nothing_else_is_called_a_time(site: Site) -> None:
    site.api.ok("PUT", site.path("pool"), {"pool": {"name": "y"}})
    for key in _UNSET:
        found = site.api.get(key, site.path(key))
        for name in ("created_at", "updated_at"):
            if found[name] is not None:
                assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?", found[name]), (key, name, found[name])
                assert abs(datetime.datetime.fromisoformat(found[name]) - _now()) < datetime.timedelta(hours=1)
    assert site.api.get("pool", site.path("pool"))["updated_at"] is not None
    assert site.api.get("member", site.path("member"))["updated_at"] is None


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC).replace(tzinfo=None)


@pytest.mark.parametrize("key", _UNSET)
def test_every_attribute_that_an_answer_shows_as_a_plain_value_is_a_query_of_its_name(site: Site, key: str) -> None:
    path, shown = site.path(key), site.api.get(key, site.path(key))
    collection = path.rpartition("/")[0]
    envelope = collection.rpartition("/")[2]
    for name, value in shown.items():
        if value is None or isinstance(value, list | dict):
            continue
        found = site.api.ok("GET", f"{collection}?{urls.urlencode({name: value})}")
        assert [item["id"] for item in found[envelope]] == [shown["id"]], name


def test_children_are_found_by_their_parents(site: Site) -> None:
    api, absent = site.api, str(uuid.uuid4())
    for key, parent, parent_id in (
        ("listeners", "loadbalancer_id", site.load_balancer),
        ("listeners", "default_pool_id", site.pool),
        ("pools", "loadbalancer_id", site.load_balancer),
        ("healthmonitors", "pool_id", site.pool),
        ("l7policies", "listener_id", site.listener),
    ):
        assert len(api.ok("GET", f"/{key}?{parent}={parent_id}")[key]) == 1, (key, parent)
        assert api.ok("GET", f"/{key}?{parent}={absent}")[key] == [], (key, parent)
    assert api.ok("GET", f"/pools?healthmonitor_id={absent}")["pools"] == []
    api.refused(400, "GET", f"/pools?healthmonitor_id={absent}&healthmonitor_id={absent}")


def test_references_are_objects_with_an_id_and_lists_are_never_null(site: Site) -> None:
    balancer = site.api.get("loadbalancer", site.path("loadbalancer"))
    assert (balancer["listeners"], balancer["pools"]) == ([{"id": site.listener}], [{"id": site.pool}])
    empty = site.api.load_balancer(name="empty")
    assert (empty["listeners"], empty["pools"], empty["tags"], empty["additional_vips"]) == ([], [], [], [])
    listener = site.api.get("listener", site.path("listener"))
    assert (listener["loadbalancers"], listener["l7policies"]) == ([{"id": site.load_balancer}], [{"id": site.policy}])
    pool = site.api.get("pool", site.path("pool"))
    assert (pool["listeners"], pool["members"]) == ([{"id": site.listener}], [{"id": site.member}])


def test_lists_are_walked_along_their_links_over_the_wire(served: tuple[Api, str]) -> None:
    api, address = served
    owner = {"tags": ["kube_service_a_b_c"]}
    wanted = [api.load_balancer(name=f"w-{number}", **owner)["id"] for number in range(5)]
    for number in range(3):
        api.load_balancer(name=f"other-{number}")
    href: str | None = f"{address}/v2.0/lbaas/loadbalancers?tags=kube_service_a_b_c&limit=2"
    found, pages = [], 0
    while href is not None:
        page = requests.get(href, timeout=10).json()
        found += [item["id"] for item in page["loadbalancers"]]
        href = next((link["href"] for link in page["loadbalancers_links"] if link["rel"] == "next"), None)
        pages += 1
    assert (found, pages) == (wanted, 3)
