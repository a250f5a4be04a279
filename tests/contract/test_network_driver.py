"""What every network driver promises, on every cloud of `conftest.py`."""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Callable
from typing import Any

import pytest

from controller import exceptions
from controller.model.network import AccessRule, Network, Port, SecurityGroup, VipRequest
from tests.contract.cloud import Cloud, new_id
from tests.contract.conftest import CLOUDS, OPENSTACKS

pytestmark = pytest.mark.parametrize("cloud", [*CLOUDS, *OPENSTACKS], indirect=True)


@pytest.fixture(params=["198.18.7.0/28", "fd00:f161::/124"], ids=["ipv4", "ipv6"])
def private(cloud: Cloud, request: pytest.FixtureRequest) -> Network:
    """A network of a tenant, with 14 addresses, of which its gateway may have one."""
    return cloud.a_network(request.param)


def on(network: Network, **parts: Any) -> VipRequest:
    return VipRequest(network_id=network.id, **parts)


def an_address(cloud: Cloud, private: Network, place: int = 7) -> str:
    return str(ipaddress.ip_network(cloud.network.get_subnet(private.subnet_ids[0]).cidr)[place])


def access(cloud: Cloud, load_balancer_id: str) -> frozenset[AccessRule]:
    """What reaches a VIP, if the driver can tell."""
    found = cloud.network.vip_access(load_balancer_id)
    if found is None:
        pytest.skip("this driver can't tell what reaches a VIP")
    return found


# Looking


def test_a_network_names_its_subnets_and_they_name_it(cloud: Cloud, private: Network) -> None:
    assert private.mtu >= 1280
    for subnet_id in private.subnet_ids:
        assert cloud.network.get_subnet(subnet_id).network_id == private.id


@pytest.mark.parametrize(("method", "kind"), [("get_network", "Network"), ("get_subnet", "Subnet"), ("get_port", "Port")])
def test_what_does_not_exist_is_not_found_by_its_kind(cloud: Cloud, method: str, kind: str) -> None:
    with pytest.raises(exceptions.NotFound) as caught:
        getattr(cloud.network, method)(new_id())
    assert caught.value.kind == kind


@pytest.mark.parametrize("kind", ["network", "external_network", "security_group"])
def test_what_is_shared_with_one_project_is_told_of_that_one(cloud: Cloud, kind: str) -> None:
    if not cloud.shares_with_projects:
        pytest.skip("this service shares with everybody or nobody")
    made = cloud.create_security_group("shared") if kind == "security_group" else cloud.create_network()
    theirs, others = (new_id().replace("-", "") for _ in range(2))
    assert not cloud.network.is_shared_with(kind, made, theirs)
    cloud.share(kind, made, theirs)
    assert cloud.network.is_shared_with(kind, made, theirs)
    assert not cloud.network.is_shared_with(kind, made, others)
    assert cloud.network.is_shared_with("network", made, theirs) == (kind == "network")


# VIPs


def test_a_vip_gets_an_address_of_its_subnet_and_a_port_named_after_the_load_balancer(cloud: Cloud, private: Network) -> None:
    load_balancer_id = new_id()
    vip = cloud.network.allocate_vip(load_balancer_id, cloud.project_id, on(private))
    port = cloud.network.get_port(vip.port_id)
    assert port.name == f"octavia-lb-{load_balancer_id}"
    assert port.device_id == f"lb-{load_balancer_id}"
    assert port.device_owner == "Octavia"
    assert port.project_id == cloud.project_id
    assert [fixed.ip_address for fixed in port.fixed_ips] == [vip.address]
    assert ipaddress.ip_address(vip.address) in ipaddress.ip_network(cloud.network.get_subnet(vip.subnet_id).cidr)
    assert vip.port_is_ours


def test_allocating_a_vip_twice_gives_the_first_one(cloud: Cloud, private: Network) -> None:
    load_balancer_id = new_id()
    assert cloud.network.allocate_vip(load_balancer_id, cloud.project_id, on(private)) == cloud.network.allocate_vip(
        load_balancer_id, cloud.project_id, on(private)
    )


def test_a_vip_has_the_address_that_was_asked_for(cloud: Cloud, private: Network) -> None:
    wanted = an_address(cloud, private)
    assert cloud.network.allocate_vip(new_id(), cloud.project_id, on(private, address=wanted)).address == wanted


def test_a_subnet_alone_is_enough_for_a_vip(cloud: Cloud, private: Network) -> None:
    vip = cloud.network.allocate_vip(new_id(), cloud.project_id, VipRequest(subnet_id=private.subnet_ids[0]))
    assert (vip.network_id, vip.subnet_id) == (private.id, private.subnet_ids[0])


