"""Fields that only we have: not seen until somebody sets them, refused where they can't work, unknown to LBaaS v2."""

from __future__ import annotations

from typing import Any

import pytest

from controller.model.protocols import PROTOCOLS
from controller.resources import catalog
from tests.functional.api.conftest import Api
from tests.functional.api.lbaasv2.conftest import Old

SET: dict[str, dict[str, Any]] = {
    "listener": {"rate_limit": {"requests": 20, "period": 3}},
    "pool": {"slow_start": 30},
}
"""By resource and field: a value."""
FIELDS = [(kind, name) for kind, values in SET.items() for name in values]


class Site:
    """One object of each resource that has such fields, with its path."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.load_balancer = api.load_balancer()["id"]
        self.listener = api.listener(self.load_balancer)["id"]
        self.pool = api.pool(loadbalancer_id=self.load_balancer)["id"]

    def path(self, kind: str) -> str:
        return {"listener": f"/listeners/{self.listener}", "pool": f"/pools/{self.pool}"}[kind]

    def change(self, kind: str, **values: Any) -> Any:
        return self.api.ok("PUT", self.path(kind), {kind: values})[kind]

    def refused(self, kind: str, **values: Any) -> str:
        return self.api.refused(400, "PUT", self.path(kind), {kind: values})


@pytest.fixture
def site(api: Api) -> Site:
    return Site(api)


def test_all_that_are_declared_are_here() -> None:
    declared = {(schema.name, field.name) for schema in catalog.SCHEMAS for field in schema.fields.values() if field.added}
    assert declared == set(FIELDS)


@pytest.mark.parametrize(("kind", "name"), FIELDS)
def test_it_is_seen_while_it_is_set(site: Site, kind: str, name: str) -> None:
    value = SET[kind][name]
    before = site.api.get(kind, site.path(kind))
    assert name not in before
    assert site.change(kind, **{name: value})[name] == value
    after = site.api.get(kind, site.path(kind))
    assert after == before | {name: value, **{key: after[key] for key in ("updated_at", "provisioning_status")}}
    collection = site.path(kind).rpartition("/")[0]
    assert [one[name] for one in site.api.ok("GET", collection)[collection[1:]]] == [value]
    assert site.api.get(kind, f"{site.path(kind)}?fields={name}") == {name: value}
    assert site.change(kind, name="another")[name] == value
    assert name not in site.change(kind, **{name: None})
    assert name not in site.api.ok("GET", collection)[collection[1:]][0]


@pytest.mark.parametrize(("kind", "name"), FIELDS)
def test_lbaas_v2_neither_takes_nor_shows_it(api: Api, kind: str, name: str) -> None:
    old = Old(api)
    load_balancer = old.load_balancer()["id"]
    listener = old.listener(load_balancer)
    made = {"listener": listener, "pool": old.pool(listener_id=listener["id"])}[kind]
    path = f"/{kind}s/{made['id']}"
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
        ("pool", {"slow_start": 0}, "Value should be greater or equal to 1"),
        ("pool", {"slow_start": 86401}, "Value should be lower or equal to 86400"),
        ("pool", {"slow_start": "soon"}, "Value should be integer"),
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
@pytest.mark.parametrize("name", SET["pool"])
def test_what_is_for_streams_is_refused_for_datagrams(site: Site, protocol: str, name: str) -> None:
    fields = {"loadbalancer_id": site.load_balancer, "protocol": protocol, "lb_algorithm": "ROUND_ROBIN", name: SET["pool"][name]}
    said = site.api.refused(400, "POST", "/pools", {"pool": fields})
    assert f"A pool of protocol {protocol} can't have {name}: that is for pools over TCP." in said


def test_all_of_them_come_with_a_whole_load_balancer(api: Api) -> None:
    pool = {"name": "kilns", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN", **SET["pool"]}
    listener = {"protocol": "HTTP", "protocol_port": 80, "default_pool": pool, **SET["listener"]}
    made = api.load_balancer(listeners=[listener, {"protocol": "TCP", "protocol_port": 81}])
    first, second = made["listeners"]
    assert {name: first[name] for name in SET["listener"]} == SET["listener"]
    assert not second.keys() & SET["listener"].keys()
    assert {name: made["pools"][0][name] for name in SET["pool"]} == SET["pool"]
