"""The rules of load balancers and of their VIPs, in their order, and whose objects a body may name."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from controller.db import tables
from controller.model.network import QosPolicy
from tests.functional.api.conftest import PROJECT, SETTINGS, Api

UNKNOWN = "11111111-1111-4111-8111-111111111111"
OTHER = "0ther00000000000000000000000000"


def _refused(api: Api, status: int = 400, **fields: Any) -> str:
    return api.refused(status, "POST", "/loadbalancers", {"loadbalancer": fields})


def _failure(sentence: str) -> str:
    return f"Validation failure: {sentence}"


@pytest.fixture
def lenient(api_with: Any) -> Api:
    """An application that lets pass what the data plane can't do yet."""
    made: Api = api_with((SETTINGS, "refuse_unsupported"), False)
    return made


# The place of the VIP


def test_a_port_of_ones_own_gives_the_vip_its_address_network_and_qos_policy(api: Api) -> None:
    network = api.network
    six = network.create_subnet("private", "six", "2001:db8::/64")
    port = network.create_port("mine", network.network_id, network.subnet_id, "172.16.9.9")
    network.create_qos_policy(QosPolicy(UNKNOWN, "slow"))
    network.limit_port(port.id, UNKNOWN)
    made = api.load_balancer(vip_subnet_id=None, vip_port_id=port.id)
    assert (made["vip_address"], made["vip_port_id"]) == ("172.16.9.9", port.id)
    assert (made["vip_subnet_id"], made["vip_network_id"]) == (network.subnet_id, network.network_id)
    assert made["vip_qos_policy_id"] == UNKNOWN
    assert api.row(tables.load_balancers, made["id"])["qos_generation"] == 0  # the port has it, and its tenant may change it
    said = _refused(api, vip_port_id=port.id)
    assert said == f"The vip_port_id {port.id} is in use by lb-{made['id']}."
    free = network.create_port("free", network.network_id, network.subnet_id, "172.16.9.10")
    wrong = f"The vip_port_id {free.id} does not have the vip_address or vip_subnet_id that was asked for."
    assert _refused(api, vip_port_id=free.id, vip_address="172.16.9.11") == wrong
    assert _refused(api, vip_port_id=free.id, vip_subnet_id=six) == wrong
    said = _refused(api, vip_port_id=free.id, vip_network_id=network.create_network("elsewhere"))
    assert said.startswith(f"The vip_port_id {free.id} is not on network ")


def test_of_several_addresses_of_a_port_the_body_picks_one(api: Api) -> None:
    network = api.network
    six = network.create_subnet("private", "six", "2001:db8::/64")
    picks: list[tuple[dict[str, str], str | None]] = [
        ({}, None),  # its first
        ({"vip_subnet_id": six}, "2001:db8::9"),
        ({"vip_address": "2001:db8:0:0::9"}, "2001:db8::9"),
        ({"vip_address": "172.16.9.9"}, "172.16.9.9"),
    ]
    for pick, address in picks:
        port = network.create_port_with("dual", network.network_id, [(network.subnet_id, "172.16.9.9"), (six, "2001:db8::9")])
        made = api.load_balancer(vip_subnet_id=pick.get("vip_subnet_id"), vip_port_id=port.id, vip_address=pick.get("vip_address"))
        assert made["vip_address"] == (address or port.fixed_ips[0].ip_address)
        network.delete_port(port.id)


def test_of_the_subnets_of_a_network_the_address_picks_one(api: Api) -> None:
    network = api.network
    subnets = {cidr: network.create_subnet("private", cidr, cidr) for cidr in ("192.0.2.0/29", "2001:db8::/64")}
    made = api.load_balancer(vip_subnet_id=None, vip_network_id=network.network_id, vip_address="2001:db8::7")
    assert made["vip_subnet_id"] == subnets["2001:db8::/64"]
    said = _refused(api, vip_network_id=network.network_id, vip_address="203.0.113.1")
    assert said == f"No subnet of network {network.network_id} fits the VIP that was asked for."
    elsewhere = network.create_network("elsewhere")
    said = _refused(api, vip_network_id=elsewhere, vip_subnet_id=network.subnet_id)
    assert said == f"Subnet {network.subnet_id} is not part of network {elsewhere}."
    assert _refused(api, vip_network_id=elsewhere) == f"No subnet of network {elsewhere} fits the VIP that was asked for."
    assert "can't be used on subnet" in _refused(api, vip_subnet_id=network.subnet_id, vip_address="203.0.113.1")


