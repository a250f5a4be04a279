"""What Prometheus gets of a PROMETHEUS listener, through the VIP of a real amphora."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from typing import Any

import pytest

from controller.dev.client import eventually
from controller.embedded import linux
from tests.integration.dual import Dual
from tests.integration.site import agent_pids, haproxy_workers
from tests.unit.amphora_agent.test_metrics import samples

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it makes network namespaces"),
]

PORT = 9101


def scrape(dual: Dual, vip: str, path: str = "/metrics", who: str = "client", *more: str) -> str:
    """Status, type and body, in lines."""
    command = [
        "curl",
        "--silent",
        *(["--globoff"] if ":" in vip else []),
        "--connect-timeout",
        "2",
        "--max-time",
        "20",
        "--write-out",
        "\n%{http_code} %{content_type}",
        *more,
    ]
    host = f"[{vip}]" if ":" in vip else vip
    asked = [*linux.enter(dual.namespace(who)), *command, f"http://{host}:{PORT}{path}"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout


def balancer(dual: Dual, version: int, topology: str) -> dict[str, Any]:
    made = dual.balancer(version, topology, {"back-web-4": "back", "back-web-6": "back"})
    own = {"protocol": "PROMETHEUS", "protocol_port": PORT, "loadbalancer_id": made["id"], "connection_limit": 1000}
    allowed = [f"{dual.addresses['client'][version]}/{32 if version == 4 else 128}"]
    made["metrics"] = dual.site.api.post("/listeners", {"listener": {**own, "allowed_cidrs": allowed}})["listener"]["id"]
    dual.site.api.wait_active(made["id"])
    return made


@pytest.mark.parametrize("topology", ["SINGLE", "ACTIVE_STANDBY"])
@pytest.mark.parametrize("version", [4, 6])
def test_metrics_count_what_clients_did(dual: Dual, version: int, topology: str) -> None:
    made = balancer(dual, version, topology)
    vip, listener, pool = made["vip_address"], made["listeners"][0]["id"], made["pools"][0]["id"]
    dual.all_answer(vip, {"back-web-4", "back-web-6"})
    eventually(lambda: set(dual.statuses(made).values()) == {"ONLINE"}, 60)

    def counted(before: float) -> bool:
        text, _, status = scrape(dual, vip).rpartition("\n")
        assert status == "200 text/plain; version=0.0.4; charset=utf-8"
        found.clear()
        found.update(samples(text))
        return found[f'octavia_listener_http_requests_total{{listener="{listener}"}}'] >= before

    found: dict[str, float] = {}
    assert counted(0)
    before = found[f'octavia_listener_http_requests_total{{listener="{listener}"}}']
    for _ in range(5):
        assert dual.fetch(vip)
    eventually(lambda: counted(before + 5), 60)
    assert found[f'octavia_listener_http_requests_total{{listener="{listener}"}}'] == before + 5
    members = dual.site.api.get(f"/pools/{pool}/members")["members"]
    assert [found[f'octavia_member_status{{pool="{pool}",member="{one["id"]}",state="UP"}}'] for one in members] == [1, 1]
    assert found[f'octavia_pool_active_members{{pool="{pool}"}}'] == 2
    assert found[f'octavia_listener_limit_sessions{{listener="{made["metrics"]}"}}'] == 20
    assert not [key for key in found if "figlina" in key]
    shown = dual.site.api.get(f"/loadbalancers/{made['id']}/status")["statuses"]["loadbalancer"]
    assert {one["operating_status"] for one in shown["listeners"]} == {"ONLINE"}
    dual.delete(made)


def test_others_get_nothing_and_nobody_loads_the_amphora_by_asking(dual: Dual) -> None:
    made = balancer(dual, 4, "SINGLE")
    vip = made["vip_address"]
    eventually(lambda: "octavia_" in scrape(dual, vip), 60)
    assert scrape(dual, vip, who="stranger") == "\n000 "
    assert dual.fetch(vip, "stranger") != ""  # the access list is its own
    assert scrape(dual, vip, "/").rpartition("\n")[2].startswith("404 ")
    assert scrape(dual, vip, "/metrics", "client", "--request", "POST").rpartition("\n")[2].startswith("405 ")
    (amphora,) = dual.amphorae(made)
    spent = _agents_seconds(amphora)
    began = time.monotonic()
    answers = scrape(dual, vip, "/metrics?[1-400]", "client", "--parallel", "--parallel-max", "15")
    assert answers.count("\n200 text/plain") == 400
    seen = set(re.findall(rf'octavia_listener_http_requests_total{{listener="{made["metrics"]}"}} (\d+)', answers))
    assert len(seen) <= time.monotonic() - began + 2, "each look counts one scrape more than the one before"
    # One look each second, and handing out the answer 400 times: were each one made anew, it would take ten times as long.
    assert _agents_seconds(amphora) - spent < 0.5 * (time.monotonic() - began) + 0.5
    dual.delete(made)


_SLOW = """
import contextlib, socket, sys, time
asking = []
for _ in range(int(sys.argv[3])):
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    one.connect((sys.argv[1], int(sys.argv[2])))
    one.sendall(b"GET /metrics HTTP/1.1\\r\\nHost: vip\\r\\n\\r\\n")
    asking.append(one)
assert all(one.recv(12) == b"HTTP/1.0 200" for one in asking)
print("begun", flush=True)
while True:
    time.sleep(0.2)
    for one in asking:
        with contextlib.suppress(OSError):
            one.recv(100)
