"""Rules of health monitors (spec `api.md` §12)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controller.api import current
from controller.api.v2.rules.common import failure, not_allowed
from controller.resources import health_monitor
from controller.resources.declare import Values

MONITOR_TYPES = dict.fromkeys(("TCP", "HTTP", "HTTPS", "PROXY", "PROXYV2"), ("HTTP", "HTTPS", "PING", "TCP", "TLS-HELLO")) | dict.fromkeys(
    ("UDP", "SCTP"), ("HTTP", "SCTP", "TCP", "UDP-CONNECT")
)
"""The types that a monitor may have on a pool of this protocol."""


def new_monitor(values: Values, pool_protocol: str) -> None:
    """Fill defaults in and check a new monitor against its pool.

    :raises InvalidRequest: they do not fit.
    """
    kind = values["type"]
    if kind == "PING" and not current.settings().allow_ping_health_monitors:
        raise not_allowed("health monitor type", kind)
    if kind not in MONITOR_TYPES[pool_protocol]:
        raise failure(f"The health monitor type '{kind}' is invalid for a pool of protocol '{pool_protocol}'.")
    changed_monitor(values, kind, {})
    if kind in ("HTTP", "HTTPS"):
        values.update({name: default for name, default in health_monitor.HTTP_DEFAULTS.items() if values[name] is None})


def changed_monitor(values: Values, kind: str, stored: Mapping[str, Any]) -> None:
    """Check new values of a monitor against its type; a null means the default.

    :raises InvalidRequest: they do not fit.
    """
    shortest = current.settings().udp_connect_min_interval
    if kind == "UDP-CONNECT" and values.get("delay", shortest) < shortest:
        raise failure(f"The delay of a health monitor of type {kind} must be at least {shortest} seconds.")
    if kind not in ("HTTP", "HTTPS"):
        for name in health_monitor.HTTP_ONLY:
            if values.get(name) is not None:
                raise failure(f"{name} is not a valid option for a health monitor of type {kind}.")
        return
    for name, default in health_monitor.HTTP_DEFAULTS.items():
        if name in values and values[name] is None:
            values[name] = default
    after = {**stored, **values}
    if after.get("domain_name") is not None and after.get("http_version") != 1.1:
        raise failure("http_version must be 1.1 where a health monitor has a domain_name.")
