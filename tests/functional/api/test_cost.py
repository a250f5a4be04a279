"""What a request costs the database does not depend on how much there is.

`READS` and `WRITES` are the table: a request's name, how many statements it may cost, and how it is sent. It is sent twice: where there is
one of everything, and where there are `MANY`, with `MANY` in its body if it can carry that many. A new route needs a line there.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import flask
import pytest
import sqlalchemy as sa

from controller.db import rows, tables
from tests import databases, tls_material
from tests.functional.api.conftest import PROJECT, Api, an_api

MANY = 50
MONITOR = {"type": "TCP", "delay": 1, "timeout": 1, "max_retries": 1}
POLICY = {"action": "REJECT"}
RULE = {"type": "PATH", "compare_type": "STARTS_WITH", "value": "/new"}
POOL = {"protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"}


class Site(NamedTuple):
    """A load balancer with everything below it, and how much of it."""

    api: Api
    load_balancer: Any
    size: int
    paths: dict[str, str]  # of what tenants choose
    amphora: str
    broken_amphora: str

    @property
    def listener(self) -> str:
        """Its path."""
        return f"/listeners/{self.listener_id}"

    @property
    def listener_id(self) -> str:
        """The id of the listener that has many policies."""
        return next(str(listener["id"]) for listener in self.load_balancer["listeners"] if listener["l7policies"])

    @property
    def pool(self) -> str:
        """The path of the pool that has many members."""
        return f"/pools/{self._pool['id']}"

    @property
    def member(self) -> str:
        """The path of one of many members."""
        return f"{self.pool}/members/{self._pool['members'][0]['id']}"

    @property
    def monitor(self) -> str:
        """The path of a monitor."""
        return f"/healthmonitors/{self._pool['healthmonitor']['id']}"

    @property
    def policy(self) -> str:
        """The path of the policy that has many rules, on the listener that has many policies."""
        return f"/l7policies/{self._policies[0]['id']}"

    @property
    def rule(self) -> str:
        """The path of one of many rules."""
        return f"{self.policy}/rules/{self._policies[0]['rules'][0]['id']}"

    @property
    def _policies(self) -> Any:
        return max((listener["l7policies"] for listener in self.load_balancer["listeners"]), key=len)

    @property
    def here(self) -> str:
        """The path of the load balancer."""
        return f"/loadbalancers/{self.load_balancer['id']}"

    @property
    def _pool(self) -> Any:
        return max(self.load_balancer["pools"], key=lambda pool: len(pool["members"]))

    def get(self, path: str) -> None:
        """A GET that succeeds."""
        self.api.ok("GET", path)

    def put(self, path: str, key: str, status: int = 200, **fields: Any) -> None:
        """A PUT that succeeds."""
        self.api.ok("PUT", path, {key: fields}, status)

    def delete(self, path: str, status: int = 204) -> None:
        """A DELETE that succeeds."""
        self.api.ok("DELETE", path, status=status)


def _whole(api: Api, size: int) -> Any:
    """A load balancer with as many listeners and pools, and as many members in the first pool."""
    pools = [
        {"name": f"p-{i}", **POOL, "healthmonitor": MONITOR, "members": _members(size if i == 0 else 1)["members"]} for i in range(size)
    ]
    listeners = [{"protocol": "HTTP", "protocol_port": 80 + i, "tags": ["t"], "default_pool": pool} for i, pool in enumerate(pools)]
    rules = [{**RULE, "value": f"/{k}", "tags": ["r"]} for k in range(min(size, 49))]  # a policy takes 50
    listeners[0]["l7policies"] = [{**POLICY, "tags": ["p"], "rules": rules}, *[POLICY] * (size - 1)]
    return api.load_balancer(name="whole", tags=["x"], listeners=listeners)


def _members(size: int, weight: int = 1) -> dict[str, Any]:
    return {"members": [{"address": f"10.0.0.{k + 1}", "protocol_port": 80, "weight": weight, "tags": ["b"]} for k in range(size)]}


_CA = tls_material.issue("ca.example", is_ca=True).pem.decode()

READS: dict[str, tuple[int, Callable[[Site], object]]] = {
    "get a load balancer": (2, lambda on: on.get(on.here)),
    "get a listener": (2, lambda on: on.get(on.listener)),
    "get a pool": (2, lambda on: on.get(on.pool)),
    "get a member": (2, lambda on: on.get(on.member)),
    "get a health monitor": (2, lambda on: on.get(on.monitor)),
    "get an L7 policy": (2, lambda on: on.get(on.policy)),
    "get an L7 rule": (2, lambda on: on.get(on.rule)),
    "list L7 policies": (2, lambda on: on.get("/l7policies")),
    "list L7 rules": (3, lambda on: on.get(f"{on.policy}/rules")),
    "list load balancers": (2, lambda on: on.get("/loadbalancers")),
    "list listeners": (2, lambda on: on.get("/listeners?sort=name")),
    "list pools": (2, lambda on: on.get("/pools?not-tags-any=x,y")),
    "list members": (3, lambda on: on.get(f"{on.pool}/members")),
    "list health monitors": (2, lambda on: on.get("/healthmonitors?sort=type:desc")),
    "list a page after a marker": (3, lambda on: on.get(f"/loadbalancers?limit=10&marker={on.load_balancer['id']}&page_reverse=True")),
    "list flavors": (1, lambda on: on.get("/flavors")),
    "list flavor profiles": (1, lambda on: on.get("/flavorprofiles")),
    "list availability zones": (1, lambda on: on.get("/availabilityzones?sort=name:desc")),
    "list availability zone profiles": (1, lambda on: on.get("/availabilityzoneprofiles")),
    "list providers": (0, lambda on: on.get("/providers")),
    "list amphorae": (1, lambda on: on.get("//v2/octavia/amphorae")),
    "list quotas": (1, lambda on: on.get("/quotas")),
    "get a quota": (1, lambda on: on.get(f"/quotas/{PROJECT}")),
    "get a quota and what is used": (2, lambda on: on.get(f"/quotas/{PROJECT}?usage=true")),
    "events": (2, lambda on: on.get(f"{on.here}/events")),
    "status tree": (8, lambda on: on.get(f"{on.here}/status")),
    "stats of a load balancer": (3, lambda on: on.get(f"{on.here}/stats")),
    "stats of a listener": (3, lambda on: on.get(f"{on.listener}/stats")),
    "stats of a pool": (3, lambda on: on.get(f"{on.pool}/stats")),
    "stats of a member": (3, lambda on: on.get(f"{on.member}/stats")),
    "statuses": (8, lambda on: on.get(f"{on.here}/statuses")),
    "get default quotas": (0, lambda on: on.get("/quotas/defaults")),
    "get a project's default quotas": (0, lambda on: on.get(f"/quotas/{PROJECT}/default")),
    "get an amphora": (1, lambda on: on.get(on.amphora)),
    "stats of an amphora": (2, lambda on: on.get(f"{on.amphora}/stats")),
    "capabilities of flavors": (0, lambda on: on.get("/providers/amphora/flavor_capabilities")),
    "capabilities of availability zones": (0, lambda on: on.get("/providers/amphora/availability_zone_capabilities")),
    "get a flavor profile": (1, lambda on: on.get(on.paths["flavorprofile"])),
    "get a flavor": (1, lambda on: on.get(on.paths["flavor"])),
    "get an availability zone profile": (1, lambda on: on.get(on.paths["availability_zone_profile"])),
    "get an availability zone": (1, lambda on: on.get(on.paths["availability_zone"])),
}

WRITES: dict[str, tuple[int, Callable[[Site], object]]] = {
    "store a secret": (0, lambda on: on.api.ok("POST", "/secrets", {"secret": {"kind": "ca", "payload": _CA}}, 201)),
    "forget a secret": (0, lambda on: on.delete("/secrets/x")),
    "set a quota": (2, lambda on: on.put(f"/quotas/{PROJECT}", "quota", 202, l7rule=-1)),
    "create a load balancer": (8, lambda on: on.api.load_balancer()),
    "create a whole load balancer": (31, lambda on: _whole(on.api, on.size)),
    "create a listener": (11, lambda on: on.api.listener(on.load_balancer["id"], protocol_port=8080)),
    "create a pool": (11, lambda on: on.api.pool(loadbalancer_id=on.load_balancer["id"])),
    "create a member": (13, lambda on: on.api.member(on.pool.removeprefix("/pools/"), "10.200.0.1")),
    "create an L7 policy": (13, lambda on: on.api.create("l7policy", "/l7policies", listener_id=on.listener_id, position=1, **POLICY)),
    "create an L7 rule": (13, lambda on: on.api.create("rule", f"{on.policy}/rules", **RULE)),
    "change an L7 policy": (15, lambda on: on.put(on.policy, "l7policy", position=1, action="REDIRECT_TO_URL", redirect_url="http://a/")),
    "change an L7 rule": (14, lambda on: on.put(on.rule, "rule", value="/b")),
    "change a load balancer": (12, lambda on: on.put(on.here, "loadbalancer", name="y", tags=["a", "b"])),
    "change a listener": (12, lambda on: on.put(on.listener, "listener", name="y", tags=["a", "b"])),
    "change a pool": (12, lambda on: on.put(on.pool, "pool", name="y")),
    "change a member": (12, lambda on: on.put(on.member, "member", weight=7)),
    "change a health monitor": (12, lambda on: on.put(on.monitor, "healthmonitor", delay=9)),
    "batch of members that come and go": (12, lambda on: on.api.ok("PUT", f"{on.pool}/members", _members(0), 202)),
    "batch of members that change": (14, lambda on: on.api.ok("PUT", f"{on.pool}/members", _members(on.size, weight=2), 202)),
    "fail over": (8, lambda on: on.api.ok("PUT", f"{on.here}/failover", status=202)),
    "delete an L7 policy": (12, lambda on: on.delete(on.policy)),
    "delete an L7 rule": (11, lambda on: on.delete(on.rule)),
    "delete a listener": (10, lambda on: on.delete(on.listener)),
    "delete a pool": (12, lambda on: on.delete(on.pool)),
    "delete a member": (10, lambda on: on.delete(on.member)),
    "delete a health monitor": (10, lambda on: on.delete(on.monitor)),
    "delete with cascade": (14, lambda on: on.delete(f"{on.here}?cascade=true")),
    "create a pool and its monitor": (25, lambda on: on.api.monitor(on.api.pool(loadbalancer_id=on.load_balancer["id"])["id"])),
    "reset a quota": (1, lambda on: on.delete(f"/quotas/{PROJECT}", 202)),
    "fail over an amphora": (8, lambda on: on.api.ok("PUT", f"{on.amphora}/failover", status=202)),
    "configure an amphora": (8, lambda on: on.api.ok("PUT", f"{on.amphora}/config", status=202)),
    "delete an amphora": (8, lambda on: on.delete(on.broken_amphora)),
    "create flavors and availability zones": (14, lambda on: _offerings(on.api)),
    "change a flavor profile": (6, lambda on: on.put(on.paths["flavorprofile"], "flavorprofile", name="y")),
    "change a flavor": (4, lambda on: on.put(on.paths["flavor"], "flavor", enabled=False)),
    "change an availability zone profile": (
        6,
        lambda on: on.put(on.paths["availability_zone_profile"], "availability_zone_profile", name="y"),
    ),
    "change an availability zone": (4, lambda on: on.put(on.paths["availability_zone"], "availability_zone", enabled=False)),
    "delete a flavor": (4, lambda on: on.delete(on.paths["flavor"])),
    "delete an availability zone": (4, lambda on: on.delete(on.paths["availability_zone"])),
    "delete a flavor profile": (4, lambda on: on.delete(on.paths["unused flavorprofile"])),
    "delete an availability zone profile": (4, lambda on: on.delete(on.paths["unused availability_zone_profile"])),
}


@pytest.fixture(scope="module")
def sites() -> Iterator[list[tuple[Api, int]]]:
    """One application where there is little, and one where there is much."""
    with an_api() as little, an_api() as much:
        for api in (little, much):
            api.ok("PUT", f"/quotas/{PROJECT}", {"quota": {}}, 202)
        little.load_balancer()
        for _ in range(MANY):
            much.load_balancer()
        yield [(little, 1), (much, MANY)]


def _offerings(api: Api) -> dict[str, str]:
    """The path of a new one of everything that tenants can choose, and of profiles that nothing uses."""
    paths: dict[str, str] = {}
    for word, data, offering, offerings in (
        ("flavorprofile", "flavor_data", "flavor", "flavors"),
        ("availability_zone_profile", "availability_zone_data", "availability_zone", "availabilityzones"),
    ):
        collection = f"/{word.replace('_', '')}s"
        named = str(uuid.uuid4())
        used, unused = (api.create(word, collection, name="p", provider_name="amphora", **{data: "{}"})["id"] for _ in range(2))
        made = api.create(offering, f"/{offerings}", name=named, **{f"{word.replace('rprof', 'r_prof')}_id": used})
        paths |= {word: f"{collection}/{used}", f"unused {word}": f"{collection}/{unused}"}
        paths[offering] = f"/{offerings}/{made.get('id', named)}"
    return paths


def _amphora(api: Api, load_balancer: Any, status: str) -> str:
    """The path of an amphora that counted something on every listener."""
    key = str(uuid.uuid4())
    of = load_balancer["id"]
    api.write(sa.insert(tables.amphorae).values(id=key, load_balancer_id=of, status=status, role="STANDALONE", created_at=rows.now()))
    counted = [{"amphora_id": key, "load_balancer_id": of, "listener_id": one["id"]} for one in load_balancer["listeners"]]
    api.write(sa.insert(tables.listener_statistics).values(counted))
    return f"//v2/octavia/amphorae/{key}"


def _site(api: Api, size: int) -> Site:
    whole = _whole(api, size)
    return Site(api, whole, size, _offerings(api), _amphora(api, whole, "ALLOCATED"), _amphora(api, whole, "ERROR"))


def _settled(api: Api, size: int) -> Site:
    site = _site(api, size)
    api.settle()
    return site


def _statements(site: Site, act: Callable[[Site], object]) -> list[str]:
    with site.api.counted() as seen:
        act(site)
    return [statement for statement in seen if not statement.startswith("BEGIN")]


@pytest.fixture(scope="module")
def settled(sites: list[tuple[Api, int]]) -> list[Site]:
    """What reads read."""
    return [_settled(api, size) for api, size in sites]


@pytest.mark.parametrize("request_name", READS)
def test_a_read_costs_the_same_for_one_and_for_many(settled: list[Site], request_name: str) -> None:
    at_most, act = READS[request_name]
    few, many = (_statements(site, act) for site in settled)
    assert len(few) == len(many), "\n".join(many)
    assert len(few) <= at_most, "\n".join(few)


@pytest.mark.parametrize("request_name", WRITES)
def test_a_write_costs_the_same_for_one_and_for_many(sites: list[tuple[Api, int]], request_name: str) -> None:
    at_most, act = WRITES[request_name]
    few, many = (_statements(_settled(api, size), act) for api, size in sites)
    assert len(few) == len(many), "\n".join(many)
    assert len(few) <= at_most, "\n".join(few)


@pytest.mark.lengthy
def test_every_route_is_in_the_table(sites: list[tuple[Api, int]], settled: list[Site]) -> None:
    (api, size), _ = sites
    asked: set[tuple[str, str]] = set()

    def note(_app: flask.Flask, **_: Any) -> None:
        if flask.request.url_rule is not None:
            asked.add((flask.request.method, flask.request.url_rule.rule))

    with flask.request_started.connected_to(note, api.app):
        for _, read in READS.values():
            read(settled[0])
        for _, write in WRITES.values():
            write(_settled(api, size))
    there = {
        (method, rule.rule)
        for rule in api.app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if not rule.endpoint.startswith(("no ", "discovery.", "documentation."))
    }
    assert there - asked == set(), "say in READS or WRITES what these may cost"


@pytest.mark.parametrize("limit", [1000, 2_000_000_000])
def test_a_quota_costs_three_statements_more_whatever_it_is(sites: list[tuple[Api, int]], limit: int) -> None:
    act = WRITES["create a member"][1]
    (api, size), _ = sites
    free = _statements(_settled(api, size), act)
    api.ok("PUT", f"/quotas/{PROJECT}", {"quota": {"member": limit}}, 202)
    try:
        assert len(_statements(_settled(api, size), act)) == len(free) + 3
    finally:
        api.ok("DELETE", f"/quotas/{PROJECT}", status=202)


@pytest.mark.skipif(databases.KIND != "sqlite", reason="reads the plans of SQLite")
@pytest.mark.parametrize(
    ("query", "begins"),
    [
        ("", "SCAN load_balancers USING INDEX ix_load_balancers_created_at_id"),
        ("marker={marker}", "SEARCH load_balancers USING INDEX ix_load_balancers_created_at_id (created_at>?)"),
        ("marker={marker}&page_reverse=True", "SEARCH load_balancers USING INDEX ix_load_balancers_created_at_id (created_at<?)"),
        (
            "project_id={project}&marker={marker}",
            "SEARCH load_balancers USING INDEX ix_load_balancers_project_id_created_at_id (project_id=? AND created_at>?)",
        ),
        ("sort=name:desc", "SCAN load_balancers USING INDEX ix_load_balancers_name"),
        ("sort=name:desc&marker={marker}", "SEARCH load_balancers USING INDEX ix_load_balancers_name (name<?)"),
        ("name=lb-1", "SEARCH load_balancers USING INDEX ix_load_balancers_name (name=?)"),
    ],
)
def test_a_page_is_read_from_where_it_begins_in_an_index(sites: list[tuple[Api, int]], query: str, begins: str) -> None:
    _, (api, _size) = sites
    marker = api.ok("GET", "/loadbalancers?limit=1")["loadbalancers"][0]["id"]
    with api.counted() as statements:
        api.ok("GET", f"/loadbalancers?{query.format(marker=marker, project=PROJECT)}")
    page = next(statement for statement in statements if "ORDER BY load_balancers." in statement)
    with api.db.engine.connect() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {page}", ("",) * page.count("?")).all()
    seen = [row[-1] for row in plan]
    assert begins in seen, seen
    assert "USE TEMP B-TREE FOR ORDER BY" not in seen or query == "name=lb-1"  # those of a name are few
