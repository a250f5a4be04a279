"""Any process may end at any moment, asked to or not: what was accepted is carried out, and nothing is left half-done."""

from __future__ import annotations

import http.client
import os
import signal
import threading
import time
from typing import Any

import pytest

from controller.dev.client import eventually
from tests.integration.killing import Killer
from tests.integration.site import Site, in_threads

pytestmark = [pytest.mark.integration]

PROCESSES = ("api", "worker", "health_manager", "housekeeping")


@pytest.fixture(autouse=True)
def _all_processes_run(site: Site) -> None:
    """Whatever the test before left."""
    for name in PROCESSES:
        site.machine.start(name)


def _create(site: Site, name: str) -> str:
    listener = {"protocol": "HTTP", "protocol_port": 80}
    body = {"name": name, "vip_subnet_id": site.subnet_id, "listeners": [listener]}
    created: str = site.api.post("/loadbalancers", {"loadbalancer": body})["loadbalancer"]["id"]
    return created


def _remove(site: Site, load_balancer_ids: list[str]) -> None:
    for one in load_balancer_ids:
        site.api.delete(f"/loadbalancers/{one}?cascade=true")
    for one in load_balancer_ids:
        site.api.wait_gone(f"/loadbalancers/{one}", 60)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=["kill", "term"])
def test_creates_in_flight_survive_the_end_of_the_worker(site: Site, how: signal.Signals) -> None:
    created = [_create(site, f"flight-{index}") for index in range(10)]
    (pid, *_) = site.machine.status()["processes"]["worker"]
    os.kill(pid, how)
    eventually(lambda: not site.machine.processes.running("worker"), 60, "the worker did not end")
    site.machine.start("worker")
    for one in created:
        site.api.wait_active(one, 60)
    assert Killer(site).unexplained() == []
    _remove(site, created)
    eventually(lambda: Killer(site).unexplained() == [], 60, lambda: str(Killer(site).unexplained()))


def test_what_the_api_answered_survives_its_kill(site: Site) -> None:
    balancer = site.balancer(("web-1",))
    accepted: list[str] = []
    lock = threading.Lock()

    def write(index: int) -> None:
        body = {"name": f"m-{index}", "address": site.web["web-2"], "protocol_port": 2000 + index}
        made: dict[str, Any] = site.api.post(balancer.members_path, {"member": body})["member"]
        with lock:
            accepted.append(made["id"])

    pids = site.machine.processes.pids("api")  # known before: to look for them takes as long as many a write

    def kill() -> None:
        while len(accepted) < 10:
            time.sleep(0.001)
        site.kill(pids)

    killer = threading.Thread(target=kill)
    killer.start()
    refused = in_threads(60, write)
    killer.join()
    assert refused, "every request was answered before the kill: nothing was tried"
    assert all(isinstance(one, OSError | http.client.HTTPException) for one in refused), refused
    site.machine.restart("api")
    balancer.wait_active()
    assert {one["id"] for one in balancer.members().values()} >= set(accepted)
    balancer.delete()


@pytest.mark.parametrize("process", PROCESSES)
def test_a_process_that_is_asked_to_end_does_so_soon_and_comes_back(site: Site, process: str) -> None:
    balancer = site.balancer(("web-1",))
    (pid, *_) = site.machine.status()["processes"][process]
    os.kill(pid, signal.SIGTERM)
    eventually(lambda: not site.machine.processes.running(process), 60, f"{process} did not end")
    assert "Traceback" not in site.log(process)
    site.machine.restart(process)
    site.api.post(balancer.members_path, {"member": {"name": "web-2", "address": site.web["web-2"], "protocol_port": 80}})
    balancer.wait_active()
    balancer.serves({"web-1", "web-2"})
    balancer.delete()
