"""Lists with the habits of the network service, and what they cost the database."""

from __future__ import annotations

from urllib import parse as urls

import sqlalchemy as sa

from controller.db import tables
from tests.functional.api.conftest import PROJECT
from tests.functional.api.lbaasv2.conftest import Old


def _names(old: Old, query: str) -> list[str]:
    return [one["name"] for one in old.ok("GET", f"/loadbalancers?{query}")["loadbalancers"]]


def _named(old: Old, *names: str) -> None:
    fields = [{"name": name, "vip_subnet_id": old.api.network.subnet_id} for name in names]
    old.ok("POST", "/loadbalancers", {"loadbalancers": fields}, 201)


def test_a_repeated_filter_means_or_and_an_unknown_one_nothing(old: Old) -> None:
    _named(old, "a", "b", "c")
    assert _names(old, "name=a&name=c") == ["a", "c"]
    assert _names(old, "name=a&name=c&admin_state_up=True") == ["a", "c"]
    assert _names(old, "name=a&admin_state_up=False") == []
    assert _names(old, "id=none") == _names(old, "vip_port_id=x") == []
    assert _names(old, f"tenant_id={PROJECT}&unknown=1") == ["a", "b", "c"]
    assert _names(old, "project_id=x") == []
    assert old.ok("GET", "/loadbalancers.json?fields=id&fields=name&name=a")["loadbalancers"][0].keys() == {"id", "name"}


def test_what_stands_in_another_table_is_a_filter_too(old: Old) -> None:
    one, other = (old.load_balancer()["id"] for _ in range(2))
    listener = old.ok("POST", "/listeners", {"listener": {"loadbalancer_id": one, "protocol": "HTTP", "protocol_port": 80}}, 201)[
        "listener"
    ]
    pool, unused = old.pool(listener_id=listener["id"]), old.pool(loadbalancer_id=other)
    monitor = {"pool_id": pool["id"], "type": "TCP", "delay": 5, "timeout": 5, "max_retries": 1}
    monitor_id = old.ok("POST", "/healthmonitors", {"healthmonitor": monitor}, 201)["healthmonitor"]["id"]
    member = old.member(pool["id"])
    for query in (f"healthmonitor_id={monitor_id}", f"listener_id={listener['id']}", f"listeners={listener['id']}&listeners=none"):
        assert [found["id"] for found in old.ok("GET", f"/pools?{query}")["pools"]] == [pool["id"]], query
    assert [found["id"] for found in old.ok("GET", f"/pools?members={member['id']}")["pools"]] == [pool["id"]]
    assert [found["id"] for found in old.ok("GET", f"/pools?loadbalancers={other}")["pools"]] == [unused["id"]]
    assert old.ok("GET", f"/pools?healthmonitor_id={one}")["pools"] == []
    assert old.ok("GET", f"/listeners?loadbalancers={other}")["listeners"] == []
    assert len(old.ok("GET", f"/listeners?loadbalancers={one}&loadbalancers={other}")["listeners"]) == 1
    assert old.ok("GET", "/listeners?default_tls_container_id=x")["listeners"] == []
    assert old.ok("GET", f"/healthmonitors?pools={unused['id']}")["healthmonitors"] == []


def test_pages_are_walked_both_ways_by_their_links(old: Old) -> None:
    _named(old, "a", "b", "c", "d", "e")
    query, seen = "limit=2&sort_key=name&sort_dir=desc&fields=name", []
    while query:
        page = old.ok("GET", f"/loadbalancers?{query}")
        seen += [one["name"] for one in page["loadbalancers"]]
        links = {link["rel"]: link["href"] for link in page.get("loadbalancers_links", ())}
        query = urls.urlsplit(links.get("next", "")).query
        assert all(href.startswith("http://localhost/network/v2.0/lbaas/loadbalancers?limit=2&") for href in links.values())
    assert seen == ["e", "d", "c", "b", "a"]
    assert "page_reverse=True" in links["previous"]
    assert _names(old, urls.urlsplit(links["previous"]).query) == ["c", "b"]
    assert "loadbalancers_links" not in old.ok("GET", "/loadbalancers")


def test_sort_keys_come_in_pairs(old: Old) -> None:
    _named(old, "a", "b", "a")
    assert _names(old, "sort_key=name&sort_dir=desc&sort_key=id&sort_dir=asc") == ["b", "a", "a"]
    assert _names(old, "sort_key=name") == ["a", "a", "b"]
    for wrong in ("sort_key=nothing", "sort_key=name&sort_dir=up", "sort_dir=asc", "limit=x", "limit=-1", "sort_key=listeners"):
        old.refused(400, "HTTPBadRequest", "GET", f"/loadbalancers?{wrong}")


