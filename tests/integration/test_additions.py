"""What only we have, with real clients and members."""

from __future__ import annotations

import collections
import json
import os
import pathlib
import subprocess
import sys
import time

import pytest

from controller.dev.client import eventually
from tests.fuzz import bodies
from tests.integration.site import QUICK_MONITOR, Balancer, Site

pytestmark = [pytest.mark.integration]


def _statuses(balancer: Balancer, count: int, where: str = "client", *more: str) -> list[str]:
    """What a client is answered to so many requests at once, in two connections: the status, and `Retry-After`."""
    asked = []
    for _ in range(2):
        shown = ["--silent", "--max-time", "20", "--output", "/dev/null", "--write-out", "%{http_code} %header{retry-after}\n", *more]
        url = f"http://{balancer.vip}/[1-{count // 2}]"
        command = [*balancer.site.machine.entrance(where), "curl", *shown, url]
        asked.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
    return [line.strip() for one in asked for line in one.communicate(timeout=60)[0].splitlines()]


def test_a_client_that_asks_too_often_is_told_429_and_others_are_served(site: Site) -> None:
    balancer = site.balancer(["web-1"])
    path = f"/listeners/{balancer.listener_id}"
    site.api.put(path, {"listener": {"rate_limit": {"requests": 6, "period": 600}}})  # so long that no pause lets one more pass
    balancer.wait_active()
    assert collections.Counter(_statuses(balancer, 20)) == {"200": 6, "429 600": 14}
    assert collections.Counter(_statuses(balancer, 20, "web-2")) == {"200": 6, "429 600": 14}, "another client's requests count for itself"
    site.api.put(path, {"listener": {"rate_limit": {"requests": 6, "period": 4}}})
    balancer.wait_active()
    eventually(lambda: "429 4" in _statuses(balancer, 20), 60, "nobody is told how long to wait")
    time.sleep(4)
    # Some seconds more: HAProxy's own clock stands still while a busy machine does not let it run. Refused requests must not count.
    eventually(lambda: _statuses(balancer, 2)[0] == "200", 60, "who waits as long as told is not served")
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
    slow_start = 20
    site.api.put(f"/pools/{balancer.pool_id}", {"pool": {"slow_start": slow_start}})
    balancer.wait_active()
    began = time.monotonic()
    site.api.post(balancer.members_path, {"member": {"name": "web-2", "address": site.web["web-2"], "protocol_port": 80}})
    eventually(lambda: site.fetch(balancer.vip) == "web-2", 60, lambda: str(balancer.members()))

    def share() -> float:
        with site.traffic(balancer.vip, rate=100) as traffic:
            time.sleep(3)
        assert traffic["failed"] == 0, traffic
        seen = traffic["servers"]
        return float(seen.get("web-2", 0) / sum(seen.values()))

    first, weight = share(), min(1.0, (time.monotonic() - began) / slow_start)  # of the other one's: at most that, by now
    assert 0 < first < weight / (1 + weight) + 0.05
    eventually(lambda: 0.47 < share() < 0.53, 60, lambda: "it never gets its share")
    balancer.delete()


def _answer(balancer: Balancer, path: str, *more: str) -> tuple[str, str, bytes]:
    """Status, content type and body."""
    command = [*balancer.site.machine.entrance("client"), "curl", "--silent", "--max-time", "20", *more]
    shown = ["--write-out", "\n%{http_code} %{content_type}", f"http://{balancer.vip}{path}"]
    body, _, last = subprocess.run([*command, *shown], capture_output=True, check=False).stdout.rpartition(b"\n")
    status, _, content_type = last.decode().partition(" ")
    return status, content_type, body


