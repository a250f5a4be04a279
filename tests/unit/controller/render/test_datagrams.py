"""Listeners of UDP as an amphora is told of them, and as rules of nftables, which the real nft(8) accepts."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
from typing import Any

import pytest

from amphora_agent import datagram_rules
from amphora_agent.protocol import datagrams, rest
from controller import exceptions, render
from controller.model import load_balancer as model
from controller.model.status import ProvisioningStatus
from controller.resources import declare, health_monitor, kinds, listener, member, pool
from tests import builders
from tests.fuzz import rendered
from tests.unit.controller.render import tools

GOLDEN = pathlib.Path(__file__).parents[3] / "golden"
HELD = model.SessionPersistence(type="SOURCE_IP", persistence_timeout=60, persistence_granularity="255.255.255.0")
HTTP = {"type": "HTTP", "http_version": 1.1, "expected_codes": "200, 202-204", "url_path": "/health"}


def _snapshot(pool: dict[str, Any] | None = None, monitor: dict[str, Any] | None = None, **listener: Any) -> model.Snapshot:
    pool_id = builders.an_id("udp-pool")
    differing: list[dict[str, Any]] = [{}, {"weight": 3}, {"backup": True}, {"admin_state_up": False}, {"monitor_port": 8080}]
    some = [
        builders.a_member(id=builders.an_id(f"udp-{number}"), pool_id=pool_id, address=f"198.19.10.10{number}", protocol_port=53, **fields)
        for number, fields in enumerate(differing, start=1)
    ]
    gone = builders.a_member(pool_id=pool_id, provisioning_status=ProvisioningStatus.PENDING_DELETE)
    checks = {"id": builders.an_id("udp-monitor"), "pool_id": pool_id, "type": "UDP-CONNECT", **(monitor or {})}
    where = {"id": builders.an_id("udp-listener"), "protocol": "UDP", "protocol_port": 53, "default_pool_id": pool_id, **listener}
    return builders.a_snapshot(
        builders.a_load_balancer(id=builders.an_id("udp")),
        listeners=[builders.a_listener(**where)],
        pools=[builders.a_pool(**{"id": pool_id, "protocol": "UDP", "lb_algorithm": "ROUND_ROBIN", **(pool or {})})],
        members=[*some, gone],
        health_monitors=[builders.a_health_monitor(**checks)],
    )


CASES = {
    "udp": _snapshot(),
    "udp-held": _snapshot({"session_persistence": HELD}, HTTP, connection_limit=1000),
    "udp-source-ip-port": _snapshot({"lb_algorithm": "SOURCE_IP_PORT"}),
    "udp-client-ip": _snapshot({"preserve_client_ip": True}),
}


def _compare(name: str, text: str, request: pytest.FixtureRequest) -> None:
    path = GOLDEN / name
    if request.config.getoption("--update-golden"):
        path.write_text(text)
    assert text == path.read_text(), f"rendered otherwise than tests/golden/{name}: --update-golden writes it, then read the diff"


@pytest.mark.parametrize("name", CASES)
def test_golden(name: str, request: pytest.FixtureRequest) -> None:
    text = tools.wanted(CASES[name]).programs[datagrams.NAME]
    assert "haproxy" not in tools.wanted(CASES[name]).programs
    _compare(f"{name}.json", text, request)
    (service,) = datagrams.parse(text)
    assert datagrams.dump((service,)) == text
    standing = datagram_rules.Standing(frozenset(one.id for one in service.members if one.enabled))
    leads = datagram_rules.Leads([service])
    lines = [f"add table {datagram_rules.TABLE}", *datagram_rules.declaration(service), *datagram_rules.rules(service, standing, leads)]
    script = "\n".join([*lines, *datagram_rules.limit(service), *datagram_rules.base([service])]) + "\n"
    if name in ("udp", "udp-client-ip"):  # the tables of hashes are long
        _compare(f"{name}.nft", script, request)
    if os.geteuid() == 0 and shutil.which("nft"):
        checked = subprocess.run(["unshare", "-n", "nft", "-c", "-f", "-"], input=script, capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stderr


def test_an_amphora_is_told_where_clients_would_be_answered_past_it() -> None:
    """Of members whom nobody promised their clients' addresses it is told as before."""
    nic = render.MemberNetwork(mac="fa:16:3e:00:00:07", mtu=1450, addresses=("198.19.20.7/24", "2001:db8:20::7/64"))
    networks = dataclasses.replace(tools.NETWORKS, members=(nic,))
    subnets = (builders.VIP_SUBNET_CIDR, "198.19.20.0/24", "2001:db8:20::/64")
    for asked, found in ((None, ()), (False, ()), (True, subnets)):
        snapshot = _snapshot({"preserve_client_ip": asked})
        text = render.wanted_state(snapshot, snapshot.amphorae[0], networks).programs[datagrams.NAME]
        (service,) = datagrams.parse(text)
        assert (service.preserve_client_ip, service.subnets) == (bool(asked), found)
        assert ("preserve_client_ip" in text) is bool(asked)