def test_an_address_that_is_taken_is_a_conflict(cloud: Cloud, private: Network) -> None:
    wanted = an_address(cloud, private)
    cloud.network.allocate_vip(new_id(), cloud.project_id, on(private, address=wanted))
    with pytest.raises(exceptions.AddressInUse, match=wanted):
        cloud.network.allocate_vip(new_id(), cloud.project_id, on(private, address=wanted))


@pytest.mark.parametrize("address", ["203.0.113.9", "2001:db8::9"])
def test_an_address_outside_the_network_is_refused(cloud: Cloud, private: Network, address: str) -> None:
    with pytest.raises(exceptions.InvalidRequest):
        cloud.network.allocate_vip(new_id(), cloud.project_id, on(private, address=address))
    with pytest.raises(exceptions.AddressNotOnSubnet, match=address):
        cloud.network.allocate_vip(new_id(), cloud.project_id, on(private, subnet_id=private.subnet_ids[0], address=address))


def test_the_first_and_last_address_of_a_subnet_are_refused(cloud: Cloud, private: Network) -> None:
    if cloud.ends_of_ipv6_subnets_are_addresses and cloud.network.get_subnet(private.subnet_ids[0]).ip_version == 6:
        pytest.skip("this service takes them for addresses like any other")
    for place in (0, -1):
        with pytest.raises(exceptions.InvalidRequest):
            cloud.network.allocate_vip(new_id(), cloud.project_id, on(private, address=an_address(cloud, private, place)))


def test_an_unknown_network_subnet_or_port_is_not_found(cloud: Cloud) -> None:
    for kind, request in {
        "Network": VipRequest(network_id=new_id()),
        "Subnet": VipRequest(subnet_id=new_id()),
        "Port": VipRequest(port_id=new_id()),
    }.items():
        with pytest.raises(exceptions.NotFound) as caught:
            cloud.network.allocate_vip(new_id(), cloud.project_id, request)
        assert caught.value.kind == kind


def test_a_subnet_of_another_network_is_refused(cloud: Cloud, private: Network) -> None:
    elsewhere = cloud.a_network("198.18.9.0/28")
    with pytest.raises(exceptions.InvalidRequest):
        cloud.network.allocate_vip(new_id(), cloud.project_id, on(private, subnet_id=elsewhere.subnet_ids[0]))


def test_a_failed_allocation_leaves_nothing(cloud: Cloud, private: Network) -> None:
    load_balancer_id = new_id()
    with pytest.raises(exceptions.InvalidRequest):
        cloud.network.allocate_vip(load_balancer_id, cloud.project_id, on(private, subnet_id=private.subnet_ids[0], address="203.0.113.9"))
    assert cloud.ours(f"lb-{load_balancer_id}") == []


def test_a_tenants_port_is_adopted_and_given_back(cloud: Cloud, private: Network) -> None:
    port, load_balancer_id = cloud.create_port(private.id), new_id()
    vip = cloud.network.allocate_vip(load_balancer_id, cloud.project_id, VipRequest(port_id=port.id))
    assert (vip.port_id, vip.address, vip.port_is_ours) == (port.id, port.fixed_ips[0].ip_address, False)
    assert cloud.network.get_port(port.id).device_id == f"lb-{load_balancer_id}"
    assert [one.id for one in cloud.ours(f"lb-{load_balancer_id}")] == [port.id], "should no row explain it, it is given back"
    for _ in range(2):
        cloud.network.deallocate_vip(load_balancer_id, vip)
    assert cloud.network.get_port(port.id).device_id == ""


def test_adopting_twice_is_fine_but_a_port_in_use_is_refused(cloud: Cloud, private: Network) -> None:
    port, first = cloud.create_port(private.id), new_id()
    request = VipRequest(port_id=port.id)
    made = cloud.network.allocate_vip(first, cloud.project_id, request)
    assert cloud.network.allocate_vip(first, cloud.project_id, request) == made
    with pytest.raises(exceptions.InvalidRequest, match=port.id):
        cloud.network.allocate_vip(new_id(), cloud.project_id, request)
    taken = cloud.create_port(private.id, device_id=new_id())
    with pytest.raises(exceptions.InvalidRequest, match=taken.id):
        cloud.network.allocate_vip(new_id(), cloud.project_id, VipRequest(port_id=taken.id))


