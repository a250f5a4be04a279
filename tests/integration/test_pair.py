"""A VRRP pair: the gap is short, and the lost half comes back by itself."""

from __future__ import annotations

import contextlib
import http.client
import pathlib
import random
import socket
import subprocess
import time
from typing import Any

import pytest

from amphora_agent import system
from controller.dev.client import eventually
from tests.integration import vip_holders
from tests.integration.site import Balancer, Site

pytestmark = [pytest.mark.integration]

TOPOLOGY = "ACTIVE_STANDBY"


def _holder(site: Site, balancer: Balancer) -> dict[str, Any]:
    """The amphora that has the VIP now."""
    for amphora in balancer.amphorae():
        command = [*site.machine.entrance(amphora["id"]), "ip", "netns", "exec", "haproxy", "ip", "-brief", "address"]
        if f" {balancer.vip}/" in subprocess.run(command, capture_output=True, text=True, check=False).stdout:
            return amphora
    return {}


def test_the_death_of_the_master_is_a_short_gap_and_the_pair_is_completed(site: Site) -> None:
    """The new half hears who has the VIP before it may take it: what goes on through that half goes on."""
    balancer = site.balancer(("web-1", "web-2"))
    eventually(lambda: bool(_holder(site, balancer)), 60, "nobody has the VIP")
    victim = _holder(site, balancer)
    ((survivor, its_card),) = [(name, card) for name, card in _cards(site, balancer).items() if name != victim["id"]]
    with site.traffic(balancer.vip, rate=100, timeout=2) as traffic, _announcements(site, balancer) as announced:
        site.kill(victim["pids"])
        eventually(lambda: vip_holders.answer_arp(site, balancer.vip) == {its_card}, 60, "the other half did not take over")
        kept = _connected(site, balancer)

        def is_replaced() -> bool:
            _ask_again(kept)
            ids = [one["id"] for one in balancer.amphorae()]
            return len(ids) == 2 and victim["id"] not in ids and balancer.show()["provisioning_status"] == "ACTIVE"

        eventually(is_replaced, 60, "the lost half was not replaced")
        _ask_again(kept)
    kept.close()
    assert traffic["longest_silence"] < 4, traffic  # the other half's work: nobody is replaced sooner, and the figure is the benchmark's
    cards = _cards(site, balancer)
    assert {name for name, card in cards.items() if card in announced} == {survivor}, "the new half took the VIP away from it"
    balancer.serves({"web-1", "web-2"})
    balancer.delete()


