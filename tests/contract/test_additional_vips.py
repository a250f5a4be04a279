"""What every network driver promises of a VIP with several addresses, on every cloud of `conftest.py`."""

from __future__ import annotations

import dataclasses
import ipaddress

import pytest

from controller import exceptions
from controller.drivers.network import vips
from controller.model import load_balancer as model
from controller.model.network import AccessRule, Network, Port, VipRequest, WantedAddress
from tests.contract.cloud import Cloud, new_id
from tests.contract.conftest import CLOUDS, OPENSTACKS

pytestmark = pytest.mark.parametrize("cloud", [*CLOUDS, *OPENSTACKS], indirect=True)

RANGES = ("198.18.7.0/28", "198.18.8.0/28", "fd00:f161::/124")


@pytest.fixture(params=[(0, 1, 2), (0, 2), (2, 0, 1)], ids=["two of IPv4, one of IPv6", "IPv4 and IPv6", "IPv6 first"])
def subnets(cloud: Cloud, request: pytest.FixtureRequest) -> tuple[Network, list[str]]:
    """A network of a tenant, and the subnets of the VIP there."""
    network_id = cloud.create_network()
    made = [cloud.create_subnet(network_id, cidr) for cidr in RANGES]
    return cloud.network.get_network(network_id), [made[place] for place in request.param]


def asked(network: Network, subnet_ids: list[str], *addresses: str | None, port_id: str | None = None) -> VipRequest:
    """A VIP on these subnets; `addresses` come in their order, and may end early."""
    first, *others = zip(subnet_ids, [*addresses, *[None] * len(subnet_ids)], strict=False)
    additional = tuple(WantedAddress(*one) for one in others)
    return VipRequest(port_id=port_id, network_id=network.id, subnet_id=first[0], address=first[1], additional=additional)


def in_range(cloud: Cloud, subnet_id: str, place: int) -> str:
    return str(ipaddress.ip_network(cloud.network.get_subnet(subnet_id).cidr)[place])


def addresses_of(cloud: Cloud, port_id: str) -> set[str]:
    return {one.ip_address for one in cloud.network.get_port(port_id).fixed_ips}


def values(vip: model.Vip) -> list[str]:
    return [one.ip_address for one in vip.addresses]


def test_all_addresses_are_on_one_port_in_the_order_in_which_they_were_asked_for(cloud: Cloud, subnets: tuple[Network, list[str]]) -> None:
    network, chosen = subnets
    load_balancer_id, wanted = new_id(), in_range(cloud, chosen[1], 9)
    request = asked(network, chosen, None, wanted)
    vip = cloud.network.allocate_vip(load_balancer_id, cloud.project_id, request)
    assert [one.subnet_id for one in vip.addresses] == chosen
    assert vip.addresses[1].ip_address == wanted
    for one in vip.addresses:
        assert ipaddress.ip_address(one.ip_address) in ipaddress.ip_network(cloud.network.get_subnet(one.subnet_id).cidr)
    assert addresses_of(cloud, vip.port_id) == set(values(vip))
    assert cloud.network.allocate_vip(load_balancer_id, cloud.project_id, request) == vip
    cloud.network.deallocate_vip(load_balancer_id, vip)
    again = cloud.network.allocate_vip(new_id(), cloud.project_id, asked(network, chosen, *values(vip)))
    assert again.addresses == vip.addresses, "all of them were free again"


def test_the_port_of_a_direct_vip_has_an_address_on_each_subnet_and_no_groups(cloud: Cloud, subnets: tuple[Network, list[str]]) -> None:
    network, chosen = subnets
    load_balancer_id, amphora_id = new_id(), new_id()
    vip = cloud.network.allocate_vip(load_balancer_id, cloud.project_id, asked(network, chosen))
    direct = dataclasses.replace(vip, vnic_type="direct")
    port = cloud.network.ensure_vrrp_port(amphora_id, load_balancer_id, direct)
    assert (port.vnic_type, cloud.groups_of(port.id)) == ("direct", set())
    assert {one.subnet_id for one in port.fixed_ips} == set(chosen)
    assert addresses_of(cloud, port.id).isdisjoint(values(vip))
    assert list(cloud.network.stray_ports(load_balancer_id, direct)) == []
    assert cloud.network.ensure_vrrp_port(amphora_id, load_balancer_id, direct) == port