"""


def test_slow_scrapers_hold_up_neither_others_nor_traffic(dual: Dual) -> None:
    """Of a pool with as many members that an answer is longer than all that sockets take in: as long as a listener lets them in."""
    made = balancer(dual, 4, "SINGLE")
    vip, pool = made["vip_address"], made["pools"][0]["id"]
    dual.all_answer(vip, {"back-web-4", "back-web-6"})
    dead = {"address": dual.addresses["back-web"][4], "subnet_id": dual.subnets["back"][4]}
    many = [{**dead, "protocol_port": port} for port in range(20_000, 20_250)]
    dual.site.api.put(f"/pools/{pool}/members?additive_only=true", {"members": many})
    dual.site.api.wait_active(made["id"])
    eventually(lambda: len(scrape(dual, vip)) > 1_000_000, 60)
    slow = [*linux.enter(dual.namespace("client")), sys.executable, "-c", _SLOW, vip, str(PORT), "18"]
    with subprocess.Popen(slow, stdout=subprocess.PIPE) as scrapers:
        try:
            assert scrapers.stdout is not None
            assert scrapers.stdout.readline() == b"begun\n"
            inside = linux.enter(dual.namespace("client"))
            with dual.site.traffic(vip, rate=50, inside=inside) as traffic:
                for _ in range(3):
                    text, _, status = scrape(dual, vip).rpartition("\n")
                    assert status.startswith("200 ")
                    assert len(text) > 1_000_000
            assert scrapers.poll() is None
        finally:
            scrapers.kill()
    assert traffic["requests"] > 0
    assert traffic["failed"] == 0
    dual.delete(made)


def _agents_seconds(amphora: dict[str, Any]) -> float:
    """Seconds of processors that the agent has used."""
    total = 0
    for pid in agent_pids(amphora):
        with open(f"/proc/{pid}/stat") as stat:
            total += sum(map(int, stat.read().rpartition(")")[2].split()[11:13]))
    return total / os.sysconf("SC_CLK_TCK")


def test_metrics_are_there_after_the_agent_died(dual: Dual) -> None:
    made = balancer(dual, 4, "SINGLE")
    vip = made["vip_address"]
    eventually(lambda: "octavia_" in scrape(dual, vip), 60)
    (amphora,) = dual.amphorae(made)
    dual.site.kill(agent_pids(amphora))
    eventually(lambda: "octavia_" in scrape(dual, vip), 60)
    dual.delete(made)


class Seen:
    """What a scraper has seen of the counters of a load balancer: none of them may fall."""

    def __init__(self, dual: Dual, made: dict[str, Any]) -> None:
        self._dual, self._vip = dual, made["vip_address"]
        self._requests = f'octavia_listener_http_requests_total{{listener="{made["listeners"][0]["id"]}"}}'
        self._seen: dict[str, float] = {}

    def look(self) -> float:
        """Requests by now."""
        text, _, status = scrape(self._dual, self._vip).rpartition("\n")
        assert status.startswith("200 ")
        now = {key: value for key, value in samples(text).items() if re.match(r"octavia_\w+_total\b", key)}
        assert [key for key, value in self._seen.items() if now[key] < value] == []
        self._seen.update(now)
        return now[self._requests]

    def look_again(self) -> float:
        """The same, once somebody answers."""
        eventually(lambda: scrape(self._dual, self._vip).rpartition("\n")[2].startswith("200 "), 60)
        return self.look()


def test_counts_go_on_over_deaths_of_the_agent_and_of_haproxy(dual: Dual) -> None:
    made = balancer(dual, 4, "SINGLE")
    vip, listener, seen = made["vip_address"], made["listeners"][0]["id"], Seen(dual, made)
    dual.all_answer(vip, {"back-web-4", "back-web-6"})
    eventually(lambda: seen.look_again() > 0, 60)
    for number in range(2):
        assert all(dual.fetch(vip) for _ in range(3))
        time.sleep(1.5)  # an answer is given again for a second
        before = seen.look()
        dual.site.api.put(f"/listeners/{listener}", {"listener": {"timeout_client_data": 40_000 + number}})
        dual.site.api.wait_active(made["id"])
        dual.site.kill(pid for one in dual.amphorae(made) for pid in agent_pids(one))
        assert dual.fetch(vip)
        assert seen.look_again() == before + 1
    time.sleep(1.5)
    before = seen.look()
    dual.site.kill(pid for one in dual.amphorae(made) for pid in haproxy_workers(one))
    eventually(lambda: dual.fetch(vip) != "", 60)
    time.sleep(1.5)
    assert seen.look_again() > before
    dual.delete(made)


def test_counts_go_on_over_reloads(dual: Dual) -> None:
    made = balancer(dual, 4, "SINGLE")
    vip, listener = made["vip_address"], made["listeners"][0]["id"]
    dual.all_answer(vip, {"back-web-4", "back-web-6"})
    look = Seen(dual, made).look
    eventually(lambda: look() > 0, 60)
    time.sleep(1.5)
    before = look()
    slow = [*linux.enter(dual.namespace("client")), "curl", "--silent", f"http://{vip}/slow?seconds=6"]
    asked = []
    for number in range(3):
        asked.append(subprocess.Popen(slow, stdout=subprocess.PIPE))
        time.sleep(0.3)
        dual.site.api.put(f"/listeners/{listener}", {"listener": {"timeout_client_data": 40_000 + number}})
        dual.site.api.wait_active(made["id"])
        assert dual.fetch(vip)
        look()
    assert all(one.communicate()[0] for one in asked)
    eventually(lambda: look() >= before + 6, 60)
    eventually(lambda: all(len(haproxy_workers(one)) == 2 for one in dual.amphorae(made)), 60, "a former worker does not end")
    time.sleep(1.5)
    assert look() == before + 6
    dual.delete(made)
