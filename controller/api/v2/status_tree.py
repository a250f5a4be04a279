"""The status tree of a load balancer, of a snapshot; pools that no listener uses do not appear."""

from __future__ import annotations

from typing import Any

from controller.model import load_balancer as model


def tree(snapshot: model.Snapshot) -> dict[str, Any]:
    """`{"loadbalancer": {... "listeners": [... "pools": [... "health_monitor", "members"]]}}`."""
    shown = {pool.id: _pool(pool, snapshot) for pool in snapshot.pools}
    listeners = [
        _statuses(listener) | {"pools": [shown[listener.default_pool_id]] if listener.default_pool_id in shown else []}
        for listener in snapshot.listeners
    ]
    return {"loadbalancer": _statuses(snapshot.load_balancer) | {"listeners": listeners}}


def _statuses(resource: model.Resource) -> dict[str, Any]:
    return {
        "id": resource.id,
        "name": resource.name,
        "operating_status": resource.operating_status,
        "provisioning_status": resource.provisioning_status,
    }


def _pool(pool: model.Pool, snapshot: model.Snapshot) -> dict[str, Any]:
    shown = _statuses(pool)
    monitor = snapshot.health_monitor_by_pool.get(pool.id)
    if monitor is not None:
        shown["health_monitor"] = _statuses(monitor) | {"type": monitor.type}
    shown["members"] = [
        _statuses(member) | {"address": member.address, "protocol_port": member.protocol_port}
        for member in snapshot.members_by_pool.get(pool.id, ())
    ]
    return shown
