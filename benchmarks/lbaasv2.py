"""CPU seconds of the same writes by LBaaS v2 and by the Octavia API: one application, one database, the two called in turns.

    python -m benchmarks.lbaasv2

Of each kind of object, half is made by each API, with the same fields and beside the same neighbours. The goal is that LBaaS v2 costs no
more (a ratio of 1), which leaves its own rules as much as its shorter answers save.
"""

from __future__ import annotations

import itertools
import pathlib
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks import harness
from benchmarks.api import Api
from controller.cmd import api as process

PAIRS = 300
"""Requests of each API and kind that are measured."""
WARM_UP = 10
GOAL_RATIO = 1.0

OCTAVIA, LBAASV2 = "/v2", "/network/v2.0/lbaas"
Body = dict[str, Any]
Request = tuple[str, Body]
"""What to POST where, below the root of either API."""


def main() -> None:
    """Print one line per kind of object."""
    calibration = harness.calibrate()
    with tempfile.TemporaryDirectory() as folder:
        send = Api(f"sqlite:///{pathlib.Path(folder) / 'bench.db'}")
        process.spare_the_collector()
        for name, wanted in _KINDS.items():
            octavia, lbaasv2 = _in_turns(send, wanted(send))
            harness.emit(
                f"lbaasv2_create_{name}",
                cpu_seconds=lbaasv2,
                octavia_cpu_seconds=octavia,
                ratio_to_octavia=lbaasv2 / octavia,
                goal_ratio_to_octavia=GOAL_RATIO,
                calibration_seconds=calibration,
                ratio=lbaasv2 / calibration,
            )
        send.db.close()


def _in_turns(send: Api, requests: Iterator[Request]) -> tuple[float, float]:
    """The medians of the CPU seconds of a request to each."""
    taken: dict[str, list[float]] = {OCTAVIA: [], LBAASV2: []}
    order = random.Random(0)  # so that what returns regularly, such as a garbage collection, does not always meet the same API
    for number in range(PAIRS + WARM_UP):
        for root in order.sample((OCTAVIA, LBAASV2), 2):
            path, body = next(requests)
            started = time.process_time()
            send("POST", f"{root}{path}", body)
            if number >= WARM_UP:
                taken[root].append(time.process_time() - started)
    return statistics.median(taken[OCTAVIA]), statistics.median(taken[LBAASV2])


def _load_balancers(send: Api) -> Iterator[Request]:
    for number in itertools.count():
        yield "/loadbalancers", {"loadbalancer": {"name": f"lb-{number}", "vip_subnet_id": send.network.subnet_id}}


def _listeners(send: Api) -> Iterator[Request]:
    parent = send.load_balancer()["id"]
    for port in itertools.count(1):
        yield "/listeners", {"listener": {"loadbalancer_id": parent, "protocol": "HTTP", "protocol_port": port}}


def _pools(send: Api) -> Iterator[Request]:
    parent = send.load_balancer()["id"]
    while True:
        yield "/pools", {"pool": _POOL | {"loadbalancer_id": parent}}


def _default_pools(send: Api) -> Iterator[Request]:
    for path, body in _listeners(send):
        listener = send("POST", f"{OCTAVIA}{path}", body)["listener"]
        yield "/pools", {"pool": _POOL | {"listener_id": listener["id"]}}


def _members(send: Api) -> Iterator[Request]:
    pool = _new_pool(send, send.load_balancer()["id"])
    for number in itertools.count(1):
        address = f"10.3.{number // 250}.{number % 250 + 1}"
        yield f"/pools/{pool}/members", {"member": {"address": address, "protocol_port": 80, "subnet_id": send.network.subnet_id}}


def _monitors(send: Api) -> Iterator[Request]:
    parent = send.load_balancer()["id"]
    while True:
        wanted = {"pool_id": _new_pool(send, parent), "type": "HTTP", "delay": 5, "timeout": 5, "max_retries": 3}
        yield "/healthmonitors", {"healthmonitor": wanted}


def _policies(send: Api) -> Iterator[Request]:
    for path, body in _listeners(send):
        listener = send("POST", f"{OCTAVIA}{path}", body)["listener"]
        yield "/l7policies", {"l7policy": {"listener_id": listener["id"], "action": "REJECT"}}


def _rules(send: Api) -> Iterator[Request]:
    for path, body in _policies(send):
        policy = send("POST", f"{OCTAVIA}{path}", body)["l7policy"]
        yield f"/l7policies/{policy['id']}/rules", {"rule": {"type": "PATH", "compare_type": "STARTS_WITH", "value": "/x"}}


_POOL = {"protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"}


def _new_pool(send: Api, load_balancer_id: str) -> str:
    return str(send("POST", f"{OCTAVIA}/pools", {"pool": _POOL | {"loadbalancer_id": load_balancer_id}})["pool"]["id"])


_KINDS: dict[str, Callable[[Api], Iterator[Request]]] = {
    "load_balancer": _load_balancers,
    "listener": _listeners,
    "pool": _pools,
    "default_pool": _default_pools,
    "member": _members,
    "health_monitor": _monitors,
    "l7policy": _policies,
    "l7rule": _rules,
}

if __name__ == "__main__":
    main()
