"""The status tree with the habits of LBaaS v2: pools also at the top, L7 policies, DISABLED for what is off and all below it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from controller.api.lbaasv2 import shapes
from controller.model import load_balancer as model

_DISABLED = "DISABLED"


def tree(snapshot: model.Snapshot) -> dict[str, Any]:
    """`{"loadbalancer": {..., "listeners": [...], "pools": [...]}}`."""
    load_balancer = snapshot.load_balancer
    off = not load_balancer.admin_state_up
    shown = {pool.id: pool for pool in snapshot.pools}
    listeners = [_listener(listener, shown.get(listener.default_pool_id or ""), snapshot, off) for listener in snapshot.listeners]
    pools = [_pool(pool, snapshot, off) for pool in snapshot.pools]
    return {"loadbalancer": _statuses(load_balancer, off) | {"listeners": listeners, "pools": pools}}


def _listener(listener: model.Listener, pool: model.Pool | None, snapshot: model.Snapshot, above_is_off: bool) -> dict[str, Any]:
    off = above_is_off or not listener.admin_state_up
    policies = [policy for policy in snapshot.l7policies if policy.listener_id == listener.id]
    below = {
        "pools": [] if pool is None else [_pool(pool, snapshot, off)],
        "l7policies": [_policy(policy, snapshot.l7rules) for policy in sorted(policies, key=lambda policy: policy.position)],
    }
    return _statuses(listener, off) | below


def _pool(pool: model.Pool, snapshot: model.Snapshot, above_is_off: bool) -> dict[str, Any]:
    off = above_is_off or not pool.admin_state_up
    monitor = snapshot.health_monitor_by_pool.get(pool.id)
    below = {
        "members": [_member(member, off) for member in snapshot.members_by_pool.get(pool.id, ())],
        "healthmonitor": {}
        if monitor is None
        else {"id": monitor.id, "name": monitor.name, "type": monitor.type, "provisioning_status": monitor.provisioning_status},
    }
    return _statuses(pool, off) | below


def _member(member: model.Member, above_is_off: bool) -> dict[str, Any]:
    off = above_is_off or not member.admin_state_up
    return {
        "id": member.id,
        "address": member.address,
        "protocol_port": member.protocol_port,
        "operating_status": _DISABLED if off else shapes.operating_status(member.operating_status, of_member=True),
        "provisioning_status": member.provisioning_status,
    }


def _policy(policy: model.L7Policy, rules: Sequence[model.L7Rule]) -> dict[str, Any]:
    own = (rule for rule in rules if rule.l7policy_id == policy.id)
    below = [{"id": rule.id, "type": rule.type, "provisioning_status": rule.provisioning_status} for rule in own]
    return {
        "id": policy.id,
        "name": policy.name,
        "action": policy.action,
        "provisioning_status": policy.provisioning_status,
        "rules": below,
    }


def _statuses(resource: model.Resource, off: bool) -> dict[str, Any]:
    return {
        "id": resource.id,
        "name": resource.name,
        "operating_status": _DISABLED if off else shapes.operating_status(resource.operating_status),
        "provisioning_status": resource.provisioning_status,
    }
