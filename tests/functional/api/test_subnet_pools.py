"""Subnet pools of the Networking API, by themselves and as openstacksdk asks for them."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from openstack import connection

from tests.functional.api.conftest import PROJECT, Api
from tests.functional.api.test_embedded_networking import ON, call, make


@pytest.fixture
def api(api_with: Any) -> Api:
    made: Api = api_with(ON, True)
    return made


def pool(api: Api, *prefixes: str, **fields: Any) -> Any:
    return make(api, "subnetpool", "/subnetpools", **{"name": "pool", "prefixes": list(prefixes)} | fields)


def subnet(api: Api, pool_id: str, **fields: Any) -> Any:
    network = make(api, "network", "/networks", name="n")["id"]
    return make(api, "subnet", "/subnets", **{"network_id": network, "subnetpool_id": pool_id} | fields)


def refused(api: Api, pool_id: str, status: int, **fields: Any) -> str:
    network = make(api, "network", "/networks", name="n")["id"]
    body = {"subnet": {"network_id": network, "subnetpool_id": pool_id} | fields}
    return wrong(api, "POST", "/subnets", status, body)


def wrong(api: Api, method: str, path: str, status: int, body: Any = None) -> str:
    """Send a request that must be refused; the type of the error, which clients of the Networking API know it by."""
    answer = api.send(method, f"//network/v2.0{path}", body, headers={"X-Project-Id": "tenant-a"})
    assert answer.status_code == status, (method, path, answer.status_code, answer.get_data(as_text=True))
    return str(answer.get_json()["NeutronError"]["type"])


def test_subnets_get_parts_that_no_other_one_has(api: Api) -> None:
    made = pool(api, "fd00:1::/48", default_prefixlen=64)
    assert (made["ip_version"], made["min_prefixlen"], made["max_prefixlen"], made["shared"]) == (6, 64, 128, False)
    asked = subnet(api, made["id"], cidr="fd00:1:0:1::/64", ip_version=6)
    found = [subnet(api, made["id"], ip_version=6) for _ in range(3)]
    assert [one["cidr"] for one in (asked, *found)] == ["fd00:1:0:1::/64", "fd00:1::/64", "fd00:1:0:2::/64", "fd00:1:0:3::/64"]
    assert {one["subnetpool_id"] for one in found} == {made["id"]}
    assert (found[0]["gateway_ip"], found[0]["ip_version"]) == ("fd00:1::1", 6)
    call(api, "DELETE", f"/subnets/{found[1]['id']}", status=204)
    assert subnet(api, made["id"])["cidr"] == found[1]["cidr"]
    assert refused(api, made["id"], 409, cidr="fd00:1:0:3::/64") == "SubnetAllocationError"
    assert refused(api, made["id"], 409, cidr="fd00:2::/64") == "SubnetAllocationError"
    assert refused(api, made["id"], 400, prefixlen=63) == "MinPrefixSubnetAllocationError"
    assert refused(api, made["id"], 400, ip_version=4) == "BadRequest"
    assert wrong(api, "DELETE", f"/subnetpools/{made['id']}", 400) == "SubnetPoolDeleteError"


def test_ranges_of_all_sizes_fill_a_pool_without_a_hole_or_an_overlap(api: Api) -> None:
    made = pool(api, "198.51.100.0/25", "198.51.100.128/26", min_prefixlen=26)
    assert made["prefixes"] == ["198.51.100.0/25", "198.51.100.128/26"]
    lengths = (28, 26, 30, 27, 28)
    found = [ipaddress.ip_network(subnet(api, made["id"], prefixlen=length)["cidr"]) for length in lengths]
    assert [one.prefixlen for one in found] == list(lengths)
    while True:
        network = make(api, "network", "/networks", name="n")["id"]
        answer = api.send("POST", "//v2.0/subnets", {"subnet": {"network_id": network, "subnetpool_id": made["id"], "prefixlen": 30}})
        if answer.status_code != 201:
            break
        found.append(ipaddress.ip_network(answer.get_json()["subnet"]["cidr"]))
    assert sum(one.num_addresses for one in found) == 128 + 64
    assert not any(one.overlaps(other) for place, one in enumerate(found) for other in found[:place])


def test_a_quota_bounds_what_one_project_takes(api: Api) -> None:
    made = pool(api, "fd00:1::/60", default_quota=2)
    for _ in range(2):
        subnet(api, made["id"])
    assert refused(api, made["id"], 409) == "SubnetPoolQuotaExceeded"


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"prefixes": []}, "HTTPBadRequest"),
        ({"prefixes": ["fd00::/48", "10.0.0.0/8"]}, "PrefixVersionMismatch"),
        ({"prefixes": ["10.0.0.0/33"]}, "HTTPBadRequest"),
        ({"prefixes": ["10.0.0.0/8"], "min_prefixlen": 26, "default_prefixlen": 24}, "IllegalSubnetPoolPrefixBounds"),
        ({"prefixes": ["10.0.0.0/8"], "max_prefixlen": 64}, "IllegalSubnetPoolPrefixBounds"),
        ({"prefixes": ["10.0.0.0/8"], "address_scope_id": "11111111-1111-4111-8111-111111111111"}, "HTTPBadRequest"),
        ({"name": "no prefixes"}, "HTTPBadRequest"),
    ],
)
def test_a_pool_that_makes_no_sense_is_refused(api: Api, fields: dict[str, Any], kind: str) -> None:
    assert wrong(api, "POST", "/subnetpools", 400, {"subnetpool": {"name": "p"} | fields}) == kind


def test_what_a_pool_has_given_stays_its_own(api: Api) -> None:
    made = pool(api, "fd00:1::/48")
    path = f"/subnetpools/{made['id']}"
    assert wrong(api, "PUT", path, 400, {"subnetpool": {"prefixes": ["fd00:2::/48"]}}) == "IllegalSubnetPoolPrefixUpdate"
    wider = call(api, "PUT", path, {"subnetpool": {"prefixes": ["fd00::/31"], "name": "wide", "default_prefixlen": 65}})["subnetpool"]
    assert (wider["prefixes"], wider["name"], wider["default_prefixlen"], wider["min_prefixlen"]) == (["fd00::/31"], "wide", 65, 64)
    assert subnet(api, made["id"])["cidr"] == "fd00::/65"


def test_the_default_pool_is_one_of_each_version(api: Api) -> None:
    ranges = ((4, "198.51.100.0/24", 26), (6, "fd00:1::/48", 64))
    made = {version: pool(api, prefix, is_default=True, default_prefixlen=length) for version, prefix, length in ranges}
    body = {"subnetpool": {"name": "second", "prefixes": ["fd00:2::/48"], "is_default": True}}
    assert wrong(api, "POST", "/subnetpools", 400, body) == "InvalidInput"
    network = make(api, "network", "/networks", name="n")["id"]
    for version, one in made.items():
        got = make(api, "subnet", "/subnets", network_id=network, ip_version=version, use_default_subnetpool=True)
        assert got["subnetpool_id"] == one["id"]


def test_openstacksdk_makes_every_call_of_pools(served: tuple[Api, str]) -> None:
    network = connection.Connection(auth_type="none", auth={"endpoint": served[1]}).network
    made = network.create_subnet_pool(name="sdk-pool", prefixes=["fd00:1::/48"], default_prefix_length=64)
    assert (made.prefixes, made.default_prefix_length, made.ip_version, made.project_id) == (["fd00:1::/48"], 64, 6, PROJECT)
    assert network.find_subnet_pool("sdk-pool").id == network.get_subnet_pool(made.id).id == made.id
    assert [one.id for one in network.subnet_pools(name="sdk-pool")] == [made.id]
    assert network.update_subnet_pool(made.id, description="changed").description == "changed"
    net = network.create_network(name="sdk-pools")
    got = network.create_subnet(network_id=net.id, subnet_pool_id=made.id, ip_version=6)
    assert (got.cidr, got.subnet_pool_id) == ("fd00:1::/64", made.id)
    assert [one.id for one in network.subnets(subnet_pool_id=made.id)] == [got.id]
    network.delete_network(net.id)
    network.delete_subnet_pool(made.id)
    assert network.find_subnet_pool("sdk-pool") is None


def test_a_pool_of_another_project_is_not_there(api: Api) -> None:
    """Under `noauth` everybody is an administrator, so ask as the routes do for one who is none."""
    made = pool(api, "fd00:1::/48")
    assert call(api, "GET", "/subnetpools?shared=true")["subnetpools"] == []
    assert [one["id"] for one in call(api, "GET", "/subnetpools?shared=false")["subnetpools"]] == [made["id"]]


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"cidr": "fd00:9::/64", "ipv6_ra_mode": "slaac", "ipv6_address_mode": "slaac"}, 201),
        ({"cidr": "fd00:9::/64", "ipv6_address_mode": "dhcpv6-stateful"}, 201),
        ({"cidr": "fd00:9::/64", "ipv6_address_mode": "dhcp"}, 400),
        ({"cidr": "fd00:9::/64", "ipv6_ra_mode": "slaac", "ipv6_address_mode": "dhcpv6-stateful"}, 400),
        ({"cidr": "fd00:9::/64", "ipv6_ra_mode": "slaac", "enable_dhcp": False}, 400),
        ({"cidr": "198.51.100.0/24", "ipv6_ra_mode": "slaac"}, 400),
        ({"cidr": "fe80::/64"}, 400),
        ({"cidr": "fd00:9::/64", "ip_version": 4}, 400),
        ({"cidr": "fd00:9::/64", "gateway_ip": "fd00:8::1"}, 400),
        ({}, 400),
    ],
)
def test_an_ipv6_subnet_takes_what_makes_sense(api: Api, fields: dict[str, Any], status: int) -> None:
    network = make(api, "network", "/networks", name="n")["id"]
    shown = call(api, "POST", "/subnets", {"subnet": {"network_id": network} | fields}, status)
    if status == 201:
        assert {name: shown["subnet"][name] for name in fields} == fields
        assert shown["subnet"]["gateway_ip"] == "fd00:9::1"
        port = make(api, "port", "/ports", network_id=network)
        (fixed,) = port["fixed_ips"]
        assert ipaddress.ip_address(fixed["ip_address"]) in ipaddress.ip_network("fd00:9::/64")
        spelled = make(api, "port", "/ports", network_id=network, fixed_ips=[{"ip_address": "FD00:0009:0::0AB"}])
        assert spelled["fixed_ips"][0]["ip_address"] == "fd00:9::ab"