def test_a_port_that_does_not_have_what_was_asked_for_is_refused(cloud: Cloud, private: Network) -> None:
    port, elsewhere = cloud.create_port(private.id), cloud.a_network("198.18.9.0/28")
    others: tuple[dict[str, Any], ...] = ({"address": "203.0.113.9"}, {"subnet_id": elsewhere.subnet_ids[0]}, {"network_id": elsewhere.id})
    for parts in others:
        with pytest.raises(exceptions.InvalidRequest, match=port.id):
            cloud.network.allocate_vip(new_id(), cloud.project_id, VipRequest(port_id=port.id, **parts))
    assert cloud.network.get_port(port.id).device_id == ""


def test_deallocating_frees_the_address(cloud: Cloud, private: Network) -> None:
    load_balancer_id = new_id()
    vip = cloud.network.allocate_vip(load_balancer_id, cloud.project_id, on(private))
    for _ in range(2):
        cloud.network.deallocate_vip(load_balancer_id, vip)
    with pytest.raises(exceptions.NotFound):
        cloud.network.get_port(vip.port_id)
    assert cloud.network.allocate_vip(new_id(), cloud.project_id, on(private, address=vip.address)).address == vip.address


def test_a_full_subnet_says_so_and_tells_before(cloud: Cloud, private: Network) -> None:
    (subnet_id,) = private.subnet_ids
    left = cloud.network.free_addresses(private.id)
    free = 14 - (cloud.network.get_subnet(subnet_id).gateway_ip is not None)
    assert left in (None, {subnet_id: free})
    request = VipRequest(subnet_id=subnet_id)
    addresses = {cloud.network.allocate_vip(new_id(), cloud.project_id, request).address for _ in range(free)}
    assert len(addresses) == free
    assert cloud.network.free_addresses(private.id) in (None, {subnet_id: 0})
    with pytest.raises(exceptions.SubnetFull, match="no free address"):
        cloud.network.allocate_vip(new_id(), cloud.project_id, request)


# Ports of amphorae


def test_every_kind_of_port_is_made_once(cloud: Cloud, private: Network) -> None:
    amphora_id, load_balancer_id = new_id(), new_id()
    vip = cloud.network.allocate_vip(load_balancer_id, cloud.project_id, on(private))
    for _ in range(2):
        management = cloud.network.ensure_management_port(amphora_id)
        vrrp = cloud.network.ensure_vrrp_port(amphora_id, load_balancer_id, vip)
        member = cloud.network.ensure_member_port(amphora_id, private.id, private.subnet_ids)
    ours = {port.id: port for port in cloud.ours(f"lb-{load_balancer_id}", amphora_id)}
    assert set(ours) == {vip.port_id, management.id, vrrp.id, member.id}
    assert {port.device_id for port in (management, vrrp, member)} == {amphora_id}
    assert len({port.mac_address for port in ours.values()}) == 4


def test_a_vrrp_port_lies_on_the_vips_subnet_with_an_address_of_its_own(cloud: Cloud, private: Network) -> None:
    amphora_id, load_balancer_id = new_id(), new_id()
    vip = cloud.network.allocate_vip(load_balancer_id, cloud.project_id, on(private))
    port = cloud.network.ensure_vrrp_port(amphora_id, load_balancer_id, vip)
    assert port.name == f"octavia-lb-vrrp-{amphora_id}"
    assert port.network_id == vip.network_id
    assert [fixed.subnet_id for fixed in port.fixed_ips] == [vip.subnet_id]
    assert port.fixed_ips[0].ip_address != vip.address


def test_the_port_of_a_direct_vip_is_a_part_of_a_card_without_groups(cloud: Cloud, private: Network) -> None:
    load_balancer_id = new_id()
    vip = cloud.network.allocate_vip(load_balancer_id, cloud.project_id, on(private))
    direct = dataclasses.replace(vip, vnic_type="direct")
    port = cloud.network.ensure_vrrp_port(new_id(), load_balancer_id, direct)
    assert (port.vnic_type, cloud.network.get_port(vip.port_id).vnic_type) == ("direct", "normal")
    cloud.network.set_vip_access(load_balancer_id, direct, [AccessRule("tcp", 80), AccessRule("vrrp", None, f"{vip.address}", True)])
    assert cloud.groups_of(port.id) == set()
    assert list(cloud.network.stray_ports(load_balancer_id, direct)) == []
    assert cloud.network.ensure_vrrp_port(new_id(), load_balancer_id, vip).vnic_type == "normal"


