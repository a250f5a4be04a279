"""A load balancer as the answer to its create shows it: with its children whole, not as references, where they were asked for with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from controller.changes.fully_populated import Created
from controller.resources import health_monitor, l7policy, l7rule, listener, load_balancer, member, pool
from controller.resources.declare import Values


def view(created: Created) -> Values:
    """The load balancer; and its children, if it was created with any."""
    shown = load_balancer.SCHEMA.view(created.load_balancer)
    children = created.children
    if children is None:
        return shown
    below: dict[str, list[Values]] = {}
    for item in children["members"]:
        below.setdefault(item.pool_id, []).append(member.SCHEMA.view(item))
    monitors = {item.pool_id: health_monitor.SCHEMA.view(item) for item in children["health_monitors"]}
    shown["pools"] = [
        pool.view(item) | {"members": below.get(item.id, []), "healthmonitor": monitors.get(item.id)} for item in children["pools"]
    ]
    policies = _policies(children)
    shown["listeners"] = [listener.SCHEMA.view(item) | {"l7policies": policies.get(item.id, [])} for item in children["listeners"]]
    for view in shown["listeners"]:
        del view["loadbalancers"]
    return shown


def _policies(children: Mapping[str, Sequence[Any]]) -> Mapping[str, list[Values]]:
    """Policies with their rules, by listener and position."""
    below: dict[str, list[Values]] = {}
    for rule in children["l7rules"]:
        below.setdefault(rule.l7policy_id, []).append(l7rule.SCHEMA.view(rule))
    found: dict[str, list[Values]] = {}
    for item in sorted(children["l7policies"], key=lambda item: item.position):
        found.setdefault(item.listener_id, []).append(l7policy.SCHEMA.view(item) | {"rules": below.get(item.id, [])})
    return found
