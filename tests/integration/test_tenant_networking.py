"""Security groups and a floating IP on a real load balancer: agents, HAProxy and clients, as a user asks for it by the Networking API."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from controller.dev.client import eventually
from tests.integration.site import Balancer, Site

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("tenant-networking"))
    try:
        made.up()
        yield made
    finally:
        made.down()


def run(site: Site, machine: str, *command: str) -> bool:
    """Does a command in a machine succeed?"""
    return subprocess.run([*site.machine.entrance(machine), *command], capture_output=True, check=False, timeout=60).returncode == 0


def openstack(site: Site, *words: str) -> str:
    """What the command line client answers, with names only."""
    program = str(pathlib.Path(sys.executable).with_name("openstack"))
    endpoint = {"OS_AUTH_TYPE": "none", "OS_ENDPOINT": site.machine.settings.api_url}
    done = subprocess.run([program, *words], capture_output=True, text=True, check=False, timeout=120, env={**os.environ, **endpoint})
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def pings(site: Site, vip: str) -> bool:
    return run(site, "client", "ping", "-c", "1", "-W", "1", vip)


def test_a_user_opens_a_vip_to_pings_and_leads_a_floating_ip_to_it(site: Site) -> None:
    openstack(site, "loadbalancer", "create", "--name", "by-name", "--vip-subnet-id", "private-subnet", "--wait")
    openstack(site, "loadbalancer", "delete", "by-name", "--wait")
    balancer = site.balancer(["web-1"], name="guide")
    port = balancer.show()["vip_port_id"]
    assert not pings(site, balancer.vip)
    openstack(site, "security", "group", "create", "lbaas")
    openstack(site, "security", "group", "rule", "create", "lbaas", "--protocol", "icmp")
    openstack(site, "port", "set", "--security-group", "lbaas", port)
    eventually(lambda: pings(site, balancer.vip), 60)
    floating = openstack(site, "floating", "ip", "create", "public", "--port", port, "-f", "value", "-c", "floating_ip_address")
    url = f"http://{floating}/"
    eventually(lambda: run(site, "outside", "curl", "--silent", "--fail", "--max-time", "2", url), 60)
    _a_successor_keeps_them(site, balancer, url)
    _a_closed_group_in_place_of_all_others_drops(site, balancer.vip, port)
    openstack(site, "floating", "ip", "unset", "--port", floating)
    eventually(lambda: not run(site, "outside", "curl", "--silent", "--max-time", "1", url), 60)
    balancer.delete()


def test_a_member_at_a_floating_ip_of_its_own_vip_gets_no_request(site: Site) -> None:
    """Each request to it would come back as another one, until there are no connections left."""
    balancer = site.balancer(["web-1"], name="loop")
    port = balancer.show()["vip_port_id"]
    floating = openstack(site, "floating", "ip", "create", "public", "--port", port, "-f", "value", "-c", "floating_ip_address")
    member = {"address": floating, "protocol_port": 80, "name": "loop"}
    site.api.post(balancer.members_path, {"member": member})
    balancer.wait_active()
    assert [site.fetch(balancer.vip) for _ in range(6)] == ["web-1"] * 6
    seen: Callable[[], str] = lambda: str(balancer.members()["loop"])  # noqa: E731
    eventually(lambda: balancer.members()["loop"]["operating_status"] == "ERROR", 60, seen)
    eventually(lambda: (balancer.members()["loop"].get("fault") or {}).get("code") == "member_loop", 90, seen)
    openstack(site, "floating", "ip", "unset", "--port", floating)
    eventually(lambda: not balancer.members()["loop"].get("fault"), 90, seen)
    balancer.delete()


def fetches(site: Site, vip: str) -> bool:
    return run(site, "client", "curl", "--silent", "--fail", "--connect-timeout", "1", "--max-time", "20", f"http://{vip}/")


def _a_closed_group_in_place_of_all_others_drops(site: Site, vip: str, port: str) -> None:
    openstack(site, "security", "group", "create", "closed")
    before = openstack(site, "port", "show", port, "-f", "json", "-c", "security_group_ids")
    openstack(site, "port", "set", "--no-security-group", "--security-group", "closed", port)
    assert not fetches(site, vip)
    assert not pings(site, vip)
    openstack(site, "security", "group", "rule", "create", "closed", "--protocol", "tcp", "--dst-port", "80")
    assert fetches(site, vip)
    assert not pings(site, vip)
    openstack(site, "port", "set", "--no-security-group", port)
    assert not fetches(site, vip)
    again = [word for group_id in json.loads(before)["security_group_ids"] for word in ("--security-group", group_id)]
    openstack(site, "port", "set", *again, port)
    assert fetches(site, vip)
    assert pings(site, vip)


def _a_successor_keeps_them(site: Site, balancer: Balancer, url: str) -> None:
    (amphora,) = balancer.amphorae()
    site.api.put(f"/loadbalancers/{balancer.id}/failover", {})
    balancer.wait_active(90)
    eventually(lambda: [one["id"] for one in balancer.amphorae()] not in ([], [amphora["id"]]) and len(balancer.amphorae()) == 1, 60)
    balancer.serves(["web-1"])
    assert pings(site, balancer.vip)
    eventually(lambda: run(site, "outside", "curl", "--silent", "--fail", "--max-time", "2", url), 60)