def test_ports_of_an_amphora_say_whether_groups_guard_them(cloud: Cloud, private: Network) -> None:
    """A VRRP port is as the VIP's port, so it follows whoever made that; one towards members is as its network says."""
    open_one = cloud.create_network(secured=False)
    subnet_id = cloud.create_subnet(open_one, "198.18.11.0/28")
    for request, secured in ((on(private), True), (VipRequest(network_id=open_one, subnet_id=subnet_id), False)):
        load_balancer_id, amphora_id = new_id(), new_id()
        vip = cloud.network.allocate_vip(load_balancer_id, cloud.project_id, request)
        ports = [cloud.network.get_port(vip.port_id), cloud.network.ensure_vrrp_port(amphora_id, load_balancer_id, vip)]
        ports.append(cloud.network.ensure_member_port(amphora_id, vip.network_id, [vip.subnet_id]))
        assert [one.port_security_enabled for one in ports] == [secured] * 3
        assert cloud.network.get_port(ports[1].id).port_security_enabled is secured
        direct = cloud.network.ensure_vrrp_port(new_id(), load_balancer_id, dataclasses.replace(vip, vnic_type="direct"))
        assert not direct.port_security_enabled


def test_a_member_port_has_one_address_per_subnet_those_that_came_later_too(cloud: Cloud, private: Network) -> None:
    amphora_id = new_id()
    port = cloud.network.ensure_member_port(amphora_id, private.id, private.subnet_ids)
    assert port.name == f"octavia-lb-member-{amphora_id}"
    assert [fixed.subnet_id for fixed in port.fixed_ips] == list(private.subnet_ids)
    both = [*private.subnet_ids, cloud.create_subnet(private.id, "198.18.9.0/28")]
    again = cloud.network.ensure_member_port(amphora_id, private.id, both)
    assert (again.id, again.mac_address) == (port.id, port.mac_address)
    assert sorted(fixed.subnet_id for fixed in again.fixed_ips) == sorted(both)
    assert set(port.fixed_ips) <= set(again.fixed_ips)
    cloud.network.release_member_port(port.id, both[1:])
    (left,) = cloud.network.member_ports(amphora_id)
    assert [fixed.subnet_id for fixed in left.fixed_ips] == both[1:]


def test_a_direct_member_port_is_a_part_of_a_card_without_groups_and_stays_what_it_is(cloud: Cloud, private: Network) -> None:
    amphora_id, plain = new_id(), new_id()
    for wanted in ("direct", "normal"):
        port = cloud.network.ensure_member_port(amphora_id, private.id, private.subnet_ids, vnic_type=wanted)
        assert (port.vnic_type, cloud.groups_of(port.id)) == ("direct", set())
    assert [one.vnic_type for one in cloud.network.member_ports(amphora_id)] == ["direct"]
    for wanted in ("normal", "direct"):
        assert cloud.network.ensure_member_port(plain, private.id, private.subnet_ids, vnic_type=wanted).vnic_type == "normal"


def test_a_member_port_on_an_unknown_network_is_not_found(cloud: Cloud) -> None:
    with pytest.raises(exceptions.NotFound):
        cloud.network.ensure_member_port(new_id(), new_id(), [])


def test_a_released_member_port_is_gone_and_may_be_released_again(cloud: Cloud, private: Network) -> None:
    amphora_id = new_id()
    port = cloud.network.ensure_member_port(amphora_id, private.id, private.subnet_ids)
    cloud.network.release_member_port(port.id, private.subnet_ids)
    assert [one.id for one in cloud.network.member_ports(amphora_id)] == [port.id]
    for _ in range(2):
        cloud.network.release_member_port(port.id)
        assert cloud.network.member_ports(amphora_id) == []


def test_deleting_an_amphoras_ports_leaves_those_of_others(cloud: Cloud, private: Network) -> None:
    gone, stays, load_balancer_id = new_id(), new_id(), new_id()
    vip = cloud.network.allocate_vip(load_balancer_id, cloud.project_id, on(private))
    for amphora_id in (gone, stays):
        cloud.network.ensure_management_port(amphora_id)
        cloud.network.ensure_vrrp_port(amphora_id, load_balancer_id, vip)
    for _ in range(2):
        cloud.network.delete_amphora_ports(gone)
    ours = cloud.ours(gone, stays, f"lb-{load_balancer_id}")
    assert {port.device_id for port in ours} == {stays, f"lb-{load_balancer_id}"}


def test_only_the_controllers_own_networks_are_for_management(cloud: Cloud, private: Network) -> None:
    port = cloud.network.ensure_management_port(new_id())
    cloud.network.check_management_network(port.network_id)
    with pytest.raises(exceptions.NotFound):
        cloud.network.check_management_network(new_id())