def test_listeners_of_both_kinds_stand_side_by_side() -> None:
    both = builders.a_serving_snapshot()
    udp = _snapshot()
    wanted = tools.wanted(dataclasses.replace(both, listeners=(*both.listeners, *udp.listeners), pools=(*both.pools, *udp.pools)))
    assert udp.listeners[0].id not in wanted.programs["haproxy"]
    assert both.listeners[0].id not in wanted.programs[datagrams.NAME]


def test_a_change_of_what_is_not_spoken_to_by_datagrams_is_none_for_them() -> None:
    snapshot = _snapshot()
    renamed = dataclasses.replace(snapshot.listeners[0], name="other", generation=7)
    assert tools.wanted(snapshot).programs == tools.wanted(dataclasses.replace(snapshot, listeners=(renamed,))).programs


@pytest.mark.parametrize(
    ("mask", "prefixes"), [("255.255.0.0", (16, 128)), ("ffff:ffff::", (32, 32)), ("0.0.0.0", (0, 128)), (None, (32, 128))]
)
def test_a_mask_counts_for_its_own_version_of_ip(mask: str | None, prefixes: tuple[int, int]) -> None:
    held = model.SessionPersistence(type="SOURCE_IP", persistence_granularity=mask)
    (service,) = datagrams.parse(tools.wanted(_snapshot({"session_persistence": held})).programs[datagrams.NAME])
    assert service.persistence == datagrams.Persistence(timeout=360, prefix4=prefixes[0], prefix6=prefixes[1])


@pytest.mark.parametrize(("wanted", "held"), [(None, 360), (0, 360), (1, 1), (94_607_999, 94_607_999), (2**31 - 1, 94_608_000)])
def test_clients_are_held_as_long_as_was_wanted_and_for_three_years_at_most(wanted: int | None, held: int) -> None:
    session = model.SessionPersistence(type="SOURCE_IP", persistence_timeout=wanted)
    (service,) = datagrams.parse(tools.wanted(_snapshot({"session_persistence": session})).programs[datagrams.NAME])
    assert service.persistence == datagrams.Persistence(timeout=held)


def _limits(schema: declare.Schema, name: str) -> tuple[int, int]:
    """The least and the greatest number that the API takes."""
    found = kinds.schema_of(schema.fields[name].kind)
    assert found is not None
    return found["minimum"], found["maximum"]


