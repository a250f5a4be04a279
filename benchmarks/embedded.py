"""The main job on this machine, with real agents and HAProxy: `python -m benchmarks.embedded` (root; about two minutes).

Wall times, as a user feels them: create to ACTIVE; from the API's answer to a member change until HAProxy has it; a hundred changes one by
one and all at once; the death of an amphora, alone and in a pair. HAProxy is watched on its own socket, from a process inside the amphora.
"""

from __future__ import annotations

import contextlib
import functools
import os
import pathlib
import queue
import signal
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent import futures
from typing import Any

from benchmarks import harness
from controller.dev.client import eventually
from tests.integration import habits
from tests.integration.site import Balancer, Site, haproxy_workers, in_threads

CREATES = 10
CHANGES = 100
LISTENERS = 50
DEATHS = 3
HANGS = 5
PLANNED = 5

_WATCH = """
import glob, select, socket, sys, time
(path,) = glob.glob("/run/figlina/**/haproxy.sock", recursive=True)
question = ("get weight " + sys.argv[1] + chr(10)).encode()
last = None
while True:
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(path)
    connection.sendall(question)
    answer = b"".join(iter(lambda: connection.recv(4096), b"")).split()[:1]
    connection.close()
    if answer != last:
        last = answer
        print(time.monotonic(), (answer or [b"?"])[0].decode(), flush=True)
    if select.select([sys.stdin], [], [], float(sys.argv[2]))[0]:
        break
"""


def main() -> None:
    """All cases, one JSON line each."""
    calibration = harness.calibrate()
    with _site() as site:
        _creates(site, calibration)
        _changes(site, calibration)
        _together(site, calibration)
        _listeners(site, calibration, "the load balancer serves")
        _listeners(site, calibration, "it is still being made", wait=False)
        _deaths(site, "single", calibration)
        _hangs(site, "single", calibration)
    with _site("ACTIVE_STANDBY") as site:
        _creates(site, calibration, "pair")
        _deaths(site, "pair", calibration)
        _hangs(site, "pair", calibration)
        _planned(site, calibration)


@contextlib.contextmanager
def _site(topology: str = "SINGLE") -> Iterator[Site]:
    with tempfile.TemporaryDirectory(prefix="figlina-bench-") as folder:
        site = Site(pathlib.Path(folder), topology)
        try:
            site.up()
            yield site
        finally:
            site.down()