# Access


def test_access_is_what_was_set_last(cloud: Cloud, private: Network) -> None:
    load_balancer_id = new_id()
    vip = cloud.network.allocate_vip(load_balancer_id, cloud.project_id, on(private))
    cloud.network.ensure_vrrp_port(new_id(), load_balancer_id, vip)
    web, office = AccessRule("tcp", 80), AccessRule("udp", 53, "192.0.2.0/24")
    vrrp, six = AccessRule("vrrp", None, "192.0.2.7/32", True), AccessRule("tcp", 443, "2001:db8::/32")
    for rules in ([web, vrrp], [web, office, six], [web, office, six], [office], []):
        cloud.network.set_vip_access(load_balancer_id, vip, rules)
        assert access(cloud, load_balancer_id) == frozenset(rules)
    for _ in range(2):
        cloud.network.delete_vip_access(load_balancer_id)
    assert cloud.groups_of(vip.port_id) == set()


def test_a_vip_is_born_with_a_group_of_the_services_own(cloud: Cloud, private: Network) -> None:
    load_balancer_id = new_id()
    vip = cloud.network.allocate_vip(load_balancer_id, cloud.project_id, on(private))
    (own,) = cloud.groups_of(vip.port_id)
    group = cloud.network.get_security_group(own)
    assert (group.id, group.name) == (own, f"lb-{load_balancer_id}")
    assert group.project_id != cloud.project_id
    assert cloud.groups_of(cloud.network.ensure_vrrp_port(new_id(), load_balancer_id, vip).id) == {own}
    cloud.network.deallocate_vip(load_balancer_id, vip)
    with pytest.raises(exceptions.NotFound):
        cloud.network.get_security_group(own)


def test_a_tenants_port_keeps_its_groups_beside_the_services_while_it_is_a_vip(cloud: Cloud, private: Network) -> None:
    load_balancer_id, amphora_id, mine = new_id(), new_id(), cloud.create_security_group("mine")
    port = cloud.create_port(private.id, security_groups=[mine]).id
    vip = cloud.network.allocate_vip(load_balancer_id, cloud.project_id, VipRequest(port_id=port))
    both = cloud.groups_of(port)
    assert len(both) == 2
    assert mine in both
    assert cloud.groups_of(cloud.network.ensure_vrrp_port(amphora_id, load_balancer_id, vip).id) == both
    cloud.network.delete_amphora_ports(amphora_id)
    cloud.network.deallocate_vip(load_balancer_id, vip)
    assert cloud.groups_of(port) == {mine}


def test_a_port_that_only_says_that_it_is_a_vip_is_none(cloud: Cloud, private: Network) -> None:
    load_balancer_id, theirs = new_id(), cloud.create_security_group("theirs")
    vip = cloud.network.allocate_vip(load_balancer_id, cloud.project_id, on(private))
    before = cloud.groups_of(vip.port_id)
    carrier = cloud.network.ensure_vrrp_port(new_id(), load_balancer_id, vip)
    liar = cloud.create_port(private.id, device_id=f"lb-{load_balancer_id}").id
    cloud.set_groups_of(liar, [theirs])
    assert cloud.groups_of(vip.port_id) == cloud.groups_of(carrier.id) == before
    assert cloud.groups_of(cloud.network.ensure_vrrp_port(new_id(), load_balancer_id, vip).id) == before
    assert cloud.network.get_port(liar).device_owner != cloud.network.get_port(vip.port_id).device_owner


# Security groups of tenants


def test_a_security_group_is_known_by_its_id(cloud: Cloud) -> None:
    made = cloud.create_security_group("web")
    assert cloud.network.get_security_group(made) == SecurityGroup(made, "web", cloud.project_id)
    with pytest.raises(exceptions.NotFound) as caught:
        cloud.network.get_security_group(new_id())
    assert caught.value.kind == "SecurityGroup"


def test_groups_of_a_vip_follow_to_the_ports_that_carry_it(cloud: Cloud, private: Network) -> None:
    load_balancer_id, first, second = new_id(), cloud.create_security_group("first"), cloud.create_security_group("second")
    vip = cloud.network.allocate_vip(load_balancer_id, cloud.project_id, on(private))
    own = cloud.groups_of(vip.port_id)
    before = cloud.network.ensure_vrrp_port(new_id(), load_balancer_id, vip)
    for wanted in ([first], [first, second], [first, second], [second]):
        cloud.network.set_vip_security_groups(load_balancer_id, vip, wanted)
        assert cloud.groups_of(vip.port_id) == cloud.groups_of(before.id) == set(wanted)
    after = cloud.network.ensure_vrrp_port(new_id(), load_balancer_id, vip)
    assert cloud.groups_of(after.id) == {second}
    cloud.network.set_vip_security_groups(load_balancer_id, vip, [])
    assert cloud.groups_of(vip.port_id) == cloud.groups_of(before.id) == cloud.groups_of(after.id) == own