@pytest.mark.parametrize("end", [0, 1], ids=["least", "greatest"])
@pytest.mark.parametrize("kind", ["UDP-CONNECT", "HTTP"])
def test_each_number_that_the_api_takes_at_its_end_is_taken_by_the_agent_and_the_kernel(kind: str, end: int) -> None:
    def number(schema: declare.Schema, name: str) -> int:
        return _limits(schema, name)[end]

    session = model.SessionPersistence(type="SOURCE_IP", persistence_timeout=number(pool.PERSISTENCE, "persistence_timeout"))
    numbers = ("delay", "timeout", "max_retries", "max_retries_down")
    snapshot = _snapshot(
        {"session_persistence": session},
        {"type": kind, **{name: number(health_monitor.SCHEMA, name) for name in numbers}},
        connection_limit=number(listener.SCHEMA, "connection_limit"),
        protocol_port=number(listener.SCHEMA, "protocol_port"),
    )
    same: dict[str, Any] = {name: number(member.SCHEMA, name) for name in ("protocol_port", "monitor_port", "weight")}
    snapshot = dataclasses.replace(snapshot, members=tuple(dataclasses.replace(one, **same) for one in snapshot.members))
    texts = rendered.checked(snapshot)
    tools.ask_nft(rendered.rules(texts.services))


@pytest.mark.parametrize("off", ["pool", "monitor"])
def test_what_is_switched_off_takes_no_part(off: str) -> None:
    (service,) = datagrams.parse(tools.wanted(_snapshot(**{off: {"admin_state_up": False}})).programs[datagrams.NAME])
    assert service.check is None
    assert bool(service.members) is (off == "monitor")


@pytest.mark.parametrize("pool", [{"lb_algorithm": "RANDOM"}, {"session_persistence": model.SessionPersistence(type="HTTP_COOKIE")}])
def test_what_is_not_known_is_refused(pool: dict[str, Any]) -> None:
    with pytest.raises(exceptions.NotSupported):
        tools.wanted(_snapshot(pool))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", "l; flush ruleset"),
        ("port", 0),
        ("port", True),
        ("transport", "tcp"),
        ("addresses", []),
        ("addresses", ["198.19.10.1 } ; flush ruleset"]),
        ("most_flows", -1),
        ("most_flows", "1"),
        ("algorithm", "RANDOM"),
        ("members", None),
        ("members", [{}]),
        ("persistence", {"timeout": 0, "prefix4": 32, "prefix6": 128}),
        ("check", {"type": "PING"}),
        ("preserve_client_ip", "true"),
        ("subnets", ["198.19.10.1/24"]),
        ("subnets", ["198.19.10.0/24; accept"]),
    ],
)
def test_an_agent_takes_nothing_that_could_be_something_else(field: str, value: Any) -> None:
    service = datagrams.Service(id="l", transport="udp", addresses=("198.19.10.1",), port=53)
    body = {**dataclasses.asdict(service), field: value}
    with pytest.raises(rest.Malformed):
        datagrams.parse(json.dumps([body]))


def test_a_pool_of_many_listeners_is_told_once() -> None:
    members = tuple(
        datagrams.Member(id=f"m-{number}", address=address, port=53, weight=1, check_address=address, check_port=53)
        for number in range(2000)
        for address in [f"198.19.{number // 250}.{number % 250 + 1}"]
    )
    own: dict[str, Any] = {"transport": "udp", "addresses": ("198.19.0.1",)}
    services = [datagrams.Service(id=f"l-{at}", port=at + 1, pool_id="p", members=members, most_flows=at, **own) for at in range(44)]
    services.append(dataclasses.replace(services[0], id="other", port=99, pool_id="q"))
    text = datagrams.dump(tuple(services))
    assert datagrams.parse(text) == tuple(services)
    assert len(text) < 2.1 * len(datagrams.dump((services[0],))) < 1024 * 1024
    for line in ('{"id":"x","like":"nobody"', '{"id":"x","like":["l-0"]'):
        with pytest.raises(rest.Malformed):
            datagrams.parse(f'[{line},"addresses":["198.19.0.1"],"most_flows":0,"port":1,"transport":"udp"}}]')


def test_two_services_have_two_places() -> None:
    one = datagrams.Service(id="l", transport="udp", addresses=("2001:db8::1",), port=53)
    with pytest.raises(rest.Malformed, match="same id or place"):
        datagrams.parse(datagrams.dump((one, dataclasses.replace(one, id="m", addresses=("2001:db8:0::1",)))))