def test_a_new_pair_that_is_active_answers_the_first_packet(site: Site) -> None:
    for _ in range(3):
        pool = {"name": "pool", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"}
        listener = {"protocol": "HTTP", "protocol_port": 80, "default_pool": pool}
        body = {"name": "new", "vip_subnet_id": site.subnet_id, "listeners": [listener]}
        balancer = Balancer(site, site.api.post("/loadbalancers", {"loadbalancer": body})["loadbalancer"])
        until = time.monotonic() + 60
        while balancer.show()["provisioning_status"] != "ACTIVE":  # asked without a pause: what is true a moment later helps nobody
            assert time.monotonic() < until, balancer.show()
        assert _holder(site, balancer), "it is ACTIVE, and no half has the VIP"
        assert _connect_once(site, balancer.vip) == 0, "it is ACTIVE, and nobody answers curl"
        balancer.delete()


def _connect_once(site: Site, vip: str) -> int:
    """How a client ends who sends one SYN and no second one: that would come after a second."""
    command = ["curl", "-s", "-o", "/dev/null", "--connect-timeout", "0.9", "-m", "20", f"http://{vip}/"]
    return subprocess.run([*site.machine.entrance("client"), *command], check=False).returncode


def test_member_changes_reach_both_halves(site: Site) -> None:
    balancer = site.balancer(("web-1",))
    site.api.post(balancer.members_path, {"member": {"name": "web-2", "address": site.web["web-2"], "protocol_port": 80}})
    balancer.wait_active()
    balancer.serves({"web-1", "web-2"})
    eventually(lambda: bool(_holder(site, balancer)), 60)
    site.kill(_holder(site, balancer)["pids"])
    balancer.serves({"web-1", "web-2"})
    balancer.delete()


def _browse(site: Site, balancer: Balancer, jar: pathlib.Path, path: str = "/") -> str:
    """Who answers a browser with this jar of cookies."""
    command = [*site.machine.entrance("client"), "curl", "-s", "-m", "20", "-c", str(jar), "-b", str(jar), f"http://{balancer.vip}{path}"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def test_sessions_of_an_application_outlive_a_reload_soon_after_persistence_was_set(site: Site, tmp_path: pathlib.Path) -> None:
    balancer = site.balancer(("web-1", "web-2"))
    persistence = {"type": "APP_COOKIE", "cookie_name": "session"}
    site.api.put(f"/pools/{balancer.pool_id}", {"pool": {"session_persistence": persistence}})
    balancer.wait_active()
    jars = [tmp_path / f"jar-{number}" for number in range(8)]
    homes = {jar: _browse(site, balancer, jar, "/login") for jar in jars}
    assert set(homes.values()) == {"web-1", "web-2"}
    for limit in (1000, 2000):
        site.api.put(f"/listeners/{balancer.listener_id}", {"listener": {"connection_limit": limit}})
        balancer.wait_active()
        assert {jar: _browse(site, balancer, jar) for jar in random.sample(jars, len(jars))} == homes
    balancer.delete()


def test_a_planned_failover_of_a_pair_keeps_serving(site: Site) -> None:
    """The VIP goes to a half that has heard nobody for as long as it waits, never to one that was not told whom to hear."""
    balancer = site.balancer(("web-1", "web-2"))
    eventually(lambda: bool(_holder(site, balancer)), 60, "nobody has the VIP")
    before = {one["id"] for one in balancer.amphorae()}
    with site.traffic(balancer.vip, rate=50, timeout=2) as traffic, _announcements(site, balancer) as announced:
        site.api.put(f"/loadbalancers/{balancer.id}/failover")
        eventually(lambda: not before & {one["id"] for one in balancer.amphorae()}, 90, "an old amphora is left")
        balancer.wait_active(90)
    assert traffic["longest_silence"] < 3, traffic
    cards, roles = _cards(site, balancer), _roles(site, balancer)
    assert cards[roles["BACKUP"]] == announced[-1]
    assert cards[roles["MASTER"]] not in announced, "who came last took the VIP away from a half that had it"
    balancer.serves({"web-1", "web-2"})
    balancer.delete()


@pytest.mark.parametrize("role", ["MASTER", "BACKUP"])
def test_a_failover_is_carried_out_though_a_half_is_lost_already(site: Site, role: str) -> None:
    """For a moment then, the first new half is alone."""
    balancer = site.balancer(("web-1", "web-2"))
    before = {one["id"]: one["pids"] for one in balancer.amphorae()}
    site.kill(before[_roles(site, balancer)[role]])
    site.api.put(f"/loadbalancers/{balancer.id}/failover")

    def is_done() -> bool:
        ids = {one["id"] for one in balancer.amphorae()}
        return len(ids) == 2 and not ids & before.keys() and balancer.show()["provisioning_status"] == "ACTIVE"

    eventually(is_done, 90, lambda: f"{balancer.show()}, {balancer.amphorae()}")
    balancer.serves({"web-1", "web-2"})
    eventually(lambda: bool(_holder(site, balancer)), 60, "nobody has the VIP")
    balancer.delete()


def _announcements(site: Site, balancer: Balancer) -> contextlib.AbstractContextManager[list[bytes]]:
    return vip_holders.announcements(site.machine.settings.namespace("client"), balancer.vip)


def _halves(site: Site, balancer: Balancer) -> list[dict[str, Any]]:
    """The amphorae as the API has them."""
    found: list[dict[str, Any]] = site.api.get(f"/v2/octavia/amphorae?loadbalancer_id={balancer.id}")["amphorae"]
    return found


def _roles(site: Site, balancer: Balancer) -> dict[str, str]:
    return {half["role"]: half["id"] for half in _halves(site, balancer)}


def _cards(site: Site, balancer: Balancer) -> dict[str, bytes]:
    """The MACs of the halves' network cards on the VIP's network."""
    found = {half["id"]: vip_holders.answer_arp(site, half["vrrp_ip"]) for half in _halves(site, balancer)}
    return {name: card for name, cards in found.items() for card in cards}


def _connected(site: Site, balancer: Balancer) -> socket.socket:
    """A client's connection that is kept."""
    return system.inside_namespace(
        site.machine.settings.namespace("client"), lambda: socket.create_connection((balancer.vip, 80), timeout=20)
    )


def _ask_again(kept: socket.socket) -> None:
    """One more request on a connection.

    :raises ConnectionResetError: whoever has the VIP now knows nothing of it.
    """
    kept.sendall(b"GET / HTTP/1.1\r\nHost: vip\r\n\r\n")
    answer = http.client.HTTPResponse(kept)
    answer.begin()
    assert answer.status == 200
    assert answer.read()