@pytest.fixture
def policy(cloud: Cloud) -> str:
    """A QoS policy, which the VIPs of a test may have."""
    if not cloud.network.has_qos():
        pytest.skip("this network service has no QoS policies")
    return cloud.create_qos_policy()


def policies(cloud: Cloud, *port_ids: str) -> list[str | None]:
    return [cloud.network.get_port(one).qos_policy_id for one in port_ids]


def test_a_qos_policy_is_known_by_its_id(cloud: Cloud, policy: str) -> None:
    found = cloud.network.get_qos_policy(policy)
    assert (found.id, found.project_id, found.shared) == (policy, cloud.project_id, False)
    with pytest.raises(exceptions.NotFound, match=r"^QoS Policy"):
        cloud.network.get_qos_policy(new_id())


def test_a_qos_policy_is_on_the_vip_and_on_the_ports_that_carry_it_until_it_is_cleared(cloud: Cloud, private: Network, policy: str) -> None:
    load_balancer_id, other = new_id(), cloud.create_qos_policy()
    vip = cloud.network.allocate_vip(load_balancer_id, cloud.project_id, VipRequest(network_id=private.id, qos_policy_id=policy))
    carriers = [cloud.network.ensure_vrrp_port(new_id(), load_balancer_id, vip).id]
    stranger = cloud.network.ensure_vrrp_port(
        new_id(), others := new_id(), cloud.network.allocate_vip(others, cloud.project_id, on(private))
    ).id
    assert policies(cloud, vip.port_id, *carriers) == [policy] * 2
    for wanted in (other, other, None, policy):
        vip = dataclasses.replace(vip, qos_policy_id=wanted)
        cloud.network.set_vip_qos(load_balancer_id, vip)
        carriers.append(cloud.network.ensure_vrrp_port(new_id(), load_balancer_id, vip).id)
        assert policies(cloud, vip.port_id, *carriers) == [wanted] * (1 + len(carriers))
    assert policies(cloud, stranger) == [None]


def test_a_tenants_port_keeps_its_qos_policy_as_a_vip_and_afterwards(cloud: Cloud, private: Network, policy: str) -> None:
    load_balancer_id, port = new_id(), cloud.create_port(private.id).id
    cloud.set_qos_of(port, policy)
    vip = cloud.network.allocate_vip(load_balancer_id, cloud.project_id, VipRequest(port_id=port, qos_policy_id=policy))
    carrier = cloud.network.ensure_vrrp_port(amphora_id := new_id(), load_balancer_id, vip).id
    assert policies(cloud, port, carrier) == [policy] * 2
    cloud.network.delete_amphora_ports(amphora_id)
    cloud.network.deallocate_vip(load_balancer_id, vip)
    assert policies(cloud, port) == [policy]


def test_a_policy_that_a_tenants_port_brought_is_theirs_to_change(cloud: Cloud, private: Network, policy: str) -> None:
    load_balancer_id, port, other = new_id(), cloud.create_port(private.id).id, cloud.create_qos_policy()
    cloud.set_qos_of(port, policy)
    vip = cloud.network.allocate_vip(load_balancer_id, cloud.project_id, VipRequest(port_id=port, qos_policy_id=policy))
    carrier = cloud.network.ensure_vrrp_port(new_id(), load_balancer_id, vip).id
    for theirs in (other, None):
        cloud.set_qos_of(port, theirs)
        assert cloud.network.stray_ports(load_balancer_id, vip) == []
        cloud.network.mend_ports(load_balancer_id, vip)
        assert policies(cloud, port, carrier) == [theirs, policy]
    cloud.set_qos_of(carrier, None)
    assert len(cloud.network.stray_ports(load_balancer_id, vip)) == 1, "the ports that carry it are ours"


