"""How long a client waits when the half of a pair that serves is gone: `python -m benchmarks.takeover [KILLS] [PLANNED]` (root).

One client asks every 10 ms, each time on a new connection. The half that has the VIP is killed (all of its processes at once, as when a
machine dies), or both halves are replaced on request. Sessions of an application are asked before and after: who went to which member.
"""

from __future__ import annotations

import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

from benchmarks import harness
from controller.dev.client import eventually
from tests.integration.site import Balancer, Site

KILLS, PLANNED = 50, 5
SESSIONS = 10
RATE = 100  # requests per second
GOAL_DEATH, GOAL_PLANNED = 1.0, 0.3


def main() -> None:
    kills, planned = (int(word) for word in (sys.argv[1:] + [KILLS, PLANNED][len(sys.argv) - 1 :]))
    calibration = harness.calibrate()
    with tempfile.TemporaryDirectory(prefix="figlina-bench-") as folder:
        site = Site(pathlib.Path(folder), "ACTIVE_STANDBY")
        try:
            site.up()
            balancer = site.balancer(("web-1", "web-2"))
            persistence = {"type": "APP_COOKIE", "cookie_name": "session"}
            site.api.put(f"/pools/{balancer.pool_id}", {"pool": {"session_persistence": persistence}})
            balancer.wait_active()
            _case(site, balancer, "death of the half that serves", kills, _kill, GOAL_DEATH, calibration)
            _case(site, balancer, "planned failover of both halves", planned, _fail_over, GOAL_PLANNED, calibration)
        finally:
            site.down()


def _case(
    site: Site, balancer: Balancer, name: str, times: int, disturb: Callable[[Site, Balancer], None], goal: float, calibration: float
) -> None:
    silences, gaps, failed, kept, sessions, unanswered = [], [], 0, 0, 0, 0
    for _ in range(times):
        eventually(lambda: _holders(site, balancer) != [], 20, "nobody has the VIP")
        time.sleep(3)  # the halves have told each other their tables
        with tempfile.TemporaryDirectory() as folder:
            jars = [pathlib.Path(folder) / f"{number}" for number in range(SESSIONS)]
            homes = {jar: _browse(site, balancer, jar, "/login") for jar in jars}
            with site.traffic(balancer.vip, rate=RATE, timeout=2) as traffic:
                disturb(site, balancer)
                time.sleep(1)
            answers = {jar: _browse(site, balancer, jar) for jar in homes}
            kept += sum(answers[jar] == home for jar, home in homes.items())
            unanswered += sum(not answer for answer in (*homes.values(), *answers.values()))
            sessions += len(homes)
        silences.append(traffic["longest_silence"])
        gaps.append(traffic["longest_gap"])
        failed += traffic["failed"]
    harness.emit(
        name,
        silence_p50_seconds=harness.percentile(silences, 0.5),
        silence_p95_seconds=harness.percentile(silences, 0.95),
        silence_worst_seconds=max(silences),
        gap_p95_seconds=harness.percentile(gaps, 0.95),
        failed_requests=failed,
        sessions_kept=f"{kept} of {sessions}",
        sessions_unanswered=unanswered,
        times=times,
        goal_silence_seconds=goal,
        calibration_seconds=calibration,
    )


def _kill(site: Site, balancer: Balancer) -> None:
    """And wait until the pair is whole again."""
    [victim] = _holders(site, balancer)
    site.kill(next(one["pids"] for one in balancer.amphorae() if one["id"] == victim))
    _replaced(balancer, {victim})


def _fail_over(site: Site, balancer: Balancer) -> None:
    before = {one["id"] for one in balancer.amphorae()}
    site.api.put(f"/loadbalancers/{balancer.id}/failover")
    _replaced(balancer, before)


def _replaced(balancer: Balancer, gone: set[str]) -> None:
    def whole() -> bool:
        ids = {one["id"] for one in balancer.amphorae()}
        return len(ids) == 2 and not ids & gone

    eventually(whole, 120, "the pair is not whole again", every=0.2)
    balancer.wait_active(120)


def _holders(site: Site, balancer: Balancer) -> list[str]:
    """The amphorae that have the VIP."""
    inside = ["ip", "netns", "exec", "haproxy", "ip", "-brief", "address"]
    return [
        one["id"]
        for one in balancer.amphorae()
        if f" {balancer.vip}/"
        in subprocess.run([*site.machine.entrance(one["id"]), *inside], capture_output=True, text=True, check=False).stdout
    ]


def _browse(site: Site, balancer: Balancer, jar: pathlib.Path, path: str = "/") -> str:
    """Who answers a browser with this jar of cookies."""
    command = [*site.machine.entrance("client"), "curl", "-s", "-m", "5", "-c", str(jar), "-b", str(jar), f"http://{balancer.vip}{path}"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


if __name__ == "__main__":
    main()
