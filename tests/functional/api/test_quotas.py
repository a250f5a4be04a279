"""How much a project may have: set, shown, and kept exactly."""

from __future__ import annotations

import pathlib
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from controller.db import tables
from controller.model import quota
from tests.fake_network import FakeNetwork
from tests.functional import small_flows
from tests.functional.api.conftest import PROJECT, Api

OTHER = "00000000000000000000000000000001"
NAMES = {*quota.KINDS, "loadbalancer", "healthmonitor"}
POOL = {"protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"}
MONITOR = {"type": "TCP", "delay": 1, "timeout": 1, "max_retries": 1}


def _limit(api: Api, project: str = PROJECT, **limits: Any) -> Any:
    return api.ok("PUT", f"/quotas/{project}", {"quota": limits}, 202)["quota"]


def _usage(api: Api, project: str = PROJECT) -> Any:
    return api.ok("GET", f"/quotas/{project}?usage=true")["quota"]["usage"]


def _full(*kinds: str) -> str:
    return f"Quota has been met for resources: {', '.join(kinds)}"


def test_nothing_is_limited_unless_somebody_says_so(api: Api) -> None:
    shown = api.get("quota", f"/quotas/{PROJECT}")
    assert shown == {"project_id": PROJECT, "tenant_id": PROJECT, **dict.fromkeys(NAMES, -1)}
    assert api.get("quota", f"/quotas/{OTHER}/default") == {"project_id": OTHER, "tenant_id": OTHER, **dict.fromkeys(NAMES, -1)}
    assert api.get("quota", "/quotas/defaults") == {"project_id": "defaults", "tenant_id": "defaults", **dict.fromkeys(NAMES, -1)}
    assert api.ok("GET", "/quotas") == {"quotas": [], "quotas_links": []}


def test_limits_are_set_shown_and_given_up(api: Api) -> None:
    shown = _limit(api, load_balancer=5, healthmonitor=0, l7rule=2_000_000_000)
    assert (shown["loadbalancer"], shown["load_balancer"], shown["health_monitor"], shown["listener"]) == (5, 5, 0, -1)
    assert api.get("quota", f"/quotas/{PROJECT}") == shown
    assert api.ok("GET", "/quotas")["quotas"] == [shown]
    assert _limit(api, loadbalancer=None)["load_balancer"] == -1
    assert _limit(api)["health_monitor"] == 0
    answer = api.send("DELETE", f"/quotas/{PROJECT}")
    assert (answer.status_code, answer.data) == (202, b"")
    assert api.get("quota", f"/quotas/{PROJECT}")["health_monitor"] == -1
    assert api.refused(404, "DELETE", f"/quotas/{OTHER}") == f"Quotas {OTHER} not found."
    assert _limit(api, OTHER, pool=1)["tenant_id"] == OTHER


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        (PROJECT, {"quota": {"pool": -2}}, "Value should be greater or equal to -1"),
        (PROJECT, {"quota": {"pool": 2_000_000_001}}, "Value should be lower or equal to 2000000000"),
        (PROJECT, {"quota": {"pool": "many"}}, "Value should be integer"),
        (PROJECT, {"quota": {"gadget": 1}}, "Unknown attribute for argument quotas.quota: gadget"),
        (PROJECT, {"pool": 1}, "Unknown attribute for argument quotas: pool"),
        ("x" * 37, {"quota": {"pool": 1}}, "Value should have a maximum character requirement of 36"),
        ("defaults", {"quota": {"pool": 1}}, "Value should be the id of a project"),
        ("a%00b", {"quota": {"pool": 1}}, "Value should not contain control characters"),
    ],
)
def test_what_is_no_limit_of_a_project_is_refused(api: Api, path: str, body: Any, said: str) -> None:
    assert said in api.refused(400, "PUT", f"/quotas/{path}", body)
    assert api.send("GET", f"/quotas/{path}?usage=1").status_code == 200


def test_the_list_is_paged_by_project(api: Api) -> None:
    projects = [f"{number:032}" for number in range(5)]
    for project in reversed(projects):
        _limit(api, project, pool=1)
    first = api.ok("GET", "/quotas?limit=2")
    assert [item["project_id"] for item in first["quotas"]] == projects[:2]
    (link,) = first["quotas_links"]
    assert link["href"].endswith(f"/quotas?limit=2&marker={projects[1]}")
    after = api.ok("GET", f"/quotas?limit=2&marker={projects[1]}")
    assert [item["project_id"] for item in after["quotas"]] == projects[2:4]
    assert [item["project_id"] for item in api.ok("GET", f"/quotas?project_id={projects[3]}")["quotas"]] == [projects[3]]
    assert [item["project_id"] for item in api.ok("GET", "/quotas?sort=project_id:desc&fields=project_id")["quotas"]] == projects[::-1]
    api.refused(400, "GET", f"/quotas?marker={'f' * 32}")


