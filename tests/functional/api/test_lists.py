"""Pages, sorting, filters, fields and tags."""

from __future__ import annotations

from typing import Any
from urllib import parse as urls

import pytest
import sqlalchemy as sa

from controller.db import tables
from tests.functional.api.conftest import Api


def _pages(api: Api, path: str, key: str) -> list[list[str]]:
    """The names on each page, following `next` as clients do."""
    found: list[list[str]] = []
    while path:
        body = api.ok("GET", path)
        found.append([item["name"] for item in body[key]])
        following = [link["href"] for link in body[f"{key}_links"] if link["rel"] == "next"]
        path = f"/{urls.urlsplit(following[0]).path}?{urls.urlsplit(following[0]).query}" if following else ""
        assert len(found) < 50
    return found


def _names(api: Api, query: str, key: str = "loadbalancers") -> list[str]:
    return [item["name"] for item in api.ok("GET", f"/{key}?{query}")[key]]


@pytest.fixture
def five(api: Api) -> Api:
    """Load balancers b, a, d, c, e, made in this order; b and d are down."""
    for name in "badce":
        api.load_balancer(name=name, admin_state_up=name not in "bd", description="even" if name in "bd" else "odd")
    return api


def test_pages_follow_each_other_to_the_end(five: Api) -> None:
    assert _pages(five, "/loadbalancers?limit=2", "loadbalancers") == [["b", "a"], ["d", "c"], ["e"]]
    assert _pages(five, "/loadbalancers?limit=5", "loadbalancers") == [["b", "a", "d", "c", "e"], []]


@pytest.mark.parametrize("query", ["sort=name:desc&limit=2", "sort_key=name&sort_dir=desc&limit=2"])
def test_pages_follow_the_order_that_was_asked_for(five: Api, query: str) -> None:
    assert _pages(five, f"/loadbalancers?{query}", "loadbalancers") == [["e", "d"], ["c", "b"], ["a"]]


def test_several_keys_sort_one_after_the_other(five: Api) -> None:
    assert _names(five, "sort=admin_state_up,name:desc") == ["d", "b", "e", "c", "a"]
    assert _names(five, "sort_key=admin_state_up,name&sort_dir=desc,asc") == ["a", "c", "e", "b", "d"]


def test_truth_values_are_sorted_over_pages(five: Api) -> None:
    assert _pages(five, "/loadbalancers?sort=admin_state_up,name&limit=2", "loadbalancers") == [["b", "d"], ["a", "c"], ["e"]]
    assert _pages(five, "/loadbalancers?sort=admin_state_up:desc,name&limit=2", "loadbalancers") == [["a", "c"], ["e", "b"], ["d"]]


def test_rows_without_a_value_have_their_place_on_the_pages(five: Api) -> None:
    changed = [item["id"] for item in five.ok("GET", "/loadbalancers")["loadbalancers"] if item["name"] in "ac"]
    for load_balancer_id in changed:
        five.ok("PUT", f"/loadbalancers/{load_balancer_id}", {"loadbalancer": {}})
    assert _pages(five, "/loadbalancers?sort=updated_at&limit=2", "loadbalancers") == [["b", "d"], ["e", "a"], ["c"]]
    assert _pages(five, "/loadbalancers?sort=updated_at:desc&limit=2", "loadbalancers") == [["c", "a"], ["b", "d"], ["e"]]


def test_the_page_before_is_the_nearest_one(five: Api) -> None:
    everything = five.ok("GET", "/loadbalancers")["loadbalancers"]
    marker = everything[4]["id"]
    body = five.ok("GET", f"/loadbalancers?limit=2&marker={marker}&page_reverse=True")
    assert [item["name"] for item in body["loadbalancers"]] == ["d", "c"]
    hrefs = {link["rel"]: link["href"] for link in body["loadbalancers_links"]}
    assert hrefs["previous"].endswith(f"?limit=2&marker={everything[2]['id']}&page_reverse=True")
    assert hrefs["next"].endswith(f"?limit=2&marker={everything[3]['id']}")
    body = five.ok("GET", f"/loadbalancers?limit=2&marker={marker}&page_reverse=true")
    assert body["loadbalancers"] == []  # only the literal True turns the page back


