"""VIPs that no security group guards: amphorae hold `allowed_cidrs` themselves. One of type direct (SR-IOV) is a cable here on which the
network filters nothing, and so is a port on a network without port security.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import socket
import time
import uuid
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import pytest

from amphora_agent import system
from controller.dev import certificates, processes
from controller.dev.client import eventually
from controller.embedded import linux, networking
from tests.integration import speaking
from tests.integration.dual import Dual
from tests.integration.site import Site, agent_pids

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it makes network namespaces"),
]
ELSEWHERE = "203.0.113.0/24"
RANGES = {4: "198.19.204.0/24", 6: "fd00:f161:5::/64"}
LISTENERS = {"HTTP": (80, "http"), "TCP": (81, "http"), "UDP": (53, "datagram")}
"""By protocol: the port of the VIP, and what its member speaks."""
_DROPPED = 2.0  # seconds; what is dropped is never answered, and what passes is within milliseconds, if nothing keeps the processors
_REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def _flavor(site: Site, **data: Any) -> str:
    profile = {"name": str(uuid.uuid4()), "provider_name": "amphora", "flavor_data": json.dumps({"sriov_vip": True, **data})}
    made = site.api.post("/flavorprofiles", {"flavorprofile": profile})["flavorprofile"]
    return str(site.api.post("/flavors", {"flavor": {"name": profile["name"], "flavor_profile_id": made["id"]}})["flavor"]["id"])


@pytest.mark.parametrize("topology", ["SINGLE", "ACTIVE_STANDBY"])
def test_allowed_ranges_hold_on_a_direct_vip_and_a_pair_hears_itself(site: Site, topology: str) -> None:
    balancer = site.balancer(("web-1", "web-2"), flavor_id=_flavor(site, loadbalancer_topology=topology))
    assert balancer.show()["vip_vnic_type"] == "direct"
    ours = [port for port in site.machine.network.list_ours() if port.name.startswith("octavia-lb-vrrp-")]
    assert {port.vnic_type for port in ours if port.device_id in {one["id"] for one in balancer.amphorae()}} == {"direct"}
    listener = f"/listeners/{balancer.listener_id}"
    for cidrs, is_served in (([ELSEWHERE], False), ([ELSEWHERE, _client(site)], True), ([], True), ([ELSEWHERE], False), (None, True)):
        site.api.put(listener, {"listener": {"allowed_cidrs": cidrs}})
        balancer.wait_active()
        answers = {site.fetch(balancer.vip) for _ in range(4)}
        assert answers == ({"web-1", "web-2"} if is_served else {""}), cidrs
    if topology == "ACTIVE_STANDBY":  # each hears the other, so one holds the VIP; the other one takes it over
        first = next(one for one in balancer.amphorae() if one["role"] == "MASTER")
        site.kill(first["pids"])
        balancer.serves({"web-1", "web-2"}, within=60)
        site.api.wait_active(balancer.id, 120)
    else:
        site.kill(agent_pids(*balancer.amphorae()))
        eventually(lambda: bool(agent_pids(*balancer.amphorae())), 60, "the agent does not come back")
    site.api.put(listener, {"listener": {"allowed_cidrs": [ELSEWHERE]}})
    balancer.wait_active(120)
    assert {site.fetch(balancer.vip) for _ in range(3)} == {""}
    balancer.delete()


def _client(site: Site) -> str:
    return f"{site.machine.settings.tenants['client']}/32"


@pytest.fixture(scope="module")
def bare(dual: Dual) -> Dual:
    """With a network `bare` without port security: there are `guest` and `intruder`, and `bare-web`, a member."""
    values = {"name": "bare", "project_id": "demo", "shared": False, "router:external": False, "mtu": 1500, "port_security_enabled": False}
    network = dual.network.tenants.create(networking.NETWORK, values)["id"]
    place = {"name": "bare", "network_id": network, "project_id": "demo", "gateway_ip": None}
    made = {version: dual.network.tenants.create(networking.SUBNET, {**place, "cidr": cidr})["id"] for version, cidr in RANGES.items()}
    dual.subnets["bare"] = made
    for name in ("guest", "intruder", "bare-web"):
        dual.machine(name, "bare")
    addresses = dual.addresses["bare-web"]
    pem = certificates.ensure_self_signed(dual.site.folder / "bare.pem", "member", addresses[4])
    dual.run("bare-web", processes.python("tests.integration.speaking", "server", *addresses.values(), "--pem", str(pem)))
    for one in addresses.values():
        eventually(functools.partial(speaking.answers, linux.enter(dual.namespace("bare-web")), one), 60)
    return dual


@pytest.fixture
def balancer(bare: Dual, request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """Of a topology, with a VIP of this version of IP and an additional one of the other, and a listener of each protocol."""
    topology, version = request.param
    other = next(one for one in RANGES if one != version)

    def listener(protocol: str, port: int, content: str) -> dict[str, Any]:
        member = {"name": protocol, "address": bare.addresses["bare-web"][version], "protocol_port": speaking.port(content)}
        pool = {"name": protocol, "protocol": protocol, "lb_algorithm": "ROUND_ROBIN", "members": [member]}
        return {"name": protocol, "protocol": protocol, "protocol_port": port, "default_pool": pool}

    body = {
        "name": "bare",
        "vip_subnet_id": bare.subnets["bare"][version],
        "additional_vips": [{"subnet_id": bare.subnets["bare"][other]}],
        "flavor_id": bare.flavors[topology],
        "listeners": [listener(protocol, *where) for protocol, where in LISTENERS.items()],
    }
    made = bare.site.api.post("/loadbalancers", {"loadbalancer": body})["loadbalancer"]
    try:
        bare.site.api.wait_active(made["id"])
        yield made
    finally:
        bare.delete(made)


def vips(balancer: dict[str, Any]) -> list[str]:
    return [balancer["vip_address"], *(one["ip_address"] for one in balancer["additional_vips"])]


def connected(bare: Dual, who: str, vip: str, port: int, patience: float = 30.0) -> socket.socket:
    return system.inside_namespace(bare.namespace(who), lambda: socket.create_connection((vip, port), patience))


def answers(connection: socket.socket) -> bool:
    connection.sendall(_REQUEST)
    return connection.recv(4096).startswith(b"HTTP/1.1 200")


def is_answered(bare: Dual, who: str, vip: str, protocol: str, patience: float) -> bool:
    """Whether a client is answered within so many seconds."""
    port, _ = LISTENERS[protocol]
    if protocol == "UDP":
        return _hears(bare, who, vip, port, patience)
    try:
        with connected(bare, who, vip, port, patience) as connection:
            return answers(connection)
    except TimeoutError:
        return False


def _hears(bare: Dual, who: str, vip: str, port: int, patience: float) -> bool:
    family = socket.AF_INET6 if ":" in vip else socket.AF_INET
    until = time.monotonic() + patience
    with system.inside_namespace(bare.namespace(who), lambda: socket.socket(family, socket.SOCK_DGRAM)) as asking:
        asking.connect((vip, port))
        asking.settimeout(1)
        while time.monotonic() < until:
            with contextlib.suppress(OSError):
                asking.send(b"who?")
                return b"server" in asking.recv(4096)
    return False


def answered(bare: Dual, balancer: dict[str, Any], expected: set[str]) -> set[str]:
    """Who is answered by each VIP and listener that they are expected to be, or by any that they are not; asked side by side."""
    places = [(vip, protocol) for vip in vips(balancer) for protocol in LISTENERS if protocol != "UDP" or vip == balancer["vip_address"]]
    asked = list(itertools.product(("guest", "intruder"), places))
    with futures.ThreadPoolExecutor(len(asked)) as threads:
        waits = {one: threads.submit(is_answered, bare, one[0], *one[1], 30.0 if one[0] in expected else _DROPPED) for one in asked}
        found = {one: wait.result() for one, wait in waits.items()}
    return {who for who in ("guest", "intruder") if (all if who in expected else any)(found[who, place] for place in places)}


def allow(bare: Dual, balancer: dict[str, Any], *names: str) -> None:
    """Let these alone in by each listener; nobody's name: whoever comes."""
    cidrs = [f"{address}/{32 if version == 4 else 128}" for name in names for version, address in bare.addresses[name].items()]
    for listener in balancer["listeners"]:
        bare.site.api.put(f"/listeners/{listener['id']}", {"listener": {"allowed_cidrs": cidrs}})
    bare.site.api.wait_active(balancer["id"])


