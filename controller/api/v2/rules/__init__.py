"""Rules across fields and across objects (spec `api.md` §7-§12), the same for single objects and for whole load balancers in one body.

One module per resource. What the data plane can't do yet is not their matter: `supported()` says so when all rules are met.
"""

from __future__ import annotations

from controller.api.v2.rules.common import failure, not_allowed, project, supported
from controller.api.v2.rules.health_monitors import MONITOR_TYPES, changed_monitor, new_monitor
from controller.api.v2.rules.listeners import (
    POOL_PROTOCOLS,
    changed_listener,
    cidrs,
    fill_timeouts,
    free_port,
    headers,
    new_listener,
    pool_below,
)
from controller.api.v2.rules.members import (
    member_addresses,
    member_reachable,
    member_sriov,
    other_than_vip,
    same_server,
    vnic_type,
)
from controller.api.v2.rules.pools import changed_pool, new_pool, persistence

__all__ = [
    "MONITOR_TYPES",
    "POOL_PROTOCOLS",
    "changed_listener",
    "changed_monitor",
    "changed_pool",
    "cidrs",
    "failure",
    "fill_timeouts",
    "free_port",
    "headers",
    "member_addresses",
    "other_than_vip",
    "member_reachable",
    "member_sriov",
    "new_listener",
    "new_monitor",
    "new_pool",
    "not_allowed",
    "persistence",
    "pool_below",
    "project",
    "same_server",
    "supported",
    "vnic_type",
]
