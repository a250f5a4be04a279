"""Rules across fields and across objects (spec `api.md` §9-§12), the same for single objects and for whole load balancers in one body."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from controller import exceptions
from controller.api import current
from controller.api.v2.schemas import health_monitor, listener
from controller.api.v2.schemas.declare import Schema, Values

POOL_PROTOCOLS = {
    "TCP": ("TCP", "HTTP", "HTTPS", "PROXY", "PROXYV2"),
    "HTTP": ("HTTP", "PROXY", "PROXYV2"),
    "HTTPS": ("TCP", "HTTPS", "PROXY", "PROXYV2"),
    "TERMINATED_HTTPS": ("HTTP", "PROXY", "PROXYV2"),
    "UDP": ("UDP",),
    "SCTP": ("SCTP",),
    "PROMETHEUS": (),
}
"""The protocols that a pool may have below a listener of this one."""

MONITOR_TYPES = dict.fromkeys(("TCP", "HTTP", "HTTPS", "PROXY", "PROXYV2"), ("HTTP", "HTTPS", "PING", "TCP", "TLS-HELLO")) | dict.fromkeys(
    ("UDP", "SCTP"), ("HTTP", "SCTP", "TCP", "UDP-CONNECT")
)
"""The types that a monitor may have on a pool of this protocol."""

_COOKIE_POOLS = ("HTTP", "PROXY", "PROXYV2")
_OWN_FAMILY = ("UDP", "SCTP")


def failure(detail: str) -> exceptions.InvalidRequest:
    """A rule across fields is broken."""
    return exceptions.InvalidRequest(f"Validation failure: {detail}")


def supported(schema: Schema, values: Mapping[str, Any]) -> None:
    """The last rule: the data plane can do it.

    :raises NotSupported: not yet.
    """
    if current.settings().refuse_unsupported:
        schema.check_supported(values)


def project(values: Mapping[str, Any]) -> str:
    """The project of a new object that has no parent.

    :raises InvalidRequest: neither the body nor the caller names one.
    """
    named = values["project_id"] or current.context().project_id
    if not named:
        raise failure("Missing project ID in request where one is required. Name it in the body as project_id, or in the token.")
    return str(named)


def new_listener(values: Values) -> None:
    """Fill the operator's defaults in and check what the fields say together.

    :raises InvalidRequest: they contradict each other.
    """
    fill_timeouts(values)
    headers(values["protocol"], values["insert_headers"])


def fill_timeouts(values: Values) -> None:
    """A time-out that was left out, or is null, is stored as the operator's default."""
    for name in listener.TIMEOUTS:
        if name in values and values[name] is None:
            values[name] = current.settings().timeouts[name]


def headers(protocol: str, names: Iterable[str]) -> None:
    """Headers can be inserted where HTTP is spoken, and what TLS tells only where TLS ends.

    :raises InvalidRequest: a header can't be inserted by a listener of this protocol.
    """
    for name in names:
        if protocol != "HTTP" or name.startswith("X-SSL-"):
            raise exceptions.InvalidRequest(f"{name} is not a valid option for insert_headers of a {protocol} listener")


def cidrs(allowed: Iterable[str], vip_address: str) -> None:
    """Ranges of clients have the IP version of the VIP.

    :raises InvalidRequest: one has not.
    """
    version = ipaddress.ip_address(vip_address).version
    for cidr in allowed:
        if ipaddress.ip_network(cidr).version != version:
            raise failure(f"allowed_cidrs: the VIP {vip_address} is IPv{version}, and {cidr} is not.")


def free_port(protocol: str, port: int, taken: Sequence[str]) -> None:
    """Two listeners share a port only if their transport protocols differ.

    :raises Conflict: the port is taken by one of the protocols.
    """
    family = _family(protocol)
    if any(_family(other) == family for other in taken):
        raise exceptions.Conflict(f"Another Listener on this Load Balancer is already using protocol {protocol} and protocol_port {port}")


