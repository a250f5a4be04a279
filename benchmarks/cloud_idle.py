"""What our processes cost beside ten load balancers on a real cloud that nobody changes: memory (PSS) and CPU of each over a minute.

Needs the cloud that `OS_CLIENT_CONFIG_FILE` names (see tests/cloud), and says so where there is none. Prints one JSON line a process.
Run: `python -m benchmarks.cloud_idle [COUNT]`.
"""

from __future__ import annotations

import os
import pathlib
import sys
import tempfile
import time

from benchmarks import harness
from controller.embedded import linux
from tests.cloud import site as sites

COUNT = 10
REST = 60.0  # seconds
_TICKS = os.sysconf("SC_CLK_TCK")


_OPTIONS = {"house_keeping": {"orphan_interval": "60"}}
"""A minute has one comparison, as by default."""


def main() -> None:
    """Make them, wait, measure, delete them."""
    users = sites.Users.connect()
    if users is None:
        print("cloud_idle: OS_CLIENT_CONFIG_FILE names no cloud; nothing was measured")
        return
    count = int(sys.argv[1]) if len(sys.argv) > 1 else COUNT
    with tempfile.TemporaryDirectory() as folder:
        site = sites.Site(pathlib.Path(folder), users, _OPTIONS)
        try:
            site.up()
            _measure(site, count)
        finally:
            site.down()


def _measure(site: sites.Site, count: int) -> None:
    subnet_id = site.users.tenant.network.get_network(site.network("private")).subnet_ids[0]
    began = time.monotonic()
    made = [site.create(subnet_id, [{"address": "198.18.2.9", "protocol_port": 80}]) for _ in range(count)]
    for one in made:
        site.active(one["id"], count * sites.BOOT)
    harness.emit("cloud_idle", what=f"{count} created together until all are ACTIVE", wall_seconds=time.monotonic() - began)
    time.sleep(20)
    pids = {name: linux.descendants(daemon.process.pid) for name, daemon in site.daemons.items()}
    before, since = {name: _cpu(found) for name, found in pids.items()}, time.monotonic()
    calls = len(site.proxy.calls())
    time.sleep(REST)
    for name, found in pids.items():
        share = (_cpu(found) - before[name]) / (time.monotonic() - since)
        harness.emit("cloud_idle", process=name, load_balancers=count, cpu_ms_per_second=1000 * share, pss_mb=_pss(found))
    harness.emit("cloud_idle", what="calls to the cloud in a minute", calls=len(site.proxy.calls()) - calls)


def _cpu(pids: list[int]) -> float:
    """Seconds that processes have used (proc(5): the 14th and 15th fields of stat)."""
    fields = [pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return sum(int(one[11]) + int(one[12]) for one in fields) / _TICKS


def _pss(pids: list[int]) -> float:
    """Their memory in MB, what they share counted once."""
    lines = [line for pid in pids for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()]
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


if __name__ == "__main__":
    main()
