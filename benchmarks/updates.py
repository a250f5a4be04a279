"""A hundred member changes until they are ACTIVE, in a cloud that needs no time: `python -m benchmarks.updates`.

Once with a client that waits for ACTIVE after each write, and once with a client that never waits.
"""

from __future__ import annotations

import statistics

from benchmarks import create, harness
from controller.model.status import Topology
from tests.functional import flow_site

_WRITES = 100
_GOALS = {True: 8.0, False: 2.0}


def _run(waits: bool, topology: Topology) -> tuple[float, float, int]:
    with create.a_site() as (site, post):
        load_balancer_id = site.built(topology)
        pool_id = site.snapshot(load_balancer_id).pools[0].id
        site.amphora.pushes.clear()

        def work() -> None:
            for number in range(_WRITES):
                site.accept(load_balancer_id, flow_site.a_member(pool_id, f"198.19.30.{number + 1}"))
                post(flow_site.an_update(load_balancer_id))
                if waits:
                    create.until_active(site, [load_balancer_id])
            create.until_active(site, [load_balancer_id])

        wall, cpu = create.measured(work)
        return wall, cpu, max(site.amphora.pushes.values())


def _on_a_large_one() -> tuple[float, float]:
    """Medians of the wall and the worker's CPU seconds of a member change on 100 listeners of 50 members each."""
    figures = []
    with create.a_site() as (site, post):
        load_balancer_id = site.accept_load_balancer()
        site.accept_tree(load_balancer_id, listeners=100, pools=100, members=50)
        site.succeed(flow_site.a_create(load_balancer_id, Topology.SINGLE))
        pool_id = site.snapshot(load_balancer_id).pools[0].id
        for number in range(9):

            def work(number: int = number) -> None:
                site.accept(load_balancer_id, flow_site.a_member(pool_id, f"198.19.240.{number + 1}"))
                post(flow_site.an_update(load_balancer_id))
                create.until_active(site, [load_balancer_id])

            figures.append(create.measured(work))
    warm = figures[2:]
    return statistics.median(wall for wall, _ in warm), statistics.median(cpu for _, cpu in warm)


def main() -> None:
    """Both clients, both topologies; and one change on a large load balancer."""
    calibration = harness.calibrate()
    for waits in (True, False):
        for topology in Topology:
            wall, cpu, pushes = _run(waits, topology)
            harness.emit(
                "member_updates",
                case=f"{topology}, {'one by one' if waits else 'never waiting'}",
                writes=_WRITES,
                wall_seconds=wall,
                worker_cpu_seconds=cpu,
                pushes=pushes,
                calibration_seconds=calibration,
                ratio=cpu / calibration,
                goal_wall_seconds=_GOALS[waits],
            )
    wall, cpu = _on_a_large_one()
    harness.emit(
        "member_update_large",
        case="100 listeners x 50 members, agent's work not included",
        wall_seconds=wall,
        worker_cpu_seconds=cpu,
        calibration_seconds=calibration,
        ratio=cpu / calibration,
        goal_wall_seconds=0.1,
    )


if __name__ == "__main__":
    main()
