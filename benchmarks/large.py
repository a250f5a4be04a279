"""Large load balancers on this machine, and changes under load: `python -m benchmarks.large` (root, wrk; about three minutes).

50 listeners that end TLS, with 200 certificates by name, 50 pools, 2,000 members: how long until it is ACTIVE, until a change that takes a
reload is, until a member's is live, and what HAProxy and the agent take of the memory. The same with 100 listeners of HTTP and 5,000
members. Then a thousand changes of members while wrk asks as fast as one of its threads can. `large` or `load` as an argument: that alone.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

from benchmarks import embedded, harness, throughput
from controller.drivers.secrets import local
from tests import tls_material
from tests.integration.site import Site, agent_pids, haproxy_workers

CASES = ((50, 40, 4), (100, 50, 0))
"""Listeners, and of each the members and the certificates by name, beside one of its own; with none it speaks HTTP."""
RELOADS, WEIGHTS, ADDED = 5, 30, 10
CHANGES = 1000
_WATCHED_EVERY = 0.01
"""Seconds between two looks at a weight: who looks all the time takes the processor from those who work."""


def main() -> None:
    calibration = harness.calibrate()
    with tempfile.TemporaryDirectory(prefix="figlina-bench-") as folder:
        site = Site(pathlib.Path(folder))
        try:
            site.up()
            for listeners, members, names in CASES if "load" not in sys.argv else ():
                _large(site, calibration, listeners, members, names)
            if "large" in sys.argv:
                return
            with contextlib.ExitStack() as serving:
                for name in ("web-1", "web-2"):
                    serving.enter_context(throughput.haproxy(site, name, throughput.MEMBER))
                _changes_under_load(site, calibration)
        finally:
            site.down()


def _large(site: Site, calibration: float, listeners: int, members: int, names: int) -> None:
    store = local.LocalSecrets(site.folder / "secrets", create=True)
    names_of = [[f"{one}-{at}.example" for at in range(names + 1 if names else 0)] for one in range(listeners)]
    references = [[store.store_bundle("demo", "t", tls_material.issue(one, names=[one]).bundle) for one in some] for some in names_of]
    body: dict[str, Any] = {
        "name": "large",
        "vip_subnet_id": site.subnet_id,
        "listeners": [_listener(site, one, members, references[one]) for one in range(listeners)],
    }
    began = time.perf_counter()
    made = site.api.post("/loadbalancers", {"loadbalancer": body})["loadbalancer"]
    answered = time.perf_counter()
    site.api.wait_active(made["id"], 120)
    created = time.perf_counter()
    (amphora,) = [one for one in site.machine.status()["amphorae"] if one["load_balancer_id"] == made["id"]]
    memory = {"haproxy": _memory(haproxy_workers(amphora)), "agent": _memory(agent_pids(amphora))}

    spent = _spent(site, made["id"])
    reloads = []
    for turn in range(RELOADS):
        site.api.put(f"/listeners/{made['listeners'][turn]['id']}", {"listener": {"timeout_client_data": 40_000 + turn}})
        asked = time.perf_counter()
        site.api.wait_active(made["id"], 60)
        reloads.append(time.perf_counter() - asked)
    of_reloads, spent = (_spent(site, made["id"]) - spent) / RELOADS, _spent(site, made["id"])
    pool, listener = made["listeners"][7]["default_pool_id"], made["listeners"][7]["id"]
    member = site.api.get(f"/pools/{pool}/members")["members"][0]["id"]
    workers = haproxy_workers(_amphora(site, made["id"]))
    weights = _until_live(site, amphora, pool, listener, member)
    of_weights = (_spent(site, made["id"]) - spent) / WEIGHTS
    added = []
    for turn in range(ADDED):
        body = {"member": {"address": site.web["web-1"], "protocol_port": 60_000 + turn}}
        site.api.post(f"/pools/{pool}/members", body)
        asked = time.perf_counter()
        site.api.wait_active(made["id"], 60)
        added.append(time.perf_counter() - asked)
    harness.emit(
        f"{listeners} listeners, {listeners * names} certificates by name, {listeners * members} members",
        answered_seconds=answered - began,
        active_after_answer_seconds=created - answered,
        reload_to_active_p50_seconds=statistics.median(reloads),
        goal_reload_seconds=2.0,
        reload_cpu_seconds=of_reloads,
        weight_cpu_seconds=of_weights,
        weight_live_p50_seconds=statistics.median(weights),
        weight_live_p95_seconds=harness.percentile(weights, 0.95),
        goal_weight_seconds=0.1,
        added_member_to_active_p50_seconds=statistics.median(added),
        reloads_by_members=len(haproxy_workers(_amphora(site, made["id"])) - workers),
        haproxy_megabytes=memory["haproxy"],
        agent_megabytes=memory["agent"],
        calibration_seconds=calibration,
    )
    site.api.delete(f"/loadbalancers/{made['id']}?cascade=true")
    site.api.wait_gone(f"/loadbalancers/{made['id']}")


def _listener(site: Site, number: int, members: int, references: list[str]) -> dict[str, Any]:
    servers = [{"address": site.web["web-1"], "protocol_port": 10_000 + number * members + one} for one in range(members)]
    tls = {"default_tls_container_ref": references[0], "sni_container_refs": references[1:]} if references else {}
    return {
        "name": f"l{number}",
        "protocol": "TERMINATED_HTTPS" if references else "HTTP",
        "protocol_port": 1000 + number,
        "default_pool": {"name": f"p{number}", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN", "members": servers},
        **tls,
    }


def _until_live(site: Site, amphora: dict[str, Any], pool: str, listener: str, member: str) -> list[float]:
    """Seconds from the API's answer to a weight until HAProxy has it."""
    found = []
    with embedded.watching(site, amphora["id"], f"{pool}:{listener}/{member}", _WATCHED_EVERY) as seen:
        for turn in range(WEIGHTS):
            site.api.put(f"/pools/{pool}/members/{member}", {"member": {"weight": 2 + turn}})
            answered = time.monotonic()
            found.append(max(0.0, embedded.when(seen, str(2 + turn)) - answered))
            site.api.wait_active(_balancer_of(site, pool))
    return found


