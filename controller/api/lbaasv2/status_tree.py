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
    members = snapshot.members_by_pool.get(pool.id, ())
    below = {
        "members": [
            _facts(member, "id", "address", "protocol_port", "provisioning_status")
            | {"operating_status": _operating_status(member, off or not member.admin_state_up, of_member=True)}
            for member in members
        ],
        "healthmonitor": {} if monitor is None else _facts(monitor, "id", "name", "type", "provisioning_status"),
    }
    return _statuses(pool, off) | below


def _policy(policy: model.L7Policy, rules: Sequence[model.L7Rule]) -> dict[str, Any]:
    below = [_facts(rule, "id", "type", "provisioning_status") for rule in rules if rule.l7policy_id == policy.id]
    return _facts(policy, "id", "name", "action", "provisioning_status") | {"rules": below}


def _statuses(resource: model.Resource, off: bool) -> dict[str, Any]:
    return _facts(resource, "id", "name", "provisioning_status") | {"operating_status": _operating_status(resource, off)}


def _facts(resource: model.Resource, *names: str) -> dict[str, Any]:
    return {name: getattr(resource, name) for name in names}


def _operating_status(resource: model.Resource, off: bool, *, of_member: bool = False) -> str:
    return _DISABLED if off else shapes.operating_status(resource.operating_status, of_member=of_member)