def _family(protocol: str) -> str:
    return protocol if protocol in _OWN_FAMILY else "TCP"


def pool_below(listener_protocol: str, pool_protocol: str) -> None:
    """Not every pool can serve every listener.

    :raises InvalidRequest: this one can't.
    """
    if pool_protocol not in POOL_PROTOCOLS[listener_protocol]:
        raise failure(f"The pool protocol '{pool_protocol}' is invalid while the listener protocol is '{listener_protocol}'.")


def persistence(given: Mapping[str, Any] | None, stored: Mapping[str, Any] | None, protocol: str) -> dict[str, Any] | None:
    """The session persistence that follows from what was given and what there was.

    :raises InvalidRequest: it lacks something, or its parts or the pool's protocol contradict each other.
    """
    if given is None:
        return None
    if not given:
        raise failure("Invalid session_persistence provided.")
    whole = {"type": None, "cookie_name": None, "persistence_timeout": None, "persistence_granularity": None, **(stored or {}), **given}
    kind = whole["type"]
    if kind is None:
        raise failure("session_persistence must have a type.")
    if given.get("type", kind) != "APP_COOKIE" and "cookie_name" not in given:
        whole["cookie_name"] = None  # what the type before needed goes with it
    if kind == "APP_COOKIE" and whole["cookie_name"] is None:
        raise failure("session_persistence of type APP_COOKIE must have a cookie_name.")
    if kind != "APP_COOKIE" and whole["cookie_name"] is not None:
        raise failure(f"session_persistence of type {kind} must not have a cookie_name.")
    if kind != "SOURCE_IP" and protocol not in _COOKIE_POOLS:
        raise failure(f"session_persistence of type {kind} is invalid for a pool of protocol {protocol}.")
    if whole["persistence_timeout"] is not None or whole["persistence_granularity"] is not None:
        raise failure("persistence_timeout and persistence_granularity are for UDP and SCTP pools of type SOURCE_IP only.")
    return whole


def member_addresses(values: Mapping[str, Any]) -> None:
    """Some addresses are no servers, in whatever spelling: neither requests nor health checks may be sent there.

    :raises InvalidRequest: an address of this member is one of them.
    """
    for name, words in (("address", "member address"), ("monitor_address", "member monitor address")):
        address = values.get(name)
        if address is not None and _plain(address) in current.settings().reserved_ips:
            raise exceptions.InvalidRequest(f"{address} is not a valid option for {words}")


def _plain(address: str) -> str:
    """One spelling of an address; an IPv4 address inside an IPv6 one (`::ffff:192.0.2.1`) reaches the IPv4 host, and is told as such."""
    parsed = ipaddress.ip_address(address)
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return str(mapped or parsed)


def same_server(address: str, port: int) -> exceptions.Conflict:
    """The error of a member that the pool has already."""
    return exceptions.Conflict(f"Another member on this pool is already using ip {address} on protocol_port {port}")


def new_monitor(values: Values, pool_protocol: str) -> None:
    """Fill defaults in and check a new monitor against its pool.

    :raises InvalidRequest: they do not fit.
    """
    kind = values["type"]
    if kind == "PING" and not current.settings().allow_ping_health_monitors:
        raise exceptions.InvalidRequest(f"The selected health monitor type is not allowed in this deployment: {kind}")
    if kind not in MONITOR_TYPES[pool_protocol]:
        raise failure(f"The health monitor type '{kind}' is invalid for a pool of protocol '{pool_protocol}'.")
    changed_monitor(values, kind, {})
    if kind in ("HTTP", "HTTPS"):
        values.update({name: default for name, default in health_monitor.HTTP_DEFAULTS.items() if values[name] is None})


def changed_monitor(values: Values, kind: str, stored: Mapping[str, Any]) -> None:
    """Check new values of a monitor against its type; a null means the default.

    :raises InvalidRequest: they do not fit.
    """
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