@pytest.mark.parametrize("balancer", [("SINGLE", 4), ("ACTIVE_STANDBY", 6)], ids=["single, IPv4", "pair, IPv6"], indirect=True)
def test_allowed_ranges_hold_where_no_group_does(bare: Dual, balancer: dict[str, Any]) -> None:
    """On every protocol and each VIP; connections that stand are cut, others not; and it is so by the other half of a pair."""
    eventually(lambda: answered(bare, balancer, {"guest", "intruder"}) == {"guest", "intruder"}, 60)
    with contextlib.ExitStack() as stack:
        standing = {
            (who, vip, port): stack.enter_context(connected(bare, who, vip, port))
            for who in ("guest", "intruder")
            for vip in vips(balancer)
            for port in (80, 81)
        }
        assert all(map(answers, standing.values()))
        allow(bare, balancer, "guest")
        for (who, _, _), connection in standing.items():
            if who == "guest":
                assert answers(connection)
            else:
                with pytest.raises(ConnectionResetError):
                    connection.recv(4096)
    assert answered(bare, balancer, {"guest"}) == {"guest"}
    if len(bare.amphorae(balancer)) > 1:
        (holder,) = bare.holders(balancer)
        bare.kill(holder, balancer)
        eventually(lambda: is_answered(bare, "guest", balancer["vip_address"], "HTTP", 1.0), 60)
        assert answered(bare, balancer, {"guest"}) == {"guest"}
        bare.site.api.wait_active(balancer["id"], 120)
    allow(bare, balancer)
    assert answered(bare, balancer, {"guest", "intruder"}) == {"guest", "intruder"}
