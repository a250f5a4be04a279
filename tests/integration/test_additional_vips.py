"""Load balancers with several VIPs: on two subnets, and of both versions of IP. Clients are next to them, and behind routers."""

from __future__ import annotations

import dataclasses
import ipaddress
import itertools
import os
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from controller.dev import processes
from controller.dev.client import eventually
from controller.embedded import linux, networking
from tests.integration import speaking, test_protocol_matrix
from tests.integration.dual import Dual

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it makes network namespaces"),
]

TOPOLOGIES = ("SINGLE", "ACTIVE_STANDBY")
PLACES = {"four": "198.19.210.0/24", "other-four": "198.19.211.0/24", "six": "fd00:f161:10::/64"}
"""The subnets of VIPs, all on one network."""
BEYOND = {"four": "198.19.220.0/24", "other-four": "198.19.221.0/24", "six": "fd00:f161:20::/64"}
"""What is behind the router of each of them, and of no other one: an answer that goes to another router gets nowhere."""
PAIRS = [("four", "other-four"), ("four", "six"), ("six", "four")]
MEMBERS = {"back-web-4": "back", "back-web-6": "back"}


@dataclasses.dataclass
class Several:
    """A network with several subnets, each with a router of its own, and a client behind it (`beyond-<subnet>`)."""

    dual: Dual
    subnets: dict[str, str] = dataclasses.field(default_factory=dict)

    def build(self) -> None:
        network = self._network("several")
        self.subnets = {name: self._subnet(network, name, cidr) for name, cidr in PLACES.items()}
        self._machine("near", list(self.subnets.values()))
        for name, cidr in BEYOND.items():
            beyond = self._subnet(self._network(f"beyond-{name}"), f"beyond-{name}", cidr)
            router = self._tenants.create(networking.ROUTER, {"name": name, "project_id": "demo"})["id"]
            for subnet_id in (self.subnets[name], beyond):
                self._tenants.router_interface(router, {"subnet_id": subnet_id}, add=True)
            self._machine(f"beyond-{name}", [beyond])

    @property
    def _tenants(self) -> Any:
        return self.dual.network.tenants

    def _network(self, name: str) -> str:
        values = {"name": name, "project_id": "demo", "shared": False, "router:external": False, "mtu": 1500}
        return str(self._tenants.create(networking.NETWORK, values)["id"])

    def _subnet(self, network_id: str, name: str, cidr: str) -> str:
        values = {"name": name, "network_id": network_id, "project_id": "demo", "cidr": cidr}
        return str(self._tenants.create(networking.SUBNET, values)["id"])

    def _machine(self, name: str, subnet_ids: list[str]) -> None:
        """A namespace with an address on each of these, and its way out."""
        driver, host, namespace = self.dual.network, linux.Host(), self.dual.namespace(name)
        wanted = {"network_id": driver.get_subnet(subnet_ids[0]).network_id, "fixed_ips": [{"subnet_id": one} for one in subnet_ids]}
        made = self._tenants.create(networking.PORT, {"name": name, "project_id": "demo", "port_security_enabled": False, **wanted})
        port = driver.get_port(made["id"])
        linux.ensure_namespace(host, namespace)
        host.ip_batch(driver.namespace, linux.cable_lines(port, namespace, "eth0"))
        lines = ["link set eth0 up"]
        for fixed in port.fixed_ips:
            prefix = ipaddress.ip_network(driver.get_subnet(fixed.subnet_id).cidr).prefixlen
            lines.append(f"address add {fixed.ip_address}/{prefix} dev eth0" + (" nodad" if ":" in fixed.ip_address else ""))
        if len(subnet_ids) == 1:
            lines.append(f"route add default via {driver.get_subnet(subnet_ids[0]).gateway_ip}")
        host.ip_batch(namespace, lines)

    # What tests do

    def balancer(self, places: tuple[str, ...], topology: str, **listener: Any) -> tuple[dict[str, Any], dict[str, str]]:
        """A load balancer with VIPs on these subnets, made by one call; and its VIPs, by subnet."""
        members = [
            {
                "name": word,
                "address": self.dual.addresses[word.rpartition("-")[0]][int(word[-1])],
                "protocol_port": 80,
                "subnet_id": self.dual.subnets[where][int(word[-1])],
            }
            for word, where in MEMBERS.items()
        ]
        pool = {"name": "p", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN", "members": members}
        first, *others = (self.subnets[place] for place in places)
        body = {
            "name": "several",
            "vip_subnet_id": first,
            "additional_vips": [{"subnet_id": one} for one in others],
            "flavor_id": self.dual.flavors[topology],
            "listeners": [{"protocol": "HTTP", "protocol_port": 80, "default_pool": pool} | listener],
        }
        made: dict[str, Any] = self.dual.site.api.post("/loadbalancers", {"loadbalancer": body})["loadbalancer"]
        self.dual.site.api.wait_active(made["id"])
        shown = made["additional_vips"]
        assert [(one["subnet_id"], one["port_id"]) for one in shown] == [(one, made["vip_port_id"]) for one in others]
        return made, dict(zip(places, [made["vip_address"], *(one["ip_address"] for one in shown)], strict=True))

    def both_members_answer(self, client: str, vip: str) -> None:
        seen: set[str] = set()

        def they_do() -> bool:
            seen.add(self.dual.fetch(vip, client))
            return seen - {""} == set(MEMBERS)

        eventually(they_do, 60, lambda: f"{client} hears {sorted(seen)} from {vip}")

    def answers(self, vips: dict[str, str]) -> bool:
        """Whether each VIP answers the client behind the router of its subnet."""
        return all(self.dual.fetch(vip, f"beyond-{place}") for place, vip in vips.items())

    def held(self, load_balancer: dict[str, Any], vips: dict[str, str]) -> list[set[str]]:
        """The VIPs that each amphora of it has, of those that have any."""
        found = [vips_of(self.dual, one["id"], vips) for one in self.dual.amphorae(load_balancer)]
        return [one for one in found if one]


def inside(dual: Dual, amphora_id: str, *command: str) -> str:
    """What a command says in the tenant's namespace of an amphora; nothing if that is gone."""
    try:
        entrance = [*dual.site.machine.entrance(amphora_id), "ip", "netns", "exec", "haproxy", *command]
    except processes.DevError:
        return ""
    return subprocess.run(entrance, capture_output=True, text=True, check=False).stdout


def vips_of(dual: Dual, amphora_id: str, vips: dict[str, str]) -> set[str]:
    shown = inside(dual, amphora_id, "ip", "-brief", "address")
    return {vip for vip in vips.values() if f" {vip}/" in shown}


@pytest.fixture(scope="module")
def several(dual: Dual) -> Several:
    made = Several(dual)
    made.build()
    for topology in TOPOLOGIES:
        dual.add_flavor(f"direct {topology}", loadbalancer_topology=topology, sriov_vip=True)
    return made


@pytest.mark.parametrize(("places", "topology"), list(itertools.product(PAIRS, TOPOLOGIES)), ids=str)
def test_every_vip_leads_to_members_of_both_versions_and_answers_by_its_own_gateway(
    several: Several, places: tuple[str, str], topology: str
) -> None:
    made, vips = several.balancer(places, topology)
    for place, vip in vips.items():
        several.both_members_answer("near", vip)
        several.both_members_answer(f"beyond-{place}", vip)
    eventually(lambda: several.held(made, vips) == [set(vips.values())], 60, lambda: str(several.held(made, vips)))
    several.dual.delete(made)
    left = {port.device_id for port in several.dual.network.list_ours()}
    assert not any(made["id"] in device for device in left)


@pytest.mark.parametrize("places", PAIRS, ids=str)
def test_the_other_half_takes_all_vips_over_together(several: Several, places: tuple[str, str]) -> None:
    dual = several.dual
    made, vips = several.balancer(places, "ACTIVE_STANDBY")
    eventually(lambda: several.answers(vips), 60)
    eventually(lambda: several.held(made, vips) == [set(vips.values())], 60, lambda: str(several.held(made, vips)))
    (victim,) = [one for one in dual.amphorae(made) if vips_of(dual, one["id"], vips)]
    (other,) = [one for one in dual.amphorae(made) if one["id"] != victim["id"]]
    dual.site.kill(victim["pids"])
    eventually(lambda: several.answers(vips), 60)
    assert vips_of(dual, other["id"], vips) == set(vips.values()), "who answers is the other half, and no replacement"
    ids: Callable[[], list[str]] = lambda: [one["id"] for one in dual.amphorae(made)]  # noqa: E731
    eventually(lambda: len(ids()) == 2 and victim["id"] not in ids(), 60, "the lost half was not replaced")
    dual.site.api.wait_active(made["id"], 60)
    eventually(lambda: several.held(made, vips) == [set(vips.values())], 60, lambda: str(several.held(made, vips)))
    for place, vip in vips.items():
        several.both_members_answer("near", vip)
        several.both_members_answer(f"beyond-{place}", vip)
    dual.delete(made)


@pytest.mark.parametrize("places", PAIRS, ids=str)
def test_neighbours_and_routers_find_the_successor_of_a_single_amphora_at_once(several: Several, places: tuple[str, str]) -> None:
    dual = several.dual
    dual.believe_neighbours(dual.namespace("near"), *linux.namespaces(f"{dual.site.machine.settings.prefix}-router-"))
    made, vips = several.balancer(places, "SINGLE")
    eventually(lambda: several.answers(vips) and all(dual.fetch(vip, "near") for vip in vips.values()), 60)
    (old,) = dual.amphorae(made)
    dual.site.api.put(f"/loadbalancers/{made['id']}/failover")
    eventually(lambda: [one["id"] for one in dual.amphorae(made)] not in ([], [old["id"]]) and len(dual.amphorae(made)) == 1, 60)
    dual.site.api.wait_active(made["id"], 60)
    eventually(lambda: several.answers(vips) and all(dual.fetch(vip, "near") for vip in vips.values()), 60)
    dual.delete(made)


@pytest.mark.parametrize("flavor", ["SINGLE", *(f"direct {topology}" for topology in TOPOLOGIES)])
def test_a_range_of_clients_of_one_version_keeps_the_other_version_out(several: Several, flavor: str) -> None:
    made, vips = several.balancer(("four", "six"), flavor, allowed_cidrs=[BEYOND["four"]])
    assert several.dual.site.api.get(f"/loadbalancers/{made['id']}")["loadbalancer"]["vip_vnic_type"] == (
        "direct" if "direct" in flavor else "normal"
    )
    several.both_members_answer("beyond-four", vips["four"])
    assert several.dual.fetch(vips["four"], "near") == ""
    assert several.dual.fetch(vips["six"], "beyond-six") == ""
    both = {"listener": {"allowed_cidrs": [BEYOND["four"], BEYOND["six"]]}}
    several.dual.site.api.put(f"/listeners/{made['listeners'][0]['id']}", both)
    several.dual.site.api.wait_active(made["id"])
    several.both_members_answer("beyond-six", vips["six"])
    several.both_members_answer("beyond-four", vips["four"])
    assert several.dual.fetch(vips["six"], "near") == ""
    several.dual.delete(made)


@pytest.mark.parametrize(("places", "topology"), list(itertools.product(PAIRS, TOPOLOGIES)), ids=str)
def test_datagrams_are_answered_by_the_gateway_of_their_vip(several: Several, places: tuple[str, str], topology: str) -> None:
    dual = several.dual
    with test_protocol_matrix.members(dual):
        own = [
            {
                "name": f"back-{version}",
                "address": dual.addresses["back-web"][version],
                "protocol_port": speaking.port("datagram"),
                "subnet_id": dual.subnets["back"][version],
            }
            for version in {6 if place == "six" else 4 for place in places}  # datagrams are not translated between versions
        ]
        pool = {"name": "d", "protocol": "UDP", "lb_algorithm": "ROUND_ROBIN", "members": own}
        made, vips = several.balancer(places, topology, protocol="UDP", protocol_port=5000, default_pool=pool)
        for place, vip in vips.items():
            for client in ("near", f"beyond-{place}"):
                eventually(lambda: _is_answered(dual, client, vip), 60, f"{client} hears nothing from {vip}")  # noqa: B023
        dual.delete(made)


def _is_answered(dual: Dual, client: str, vip: str) -> bool:
    try:
        heard = speaking.ask(linux.enter(dual.namespace(client)), "datagram", vip, 5000, b"x")
    except AssertionError:
        return False
    return heard.member == ("back-6" if ":" in vip else "back-4")


def test_what_an_amphora_asks_of_members_is_sent_from_none_of_the_vips(several: Several) -> None:
    """They move; what was asked from one would be answered to whoever has it then."""
    dual = several.dual
    made, vips = several.balancer(("six", "four", "other-four"), "ACTIVE_STANDBY")
    eventually(lambda: several.held(made, vips) == [set(vips.values())], 60)
    targets = [*(dual.addresses["back-web"][version] for version in (4, 6)), *vips.values(), "203.0.113.9", "2001:db8::9"]
    for one in dual.amphorae(made):
        for target in targets[:2] + targets[-2:]:
            shown = inside(dual, one["id"], "ip", "route", "get", target)
            assert " src " in shown, shown
            assert shown.split(" src ")[1].split()[0] not in vips.values()
    dual.delete(made)
