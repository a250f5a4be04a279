"""What tenants ask of the embedded network, with real packets: security groups on VIPs and machines, and floating IPs."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from controller.dev.client import eventually
from controller.embedded import bridge, linux, networking, tenant_groups
from controller.model import load_balancer as model
from controller.model.network import AccessRule, VipRequest
from tests.integration.test_embedded_network import ANSWER_TCP, ANSWER_UDP, ASK_TCP, ASK_UDP, Playground, playground_of

pytestmark = [pytest.mark.integration, pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it makes network namespaces")]

PROJECT = "project-1"


@pytest.fixture
def playground(tmp_path: pathlib.Path) -> Iterator[Playground]:
    yield from playground_of(tmp_path, port_security=True, public_cidr="198.19.128.0/24")


class Carrier:
    """A load balancer's VIP, in a machine that stands in for its amphora."""

    def __init__(self, playground: Playground) -> None:
        self.playground = playground
        self.network = playground.network
        self.vip: model.Vip = self.network.allocate_vip("lb-1", PROJECT, VipRequest(network_id=playground.private.id))
        self.namespace = self.amphora("amphora-1")

    def amphora(self, name: str) -> str:
        port = self.network.ensure_vrrp_port(name, "lb-1", self.vip)
        return self.playground.machine(name, port, f"{self.vip.address}/32")

    def put(self, *group_ids: str) -> None:
        """As a tenant does it, through the API's port."""
        self.network.tenants.update(networking.PORT, self.vip.port_id, {"security_groups": list(group_ids)})

    def groups(self) -> list[str]:
        """Those of the VIP port now."""
        found: list[str] = self.network.tenants.shown(networking.PORT, self.vip.port_id)["security_groups"]
        return found


@pytest.fixture
def carrier(playground: Playground) -> Carrier:
    return Carrier(playground)


def group(network: bridge.BridgeNetwork, name: str, *rules: dict[str, Any]) -> str:
    """A security group with these rules, beside those that let everything out."""
    made: str = network.tenants.create(networking.SECURITY_GROUP, {"name": name, "project_id": PROJECT})["id"]
    for wanted in rules:
        rule(network, made, **wanted)
    return made


def rule(network: bridge.BridgeNetwork, group_id: str, **values: Any) -> str:
    """One more rule of a group; returns its id."""
    whole = {"security_group_id": group_id, "project_id": PROJECT, "direction": "ingress", "ethertype": "IPv4", **values}
    made: str = network.tenants.create(networking.SECURITY_GROUP_RULE, whole)["id"]
    return made


def tcp(low: int, high: int | None = None, **more: Any) -> dict[str, Any]:
    return {"protocol": "tcp", "port_range_min": low, "port_range_max": high or low, **more}


def test_a_group_on_a_vip_port_admits_what_its_rules_say(playground: Playground, carrier: Carrier) -> None:
    network, vip = playground.network, carrier.vip.address
    client, address = playground.tenant("client")
    for port in (80, 8080, 8090):
        playground.serve(carrier.namespace, ANSWER_TCP, vip, port)
    network.set_vip_access("lb-1", carrier.vip, [AccessRule("tcp", 80)])
    assert playground.asks(client, ASK_TCP, vip, 80, address)
    assert playground.is_dropped(client, ASK_TCP, vip, 8080, address)
    assert playground.ping_is_dropped(client, vip)
    lbaas = group(network, "lbaas", tcp(8080, 8089), {"protocol": "icmp"})
    assert playground.is_dropped(client, ASK_TCP, vip, 8080, address), "a group that no port has opens nothing"
    (own,) = carrier.groups()
    carrier.put(own, lbaas)
    assert playground.asks(client, ASK_TCP, vip, 8080, address)
    assert playground.asks(client, ASK_TCP, vip, 80, address), "what a listener opens stays open beside it"
    assert playground.is_dropped(client, ASK_TCP, vip, 8090, address)
    assert playground.pings(client, vip)
    more = rule(network, lbaas, **tcp(8090))
    assert playground.asks(client, ASK_TCP, vip, 8090, address)
    network.tenants.delete(networking.SECURITY_GROUP_RULE, more)
    assert playground.is_dropped(client, ASK_TCP, vip, 8090, address)
    carrier.put()
    for port in (80, 8080):
        assert playground.is_dropped(client, ASK_TCP, vip, port, address), "without a group nothing comes in"
    assert playground.ping_is_dropped(client, vip)
    carrier.put(own)
    assert playground.asks(client, ASK_TCP, vip, 80, address)