def test_the_configuration_names_the_defaults(api_with: Any) -> None:
    api = api_with(("quotas", "preset"), "lbaasv2", ("quotas", "default_pool_quota"), 3, ("quotas", "default_l7rule_quota"), 0)
    shown = api.get("quota", f"/quotas/{PROJECT}")
    assert (shown["load_balancer"], shown["pool"], shown["l7rule"], shown["member"]) == (10, 3, 0, -1)
    assert _limit(api, pool=-1)["pool"] == -1
    load_balancer = api.load_balancer()
    for _ in range(4):
        api.pool(loadbalancer_id=load_balancer["id"])


def _one_of_each(api: Api) -> dict[str, Callable[[], Any]]:
    """How one more of each kind is asked for, below a load balancer that has one of each."""
    load_balancer = api.load_balancer()
    listener = api.listener(load_balancer["id"])
    pool = api.pool(listener_id=listener["id"])
    other_pool = api.pool(loadbalancer_id=load_balancer["id"])
    api.member(pool["id"])
    api.monitor(pool["id"])
    policy = api.create("l7policy", "/l7policies", listener_id=listener["id"], action="REJECT")
    rule = {"type": "PATH", "compare_type": "STARTS_WITH", "value": "/a"}
    api.create("rule", f"/l7policies/{policy['id']}/rules", **rule)
    new = {"name": "new", "vip_subnet_id": api.network.subnet_id}
    monitor = {"pool_id": other_pool["id"], **MONITOR}
    return {
        "Load Balancer": lambda: api.send("POST", "/loadbalancers", {"loadbalancer": new}),
        "Listener": lambda: api.send(
            "POST", "/listeners", {"listener": {"loadbalancer_id": load_balancer["id"], "protocol": "TCP", "protocol_port": 81}}
        ),
        "Pool": lambda: api.send("POST", "/pools", {"pool": {"loadbalancer_id": load_balancer["id"], **POOL}}),
        "Member": lambda: api.send("POST", f"/pools/{pool['id']}/members", {"member": {"address": "10.0.0.9", "protocol_port": 9}}),
        "Health Monitor": lambda: api.send("POST", "/healthmonitors", {"healthmonitor": monitor}),
        "L7 Policy": lambda: api.send("POST", "/l7policies", {"l7policy": {"listener_id": listener["id"], "action": "REJECT"}}),
        "L7 Rule": lambda: api.send("POST", f"/l7policies/{policy['id']}/rules", {"rule": rule}),
    }


def test_no_kind_goes_beyond_its_limit(api: Api) -> None:
    asked = _one_of_each(api)
    there = _usage(api)
    assert there == {"load_balancer": 1, "listener": 1, "pool": 2, "member": 1, "health_monitor": 1, "l7policy": 1, "l7rule": 1}
    _limit(api, **there)
    before, ports = _rows(api), _ports(api)
    for title, ask in asked.items():
        answer = ask()
        assert (answer.status_code, answer.get_json()["faultstring"]) == (403, _full(title))
    assert _rows(api) == before, "a refused create left something, or owes something"
    assert _ports(api) == ports, "a VIP port of a refused load balancer was left"
    _limit(api, **{kind: count + 1 for kind, count in there.items()})
    for title, ask in asked.items():
        assert ask().status_code == 201, title
    api.load_balancer(project_id=OTHER)  # whose quota is another one


def _ports(api: Api) -> set[str]:
    return {port.id for port in api.network.list_ours()}


def _rows(api: Api) -> Any:
    with api.db.read() as tx:
        return {
            name: sorted(map(repr, tx.connection.execute(tables.metadata.tables[name].select())))
            for name in ("load_balancers", "listeners", "pools", "members", "health_monitors", "l7policies", "l7rules", "jobs")
        }


def test_a_whole_load_balancer_is_counted_together(api: Api) -> None:
    members = [{"address": f"10.0.0.{k + 1}", "protocol_port": 80} for k in range(3)]
    pool = {"name": "p", **POOL, "members": members, "healthmonitor": MONITOR}
    rules = [{"type": "PATH", "compare_type": "STARTS_WITH", "value": f"/{k}"} for k in range(2)]
    listener = {"protocol": "HTTP", "protocol_port": 80, "default_pool": pool, "l7policies": [{"action": "REJECT", "rules": rules}]}
    whole = {"vip_subnet_id": api.network.subnet_id, "listeners": [listener]}
    _limit(api, member=2, pool=0, listener=1, l7policy=1, l7rule=1)
    before = _ports(api)
    assert api.refused(403, "POST", "/loadbalancers", {"loadbalancer": whole}) == _full("Pool", "Member", "L7 Rule")
    assert (_usage(api)["load_balancer"], _ports(api)) == (0, before)
    _limit(api, member=3, pool=1, l7rule=2)
    api.ok("POST", "/loadbalancers", {"loadbalancer": whole}, 201)


