"""Load balancers over IPv6: real agents, HAProxy, keepalived and clients, on networks that tenants made with both versions of IP."""

from __future__ import annotations

import ipaddress
import os
import subprocess
from collections.abc import Callable

import pytest

from controller.dev.client import eventually
from tests.integration.dual import MONITOR, Dual

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it makes network namespaces"),
]


EVERYWHERE = {"front-web-4": "front", "front-web-6": "front", "back-web-4": "back", "back-web-6": "back"}


@pytest.mark.parametrize("topology", ["SINGLE", "ACTIVE_STANDBY"])
@pytest.mark.parametrize("version", [4, 6])
def test_a_vip_of_either_version_leads_to_members_of_both(dual: Dual, version: int, topology: str) -> None:
    made = dual.balancer(version, topology, EVERYWHERE)
    assert ipaddress.ip_address(made["vip_address"]).version == version
    dual.all_answer(made["vip_address"], set(EVERYWHERE))
    eventually(lambda: set(dual.statuses(made).values()) == {"ONLINE"}, 60, lambda: str(dual.statuses(made)))
    dual.delete(made)


@pytest.mark.parametrize("kind", ["PING", "TCP"])
def test_every_kind_of_check_tells_a_living_ipv6_member_from_a_dead_one(dual: Dual, kind: str) -> None:
    quick = {name: value for name, value in MONITOR.items() if name != "url_path"} | {"type": kind}
    made = dual.balancer(4, "SINGLE", {"back-web-6": "back"}, monitor=quick)
    nobody = {"name": "nobody", "address": "fd00:f161:2::dead", "protocol_port": 80, "subnet_id": dual.subnets["back"][6]}
    dual.site.api.post(f"/pools/{made['pools'][0]['id']}/members", {"member": nobody})
    dual.site.api.wait_active(made["id"])
    wanted = {"back-web-6": "ONLINE", "nobody": "ERROR"}
    eventually(lambda: dual.statuses(made) == wanted, 60, lambda: str(dual.statuses(made)))
    dual.all_answer(made["vip_address"], {"back-web-6"})
    dual.delete(made)


def test_only_the_allowed_range_reaches_an_ipv6_listener(dual: Dual) -> None:
    made = dual.balancer(6, "SINGLE", {"front-web-6": "front"}, allowed_cidrs=[f"{dual.addresses['client'][6]}/128"])
    dual.all_answer(made["vip_address"], {"front-web-6"})
    assert dual.fetch(made["vip_address"], "stranger") == ""
    listener = made["listeners"][0]["id"]
    dual.site.api.put(f"/listeners/{listener}", {"listener": {"allowed_cidrs": ["fd00:f161:1::/64"]}})
    dual.site.api.wait_active(made["id"])
    eventually(lambda: dual.fetch(made["vip_address"], "stranger") == "front-web-6", 60)
    dual.delete(made)


def test_a_successor_of_a_single_amphora_answers_at_once_where_its_neighbours_knew_the_old_one(dual: Dual) -> None:
    dual.believe_neighbours(dual.namespace("client"))
    made = dual.balancer(6, "SINGLE", {"front-web-6": "front"})
    dual.all_answer(made["vip_address"], {"front-web-6"})
    (old,) = dual.amphorae(made)
    dual.site.api.put(f"/loadbalancers/{made['id']}/failover")
    eventually(lambda: [one["id"] for one in dual.amphorae(made)] not in ([], [old["id"]]) and len(dual.amphorae(made)) == 1, 60)
    dual.site.api.wait_active(made["id"], 60)
    eventually(lambda: dual.fetch(made["vip_address"]) == "front-web-6", 60)
    dual.delete(made)


def test_the_other_half_takes_an_ipv6_vip_over_and_the_pair_is_completed(dual: Dual) -> None:
    made = dual.balancer(6, "ACTIVE_STANDBY", {"front-web-6": "front", "back-web-4": "back"})
    dual.all_answer(made["vip_address"], {"front-web-6", "back-web-4"})
    eventually(lambda: len(dual.holders(made)) == 1, 60, "not exactly one half has the VIP")
    (victim,) = dual.holders(made)
    (other,) = [one for one in dual.amphorae(made) if one["id"] != victim["id"]]
    dual.site.kill(victim["pids"])
    eventually(lambda: dual.fetch(made["vip_address"]) != "", 60)
    assert [one["id"] for one in dual.holders(made)] == [other["id"]], "who answers is the other half, and no replacement"
    ids: Callable[[], list[str]] = lambda: [one["id"] for one in dual.amphorae(made)]  # noqa: E731
    eventually(lambda: len(ids()) == 2 and victim["id"] not in ids(), 60, "the lost half was not replaced")
    dual.site.api.wait_active(made["id"], 60)
    eventually(lambda: len(dual.holders(made)) == 1, 60)
    dual.all_answer(made["vip_address"], {"front-web-6", "back-web-4"})
    dual.delete(made)


def test_checks_of_members_are_sent_from_the_amphoras_own_address(dual: Dual) -> None:
    """The VIP moves; what was asked from it would be answered to whoever has it then."""
    made = dual.balancer(6, "ACTIVE_STANDBY", {"front-web-6": "front"})
    dual.all_answer(made["vip_address"], {"front-web-6"})
    eventually(lambda: len(dual.holders(made)) == 1, 60)
    (holder,) = dual.holders(made)
    inside = ["ip", "netns", "exec", "haproxy", "ip", "-json", "route", "get", dual.addresses["front-web"][6]]
    shown = subprocess.run([*dual.site.machine.entrance(holder["id"]), *inside], capture_output=True, text=True, check=True).stdout
    assert f'"prefsrc":"{made["vip_address"]}"' not in shown.replace(" ", "")
    assert "prefsrc" in shown
    dual.delete(made)
