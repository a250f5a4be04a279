"""UDP and SCTP through whole load balancers: pairs without HAProxy, takeovers, allowed ranges, statuses and statistics in the API."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from controller.dev import certificates, processes
from controller.dev.client import eventually
from controller.embedded import linux, networking
from tests.integration import speaking, test_metrics
from tests.integration.dual import Dual
from tests.integration.site import agent_pids
from tests.integration.test_protocol_matrix import members
from tests.unit.amphora_agent.test_metrics import samples

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it makes network namespaces"),
]

MONITOR = {"delay": 3, "timeout": 1, "max_retries": 1, "max_retries_down": 2}
MONITORS = {"UDP": "UDP-CONNECT", "SCTP": "SCTP"}
CLIENTS = {"UDP": "datagram", "SCTP": "sctp"}
PROTOCOLS = pytest.mark.parametrize("protocol", ["UDP", "SCTP"])
HEADERS = 28
SENT = b"x" * 100


@pytest.fixture
def balancer(dual: Dual) -> Iterator[Callable[..., dict[str, Any]]]:
    """Makes a load balancer of one listener (port 53) with two members: one answers, the port of the other is closed."""
    made: list[dict[str, Any]] = []

    def make(protocol: str, topology: str, pool: dict[str, Any], **listener: Any) -> dict[str, Any]:
        where = {"address": dual.addresses["back-web"][4], "subnet_id": dual.subnets["back"][4], "weight": 1}
        some = [
            {**where, "name": "back-4", "protocol_port": speaking.port(CLIENTS[protocol])},
            {**where, "name": "closed", "protocol_port": 9},
        ]
        monitor = {**MONITOR, "type": MONITORS[protocol]}
        below = {"name": "p", "protocol": protocol, "lb_algorithm": "ROUND_ROBIN", "members": some, "healthmonitor": monitor, **pool}
        body = {
            "name": protocol.lower(),
            "vip_subnet_id": dual.subnets["front"][4],
            "flavor_id": dual.flavors[topology],
            "listeners": [{"name": "l", "protocol": protocol, "protocol_port": 53, "default_pool": below, **listener}],
        }
        made.append(dual.site.api.post("/loadbalancers", {"loadbalancer": body})["loadbalancer"])
        dual.site.api.wait_active(made[-1]["id"])
        return made[-1]

    with members(dual):
        yield make
    for one in made:
        dual.delete(one)


def _ask(dual: Dual, balancer: dict[str, Any], client: str = "client") -> speaking.Heard:
    kind = CLIENTS[balancer["listeners"][0]["protocol"]]
    return speaking.ask(linux.enter(dual.namespace(client)), kind, balancer["vip_address"], 53, SENT)


def _answers(dual: Dual, balancer: dict[str, Any], client: str = "client") -> bool:
    with contextlib.suppress(AssertionError):
        return _ask(dual, balancer, client).member == "back-4"
    return False


@PROTOCOLS
def test_a_pair_without_connections_serves_and_is_taken_over(dual: Dual, balancer: Callable[..., dict[str, Any]], protocol: str) -> None:
    made = balancer(protocol, "ACTIVE_STANDBY", {"session_persistence": {"type": "SOURCE_IP", "persistence_timeout": 60}})
    eventually(lambda: _answers(dual, made), 60)
    (holder,) = dual.holders(made)
    dual.kill(holder, made)
    eventually(lambda: _answers(dual, made), 60)
    dual.site.api.wait_active(made["id"])


_ASK_AS = """
import json, socket, sys
vip, *sources = sys.argv[1:]
found = {}
for source in sources:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((source, 0))
        sock.settimeout(1)
        sock.connect((vip, 53))
        try:
            sock.send(b"who?")
            found[source] = json.loads(sock.recv(65536))["member"]
        except OSError:
            found[source] = None
