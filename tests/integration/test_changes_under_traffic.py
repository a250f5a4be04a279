"""Changes are not felt: no failed request, no reload for a member, and soon in HAProxy."""

from __future__ import annotations

import functools
import json
import re
import subprocess

import pytest

from controller.dev.client import eventually
from tests.integration.site import Balancer, Site, in_threads

pytestmark = [pytest.mark.integration]

MEMBER_CHANGES = 100
STRUCTURAL_CHANGES = 20


def test_member_changes_under_traffic_fail_no_request_and_reload_nothing(site: Site) -> None:
    balancer = site.balancer(("web-1", "web-2"))
    workers = balancer.workers()
    with site.traffic(balancer.vip, rate=200) as traffic:
        for turn in range(MEMBER_CHANGES // 4):
            made = site.api.post(
                balancer.members_path, {"member": {"name": f"extra-{turn}", "address": site.web["web-3"], "protocol_port": 80}}
            )["member"]
            site.api.put(f"{balancer.members_path}/{made['id']}", {"member": {"weight": 3}})
            balancer.wait_active()
            site.api.put(f"{balancer.members_path}/{made['id']}", {"member": {"weight": 0}})
            site.api.delete(f"{balancer.members_path}/{made['id']}")
            balancer.wait_active()
    assert traffic["requests"] > 200
    assert traffic["failed"] == 0, traffic
    assert traffic["servers"].get("web-3", 0) > 0, "the added members never served"
    assert balancer.workers() == workers, "HAProxy was reloaded for a member"
    balancer.delete()


def test_structural_changes_under_traffic_fail_no_request(site: Site) -> None:
    balancer = site.balancer(("web-1", "web-2"))
    workers = balancer.workers()
    with site.traffic(balancer.vip, rate=200) as traffic:
        for turn in range(STRUCTURAL_CHANGES // 4):
            body = {"loadbalancer_id": balancer.id, "protocol": "HTTP", "protocol_port": 8000 + turn}
            listener = site.api.post("/listeners", {"listener": body})["listener"]
            pool = {"listener_id": listener["id"], "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"}
            made = site.api.post("/pools", {"pool": pool})["pool"]
            balancer.wait_active()
            site.api.delete(f"/pools/{made['id']}")
            site.api.delete(f"/listeners/{listener['id']}")
            balancer.wait_active()
    assert traffic["requests"] > 200
    assert traffic["failed"] == 0, traffic
    assert balancer.workers() != workers, "the structural changes never reached HAProxy"
    balancer.delete()


def test_a_hundred_concurrent_writes_all_end_in_the_last_state(site: Site) -> None:
    balancer = site.balancer(("web-1",))
    (member,) = balancer.members().values()
    before = _pushes(site, balancer)
    weights = [index % 256 + 1 for index in range(50)]

    def write(index: int) -> None:
        if index < 50:
            site.api.put(f"{balancer.members_path}/{member['id']}", {"member": {"weight": weights[index]}})
        else:
            body = {"name": f"m-{index}", "address": site.web["web-2"], "protocol_port": 1000 + index}
            site.api.post(balancer.members_path, {"member": body})

    assert in_threads(100, write) == []
    balancer.wait_active()
    members = balancer.members()
    assert len(members) == 51
    assert {one["provisioning_status"] for one in members.values()} == {"ACTIVE"}
    running = _running_servers(site, balancer)
    assert running.keys() == {one["id"] for one in members.values()}
    assert running[member["id"]] == members["web-1"]["weight"]
    assert _pushes(site, balancer) - before <= 10
    balancer.delete()


def _pushes(site: Site, balancer: Balancer) -> int:
    """How often the agent was told something."""
    (amphora,) = balancer.amphorae()
    console = site.folder / "embedded" / "amphorae" / amphora["id"] / "console.log"
    return len(re.findall(rf"{balancer.id}: generation \d+ applied", console.read_text(errors="replace")))


def _running_servers(site: Site, balancer: Balancer) -> dict[str, int]:
    """Servers and weights as HAProxy itself has them."""
    (amphora,) = balancer.amphorae()
    program = """
import glob, json, socket
(path,) = glob.glob("/run/figlina/**/haproxy.sock", recursive=True)
connection = socket.socket(socket.AF_UNIX)
connection.connect(path)
connection.sendall(b"show stat\\n")
text = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
rows = [line.split(",") for line in text.splitlines() if line and not line.startswith("#")]
print(json.dumps({row[1]: int(row[18]) for row in rows if row[1] not in ("FRONTEND", "BACKEND")}))
"""
    command = [*site.machine.entrance(amphora["id"]), "python3", "-c", program]
    found: dict[str, int] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return found


def test_a_member_change_is_in_haproxy_after_the_answer(site: Site) -> None:
    """How soon is measured by `benchmarks/embedded.py`."""
    balancer = site.balancer(("web-1",))
    (member,) = balancer.members().values()
    for weight in range(2, 12):
        site.api.put(f"{balancer.members_path}/{member['id']}", {"member": {"weight": weight}})
        eventually(functools.partial(lambda wanted: _running_servers(site, balancer)[member["id"]] == wanted, weight), 60)
    balancer.delete()
