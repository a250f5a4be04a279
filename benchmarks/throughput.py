"""What an amphora costs a client over a HAProxy that an expert wrote: `python -m benchmarks.throughput` (root, wrk; about four minutes).

Requests and TLS handshakes per second, the processor time that HAProxy takes for one, and the 99th percentile of the latency, through a
namespace amphora and through `EXPERT` in the same amphora, on other ports of the VIP: cables, packet filter and members are the same. Both
are loaded in turns of some seconds in one run, so that whatever else the machine does meets both; the ratio is what counts. Where client,
members and HAProxy share the processors, rates differ from turn to turn by a tenth and more, and HAProxy's processor time hardly at all.
Each HAProxy is in a session of its own, as those of amphorae are: Linux gives each session its share of the processors (autogroup,
sched(7)), and what shares one with wrk and the members gets more of them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import pathlib
import re
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from typing import Any

from amphora_agent import system
from benchmarks import harness
from controller.dev.client import eventually
from controller.drivers.secrets import bundles, local
from controller.embedded import networking
from tests import tls_material
from tests.integration.site import Site, haproxy_workers

ROUNDS, SECONDS = 30, 1
"""Turns of each, and for how long it is loaded in one: many short ones, because what else the machine does changes within seconds."""
GOAL = 0.97

MEMBER = """
global
    nbthread 1
defaults
    mode http
    timeout client 1m
    timeout server 1m
    timeout connect 5s
frontend member
    bind :8000
    bind :8001
    http-request return status 200 content-type text/plain string "0123456789"
"""

EXPERT = """
global
    maxconn 9000
    stats socket {folder}/expert.sock mode 600 level admin
    ssl-default-bind-options ssl-min-ver TLSv1.2 no-tls-tickets
    ssl-default-bind-ciphers ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384
    ssl-default-bind-ciphersuites TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256
defaults
    mode http
    timeout client 50s
    timeout server 50s
    timeout connect 5s
    option httpchk GET /
frontend http
    bind {vip}:8080
    default_backend members
frontend https
    bind {vip}:8443 ssl crt {folder}/bench.pem alpn h2,http/1.1
    default_backend members
backend members
    balance roundrobin
    http-reuse safe
    server one {one}:8000 check inter 5s
    server two {two}:8000 check inter 5s
"""


@dataclasses.dataclass(frozen=True)
class Load:
    """One way of loading: wrk's arguments."""

    name: str
    scheme: str
    arguments: tuple[str, ...]


LOADS = (
    Load("requests on connections that stay", "http", ("-c32",)),
    Load("requests on new connections", "http", ("-c32", "-H", "Connection: close")),
    Load("TLS requests on connections that stay", "https", ("-c32",)),
    Load("TLS handshakes", "https", ("-c32", "-H", "Connection: close")),
)


def main() -> None:
    calibration = harness.calibrate()
    with tempfile.TemporaryDirectory(prefix="figlina-bench-") as folder:
        site = Site(pathlib.Path(folder))
        try:
            site.up()
            with haproxy(site, "web-1", MEMBER), haproxy(site, "web-2", MEMBER):
                _side_by_side(site, calibration)
        finally:
            site.down()


def _side_by_side(site: Site, calibration: float) -> None:
    issued = tls_material.issue("bench.example", names=["bench.example"])
    (site.folder / "bench.pem").write_bytes(bundles.pem(issued.bundle))
    reference = local.LocalSecrets(site.folder / "secrets", create=True).store_bundle("demo", "bench", issued.bundle)
    made = _ours(site, reference)
    vip = made["vip_address"]
    (amphora,) = [one["id"] for one in site.machine.status()["amphorae"] if one["load_balancer_id"] == made["id"]]
    text = EXPERT.format(folder=site.folder, vip=vip, one=site.web["web-1"], two=site.web["web-2"])
    (status,) = site.machine.status()["amphorae"]
    with haproxy(site, amphora, text, "ip", "netns", "exec", "haproxy") as expert:
        processes = {"ours": haproxy_workers(status), "expert": {expert}}
        ports = {"ours": {"http": 80, "https": 443}, "expert": {"http": 8080, "https": 8443}}
        for load in LOADS:
            places = {name: f"{load.scheme}://{vip}:{own[load.scheme]}/" for name, own in ports.items()}
            for url in places.values():
                eventually(lambda url=url: _loaded(site, Load("", "", ("-c1",)), url, 1)[0] > 0, 20)  # type: ignore[misc]
            _compare(site, load, places, processes, calibration)