@pytest.mark.parametrize(
    ("topology", "taken", "expected"), [("SINGLE", 4, "small"), ("ACTIVE_STANDBY", 4, "large"), ("SINGLE", 5, "large")]
)
def test_without_an_address_it_is_the_first_subnet_of_ipv4_that_has_room(api_with: Any, topology: str, taken: int, expected: str) -> None:
    api = api_with(("controller_worker", "loadbalancer_topology"), topology)
    network_id = api.network.create_network("rooms")
    subnets = {name: api.network.create_subnet("rooms", name, cidr) for name, cidr in
               (("six", "2001:db8::/64"), ("small", "192.0.2.0/29"), ("large", "198.51.100.0/24"))}  # fmt: skip
    for number in range(taken):  # of six
        api.network.create_port(f"taken-{number}", network_id, subnets["small"])
    made = api.load_balancer(vip_subnet_id=None, vip_network_id=network_id)
    assert made["vip_subnet_id"] == subnets[expected]


@pytest.mark.parametrize("option", ["denylist_vip_networks", "valid_vip_networks"])
def test_networks_that_the_operator_does_not_allow(api_with: Any, option: str) -> None:
    probe = api_with()
    forbidden = probe.network.network_id if option == "denylist_vip_networks" else UNKNOWN
    api = api_with(("networking", option), [forbidden])
    port = api.network.create_port("mine", api.network.network_id, api.network.subnet_id)
    for place in ({"vip_subnet_id": api.network.subnet_id}, {"vip_network_id": api.network.network_id}, {"vip_port_id": port.id}):
        said = _refused(api, **place)
        assert said == f"The selected vip_network_id is not allowed in this deployment: {api.network.network_id}"
    assert list(api.network.list_ours()) == []


# Further VIPs, security groups, QoS


def test_further_vips_have_subnets_of_their_own_on_the_network_of_the_first(lenient: Api) -> None:
    network = lenient.network
    six, seven = (network.create_subnet("private", name, cidr) for name, cidr in (("six", "2001:db8::/64"), ("seven", "2001:db8:7::/64")))
    network.create_network("elsewhere")
    foreign = network.create_subnet("elsewhere", "foreign", "192.0.2.0/24")
    place: dict[str, Any] = {"vip_subnet_id": network.subnet_id}
    for vips, sentence in (
        ([{"subnet_id": network.subnet_id}], f"subnet {network.subnet_id} holds another VIP of this load balancer; each needs its own."),
        ([{"subnet_id": six}, {"subnet_id": six}], f"subnet {six} holds another VIP of this load balancer; each needs its own."),
        ([{"subnet_id": foreign}], f"subnet {foreign} is not on the network {network.network_id} of the VIP."),
        ([{"subnet_id": six, "ip_address": "2001:db8:7::1"}], f"the address 2001:db8:7::1 is not in subnet {six} (2001:db8::/64)."),
    ):
        assert _refused(lenient, **place, additional_vips=vips) == _failure(f"additional_vips: {sentence}")
    assert _refused(lenient, **place, additional_vips=[{"subnet_id": UNKNOWN}]) == f"Subnet {UNKNOWN} not found."
    assert _refused(lenient, **place, additional_vips=[{"subnet_id": six, "port_id": UNKNOWN}]) == f"Port {UNKNOWN} not found."
    assert _refused(lenient, **place, additional_vips=[{"ip_address": "::1"}]).endswith("Mandatory field missing.")
    assert "Unknown attribute for argument" in _refused(lenient, **place, additional_vips=[{"subnet_id": six, "colour": "red"}])
    made = lenient.load_balancer(additional_vips=[{"subnet_id": six, "ip_address": "2001:DB8:0::5"}, {"subnet_id": seven}])
    port = network.get_port(made["vip_port_id"])
    addresses = {fixed.subnet_id: fixed.ip_address for fixed in port.fixed_ips}
    assert addresses == {network.subnet_id: made["vip_address"], six: "2001:db8::5", seven: addresses[seven]}
    assert made["additional_vips"] == [{"subnet_id": one, "ip_address": addresses[one], "port_id": port.id} for one in (six, seven)]
    assert lenient.ok("GET", "/loadbalancers")["loadbalancers"][0]["additional_vips"] == made["additional_vips"]
    said = lenient.refused(400, "PUT", f"/loadbalancers/{made['id']}", {"loadbalancer": {"additional_vips": []}})
    assert said == "Unknown attribute for argument load_balancer.loadbalancer: additional_vips"


