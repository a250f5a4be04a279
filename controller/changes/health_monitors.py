"""Health monitors, and their rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controller import exceptions
from controller.changes.asking import Asking, new_row
from controller.changes.settings import Settings
from controller.exceptions import NotAllowed, RuleBroken
from controller.model import load_balancer as model
from controller.model.protocols import PROTOCOLS
from controller.refusals import Refusal
from controller.resources.declare import Values
from controller.resources.health_monitor import HTTP_DEFAULTS, HTTP_ONLY, SCHEMA


def create(asking: Asking, wanted: Values) -> model.HealthMonitor:
    """Store a monitor as PENDING_CREATE, to be turned on.

    :raises InvalidRequest: it does not fit its pool.
    :raises NotFound: there is no such pool.
    :raises Conflict: the pool has a monitor, or takes no change now.
    :raises QuotaExceeded: the project may not have another one.
    """
    with asking.change() as tx:
        pool = tx.pools.head(wanted["pool_id"])
        asking.authorize("healthmonitor:post", pool.project_id)
        complete(asking.settings, wanted, pool.protocol)
        asking.dialect.check_times(wanted["delay"], wanted["timeout"])
        generation = asking.accept_below(tx, pool)
        if tx.pools.head(pool.id).has_monitor:  # asked again, under the load balancer's lock
            raise exceptions.Conflict("This pool already has a health monitor", code=Refusal.MONITOR_EXISTS)
        row = {**asking.columns(SCHEMA, wanted), **new_row(pool.project_id, generation, load_balancer_id=pool.load_balancer_id)}
        asking.reserve(tx, pool.project_id, health_monitor=1)
        asking.supports(asking.provider_of(tx, pool.load_balancer_id), "healthmonitor", wanted)
        tx.health_monitors.add([row])
        return tx.health_monitors.get(row["id"])


def update(asking: Asking, monitor_id: str, values: Values) -> model.HealthMonitor:
    """Store new values, to be applied.

    :raises InvalidRequest: they do not fit its type.
    :raises NotFound: there is no such monitor.
    :raises Conflict: it, or its pool, takes no change now.
    """
    with asking.change() as tx:
        monitor = tx.health_monitors.get(monitor_id)
        asking.authorize("healthmonitor:put", monitor.project_id)
        pool = tx.pools.head(monitor.pool_id)
        generation = asking.accept_below(tx, pool)
        complete_change(asking.settings, values, monitor.type, {name: getattr(monitor, name) for name in HTTP_ONLY})
        asking.dialect.check_times(values.get("delay", monitor.delay), values.get("timeout", monitor.timeout))
        _check_grpc(values, pool.protocol)
        asking.supports(asking.provider_of(tx, pool.load_balancer_id), "healthmonitor", values)
        tx.health_monitors.change(monitor_id, asking.columns(SCHEMA, values), generation)
        return tx.health_monitors.get(monitor_id)


def delete(asking: Asking, monitor_id: str) -> None:
    """Have it turned off.

    :raises NotFound: there is no such monitor.
    :raises Conflict: it, or its pool, takes no change now.
    """
    with asking.change() as tx:
        monitor = tx.health_monitors.get(monitor_id)
        asking.authorize("healthmonitor:delete", monitor.project_id)
        generation = asking.accept_below(tx, tx.pools.head(monitor.pool_id))
        tx.health_monitors.mark_deleted(monitor_id, generation)


def complete(settings: Settings, values: Values, pool_protocol: str) -> None:
    """Fill defaults in and check a new monitor against its pool.

    :raises InvalidRequest: they do not fit.
    """
    kind = values["type"]
    if kind == "PING" and not settings.allow_ping_health_monitors:
        raise NotAllowed("health monitor type", kind)
    if kind not in (PROTOCOLS[pool_protocol].monitors or ()):
        raise RuleBroken(f"The health monitor type '{kind}' is invalid for a pool of protocol '{pool_protocol}'.")
    complete_change(settings, values, kind, {})
    _check_grpc(values, pool_protocol)


def complete_change(settings: Settings, values: Values, kind: str, stored: Mapping[str, Any]) -> None:
    """Check new values of a monitor against its type; a null means the default.

    :raises InvalidRequest: they do not fit.
    """
    shortest = settings.udp_connect_min_interval
    if kind == "UDP-CONNECT" and values.get("delay", shortest) < shortest:
        raise RuleBroken(f"The delay of a health monitor of type {kind} must be at least {shortest} seconds.")
    if kind not in ("HTTP", "HTTPS"):
        for name in HTTP_ONLY:
            if values.get(name) is not None:
                raise RuleBroken(f"{name} is not a valid option for a health monitor of type {kind}.")
        return
    for name, default in HTTP_DEFAULTS.items():
        if name in values and values[name] is None:
            values[name] = default
    after = {**stored, **values}
    if after.get("domain_name") is not None and after.get("http_version") != 1.1:
        raise RuleBroken("http_version must be 1.1 where a health monitor has a domain_name.")


def _check_grpc(values: Mapping[str, Any], pool_protocol: str) -> None:
    if values.get("grpc_service") is not None and PROTOCOLS[pool_protocol].transport != "tcp":
        raise RuleBroken(f"A health monitor of a pool of protocol {pool_protocol} can't have grpc_service: that is for pools over TCP.")
