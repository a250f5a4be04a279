"""From a posted job to ACTIVE in a cloud that needs no time: `python -m benchmarks.create`.

What is measured is ours: conductor, flow, database on SQLite, rendering. Machines boot at once and agents answer at once, in this process.
`worker_cpu_seconds` leaves out the thread that plays the client.
"""

from __future__ import annotations

import contextlib
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence

import sqlalchemy as sa

from benchmarks import harness
from controller import jobs
from controller.db import tables
from controller.model.status import ProvisioningStatus, Topology
from tests.functional import flow_site

_RUNS = 15
_AT_ONCE = 40


@contextlib.contextmanager
def a_site() -> Iterator[tuple[flow_site.Site, Callable[[jobs.Job], None]]]:
    """A site with a worker at work."""
    with tempfile.TemporaryDirectory() as folder:
        site = flow_site.Site()
        with flow_site.working(site, pathlib.Path(folder)) as post:
            yield site, post
        site.close()


def until_active(site: flow_site.Site, load_balancer_ids: Sequence[str]) -> None:
    """Wait until all of them are ACTIVE, at their newest generation."""
    row = tables.load_balancers.c
    unsettled = sa.select(sa.func.count()).where(
        row.id.in_(load_balancer_ids),
        sa.or_(row.provisioning_status != ProvisioningStatus.ACTIVE, row.applied_generation < row.generation),
    )

    def settled() -> bool:
        with site.db.read() as tx:
            return not tx.connection.execute(unsettled).scalar()

    flow_site.eventually(settled, pause=0.004)


def measured(work: Callable[[], None]) -> tuple[float, float]:
    """Wall seconds, and CPU seconds of all threads but this one."""
    wall, everything, mine = time.perf_counter(), time.process_time(), time.thread_time()
    work()
    return time.perf_counter() - wall, (time.process_time() - everything) - (time.thread_time() - mine)


def _one(topology: Topology, tree: dict[str, int] | None, runs: int) -> tuple[float, float]:
    """Medians of the wall and the worker's CPU seconds of one creation."""
    figures = []
    with a_site() as (site, post):
        for _ in range(runs + 2):
            load_balancer_id = site.accept_load_balancer(topology)
            if tree:
                site.accept_tree(load_balancer_id, **tree)

            def work(load_balancer_id: str = load_balancer_id) -> None:
                post(flow_site.a_create(load_balancer_id, topology))
                until_active(site, [load_balancer_id])

            figures.append(measured(work))
    warm = figures[2:]
    return statistics.median(wall for wall, _ in warm), statistics.median(cpu for _, cpu in warm)


def _at_once() -> tuple[float, float]:
    with a_site() as (site, post):
        ids = [site.accept_load_balancer() for _ in range(_AT_ONCE)]

        def work() -> None:
            for load_balancer_id in ids:
                post(flow_site.a_create(load_balancer_id, Topology.SINGLE))
            until_active(site, ids)

        return measured(work)


def main() -> None:
    """One, a pair, a whole tree, and many at once."""
    calibration = harness.calibrate()
    for case, topology, tree, goals in (
        ("SINGLE", Topology.SINGLE, None, (0.15, 0.08)),
        ("ACTIVE_STANDBY", Topology.ACTIVE_STANDBY, None, (None, None)),
        ("10 listeners x 10 pools x 10 members", Topology.SINGLE, {"listeners": 10, "pools": 10, "members": 10}, (0.5, None)),
    ):
        wall, cpu = _one(topology, tree, _RUNS if tree is None else 5)
        harness.emit(
            "load_balancer_create",
            case=case,
            wall_seconds=wall,
            worker_cpu_seconds=cpu,
            calibration_seconds=calibration,
            ratio=cpu / calibration,
            goal_wall_seconds=goals[0],
            goal_worker_cpu_seconds=goals[1],
        )
    wall, cpu = _at_once()
    harness.emit(
        "load_balancer_creates_at_once",
        load_balancers=_AT_ONCE,
        wall_seconds=wall,
        per_second=_AT_ONCE / wall,
        worker_cpu_seconds=cpu,
        calibration_seconds=calibration,
        goal_per_second=15,
    )


if __name__ == "__main__":
    main()