def test_links_repeat_the_whole_question(five: Api) -> None:
    href = five.ok("GET", "/loadbalancers?limit=1&sort=name:asc&provider=amphora&fields=id&fields=name")["loadbalancers_links"][0]["href"]
    assert "?limit=1&sort=name:asc&provider=amphora&fields=id&fields=name&marker=" in href
    assert _pages(five, "/loadbalancers?description=odd&limit=2", "loadbalancers") == [["a", "c"], ["e"]]
    for name in "ae":
        found = five.ok("GET", f"/loadbalancers?name={name}")["loadbalancers"][0]["id"]
        five.ok("PUT", f"/loadbalancers/{found}", {"loadbalancer": {"tags": ["mine & yours", "all"]}})
    assert _pages(five, "/loadbalancers?tags=all&tags=mine+%26+yours&limit=1", "loadbalancers") == [["a"], ["e"], []]


def test_a_page_has_its_limit_whatever_is_asked_for(api_with: Any) -> None:
    api = api_with(("api_settings", "pagination_max_limit"), "2")
    for name in "abc":
        api.load_balancer(name=name)
    for limit in ("", "limit=3", "limit=infinite", "limit=0", "limit=-1", f"limit={10**30}"):
        assert _names(api, limit) == ["a", "b"]
    unlimited = api_with(("api_settings", "pagination_max_limit"), "infinite")
    for name in "abc":
        unlimited.load_balancer(name=name)
    assert _names(unlimited, "limit=0") == ["a", "b", "c"]
    assert unlimited.ok("GET", "/loadbalancers")["loadbalancers_links"] == []


@pytest.mark.parametrize(
    ("query", "named"),
    [("limit=many", "'many'"), ("limit=1.5", "'1.5'"), ("sort=name:up", "'up'"), ("sort=name:asc:desc", "'name:asc:desc'"),
     ("sort_key=name&sort_dir=up", "'up'")],
)  # fmt: skip
def test_a_limit_or_direction_that_is_none(api: Api, query: str, named: str) -> None:
    answer = api.send("GET", f"/pools?{query}")
    assert answer.status_code == 400
    assert set(answer.get_json()) == {"code", "title", "description"}
    assert named in answer.get_json()["description"]


@pytest.mark.parametrize("query", ["sort=colour", "sort=members", "sort_key=colour", "sort=tls_versions", "marker=nothing", "marker=%00"])
def test_a_key_or_marker_that_is_none(api: Api, query: str) -> None:
    assert api.refused(400, "GET", f"/pools?{query}").startswith("Validation failure: ")


@pytest.mark.parametrize("query", ["colour=red", "name=a&name=b", "members=x", "generation=1", "lease_owner=x"])
def test_a_filter_that_is_none(api: Api, query: str) -> None:
    assert api.refused(400, "GET", f"/pools?{query}") == "One or more arguments are either duplicate or invalid"


def test_attributes_filter_exactly(five: Api) -> None:
    shown = five.ok("GET", "/loadbalancers?name=a")["loadbalancers"][0]
    for name in ("id", "vip_address", "vip_port_id", "created_at"):
        assert _names(five, f"{name}={urls.quote(shown[name])}") == ["a"]
    for query in (
        "provider=amphora",
        f"project_id={shown['project_id']}",
        f"tenant_id={shown['project_id']}",
        "description=odd&operating_status=OFFLINE",
    ):
        assert "a" in _names(five, query)
    for word in ("false", "False", "0", "no"):
        assert _names(five, f"admin_state_up={word}") == ["b", "d"]
    for query in ("name=A", "name=", "name=a%0A", "id=x", "project_id=another", "provisioning_status=ACTIVE", "admin_state_up=perhaps",
                  "vip_qos_policy_id=11111111-1111-4111-8111-111111111111", "created_at=yesterday"):  # fmt: skip
        assert _names(five, query) == []


