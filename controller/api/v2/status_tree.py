"""The status tree of a load balancer, of a snapshot; pools that no listener uses do not appear."""

from __future__ import annotations

from typing import Any

from controller import exceptions
from controller.api import current
from controller.model import load_balancer as model
from controller.model.status import ProvisioningStatus


def read(load_balancer_id: str) -> model.Snapshot:
    """The load balancer whose statuses the caller asks for.

    :raises NotFound: there is none.
    :raises Forbidden: the caller may not see them.
    """
    with current.services().db.read() as tx:
        found = tx.snapshots.get(load_balancer_id)
    if found.load_balancer.provisioning_status is ProvisioningStatus.DELETED:
        raise exceptions.NotFound("Load Balancer", load_balancer_id)
    current.authorize("loadbalancer:get_status", found.load_balancer.project_id)
    return found


def tree(snapshot: model.Snapshot) -> dict[str, Any]:
    """`{"loadbalancer": {... "listeners": [... "pools": [... "health_monitor", "members"]]}}`."""
    shown = {pool.id: _pool(pool, snapshot) for pool in snapshot.pools}
    redirects = _redirects(snapshot)
    listeners = [
        _statuses(listener)
        | {"pools": [shown[pool] for pool in dict.fromkeys((listener.default_pool_id, *redirects.get(listener.id, ()))) if pool in shown]}
        for listener in snapshot.listeners
    ]
    return {"loadbalancer": _statuses(snapshot.load_balancer) | {"listeners": listeners}}


def _redirects(snapshot: model.Snapshot) -> dict[str, list[str]]:
    """The pools that enabled policies give requests to, by listener, in the order of positions."""
    found: dict[str, list[str]] = {}
    for policy in sorted(snapshot.l7policies, key=lambda item: item.position):
        if policy.admin_state_up and policy.provisioning_status is not ProvisioningStatus.PENDING_DELETE:
            found.setdefault(policy.listener_id, []).extend(policy.pool_ids)
    return found


def _statuses(resource: model.Resource) -> dict[str, Any]:
    return {name: getattr(resource, name) for name in ("id", "name", "operating_status", "provisioning_status")}


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
