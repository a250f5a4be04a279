"""UDP through whole load balancers: a pair without a connection in it, its takeover, allowed ranges, statuses and statistics in the API."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from controller.dev.client import eventually
from controller.embedded import linux
from tests.integration import speaking
from tests.integration.dual import Dual
from tests.integration.test_protocol_matrix import members

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it makes network namespaces"),
]

MONITOR = {"type": "UDP-CONNECT", "delay": 3, "timeout": 1, "max_retries": 1, "max_retries_down": 2}
HEADERS = 28
SENT = b"x" * 100


@pytest.fixture
def balancer(dual: Dual) -> Iterator[Callable[..., dict[str, Any]]]:
    """Makes a load balancer of one UDP listener (port 53) with two members: one answers, the port of the other is closed."""
    made: list[dict[str, Any]] = []

    def make(topology: str, pool: dict[str, Any], **listener: Any) -> dict[str, Any]:
        where = {"address": dual.addresses["back-web"][4], "subnet_id": dual.subnets["back"][4], "weight": 1}
        some = [
            {**where, "name": "back-4", "protocol_port": speaking.port("datagram")},
            {**where, "name": "closed", "protocol_port": 9},
        ]
        below = {"name": "p", "protocol": "UDP", "lb_algorithm": "ROUND_ROBIN", "members": some, "healthmonitor": MONITOR, **pool}
        body = {
            "name": "udp",
            "vip_subnet_id": dual.subnets["front"][4],
            "flavor_id": dual.flavors[topology],
            "listeners": [{"name": "l", "protocol": "UDP", "protocol_port": 53, "default_pool": below, **listener}],
        }
        made.append(dual.site.api.post("/loadbalancers", {"loadbalancer": body})["loadbalancer"])
        dual.site.api.wait_active(made[-1]["id"])
        return made[-1]

    with members(dual):
        yield make
    for one in made:
        dual.delete(one)


def _ask(dual: Dual, balancer: dict[str, Any], client: str = "client") -> speaking.Heard:
    return speaking.ask(linux.enter(dual.namespace(client)), "datagram", balancer["vip_address"], 53, SENT)


def _answers(dual: Dual, balancer: dict[str, Any], client: str = "client") -> bool:
    with contextlib.suppress(AssertionError):
        return _ask(dual, balancer, client).member == "back-4"
    return False


def test_a_pair_without_connections_serves_and_is_taken_over(dual: Dual, balancer: Callable[..., dict[str, Any]]) -> None:
    made = balancer("ACTIVE_STANDBY", {"session_persistence": {"type": "SOURCE_IP", "persistence_timeout": 60}})
    eventually(lambda: _answers(dual, made), 10)
    (holder,) = dual.holders(made)
    dual.site.kill(holder["pids"])
    eventually(lambda: _answers(dual, made), 10)
    dual.site.api.wait_active(made["id"])


def test_members_statuses_and_statistics_are_told(dual: Dual, balancer: Callable[..., dict[str, Any]]) -> None:
    made = balancer("SINGLE", {})
    eventually(lambda: dual.statuses(made) == {"back-4": "ONLINE", "closed": "ERROR"}, 20, lambda: str(dual.statuses(made)))
    heard = [_ask(dual, made) for _ in range(6)]
    assert {one.member for one in heard} == {"back-4"}, "nothing is lost to a member that is closed"
    listener = made["listeners"][0]["id"]

    def told() -> dict[str, int]:
        found: dict[str, int] = dual.site.api.get(f"/listeners/{listener}/stats")["stats"]
        return found

    eventually(lambda: told()["total_connections"] == 6, 20, lambda: str(told()))
    assert told()["bytes_in"] == 6 * (len(SENT) + HEADERS)
    assert told()["bytes_out"] > 6 * HEADERS
    tree = dual.site.api.get(f"/loadbalancers/{made['id']}/status")["statuses"]["loadbalancer"]
    assert (tree["operating_status"], tree["listeners"][0]["operating_status"]) == ("DEGRADED", "ONLINE")


def test_only_allowed_ranges_reach_a_listener(dual: Dual, balancer: Callable[..., dict[str, Any]]) -> None:
    made = balancer("SINGLE", {}, allowed_cidrs=[f"{dual.addresses['client'][4]}/32"])
    eventually(lambda: _answers(dual, made), 10)
    assert not _answers(dual, made, "stranger")
    listener = made["listeners"][0]["id"]
    dual.site.api.put(f"/listeners/{listener}", {"listener": {"allowed_cidrs": [f"{dual.addresses['stranger'][4]}/32"]}})
    dual.site.api.wait_active(made["id"])
    eventually(lambda: _answers(dual, made, "stranger"), 10)
    assert not _answers(dual, made)