def _creates(site: Site, calibration: float, case: str = "single") -> None:
    """Create to ACTIVE, one after the other, with a listener, a pool and two members each."""
    times = []
    for _ in range(CREATES):
        started = time.perf_counter()
        members = [{"address": site.web[one], "protocol_port": 80} for one in ("web-1", "web-2")]
        pool = {"name": "p", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN", "members": members}
        listener = {"protocol": "HTTP", "protocol_port": 80, "default_pool": pool}
        body = {"vip_subnet_id": site.subnet_id, "listeners": [listener]}
        made = site.api.post("/loadbalancers", {"loadbalancer": body})["loadbalancer"]
        active = site.api.wait_active(made["id"])
        times.append(time.perf_counter() - started)
        Balancer(site, active).delete()
    harness.emit(
        "embedded create to ACTIVE",
        case=case,
        median_seconds=statistics.median(times),
        worst_seconds=max(times),
        runs=CREATES,
        calibration_seconds=calibration,
        goal_seconds=2.0,
    )


def _changes(site: Site, calibration: float) -> None:
    """From the API's answer to a member's new weight until HAProxy has it; and the whole of a hundred changes by a client that waits."""
    balancer = site.balancer(("web-1",))
    (member,) = balancer.members().values()
    (amphora,) = balancer.amphorae()
    workers = haproxy_workers(amphora)
    delays = []
    started = time.perf_counter()
    with watching(site, amphora["id"], f"{balancer.pool_id}:{balancer.listener_id}/{member['id']}") as seen:
        for turn in range(CHANGES):
            weight = 2 + turn % 200
            site.api.put(f"{balancer.members_path}/{member['id']}", {"member": {"weight": weight}})
            answered = time.monotonic()
            delays.append(max(0.0, when(seen, str(weight)) - answered))
            balancer.wait_active()
    took = time.perf_counter() - started
    (amphora,) = balancer.amphorae()
    harness.emit(
        "member change until HAProxy has it",
        p50_seconds=statistics.median(delays),
        p99_seconds=harness.percentile(delays, 0.99),
        changes=CHANGES,
        reloads=len(haproxy_workers(amphora) - workers),
        calibration_seconds=calibration,
        goal_p99_seconds=0.3,
    )
    harness.emit(
        "100 member changes one by one, the client waits for ACTIVE", seconds=took, calibration_seconds=calibration, goal_seconds=8.0
    )
    balancer.delete()


def _together(site: Site, calibration: float) -> None:
    """A hundred members, created by a client that never waits."""
    balancer = site.balancer(("web-1",))

    def write(index: int) -> None:
        member = {"address": site.web["web-2"], "protocol_port": 1000 + index}
        site.api.post(balancer.members_path, {"member": member})

    started = time.perf_counter()
    raised = in_threads(CHANGES, write)
    accepted = time.perf_counter() - started
    balancer.wait_active()
    took = time.perf_counter() - started
    (amphora,) = balancer.amphorae()
    console = (site.folder / "embedded" / "amphorae" / amphora["id"] / "console.log").read_text(errors="replace")
    harness.emit(
        "100 member creates at once, the client never waits",
        seconds=took,
        accepted_seconds=accepted,
        refused=len(raised),
        pushes=sum(f"{balancer.id}: generation " in line for line in console.splitlines()) - 1,
        calibration_seconds=calibration,
        goal_seconds=2.0,
    )
    balancer.delete()


def _listeners(site: Site, calibration: float, case: str, wait: bool = True) -> None:
    """Fifty listeners, each with a pool, two members and a monitor, made side by side by a client that never waits; and their end."""
    client = habits.Client(site.machine.settings.api_url)
    made = client.create("loadbalancer", "/loadbalancers", name="listeners", vip_subnet_id=site.subnet_id)
    if wait:
        client.wait_active(made["id"])
    before = habits.applied(site, made["id"])
    with futures.ThreadPoolExecutor(LISTENERS) as threads:
        started = time.perf_counter()
        services = list(threads.map(lambda number: habits.a_service(client, site, made["id"], number), range(LISTENERS)))
        answered = time.perf_counter() - started
        client.wait_active(made["id"])
        active = time.perf_counter() - started
        habits.serve(site, made["vip_address"], services)
        applied = habits.applied(site, made["id"]) - before
        started = time.perf_counter()
        list(threads.map(functools.partial(habits.remove, client), services))
        client.wait_active(made["id"])
        deleted = time.perf_counter() - started
    harness.emit(
        "50 listeners with pools, members and monitors side by side, never waiting",
        case=case,
        writes=5 * LISTENERS,
        answered_seconds=answered,
        active_seconds=active,
        deleted_seconds=deleted,
        reloads=applied["reload"],
        pushes=applied.total(),
        refusals=sum(client.refusals().values()),
        calibration_seconds=calibration,
    )
    client.send("DELETE", f"/loadbalancers/{made['id']}")
    site.api.wait_gone(f"/loadbalancers/{made['id']}")


def _deaths(site: Site, case: str, calibration: float) -> None:
    """kill -9 of the amphora that serves, under traffic: how long nobody answers, and when the load balancer is whole and ACTIVE again."""
    gaps, silences, repairs = [], [], []
    for _ in range(DEATHS):
        balancer = site.balancer(("web-1", "web-2"))
        time.sleep(2)
        victim = _serving(site, balancer)
        with site.traffic(balancer.vip, rate=200, timeout=2) as traffic:
            site.kill(victim["pids"])
            died = time.perf_counter()
            eventually(functools.partial(_whole, balancer, victim["id"]), 60)
            balancer.wait_active()
            repairs.append(time.perf_counter() - died)
            time.sleep(0.5)
        gaps.append(traffic["longest_gap"])
        silences.append(traffic["longest_silence"])
        balancer.delete()
    harness.emit(
        "death of an amphora",
        case=case,
        gap_median_seconds=statistics.median(gaps),
        gap_worst_seconds=max(gaps),
        silence_median_seconds=statistics.median(silences),
        silence_worst_seconds=max(silences),
        whole_again_median_seconds=statistics.median(repairs),
        deaths=DEATHS,
        calibration_seconds=calibration,
        goal_gap_seconds=15.0 if case == "single" else 1.0,
    )


def _hangs(site: Site, case: str, calibration: float) -> None:
    """HAProxy's worker stands still (SIGSTOP) in the amphora that has the VIP, under traffic: how long nobody answers."""
    gaps, silences = [], []
    balancer = site.balancer(("web-1", "web-2"))
    before = {one["id"] for one in balancer.amphorae()}
    for _ in range(HANGS):
        time.sleep(4)
        victim = _serving(site, balancer)
        worker = max(haproxy_workers(victim), key=_started)
        with site.traffic(balancer.vip, rate=100, timeout=2) as traffic:
            os.kill(worker, signal.SIGSTOP)
            time.sleep(8)
        gaps.append(traffic["longest_gap"])
        silences.append(traffic["longest_silence"])
        eventually(functools.partial(lambda one: one.show()["operating_status"] == "ONLINE", balancer), 30)
    replaced = len(before - {one["id"] for one in balancer.amphorae()})
    balancer.delete()
    harness.emit(
        "HAProxy hangs",
        case=case,
        gap_median_seconds=statistics.median(gaps),
        gap_worst_seconds=max(gaps),
        silence_median_seconds=statistics.median(silences),
        silence_worst_seconds=max(silences),
        replaced=replaced,
        hangs=HANGS,
        calibration_seconds=calibration,
        goal_silence_seconds=5.0 if case == "single" else 1.0,
    )


def _planned(site: Site, calibration: float) -> None:
    """Both halves of a pair are replaced on request, under traffic."""
    gaps, silences, failed = [], [], 0
    for _ in range(PLANNED):
        balancer = site.balancer(("web-1", "web-2"))
        time.sleep(3)
        before = {one["id"] for one in balancer.amphorae()}
        with site.traffic(balancer.vip, rate=100, timeout=2) as traffic:
            site.api.put(f"/loadbalancers/{balancer.id}/failover")
            eventually(functools.partial(lambda one, old: not old & {half["id"] for half in one.amphorae()}, balancer, before), 90)
            balancer.wait_active()
            time.sleep(1)
        gaps.append(traffic["longest_gap"])
        silences.append(traffic["longest_silence"])
        failed += traffic["failed"]
        balancer.delete()
    harness.emit(
        "planned failover of a pair",
        gap_median_seconds=statistics.median(gaps),
        gap_worst_seconds=max(gaps),
        silence_median_seconds=statistics.median(silences),
        silence_worst_seconds=max(silences),
        failed_requests=failed,
        failovers=PLANNED,
        calibration_seconds=calibration,
        goal_silence_seconds=0.3,
    )


def _started(pid: int) -> int:
    """When a process began (clock ticks since the boot): the worker is younger than its master."""
    return int(pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


def _serving(site: Site, balancer: Balancer) -> dict[str, Any]:
    """The amphora that has the VIP."""
    for amphora in balancer.amphorae():
        command = [*site.machine.entrance(amphora["id"]), "ip", "netns", "exec", "haproxy", "ip", "-brief", "address"]
        if f" {balancer.vip}/" in subprocess.run(command, capture_output=True, text=True, check=False).stdout:
            return amphora
    raise RuntimeError(f"no amphora of {balancer.id} has the VIP {balancer.vip}")


def _whole(balancer: Balancer, old: str) -> bool:
    ids = [one["id"] for one in balancer.amphorae()]
    return old not in ids and len(ids) == (2 if balancer.site.machine.settings.topology == "ACTIVE_STANDBY" else 1)


@contextlib.contextmanager
def watching(site: Site, amphora_id: str, server: str, interval: float = 0.002) -> Iterator[queue.Queue[tuple[float, str]]]:
    """Every change of a server's weight in HAProxy: when (monotonic clock), and to what. It is asked at this interval, in seconds."""
    seen: queue.Queue[tuple[float, str]] = queue.Queue()
    command = [*site.machine.entrance(amphora_id), "python3", "-c", _WATCH, server, str(interval)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as watcher:
        assert watcher.stdin is not None
        assert watcher.stdout is not None
        lines = watcher.stdout

        def listen() -> None:
            for line in lines:
                when, weight = line.split()
                seen.put((float(when), weight))

        threading.Thread(target=listen, daemon=True).start()
        try:
            yield seen
        finally:
            watcher.stdin.close()  # ends it; killing would hit the command that entered the namespace only


def when(seen: queue.Queue[tuple[float, str]], weight: str) -> float:
    """When the server got this weight."""
    while True:
        when, found = seen.get(timeout=20)
        if found == weight:
            return when


if __name__ == "__main__":
    main()