def test_children_are_filtered_by_their_parents(api: Api) -> None:
    first, second = (api.load_balancer()["id"] for _ in range(2))
    for index, parent in enumerate((first, second)):
        api.listener(parent, name=f"l-{index}")
        api.monitor(api.pool(loadbalancer_id=parent, name=f"p-{index}")["id"], name=f"m-{index}")
    for name in ("loadbalancer_id", "load_balancer_id"):
        assert _names(api, f"{name}={second}", "listeners") == ["l-1"]
        assert _names(api, f"{name}={second}", "pools") == ["p-1"]
    pool = api.ok("GET", "/pools?name=p-0")["pools"][0]["id"]
    assert _names(api, f"pool_id={pool}", "healthmonitors") == ["m-0"]
    assert _names(api, "protocol_port=80", "listeners") == ["l-0", "l-1"]
    assert _names(api, "protocol_port=eighty", "listeners") == []


def test_members_of_one_pool_are_listed(api: Api) -> None:
    first, second = (api.pool(loadbalancer_id=api.load_balancer()["id"])["id"] for _ in range(2))
    for index in range(3):
        api.member(first, f"10.0.0.{index + 1}", name=f"m-{index}", weight=index)
    api.member(second, "10.0.0.9", name="stranger")
    assert _pages(api, f"/pools/{first}/members?limit=2", "members") == [["m-0", "m-1"], ["m-2"]]
    assert [item["name"] for item in api.ok("GET", f"/pools/{first}/members?weight=2")["members"]] == ["m-2"]


def test_a_page_begins_at_a_row_of_the_list_only(api_with: Any) -> None:
    api = api_with(("api_settings", "auth_strategy"), "testing")

    def made(path: str, key: str, project: str, **fields: Any) -> str:
        answer = api.send("POST", path, {key: fields}, {"X-Project-Id": project, "X-Roles": "member"})
        return str(answer.get_json()[key]["id"])

    mine, foreign = (made("/loadbalancers", "loadbalancer", name, vip_subnet_id=api.network.subnet_id) for name in ("mine", "foreign"))
    pools = [
        made("/pools", "pool", name, loadbalancer_id=parent, protocol="HTTP", lb_algorithm="ROUND_ROBIN")
        for name, parent in (("mine", mine), ("mine", mine), ("foreign", foreign))
    ]
    members = [
        made(f"/pools/{pool}/members", "member", name, address="10.0.0.1", protocol_port=80, subnet_id=api.network.subnet_id)
        for pool, name in zip(pools, ("mine", "mine", "foreign"), strict=True)
    ]
    caller = {"X-Project-Id": "mine", "X-Roles": "member"}
    lists = {"/loadbalancers": (mine, [foreign]), "/pools": (pools[0], pools[2:]), f"/pools/{pools[0]}/members": (members[0], members[1:])}
    for path, (own, others) in lists.items():
        for root in (path, f"//network/v2.0/lbaas{path}"):
            assert api.send("GET", f"{root}?marker={own}", headers=caller).status_code == 200
            for other in others:
                assert api.send("GET", f"{root}?sort_key=name&sort_dir=asc&marker={other}", headers=caller).status_code == 400
    everybody = {"X-Project-Id": "operators", "X-Roles": "admin"}
    assert api.send("GET", f"/pools?marker={pools[0]}&project_id=mine", headers=everybody).status_code == 200


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("tags=red", ["a", "b"]),
        ("tags=red,blue", ["b"]),
        ("tags=red&tags=blue", ["b"]),
        ("tags-any=red,blue", ["a", "b", "c"]),
        ("not-tags=red", ["c", "d"]),
        ("not-tags=red,blue", ["a", "c", "d"]),
        ("not-tags-any=red,blue", ["d"]),
        ("tags=red&not-tags=blue", ["a"]),
        ("tags=green", []),
        ("tags=", ["a", "b", "c", "d"]),
    ],
)
def test_tags_filter_by_all_any_and_none(api: Api, query: str, names: list[str]) -> None:
    for name, tags in (("a", ["red"]), ("b", ["red", "blue"]), ("c", ["blue"]), ("d", [])):
        api.load_balancer(name=name, tags=tags)
    assert _names(api, query) == names


