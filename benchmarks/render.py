"""How much CPU a rendering takes: `python -m benchmarks.render`. The goal: 100 listeners of 50 members each within 0.1 s."""

from __future__ import annotations

from benchmarks import harness
from controller import render
from controller.model import load_balancer as model
from controller.model.status import Topology
from tests import builders

_NETWORKS = render.Networks(vips=(render.VipSubnet(cidr=builders.VIP_SUBNET_CIDR, gateway_ip=builders.VIP_GATEWAY, mtu=1450),))
_CASES = ((1, 2), (10, 10), (50, 40), (100, 50))
_GOAL = {(50, 40): 0.05, (100, 50): 0.1}


def main() -> None:
    """Render each case from a fresh snapshot, as a worker does: nothing is left over from the run before."""
    calibration = harness.calibrate()
    for listeners, members in _CASES:
        snapshots = [
            builders.a_serving_snapshot(listeners=listeners, members=members, monitor="HTTP", topology=Topology.ACTIVE_STANDBY)
            for _ in range(8)
        ]

        def work(snapshots: list[model.Snapshot] = snapshots) -> None:
            snapshot = snapshots.pop()
            wanted = render.wanted_state(snapshot, snapshot.amphorae[0], _NETWORKS)
            assert "haproxy" in wanted.programs

        cpu = harness.cpu_of(work, runs=7, warm_up=1)
        harness.emit(
            "render",
            case=f"{listeners} listeners x {members} members",
            servers=listeners * members,
            cpu_seconds=cpu,
            calibration_seconds=calibration,
            ratio=cpu / calibration,
            goal_cpu_seconds=_GOAL.get((listeners, members)),
        )


if __name__ == "__main__":
    main()