def test_a_batch_counts_what_it_adds_on_balance(api: Api) -> None:
    pool = api.pool(loadbalancer_id=api.load_balancer()["id"])
    path = f"/pools/{pool['id']}/members"

    def batch(*hosts: int) -> dict[str, Any]:
        return {"members": [{"address": f"10.0.0.{host}", "protocol_port": 80} for host in hosts]}

    _limit(api, member=2)
    api.ok("PUT", path, batch(1, 2), 202)
    api.ok("PUT", path, batch(3, 4), 202)
    assert api.refused(403, "PUT", path, batch(3, 4, 5)) == _full("Member")
    api.settle()
    api.ok("PUT", path, batch(3), 202)
    assert api.refused(403, "PUT", f"{path}?additive_only=true", batch(5)) == _full("Member"), "the one that goes is not gone"
    api.settle()
    api.ok("PUT", f"{path}?additive_only=true", batch(5), 202)


def test_zero_is_none_and_a_deletion_makes_room_when_it_is_done(api: Api) -> None:
    _limit(api, load_balancer=0)
    wanted = {"loadbalancer": {"vip_subnet_id": api.network.subnet_id}}
    assert api.refused(403, "POST", "/loadbalancers", wanted) == _full("Load Balancer")
    _limit(api, load_balancer=1)
    first = api.load_balancer()
    api.ok("DELETE", f"/loadbalancers/{first['id']}", status=204)
    assert api.refused(403, "POST", "/loadbalancers", wanted) == _full("Load Balancer")
    api.settle()
    assert _usage(api)["load_balancer"] == 0
    api.load_balancer()
    _limit(api, load_balancer=-1)
    api.load_balancer()


@pytest.mark.lengthy
def test_usage_is_shown_to_who_asks_only(api: Api) -> None:
    api.load_balancer()
    assert "usage" not in api.get("quota", f"/quotas/{PROJECT}")
    assert "usage" not in api.get("quota", f"/quotas/{PROJECT}?usage=false")
    assert api.ok("GET", f"/quotas/{PROJECT}?usage=true&fields=usage")["quota"]["usage"]["load_balancer"] == 1
    api.refused(400, "GET", f"/quotas/{PROJECT}?usage=perhaps")


@pytest.fixture(params=["sqlite", "postgresql"])
def any_engine(request: pytest.FixtureRequest) -> Iterator[Api]:
    """An application over each engine that is here."""
    if request.param == "sqlite":
        yield request.getfixturevalue("api")
        return
    db = small_flows.new_database(pathlib.Path(), request.getfixturevalue("postgresql_server") % "postgres")
    cloud = str(uuid.uuid4())
    try:
        yield Api(db, FakeNetwork(cloud))
    finally:
        tables.metadata.drop_all(db.engine)
        db.close()
        FakeNetwork.forget(cloud)


def _at_once(acts: list[Callable[[], Any]], threads: int = 10) -> Counter[int]:
    """The statuses of requests that many clients send at the same time."""
    seen: Counter[int] = Counter()
    start, guard = threading.Barrier(threads), threading.Lock()

    def client(own: list[Callable[[], Any]]) -> None:
        start.wait()
        for act in own:
            status = act().status_code
            with guard:
                seen[status] += 1

    clients = [threading.Thread(target=client, args=(acts[number::threads],)) for number in range(threads)]
    for one in clients:
        one.start()
    for one in clients:
        one.join()
    return seen


@pytest.mark.lengthy
def test_fifty_creates_at_once_do_not_go_beyond_the_limit(any_engine: Api) -> None:
    api = any_engine
    ports = _ports(api)
    _limit(api, load_balancer=10)
    body = {"loadbalancer": {"vip_subnet_id": api.network.subnet_id}}
    assert _at_once([lambda: _fresh(api, "POST", "/loadbalancers", body)] * 50) == {201: 10, 403: 40}
    assert len(_ports(api)) == len(ports) + 10
    found = api.ok("GET", "/loadbalancers")["loadbalancers"]
    pools = [api.pool(loadbalancer_id=found[number]["id"])["id"] for number in range(10)]
    _limit(api, member=10)

    def member(number: int) -> Any:
        wanted = {"member": {"address": f"10.0.0.{number + 1}", "protocol_port": 80}}
        return _fresh(api, "POST", f"/pools/{pools[number % 10]}/members", wanted)

    assert _at_once([lambda number=number: member(number) for number in range(50)]) == {201: 10, 403: 40}  # type: ignore[misc]
    assert _usage(api)["member"] == 10


def _fresh(api: Api, method: str, path: str, body: Any) -> Any:
    """As `Api.send`, with a client of its own: those of the harness are for one thread."""
    return api.app.test_client().open(f"/v2.0/lbaas{path}", method=method, json=body, headers={"X-Project-Id": PROJECT})
