"""What the driver `neutron` promises beside the contract: what a tenant can do to their VIP port by Neutron's own API."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from controller import exceptions
from controller.drivers.network import remembered
from controller.model.network import AccessRule, VipRequest, WantedAddress
from tests.contract.cloud import new_id
from tests.contract.conftest import OPENSTACKS
from tests.contract.openstack_cloud import OpenstackCloud
from tests.contract.openstack_network import ask

pytestmark = pytest.mark.parametrize("cloud", OPENSTACKS, indirect=True)


@pytest.mark.parametrize(
    "change",
    [{"device_owner": "mine"}, {"device_id": "mine"}, {"device_id": "mine", "device_owner": "mine", "name": "mine", "description": "mine"}],
    ids=lambda change: "+".join(change),
)
def test_a_vip_port_whose_words_its_tenant_changed_goes_with_its_load_balancer(cloud: OpenstackCloud, change: dict[str, Any]) -> None:
    private, load_balancer_id = cloud.a_network("198.18.7.0/28"), new_id()
    vip = cloud.network.allocate_vip(load_balancer_id, cloud.project_id, VipRequest(network_id=private.id))
    (group,) = cloud.groups_of(vip.port_id)
    ask(cloud.tenant, "PUT", f"/ports/{vip.port_id}", {"port": change})
    for _ in range(2):
        cloud.network.deallocate_vip(load_balancer_id, vip)
        with pytest.raises(exceptions.NotFound):
            cloud.network.get_port(vip.port_id)
    with pytest.raises(exceptions.NotFound):
        cloud.network.get_security_group(group)


@pytest.mark.parametrize("change", [{"device_owner": "mine"}, {"device_id": "mine"}], ids=lambda change: "+".join(change))
def test_a_tenants_own_port_stays_theirs_whatever_they_changed(cloud: OpenstackCloud, change: dict[str, Any]) -> None:
    private, load_balancer_id = cloud.a_network("198.18.7.0/28"), new_id()
    mine = cloud.create_security_group("mine")
    port = cloud.create_port(private.id, security_groups=[mine])
    vip = cloud.network.allocate_vip(load_balancer_id, cloud.project_id, VipRequest(port_id=port.id))
    assert len(cloud.groups_of(port.id)) == 2
    ask(cloud.tenant, "PUT", f"/ports/{port.id}", {"port": change})
    cloud.network.deallocate_vip(load_balancer_id, vip)
    assert cloud.groups_of(port.id) == {mine}
    assert cloud.network.get_port(port.id).device_id == change.get("device_id", ""), "a machine that they gave it to keeps it"


AUTOMATIC = {"ip_version": 6, "cidr": "fd00:f170::/64", "ipv6_ra_mode": "slaac", "ipv6_address_mode": "slaac"}


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside-ipv4"])
@pytest.mark.parametrize("whose", ["ours", "theirs"])
def test_a_vip_of_a_subnet_that_makes_addresses_of_mac_addresses_is_made_again(cloud: OpenstackCloud, whose: str, beside: bool) -> None:
    """Neutron gives no port an address there that is asked for."""
    network_id, load_balancer_id = cloud.create_network(), new_id()
    more = [cloud.create_subnet(network_id, "198.18.7.0/28")] if beside else []
    subnet_id = ask(cloud.tenant, "POST", "/subnets", {"subnet": {"network_id": network_id, **AUTOMATIC}})["subnet"]["id"]
    port_id = cloud.create_port(network_id, subnet_ids=[subnet_id, *more]).id if whose == "theirs" else None
    request = VipRequest(port_id=port_id, network_id=network_id, subnet_id=subnet_id, additional=tuple(map(WantedAddress, more)))
    vip = cloud.network.allocate_vip(load_balancer_id, cloud.project_id, request)
    cloud.delete_port(vip.port_id)
    asked = dataclasses.replace(request, port_id=None, address=vip.address)
    again = cloud.network.allocate_vip(load_balancer_id, cloud.project_id, asked)
    assert again.address == vip.address
    assert again.port_id != vip.port_id
    assert cloud.groups_of(again.port_id)
    # where somebody gave the port another MAC address, and so another address
    ask(cloud.admin, "PUT", f"/ports/{again.port_id}", {"port": {"mac_address": "02:00:00:00:00:77"}})
    assert vip.address not in [one.ip_address for one in cloud.network.get_port(again.port_id).fixed_ips]
    cloud.network.restore_vip_address(load_balancer_id, again)
    assert set(again.addresses) == set(cloud.network.get_port(again.port_id).fixed_ips)


def test_an_address_that_no_mac_address_makes_is_refused(cloud: OpenstackCloud) -> None:
    network_id = cloud.create_network()
    subnet_id = ask(cloud.tenant, "POST", "/subnets", {"subnet": {"network_id": network_id, **AUTOMATIC}})["subnet"]["id"]
    wanted = VipRequest(network_id=network_id, subnet_id=subnet_id, address="fd00:f170::7")
    with pytest.raises(exceptions.InvalidRequest, match="fd00:f170::7"):
        cloud.network.allocate_vip(new_id(), cloud.project_id, wanted)
    assert ask(cloud.admin, "GET", f"/ports?network_id={network_id}&device_owner=Octavia")["ports"] == []


def test_the_address_of_a_mac_address_that_another_port_has_is_refused(cloud: OpenstackCloud) -> None:
    network_id = cloud.create_network()
    subnet_id = ask(cloud.tenant, "POST", "/subnets", {"subnet": {"network_id": network_id, **AUTOMATIC}})["subnet"]["id"]
    theirs = cloud.create_port(network_id, subnet_ids=[subnet_id]).fixed_ips[0].ip_address
    with pytest.raises(exceptions.AddressInUse, match=theirs):
        cloud.network.allocate_vip(new_id(), cloud.project_id, VipRequest(network_id=network_id, subnet_id=subnet_id, address=theirs))
    assert ask(cloud.admin, "GET", f"/ports?network_id={network_id}&device_owner=Octavia")["ports"] == []


def test_the_successor_of_a_single_amphora_gets_its_port_without_a_look_at_groups(cloud: OpenstackCloud) -> None:
    """Its flow reads them once, when it compares what may reach the VIP."""
    private, load_balancer_id = cloud.a_network("198.18.7.0/28"), new_id()
    vip = cloud.network.allocate_vip(load_balancer_id, cloud.project_id, VipRequest(network_id=private.id))
    first = cloud.network.ensure_vrrp_port(new_id(), load_balancer_id, vip)
    looks: list[str] = []
    service = cloud.network._neutron.service

    def get(path: str, *arguments: Any, **named: Any) -> Any:
        looks.append(path)
        return type(service).get(service, path, *arguments, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(service, "get", get)
        second = cloud.network.ensure_vrrp_port(new_id(), load_balancer_id, vip)
    assert "/ports" in looks
    assert "/security-groups" not in looks
    assert cloud.groups_of(second.id) == cloud.groups_of(first.id) == cloud.groups_of(vip.port_id)


def test_a_half_that_comes_later_is_heard_by_the_other_one_at_once(cloud: OpenstackCloud) -> None:
    private, load_balancer_id, lost = cloud.a_network("198.18.7.0/28"), new_id(), new_id()
    vip = cloud.network.allocate_vip(load_balancer_id, cloud.project_id, VipRequest(network_id=private.id))
    halves = [cloud.network.ensure_vrrp_port(one, load_balancer_id, vip) for one in (new_id(), lost)]
    between = [AccessRule("vrrp", None, f"{half.fixed_ips[0].ip_address}/32", True) for half in halves]
    cloud.network.set_vip_access(load_balancer_id, vip, [AccessRule("tcp", 80), *between])
    cloud.network.delete_amphora_ports(lost)
    later = cloud.network.ensure_vrrp_port(new_id(), load_balancer_id, vip)
    groups = [ask(cloud.admin, "GET", f"/ports/{one.id}")["port"]["security_groups"] for one in (halves[0], later)]
    assert len(groups[0]) == 2
    assert set(groups[1]) == set(groups[0])


def test_what_was_changed_of_a_port_that_bears_the_vip_is_seen_and_mended(cloud: OpenstackCloud) -> None:
    private, beyond, load_balancer_id = cloud.a_network("198.18.7.0/28"), cloud.a_network("198.18.8.0/28"), new_id()
    vip = cloud.network.allocate_vip(load_balancer_id, cloud.project_id, VipRequest(network_id=private.id))
    amphorae = [new_id(), new_id()]
    ports = [cloud.network.ensure_vrrp_port(one, load_balancer_id, vip) for one in amphorae]
    member = cloud.network.ensure_member_port(amphorae[0], beyond.id, beyond.subnet_ids)
    cloud.network.set_vip_access(load_balancer_id, vip, [AccessRule("vrrp", None, "192.0.2.7/32", True)])
    assert cloud.network.stray_ports(load_balancer_id, vip) == []
    theirs = cloud.create_security_group("theirs")
    for port_id, change in [
        (ports[0].id, {"allowed_address_pairs": [{"ip_address": "192.0.2.9"}]}),
        (ports[1].id, {"admin_state_up": False}),
        (member.id, {"admin_state_up": False}),
        (vip.port_id, {"security_groups": [theirs]}),
    ]:
        ask(cloud.admin, "PUT", f"/ports/{port_id}", {"port": change})
    assert len(cloud.network.stray_ports(load_balancer_id, vip)) == 5, "the groups of both halves, one pair, two that are off"
    cloud.network.mend_ports(load_balancer_id, vip)
    assert cloud.network.stray_ports(load_balancer_id, vip) == []
    mended = [ask(cloud.admin, "GET", f"/ports/{one.id}")["port"] for one in (*ports, member)]
    assert [one["admin_state_up"] for one in mended] == [True] * 3
    assert {pair["ip_address"] for pair in mended[0]["allowed_address_pairs"]} == {"192.0.2.9", vip.address}, "what others added stays"
    assert all(theirs in one["security_groups"] and len(one["security_groups"]) == 2 for one in mended[:2])
    cloud.delete_port(vip.port_id)
    assert cloud.network.stray_ports(load_balancer_id, vip) == []


@pytest.mark.parametrize("keep", [0.0, 30.0])
def test_networks_of_ports_are_told_apart_however_little_of_them_is_remembered(
    cloud: OpenstackCloud, monkeypatch: pytest.MonkeyPatch, keep: float
) -> None:
    monkeypatch.setattr(remembered, "_MANY", 1)
    monkeypatch.setattr(cloud.network, "remembered", remembered.RememberedNetworks(cloud.network, keep))
    balancers = {mtu: new_id() for mtu in (1400, 1450)}
    vips = {}
    for mtu, one in balancers.items():
        private = cloud.a_network(f"198.18.{mtu % 100}.0/28", mtu)
        vips[mtu] = cloud.network.allocate_vip(one, cloud.project_id, VipRequest(network_id=private.id))
    found = {port.id: port.mtu for port in cloud.network.list_ours()}
    assert {mtu: found[vip.port_id] for mtu, vip in vips.items()} == {mtu: mtu for mtu in balancers}
    assert {mtu: cloud.network.get_port(vip.port_id).mtu for mtu, vip in vips.items()} == {mtu: mtu for mtu in balancers}