def test_a_policy_that_the_load_balancer_put_on_a_tenants_port_goes_with_it(cloud: Cloud, private: Network, policy: str) -> None:
    other = cloud.create_qos_policy()
    for is_theirs_meanwhile in (False, True):
        load_balancer_id, port = new_id(), cloud.create_port(private.id).id
        vip = cloud.network.allocate_vip(load_balancer_id, cloud.project_id, VipRequest(port_id=port))
        vip = dataclasses.replace(vip, qos_policy_id=policy, qos_is_asked=True)
        cloud.network.set_vip_qos(load_balancer_id, vip)
        cloud.set_qos_of(port, other)
        assert len(cloud.network.stray_ports(load_balancer_id, vip)) == 1
        if not is_theirs_meanwhile:
            cloud.network.mend_ports(load_balancer_id, vip)
            assert policies(cloud, port) == [policy]
        cloud.network.deallocate_vip(load_balancer_id, vip)
        assert policies(cloud, port) == [other if is_theirs_meanwhile else None]


def test_a_policy_that_is_gone_is_told_when_ports_are_mended(cloud: Cloud, private: Network, policy: str) -> None:
    load_balancer_id = new_id()
    vip = cloud.network.allocate_vip(load_balancer_id, cloud.project_id, VipRequest(network_id=private.id, qos_policy_id=policy))
    cloud.network.ensure_vrrp_port(new_id(), load_balancer_id, vip)
    with pytest.raises(exceptions.NotFound, match=r"^QoS Policy"):
        cloud.network.mend_ports(load_balancer_id, dataclasses.replace(vip, qos_policy_id=new_id()))


def test_an_unknown_qos_policy_changes_nothing(cloud: Cloud, private: Network, policy: str) -> None:
    load_balancer_id = new_id()
    with pytest.raises(exceptions.NotFound, match=r"^QoS Policy"):
        cloud.network.allocate_vip(load_balancer_id, cloud.project_id, VipRequest(network_id=private.id, qos_policy_id=new_id()))
    assert cloud.ours(f"lb-{load_balancer_id}") == []
    vip = cloud.network.allocate_vip(load_balancer_id, cloud.project_id, VipRequest(network_id=private.id, qos_policy_id=policy))
    carrier = cloud.network.ensure_vrrp_port(new_id(), load_balancer_id, vip).id
    with pytest.raises(exceptions.NotFound, match=r"^QoS Policy"):
        cloud.network.set_vip_qos(load_balancer_id, dataclasses.replace(vip, qos_policy_id=new_id()))
    assert policies(cloud, vip.port_id, carrier) == [policy] * 2


def test_a_qos_policy_that_somebody_changed_is_told_and_set_back(cloud: Cloud, private: Network, policy: str) -> None:
    """A tenant may put one on their VIP port; the ports that carry it are ours."""
    load_balancer_id = new_id()
    vip = cloud.network.allocate_vip(load_balancer_id, cloud.project_id, VipRequest(network_id=private.id, qos_policy_id=policy))
    ports = [vip.port_id, *(cloud.network.ensure_vrrp_port(new_id(), load_balancer_id, vip).id for _ in range(2))]
    for wanted, strange, is_told in (
        (policy, None, [True, True, True]),
        (policy, cloud.create_qos_policy(), [True, True, True]),
        (None, policy, [False, True, True]),
    ):
        vip = dataclasses.replace(vip, qos_policy_id=wanted)
        cloud.network.set_vip_qos(load_balancer_id, vip)
        assert cloud.network.stray_ports(load_balancer_id, vip) == []
        for port in ports:
            cloud.set_qos_of(port, strange)
        told = " ".join(cloud.network.stray_ports(load_balancer_id, vip))
        assert [port in told for port in ports] == is_told
        for _ in range(2):
            cloud.network.mend_ports(load_balancer_id, vip)
        assert cloud.network.stray_ports(load_balancer_id, vip) == []
        assert policies(cloud, *ports) == [wanted if told else strange for told in is_told]


def test_an_unknown_group_changes_nothing(cloud: Cloud, private: Network) -> None:
    load_balancer_id, known = new_id(), cloud.create_security_group("known")
    vip = cloud.network.allocate_vip(load_balancer_id, cloud.project_id, on(private))
    cloud.network.set_vip_security_groups(load_balancer_id, vip, [known])
    with pytest.raises(exceptions.NotFound) as caught:
        cloud.network.set_vip_security_groups(load_balancer_id, vip, [known, new_id()])
    assert caught.value.kind == "SecurityGroup"
    assert cloud.groups_of(vip.port_id) == {known}


# What somebody changed behind our back: what housekeeping's comparison reads


