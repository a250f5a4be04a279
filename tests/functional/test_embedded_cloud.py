"""What the embedded network promises beside the contract: its Networking API, with effect, and a packet filter that mends itself."""

from __future__ import annotations

import ipaddress
import os
import pathlib
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from controller import exceptions
from controller.drivers.network import interface
from controller.embedded import bridge, linux, networking, scratch
from controller.model.network import AccessRule, Network, VipRequest, WantedAddress
from tests.builders import PROJECT
from tests.contract import embedded_cloud

Embedded = bridge.BridgeNetwork | scratch.ScratchNetwork


@pytest.fixture
def embedded(tmp_path: pathlib.Path) -> Iterator[embedded_cloud.EmbeddedCloud]:
    if os.geteuid() != 0:
        pytest.skip("needs root: it makes network namespaces")
    made = embedded_cloud.EmbeddedCloud(tmp_path)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(params=["scratch", pytest.param("bridge", marks=pytest.mark.integration)])
def network(request: pytest.FixtureRequest) -> Embedded:
    if request.param == "scratch":
        return scratch.ScratchNetwork()
    made: embedded_cloud.EmbeddedCloud = request.getfixturevalue("embedded")
    return made.network


@pytest.fixture(params=["198.18.7.0/28", "fd00:f161::/124"], ids=["ipv4", "ipv6"])
def private(network: Embedded, request: pytest.FixtureRequest) -> Network:
    """A tenant's network; the one of IPv4 has a way out."""
    values = {"name": "tenant", "project_id": PROJECT, "shared": True, "router:external": False, "mtu": 1500}
    made = network.tenants.create(networking.NETWORK, values)["id"]
    subnet = network.tenants.create(networking.SUBNET, {"name": "tenant", "network_id": made, "cidr": request.param, "project_id": PROJECT})
    (router,) = network.tenants.all(networking.ROUTER)
    network.tenants.router_interface(router["id"], {"subnet_id": subnet["id"]}, add=True)
    return network.get_network(made)


def new_id() -> str:
    return str(uuid.uuid4())


def on(network: Network) -> VipRequest:
    return VipRequest(network_id=network.id)


def test_the_group_of_a_vip_says_what_listeners_open(network: Embedded, private: Network) -> None:
    load_balancer_id = new_id()
    vip = network.allocate_vip(load_balancer_id, PROJECT, on(private))
    (own,) = groups_of(network, vip.port_id)
    assert network.get_security_group(own).project_id == networking.SERVICE_PROJECT
    network.set_vip_access(load_balancer_id, vip, [AccessRule("tcp", 80, "192.0.2.0/24")])
    rules = {
        (one["direction"], one["ethertype"], one["protocol"], one["port_range_min"], one["port_range_max"], one["remote_ip_prefix"])
        for one in network.tenants.shown(networking.SECURITY_GROUP, own)["security_group_rules"]
    }
    out = {("egress", ethertype, None, None, None, None) for ethertype in ("IPv4", "IPv6")}
    assert rules == out | {("ingress", "IPv4", "tcp", 80, 80, "192.0.2.0/24")}


def test_a_port_that_is_a_vip_is_renamed_and_not_deleted(network: Embedded, private: Network) -> None:
    port = network.create_port("mine", private.id, private.subnet_ids[0])
    network.allocate_vip(new_id(), PROJECT, VipRequest(port_id=port.id))
    assert network.tenants.update(networking.PORT, port.id, {"name": "renamed"})["name"] == "renamed"
    with pytest.raises(networking.NetworkConflict):
        network.tenants.delete(networking.PORT, port.id)


def test_the_services_own_group_is_changed_by_nobody_else(network: Embedded, private: Network) -> None:
    vip = network.allocate_vip(new_id(), PROJECT, on(private))
    (own,) = groups_of(network, vip.port_id)
    (rule, *_) = network.tenants.shown(networking.SECURITY_GROUP, own)["security_group_rules"]
    network.tenants.update(networking.PORT, vip.port_id, {"security_groups": []})
    values = {"security_group_id": own, "project_id": PROJECT, "direction": "ingress", "ethertype": "IPv4"}
    for change in (
        lambda: network.tenants.delete(networking.SECURITY_GROUP, own),
        lambda: network.tenants.update(networking.SECURITY_GROUP, own, {"name": "mine"}),
        lambda: network.tenants.create(networking.SECURITY_GROUP_RULE, values),
        lambda: group(network, remote_group_id=own),
        lambda: network.tenants.delete(networking.SECURITY_GROUP_RULE, rule["id"]),
    ):
        with pytest.raises(networking.NetworkConflict):
            change()