def _ours(site: Site, certificate: str) -> dict[str, Any]:
    """A load balancer whose VIP takes packets to every port: a group of the tenant's own decides."""
    network = site.machine.network
    group = network.tenants.create(networking.SECURITY_GROUP, {"name": "bench", "project_id": "demo"})["id"]
    everything = {"security_group_id": group, "project_id": "demo", "direction": "ingress", "ethertype": "IPv4", "protocol": "tcp"}
    network.tenants.create(networking.SECURITY_GROUP_RULE, everything)
    members = [{"address": site.web[name], "protocol_port": 8000} for name in ("web-1", "web-2")]
    monitor = {"type": "HTTP", "delay": 5, "timeout": 3, "max_retries": 2}
    pool = {"name": "p", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN", "members": members, "healthmonitor": monitor}
    plain = {"protocol": "HTTP", "protocol_port": 80, "default_pool": {"name": "p"}}
    encrypted = {
        "protocol": "TERMINATED_HTTPS",
        "protocol_port": 443,
        "default_pool": {"name": "p"},
        "default_tls_container_ref": certificate,
    }
    body = {"vip_subnet_id": site.subnet_id, "vip_sg_ids": [group], "pools": [pool], "listeners": [plain, encrypted]}
    made: dict[str, Any] = site.api.post("/loadbalancers", {"loadbalancer": body})["loadbalancer"]
    site.api.wait_active(made["id"])
    return made


def _compare(site: Site, load: Load, places: dict[str, str], processes: dict[str, set[int]], calibration: float) -> None:
    """In turns, whose order changes: the second of two may meet what the first has left."""
    rates: dict[str, list[float]] = {name: [] for name in places}
    tails: dict[str, list[float]] = {name: [] for name in places}
    costs, answers = dict.fromkeys(places, 0.0), dict.fromkeys(places, 0)
    for turn in range(ROUNDS):
        for name in sorted(places, reverse=bool(turn % 2)):
            before = _cpu_seconds(processes[name])
            rate, tail, answered = _loaded(site, load, places[name], SECONDS)
            costs[name] += _cpu_seconds(processes[name]) - before
            answers[name] += answered
            rates[name].append(rate)
            tails[name].append(tail)
    ratios = [ours / expert for ours, expert in zip(rates["ours"], rates["expert"], strict=True)]
    lower, upper = _interval(ratios)
    each = {name: costs[name] / answers[name] for name in places}
    harness.emit(
        load.name,
        ours_per_second=statistics.median(rates["ours"]),
        expert_per_second=statistics.median(rates["expert"]),
        ratio_of_sums=sum(rates["ours"]) / sum(rates["expert"]),
        ratio_median=statistics.median(ratios),
        ratio_median_from=lower,
        ratio_median_to=upper,
        ours_cpu_microseconds=each["ours"] * 1e6,
        expert_cpu_microseconds=each["expert"] * 1e6,
        ratio_for_the_same_cpu=each["expert"] / each["ours"],
        ours_p99_ms=statistics.median(tails["ours"]),
        expert_p99_ms=statistics.median(tails["expert"]),
        rounds=ROUNDS,
        goal_ratio=GOAL,
        calibration_seconds=calibration,
    )


def _haproxy_of(file: pathlib.Path) -> int:
    """The process that a wrapper has begun in another namespace."""
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_text().split("\0")
            if words[0] == "haproxy" and str(file) in words:
                return int(process.name)
    raise RuntimeError(f"no HAProxy reads {file}")


def _cpu_seconds(pids: set[int]) -> float:
    return sum(system.processor_time(pid) for pid in pids) / os.sysconf("SC_CLK_TCK")


def _interval(values: list[float]) -> tuple[float, float]:
    """Between what their median is with 95 %, whatever their distribution: order statistics, by the binomial one (the sign test)."""
    count, below, at_most = len(values), -1, 0.0
    while at_most + math.comb(count, below + 1) / 2**count <= 0.025:
        below += 1
        at_most += math.comb(count, below) / 2**count
    ordered = sorted(values)
    return ordered[max(below, 0)], ordered[-1 - max(below, 0)]


def _loaded(site: Site, load: Load, url: str, seconds: int) -> tuple[float, float, int]:
    """Requests per second, the 99th percentile of their latency in milliseconds, and how many there were.

    :raises RuntimeError: requests failed.
    """
    command = ["wrk", "-t1", f"-d{seconds}s", "--latency", *load.arguments, url]
    said = subprocess.run([*site.machine.entrance("client"), *command], capture_output=True, text=True, check=False).stdout
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    tail = re.search(r"99%\s+([\d.]+)(us|ms|s)", said)
    answered = re.search(r"(\d+) requests in", said)
    if rate is None or tail is None or answered is None:
        return 0.0, 0.0, 0
    if re.search(r"Non-2xx|Socket errors: .*(connect|read|write|timeout) [1-9]", said):
        raise RuntimeError(f"{url}: {said}")
    return float(rate[1]), float(tail[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[tail[2]], int(answered[1])


@contextlib.contextmanager
def haproxy(site: Site, where: str, text: str, *entrance: str) -> Iterator[int]:
    """A HAProxy of this text in a machine of the tenant's network; its process."""
    file = site.folder / f"{where}.cfg"
    file.write_text(text)
    command = [*site.machine.entrance(where), *entrance, "haproxy", "-db", "-f", str(file)]
    running = subprocess.Popen(command, stderr=file.with_suffix(".log").open("wb"), start_new_session=True)
    try:
        time.sleep(1)
        if running.poll() is not None:
            raise RuntimeError(file.with_suffix(".log").read_text())
        yield _haproxy_of(file)
    finally:
        running.send_signal(signal.SIGTERM)
        running.wait()


if __name__ == "__main__":
    main()