def test_a_closed_group_in_place_of_the_load_balancers_own_drops_what_listeners_open(playground: Playground, carrier: Carrier) -> None:
    network, vip = playground.network, carrier.vip.address
    client, address = playground.tenant("client")
    playground.serve(carrier.namespace, ANSWER_TCP, vip, 80)
    playground.serve(client, ANSWER_TCP, address, 80)
    network.set_vip_access("lb-1", carrier.vip, [AccessRule("tcp", 80)])
    closed = group(network, "closed")
    carrier.put(closed)
    assert playground.is_dropped(client, ASK_TCP, vip, 80, address)
    assert playground.asks(carrier.namespace, ASK_TCP, address, 80, vip), "answers come in"
    network.set_vip_access("lb-1", carrier.vip, [AccessRule("tcp", 80), AccessRule("tcp", 81)])
    assert playground.is_dropped(client, ASK_TCP, vip, 80, address), "a change of listeners opens nothing"
    opening = rule(network, closed, **tcp(80))
    assert playground.asks(client, ASK_TCP, vip, 80, address)
    network.tenants.delete(networking.SECURITY_GROUP_RULE, opening)
    assert playground.is_dropped(client, ASK_TCP, vip, 80, address)
    network.set_vip_security_groups("lb-1", carrier.vip, [])
    assert playground.asks(client, ASK_TCP, vip, 80, address), "the load balancer's own group is back"
    network.set_vip_security_groups("lb-1", carrier.vip, [closed])
    assert playground.is_dropped(client, ASK_TCP, vip, 80, address)


def test_a_pair_goes_on_talking_under_any_group(playground: Playground, carrier: Carrier) -> None:
    network, vip = playground.network, carrier.vip
    ports = [network.ensure_vrrp_port(name, "lb-1", vip) for name in ("amphora-1", "amphora-2")]
    first, second = (port.fixed_ips[0].ip_address for port in ports)
    other = playground.machine("amphora-2", ports[1])
    playground.serve(carrier.namespace, ANSWER_TCP, first, 1025)
    halves = [f"{address}/32" for address in (first, second)]
    network.set_vip_access("lb-1", vip, [AccessRule("tcp", 1025, half, between_amphorae=True) for half in halves])
    client, address = playground.tenant("client")
    for groups in ([group(network, "closed")], []):
        carrier.put(*groups)
        assert playground.asks(other, ASK_TCP, first, 1025, second)
        assert playground.is_dropped(client, ASK_TCP, first, 1025, address)
    network.install()
    assert playground.asks(other, ASK_TCP, first, 1025, second)
    network.set_vip_access("lb-1", vip, [])
    assert playground.is_dropped(other, ASK_TCP, first, 1025, second)


def test_a_remote_prefix_and_a_remote_group_admit_those_alone(playground: Playground, carrier: Carrier) -> None:
    network, vip = playground.network, carrier.vip.address
    friend, friends_address = playground.tenant("friend")
    stranger, strangers_address = playground.tenant("stranger")
    playground.serve(carrier.namespace, ANSWER_TCP, vip, 80)
    by_prefix = group(network, "by-prefix", tcp(80, remote_ip_prefix=f"{friends_address}/32"))
    clients = group(network, "clients")
    by_group = group(network, "by-group", tcp(80, remote_group_id=clients))
    carrier.put(by_prefix)
    assert playground.asks(friend, ASK_TCP, vip, 80, friends_address)
    assert playground.is_dropped(stranger, ASK_TCP, vip, 80, strangers_address)
    carrier.put(by_group)
    assert playground.is_dropped(friend, ASK_TCP, vip, 80, friends_address)
    (port,) = [one for one in network.tenants.all(networking.PORT) if one["name"] == "friend"]
    network.tenants.update(networking.PORT, port["id"], {"port_security_enabled": True, "security_groups": [clients]})
    assert playground.asks(friend, ASK_TCP, vip, 80, friends_address)
    assert playground.is_dropped(stranger, ASK_TCP, vip, 80, strangers_address)
    network.tenants.update(networking.PORT, port["id"], {"security_groups": []})
    assert playground.is_dropped(friend, ASK_TCP, vip, 80, friends_address)