def test_clients_get_the_answer_that_a_policy_has_for_them(site: Site) -> None:
    balancer = site.balancer(["web-1"])
    rules = [{"type": "PATH", "compare_type": "EQUAL_TO", "value": "/fixed"}]
    fixed = {"listener_id": balancer.listener_id, "action": "FIXED_RESPONSE", "fixed_response": {"status": 418}}
    policy = site.api.post("/l7policies", {"l7policy": fixed})["l7policy"]["id"]
    site.api.post(f"/l7policies/{policy}/rules", {"rule": rules[0]})
    balancer.wait_active()
    assert _answer(balancer, "/fixed")[::2] == ("418", b"")
    for number, body in enumerate((*bodies.PAGES, "x" * 4096)):
        content_type = bodies.TYPES[number % len(bodies.TYPES)]
        response = {"status": 200 + number, "content_type": content_type, "body": body}
        if response["status"] in (204, 205):
            response["status"] = 404
        site.api.put(f"/l7policies/{policy}", {"l7policy": {"fixed_response": response}})
        balancer.wait_active()
        assert _answer(balancer, "/fixed") == (str(response["status"]), content_type, body.encode())
        assert _answer(balancer, "/fixed", "--head", "--output", "/dev/null")[0] == str(response["status"])
        assert site.fetch(balancer.vip) == "web-1", "others go where they went"
    reject = {"listener_id": balancer.listener_id, "action": "REJECT", "rules": rules}
    second = site.api.post("/l7policies", {"l7policy": {name: value for name, value in reject.items() if name != "rules"}})["l7policy"][
        "id"
    ]
    site.api.post(f"/l7policies/{second}/rules", {"rule": rules[0]})
    balancer.wait_active()
    assert _answer(balancer, "/fixed")[0] == "403", "rejects win, wherever they stand"
    balancer.delete()


def test_clients_see_the_page_of_the_listener_while_no_member_answers(site: Site) -> None:
    balancer = site.balancer(["web-1"])
    page = {"content_type": "text/html; charset=utf-8", "body": '<h1>it\'s "noon" 🏺</h1>\n#1 %[src] $HOME'}
    site.api.put(f"/listeners/{balancer.listener_id}", {"listener": {"error_page": page}})
    balancer.wait_active()
    assert site.fetch(balancer.vip) == "web-1"
    (member,) = balancer.members().values()
    wanted = "503", page["content_type"], page["body"].encode()
    site.api.put(f"{balancer.members_path}/{member['id']}", {"member": {"admin_state_up": False}})
    balancer.wait_active()
    assert _answer(balancer, "/") == wanted, "nobody serves"
    dead = {"member": {"name": "dead", "address": site.web["web-1"], "protocol_port": 9}}
    site.api.post(balancer.members_path, dead)
    balancer.wait_active()
    assert _answer(balancer, "/") == wanted, "nobody listens"
    site.api.put(f"/listeners/{balancer.listener_id}", {"listener": {"default_pool_id": None}})
    balancer.wait_active()
    assert _answer(balancer, "/") == wanted, "there is no pool"
    site.api.put(f"/listeners/{balancer.listener_id}", {"listener": {"error_page": None}})
    balancer.wait_active()
    assert b"503 Service Unavailable" in _answer(balancer, "/")[2]
    balancer.delete()


