"""What others wait for while amphorae hang, or one project has much to do: `python -m benchmarks.fairness [CASE...]` (root; some minutes).

Cases: `stopped` (agents by SIGSTOP: their kernels take connections, and nobody answers), `dropped` (what comes to agents is dropped, as
where a host died), `project` (one project changes and makes load balancers at once), each with real agents and HAProxy; `fakes` is the last
one with two hundred creations in a cloud that needs no time. All are seconds from the request to ACTIVE (or to 404) by a client that waits.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures

from benchmarks import create, harness
from controller.db import tables
from controller.dev.client import Api, NeverHappened
from controller.model.status import Topology
from tests.functional import flow_site
from tests.integration.site import Balancer, Site, agent_pids

HANGING, HEALTHY = 20, 10
CHANGES = 20
MUCH, MADE = 200, 20
"""Changes, and creations, that one project asks for at once."""
_LONGEST = 120.0
_QUIET = {"health_manager.heartbeat_timeout": "600", "health_manager.failover_threshold": "1000"}


def main() -> None:
    """The cases that are named, or all."""
    calibration = harness.calibrate()
    chosen = sys.argv[1:] or ["fakes", "stopped", "dropped", "project"]
    if "fakes" in chosen:
        _fakes(calibration)
    if {"stopped", "dropped", "project"} & set(chosen):
        with _site() as site:
            healthy = _balancers(site, HEALTHY)
            if "project" in chosen:
                _project(site, healthy, calibration)
            hanging = _balancers(site, HANGING) if {"stopped", "dropped"} & set(chosen) else []
            if "stopped" in chosen:
                with _stopped(hanging):
                    _beside(site, "stopped", hanging, healthy, calibration)
            for one in hanging:
                one.wait_active(300)
            if "dropped" in chosen:
                with _dropped(hanging):
                    _beside(site, "dropped", hanging, healthy, calibration)


@contextlib.contextmanager
def _site() -> Iterator[Site]:
    with tempfile.TemporaryDirectory(prefix="figlina-bench-") as folder:
        site = Site(pathlib.Path(folder), options=_QUIET)
        try:
            site.up()
            yield site
        finally:
            site.down()


def _balancers(site: Site, count: int) -> list[Balancer]:
    with futures.ThreadPoolExecutor(4) as threads:
        return list(threads.map(lambda _: site.balancer(("web-1",)), range(count)))


@contextlib.contextmanager
def _stopped(balancers: list[Balancer]) -> Iterator[None]:
    pids = [pid for balancer in balancers for amphora in balancer.amphorae() for pid in agent_pids(amphora)]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


@contextlib.contextmanager
def _dropped(balancers: list[Balancer]) -> Iterator[None]:
    pids = [agent_pids(amphora)[0] for balancer in balancers for amphora in balancer.amphorae()]
    rules = "table inet gone {\n chain input {\n type filter hook input priority -300\n tcp dport 9443 drop\n }\n}"
    for pid in pids:
        subprocess.run(["nsenter", "-t", str(pid), "-n", "nft", rules], check=True)
    try:
        yield
    finally:
        for pid in pids:
            subprocess.run(["nsenter", "-t", str(pid), "-n", "nft", "delete table inet gone"], stderr=subprocess.DEVNULL, check=False)


def _beside(site: Site, case: str, hanging: list[Balancer], healthy: list[Balancer], calibration: float) -> None:
    """Each that hangs gets a change now and then; meanwhile others are changed, made, deleted and failed over, one after the other."""
    over = threading.Event()
    members = {one.id: next(iter(one.members().values())) for one in (*hanging, *healthy)}
    weights = itertools.count(2)

    def change(one: Balancer) -> None:
        site.api.put(f"{one.members_path}/{members[one.id]['id']}", {"member": {"weight": 2 + next(weights) % 200}})

    def change_and_wait(one: Balancer) -> None:
        change(one)
        one.wait_active(_LONGEST)

    def keep_changing() -> None:
        while True:
            for one in hanging:
                change(one)
            if over.wait(3.0):
                return

    background = threading.Thread(target=keep_changing)
    background.start()
    time.sleep(1.0)
    try:
        figures: dict[str, float | None] = {}
        delays = [_took(change_and_wait, one) for one in itertools.islice(itertools.cycle(healthy), CHANGES)]
        figures["change_p50_seconds"], figures["change_max_seconds"] = statistics.median(delays), max(delays)
        made: list[Balancer] = []
        figures["create_seconds"] = _took(lambda: made.append(site.balancer(())))
        figures["delete_seconds"] = _took(made[0].delete) if made else None
        figures["failover_healthy_seconds"] = _took(_fail_over, site, healthy[0])
        figures["failover_hanging_seconds"] = _took(_fail_over, site, hanging.pop())
        figures["delete_hanging_seconds"] = _took(hanging.pop().delete)
    finally:
        over.set()
        background.join()
    harness.emit("others while amphorae hang", case=case, hanging=HANGING, **figures, calibration_seconds=calibration)


def _fail_over(site: Site, balancer: Balancer) -> None:
    (before,) = balancer.amphorae()
    site.api.put(f"/loadbalancers/{balancer.id}/failover")
    balancer.wait_active(_LONGEST)
    assert [one["id"] for one in balancer.amphorae()] != [before["id"]]


def _took(work: Callable[..., object], *arguments: object) -> float:
    """Seconds; as many as were waited at most if it never happened."""
    started = time.perf_counter()
    with contextlib.suppress(NeverHappened):
        work(*arguments)
    return time.perf_counter() - started


def _project(site: Site, healthy: list[Balancer], calibration: float) -> None:
    """One project changes its load balancers MUCH times and makes MADE more, another one changes one member now and then."""
    other = Api(site.machine.settings.api_url, caller={"X-Project-Id": "other"})
    pool = {
        "name": "p",
        "protocol": "HTTP",
        "lb_algorithm": "ROUND_ROBIN",
        "members": [{"address": site.web["web-1"], "protocol_port": 80}],
    }
    listener = {"protocol": "HTTP", "protocol_port": 80, "default_pool": pool}
    mine = other.wait_active(
        other.post("/loadbalancers", {"loadbalancer": {"vip_subnet_id": site.subnet_id, "listeners": [listener]}})["loadbalancer"]["id"]
    )
    members_path = f"/pools/{mine['pools'][0]['id']}/members"
    member_id = other.get(members_path)["members"][0]["id"]
    members = {one.id: next(iter(one.members().values())) for one in healthy}

    def mine_changes(weight: int) -> None:
        other.put(f"{members_path}/{member_id}", {"member": {"weight": weight}})
        other.wait_active(mine["id"], _LONGEST)

    quiet = [_took(mine_changes, weight) for weight in range(2, 12)]
    made: list[str] = []
    with futures.ThreadPoolExecutor(16) as threads:

        def make(_: int) -> None:
            made.append(site.api.post("/loadbalancers", {"loadbalancer": {"vip_subnet_id": site.subnet_id}})["loadbalancer"]["id"])

        def change(number: int) -> None:
            one = healthy[number % len(healthy)]
            site.api.put(f"{one.members_path}/{members[one.id]['id']}", {"member": {"weight": 2 + number % 200}})

        asked = [threads.submit(make, number) for number in range(MADE)] + [threads.submit(change, number) for number in range(MUCH)]
        delays: list[float] = []
        while len(delays) < CHANGES or not all(one.done() for one in asked):
            delays.append(_took(mine_changes, 20 + len(delays) % 200))
    for one in made:
        site.api.wait_active(one, 300)
        site.api.delete(f"/loadbalancers/{one}?cascade=true")
        site.api.wait_gone(f"/loadbalancers/{one}")
    harness.emit(
        "a change beside another project's work",
        changes=MUCH,
        creations=MADE,
        quiet_p50_seconds=statistics.median(quiet),
        p50_seconds=statistics.median(delays),
        max_seconds=max(delays),
        measured=len(delays),
        calibration_seconds=calibration,
    )


def _fakes(calibration: float) -> None:
    """MUCH creations of one project at once; then a change of another one, from its job to ACTIVE."""
    delays = []
    for _ in range(5):
        with create.a_site() as (site, post):
            other = site.built(Topology.SINGLE)
            ids = [site.accept_load_balancer() for _ in range(MUCH)]
            with site.db.begin() as tx:
                row = tables.load_balancers
                tx.connection.execute(row.update().where(row.c.id == other).values(project_id="other"))
                for one in ids:
                    tx.jobs.post(flow_site.a_create(one, Topology.SINGLE))
            site.accept(other, flow_site.a_listener(8080))
            started = time.perf_counter()
            post(flow_site.an_update(other))
            create.until_active(site, [other])
            delays.append(time.perf_counter() - started)
            create.until_active(site, ids)
            everything = time.perf_counter() - started
    harness.emit(
        "a change behind another project's creations, instant fakes",
        creations=MUCH,
        p50_seconds=statistics.median(delays),
        max_seconds=max(delays),
        creations_seconds=everything,
        calibration_seconds=calibration,
    )


if __name__ == "__main__":
    main()
