"""What only we have, with real clients and members."""

from __future__ import annotations

import collections
import subprocess
import time

import pytest

from controller.dev.client import eventually
from tests.integration.site import QUICK_MONITOR, Balancer, Site

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


def _statuses(balancer: Balancer, count: int, where: str = "client", *more: str) -> list[str]:
    """What a client is answered to so many requests at once, in two connections: the status, and `Retry-After`."""
    asked = []
    for _ in range(2):
        shown = ["--silent", "--max-time", "5", "--output", "/dev/null", "--write-out", "%{http_code} %header{retry-after}\n", *more]
        url = f"http://{balancer.vip}/[1-{count // 2}]"
        command = [*balancer.site.machine.entrance(where), "curl", *shown, url]
        asked.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
    return [line.strip() for one in asked for line in one.communicate(timeout=30)[0].splitlines()]


def test_a_client_that_asks_too_often_is_told_429_and_others_are_served(site: Site) -> None:
    balancer = site.balancer(["web-1"])
    path = f"/listeners/{balancer.listener_id}"
    site.api.put(path, {"listener": {"rate_limit": {"requests": 6, "period": 4}}})
    balancer.wait_active()
    assert collections.Counter(_statuses(balancer, 20)) == {"200": 6, "429 4": 14}
    assert collections.Counter(_statuses(balancer, 20, "web-2")) == {"200": 6, "429 4": 14}, "another client's requests count for itself"
    time.sleep(4)
    assert _statuses(balancer, 2)[0] == "200", "who waits as long as told is served"
    began, served = time.monotonic(), 0
    while (passed := time.monotonic() - began) < 8:
        served += _statuses(balancer, 4).count("200")
    assert 6 <= served <= 6 * (passed / 4 + 2), "who goes on asking gets the answers that are left, and no more"
    site.api.put(path, {"listener": {"rate_limit": None}})
    balancer.wait_active()
    assert set(_statuses(balancer, 40)) == {"200"}
    balancer.delete()


def test_a_member_that_comes_up_gets_more_and_more_requests(site: Site) -> None:
    balancer = site.balancer(["web-1"], QUICK_MONITOR)
    site.api.put(f"/pools/{balancer.pool_id}", {"pool": {"slow_start": 20}})
    balancer.wait_active()
    site.api.post(balancer.members_path, {"member": {"name": "web-2", "address": site.web["web-2"], "protocol_port": 80}})
    eventually(lambda: site.fetch(balancer.vip) == "web-2", 20, lambda: str(balancer.members()))

    def share() -> float:
        with site.traffic(balancer.vip, rate=100) as traffic:
            time.sleep(3)
        assert traffic["failed"] == 0, traffic
        seen = traffic["servers"]
        return float(seen.get("web-2", 0) / sum(seen.values()))

    assert 0 < share() < 0.4
    eventually(lambda: 0.47 < share() < 0.53, 30, lambda: "it never gets its share")
    balancer.delete()