def group(network: Embedded, name: str = "web", **rule: Any) -> str:
    """A security group of a tenant, with one rule more than it is born with."""
    made: str = network.tenants.create(networking.SECURITY_GROUP, {"name": name, "project_id": PROJECT})["id"]
    values = {"direction": "ingress", "ethertype": "IPv4", "protocol": "tcp", "port_range_min": 80, "port_range_max": 80, **rule}
    network.tenants.create(networking.SECURITY_GROUP_RULE, {"security_group_id": made, "project_id": PROJECT, **values})
    return made


def groups_of(network: Embedded, port_id: str) -> list[str]:
    found: list[str] = network.tenants.shown(networking.PORT, port_id)["security_groups"]
    return found


def test_a_vip_with_groups_and_a_floating_ip_can_be_given_back(network: Embedded, private: Network) -> None:
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
        assert network.tenants.shown(networking.FLOATING_IP, floating["id"])["status"] == "DOWN"
    network.tenants.delete(networking.SECURITY_GROUP, known)


def floating_ip(network: Embedded, **more: Any) -> networking.Document:
    (public,) = [one["id"] for one in network.tenants.all(networking.NETWORK) if one["router:external"]]
    return network.tenants.create(networking.FLOATING_IP, {"floating_network_id": public, "project_id": PROJECT, **more})


def test_a_group_that_a_port_has_can_not_be_deleted(network: Embedded, private: Network) -> None:
    load_balancer_id, known = new_id(), group(network)
    vip = network.allocate_vip(load_balancer_id, PROJECT, on(private))
    network.set_vip_security_groups(load_balancer_id, vip, [known])
    with pytest.raises(networking.NetworkConflict) as caught:
        network.tenants.delete(networking.SECURITY_GROUP, known)
    assert caught.value.type == "SecurityGroupInUse"


def test_a_group_that_others_rules_name_takes_those_rules_with_it(network: Embedded) -> None:
    named = group(network, "named")
    naming = group(network, "naming", remote_group_id=named)
    network.tenants.delete(networking.SECURITY_GROUP, named)
    rules = network.tenants.shown(networking.SECURITY_GROUP, naming)["security_group_rules"]
    assert {rule["direction"] for rule in rules} == {"egress"}


def test_a_network_of_a_tenant_takes_vips_and_goes_when_it_is_empty(network: Embedded) -> None:
    values = {"name": "mine", "project_id": PROJECT, "shared": False, "router:external": False, "mtu": 1400}
    made = network.tenants.create(networking.NETWORK, values)["id"]
    subnet = network.tenants.create(networking.SUBNET, {"name": "s", "project_id": PROJECT, "network_id": made, "cidr": "10.77.0.0/24"})
    assert (subnet["gateway_ip"], subnet["allocation_pools"]) == ("10.77.0.1", [{"start": "10.77.0.2", "end": "10.77.0.254"}])
    load_balancer_id = new_id()
    vip = network.allocate_vip(load_balancer_id, PROJECT, VipRequest(network_id=made))
    network.ensure_vrrp_port("amphora-1", load_balancer_id, vip)
    with pytest.raises(networking.NetworkConflict):
        network.tenants.delete(networking.NETWORK, made)
    network.delete_amphora_ports("amphora-1")
    network.deallocate_vip(load_balancer_id, vip)
    network.tenants.delete(networking.NETWORK, made)
    with pytest.raises(exceptions.NotFound):
        network.get_subnet(subnet["id"])


def test_a_floating_ip_needs_a_router_that_leads_there(network: Embedded) -> None:
    values = {"name": "mine", "project_id": PROJECT, "shared": False, "router:external": False, "mtu": 1500}
    made = network.tenants.create(networking.NETWORK, values)["id"]
    wanted = {"name": "s", "project_id": PROJECT, "network_id": made, "cidr": "10.77.0.0/24"}
    subnet = network.tenants.create(networking.SUBNET, wanted)["id"]
    vip = network.allocate_vip(new_id(), PROJECT, VipRequest(subnet_id=subnet))
    floating = floating_ip(network)
    with pytest.raises(exceptions.NotFound) as caught:
        network.tenants.update(networking.FLOATING_IP, floating["id"], {"port_id": vip.port_id})
    assert caught.value.kind == "ExternalGatewayForFloatingIP"
    router = network.tenants.create(
        networking.ROUTER,
        {"name": "r", "project_id": PROJECT, "external_gateway_info": {"network_id": floating["floating_network_id"]}},
    )["id"]
    network.tenants.router_interface(router, {"subnet_id": subnet}, add=True)
    assert network.tenants.update(networking.FLOATING_IP, floating["id"], {"port_id": vip.port_id})["router_id"] == router
    with pytest.raises(networking.NetworkConflict):
        network.tenants.router_interface(router, {"subnet_id": subnet}, add=False)
    network.tenants.delete(networking.FLOATING_IP, floating["id"])
    network.tenants.router_interface(router, {"subnet_id": subnet}, add=False)
    network.tenants.delete(networking.ROUTER, router)


