"""Every row of the routes table by name, in every spelling; and that there are no others."""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from controller.api import gate, openapi
from controller.db import rows, tables
from controller.model.status import AmphoraStatus
from tests.functional.api.conftest import PROJECT, Api, an_api

TABLE = """
GET    200 /loadbalancers
POST   201 /loadbalancers
GET    200 /loadbalancers/{load_balancer}
PUT    200 /loadbalancers/{load_balancer}
DELETE 204 /loadbalancers/{load_balancer}
GET    200 /loadbalancers/{load_balancer}/stats
GET    200 /loadbalancers/{load_balancer}/status
GET    200 /loadbalancers/{load_balancer}/statuses
PUT    202 /loadbalancers/{load_balancer}/failover
GET    200 /listeners
POST   201 /listeners
GET    200 /listeners/{listener}
PUT    200 /listeners/{listener}
DELETE 204 /listeners/{listener}
GET    200 /listeners/{listener}/stats
GET    200 /pools
POST   201 /pools
GET    200 /pools/{pool}
GET    200 /pools/{pool}/stats
PUT    200 /pools/{pool}
DELETE 204 /pools/{pool}
GET    200 /pools/{pool}/members
POST   201 /pools/{pool}/members
PUT    202 /pools/{pool}/members
GET    200 /pools/{pool}/members/{member}
GET    200 /pools/{pool}/members/{member}/stats
PUT    200 /pools/{pool}/members/{member}
DELETE 204 /pools/{pool}/members/{member}
GET    200 /healthmonitors
POST   201 /healthmonitors
GET    200 /healthmonitors/{monitor}
PUT    200 /healthmonitors/{monitor}
DELETE 204 /healthmonitors/{monitor}
GET    200 /l7policies
POST   201 /l7policies
GET    200 /l7policies/{policy}
PUT    200 /l7policies/{policy}
DELETE 204 /l7policies/{policy}
GET    200 /l7policies/{policy}/rules
POST   201 /l7policies/{policy}/rules
GET    200 /l7policies/{policy}/rules/{rule}
PUT    200 /l7policies/{policy}/rules/{rule}
DELETE 204 /l7policies/{policy}/rules/{rule}
GET    200 /quotas
GET    200 /quotas/defaults
GET    200 /quotas/{project}
PUT    202 /quotas/{project}
DELETE 202 /quotas/{project}
GET    200 /quotas/{project}/default
GET    200 /providers
GET    200 /providers/amphora/flavor_capabilities
GET    200 /providers/amphora/availability_zone_capabilities
GET    200 /flavors
POST   201 /flavors
GET    200 /flavors/{flavor}
PUT    200 /flavors/{flavor}
DELETE 204 /flavors/{flavor}
GET    200 /flavorprofiles
POST   201 /flavorprofiles
GET    200 /flavorprofiles/{flavor_profile}
PUT    200 /flavorprofiles/{flavor_profile}
DELETE 204 /flavorprofiles/{flavor_profile}
GET    200 /availabilityzones
POST   201 /availabilityzones
GET    200 /availabilityzones/{zone}
PUT    200 /availabilityzones/{zone}
DELETE 204 /availabilityzones/{zone}
GET    200 /availabilityzoneprofiles
POST   201 /availabilityzoneprofiles
GET    200 /availabilityzoneprofiles/{zone_profile}
PUT    200 /availabilityzoneprofiles/{zone_profile}
DELETE 204 /availabilityzoneprofiles/{zone_profile}
GET    200 /octavia/amphorae
GET    200 /octavia/amphorae/{amphora}
DELETE 204 /octavia/amphorae/{amphora}
GET    200 /octavia/amphorae/{amphora}/stats
PUT    202 /octavia/amphorae/{amphora}/failover
PUT    202 /octavia/amphorae/{amphora}/config
"""
ROUTES = [(method, int(status), path) for method, status, path in (line.split() for line in TABLE.split("\n") if line)]
VERSIONS = """
v2.0 2016-12-11T00:00:00Z
v2.1 2018-04-20T00:00:00Z
v2.2 2018-07-31T00:00:00Z
v2.3 2018-12-18T00:00:00Z
v2.4 2018-12-19T00:00:00Z
v2.5 2019-01-21T00:00:00Z
v2.6 2019-01-25T00:00:00Z
v2.7 2018-01-25T12:00:00Z
v2.8 2019-02-12T00:00:00Z
v2.9 2019-03-04T00:00:00Z
v2.10 2019-03-05T00:00:00Z
v2.11 2019-06-24T00:00:00Z
v2.12 2019-09-11T00:00:00Z
v2.13 2019-09-13T00:00:00Z
v2.14 2019-11-10T00:00:00Z
v2.15 2020-03-10T00:00:00Z
v2.16 2020-03-15T00:00:00Z
v2.17 2020-04-29T00:00:00Z
v2.18 2020-04-29T01:00:00Z
v2.19 2020-05-12T00:00:00Z
v2.20 2020-08-02T00:00:00Z
v2.21 2020-09-03T00:00:00Z
v2.22 2020-09-04T00:00:00Z
v2.23 2020-09-07T00:00:00Z
v2.24 2020-10-15T00:00:00Z
v2.25 2021-10-02T00:00:00Z
v2.26 2022-08-29T00:00:00Z
v2.27 2023-05-05T00:00:00Z
v2.28 2023-11-08T00:00:00Z
v2.29 2024-10-15T00:00:00Z
v2.30 2025-02-26T00:00:00Z
"""
OURS = {
    ("GET", "/loadbalancers/{}/events"),
    ("GET", "/pools/{}/stats"),
    ("GET", "/pools/{}/members/{}/stats"),
    ("POST", "/secrets"),
    ("DELETE", "/secrets/{}"),
}
"""Routes of the versioned API that the compatible one has not."""
PATHS = list(dict.fromkeys(path for _method, _status, path in ROUTES))
METHODS = ("GET", "POST", "PUT", "DELETE")