def test_a_further_vip_whose_address_is_taken_is_a_conflict_and_leaves_nothing(api: Api) -> None:
    six = api.network.create_subnet("private", "six", "2001:db8::/64")
    other = api.network.create_port("other", api.network.network_id, six)
    wanted = {"vip_subnet_id": api.network.subnet_id, "additional_vips": [{"subnet_id": six, "ip_address": other.fixed_ips[0].ip_address}]}
    said = _refused(api, 409, **wanted)
    assert said.startswith("The VIP IP address is already in use.")
    assert other.fixed_ips[0].ip_address in said
    assert list(api.network.list_ours()) == []


def test_all_vips_are_addresses_of_one_port(api: Api) -> None:
    network = api.network
    six = network.create_subnet("private", "six", "2001:db8::/64")
    whole = network.create_port_with("whole", network.network_id, [(network.subnet_id, None), (six, None)])
    four, other = network.create_port("four", network.network_id, network.subnet_id), network.create_port("six", network.network_id, six)
    one_port = _failure(f"additional_vips: all VIPs are addresses of one port; to use port {other.id}, name it as vip_port_id.")
    places: list[dict[str, Any]] = [{"vip_subnet_id": network.subnet_id}, {"vip_port_id": four.id}]
    for place in places:
        assert _refused(api, **place, additional_vips=[{"subnet_id": six, "port_id": other.id}]) == one_port
    lacking = f"additional_vips: the port {four.id} does not have an address on subnet {six}."
    assert _refused(api, vip_port_id=four.id, additional_vips=[{"subnet_id": six}]) == lacking
    assert list(network.list_ours()) == []
    place = {"vip_subnet_id": None, "vip_port_id": whole.id}
    made = api.load_balancer(**place, additional_vips=[{"subnet_id": six, "port_id": whole.id}])
    first, second = whole.fixed_ips
    assert (made["vip_address"], made["vip_port_id"]) == (first.ip_address, whole.id)
    assert made["additional_vips"] == [{"subnet_id": six, "ip_address": second.ip_address, "port_id": whole.id}]


