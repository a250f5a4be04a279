"""All resources of the first API, in the order in which people read about them."""

from __future__ import annotations

from controller.resources import amphora, event, health_monitor, l7policy, l7rule, listener, load_balancer, member, offering, pool, quota
from controller.resources.declare import Schema

SCHEMAS: tuple[Schema, ...] = (
    load_balancer.SCHEMA,
    listener.SCHEMA,
    pool.SCHEMA,
    member.SCHEMA,
    health_monitor.SCHEMA,
    l7policy.SCHEMA,
    l7rule.SCHEMA,
    quota.SCHEMA,
    offering.FLAVOR,
    offering.FLAVOR_PROFILE,
    offering.AVAILABILITY_ZONE,
    offering.AVAILABILITY_ZONE_PROFILE,
    amphora.SCHEMA,
    event.SCHEMA,
)