def _served_by(balancer: Balancer, count: int, where: str = "client") -> collections.Counter[str]:
    """Which servers answer so many requests."""
    command = [*balancer.site.machine.entrance(where), "curl", "--silent", "--max-time", "20", f"http://{balancer.vip}/canary[1-{count}]"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    return collections.Counter(line for line in done.stdout.splitlines() if line.startswith("web-"))


def test_requests_are_split_between_pools_by_weight(site: Site) -> None:
    balancer = site.balancer(["web-1"])
    pool = {"loadbalancer_id": balancer.id, "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"}
    canary = site.api.post("/pools", {"pool": pool})["pool"]["id"]
    site.api.post(f"/pools/{canary}/members", {"member": {"address": site.web["web-2"], "protocol_port": 80}})

    def split(stable: int, canaries: int, by: str = "REQUEST") -> dict[str, object]:
        return {"by": by, "pools": [{"pool_id": balancer.pool_id, "weight": stable}, {"pool_id": canary, "weight": canaries}]}

    body = {"listener_id": balancer.listener_id, "action": "REDIRECT_TO_POOL", "split": split(3, 1)}
    policy = site.api.post("/l7policies", {"l7policy": body})["l7policy"]["id"]
    rule = {"type": "PATH", "compare_type": "STARTS_WITH", "value": "/canary"}
    site.api.post(f"/l7policies/{policy}/rules", {"rule": rule})
    balancer.wait_active()

    def change(value: dict[str, object]) -> None:
        site.api.put(f"/l7policies/{policy}", {"l7policy": {"split": value}})
        balancer.wait_active()

    seen = _served_by(balancer, 400)
    assert seen.total() == 400
    assert 55 <= seen["web-2"] <= 145, "five standard deviations about a quarter"
    assert site.fetch(balancer.vip) == "web-1", "others go where they went"
    workers = balancer.workers()
    change(split(1, 0))
    assert _served_by(balancer, 50) == {"web-1": 50}
    change(split(0, 1))
    assert _served_by(balancer, 50) == {"web-2": 50}
    change(split(333, 999))
    seen = _served_by(balancer, 400)
    assert 255 <= seen["web-2"] <= 345, "five standard deviations about three quarters"
    assert balancer.workers() == workers, "a reload"
    change(split(1, 1, "SOURCE_IP"))
    workers = balancer.workers()
    first = {where: _served_by(balancer, 30, where) for where in ("client", "web-1", "web-2")}
    assert all(seen.total() == 30 and len(seen) == 1 for seen in first.values()), first
    with site.traffic(balancer.vip) as traffic:
        for weight in (2, 1):
            change(split(weight, weight, "SOURCE_IP"))
    assert traffic["failed"] == 0, traffic
    assert {where: _served_by(balancer, 30, where) for where in first} == first, "who was with a pool stays with it"
    assert balancer.workers() == workers, "a reload"
    site.api.put(f"/listeners/{balancer.listener_id}", {"listener": {"timeout_client_data": 60_000}})
    balancer.wait_active()
    assert balancer.workers() != workers
    assert {where: _served_by(balancer, 30, where) for where in first} == first, "over reloads, too"
    balancer.delete()


def test_the_openstack_command_sets_shows_and_unsets_them(site: Site) -> None:
    balancer = site.balancer(["web-1"])
    policy = {"name": "closed", "listener_id": balancer.listener_id, "action": "REJECT"}
    policy_id = site.api.post("/l7policies", {"l7policy": policy})["l7policy"]["id"]
    access = {**os.environ, "OS_AUTH_TYPE": "none", "OS_ENDPOINT": site.machine.settings.api_url}
    program = str(pathlib.Path(sys.executable).with_name("openstack"))

    def figlina(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([program, "figlina", *words], env=access, capture_output=True, text=True, check=False, timeout=120)

    assert figlina("listener", "set", balancer.listener_id, "--rate-limit", "requests=7", "period=60").returncode == 0
    assert figlina("l7policy", "set", policy_id, "--fixed-response", "status=418", "body=tea").returncode == 0
    balancer.wait_active()
    made = site.api.get(f"/l7policies/{policy_id}")["l7policy"]
    assert (made["action"], made["fixed_response"]["status"], made["fixed_response"]["body"]) == ("FIXED_RESPONSE", 418, "tea")
    shown = json.loads(figlina("show", "listener", balancer.listener_id, "-f", "json").stdout)
    assert shown == {"id": balancer.listener_id, "name": "http", "rate_limit": {"requests": 7, "period": 60}}
    assert _statuses(balancer, 20).count("429 60") == 13
    assert figlina("listener", "set", balancer.listener_id, "--no-rate-limit").returncode == 0
    assert "rate_limit" not in site.api.get(f"/listeners/{balancer.listener_id}")["listener"]
    for words, sentence in (
        (("listener", "set", "nobody", "--no-rate-limit"), "There is no listener 'nobody'."),
        (("listener", "set", balancer.listener_id, "--rate-limit", "requests=0"), "Value should be greater or equal to 1"),
    ):
        refused = figlina(*words)
        assert (refused.returncode, sentence in refused.stderr) == (1, True), refused.stderr
    balancer.delete()