def test_the_old_command_line_may_name_the_parent_twice(old: Old) -> None:
    pool = old.pool(loadbalancer_id=old.load_balancer()["id"])
    other = old.pool(loadbalancer_id=old.load_balancer()["id"])
    member = old.member(pool["id"])
    old.member(other["id"])
    found = old.ok("GET", f"/pools/{pool['id']}/members.json?pool_id={pool['id']}")["members"]
    assert [one["id"] for one in found] == [member["id"]]


def test_a_list_costs_the_same_for_one_and_for_many(old: Old) -> None:
    load_balancer = old.load_balancer()
    pool = old.pool(loadbalancer_id=load_balancer["id"])
    listener = old.listener(load_balancer["id"])
    redirect = {"listener_id": listener["id"], "action": "REDIRECT_TO_POOL", "redirect_pool_id": pool["id"]}
    paths = {
        "/loadbalancers": 2,
        "/listeners?name=": 2,
        "/pools": 4,
        f"/pools/{pool['id']}/members": 4,
        "/healthmonitors": 2,
        "/l7policies": 2,
        f"/loadbalancers/{load_balancer['id']}/statuses": 8,
    }
    counts: dict[str, list[int]] = {}
    for size in (1, 5):
        for path in paths:
            with old.api.counted() as seen:
                old.ok("GET", path)
            counts.setdefault(path, []).append(len([one for one in seen if not one.startswith("BEGIN")]))
        old.ok("POST", "/l7policies", {"l7policies": [redirect] * size}, 201)
        more = [{"loadbalancer_id": load_balancer["id"], "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"}] * size
        for made in old.ok("POST", "/pools", {"pools": more}, 201)["pools"]:
            old.monitor(made["id"])
        old.ok("POST", f"/pools/{pool['id']}/members", {"members": [old.member_fields(f"10.0.{size}.{i}") for i in range(size)]}, 201)
    for path, (few, many) in counts.items():
        assert few == many or few == many - 1, (path, few, many)  # what an empty list need not ask for
        assert many <= paths[path], (path, many)


def test_the_tree_shows_what_is_off_and_what_hangs_below_it_as_disabled(old: Old) -> None:
    load_balancer = old.load_balancer()
    listener = old.listener(load_balancer["id"])
    pool = old.pool(listener_id=listener["id"])
    old.member(pool["id"])
    old.member(pool["id"], address="10.0.0.2", admin_state_up=False)
    old.member(pool["id"], address="10.0.0.3")
    path = f"/loadbalancers/{load_balancer['id']}/statuses"
    old.api.settle()
    for table in (tables.load_balancers, tables.listeners, tables.pools):
        old.api.write(sa.update(table).values(operating_status="ERROR"))
    old.api.write(sa.update(tables.members).values(operating_status="DRAINING"))
    old.api.write(sa.update(tables.members).where(tables.members.c.address == "10.0.0.3").values(operating_status="ERROR"))

    def statuses() -> tuple[str, str, str, list[str]]:
        tree = old.ok("GET", path)["statuses"]["loadbalancer"]
        shown = tree["listeners"][0]
        (below,) = tree["pools"]
        assert (below["healthmonitor"], shown["l7policies"]) == ({}, [])
        hanging = shown["pools"][0]
        return (
            tree["operating_status"],
            shown["operating_status"],
            hanging["operating_status"],
            [one["operating_status"] for one in hanging["members"]],
        )

    assert statuses() == ("DEGRADED", "DEGRADED", "DEGRADED", ["ONLINE", "DISABLED", "OFFLINE"])
    old.ok("PUT", f"/listeners/{listener['id']}", {"listener": {"admin_state_up": False}})
    assert statuses() == ("DEGRADED", "DISABLED", "DISABLED", ["DISABLED"] * 3)
    old.ok("PUT", f"/loadbalancers/{load_balancer['id']}", {"loadbalancer": {"admin_state_up": False}})
    assert statuses() == ("DISABLED", "DISABLED", "DISABLED", ["DISABLED"] * 3)
    assert old.ok("GET", f"/loadbalancers/{load_balancer['id']}")["loadbalancer"]["operating_status"] == "DEGRADED"
