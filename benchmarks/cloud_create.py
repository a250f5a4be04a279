"""From the request to ACTIVE on a real cloud, split by who has it: ours, the compute service, the VM that boots.

All looks of our processes are a minute apart here, as in `tests/cloud/test_waits.py`: what waited for one would show. `ours` is all but the
compute service's time for a server, the VM's until its agent listens, and the agent's until it serves; what goes by in calls to the network
service is within. Needs the cloud that `OS_CLIENT_CONFIG_FILE` names, on this host (see tests/cloud), and says so where there is none.
Prints one JSON line a case; fails if `ours` for one amphora is not below its goal.
Run: `python -m benchmarks.cloud_create [RUNS]`.
"""

from __future__ import annotations

import pathlib
import statistics
import sys
import tempfile
from collections.abc import Sequence

from benchmarks import harness
from tests.cloud import moments, test_waits
from tests.cloud import site as sites

_RUNS = 3
_GOAL = 3.0  # seconds


def main() -> int:
    """One amphora, a pair, five at once."""
    users = sites.Users.connect()
    if users is None:
        print("cloud_create: OS_CLIENT_CONFIG_FILE names no cloud; nothing was measured")
        return 0
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else _RUNS
    with tempfile.TemporaryDirectory() as folder:
        site = sites.Site(pathlib.Path(folder), users, test_waits.OPTIONS)
        try:
            site.up()
            with moments.Beats(site) as beats:
                return _measured(site, beats, runs)
        finally:
            site.down()


def _measured(site: sites.Site, beats: moments.Beats, runs: int) -> int:
    _made(site, beats, 1)  # facts that a process looks up once
    ones = [one for _ in range(runs) for one in _made(site, beats, 1)]
    ours = _told("one amphora", ones)
    _told("a pair", [one for _ in range(runs) for one in _made(site, beats, 1, flavor_id=site.pair)])
    _told("five at once", _made(site, beats, 5))
    return 0 if ours < _GOAL else 1


def _made(site: sites.Site, beats: moments.Beats, count: int, **more: str) -> list[moments.Creation]:
    made = moments.creations(site, beats, count, **more)
    for one in made:
        site.delete(one.load_balancer_id)
    return made


def _told(case: str, made: Sequence[moments.Creation]) -> float:
    """Prints the medians, and returns that of what is ours."""
    parts = [one.parts() for one in made]
    figures = {name: statistics.median(one[name] for one in parts) for name in parts[0]}
    ours = statistics.median(one["before"] + one["after"] for one in parts)
    harness.emit("cloud_create", case=case, load_balancers=len(made), ours=ours, goal_ours=_GOAL, **figures)
    return ours


if __name__ == "__main__":
    sys.exit(main())
