"""What every network driver promises. The same suite runs on the fake and on the embedded network."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import pathlib
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from controller import exceptions
from controller.embedded import bridge, fake, linux, local, networking
from controller.model.network import AccessRule, Network, Port, SecurityGroup, VipRequest

PROJECT = "project-1"


@pytest.fixture
def fake_network() -> Iterator[fake.FakeNetwork]:
    cloud = f"contract-{uuid.uuid4()}"
    yield fake.FakeNetwork(cloud)
    fake.FakeNetwork.forget(cloud)


@pytest.fixture
def bridge_network(tmp_path: pathlib.Path) -> Iterator[bridge.BridgeNetwork]:
    if os.geteuid() != 0:
        pytest.skip("needs root: it makes network namespaces")
    driver = bridge.BridgeNetwork(
        state_path=tmp_path,
        namespace_prefix=f"figlina-t{os.getpid()}-{uuid.uuid4().hex[:6]}",
        management_cidr="198.19.0.0/20",
        private_cidr="198.19.64.0/28",
        public_cidr="198.19.128.0/24",
    )
    try:
        driver.install()
        yield driver
        lost = lost_by_filter(driver)
        assert lost == set(), "whatever a test did, the kernel says what the inventory says"
    finally:
        driver.remove()


def lost_by_filter(driver: bridge.BridgeNetwork) -> set[str]:
    with driver._inventory.read() as contents:
        return driver._lost_by_filter(contents)


@pytest.fixture(params=["fake", pytest.param("bridge", marks=pytest.mark.integration)])
def network(request: pytest.FixtureRequest) -> local.LocalNetwork:
    driver: local.LocalNetwork = request.getfixturevalue(f"{request.param}_network")
    return driver


@pytest.fixture(params=[4, 6], ids=["ipv4", "ipv6"])
def private(network: local.LocalNetwork, request: pytest.FixtureRequest) -> Network:
    """A tenant network: the one that is there from the beginning, or one of IPv6 that a tenant made."""
    if request.param == 6:
        values = {"name": "six", "project_id": PROJECT, "shared": True, "router:external": False, "mtu": 1500}
        made = network.create(networking.NETWORK, values)["id"]
        network.create(networking.SUBNET, {"name": "six", "network_id": made, "cidr": "fd00:f161::/124", "project_id": PROJECT})
        return network.get_network(made)
    if isinstance(network, bridge.BridgeNetwork):
        return network.network_named("private")
    assert isinstance(network, fake.FakeNetwork)
    return network.get_network(network.network_id)


def new_id() -> str:
    return str(uuid.uuid4())


def on(network: Network, **parts: str) -> VipRequest:
    return VipRequest(network_id=network.id, **parts)


def free_address(network: local.LocalNetwork, private: Network, place: int = 7) -> str:
    return str(ipaddress.ip_network(network.get_subnet(private.subnet_ids[0]).cidr)[place])


# Looking


def test_a_network_names_its_subnets_and_they_name_it(network: local.LocalNetwork, private: Network) -> None:
    assert private.mtu >= 1280
    for subnet_id in private.subnet_ids:
        assert network.get_subnet(subnet_id).network_id == private.id


@pytest.mark.parametrize(("method", "kind"), [("get_network", "Network"), ("get_subnet", "Subnet"), ("get_port", "Port")])
def test_what_does_not_exist_is_not_found_by_its_kind(network: local.LocalNetwork, method: str, kind: str) -> None:
    with pytest.raises(exceptions.NotFound) as caught:
        getattr(network, method)(new_id())
    assert caught.value.kind == kind


# VIPs


def test_a_vip_gets_an_address_of_its_subnet_and_a_port_named_after_the_load_balancer(
    network: local.LocalNetwork, private: Network
) -> None:
    load_balancer_id = new_id()
    vip = network.allocate_vip(load_balancer_id, PROJECT, on(private))
    port = network.get_port(vip.port_id)
    assert port.name == f"octavia-lb-{load_balancer_id}"
    assert port.device_id == f"lb-{load_balancer_id}"
    assert port.device_owner == "Octavia"
    assert port.project_id == PROJECT
    assert [fixed.ip_address for fixed in port.fixed_ips] == [vip.address]
    assert ipaddress.ip_address(vip.address) in ipaddress.ip_network(network.get_subnet(vip.subnet_id).cidr)
    assert vip.port_is_ours


def test_allocating_a_vip_twice_gives_the_first_one(network: local.LocalNetwork, private: Network) -> None:
    load_balancer_id = new_id()
    assert network.allocate_vip(load_balancer_id, PROJECT, on(private)) == network.allocate_vip(load_balancer_id, PROJECT, on(private))


def test_a_vip_has_the_address_that_was_asked_for(network: local.LocalNetwork, private: Network) -> None:
    wanted = free_address(network, private)
    assert network.allocate_vip(new_id(), PROJECT, on(private, address=wanted)).address == wanted


def test_a_subnet_alone_is_enough_for_a_vip(network: local.LocalNetwork, private: Network) -> None:
    vip = network.allocate_vip(new_id(), PROJECT, VipRequest(subnet_id=private.subnet_ids[0]))
    assert (vip.network_id, vip.subnet_id) == (private.id, private.subnet_ids[0])


def test_an_address_that_is_taken_is_a_conflict(network: local.LocalNetwork, private: Network) -> None:
    wanted = free_address(network, private)
    network.allocate_vip(new_id(), PROJECT, on(private, address=wanted))
    with pytest.raises(exceptions.Conflict, match=wanted):
        network.allocate_vip(new_id(), PROJECT, on(private, address=wanted))


@pytest.mark.parametrize("address", ["203.0.113.9", "2001:db8::9"])
def test_an_address_outside_the_network_is_refused(network: local.LocalNetwork, private: Network, address: str) -> None:
    with pytest.raises(exceptions.InvalidRequest):
        network.allocate_vip(new_id(), PROJECT, on(private, address=address))
    with pytest.raises(exceptions.InvalidRequest, match=address):
        network.allocate_vip(new_id(), PROJECT, on(private, subnet_id=private.subnet_ids[0], address=address))


def test_the_first_and_last_address_of_a_subnet_are_refused(network: local.LocalNetwork, private: Network) -> None:
    for place in (0, -1):
        with pytest.raises(exceptions.InvalidRequest):
            network.allocate_vip(new_id(), PROJECT, on(private, address=free_address(network, private, place)))


def test_an_unknown_network_subnet_or_port_is_not_found(network: local.LocalNetwork) -> None:
    for kind, request in {
        "Network": VipRequest(network_id=new_id()),
        "Subnet": VipRequest(subnet_id=new_id()),
        "Port": VipRequest(port_id=new_id()),
    }.items():
        with pytest.raises(exceptions.NotFound) as caught:
            network.allocate_vip(new_id(), PROJECT, request)
        assert caught.value.kind == kind


def test_a_subnet_of_another_network_is_refused(network: local.LocalNetwork, private: Network) -> None:
    elsewhere = network.ensure_management_port(new_id())
    with pytest.raises(exceptions.InvalidRequest):
        network.allocate_vip(new_id(), PROJECT, on(private, subnet_id=elsewhere.fixed_ips[0].subnet_id))


def test_a_failed_allocation_leaves_nothing(network: local.LocalNetwork, private: Network) -> None:
    before = list(network.list_ours())
    with pytest.raises(exceptions.InvalidRequest):
        network.allocate_vip(new_id(), PROJECT, on(private, subnet_id=private.subnet_ids[0], address="203.0.113.9"))
    assert list(network.list_ours()) == before


def test_a_tenants_port_is_adopted_and_given_back(network: local.LocalNetwork, private: Network) -> None:
    port = network.create_port("mine", private.id, private.subnet_ids[0])
    load_balancer_id = new_id()
    vip = network.allocate_vip(load_balancer_id, PROJECT, VipRequest(port_id=port.id))
    assert (vip.port_id, vip.address, vip.port_is_ours) == (port.id, port.fixed_ips[0].ip_address, False)
    assert network.get_port(port.id).device_id == f"lb-{load_balancer_id}"
    assert [one.device_id for one in network.list_ours()] == [f"lb-{load_balancer_id}"], "should no row explain it, it is given back"
    assert network.update(networking.PORT, port.id, {"name": "renamed"})["name"] == "renamed"
    network.deallocate_vip(load_balancer_id, vip)
    network.deallocate_vip(load_balancer_id, vip)
    assert network.get_port(port.id).device_id == ""


def test_adopting_twice_is_fine_but_a_port_in_use_is_refused(network: local.LocalNetwork, private: Network) -> None:
    port = network.create_port("mine", private.id, private.subnet_ids[0])
    first, request = new_id(), VipRequest(port_id=port.id)
    assert network.allocate_vip(first, PROJECT, request) == network.allocate_vip(first, PROJECT, request)
    with pytest.raises(exceptions.InvalidRequest, match=port.id):
        network.allocate_vip(new_id(), PROJECT, request)


def test_a_port_that_does_not_have_the_address_asked_for_is_refused(network: local.LocalNetwork, private: Network) -> None:
    port = network.create_port("mine", private.id, private.subnet_ids[0])
    with pytest.raises(exceptions.InvalidRequest):
        network.allocate_vip(new_id(), PROJECT, VipRequest(port_id=port.id, address="203.0.113.9"))


def test_deallocating_frees_the_address(network: local.LocalNetwork, private: Network) -> None:
    load_balancer_id = new_id()
    vip = network.allocate_vip(load_balancer_id, PROJECT, on(private))
    network.deallocate_vip(load_balancer_id, vip)
    network.deallocate_vip(load_balancer_id, vip)
    with pytest.raises(exceptions.NotFound):
        network.get_port(vip.port_id)
    assert network.allocate_vip(new_id(), PROJECT, on(private, address=vip.address)).address == vip.address


# Ports of amphorae


def test_every_kind_of_port_is_made_once(network: local.LocalNetwork, private: Network) -> None:
    amphora_id, load_balancer_id = new_id(), new_id()
    vip = network.allocate_vip(load_balancer_id, PROJECT, on(private))
    for _ in range(2):
        management = network.ensure_management_port(amphora_id)
        vrrp = network.ensure_vrrp_port(amphora_id, load_balancer_id, vip)
        member = network.ensure_member_port(amphora_id, private.id, private.subnet_ids)
    ours = {port.id: port for port in network.list_ours()}
    assert set(ours) == {vip.port_id, management.id, vrrp.id, member.id}
    assert {port.device_id for port in (management, vrrp, member)} == {amphora_id}
    assert len({port.mac_address for port in ours.values()}) == 4


def test_a_vrrp_port_lies_on_the_vips_subnet_with_an_address_of_its_own(network: local.LocalNetwork, private: Network) -> None:
    amphora_id, load_balancer_id = new_id(), new_id()
    vip = network.allocate_vip(load_balancer_id, PROJECT, on(private))
    port = network.ensure_vrrp_port(amphora_id, load_balancer_id, vip)
    assert port.name == f"octavia-lb-vrrp-{amphora_id}"
    assert port.network_id == vip.network_id
    assert [fixed.subnet_id for fixed in port.fixed_ips] == [vip.subnet_id]
    assert port.fixed_ips[0].ip_address != vip.address


def test_a_member_port_has_one_address_per_subnet(network: local.LocalNetwork, private: Network) -> None:
    amphora_id = new_id()
    port = network.ensure_member_port(amphora_id, private.id, private.subnet_ids)
    assert port.name == f"octavia-lb-member-{amphora_id}"
    assert sorted(fixed.subnet_id for fixed in port.fixed_ips) == sorted(private.subnet_ids)


def test_a_member_port_on_an_unknown_network_is_not_found(network: local.LocalNetwork) -> None:
    with pytest.raises(exceptions.NotFound):
        network.ensure_member_port(new_id(), new_id(), [])


def test_deleting_an_amphoras_ports_leaves_those_of_others(network: local.LocalNetwork, private: Network) -> None:
    gone, stays, load_balancer_id = new_id(), new_id(), new_id()
    vip = network.allocate_vip(load_balancer_id, PROJECT, on(private))
    for amphora_id in (gone, stays):
        network.ensure_management_port(amphora_id)
        network.ensure_vrrp_port(amphora_id, load_balancer_id, vip)
    network.delete_amphora_ports(gone)
    network.delete_amphora_ports(gone)
    assert {port.device_id for port in network.list_ours()} == {stays, f"lb-{load_balancer_id}"}


def test_a_full_subnet_says_so(bridge_or_fake_small: tuple[local.LocalNetwork, str]) -> None:
    network, subnet_id = bridge_or_fake_small
    request = VipRequest(subnet_id=subnet_id)
    free = 13 if network.get_subnet(subnet_id).gateway_ip else 14
    addresses = {network.allocate_vip(new_id(), PROJECT, request).address for _ in range(free)}
    assert len(addresses) == free
    with pytest.raises(exceptions.InvalidRequest, match="no free address"):
        network.allocate_vip(new_id(), PROJECT, request)


@pytest.fixture
def bridge_or_fake_small(network: local.LocalNetwork, private: Network) -> tuple[local.LocalNetwork, str]:
    """A subnet with 14 addresses, of which its gateway may have one."""
    if isinstance(network, fake.FakeNetwork):
        network.create_network("small")
        return network, network.create_subnet("small", "small-subnet", "192.0.2.0/28")
    return network, private.subnet_ids[0]


# Access


def test_access_is_what_was_set_last(network: local.LocalNetwork, private: Network) -> None:
    load_balancer_id = new_id()
    vip = network.allocate_vip(load_balancer_id, PROJECT, on(private))
    network.ensure_vrrp_port(new_id(), load_balancer_id, vip)
    web, office = AccessRule("tcp", 80), AccessRule("udp", 53, "192.0.2.0/24")
    vrrp, six = AccessRule("vrrp", None, "192.0.2.7/32", True), AccessRule("tcp", 443, "2001:db8::/32")
    for rules in ([web, vrrp], [web, office, six], [web, office, six], [office], []):
        network.set_vip_access(load_balancer_id, vip, rules)
        assert network.vip_access(load_balancer_id) == frozenset(rules)
    network.delete_vip_access(load_balancer_id)
    network.delete_vip_access(load_balancer_id)
    assert groups_of(network, vip.port_id) == []


def test_a_vip_is_born_with_a_group_of_the_services_own_that_says_what_listeners_open(
    network: local.LocalNetwork, private: Network
) -> None:
    load_balancer_id = new_id()
    vip = network.allocate_vip(load_balancer_id, PROJECT, on(private))
    (own,) = groups_of(network, vip.port_id)
    assert network.get_security_group(own) == SecurityGroup(own, f"lb-{load_balancer_id}", networking.SERVICE_PROJECT)
    assert groups_of(network, network.ensure_vrrp_port(new_id(), load_balancer_id, vip).id) == [own]
    network.set_vip_access(load_balancer_id, vip, [AccessRule("tcp", 80, "192.0.2.0/24")])
    rules = {
        (one["direction"], one["ethertype"], one["protocol"], one["port_range_min"], one["port_range_max"], one["remote_ip_prefix"])
        for one in network.document(networking.SECURITY_GROUP, own)["security_group_rules"]
    }
    out = {("egress", ethertype, None, None, None, None) for ethertype in ("IPv4", "IPv6")}
    assert rules == out | {("ingress", "IPv4", "tcp", 80, 80, "192.0.2.0/24")}
    network.deallocate_vip(load_balancer_id, vip)
    with pytest.raises(exceptions.NotFound):
        network.get_security_group(own)


def test_the_services_own_group_is_changed_by_nobody_else(network: local.LocalNetwork, private: Network) -> None:
    vip = network.allocate_vip(new_id(), PROJECT, on(private))
    (own,) = groups_of(network, vip.port_id)
    (rule, *_) = network.document(networking.SECURITY_GROUP, own)["security_group_rules"]
    network.update(networking.PORT, vip.port_id, {"security_groups": []})
    values = {"security_group_id": own, "direction": "ingress", "ethertype": "IPv4"}
    for change in (
        lambda: network.delete(networking.SECURITY_GROUP, own),
        lambda: network.update(networking.SECURITY_GROUP, own, {"name": "mine"}),
        lambda: network.create(networking.SECURITY_GROUP_RULE, values),
        lambda: group(network, remote_group_id=own),
        lambda: network.delete(networking.SECURITY_GROUP_RULE, rule["id"]),
    ):
        with pytest.raises(networking.NetworkConflict):
            change()


def test_a_tenants_port_keeps_its_groups_beside_the_services_while_it_is_a_vip(network: local.LocalNetwork, private: Network) -> None:
    load_balancer_id, mine = new_id(), group(network)
    values = {"name": "mine", "network_id": private.id, "project_id": PROJECT, "security_groups": [mine]}
    port = network.create(networking.PORT, values)["id"]
    vip = network.allocate_vip(load_balancer_id, PROJECT, VipRequest(port_id=port))
    both = groups_of(network, port)
    assert len(both) == 2
    assert mine in both
    assert groups_of(network, network.ensure_vrrp_port("amphora-1", load_balancer_id, vip).id) == both
    network.delete_amphora_ports("amphora-1")
    network.deallocate_vip(load_balancer_id, vip)
    assert groups_of(network, port) == [mine]
    network.delete(networking.PORT, port)


def test_a_port_that_only_says_that_it_is_a_vip_is_none(network: local.LocalNetwork, private: Network) -> None:
    load_balancer_id, theirs = new_id(), group(network)
    vip = network.allocate_vip(load_balancer_id, PROJECT, on(private))
    before = groups_of(network, vip.port_id)
    carrier = network.ensure_vrrp_port(new_id(), load_balancer_id, vip)
    values = {"name": "liar", "network_id": private.id, "project_id": "another", "device_id": f"lb-{load_balancer_id}"}
    liar = network.create(networking.PORT, values)["id"]
    network.update(networking.PORT, liar, {"security_groups": [theirs]})
    assert groups_of(network, vip.port_id) == groups_of(network, carrier.id) == before
    assert groups_of(network, network.ensure_vrrp_port(new_id(), load_balancer_id, vip).id) == before
    network.delete(networking.PORT, liar)


# Security groups


def group(network: local.LocalNetwork, name: str = "web", **rule: Any) -> str:
    """A security group of a tenant, with one rule more than it is born with."""
    made: str = network.create(networking.SECURITY_GROUP, {"name": name, "project_id": PROJECT})["id"]
    values = {"direction": "ingress", "ethertype": "IPv4", "protocol": "tcp", "port_range_min": 80, "port_range_max": 80, **rule}
    network.create(networking.SECURITY_GROUP_RULE, {"security_group_id": made, **values})
    return made


def test_a_security_group_is_known_by_its_id(network: local.LocalNetwork) -> None:
    made = group(network)
    assert network.get_security_group(made) == SecurityGroup(made, "web", PROJECT)
    with pytest.raises(exceptions.NotFound) as caught:
        network.get_security_group(new_id())
    assert caught.value.kind == "SecurityGroup"


def test_groups_of_a_vip_follow_to_the_ports_that_carry_it(network: local.LocalNetwork, private: Network) -> None:
    load_balancer_id, first, second = new_id(), group(network, "first"), group(network, "second")
    vip = network.allocate_vip(load_balancer_id, PROJECT, on(private))
    own = groups_of(network, vip.port_id)
    before = network.ensure_vrrp_port(new_id(), load_balancer_id, vip)
    for wanted in ([first], [first, second], [first, second], [second]):
        network.set_vip_security_groups(load_balancer_id, vip, wanted)
        assert sorted(groups_of(network, vip.port_id)) == sorted(wanted)
        assert sorted(groups_of(network, before.id)) == sorted(wanted)
    after = network.ensure_vrrp_port(new_id(), load_balancer_id, vip)
    assert groups_of(network, after.id) == [second]
    network.set_vip_security_groups(load_balancer_id, vip, [])
    assert groups_of(network, vip.port_id) == groups_of(network, before.id) == groups_of(network, after.id) == own


def groups_of(network: local.LocalNetwork, port_id: str) -> list[str]:
    found: list[str] = network.document(networking.PORT, port_id)["security_groups"]
    return found


def test_an_unknown_group_changes_nothing(network: local.LocalNetwork, private: Network) -> None:
    load_balancer_id, known = new_id(), group(network)
    vip = network.allocate_vip(load_balancer_id, PROJECT, on(private))
    network.set_vip_security_groups(load_balancer_id, vip, [known])
    with pytest.raises(exceptions.NotFound) as caught:
        network.set_vip_security_groups(load_balancer_id, vip, [known, new_id()])
    assert caught.value.kind == "SecurityGroup"
    assert groups_of(network, vip.port_id) == [known]


def test_a_vip_with_groups_and_a_floating_ip_can_be_given_back(network: local.LocalNetwork, private: Network) -> None:
    load_balancer_id, known = new_id(), group(network)
    vip = network.allocate_vip(load_balancer_id, PROJECT, on(private))
    network.set_vip_security_groups(load_balancer_id, vip, [known])
    if ":" in vip.address:  # floating IPs are of IPv4, and lead to IPv4
        with pytest.raises(networking.NetworkInvalid, match="does not have the fixed IPv4 address"):
            floating_ip(network, port_id=vip.port_id)
        network.deallocate_vip(load_balancer_id, vip)
    else:
        floating = floating_ip(network, port_id=vip.port_id)
        assert (floating["fixed_ip_address"], floating["status"]) == (vip.address, "ACTIVE")
        network.deallocate_vip(load_balancer_id, vip)
        assert network.document(networking.FLOATING_IP, floating["id"])["status"] == "DOWN"
    network.delete(networking.SECURITY_GROUP, known)


def floating_ip(network: local.LocalNetwork, **more: Any) -> networking.Document:
    (public,) = [one["id"] for one in network.documents(networking.NETWORK) if one["router:external"]]
    return network.create(networking.FLOATING_IP, {"floating_network_id": public, "project_id": PROJECT, **more})


def test_a_group_that_a_port_has_can_not_be_deleted(network: local.LocalNetwork, private: Network) -> None:
    load_balancer_id, known = new_id(), group(network)
    vip = network.allocate_vip(load_balancer_id, PROJECT, on(private))
    network.set_vip_security_groups(load_balancer_id, vip, [known])
    with pytest.raises(networking.NetworkConflict) as caught:
        network.delete(networking.SECURITY_GROUP, known)
    assert caught.value.type == "SecurityGroupInUse"


def test_a_group_that_others_rules_name_takes_those_rules_with_it(network: local.LocalNetwork) -> None:
    named = group(network, "named")
    naming = group(network, "naming", remote_group_id=named)
    network.delete(networking.SECURITY_GROUP, named)
    rules = network.document(networking.SECURITY_GROUP, naming)["security_group_rules"]
    assert {rule["direction"] for rule in rules} == {"egress"}


# Networks, routers, floating IPs


def test_a_network_of_a_tenant_takes_vips_and_goes_when_it_is_empty(network: local.LocalNetwork) -> None:
    values = {"name": "mine", "project_id": PROJECT, "shared": False, "router:external": False, "mtu": 1400}
    made = network.create(networking.NETWORK, values)["id"]
    subnet = network.create(networking.SUBNET, {"name": "s", "project_id": PROJECT, "network_id": made, "cidr": "10.77.0.0/24"})
    assert (subnet["gateway_ip"], subnet["allocation_pools"]) == ("10.77.0.1", [{"start": "10.77.0.2", "end": "10.77.0.254"}])
    load_balancer_id = new_id()
    vip = network.allocate_vip(load_balancer_id, PROJECT, VipRequest(network_id=made))
    network.ensure_vrrp_port("amphora-1", load_balancer_id, vip)
    with pytest.raises(networking.NetworkConflict):
        network.delete(networking.NETWORK, made)
    network.delete_amphora_ports("amphora-1")
    network.deallocate_vip(load_balancer_id, vip)
    network.delete(networking.NETWORK, made)
    with pytest.raises(exceptions.NotFound):
        network.get_subnet(subnet["id"])


def test_a_floating_ip_needs_a_router_that_leads_there(network: local.LocalNetwork) -> None:
    values = {"name": "mine", "project_id": PROJECT, "shared": False, "router:external": False, "mtu": 1500}
    made = network.create(networking.NETWORK, values)["id"]
    subnet = network.create(networking.SUBNET, {"name": "s", "project_id": PROJECT, "network_id": made, "cidr": "10.77.0.0/24"})["id"]
    vip = network.allocate_vip(new_id(), PROJECT, VipRequest(subnet_id=subnet))
    floating = floating_ip(network)
    with pytest.raises(exceptions.NotFound) as caught:
        network.update(networking.FLOATING_IP, floating["id"], {"port_id": vip.port_id})
    assert caught.value.kind == "ExternalGatewayForFloatingIP"
    router = network.create(
        networking.ROUTER,
        {"name": "r", "project_id": PROJECT, "external_gateway_info": {"network_id": floating["floating_network_id"]}},
    )["id"]
    network.add_router_interface(router, subnet, None)
    assert network.update(networking.FLOATING_IP, floating["id"], {"port_id": vip.port_id})["router_id"] == router
    with pytest.raises(networking.NetworkConflict):
        network.remove_router_interface(router, subnet, None)
    network.delete(networking.FLOATING_IP, floating["id"])
    network.remove_router_interface(router, subnet, None)
    network.delete(networking.ROUTER, router)


# What somebody deleted behind our back: what housekeeping's comparison reads


def behind_our_back(network: local.LocalNetwork, statement: str, *values: str) -> None:
    """Change the books by a way of one's own: the bridges' file by another connection, and no packet filter learns of it."""
    if isinstance(network, bridge.BridgeNetwork):
        with contextlib.closing(sqlite3.connect(network._inventory._path, timeout=10)) as connection, connection:
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute(statement, values)
    else:
        with network._inventory.change() as contents:
            contents.db.execute(statement, values)


Make = Callable[[], Port]


@pytest.mark.parametrize("kind", local.OURS)
def test_a_port_that_somebody_deleted_is_not_found_until_it_is_made_again(network: local.LocalNetwork, private: Network, kind: str) -> None:
    load_balancer_id, amphora_id = new_id(), new_id()
    vip = network.allocate_vip(load_balancer_id, PROJECT, on(private))
    make: dict[str, Make] = {
        local.VIP: lambda: network.get_port(network.allocate_vip(load_balancer_id, PROJECT, on(private, address=vip.address)).port_id),
        local.VRRP: lambda: network.ensure_vrrp_port(amphora_id, load_balancer_id, vip),
        local.MEMBER: lambda: network.ensure_member_port(amphora_id, private.id, private.subnet_ids),
        local.MANAGEMENT: lambda: network.ensure_management_port(amphora_id),
    }
    ports = {one: make_one() for one, make_one in make.items()}
    behind_our_back(network, "DELETE FROM ports WHERE id = ?", ports[kind].id)
    with pytest.raises(exceptions.NotFound) as caught:
        network.get_port(ports[kind].id)
    assert caught.value.kind == "Port"
    assert {port.id for port in network.list_ours()} == {port.id for one, port in ports.items() if one != kind}
    assert [port.id for port in network.member_ports(amphora_id)] == ([] if kind == local.MEMBER else [ports[local.MEMBER].id])
    again = make[kind]()
    assert network.get_port(again.id) == again
    assert again.id != ports[kind].id
    if kind == local.VIP:
        assert again.fixed_ips == ports[kind].fixed_ips
        assert groups_of(network, again.id) == groups_of(network, ports[local.VRRP].id)


def test_access_that_somebody_changed_is_told_and_set_back(network: local.LocalNetwork, private: Network) -> None:
    load_balancer_id = new_id()
    vip = network.allocate_vip(load_balancer_id, PROJECT, on(private))
    network.ensure_vrrp_port(new_id(), load_balancer_id, vip)
    rules = [AccessRule("tcp", 80), AccessRule("udp", 53), AccessRule("vrrp", None, "192.0.2.7/32", True)]
    network.set_vip_access(load_balancer_id, vip, rules)
    (own,) = groups_of(network, vip.port_id)
    behind_our_back(network, "DELETE FROM security_group_rules WHERE security_group_id = ? AND protocol = 'udp'", own)
    assert network.vip_access(load_balancer_id) == {rules[0], rules[2]}
    behind_our_back(network, "UPDATE security_group_rules SET port_min = 22 WHERE security_group_id = ? AND protocol = 'tcp'", own)
    assert network.vip_access(load_balancer_id) == {AccessRule("tcp", 22), rules[2]}
    behind_our_back(network, "DELETE FROM pair_rules WHERE load_balancer_id = ?", load_balancer_id)
    assert network.vip_access(load_balancer_id) == {AccessRule("tcp", 22)}
    network.set_vip_access(load_balancer_id, vip, rules)
    assert network.vip_access(load_balancer_id) == frozenset(rules)
    network.delete_vip_access(load_balancer_id)
    assert network.vip_access(load_balancer_id) == frozenset()


def test_a_filter_that_says_what_the_books_say_is_left_alone(network: local.LocalNetwork, private: Network) -> None:
    assert network.mend_filter() == frozenset()
    load_balancer_id = new_id()
    vip = network.allocate_vip(load_balancer_id, PROJECT, on(private))
    network.ensure_vrrp_port(new_id(), load_balancer_id, vip)
    network.set_vip_access(load_balancer_id, vip, [AccessRule("tcp", port) for port in (80, 443, 8080)])
    assert network.mend_filter() == frozenset()


DAMAGE = {
    "a rule": "flush chain bridge figlina sgi_{group}",
    "a port's rules": "flush chain bridge figlina to_{cable}",
    "what leads to a port's rules": "delete element bridge figlina closed {{ {cable} }}",
    "an address that it may send from": "delete element bridge figlina senders{version} {{ {cable} . {address} }}",
    "another rule instead": "flush chain bridge figlina sgi_{group}\nadd rule bridge figlina sgi_{group} accept",
    "a rule more": "insert rule bridge figlina to_{cable} accept",
    "a rule of everybody's": "flush chain bridge figlina answers_only",
    "the way into it": "flush chain bridge figlina forward",
    "all of it": "flush ruleset",
}


@pytest.mark.integration
@pytest.mark.parametrize("what", DAMAGE)
def test_what_somebody_takes_out_of_the_kernels_filter_is_found_and_put_back(bridge_network: bridge.BridgeNetwork, what: str) -> None:
    network, private = bridge_network, bridge_network.network_named("private")
    ports, vips = {}, {}
    for load_balancer_id in ("lb-1", "lb-2"):
        vips[load_balancer_id] = vip = network.allocate_vip(load_balancer_id, PROJECT, on(private))
        ports[load_balancer_id] = network.ensure_vrrp_port(f"amphora-{load_balancer_id}", load_balancer_id, vip)
        network.ensure_management_port(f"amphora-{load_balancer_id}")
        network.set_vip_access(load_balancer_id, vip, [AccessRule("tcp", port) for port in (80, 443)])
    whole = listed(network)
    words = {
        "group": groups_of(network, vips["lb-1"].port_id)[0].replace("-", "_"),
        "cable": linux.cable_name(ports["lb-1"].id),
        "address": ports["lb-1"].fixed_ips[0].ip_address,
        "version": ipaddress.ip_address(ports["lb-1"].fixed_ips[0].ip_address).version,
    }
    linux.Host().inside(network.namespace, ["nft", "-f", "-"], DAMAGE[what].format(**words) + "\n")
    assert listed(network) != whole
    everybody = what in ("a rule of everybody's", "the way into it", "all of it")
    assert network.mend_filter() == ({"lb-1", "lb-2"} if everybody else {"lb-1"})
    assert listed(network) == whole
    assert network.mend_filter() == frozenset()


def listed(network: bridge.BridgeNetwork) -> list[str]:
    """The filter as nft tells it; what the kernel keeps in no order is sorted."""
    text = linux.Host().inside(network.namespace, ["nft", "--stateless", "list", "ruleset"])
    return sorted(text.replace(",", "\n").replace("elements = {", "\n").split())