def test_an_icmp_type_is_told_from_another(playground: Playground, carrier: Carrier) -> None:
    client, _ = playground.tenant("client")
    timestamps = group(playground.network, "timestamps", {"protocol": "icmp", "port_range_min": 13, "port_range_max": 0})
    echoes = group(playground.network, "echoes", {"protocol": "icmp", "port_range_min": 8, "port_range_max": 0})
    carrier.put(timestamps)
    assert playground.ping_is_dropped(client, carrier.vip.address)
    carrier.put(timestamps, echoes)
    assert playground.pings(client, carrier.vip.address)


def test_an_amphora_that_takes_over_has_the_groups_too(playground: Playground, carrier: Carrier) -> None:
    client, address = playground.tenant("client")
    carrier.put(group(playground.network, "lbaas", tcp(8080), {"protocol": "icmp"}))
    playground.network.delete_amphora_ports("amphora-1")
    linux.delete_namespace(linux.Host(), carrier.namespace)
    successor = carrier.amphora("amphora-2")
    for port in (8080, 8090):
        playground.serve(successor, ANSWER_TCP, carrier.vip.address, port)
    eventually(lambda: playground.asks(client, ASK_TCP, carrier.vip.address, 8080, address, 1), 60)
    assert playground.pings(client, carrier.vip.address)
    assert playground.is_dropped(client, ASK_TCP, carrier.vip.address, 8090, address)


def test_groups_are_there_again_when_the_filter_was_lost(playground: Playground, carrier: Carrier) -> None:
    client, address = playground.tenant("client")
    playground.serve(carrier.namespace, ANSWER_TCP, carrier.vip.address, 8080)
    made = group(playground.network, "lbaas", tcp(8080))
    carrier.put(made)
    linux.Host().inside(playground.network.namespace, ["nft", "flush", "ruleset"])
    rule(playground.network, made, **tcp(8090))  # any change finds that the filter is not as it was left
    assert playground.asks(client, ASK_TCP, carrier.vip.address, 8080, address)
    playground.network.install()
    assert playground.asks(client, ASK_TCP, carrier.vip.address, 8080, address)
    assert playground.is_dropped(client, ASK_TCP, carrier.vip.address, 81, address)


def test_a_machine_with_groups_answers_and_sends_as_they_say(playground: Playground) -> None:
    network = playground.network
    client, clients_address = playground.tenant("client")
    web = group(network, "web", tcp(80), {"protocol": "udp", "port_range_min": 53, "port_range_max": 53})
    values = {"name": "machine", "network_id": playground.private.id, "project_id": PROJECT, "security_groups": [web]}
    port = network.get_port(network.tenants.create(networking.PORT, values)["id"])
    machine, address = playground.machine("machine", port), port.fixed_ips[0].ip_address
    for number in (80, 81):
        playground.serve(machine, ANSWER_TCP, address, number)
        playground.serve(client, ANSWER_TCP, clients_address, number)
    playground.serve(machine, ANSWER_UDP, address, 53)
    playground.serve(client, ANSWER_UDP, clients_address, 54)
    assert playground.asks(client, ASK_TCP, address, 80, clients_address)
    assert playground.is_dropped(client, ASK_TCP, address, 81, clients_address)
    assert playground.asks(client, ASK_UDP, address, 53, clients_address)
    assert playground.asks(machine, ASK_TCP, clients_address, 80, address)
    assert playground.asks(machine, ASK_UDP, clients_address, 54, address)
    for one in network.tenants.shown(networking.SECURITY_GROUP, web)["security_group_rules"]:
        if one["direction"] == "egress":
            network.tenants.delete(networking.SECURITY_GROUP_RULE, one["id"])
    assert playground.is_dropped(machine, ASK_TCP, clients_address, 80, address)
    assert playground.asks(client, ASK_TCP, address, 80, clients_address), "an answer needs no rule"
    assert playground.asks(client, ASK_UDP, address, 53, clients_address)
    rule(network, web, **tcp(81, direction="egress", remote_ip_prefix=f"{clients_address}/32"))
    assert playground.asks(machine, ASK_TCP, clients_address, 81, address)
    assert playground.is_dropped(machine, ASK_TCP, clients_address, 80, address)