def _balancer_of(site: Site, pool: str) -> str:
    return str(site.api.get(f"/pools/{pool}")["pool"]["loadbalancers"][0]["id"])


def _changes_under_load(site: Site, calibration: float) -> None:
    members = [{"address": site.web[name], "protocol_port": 8000, "weight": 10} for name in ("web-1", "web-2")]
    pool = {"name": "p", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN", "members": members}
    body = {"vip_subnet_id": site.subnet_id, "listeners": [{"protocol": "HTTP", "protocol_port": 80, "default_pool": pool}]}
    made = site.api.post("/loadbalancers", {"loadbalancer": body})["loadbalancer"]
    site.api.wait_active(made["id"])
    path = f"/pools/{made['pools'][0]['id']}/members"
    ids = [one["id"] for one in site.api.get(path)["members"]]
    workers = haproxy_workers(_amphora(site, made["id"]))
    wrk = ["wrk", "-t1", "-c32", "-d600s", "--latency", "-H", "Connection: close", f"http://{made['vip_address']}/"]
    asking = subprocess.Popen([*site.machine.entrance("client"), *wrk], stdout=subprocess.PIPE, text=True)
    time.sleep(1)
    began = time.perf_counter()
    for turn in range(CHANGES):
        match turn % 4:
            case 0:
                site.api.put(f"{path}/{ids[turn % 8 // 4]}", {"member": {"weight": 1 + turn % 100}})
            case 1:
                third = {"address": site.web["web-1"], "protocol_port": 8001, "weight": 1}
                added = site.api.post(path, {"member": third})["member"]["id"]
            case 2:
                site.api.put(f"{path}/{added}", {"member": {"admin_state_up": False}})
            case 3:
                site.api.delete(f"{path}/{added}")
        if turn % 4 == 3:
            site.api.wait_active(made["id"])
    took = time.perf_counter() - began
    reloaded = len(haproxy_workers(_amphora(site, made["id"])) - workers)
    asking.send_signal(2)
    said, _ = asking.communicate(timeout=60)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    requests = re.search(r"(\d+) requests in", said)
    errors = re.search(r"Socket errors: (.*)", said)
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    harness.emit(
        f"{CHANGES} changes of members under load",
        seconds=took,
        requests=int(requests[1]) if requests else 0,
        requests_per_second=float(rate[1]) if rate else 0.0,
        errors=errors[1] if errors else "none",
        not_served=int(refused[1]) if refused else 0,
        reloads=reloaded,
        calibration_seconds=calibration,
    )


def _amphora(site: Site, balancer: str) -> dict[str, Any]:
    return next(one for one in site.machine.status()["amphorae"] if one["load_balancer_id"] == balancer)


def _spent(site: Site, balancer: str) -> float:
    """CPU seconds that API, worker and the living processes of the amphora have used: what other programs do is not in them."""
    ours = [pid for name in ("api", "worker") for pid in site.machine.processes.pids(name)]
    ticks = 0
    for pid in [*ours, *_amphora(site, balancer)["pids"]]:
        with contextlib.suppress(OSError):
            ticks += sum(int(word) for word in pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")


def _memory(pids: Any) -> float:
    """MB (PSS) of these processes."""
    total = 0
    for pid in pids:
        for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total / 1000


if __name__ == "__main__":
    main()
