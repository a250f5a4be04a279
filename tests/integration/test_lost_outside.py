"""What somebody deletes behind our back, in a whole Figlina with traffic: it is told, mended, and the VIP serves on by the same address."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from controller.dev.client import eventually
from controller.embedded import linux
from tests.integration.site import Balancer, Site

pytestmark = [pytest.mark.integration, pytest.mark.slow]

OPTIONS = {"house_keeping.compare_interval": "1"}
WITHIN = 60.0


@pytest.fixture(scope="module")
def balancer(site: Site) -> Balancer:
    return site.balancer()


def amphorae(balancer: Balancer) -> list[dict[str, Any]]:
    """The API's view of them: one while nothing is replaced."""
    return list(balancer.site.api.get(f"/v2/octavia/amphorae?loadbalancer_id={balancer.id}")["amphorae"])


def amphora(balancer: Balancer) -> dict[str, Any]:
    """The one that serves, while nothing is replaced."""
    [found] = amphorae(balancer)
    return found


def inventory(site: Site, statement: str, *values: str) -> list[tuple[Any, ...]]:
    """A statement of somebody with a shell, in the network's books."""
    with contextlib.closing(sqlite3.connect(site.folder / "embedded" / "network.db", timeout=10)) as connection, connection:
        connection.execute("PRAGMA foreign_keys = ON")
        return connection.execute(statement, values).fetchall()


def delete_port(site: Site, port_id: str) -> None:
    assert inventory(site, "SELECT id FROM ports WHERE id = ?", port_id) == [(port_id,)]
    inventory(site, "DELETE FROM ports WHERE id = ?", port_id)


def nft(site: Site, text: str) -> None:
    linux.Host().inside(site.machine.settings.namespace("net"), ["nft", "-f", "-"], text + "\n")


def the_vip_port(balancer: Balancer) -> None:
    delete_port(balancer.site, balancer.show()["vip_port_id"])


def a_vrrp_port(balancer: Balancer) -> None:
    delete_port(balancer.site, amphora(balancer)["vrrp_port_id"])


def a_management_port(balancer: Balancer) -> None:
    query = "SELECT id FROM ports WHERE device_id = ? AND kind = 'management'"
    [(port_id,)] = inventory(balancer.site, query, amphora(balancer)["id"])
    delete_port(balancer.site, port_id)


def a_machine(balancer: Balancer) -> None:
    """Its processes, its namespace and its folder."""
    found = amphora(balancer)["id"]
    [name] = [name for name in linux.namespaces(balancer.site.machine.settings.prefix) if name.endswith(found)]
    linux.kill_inside(linux.Host(), name)
    subprocess.run(["ip", "netns", "delete", name], check=True)
    shutil.rmtree(balancer.site.folder / "embedded" / "amphorae" / found)


def an_access_rule_in_the_books(balancer: Balancer) -> None:
    group = f"lb-{balancer.id}"
    query = "FROM security_group_rules WHERE direction = 'ingress' AND security_group_id = (SELECT id FROM security_groups WHERE name = ?)"
    assert inventory(balancer.site, f"SELECT protocol, port_min {query}", group) == [("tcp", 80)]
    inventory(balancer.site, f"DELETE {query}", group)


def an_access_rule_in_the_kernel(balancer: Balancer) -> None:
    [(group,)] = inventory(balancer.site, "SELECT id FROM security_groups WHERE name = ?", f"lb-{balancer.id}")
    nft(balancer.site, f"flush chain bridge figlina sgi_{group.replace('-', '_')}")


def the_whole_filter(balancer: Balancer) -> None:
    nft(balancer.site, "flush ruleset\ntable bridge figlina { chain forward { type filter hook forward priority 0; policy drop; }; }")


Lose = Callable[[Balancer], None]
THINGS: dict[Lose, str] = {
    an_access_rule_in_the_kernel: "packet filter of its ports",
    the_vip_port: "the VIP port",
    the_whole_filter: "packet filter of its ports",
    a_vrrp_port: "VRRP port",
    an_access_rule_in_the_books: "what may reach the VIP",
    a_management_port: "management port",
    a_machine: "its machine",
}
REPLACED = (a_vrrp_port, a_management_port, a_machine)


def told(balancer: Balancer) -> list[str]:
    events = balancer.site.api.get(f"/loadbalancers/{balancer.id}/events?limit=1000")["events"]
    return [event["message"] for event in events if event["code"] == "lost_outside"]


def settled(balancer: Balancer, without: str = "") -> bool:
    """ACTIVE, with one amphora, which is not the one that is to be replaced."""
    active, found = balancer.show()["provisioning_status"] == "ACTIVE", amphorae(balancer)
    return active and [one["status"] for one in found] == ["ALLOCATED"] and found[0]["id"] != without


@pytest.mark.parametrize("lose", THINGS, ids=lambda lose: lose.__name__)
def test_what_somebody_deleted_is_told_and_serves_again(site: Site, balancer: Balancer, lose: Lose) -> None:
    eventually(lambda: settled(balancer), WITHIN)
    before, known, old = balancer.show()["vip_address"], len(told(balancer)), amphora(balancer)["id"]
    lose(balancer)
    eventually(lambda: len(told(balancer)) > known, WITHIN, lambda: f"only {told(balancer)}")
    eventually(lambda: settled(balancer, old if lose in REPLACED else ""), WITHIN, lambda: str(amphorae(balancer)))
    assert any(THINGS[lose] in message for message in told(balancer)), told(balancer)
    assert balancer.show()["vip_address"] == before
    balancer.serves(("web-1", "web-2"), WITHIN)
    [(port_id,)] = inventory(site, "SELECT port_id FROM fixed_ips WHERE ip_address = ?", before)
    assert balancer.show()["vip_port_id"] == port_id
    assert "Traceback" not in site.log("housekeeping")


def test_what_was_mended_is_not_mended_again(site: Site, balancer: Balancer) -> None:
    """Three comparisons later nothing new was told."""
    eventually(lambda: settled(balancer), WITHIN)
    known, looks = told(balancer), site.log("housekeeping").count("built anew")
    assert len(known) >= len(THINGS)
    with site.traffic(balancer.vip, rate=50, seconds=4) as traffic:
        pass
    assert traffic["failed"] == 0, traffic
    assert told(balancer) == known
    assert site.log("housekeeping").count("built anew") == looks