@pytest.mark.parametrize("adopted", [False, True])
def test_an_address_is_the_same_in_whichever_spelling(cloud: Cloud, subnets: tuple[Network, list[str]], adopted: bool) -> None:
    network, chosen = subnets
    port = cloud.create_port(network.id, subnet_ids=chosen) if adopted else None
    has = [in_range(cloud, one, 9) for one in chosen] if port is None else [port.address_on(one).ip_address for one in chosen]
    spelt = [ipaddress.ip_address(one).exploded.upper() for one in has]
    load_balancer_id = new_id()
    request = asked(network, chosen, *spelt, port_id=None if port is None else port.id)
    for _ in range(2):
        assert values(cloud.network.allocate_vip(load_balancer_id, cloud.project_id, request)) == has


def test_a_port_that_has_not_what_was_asked_for_is_given_back(
    cloud: Cloud, subnets: tuple[Network, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the service made of the request."""
    network, chosen = subnets
    load_balancer_id, wanted = new_id(), [in_range(cloud, one, 9) for one in chosen]

    def lacks(port: Port, *_: object, **__: object) -> model.Vip:
        raise exceptions.InvalidRequest(f"the port {port.id} does not have it")

    monkeypatch.setattr(vips, "vip", lacks)
    with pytest.raises(exceptions.InvalidRequest, match="does not have it"):
        cloud.network.allocate_vip(load_balancer_id, cloud.project_id, asked(network, chosen, *wanted))
    assert cloud.ours(f"lb-{load_balancer_id}") == []
    assert list(cloud.network.list_vip_groups()).count(load_balancer_id) == 0
    monkeypatch.undo()
    assert values(cloud.network.allocate_vip(new_id(), cloud.project_id, asked(network, chosen, *wanted))) == wanted


@pytest.mark.parametrize("place", [0, 1])
def test_one_address_that_can_not_be_had_leaves_nothing(cloud: Cloud, subnets: tuple[Network, list[str]], place: int) -> None:
    network, chosen = subnets
    wanted = [in_range(cloud, one, 9) for one in chosen]
    first = cloud.network.allocate_vip(new_id(), cloud.project_id, VipRequest(subnet_id=chosen[place], address=wanted[place]))
    load_balancer_id = new_id()
    with pytest.raises(exceptions.AddressInUse, match=wanted[place]):
        cloud.network.allocate_vip(load_balancer_id, cloud.project_id, asked(network, chosen, *wanted))
    assert cloud.ours(f"lb-{load_balancer_id}") == []
    assert list(cloud.network.list_vip_groups()).count(load_balancer_id) == 0
    cloud.network.deallocate_vip(new_id(), first)
    while True:
        try:
            cloud.network.allocate_vip(new_id(), cloud.project_id, VipRequest(subnet_id=chosen[place]))
        except exceptions.SubnetFull:
            break
    with pytest.raises(exceptions.SubnetFull, match=chosen[place]):
        cloud.network.allocate_vip(load_balancer_id, cloud.project_id, asked(network, chosen))
    assert cloud.ours(f"lb-{load_balancer_id}") == []


def test_a_tenants_port_has_all_of_them_or_is_left_alone(cloud: Cloud, subnets: tuple[Network, list[str]]) -> None:
    network, chosen = subnets
    whole, lacking = cloud.create_port(network.id, subnet_ids=chosen), cloud.create_port(network.id, subnet_ids=chosen[:1])
    load_balancer_id = new_id()
    with pytest.raises(exceptions.InvalidRequest, match=chosen[1]):
        cloud.network.allocate_vip(load_balancer_id, cloud.project_id, asked(network, chosen, port_id=lacking.id))
    assert cloud.network.get_port(lacking.id).device_id == ""
    assert list(cloud.network.list_vip_groups()).count(load_balancer_id) == 0
    vip = cloud.network.allocate_vip(load_balancer_id, cloud.project_id, asked(network, chosen, port_id=whole.id))
    assert set(values(vip)) == addresses_of(cloud, whole.id)
    assert [one.subnet_id for one in vip.addresses] == chosen
    cloud.network.deallocate_vip(load_balancer_id, vip)
    assert cloud.network.get_port(whole.id).device_id == ""
    assert addresses_of(cloud, whole.id) == set(values(vip))


def test_an_amphora_has_an_own_address_on_each_subnet_of_the_vip(cloud: Cloud, subnets: tuple[Network, list[str]]) -> None:
    network, chosen = subnets
    load_balancer_id, amphora_id = new_id(), new_id()
    vip = cloud.network.allocate_vip(load_balancer_id, cloud.project_id, asked(network, chosen))
    port = cloud.network.ensure_vrrp_port(amphora_id, load_balancer_id, vip)
    assert {one.subnet_id for one in port.fixed_ips} == set(chosen)
    assert not {one.ip_address for one in port.fixed_ips} & set(values(vip))
    assert cloud.network.ensure_vrrp_port(amphora_id, load_balancer_id, vip) == port
    assert not cloud.network.stray_ports(load_balancer_id, vip)
    cloud.network.delete_amphora_ports(amphora_id)
    assert cloud.ours(amphora_id) == []


@pytest.mark.parametrize("adopted", [False, True])
def test_whichever_address_the_port_lost_it_gets_back(cloud: Cloud, subnets: tuple[Network, list[str]], adopted: bool) -> None:
    network, chosen = subnets
    load_balancer_id = new_id()
    port_id = cloud.create_port(network.id, subnet_ids=chosen).id if adopted else None
    vip = cloud.network.allocate_vip(load_balancer_id, cloud.project_id, asked(network, chosen, port_id=port_id))
    for lost in values(vip):
        cloud.take_address(vip.port_id, lost)
        assert addresses_of(cloud, vip.port_id) == set(values(vip)) - {lost}
        for _ in range(2):
            cloud.network.restore_vip_address(load_balancer_id, vip)
            assert addresses_of(cloud, vip.port_id) == set(values(vip))
    last = vip.addresses[-1]
    cloud.take_address(vip.port_id, last.ip_address)
    thief = VipRequest(network_id=network.id, subnet_id=last.subnet_id, address=last.ip_address)
    cloud.network.allocate_vip(new_id(), cloud.project_id, thief)
    with pytest.raises(exceptions.AddressInUse, match=last.ip_address):
        cloud.network.restore_vip_address(load_balancer_id, vip)
    assert addresses_of(cloud, vip.port_id) == set(values(vip)[:-1]), "it keeps what it has"


def test_a_tenants_port_keeps_its_other_addresses_when_one_is_put_back(cloud: Cloud, subnets: tuple[Network, list[str]]) -> None:
    network, chosen = subnets
    load_balancer_id, port = new_id(), cloud.create_port(network.id, subnet_ids=[*chosen, chosen[0]])
    vip = cloud.network.allocate_vip(load_balancer_id, cloud.project_id, asked(network, chosen, port_id=port.id))
    has = addresses_of(cloud, port.id)
    assert len(has) == len(chosen) + 1
    for lost in values(vip):
        cloud.take_address(port.id, lost)
        for _ in range(2):
            cloud.network.restore_vip_address(load_balancer_id, vip)
            assert addresses_of(cloud, port.id) == has


def test_access_is_told_and_kept_whatever_the_versions(cloud: Cloud, subnets: tuple[Network, list[str]]) -> None:
    network, chosen = subnets
    load_balancer_id = new_id()
    vip = cloud.network.allocate_vip(load_balancer_id, cloud.project_id, asked(network, chosen))
    rules = [AccessRule("tcp", 80), AccessRule("tcp", 81, "198.18.7.0/24"), AccessRule("tcp", 82, "fd00:f161::/64")]
    for wanted in (rules, rules[1:], rules):
        cloud.network.set_vip_access(load_balancer_id, vip, wanted)
        assert cloud.network.vip_access(load_balancer_id) == frozenset(wanted)
    one_version = dataclasses.replace(vip, addresses=vip.addresses[:1])
    cloud.network.set_vip_access(load_balancer_id, one_version, rules)
    cloud.network.set_vip_access(load_balancer_id, vip, rules)
    assert cloud.network.vip_access(load_balancer_id) == frozenset(rules)
