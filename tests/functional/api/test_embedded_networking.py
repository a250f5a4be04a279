"""The Networking API over an inventory: what clients see, what they may change, and who may."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from tests.functional.api.conftest import Api

ON = ("api_settings", "embedded_networking")
SENT = {"X-Project-Id": "tenant-a"}


@pytest.fixture
def api(api_with: Any) -> Api:
    made: Api = api_with(ON, True)
    return made


def call(api: Api, method: str, path: str, body: Any = None, status: int = 200, project: str = "tenant-a") -> Any:
    """Send a request below /v2.0 that must be answered with this status; the JSON of the answer."""
    answer = api.send(method, f"//v2.0{path}", body, headers={"X-Project-Id": project})
    assert answer.status_code == status, (method, path, answer.status_code, answer.get_data(as_text=True))
    return answer.get_json() if answer.data else None


def make(api: Api, key: str, path: str, **fields: Any) -> Any:
    return call(api, "POST", path, {key: fields}, 201)[key]


def public(api: Api) -> str:
    found: str = call(api, "GET", "/networks?router:external=True")["networks"][0]["id"]
    return found


def test_names_are_found_and_the_management_network_is_not(api: Api) -> None:
    assert [one["name"] for one in call(api, "GET", "/networks")["networks"]] == ["private", "public"]
    (subnet,) = call(api, "GET", "/subnets?name=private-subnet&fields=id&fields=name")["subnets"]
    assert subnet == {"id": api.network.subnet_id, "name": "private-subnet"}
    assert call(api, "GET", "/subnets?name=none&name=private-subnet")["subnets"][0]["id"] == api.network.subnet_id
    assert [one["name"] for one in call(api, "GET", "/routers")["routers"]] == ["router1"]
    port = api.network.ensure_management_port("amphora-1")
    assert call(api, "GET", f"/ports/{port.id}", status=404)["faultstring"] == f"Port {port.id} not found."


def test_every_project_has_a_default_group_whose_members_talk_to_each_other(api: Api) -> None:
    for project in ("tenant-a", "tenant-b"):
        (group,) = call(api, "GET", f"/security-groups?project_id={project}", project=project)["security_groups"]
        assert (group["name"], group["project_id"]) == ("default", project)
        rules = {(rule["direction"], rule["ethertype"], rule["remote_group_id"]) for rule in group["security_group_rules"]}
        assert rules == {
            (way, kind, group["id"] if way == "ingress" else None) for way in ("ingress", "egress") for kind in ("IPv4", "IPv6")
        }
    call(api, "DELETE", f"/security-groups/{group['id']}", status=409)
    call(api, "POST", "/security-groups", {"security_group": {"name": "default"}}, 409)


def test_the_guides_group_is_made_and_put_on_a_vip(api: Api) -> None:
    group = make(api, "security_group", "/security-groups", name="lbaas")
    assert {(rule["direction"], rule["ethertype"]) for rule in group["security_group_rules"]} == {("egress", "IPv4"), ("egress", "IPv6")}
    for port in (80, 443):
        make(
            api,
            "security_group_rule",
            "/security-group-rules",
            security_group_id=group["id"],
            direction="ingress",
            protocol="tcp",
            port_range_min=port,
            port_range_max=str(port),
            remote_ip_prefix="0.0.0.0/0",
        )
    rule = make(api, "security_group_rule", "/security-group-rules", security_group_id=group["id"], direction="ingress", protocol="icmp")
    assert len(call(api, "GET", f"/security-groups/{group['id']}")["security_group"]["security_group_rules"]) == 5
    vip_port = api.load_balancer()["vip_port_id"]
    shown = call(api, "PUT", f"/ports/{vip_port}", {"port": {"security_groups": [group["id"]]}})["port"]
    assert shown["security_groups"] == [group["id"]]
    assert call(api, "GET", f"/ports?security_groups={group['id']}")["ports"][0]["id"] == vip_port
    call(api, "DELETE", f"/security-groups/{group['id']}", status=409)
    call(api, "DELETE", f"/security-group-rules/{rule['id']}", status=204)
    call(api, "PUT", f"/ports/{vip_port}", {"port": {"security_groups": []}})
    call(api, "DELETE", f"/security-groups/{group['id']}", status=204)
    call(api, "GET", f"/security-groups/{group['id']}", status=404)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"protocol": "tcp", "port_range_min": 90, "port_range_max": 80}, 400),
        ({"protocol": "tcp", "port_range_min": 80}, 400),
        ({"protocol": "icmp", "port_range_max": 3}, 400),
        ({"protocol": "icmp", "port_range_min": 256}, 400),
        ({"protocol": "gre", "port_range_min": 1, "port_range_max": 2}, 400),
        ({"protocol": "nonsense"}, 400),
        ({"protocol": "256"}, 400),
        ({"protocol": "ipv6-icmp", "ethertype": "IPv4"}, 400),
        ({"remote_ip_prefix": "2001:db8::/32"}, 400),
        ({"remote_ip_prefix": "192.0.2.0/24; drop"}, 400),
        ({"remote_group_id": "00000000-0000-0000-0000-000000000000"}, 404),
        ({"direction": "sideways"}, 400),
        ({"colour": "red"}, 400),
        ({"protocol": 6, "port_range_min": 80, "port_range_max": 90}, 201),
        ({"protocol": "icmp", "port_range_min": 8, "port_range_max": 0}, 201),
        ({"protocol": "icmp", "ethertype": "IPv6", "port_range_min": -1}, 201),
        ({"protocol": "any"}, 201),
    ],
    ids=str,
)
def test_rules_of_groups_are_checked(api: Api, fields: dict[str, Any], status: int) -> None:
    group = make(api, "security_group", "/security-groups", name="g")["id"]
    body = {"security_group_rule": {"security_group_id": group, "direction": "ingress", **fields}}
    call(api, "POST", "/security-group-rules", body, status)
    if status == 201:
        call(api, "POST", "/security-group-rules", body, 409)


def test_a_floating_ip_is_made_moved_and_taken_away(api: Api) -> None:
    vip_port = api.load_balancer()["vip_port_id"]
    floating = make(api, "floatingip", "/floatingips", floating_network_id=public(api))
    assert (floating["status"], floating["port_id"]) == ("DOWN", None)
    path = f"/floatingips/{floating['id']}"
    shown = call(api, "PUT", path, {"floatingip": {"port_id": vip_port}})["floatingip"]
    assert (shown["status"], shown["port_id"], shown["router_id"] is None) == ("ACTIVE", vip_port, False)
    second = {"floatingip": {"floating_network_id": public(api), "port_id": vip_port}}
    call(api, "POST", "/floatingips", second, 409)
    assert len(call(api, "GET", "/floatingips")["floatingips"]) == 1, "what could not be associated was not made"
    assert call(api, "PUT", path, {"floatingip": {"port_id": None}})["floatingip"]["fixed_ip_address"] is None
    call(api, "DELETE", path, status=204)
    call(api, "POST", "/floatingips", {"floatingip": {"floating_network_id": public(api), "fixed_ip_address": "172.16.0.9"}}, 400)
    private = {"floatingip": {"floating_network_id": api.network.network_id}}
    call(api, "POST", "/floatingips", private, 400)


@pytest.mark.lengthy
def test_a_whole_topology_is_built_and_taken_down(api: Api) -> None:
    network = make(api, "network", "/networks", name="n", admin_state_up=True)["id"]
    subnet = make(api, "subnet", "/subnets", network_id=network, cidr="10.9.0.0/24", ip_version=4, name="s")
    for fields, status in (
        ({"cidr": "10.9.0.0/25"}, 400),
        ({"cidr": "10.8.0.0/24", "subnetpool_id": network}, 400),
        ({"cidr": "224.0.0.0/24"}, 400),
        ({"cidr": "10.8.0.0/24", "gateway_ip": "10.9.0.1"}, 400),
        ({"cidr": "10.8.0.0/24", "allocation_pools": [{"start": "10.8.0.5", "end": "10.8.0.9"}]}, 400),
    ):
        call(api, "POST", "/subnets", {"subnet": {"network_id": network, **fields}}, status)
    router = make(api, "router", "/routers", name="r", external_gateway_info={"network_id": public(api)})
    assert router["external_gateway_info"]["external_fixed_ips"]
    leg = call(api, "PUT", f"/routers/{router['id']}/add_router_interface", {"subnet_id": subnet["id"]})
    assert call(api, "GET", f"/ports/{leg['port_id']}")["port"]["fixed_ips"][0]["ip_address"] == "10.9.0.1"
    port = make(api, "port", "/ports", network_id=network, name="p", fixed_ips=[{"ip_address": "10.9.0.77"}])
    assert port["security_groups"] == [call(api, "GET", "/security-groups?name=default")["security_groups"][0]["id"]]
    assert call(api, "GET", "/ports?fixed_ips=ip_address%3D10.9.0.77")["ports"][0]["id"] == port["id"]
    for path in (f"/networks/{network}", f"/subnets/{subnet['id']}", f"/routers/{router['id']}", f"/ports/{leg['port_id']}"):
        call(api, "DELETE", path, status=409)
    call(api, "PUT", f"/routers/{router['id']}/remove_router_interface", {"subnet_id": subnet["id"]})
    for path in (f"/ports/{port['id']}", f"/subnets/{subnet['id']}", f"/networks/{network}", f"/routers/{router['id']}"):
        call(api, "DELETE", path, status=204)


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


def test_one_body_makes_one_object(api: Api) -> None:
    several = {"ports": [{"network_id": api.network.network_id, "name": name} for name in ("a", "b")]}
    assert "object under the key port" in call(api, "POST", "/ports", several, 400)["faultstring"]
    assert call(api, "GET", "/ports?name=a")["ports"] == []


def test_lists_come_in_pages(api: Api) -> None:
    names = {f"p{number}" for number in range(5)}
    for name in names:
        make(api, "port", "/ports", network_id=api.network.network_id, name=name)
    page, seen = call(api, "GET", "/ports?project_id=tenant-a&limit=2"), []
    while "ports_links" in page:
        assert [link["rel"] for link in page["ports_links"]] == ["next"]
        assert len(page["ports"]) == 2
        seen += [port["name"] for port in page["ports"]]
        page = call(api, "GET", page["ports_links"][0]["href"].partition("/v2.0")[2])
    seen += [port["name"] for port in page["ports"]]
    assert sorted(seen) == sorted(names)
    for wrong in ("marker=none", "limit=many"):
        call(api, "GET", f"/ports?{wrong}", status=400)


def test_a_port_of_a_load_balancer_keeps_its_address(api: Api) -> None:
    vip_port = api.load_balancer()["vip_port_id"]
    for change in ({"fixed_ips": [{"subnet_id": api.network.subnet_id}, {"ip_address": "172.16.9.9"}]}, {"device_id": ""}):
        call(api, "PUT", f"/ports/{vip_port}", {"port": change}, 409)
    call(api, "DELETE", f"/ports/{vip_port}", status=409)
    port = make(api, "port", "/ports", network_id=api.network.network_id, name="mine")
    adopted = api.load_balancer(vip_subnet_id=None, vip_port_id=port["id"])
    assert adopted["vip_address"] == port["fixed_ips"][0]["ip_address"]
    call(api, "DELETE", f"/ports/{port['id']}", status=409)


@pytest.mark.parametrize("body", [b"", b"[]", b'{"port": 7}', b'{"port": {"network_id": 7}}', b'{"ports": []}', b"{"])
def test_bodies_that_make_no_sense_are_refused(api: Api, body: bytes) -> None:
    assert api.send("POST", "//v2.0/ports", data=body, headers=SENT).status_code == 400


def test_a_project_sees_and_changes_its_own_only(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    group = make(api, "security_group", "/security-groups", name="of a")["id"]
    port = make(api, "port", "/ports", network_id=api.network.network_id)["id"]
    rule = {"security_group_rule": {"security_group_id": group, "direction": "ingress"}}
    monkeypatch.setattr("controller.api.networking.routes._is_admin", lambda: False)
    for path in (f"/security-groups/{group}", f"/ports/{port}"):
        call(api, "GET", path, status=404, project="tenant-b")
        call(api, "DELETE", path, status=404, project="tenant-b")
        call(api, "GET", path, project="tenant-a")
    assert [one["name"] for one in call(api, "GET", "/security-groups", project="tenant-b")["security_groups"]] == ["default"]
    call(api, "POST", "/security-group-rules", rule, 404, project="tenant-b")
    mine = call(api, "POST", "/ports", {"port": {"network_id": api.network.network_id}}, 201, project="tenant-b")["port"]["id"]
    call(api, "PUT", f"/ports/{mine}", {"port": {"security_groups": [group]}}, 404, project="tenant-b")
    call(api, "DELETE", f"/networks/{api.network.network_id}", status=403, project="tenant-b")
    call(api, "POST", "/networks", {"network": {"name": "n", "project_id": "tenant-a"}}, 403, project="tenant-b")
    call(api, "POST", "/networks", {"network": {"name": "n", "shared": True}}, 400, project="tenant-b")
    assert [one["name"] for one in call(api, "GET", "/subnets", project="tenant-b")["subnets"]] == ["private-subnet", "public-subnet"]


def test_a_reader_changes_no_network_and_a_stranger_sees_none(api_with: Any) -> None:
    api = api_with(("api_settings", "embedded_networking"), True, ("api_settings", "auth_strategy"), "testing")
    subnet = {"subnet": {"network_id": api.network.network_id, "cidr": "10.9.0.0/24"}}
    for roles, seen, made in (("member", 200, 201), ("load-balancer_member", 200, 201), ("reader", 200, 403), ("", 403, 403)):
        who = {"X-Project-Id": "tenant-c", "X-Roles": roles}
        for root in ("//v2.0", "//network/v2.0"):
            assert api.send("GET", f"{root}/networks", headers=who).status_code == seen, (roles, root)
            answer = api.send("POST", f"{root}/networks", {"network": {"name": "n"}}, who)
            assert answer.status_code == made, (roles, root)
            if made == 201:
                mine = answer.get_json()["network"]["id"]
                reader = {**who, "X-Roles": "reader"}
                assert api.send("DELETE", f"{root}/networks/{mine}", headers=reader).status_code == 403
                assert api.send("PUT", f"{root}/networks/{mine}", {"network": {"name": "m"}}, reader).status_code == 403
        assert api.send("POST", "//v2.0/subnets", subnet, who).status_code == 403, "it is nobody's of them"


def test_a_tenant_keeps_the_load_balancers_own_group_on_the_vip_or_replaces_it(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    balancer, another = api.load_balancer(project_id="tenant-a"), api.load_balancer(project_id="tenant-a")
    port = f"/ports/{balancer['vip_port_id']}"
    (own,) = call(api, "GET", port)["port"]["security_groups"]
    (theirs,) = call(api, "GET", f"/ports/{another['vip_port_id']}")["port"]["security_groups"]
    assert call(api, "GET", f"/security-groups/{own}")["security_group"]["name"] == f"lb-{balancer['id']}", "administrators see it"
    refused = call(api, "DELETE", f"/security-groups/{theirs}", status=409)
    assert "belongs to a load balancer" in refused["faultstring"]
    lbaas = make(api, "security_group", "/security-groups", name="lbaas")["id"]
    monkeypatch.setattr("controller.api.networking.routes._is_admin", lambda: False)
    call(api, "GET", f"/security-groups/{own}", status=404)
    assert {one["name"] for one in call(api, "GET", "/security-groups")["security_groups"]} == {"default", "lbaas"}
    for wanted in ([own, lbaas], [lbaas], [], [own]):
        shown = call(api, "PUT", port, {"port": {"security_groups": wanted}})["port"]["security_groups"]
        assert sorted(shown) == sorted(wanted)
    call(api, "PUT", port, {"port": {"security_groups": [theirs]}}, 404)
    mine = make(api, "port", "/ports", network_id=api.network.network_id, device_id=f"lb-{balancer['id']}")["id"]
    call(api, "PUT", f"/ports/{mine}", {"port": {"security_groups": [own]}}, 404)


def test_a_port_can_not_pass_for_one_of_a_router(api: Api) -> None:
    (router,) = call(api, "GET", "/routers")["routers"]
    port = {"network_id": api.network.network_id, "device_id": router["id"], "device_owner": "network:router_interface"}
    call(api, "POST", "/ports", {"port": port}, 400)
    made = make(api, "port", "/ports", **{**port, "device_owner": "compute:nova"})
    call(api, "PUT", f"/ports/{made['id']}", {"port": {"device_owner": "network:router_gateway"}}, 400)
    (leg,) = call(api, "GET", f"/ports?device_id={router['id']}&device_owner=network:router_interface")["ports"]
    changes: tuple[dict[str, Any], ...] = ({"fixed_ips": []}, {"device_id": ""}, {"mac_address": "02:00:00:00:00:01"})
    for change in changes:
        call(api, "PUT", f"/ports/{leg['id']}", {"port": change}, 409)


def test_tags_and_extensions_are_there(api: Api) -> None:
    port = make(api, "port", "/ports", network_id=api.network.network_id)["id"]
    assert call(api, "PUT", f"/ports/{port}/tags", {"tags": ["b", "a"]}) == {"tags": ["a", "b"]}
    assert call(api, "GET", f"/ports/{port}")["port"]["tags"] == ["a", "b"]
    path = f"/ports/{port}/tags"
    call(api, "PUT", path, {"tags": ["x" * 61]}, 400)
    assert call(api, "PUT", path, {"tags": ["a", "c", "c"]}) == call(api, "GET", path) == {"tags": ["a", "c"]}
    call(api, "POST", "/ports", {"port": {"network_id": api.network.network_id, "name": "plain"}}, 201)
    for query, found in (
        ("tags=a,c", [port]),
        ("tags=a,b", []),
        ("tags-any=b,c", [port]),
        ("name=plain&not-tags=a,c", ["plain"]),
        ("not-tags-any=a", ["plain"]),
        ("name=&not-tags=a,b", [port]),
    ):
        ports = call(api, "GET", f"/ports?project_id=tenant-a&{query}")["ports"]
        assert [one["name"] or one["id"] for one in ports] == found, query
    assert call(api, "PUT", path, {"tags": []}) == {"tags": []}
    assert call(api, "GET", f"/ports/{port}")["port"]["tags"] == []
    aliases = {one["alias"] for one in call(api, "GET", "/extensions")["extensions"]}
    assert {"security-group", "router"} <= aliases
    call(api, "GET", "/extensions/security-group")
    call(api, "GET", "/extensions/none", status=404)


def test_without_the_option_there_is_no_such_thing(api_with: Any) -> None:
    assert api_with(ON, False).send("GET", "//v2.0/networks").status_code == 404


def test_no_list_in_a_body_is_longer_than_a_request_can_work_off(api: Api) -> None:
    port = {"network_id": api.network.network_id, "security_groups": ["11111111-1111-4111-8111-111111111111"] * 1001}
    said = call(api, "POST", "/ports", {"port": port}, 400)["faultstring"]
    assert "security_groups has 1001 items, and 1000 are allowed" in said
    assert len(said) < 200