print(json.dumps(found))
"""
"""Asks from many addresses, and prints who answered each."""


def test_clients_keep_their_member_when_a_pair_is_taken_over(dual: Dual, balancer: Callable[..., dict[str, Any]]) -> None:
    sources = [f"198.19.200.{number}" for number in range(200, 220)]
    lines = "".join(f"address add {source}/24 dev eth0\n" for source in sources)
    linux.Host().ip_batch(dual.namespace("client"), lines.splitlines())
    pem = certificates.ensure_self_signed(dual.site.folder / "member.pem", "member", dual.addresses["back-web"][4])
    second = dual.addresses["front-web"][4]
    dual.run("front-web", processes.python("tests.integration.speaking", "front-4", second, "--pem", str(pem)))
    eventually(lambda: speaking.answers(linux.enter(dual.namespace("front-web")), second), 60)
    where = {"protocol_port": speaking.port("datagram"), "weight": 1}
    both = [
        {**where, "name": "back-4", "address": dual.addresses["back-web"][4], "subnet_id": dual.subnets["back"][4]},
        {**where, "name": "front-4", "address": second, "subnet_id": dual.subnets["front"][4]},
    ]
    held = {"type": "SOURCE_IP", "persistence_timeout": 600}
    made = balancer("UDP", "ACTIVE_STANDBY", {"session_persistence": held, "members": both})

    def answers() -> dict[str, str | None]:
        """Who answers each, once all are answered."""
        command = [*linux.enter(dual.namespace("client")), sys.executable, "-c", _ASK_AS, made["vip_address"], *sources]
        found: dict[str, str | None] = {}

        def all_are_answered() -> bool:
            found.update(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
            return None not in found.values()

        eventually(all_are_answered, 60, lambda: str(found))
        return found

    before = answers()
    assert set(before.values()) == {"back-4", "front-4"}
    (holder,) = dual.holders(made)
    dual.kill(holder, made)
    assert answers() == before
    dual.site.api.wait_active(made["id"])


_FAR = {4: "203.0.113.7", 6: "2001:db8:113::7"}
"""A client behind a router that is a machine on the members' network: the router itself has these addresses, too."""
_LENGTH = {4: 32, 6: 128}


@pytest.fixture(scope="module")
def beyond(dual: Dual) -> Dual:
    """With a network `open` without port security: there are `open-web`, a member, and `far`, a router with a client behind it."""
    values = {"name": "open", "project_id": "demo", "shared": False, "router:external": False, "mtu": 1500, "port_security_enabled": False}
    network = dual.network.tenants.create(networking.NETWORK, values)["id"]
    ranges = {4: "198.19.203.0/24", 6: "fd00:f161:4::/64"}
    place = {"name": "open", "network_id": network, "project_id": "demo"}
    dual.subnets["open"] = {
        version: dual.network.tenants.create(networking.SUBNET, {**place, "cidr": cidr, "gateway_ip": None})["id"]
        for version, cidr in ranges.items()
    }
    for name in ("far", "open-web"):
        dual.machine(name, "open")
    for version, address in _FAR.items():
        route = {"destination": f"{address}/{_LENGTH[version]}", "nexthop": dual.addresses["far"][version]}
        dual.network.tenants.update(networking.SUBNET, dual.subnets["open"][version], {"host_routes": [route]})
        linux.Host().ip_batch(dual.namespace("far"), [f"address add {address}/{_LENGTH[version]} dev lo", "link set lo up"])
    some = dual.addresses["open-web"]
    pem = certificates.ensure_self_signed(dual.site.folder / "open.pem", "member", some[4])
    dual.run("open-web", processes.python("tests.integration.speaking", "open", *some.values(), "--pem", str(pem)))
    for address in some.values():
        eventually(lambda: speaking.answers(linux.enter(dual.namespace("open-web")), address), 60)  # noqa: B023
    return dual


@pytest.mark.parametrize(("protocol", "version", "topology"), [("UDP", 4, "ACTIVE_STANDBY"), ("SCTP", 6, "SINGLE")])
def test_members_see_their_clients_where_that_is_asked_for(beyond: Dual, protocol: str, version: int, topology: str) -> None:
    """The VIP is the member's gateway to them, also when the other half of a pair has it. Who is beside the member is masqueraded."""
    web = beyond.addresses["open-web"][version]
    member = {"name": "open", "address": web, "protocol_port": speaking.port(CLIENTS[protocol])}
    monitor = {**MONITOR, "type": MONITORS[protocol]}
    pool = {"name": "p", "protocol": protocol, "lb_algorithm": "ROUND_ROBIN", "members": [member], "healthmonitor": monitor}
    body = {
        "name": "seen",
        "vip_subnet_id": beyond.subnets["open"][version],
        "flavor_id": beyond.flavors[topology],
        "listeners": [{"protocol": protocol, "protocol_port": 53, "default_pool": {**pool, "preserve_client_ip": True}}],
    }
    made = beyond.site.api.post("/loadbalancers", {"loadbalancer": body})["loadbalancer"]
    vip, far, entrance = made["vip_address"], _FAR[version], linux.enter(beyond.namespace("far"))
    routes = {"open-web": f"{far} via {vip}", "far": f"{vip} dev eth0 src {far}"}

    def route(verb: str, name: str) -> None:
        linux.Host().ip_batch(beyond.namespace(name), [f"route {verb} {routes[name]}"])

    def seen() -> str:
        """Whom the member sees: nobody, if the client had no answer."""
        with contextlib.suppress(AssertionError):
            return speaking.ask(entrance, CLIENTS[protocol], vip, 53, SENT).peer
        return ""

    def change(value: bool) -> None:
        beyond.site.api.put(f"/pools/{made['pools'][0]['id']}", {"pool": {"preserve_client_ip": value}})
        beyond.site.api.wait_active(made["id"])

    try:
        beyond.site.api.wait_active(made["id"])
        for name in routes:
            route("replace", name)
        eventually(lambda: beyond.statuses(made) == {"open": "ONLINE"}, 60, lambda: str(beyond.statuses(made)))
        assert seen() == far
        if topology == "ACTIVE_STANDBY":
            (holder,) = beyond.holders(made)
            beyond.kill(holder, made)
            eventually(lambda: seen() == far, 60)
            beyond.site.api.wait_active(made["id"])
        change(False)
        assert seen() not in ("", far)
        change(True)
        assert seen() == far
        route("delete", "far")
        assert seen() not in ("", far, beyond.addresses["far"][version])
    finally:
        for name in routes:
            with contextlib.suppress(linux.CommandFailed):
                route("delete", name)
        beyond.delete(made)