def test_a_floating_ip_leads_to_whichever_vip_is_named(network: Embedded) -> None:
    values = {"name": "mine", "project_id": PROJECT, "shared": False, "router:external": False, "mtu": 1500}
    made = network.tenants.create(networking.NETWORK, values)["id"]
    wanted = [{"name": "s", "project_id": PROJECT, "network_id": made, "cidr": f"10.{number}.0.0/24"} for number in (77, 78)]
    first, second = (network.tenants.create(networking.SUBNET, one)["id"] for one in wanted)
    (router,) = network.tenants.all(networking.ROUTER)
    for subnet_id in (first, second):
        network.tenants.router_interface(router["id"], {"subnet_id": subnet_id}, add=True)
    vip = network.allocate_vip(new_id(), PROJECT, VipRequest(subnet_id=first, additional=(WantedAddress(second),)))
    floating = floating_ip(network)
    with pytest.raises(networking.NetworkInvalid, match="several IPv4 addresses"):
        network.tenants.update(networking.FLOATING_IP, floating["id"], {"port_id": vip.port_id})
    for one in vip.addresses:
        leads = {"port_id": vip.port_id, "fixed_ip_address": one.ip_address}
        assert network.tenants.update(networking.FLOATING_IP, floating["id"], leads)["fixed_ip_address"] == one.ip_address


# The packet filter


def test_a_network_without_packets_has_no_filter_to_mend() -> None:
    assert not isinstance(scratch.ScratchNetwork(), interface.FilterKeeper)


@pytest.mark.integration
def test_a_filter_that_says_what_the_books_say_is_left_alone(embedded: embedded_cloud.EmbeddedCloud) -> None:
    network, private = embedded.network, embedded.network.network_named("private")
    assert isinstance(network, interface.FilterKeeper)
    assert network.mend_filter() == frozenset()
    load_balancer_id = new_id()
    vip = network.allocate_vip(load_balancer_id, PROJECT, on(private))
    network.ensure_vrrp_port(new_id(), load_balancer_id, vip)
    network.set_vip_access(load_balancer_id, vip, [AccessRule("tcp", port) for port in (80, 443, 8080)])
    assert network.mend_filter() == frozenset()
    learned = "add element bridge figlina asked4 { 192.0.2.1 . 53 . 10.0.0.1 . 1000 }\n"
    linux.Host().inside(network.namespace, ["nft", "-f", "-"], learned)
    assert network.mend_filter() == frozenset(), "what the kernel learns by itself comes and goes"


DAMAGE = {
    "a rule": "flush chain bridge figlina sgi_{group}",
    "a port's rules": "flush chain bridge figlina to_{cable}",
    "what leads to a port's rules": "delete element bridge figlina closed {{ {cable} }}",
    "an address that it may send from": "delete element bridge figlina senders{version} {{ {cable} . {address} }}",
    "an address more that it may send from": "add element bridge figlina senders{version} {{ {cable} . {foreign} }}",
    "a MAC more that it may send from": "add element bridge figlina macs {{ {cable} . 02:00:00:00:00:99 }}",
    "another rule instead": "flush chain bridge figlina sgi_{group}\nadd rule bridge figlina sgi_{group} accept",
    "a rule more": "insert rule bridge figlina to_{cable} accept",
    "a rule of everybody's": "flush chain bridge figlina answers_only",
    "the way into it": "flush chain bridge figlina forward",
    "all of it": "flush ruleset",
}


@pytest.mark.integration
@pytest.mark.parametrize("what", DAMAGE)
def test_what_somebody_takes_out_of_the_kernels_filter_is_found_and_put_back(embedded: embedded_cloud.EmbeddedCloud, what: str) -> None:
    network, private = embedded.network, embedded.network.network_named("private")
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
        "foreign": "192.0.2.99" if "." in ports["lb-1"].fixed_ips[0].ip_address else "2001:db8::99",
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