def test_a_floating_ip_leads_in_until_it_is_taken_away(playground: Playground, carrier: Carrier) -> None:
    network = playground.network
    public = network.network_named(bridge.PUBLIC_NETWORK)
    port = network.create_port("outside", public.id, public.subnet_ids[0])
    outside, address = playground.machine("outside", port), port.fixed_ips[0].ip_address
    gateway = network.get_subnet(playground.private.subnet_ids[0]).gateway_ip
    linux.Host().ip_batch(carrier.namespace, [f"route add default via {gateway} src {carrier.vip.address}"])
    playground.serve(carrier.namespace, ANSWER_TCP, carrier.vip.address, 80)
    network.set_vip_access("lb-1", carrier.vip, [AccessRule("tcp", 80)])
    values = {"floating_network_id": public.id, "project_id": PROJECT, "port_id": carrier.vip.port_id}
    floating = network.tenants.create(networking.FLOATING_IP, values)
    leads = floating["floating_ip_address"]
    assert playground.asks(outside, ASK_TCP, leads, 80, address)
    network.install()
    assert playground.asks(outside, ASK_TCP, leads, 80, address), "to build the ground again changes nothing"
    assert playground.ping_is_dropped(outside, leads), "the filter of the VIP holds for what comes by the floating IP"
    carrier.put(*carrier.groups(), group(network, "pings", {"protocol": "icmp", "remote_ip_prefix": f"{address}/32"}))
    assert playground.pings(outside, leads), "the filter sees the address of the asker"
    assert network.floating_addresses(carrier.vip.port_id) == {leads}
    network.tenants.update(networking.FLOATING_IP, floating["id"], {"port_id": None})
    assert network.floating_addresses(carrier.vip.port_id) == frozenset()
    assert playground.is_dropped(outside, ASK_TCP, leads, 80, address)
    network.tenants.update(networking.FLOATING_IP, floating["id"], {"port_id": carrier.vip.port_id})
    assert playground.asks(outside, ASK_TCP, leads, 80, address)
    network.tenants.delete(networking.FLOATING_IP, floating["id"])
    assert playground.is_dropped(outside, ASK_TCP, leads, 80, address)


