"""API requests over 50,000 load balancers, in this process: wall time, CPU, and SQL statements of each kind of request.

    python -m benchmarks.api_scale [sqlite] [postgresql]

Each load balancer has a listener, a pool and two tags, and belongs to one of 50 projects. PostgreSQL is started for the run, where it is
installed. Wall time is what one client sees that is alone; `cpu_seconds` is this process's share of it (PostgreSQL works in others).
"""

from __future__ import annotations

import contextlib
import datetime
import itertools
import pathlib
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from benchmarks import api, harness
from controller.cmd import api as process
from controller.db import database, tables
from tests.functional import postgresql

LOAD_BALANCERS = 50_000
PROJECTS = 50
GOALS = {"list_1000_of_50000": 0.1, "batch_of_1000_members": 1.0}
"""Seconds that 95 % of requests may take, on the reference machine of `SPECIFICATION.md`."""

_STARTED = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
_PAGE = 5000


@contextlib.contextmanager
def sqlite() -> Iterator[str]:
    """The URL of a new file."""
    with tempfile.TemporaryDirectory() as folder:
        yield f"sqlite:///{pathlib.Path(folder) / 'bench.db'}"


@contextlib.contextmanager
def own_postgresql() -> Iterator[str]:
    """The URL of a new server's database."""
    with postgresql.server() as url:
        yield url % "postgres"


ENGINES = {"sqlite": sqlite, "postgresql": own_postgresql}


def fill(db: database.Database) -> list[str]:
    """Store the load balancers, without asking anybody for their VIPs; their ids, the oldest first."""
    ids = [str(uuid.UUID(int=number * 2**64 + number)) for number in range(1, LOAD_BALANCERS + 1)]
    for start in range(0, LOAD_BALANCERS, _PAGE):
        numbers = range(start, min(start + _PAGE, LOAD_BALANCERS))
        with db.begin() as tx:
            for table, make in ((tables.load_balancers, _load_balancer), (tables.pools, _pool), (tables.listeners, _listener)):
                tx.connection.execute(sa.insert(table), [make(ids[number], number) for number in numbers])
            tags = [{"resource_id": ids[number], "tag": tag} for number in numbers for tag in ("bench", f"t-{number % 100}")]
            tx.connection.execute(sa.insert(tables.tags), tags)
    with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ANALYZE")
    return ids


def _resource(number: int, name: str) -> dict[str, Any]:
    return {
        "project_id": f"{number % PROJECTS:032x}",
        "name": name,
        "provisioning_status": "ACTIVE",
        "operating_status": "ONLINE",
        "generation": 1,
        "created_at": _STARTED + datetime.timedelta(seconds=number),
    }


def _load_balancer(key: str, number: int) -> dict[str, Any]:
    vip = {f"vip_{of}_id": key for of in ("port", "subnet", "network")}
    mine = {"id": key, "applied_generation": 1, "provider": "amphora", "topology": "SINGLE", "vip_address": "10.0.0.1"}
    return _resource(number, f"lb-{number * 7919 % LOAD_BALANCERS}") | vip | mine


def _pool(key: str, number: int) -> dict[str, Any]:
    mine = {"id": f"1{key[1:]}", "load_balancer_id": key, "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"}
    return _resource(number, "pool") | mine


def _listener(key: str, number: int) -> dict[str, Any]:
    times = dict.fromkeys(("timeout_client_data", "timeout_member_connect", "timeout_member_data", "timeout_tcp_inspect"), 5000)
    mine = {"id": f"2{key[1:]}", "load_balancer_id": key, "protocol": "HTTP", "protocol_port": 80, "default_pool_id": f"1{key[1:]}"}
    return _resource(number, "listener") | times | mine


def _members(count: int, weight: int) -> dict[str, Any]:
    return {"members": [{"address": f"10.8.{k // 250}.{k % 250 + 1}", "protocol_port": 80, "weight": weight} for k in range(count)]}