@PROTOCOLS
def test_members_statuses_and_statistics_are_told(dual: Dual, balancer: Callable[..., dict[str, Any]], protocol: str) -> None:
    made = balancer(protocol, "SINGLE", {})
    eventually(lambda: dual.statuses(made) == {"back-4": "ONLINE", "closed": "ERROR"}, 60, lambda: str(dual.statuses(made)))
    heard = [_ask(dual, made) for _ in range(6)]
    assert {one.member for one in heard} == {"back-4"}, "nothing is lost to a member that is closed"
    listener = made["listeners"][0]["id"]

    def told() -> dict[str, int]:
        found: dict[str, int] = dual.site.api.get(f"/listeners/{listener}/stats")["stats"]
        return found

    eventually(lambda: told()["total_connections"] == 6, 60, lambda: str(told()))
    if protocol == "UDP":
        assert told()["bytes_in"] == 6 * (len(SENT) + HEADERS)
    assert min(told()["bytes_in"], told()["bytes_out"]) >= 6 * (len(SENT) + HEADERS)
    tree = dual.site.api.get(f"/loadbalancers/{made['id']}/status")["statuses"]["loadbalancer"]
    assert (tree["operating_status"], tree["listeners"][0]["operating_status"]) == ("DEGRADED", "ONLINE")


@PROTOCOLS
def test_statistics_of_pools_and_members_are_what_clients_did(dual: Dual, balancer: Callable[..., dict[str, Any]], protocol: str) -> None:
    """Over changes of members, a listener that is switched off, the death of the agent and a failover."""
    made = balancer(protocol, "SINGLE", {})
    listener, pool = made["listeners"][0]["id"], f"/pools/{made['pools'][0]['id']}"
    ids = {one["name"]: one["id"] for one in dual.site.api.get(f"{pool}/members")["members"]}
    growing = ("bytes_in", "bytes_out", "total_connections", "request_errors")
    asked = 0

    def stats(path: str) -> dict[str, int]:
        found: dict[str, int] = dual.site.api.get(f"{path}/stats")["stats"]
        return {name: found[name] for name in growing}

    def told() -> list[dict[str, int]]:
        return [stats(path) for path in (f"/listeners/{listener}", pool, f"{pool}/members/{ids['back-4']}")]

    def ask(count: int) -> None:
        nonlocal asked
        eventually(lambda: dual.statuses(made)["back-4"] == "ONLINE", 60, lambda: str(dual.statuses(made)))
        for _ in range(count):
            assert _ask(dual, made).member == "back-4"
            asked += 1
        eventually(lambda: told()[0]["total_connections"] == asked and told().count(told()[0]) == 3, 60, lambda: f"{told()}, {asked} asked")
        if protocol == "UDP":
            assert told()[1]["bytes_in"] == asked * (len(SENT) + HEADERS)
        assert stats(f"{pool}/members/{ids['closed']}") == dict.fromkeys(growing, 0)

    def change(path: str, **body: Any) -> None:
        dual.site.api.put(path, body)
        dual.site.api.wait_active(made["id"])

    ask(3)
    change(f"{pool}/members/{ids['back-4']}", member={"weight": 7})
    ask(2)
    for state in (False, True):
        change(f"/listeners/{listener}", listener={"admin_state_up": state})
    ask(4)
    (amphora,) = [one for one in dual.site.machine.status()["amphorae"] if one["load_balancer_id"] == made["id"]]
    assert amphora["datagrams"] == "nftables"
    dual.site.kill(agent_pids(amphora))
    ask(2)
    dual.site.api.put(f"/loadbalancers/{made['id']}/failover")
    dual.site.api.wait_active(made["id"], 120)
    ask(3)