def spellings(path: str) -> list[str]:
    """All the spellings of a path of the table."""
    middles = ("",) if path.startswith("/octavia") else ("/lbaas", "")
    return [f"{version}{middle}{path}{end}" for version in ("/v2.0", "/v2") for middle in middles for end in ("", "/")]


def blank(path: str) -> str:
    """A path with nothing between its braces."""
    return openapi.blank(path.replace("/amphora/", "/{provider}/"))


class World:
    """One object of each kind, and fresh ones for those who delete or need something for themselves."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self._numbers = itertools.count(1024)

    @functools.cached_property
    def shared(self) -> dict[str, str]:
        """Ids by the words of the table."""
        return {name: self.fresh(name) for name in ("load_balancer", "listener", "pool", "policy", "flavor_profile", "zone_profile")}

    def path(self, method: str, path: str) -> str:
        """A path with ids in it; what is deleted, or is in no state to be shared, is made for the occasion."""
        words = [word.split("}")[0] for word in path.split("{")[1:]]
        found = {word: self.shared[word] for word in words if word in self.shared}
        for word in words[-1:]:
            if method == "DELETE" or word not in found:
                found[word] = self.fresh(word, method)
        if path.rstrip("/").endswith("/failover"):
            self.api.settle()
        return path.format(**found)

    def fresh(self, word: str, method: str = "GET") -> str:
        """The id of a new object."""
        if word == "project":
            self.api.ok("PUT", f"/quotas/{PROJECT}", {"quota": {"pool": -1}}, 202)
            return PROJECT
        if word == "amphora":
            return self._amphora(method)
        key, path, fields = self.body(word)
        made = self.api.create(key, path, **fields)
        return str(made["name"] if word == "zone" else made["id"])

    def body(self, word: str) -> tuple[str, str, dict[str, Any]]:
        """What makes an object: the key of its envelope, its path, its fields."""
        number = next(self._numbers)
        profile = {"name": f"profile-{number}", "provider_name": "amphora"}
        if word == "load_balancer":
            return "loadbalancer", "/loadbalancers", {"vip_subnet_id": self.api.network.subnet_id}
        if word == "flavor_profile":
            return "flavorprofile", "/flavorprofiles", profile | {"flavor_data": json.dumps({"loadbalancer_topology": "SINGLE"})}
        if word == "zone_profile":
            return "availability_zone_profile", "/availabilityzoneprofiles", profile | {"availability_zone_data": "{}"}
        if word == "flavor":
            return "flavor", "/flavors", {"name": f"flavor-{number}", "flavor_profile_id": self.shared["flavor_profile"]}
        if word == "zone":
            wanted = {"name": f"zone-{number}", "availability_zone_profile_id": self.shared["zone_profile"]}
            return "availability_zone", "/availabilityzones", wanted
        return self._child(word, number)

    def _child(self, word: str, number: int) -> tuple[str, str, dict[str, Any]]:
        if word == "listener":
            parent = self.__dict__.setdefault("_parent", self.fresh("load_balancer"))
            return "listener", "/listeners", {"loadbalancer_id": parent, "protocol": "HTTP", "protocol_port": number}
        if word == "pool":
            parent = self.__dict__.setdefault("_parent", self.fresh("load_balancer"))
            return "pool", "/pools", {"loadbalancer_id": parent, "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"}
        if word == "member":
            return "member", f"/pools/{self.shared['pool']}/members", {"address": "10.0.0.1", "protocol_port": number}
        if word == "monitor":
            return (
                "healthmonitor",
                "/healthmonitors",
                {"pool_id": self.fresh("pool"), "type": "TCP", "delay": 5, "timeout": 3, "max_retries": 2},
            )
        if word == "policy":
            return "l7policy", "/l7policies", {"listener_id": self.fresh("listener"), "action": "REJECT"}
        assert word == "rule", word
        return "rule", f"/l7policies/{self.shared['policy']}/rules", {"type": "PATH", "compare_type": "STARTS_WITH", "value": f"/{number}"}

    def _amphora(self, method: str) -> str:
        number = next(self._numbers)
        amphora, parent = f"00000000-0000-4000-8000-{number:012}", self.fresh("load_balancer")
        state = AmphoraStatus.ERROR if method == "DELETE" else AmphoraStatus.ALLOCATED
        row = {"load_balancer_id": parent, "status": state, "role": "STANDALONE", "created_at": rows.now()}
        self.api.write(sa.insert(tables.amphorae).values(id=amphora, **row))
        counted = {"load_balancer_id": parent, "listener_id": self.shared["listener"], "bytes_in": 1}
        self.api.write(sa.insert(tables.listener_statistics).values(amphora_id=amphora, **counted))
        self.api.settle()
        return amphora

    def sent(self, method: str, path: str) -> Any:
        """The body of a request that succeeds."""
        parts = path.strip("/").split("/")
        if method == "POST":
            key, _path, fields = self.body(_WORDS[parts[-1]])
            return {key: fields}
        if method != "PUT" or parts[-1] in ("failover", "config"):
            return None
        if parts[-1] == "members":
            return {"members": [{"address": "10.0.0.1", "protocol_port": 80}]}
        return {_KEYS[parts[-2]]: {}}


_WORDS = {
    "loadbalancers": "load_balancer", "listeners": "listener", "pools": "pool", "members": "member", "healthmonitors": "monitor",
    "l7policies": "policy", "rules": "rule", "flavors": "flavor", "flavorprofiles": "flavor_profile", "availabilityzones": "zone",
    "availabilityzoneprofiles": "zone_profile",
}  # fmt: skip
_KEYS = {
    "loadbalancers": "loadbalancer", "listeners": "listener", "pools": "pool", "members": "member", "healthmonitors": "healthmonitor",
    "l7policies": "l7policy", "rules": "rule", "quotas": "quota", "flavors": "flavor", "flavorprofiles": "flavorprofile",
    "availabilityzones": "availability_zone", "availabilityzoneprofiles": "availability_zone_profile",
}  # fmt: skip


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with an_api() as made:
        yield World(made)


@pytest.mark.parametrize(("method", "status", "path"), ROUTES, ids=[f"{method} {path}" for method, _status, path in ROUTES])
def test_a_route_of_the_table_succeeds_with_its_status_in_every_spelling(world: World, method: str, status: int, path: str) -> None:
    written = spellings(path)
    if method not in ("GET", "PUT"):  # these would need a new object for each spelling, and the path means the same
        assert len({gate.normalised(spelling) for spelling in written}) == 1
        written = [written[ROUTES.index((method, status, path)) % len(written)]]
    for spelling in written:
        asked = world.path(method, spelling)
        answer = world.api.send(method, f"/{asked}", world.sent(method, path))
        assert answer.status_code == status, (method, asked, answer.get_data(as_text=True))
        assert bool(answer.data) == (answer.content_type == "application/json")
        says_nothing = method == "DELETE" or (status == 202 and not path.startswith("/quotas"))
        assert bool(answer.data) != says_nothing


def test_the_routes_are_those_of_the_table_and_ours(world: World) -> None:
    served = {(method, openapi.blank(path)) for method, path, _endpoint in openapi.routes(world.api.app)}
    assert served == {(method, blank(path)) for method, _status, path in ROUTES} | OURS


@pytest.mark.parametrize("path", [path for path in PATHS if path != "/quotas/defaults"])  # elsewhere this is a project's id
def test_other_verbs_are_refused_and_the_path_says_which_there_are(world: World, path: str) -> None:
    has = {method for method, _status, other in ROUTES if other == path}
    asked = f"//v2/lbaas{path}" if not path.startswith("/octavia") else f"//v2{path}"
    asked = asked.replace("{", "").replace("}", "")
    for method in sorted({*METHODS, "PATCH", "HEAD"} - has):
        answer = world.api.send(method, asked)
        if (
            method in ("PUT", "DELETE") and path != "/quotas" and f"{path}/{{" in " ".join(PATHS)
        ):  # the id is missing, rather than the verb wrong
            assert (answer.status_code, answer.get_json()["faultstring"]) == (400, 'Missing argument: "id"'), (method, path)
            continue
        assert answer.status_code == 405, (method, path, answer.get_data(as_text=True))
        assert answer.headers["Allow"] == "DELETE, GET, POST, PUT"
    assert world.api.send("OPTIONS", asked).status_code == 200


def test_the_versions_are_exactly_those_that_clients_know(world: World) -> None:
    versions = world.api.send("GET", "//").get_json()["versions"]
    assert [(version["id"], version["updated"]) for version in versions] == [tuple(line.split()) for line in VERSIONS.split("\n") if line]
    assert [version["status"] for version in versions] == ["SUPPORTED"] * 30 + ["CURRENT"]
    assert {json.dumps(version["links"]) for version in versions} == {json.dumps([{"href": "http://localhost/v2", "rel": "self"}])}
