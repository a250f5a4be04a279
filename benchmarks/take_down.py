"""`figlina dev down` with many load balancers: seconds, and what is left of them (nothing, or the benchmark fails).

Starts a whole embedded site with real agents and HAProxy in namespaces of its own (needs root), several rounds.

    python -m benchmarks.take_down [load balancers] [rounds]
"""

from __future__ import annotations

import pathlib
import statistics
import sys
import tempfile
import time

from benchmarks import harness
from controller.embedded import linux
from tests.integration import site

LOAD_BALANCERS, ROUNDS = 40, 3


def main() -> int:
    """1 if anything was left behind in any round."""
    count, rounds = (int(text) for text in (*sys.argv[1:], *map(str, (LOAD_BALANCERS, ROUNDS)[len(sys.argv) - 1 :])))
    outcomes = [_round(count) for _ in range(rounds)]
    left = [name for _, names in outcomes for name in names]
    harness.emit("take_down", load_balancers=count, rounds=rounds, seconds=statistics.median(took for took, _ in outcomes), left=len(left))
    return 1 if left else 0


def _round(count: int) -> tuple[float, list[str]]:
    with tempfile.TemporaryDirectory(prefix="figlina-b-") as folder:
        made = site.Site(pathlib.Path(folder) / "state")
        made.up()
        ids = [_load_balancer(made, number) for number in range(count)]
        for load_balancer_id in ids:
            made.api.wait_active(load_balancer_id, 300)
        started = time.monotonic()
        try:
            made.down()
        except Exception as error:
            sys.stderr.write(f"{error}\n")
        took = time.monotonic() - started
        prefix = made.machine.settings.prefix
        left = [*linux.namespaces(prefix), *map(str, (pathlib.Path(folder) / "state").glob("embedded/amphorae/*"))]
        if left:
            made.down()
        return took, left


def _load_balancer(made: site.Site, number: int) -> str:
    listener = {"name": "http", "protocol": "HTTP", "protocol_port": 80}
    body = {"name": f"b-{number}", "vip_subnet_id": made.subnet_id, "listeners": [listener]}
    created: str = made.api.post("/loadbalancers", {"loadbalancer": body})["loadbalancer"]["id"]
    return created


if __name__ == "__main__":
    sys.exit(main())
