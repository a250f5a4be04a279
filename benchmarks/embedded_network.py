"""CPU seconds of the embedded network's inventory: the addresses of a pair, and one port looked up. No packets: see `benchmarks.embedded`.

python -m benchmarks.embedded_network
"""

from __future__ import annotations

import uuid

from benchmarks import harness
from controller.cmd import api as process
from controller.embedded import scratch, tables
from controller.model import load_balancer as model
from controller.model.network import VipRequest

REPEATS = {"pair": 20, "get_port": 500}
"""Calls in one measured run."""


def pair(network: scratch.ScratchNetwork, subnet_id: str) -> model.Vip:
    """A VIP, and for each half of the pair a port on the management network and one on the VIP's."""
    load_balancer_id = str(uuid.uuid4())
    vip = network.allocate_vip(load_balancer_id, "bench", VipRequest(subnet_id=subnet_id))
    for _ in range(2):
        amphora_id = str(uuid.uuid4())
        network.ensure_management_port(amphora_id)
        network.ensure_vrrp_port(amphora_id, load_balancer_id, vip)
    return vip


def main() -> None:
    """Print one line per kind of call."""
    calibration = harness.calibrate()
    process.spare_the_collector()
    network = scratch.ScratchNetwork()
    with network.inventory.read() as contents:
        subnet_id = next(row.id for row in contents.rows.all(tables.subnets) if row.name == "private-subnet")
    port_id = str(pair(network, subnet_id).port_id)
    work = {"pair": lambda: pair(network, subnet_id), "get_port": lambda: network.get_port(port_id)}
    for name, call in work.items():
        repeats = REPEATS[name]
        seconds = harness.cpu_of(lambda call=call, repeats=repeats: [call() for _ in range(repeats)]) / repeats  # type: ignore[misc]
        harness.emit(f"embedded_network_{name}", cpu_seconds=seconds, calibration_seconds=calibration, ratio=seconds / calibration)


if __name__ == "__main__":
    main()
