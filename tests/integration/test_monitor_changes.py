"""Changes of what members are checked by have their effect on clients, through the whole of Figlina."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import pytest

from controller.dev.client import eventually
from tests.integration.site import QUICK_MONITOR, Balancer, Site

pytestmark = [pytest.mark.integration, pytest.mark.slow]
NEVER = QUICK_MONITOR | {"expected_codes": "418"}
CLOSED = 81
BOTH = ("web-1", "web-2")


@contextlib.contextmanager
def balancing(site: Site, monitor: dict[str, Any] = QUICK_MONITOR) -> Iterator[Balancer]:
    balancer = site.balancer(BOTH, monitor=monitor) if monitor is not NEVER else site.balancer(BOTH)
    if monitor is NEVER:
        site.api.post("/healthmonitors", {"healthmonitor": {"pool_id": balancer.pool_id, **NEVER}})
        balancer.wait_active()
        have(balancer, "ERROR", "ERROR")
        assert site.fetch(balancer.vip).startswith("<html")  # HAProxy's 503
    yield balancer
    balancer.delete()


def have(balancer: Balancer, *statuses: str) -> None:
    """Wait for the members' operating statuses."""
    seen: list[str] = []

    def as_wanted() -> bool:
        seen[:] = [member["operating_status"] for _, member in sorted(balancer.members().items())]
        return seen == list(statuses)

    eventually(as_wanted, 60, lambda: f"members are {seen}, not {list(statuses)}")


def monitor_path(balancer: Balancer) -> str:
    [monitor] = balancer.site.api.get(f"/healthmonitors?pool_id={balancer.pool_id}")["healthmonitors"]
    return f"/healthmonitors/{monitor['id']}"


def change_member(balancer: Balancer, name: str, **fields: Any) -> None:
    member = balancer.members()[name]
    balancer.site.api.put(f"{balancer.members_path}/{member['id']}", {"member": fields})
    balancer.wait_active()


def test_members_serve_again_when_a_wrong_monitor_is_deleted(site: Site) -> None:
    with balancing(site, NEVER) as balancer:
        site.api.delete(monitor_path(balancer))
        balancer.wait_active()
        balancer.serves(BOTH)
        have(balancer, "NO_MONITOR", "NO_MONITOR")


def test_members_serve_again_when_a_wrong_monitor_is_switched_off(site: Site) -> None:
    with balancing(site, NEVER) as balancer:
        site.api.put(monitor_path(balancer), {"healthmonitor": {"admin_state_up": False}})
        balancer.wait_active()
        balancer.serves(BOTH)
        have(balancer, "NO_MONITOR", "NO_MONITOR")


def test_members_serve_again_when_a_wrong_monitor_is_corrected(site: Site) -> None:
    with balancing(site, NEVER) as balancer:
        site.api.put(monitor_path(balancer), {"healthmonitor": {"expected_codes": "200"}})
        balancer.wait_active()
        balancer.serves(BOTH)
        have(balancer, "ONLINE", "ONLINE")


@pytest.mark.parametrize("target", ["monitor_port", "monitor_address"])
def test_a_member_is_checked_where_it_was_last_said(site: Site, target: str) -> None:
    with balancing(site) as balancer:
        nobody = site.web["web-1"].rpartition(".")[0] + ".250"
        have(balancer, "ONLINE", "ONLINE")
        change_member(balancer, "web-1", **{target: CLOSED if target == "monitor_port" else nobody})
        have(balancer, "ERROR", "ONLINE")
        balancer.serves(["web-2"])
        change_member(balancer, "web-1", **{target: None})
        have(balancer, "ONLINE", "ONLINE")
        balancer.serves(BOTH)


def test_members_known_to_be_down_get_no_request_by_a_failover(site: Site) -> None:
    with balancing(site) as balancer:
        change_member(balancer, "web-1", monitor_port=CLOSED)
        have(balancer, "ERROR", "ONLINE")
        [old] = balancer.amphorae()
        site.api.put(f"/loadbalancers/{balancer.id}/failover")
        answers, statuses = set(), set()
        until = time.monotonic() + 60
        while [one["id"] for one in balancer.amphorae()] in ([old["id"]], []) and time.monotonic() < until:
            answers.add(site.fetch(balancer.vip))
            statuses.add(balancer.members()["web-1"]["operating_status"])
        until = time.monotonic() + 8  # longer than the manager needs to judge by the replacement's first reports
        while time.monotonic() < until:
            answers.add(site.fetch(balancer.vip))
            statuses.add(balancer.members()["web-1"]["operating_status"])
        assert "web-2" in answers
        assert "web-1" not in answers
        assert statuses == {"ERROR"}
        balancer.wait_active()


def test_a_new_member_is_not_online_before_it_was_checked(site: Site) -> None:
    with balancing(site, QUICK_MONITOR | {"delay": 30, "max_retries_down": 3}) as balancer:
        body = {"name": "web-3", "address": site.web["web-1"], "protocol_port": CLOSED}
        site.api.post(balancer.members_path, {"member": body})
        seen = []

        def judged() -> bool:
            seen.append(balancer.members()["web-3"]["operating_status"])
            return bool(seen[-1] == "ERROR")

        eventually(judged, 25, lambda: str(seen))  # by the first check, not the second one
        assert "ONLINE" not in seen
        balancer.wait_active()


def test_a_batch_takes_back_where_a_member_was_checked(site: Site) -> None:
    with balancing(site) as balancer:
        change_member(balancer, "web-1", monitor_port=CLOSED)
        have(balancer, "ERROR", "ONLINE")
        bodies = [{"name": name, "address": site.web[name], "protocol_port": 80} for name in BOTH]
        site.api.put(balancer.members_path, {"members": bodies})
        balancer.wait_active()
        have(balancer, "ONLINE", "ONLINE")
        balancer.serves(BOTH)