@pytest.mark.parametrize("kind", ["vip", "vrrp", "member", "management"])
def test_a_port_that_somebody_deleted_is_not_found_until_it_is_made_again(cloud: Cloud, private: Network, kind: str) -> None:
    load_balancer_id, amphora_id = new_id(), new_id()
    vip = cloud.network.allocate_vip(load_balancer_id, cloud.project_id, on(private))
    asked = on(private, address=vip.address)
    make: dict[str, Callable[[], Port]] = {
        "vip": lambda: cloud.network.get_port(cloud.network.allocate_vip(load_balancer_id, cloud.project_id, asked).port_id),
        "vrrp": lambda: cloud.network.ensure_vrrp_port(amphora_id, load_balancer_id, vip),
        "member": lambda: cloud.network.ensure_member_port(amphora_id, private.id, private.subnet_ids),
        "management": lambda: cloud.network.ensure_management_port(amphora_id),
    }
    ports = {one: make_one() for one, make_one in make.items()}
    cloud.delete_port(ports[kind].id)
    with pytest.raises(exceptions.NotFound) as caught:
        cloud.network.get_port(ports[kind].id)
    assert caught.value.kind == "Port"
    ours = {port.id for port in cloud.ours(f"lb-{load_balancer_id}", amphora_id)}
    assert ours == {port.id for one, port in ports.items() if one != kind}
    assert [port.id for port in cloud.network.member_ports(amphora_id)] == ([] if kind == "member" else [ports["member"].id])
    again = make[kind]()
    assert cloud.network.get_port(again.id) == again
    assert again.id != ports[kind].id
    if kind == "vip":
        assert again.fixed_ips == ports[kind].fixed_ips
        assert cloud.groups_of(again.id) == cloud.groups_of(ports["vrrp"].id)


@pytest.mark.parametrize("adopted", [False, True])
def test_a_vip_port_that_lost_its_address_gets_it_back(cloud: Cloud, private: Network, adopted: bool) -> None:
    load_balancer_id = new_id()
    where = VipRequest(port_id=cloud.create_port(private.id).id) if adopted else on(private)
    vip = cloud.network.allocate_vip(load_balancer_id, cloud.project_id, where)
    elsewhere = next(place for place in (9, 10) if an_address(cloud, private, place) != vip.address)
    cloud.move_port(vip.port_id, an_address(cloud, private, elsewhere))
    assert [fixed.ip_address for fixed in cloud.network.get_port(vip.port_id).fixed_ips] == [an_address(cloud, private, elsewhere)]
    kept = {an_address(cloud, private, elsewhere)} if adopted else set()  # what a tenant gave their own port is theirs
    for _ in range(2):
        cloud.network.restore_vip_address(load_balancer_id, vip)
        assert {fixed.ip_address for fixed in cloud.network.get_port(vip.port_id).fixed_ips} == {vip.address, *kept}
    if adopted:
        cloud.take_address(vip.port_id, vip.address)
    else:
        cloud.move_port(vip.port_id, an_address(cloud, private, elsewhere))
    taken = cloud.network.allocate_vip(new_id(), cloud.project_id, on(private, address=vip.address))
    with pytest.raises(exceptions.AddressInUse, match=vip.address):
        cloud.network.restore_vip_address(load_balancer_id, vip)
    assert taken.address == vip.address
    cloud.delete_port(vip.port_id)
    with pytest.raises(exceptions.NotFound):
        cloud.network.restore_vip_address(load_balancer_id, vip)


def test_access_that_somebody_changed_is_told_and_set_back(cloud: Cloud, private: Network) -> None:
    load_balancer_id = new_id()
    vip = cloud.network.allocate_vip(load_balancer_id, cloud.project_id, on(private))
    cloud.network.ensure_vrrp_port(new_id(), load_balancer_id, vip)
    web, names, between = AccessRule("tcp", 80), AccessRule("udp", 53), AccessRule("vrrp", None, "192.0.2.7/32", True)
    cloud.network.set_vip_access(load_balancer_id, vip, [web, names, between])
    cloud.refuse(load_balancer_id, names)
    assert access(cloud, load_balancer_id) == {web, between}
    cloud.refuse(load_balancer_id, web)
    cloud.admit(load_balancer_id, AccessRule("tcp", 22, "0.0.0.0/0"))
    assert {rule.port for rule in access(cloud, load_balancer_id)} == {22, None}
    cloud.refuse(load_balancer_id, between)
    assert {rule.port for rule in access(cloud, load_balancer_id)} == {22}
    cloud.network.set_vip_access(load_balancer_id, vip, [web, names, between])
    assert access(cloud, load_balancer_id) == {web, names, between}
    cloud.network.delete_vip_access(load_balancer_id)
    assert access(cloud, load_balancer_id) == frozenset()