def test_tags_are_a_set_that_a_put_replaces(api: Api) -> None:
    made = api.load_balancer(tags=["b", "a", "b"])
    assert made["tags"] == ["a", "b"]
    path = f"/loadbalancers/{made['id']}"
    for given, shown in ((["c"], ["c"]), ([], []), (["x", "y"], ["x", "y"]), (None, [])):
        assert api.ok("PUT", path, {"loadbalancer": {"tags": given}})["loadbalancer"]["tags"] == shown
        assert api.ok("PUT", path, {"loadbalancer": {"name": "same tags"}})["loadbalancer"]["tags"] == shown


@pytest.mark.parametrize("query", ["fields=id&fields=name", "fields=id,name", "fields=id,name,colour"])
def test_fields_choose_what_is_shown(api: Api, query: str) -> None:
    made = api.load_balancer()
    assert api.ok("GET", f"/loadbalancers?{query}")["loadbalancers"] == [{"id": made["id"], "name": "lb-1"}]
    assert api.ok("GET", f"/loadbalancers/{made['id']}?{query}") == {"loadbalancer": {"id": made["id"], "name": "lb-1"}}
    assert api.ok("GET", f"/loadbalancers/{made['id']}?fields=colour") == {"loadbalancer": {}}


def test_deleted_rows_are_never_shown(api: Api) -> None:
    made = api.load_balancer()["id"]
    api.ok("DELETE", f"/loadbalancers/{made}", status=204)
    assert len(_names(api, "provisioning_status=PENDING_DELETE")) == 1
    api.settle()
    assert api.row(tables.load_balancers, made)["provisioning_status"] == "DELETED"
    assert _names(api, "provisioning_status=DELETED") == []
    assert api.refused(404, "GET", f"/loadbalancers/{made}") == f"Load Balancer {made} not found."
    assert api.refused(404, "DELETE", f"/loadbalancers/{made}") == f"Load Balancer {made} not found."
    assert api.refused(404, "GET", f"/loadbalancers/{made}/status") == f"Load Balancer {made} not found."


def test_what_the_operator_switched_off_is_ignored(api_with: Any) -> None:
    names = ("allow_pagination", "allow_sorting", "allow_filtering", "allow_field_selection")
    api = api_with(*(item for name in names for item in (("api_settings", name), False)))
    for name in "ab":
        api.load_balancer(name=name)
    body = api.ok("GET", "/loadbalancers?limit=1&sort=name:desc&name=b&colour=red&fields=id&tags=x")
    assert [item["name"] for item in body["loadbalancers"]] == ["a", "b"]
    assert body["loadbalancers_links"] is None


@pytest.mark.lengthy
def test_rows_of_one_instant_are_paged_by_their_ids(api: Api) -> None:
    first = api.load_balancer()["id"]
    row = api.row(tables.load_balancers, first)
    api.write(
        sa.insert(tables.load_balancers).values([row | {"id": f"{n:08}-0000-4000-8000-000000000000", "name": f"{n}"} for n in range(800)])
    )
    seen = [name for page in _pages(api, "/loadbalancers?limit=100", "loadbalancers") for name in page]
    assert seen.count("lb-1") == 1
    assert [name for name in seen if name != "lb-1"] == [str(n) for n in range(800)]
