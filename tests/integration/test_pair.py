"""A VRRP pair: the gap is short, and the lost half comes back by itself."""

from __future__ import annotations

import pathlib
import random
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest

from controller.dev.client import eventually
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
    balancer = site.balancer(("web-1", "web-2"))
    eventually(lambda: bool(_holder(site, balancer)), 60, "nobody has the VIP")
    victim = _holder(site, balancer)
    assert len(balancer.amphorae()) == 2
    with site.traffic(balancer.vip, rate=100, timeout=2) as traffic:
        site.kill(victim["pids"])
        time.sleep(3)
    assert traffic["longest_silence"] < 4, traffic  # the other half's work: nobody is replaced sooner, and the figure is the benchmark's
    ids: Callable[[], list[str]] = lambda: [one["id"] for one in balancer.amphorae()]  # noqa: E731
    eventually(lambda: len(ids()) == 2 and victim["id"] not in ids(), 60, "the lost half was not replaced")
    balancer.wait_active()
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
    balancer = site.balancer(("web-1", "web-2"))
    before = {one["id"] for one in balancer.amphorae()}
    with site.traffic(balancer.vip, rate=50, timeout=2) as traffic:
        site.api.put(f"/loadbalancers/{balancer.id}/failover")
        eventually(lambda: not before & {one["id"] for one in balancer.amphorae()}, 90, "an old amphora is left")
        balancer.wait_active(90)
    assert traffic["longest_silence"] < 3, traffic
    balancer.serves({"web-1", "web-2"})
    balancer.delete()