def requests(send: api.Api, ids: list[str]) -> dict[str, tuple[int, Callable[[], object]]]:
    """How often what is sent, by name."""
    numbers = itertools.count(1)
    full = send.load_balancer(**api.whole())
    pool_id = full["pools"][0]["id"]
    crowded = send.load_balancer(pools=[_pool_of(2000)])["pools"][0]["id"]
    large = _with_children(send, 1000)
    changed = send.load_balancer(pools=[_pool_of(1000)])["pools"][0]["id"]

    def listed(query: str = "") -> Callable[[], object]:
        return lambda: send("GET", f"/v2/lbaas/loadbalancers?{query}")

    def create_member() -> object:
        number = next(numbers)
        member = {"address": f"10.{9 + number // 62500}.{number // 250 % 250}.{number % 250 + 1}", "protocol_port": 80}
        return send("POST", f"/v2/lbaas/pools/{pool_id}/members", {"member": member})

    marker = ids[49 * 1000 - 1]
    return {
        "get_one": (300, lambda: send("GET", f"/v2/lbaas/loadbalancers/{ids[next(numbers) % len(ids)]}")),
        "get_one_with_2000_children": (50, lambda: send("GET", f"/v2/lbaas/loadbalancers/{large}")),
        "status_tree_with_2000_children": (20, lambda: send("GET", f"/v2/lbaas/loadbalancers/{large}/status")),
        "get_pool_with_2000_members": (50, lambda: send("GET", f"/v2/lbaas/pools/{crowded}")),
        "list_1000_of_50000": (40, listed()),
        "list_page_50_of_50000": (40, listed(f"limit=1000&marker={marker}")),
        "list_1000_of_a_project": (40, listed(f"project_id={7:032x}")),
        "list_1000_by_name": (20, listed("sort=name:desc")),
        "list_1000_by_tag": (20, listed("tags=bench,t-7")),
        "list_10_of_50000": (200, listed("limit=10")),
        "status_tree_10x10x10": (50, lambda: send("GET", f"/v2/lbaas/loadbalancers/{full['id']}/status")),
        "create_load_balancer": (100, send.load_balancer),
        "create_member": (200, create_member),
        "create_with_100_members": (20, lambda: send.load_balancer(**api.whole())),
        "batch_of_1000_members": (
            10,
            lambda: send("PUT", f"/v2/lbaas/pools/{changed}/members", _members(1000, weight=next(numbers) % 256)),
        ),
    }


def _with_children(send: api.Api, count: int) -> str:
    """The id of a load balancer with so many listeners and as many pools."""
    load_balancer_id = str(send.load_balancer()["id"])
    ids = [str(uuid.UUID(int=2**100 + number)) for number in range(count)]
    with send.db.begin() as tx:
        for table, make in ((tables.pools, _pool), (tables.listeners, _listener)):
            rows = [make(key, number) | {"load_balancer_id": load_balancer_id} for number, key in enumerate(ids)]
            tx.connection.execute(sa.insert(table), rows)
    return load_balancer_id


def _pool_of(count: int) -> dict[str, Any]:
    return {"name": f"p-{count}", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN", **_members(count, weight=1)}


def _measure(send: api.Api, times: int, work: Callable[[], object]) -> dict[str, float]:
    seen: list[str] = []
    sa.event.listen(send.db.engine, "before_cursor_execute", note := lambda *event: seen.append(event[2]))
    try:
        work()
    finally:
        sa.event.remove(send.db.engine, "before_cursor_execute", note)
    walls = []
    with harness.measured() as total:
        for _ in range(times):
            started = time.perf_counter()
            work()
            walls.append(time.perf_counter() - started)
    shares = {f"p{share}_seconds": harness.percentile(walls, share / 100) for share in (50, 95, 99)}
    cpu = total.cpu_seconds / times
    return {
        **shares,
        "cpu_seconds": cpu,
        "per_cpu_second": 1 / cpu,
        "statements": len([each for each in seen if not each.startswith("BEGIN")]),
    }


def main() -> None:
    """Print one line per engine and kind of request."""
    calibration = harness.calibrate()
    for name in sys.argv[1:] or ENGINES:
        try:
            with ENGINES[name]() as url:
                _run(name, url, calibration)
        except pytest.skip.Exception as reason:
            sys.stderr.write(f"{name}: {reason}\n")


def _run(engine: str, url: str, calibration: float) -> None:
    send = api.Api(url)
    ids = fill(send.db)
    process.spare_the_collector()
    for name, (times, work) in requests(send, ids).items():
        figures = _measure(send, times, work)
        goal = {"goal_p95_seconds": GOALS[name]} if name in GOALS else {}
        harness.emit(f"api_scale_{name}", engine=engine, **figures, calibration_seconds=calibration, **goal)
    send.db.close()


if __name__ == "__main__":
    main()