@PROTOCOLS
def test_metrics_tell_of_datagrams_what_clients_did(dual: Dual, balancer: Callable[..., dict[str, Any]], protocol: str) -> None:
    """Beside the listener there is one for metrics; counts go on when the agent dies."""
    made = balancer(protocol, "SINGLE", {}, connection_limit=1000)
    own = {"protocol": "PROMETHEUS", "protocol_port": test_metrics.PORT, "loadbalancer_id": made["id"]}
    dual.site.api.post("/listeners", {"listener": own})
    dual.site.api.wait_active(made["id"])
    eventually(lambda: dual.statuses(made) == {"back-4": "ONLINE", "closed": "ERROR"}, 60, lambda: str(dual.statuses(made)))
    listener, pool = made["listeners"][0]["id"], made["pools"][0]["id"]
    members_of_it = {one["name"]: one["id"] for one in dual.site.api.get(f"/pools/{pool}/members")["members"]}
    found: dict[str, float] = {}

    def of_listener(what: str) -> float:
        return found.get(f'octavia_listener_{what}{{listener="{listener}"}}', -1)

    def counted(flows: int) -> bool:
        text, _, status = test_metrics.scrape(dual, made["vip_address"]).rpartition("\n")
        if not status.startswith("200 "):  # an agent that begins
            return False
        found.clear()
        found.update(samples(text))
        return of_listener("sessions_total") == flows

    def agree() -> bool:
        """With what the API tells, which tests of statistics compare with what clients sent."""
        stats = dual.site.api.get(f"/listeners/{listener}/stats")["stats"]
        of_pool = [found[f'octavia_pool_bytes_{way}_total{{pool="{pool}"}}'] for way in ("in", "out")]
        of_member = [found[_of_member(pool, members_of_it["back-4"], f"bytes_{way}_total")] for way in ("in", "out")]
        return counted(7) and of_pool == of_member == [of_listener(f"bytes_{way}_total") for way in ("in", "out")] == [
            stats["bytes_in"],
            stats["bytes_out"],
        ]

    assert {_ask(dual, made).member for _ in range(6)} == {"back-4"}
    eventually(lambda: counted(6), 60, lambda: str(found))
    if protocol == "UDP":
        assert of_listener("bytes_in_total") == 6 * (len(SENT) + HEADERS)
    assert of_listener("limit_sessions") == 1000
    assert [found[f'octavia_pool_{one}_members{{pool="{pool}"}}'] for one in ("active", "backup")] == [1, 0]
    states = {name: [one for one in ("UP", "DOWN") if found[_state(pool, member, one)]] for name, member in members_of_it.items()}
    assert states == {"back-4": ["UP"], "closed": ["DOWN"]}
    (amphora,) = dual.amphorae(made)
    dual.site.kill(agent_pids(amphora))
    assert _ask(dual, made).member == "back-4"
    eventually(lambda: counted(7), 60, lambda: str(found))
    eventually(agree, 60, lambda: str(found))
    flows = {name: found[_of_member(pool, member, "sessions_total")] for name, member in members_of_it.items()}
    assert flows == {"back-4": 7, "closed": 0}


def _of_member(pool: str, member: str, what: str) -> str:
    return f'octavia_member_{what}{{pool="{pool}",member="{member}"}}'


def _state(pool: str, member: str, state: str) -> str:
    return f'octavia_member_status{{pool="{pool}",member="{member}",state="{state}"}}'


@PROTOCOLS
def test_only_allowed_ranges_reach_a_listener(dual: Dual, balancer: Callable[..., dict[str, Any]], protocol: str) -> None:
    made = balancer(protocol, "SINGLE", {}, allowed_cidrs=[f"{dual.addresses['client'][4]}/32"])
    eventually(lambda: _answers(dual, made), 60)
    assert not _answers(dual, made, "stranger")
    listener = made["listeners"][0]["id"]
    dual.site.api.put(f"/listeners/{listener}", {"listener": {"allowed_cidrs": [f"{dual.addresses['stranger'][4]}/32"]}})
    dual.site.api.wait_active(made["id"])
    eventually(lambda: _answers(dual, made, "stranger"), 60)
    assert not _answers(dual, made)
