"""An agent whose amphora serves UDP alone: pushes, reports, the agent's death, rules that somebody takes away."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from amphora_agent.protocol import datagrams
from tests.integration.agent_amphora import VIP, WEB, Amphora, config, eventually, kill, running

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it makes network namespaces"),
]

CHECK = datagrams.Check(type="UDP-CONNECT", delay=3, timeout=1, rise=1, fall=2)


@pytest.fixture
def amphora(tmp_path: pathlib.Path) -> Iterator[Amphora]:
    with running(tmp_path / "amphora") as one:
        yield one


def _member(amphora: Amphora, port: int) -> datagrams.Member:
    """One that answers with its port."""
    sock = amphora.outdoors(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    sock.bind((WEB, port))

    def serve() -> None:
        while True:
            _, sender = sock.recvfrom(100)
            sock.sendto(str(port).encode(), sender)

    threading.Thread(target=serve, daemon=True).start()
    return datagrams.Member(id=f"m-{port}", address=WEB, port=port, weight=1, check_address=WEB, check_port=port)


def _text(*members: datagrams.Member, **fields: Any) -> str:
    where: dict[str, Any] = {"id": "l-udp", "transport": "udp", "addresses": (VIP,), "port": 80, "pool_id": "p-udp", "check": CHECK}
    return datagrams.dump((datagrams.Service(members=members, **{**where, **fields}),))


def _ask(amphora: Amphora) -> str:
    with amphora.outdoors(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
        sock.settimeout(1)
        sock.connect((VIP, 80))
        sock.send(b"who?")
        return str(sock.recv(100).decode())


def test_an_amphora_of_datagrams_alone(amphora: Amphora) -> None:
    beats = amphora.beats()
    one, other = _member(amphora, 5001), _member(amphora, 5002)
    assert amphora.apply(1, None, datagrams_config=_text(one, other)) == "runtime"
    assert {_ask(amphora) for _ in range(4)} == {"5001", "5002"}
    report = beats.report(lambda found: found["generation"] == 1)
    assert report["pools"]["p-udp:l-udp"] == {"status": "UP", "members": {"m-5001": "UP", "m-5002": "UP"}}
    assert report["listeners"]["l-udp"]["status"] == "OPEN"
    assert {name: found["state"] for name, found in report["programs"].items()} == {"agent": "runs", "datagrams": "runs"}
    assert amphora.apply(2, None, datagrams_config=_text(one)) == "runtime"
    assert {_ask(amphora) for _ in range(4)} == {"5001"}
    assert amphora.apply(2, None, datagrams_config=_text(one)) == "none"
    kill(amphora.agent_pid())
    assert _ask(amphora) == "5001", "without an agent, too"
    beats.report(lambda found: found["generation"] == 2 and found["programs"]["agent"]["died"] == 1)
    amphora.tenant("nft", "delete", "table", "inet", "figlina")
    report = beats.report(lambda found: found["programs"]["datagrams"]["died"] == 1)
    assert report["programs"]["datagrams"]["state"] == "runs"
    eventually(lambda: _ask(amphora) == "5001")
    eventually(lambda: amphora.call("GET", "/")[0] == 200, within=60)  # an agent beats before it listens
    status, answer = amphora.put(amphora.wanted(3, None, datagrams_config=_text(one, transport="dccp")))
    assert (status, b"can't stand here" in answer) == (400, True), answer
    assert _ask(amphora) == "5001"


def test_the_lightest_member_serves_alone(amphora: Amphora) -> None:
    """By hash, where it has a few numbers of the table at most: it is left when all others are down, or switched off."""
    beats = amphora.beats()
    light = _member(amphora, 5003)
    heavy = [dataclasses.replace(light, id=f"m-{port}", port=port, check_port=port, weight=256) for port in (5001, 5002)]
    assert amphora.apply(1, None, datagrams_config=_text(*heavy, light, algorithm=datagrams.SOURCE_IP)) == "runtime"
    beats.report(lambda found: found["pools"].get("p-udp:l-udp", {}).get("members") == {"m-5001": "DOWN", "m-5002": "DOWN", "m-5003": "UP"})
    assert {_ask(amphora) for _ in range(4)} == {"5003"}
    off = [dataclasses.replace(one, enabled=False) for one in heavy]
    assert amphora.apply(2, None, datagrams_config=_text(*off, light, algorithm=datagrams.SOURCE_IP, check=None)) == "runtime"
    assert {_ask(amphora) for _ in range(4)} == {"5003"}


def test_what_was_counted_until_nothing_is_served_any_more_is_told(amphora: Amphora) -> None:
    beats = amphora.beats()
    assert amphora.apply(1, None, datagrams_config=_text(_member(amphora, 5001))) == "runtime"
    for _ in range(3):
        assert _ask(amphora) == "5001"
    assert amphora.call("DELETE", f"/1/load-balancers/{amphora.load_balancer_id}")[0] == 204
    told = beats.report(lambda report: report["generation"] == 0 and bool(report["listeners"]))
    assert told["listeners"]["l-udp"]["stats"]["total_connections"] == 3


def test_rules_that_an_agent_tried_when_it_was_killed_give_way_to_those_that_served(amphora: Amphora) -> None:
    one, other, next_one = (_member(amphora, port) for port in (5001, 5002, 5003))
    served = _text(one, other)
    amphora.apply(1, None, datagrams_config=served)
    kept = amphora.folder / "state" / "datagrams.json"
    kept.write_text(_text(next_one))
    kill(amphora.agent_pid())
    eventually(lambda: kept.read_text() == served)
    eventually(lambda: amphora.call("GET", "/")[0] == 200, within=60)
    assert {_ask(amphora) for _ in range(8)} == {"5001", "5002"}
    assert amphora.apply(2, None, datagrams_config=_text(next_one)) == "runtime"
    assert {_ask(amphora) for _ in range(8)} == {"5003"}


def test_datagrams_and_connections_have_the_same_port_side_by_side(amphora: Amphora) -> None:
    member = _member(amphora, 5001)
    text = config(f"m1 {amphora.web(8001)}")
    amphora.apply(1, text, datagrams_config=_text(member))
    assert (_ask(amphora), amphora.fetch()) == ("5001", "8001")
    amphora.apply(2, text)
    assert amphora.fetch() == "8001"
    with pytest.raises(OSError):  # refused, or no answer
        _ask(amphora)
    assert "figlina" not in amphora.tenant("nft", "list", "tables")
    amphora.apply(3, None, datagrams_config=_text(member))
    assert _ask(amphora) == "5001"
    assert not amphora.pids("haproxy")
    assert amphora.call("DELETE", f"/1/load-balancers/{amphora.load_balancer_id}")[0] == 204
    assert "figlina" not in amphora.tenant("nft", "list", "tables")