def test_a_member_is_at_none_of_the_vips(api: Api) -> None:
    six = api.network.create_subnet("private", "six", "2001:db8::/64")
    vips = [{"subnet_id": six, "ip_address": "2001:db8::5"}]
    member = {"address": "2001:DB8:0::5", "protocol_port": 80}
    pool = {"name": "p", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"}
    said = _refused(api, vip_subnet_id=api.network.subnet_id, additional_vips=vips, pools=[pool | {"members": [member]}])
    assert "is the VIP of this load balancer" in said
    assert list(api.network.list_ours()) == []
    made = api.load_balancer(additional_vips=vips, pools=[pool])
    path = f"/pools/{made['pools'][0]['id']}/members"
    assert "is the VIP of this load balancer" in api.refused(400, "POST", path, {"member": member})


def test_a_qos_policy_needs_a_network_service_that_has_some(api: Api) -> None:
    network = api.network
    made = api.load_balancer(vip_qos_policy_id=None)
    path = f"/loadbalancers/{made['id']}"
    none = _failure("vip_qos_policy_id: the network service of this deployment has no QoS policies.")
    assert _refused(api, vip_subnet_id=network.subnet_id, vip_qos_policy_id=UNKNOWN) == none
    for policy in (UNKNOWN, None):
        assert api.refused(400, "PUT", path, {"loadbalancer": {"vip_qos_policy_id": policy}}) == none
    policy = str(uuid.uuid4())
    network.create_qos_policy(QosPolicy(policy, "slow"))
    assert _refused(api, vip_subnet_id=network.subnet_id, vip_qos_policy_id=UNKNOWN) == f"QoS Policy {UNKNOWN} not found."
    assert api.refused(400, "PUT", path, {"loadbalancer": {"vip_qos_policy_id": UNKNOWN}}) == f"QoS Policy {UNKNOWN} not found."
    limited = api.load_balancer(vip_qos_policy_id=policy)
    assert api.row(tables.load_balancers, limited["id"])["qos_generation"] == 1
    assert (limited["vip_qos_policy_id"], network.get_port(limited["vip_port_id"]).qos_policy_id) == (policy, policy)
    assert api.row(tables.load_balancers, made["id"])["qos_generation"] == 0
    for wanted in (policy, None):
        shown = api.ok("PUT", path, {"loadbalancer": {"vip_qos_policy_id": wanted}})["loadbalancer"]
        assert shown["vip_qos_policy_id"] == wanted
        row = api.row(tables.load_balancers, made["id"])
        assert row["qos_generation"] == row["generation"]  # so that a worker writes it


def test_security_groups_on_a_vip_must_exist_and_be_of_use(lenient: Api) -> None:
    groups = [lenient.security_group(), lenient.security_group()]
    missing = f"Security Group {UNKNOWN} not found."
    assert _refused(lenient, vip_subnet_id=lenient.network.subnet_id, vip_sg_ids=[groups[0], UNKNOWN]) == missing
    made = lenient.load_balancer(vip_sg_ids=[*groups, groups[0]])
    assert made["vip_sg_ids"] == groups
    assert lenient.row(tables.load_balancers, made["id"])["vip_generation"] == 1  # so that a worker puts them on the VIP
    path = f"/loadbalancers/{made['id']}"
    assert lenient.refused(400, "PUT", path, {"loadbalancer": {"vip_sg_ids": [UNKNOWN]}}) == missing
    assert lenient.ok("PUT", path, {"loadbalancer": {"vip_sg_ids": groups[:1]}})["loadbalancer"]["vip_sg_ids"] == groups[:1]
    assert lenient.ok("PUT", path, {"loadbalancer": {"vip_sg_ids": None}})["loadbalancer"]["vip_sg_ids"] == []
    row = lenient.row(tables.load_balancers, made["id"])
    assert row["vip_generation"] == row["generation"] == 3
    data = json.dumps({"sriov_vip": True})
    profile = lenient.create("flavorprofile", "/flavorprofiles", name="p", provider_name="amphora", flavor_data=data)
    flavor = lenient.create("flavor", "/flavors", name="f", flavor_profile_id=profile["id"])["id"]
    useless = _failure("vip_sg_ids: security groups have no effect on a VIP of type direct (SR-IOV).")
    assert _refused(lenient, vip_subnet_id=lenient.network.subnet_id, flavor_id=flavor, vip_sg_ids=groups) == useless
    direct = lenient.load_balancer(flavor_id=flavor)
    assert direct["vip_vnic_type"] == "direct"
    assert lenient.refused(400, "PUT", f"/loadbalancers/{direct['id']}", {"loadbalancer": {"vip_sg_ids": groups}}) == useless
    lenient.ok("PUT", f"/loadbalancers/{direct['id']}", {"loadbalancer": {"vip_sg_ids": []}})


# Whose objects a body names


@pytest.fixture
def tenant(api_with: Any) -> Any:
    """Makes an application whose callers are who they say they are; what is on the network `theirs` belongs to another project."""

    def make(options: dict[tuple[str, str], Any] | None = None) -> tuple[Api, dict[str, Any]]:
        pairs = [item for option in (options or {}).items() for item in option]
        api: Api = api_with(("api_settings", "auth_strategy"), "testing", (SETTINGS, "refuse_unsupported"), False, *pairs)
        network = api.network.create_network("theirs")
        subnet = api.network.create_subnet("theirs", "theirs", "192.0.2.0/24")
        port = api.network.create_port("theirs", network, subnet)
        api.network.give(network, OTHER)
        policy = QosPolicy(str(uuid.uuid4()), "theirs", OTHER)
        api.network.create_qos_policy(policy)
        group = api.security_group(OTHER)
        return api, {"network": network, "subnet": subnet, "port": port.id, "policy": policy.id, "group": group}

    return make


def _as(api: Api, project_id: str, roles: str, method: str, path: str, body: Any) -> tuple[int, str]:
    headers = {"X-Project-Id": project_id, "X-User-Id": "u", "X-Roles": roles}
    answer = api.send(method, path, body, headers=headers)
    return answer.status_code, (answer.get_json() or {}).get("faultstring", "")


def _wishes(api: Api, theirs: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """What is not found, and a body that names it."""
    place = {"vip_subnet_id": api.network.subnet_id}
    return [
        (f"Subnet {theirs['subnet']}", {"vip_subnet_id": theirs["subnet"]}),
        (f"Network {theirs['network']}", {"vip_network_id": theirs["network"]}),
        (f"Port {theirs['port']}", {"vip_port_id": theirs["port"]}),
        (f"QoS Policy {theirs['policy']}", place | {"vip_qos_policy_id": theirs["policy"]}),
        (f"Security Group {theirs['group']}", place | {"vip_sg_ids": [theirs["group"]]}),
        (f"Subnet {theirs['subnet']}", place | {"additional_vips": [{"subnet_id": theirs["subnet"]}]}),
    ]


def test_what_belongs_to_another_project_is_not_there(tenant: Any) -> None:
    api, theirs = tenant()
    for named, fields in _wishes(api, theirs):
        assert _as(api, PROJECT, "member", "POST", "/loadbalancers", {"loadbalancer": fields}) == (400, f"{named} not found.")
    member = {"address": "192.0.2.9", "protocol_port": 80, "subnet_id": theirs["subnet"]}
    whole = {"name": "w", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN", "members": [member]}
    body = {"loadbalancer": {"vip_subnet_id": api.network.subnet_id, "pools": [whole]}}
    missing = (404, f"Subnet {theirs['subnet']} not found.")
    assert _as(api, PROJECT, "member", "POST", "/loadbalancers", body) == missing
    body["loadbalancer"]["pools"] = [whole | {"members": []}]
    assert _as(api, PROJECT, "member", "POST", "/loadbalancers", body)[0] == 201
    shown = api.send("GET", "/pools", headers={"X-Project-Id": PROJECT, "X-Roles": "reader"}).get_json()["pools"][0]["id"]
    assert _as(api, PROJECT, "member", "POST", f"/pools/{shown}/members", {"member": member}) == missing
    assert _as(api, PROJECT, "member", "PUT", f"/pools/{shown}/members", {"members": [member]}) == missing


@pytest.mark.parametrize(
    ("project", "roles", "options"),
    [(OTHER, "member", {}), (PROJECT, "admin", {}), (PROJECT, "member", {("networking", "allow_invisible_resource_usage"): True})],
)
def test_who_may_name_it(tenant: Any, project: str, roles: str, options: dict[Any, Any]) -> None:
    api, theirs = tenant(options)
    for named, fields in _wishes(api, theirs):
        status, said = _as(api, project, roles, "POST", "/loadbalancers", {"loadbalancer": fields})
        assert "not found" not in said, named
        assert status == 201 or "additional_vips: subnet" in said, (named, said)