def test_a_router_leads_ipv6_from_one_network_to_another_and_to_the_outside(playground: Playground) -> None:
    network = playground.network
    public = network.network_named(bridge.PUBLIC_NETWORK)
    outer = {"name": "outer", "network_id": public.id, "cidr": "fd00:f161:f::/64", "project_id": PROJECT}
    beyond = network.tenants.create(networking.SUBNET, outer)["id"]
    gateway = {"network_id": public.id, "external_fixed_ips": [{"subnet_id": beyond}]}
    router = network.tenants.create(networking.ROUTER, {"name": "r", "project_id": PROJECT, "external_gateway_info": gateway})["id"]
    machines: list[tuple[str, str]] = []
    for number in (1, 2):
        values = {"name": f"n{number}", "project_id": PROJECT, "shared": False, "router:external": False, "mtu": 1500}
        made = network.tenants.create(networking.NETWORK, values)["id"]
        inner = {"name": "s", "network_id": made, "cidr": f"fd00:f161:{number}::/64", "project_id": PROJECT}
        subnet = network.tenants.create(networking.SUBNET, inner)
        network.tenants.router_interface(router, {"subnet_id": subnet["id"]}, add=True)
        machines.append(routed(playground, f"inside-{number}", made, subnet))
    port = network.create_port("outside", public.id, beyond)
    outside = playground.machine("outside", port), port.fixed_ips[0].ip_address
    (leg,) = [
        one
        for one in network.tenants.all(networking.PORT)
        if one["device_id"] == router and one["device_owner"] == "network:router_gateway"
    ]
    linux.Host().ip_batch(outside[0], [f"route add fd00:f161::/32 via {leg['fixed_ips'][0]['ip_address']} dev eth0"])
    for namespace, _ in machines:
        for _, address in machines:
            assert playground.pings(namespace, address)
        assert playground.pings(namespace, outside[1])
    assert playground.pings(outside[0], machines[0][1]), "nothing is translated"
    network.tenants.router_interface(router, {"subnet_id": network.tenants.all(networking.SUBNET)[-1]["id"]}, add=False)
    assert playground.ping_is_dropped(machines[0][0], machines[1][1])


def routed(playground: Playground, name: str, network_id: str, subnet: dict[str, Any]) -> tuple[str, str]:
    """A machine that goes by its subnet's gateway; its namespace and address."""
    port = playground.network.create_port(name, network_id, subnet["id"])
    namespace = playground.machine(name, port)
    linux.Host().ip_batch(namespace, [f"route add default via {subnet['gateway_ip']} dev eth0"])
    return namespace, port.fixed_ips[0].ip_address


DYING = """
import os, pathlib, signal, sys
from controller.embedded import linux
from controller.embedded import bridge, networking

class Dying(linux.Host):
    def inside(self, namespace, argv, text=""):
        super().inside(namespace, argv, text)
        os.kill(os.getpid(), signal.SIGKILL)

network = bridge.BridgeNetwork(
    state_path=pathlib.Path(sys.argv[1]), namespace_prefix=sys.argv[2], management_cidr="198.19.0.0/20", private_cidr="198.19.64.0/20",
    public_cidr="198.19.128.0/24", host=Dying())
values = {"security_group_id": sys.argv[3], "project_id": "p", "direction": "ingress", "ethertype": "IPv4", "protocol": "tcp"}
network.tenants.create(networking.SECURITY_GROUP_RULE, values)
"""


def test_what_a_killed_process_opened_is_closed_by_the_next_change(
    playground: Playground, carrier: Carrier, tmp_path: pathlib.Path
) -> None:
    client, address = playground.tenant("client")
    playground.serve(carrier.namespace, ANSWER_TCP, carrier.vip.address, 8080)
    made = group(playground.network, "lbaas")
    carrier.put(made)
    done = subprocess.run([sys.executable, "-c", DYING, str(tmp_path), playground.prefix, made], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert playground.asks(client, ASK_TCP, carrier.vip.address, 8080, address), "the kernel was changed before the process died"
    group(playground.network, "another")
    assert playground.is_dropped(client, ASK_TCP, carrier.vip.address, 8080, address)
    assert not list(tmp_path.glob("unsettled.*"))


def test_what_an_undone_change_left_in_the_kernel_goes_with_the_next(
    playground: Playground, carrier: Carrier, tmp_path: pathlib.Path
) -> None:
    client, address = playground.tenant("client")
    playground.serve(carrier.namespace, ANSWER_TCP, carrier.vip.address, 8080)
    made = group(playground.network, "lbaas")
    carrier.put(made)

    def broken_off() -> None:
        with playground.network.inventory.change() as contents:
            values = {"security_group_id": made, "direction": "ingress", "ethertype": "IPv4", "protocol": "tcp"}
            tenant_groups.create_rule(contents, values)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        broken_off()
    assert playground.asks(client, ASK_TCP, carrier.vip.address, 8080, address)
    group(playground.network, "another")
    assert playground.is_dropped(client, ASK_TCP, carrier.vip.address, 8080, address)
