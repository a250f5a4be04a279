"""How HAProxy probes the members of a pool: directives of the backend, and words of each server line."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from amphora_agent.protocol import rendered
from controller import exceptions
from controller.model import load_balancer as model
from controller.render import grpc_checks, safe
from controller.resources.health_monitor import HTTP_DEFAULTS, METHODS

_TLS, _UNVERIFIED = " check-ssl", " verify none"  # members' certificates are rarely signed by anyone whom an amphora knows


@dataclasses.dataclass(frozen=True, slots=True)
class Check:
    """Empty without a monitor: then members are `no check`."""

    directives: tuple[str, ...] = ()
    words: str = ""
    speaks_http2: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The HTTP request of a check. `codes`: those of a good answer (`200,300-399`); `escaped_path`: the path as HAProxy's files want it."""

    method: str
    path: str
    escaped_path: str
    version: str
    host: str | None
    codes: str


def check(monitor: model.HealthMonitor | None, vip_address: str, with_tls: bool = False) -> Check:
    """The probe of a pool's monitor, if it has one. Where TLS is spoken with members anyway (`with_tls`), a probe verifies as requests do.

    :raises UnsafeValue: a string can't be written into a configuration.
    :raises NotSupported: the type is not known here.
    """
    if monitor is None:
        return Check()
    # HAProxy takes an interval or a time-out of zero for "no limit"; the API lets both through.
    words = f" check inter {max(1, monitor.delay):d}s fall {monitor.max_retries_down:d} rise {monitor.max_retries:d}"
    tls = _TLS if with_tls else _TLS + _UNVERIFIED
    timeout = f"timeout check {max(1, monitor.timeout):d}s"
    match monitor.type:
        case "HTTP" | "HTTPS" if monitor.grpc_service is not None:
            words += tls + _server_name(monitor) if monitor.type == "HTTPS" else ""
            over_tls = with_tls or monitor.type == "HTTPS"
            return Check((timeout, *_grpc(monitor, vip_address, over_tls)), words + (" check-alpn h2" if over_tls else ""), True)
        case "TCP":
            return Check((timeout,), words)
        case "TLS-HELLO":
            return Check((timeout,), words + tls)
        case "HTTP":
            return Check((timeout, *_http(monitor, vip_address)), words)
        case "HTTPS":
            return Check((timeout, *_http(monitor, vip_address)), words + tls + _server_name(monitor))
        case "PING":
            command = f'external-check command "${{{rendered.CHECKS_VARIABLE}}}/ping"'
            return Check((timeout, "option external-check", command), words)
    raise exceptions.NotSupported(f"An amphora can't probe by {monitor.type!r} (health monitor {monitor.id!r}).")


def request(monitor: model.HealthMonitor, vip_address: str) -> Request:
    """What a monitor of type HTTP or HTTPS asks a member.

    :raises UnsafeValue: a string can't be written into a configuration.
    """
    named = f"of health monitor {monitor.id!r}"
    path = monitor.url_path or HTTP_DEFAULTS["url_path"]
    version = safe.one_of(f"http_version {named}", f"{monitor.http_version or 1.0:.1f}", ("1.0", "1.1"))
    host = None
    if monitor.domain_name:
        host = safe.host_name(f"domain_name {named}", monitor.domain_name)
    elif version == "1.1":  # a server must refuse one without a host (RFC 9112, 3.2); clients that know no name send the VIP's address
        host = safe.bracketed("VIP address", vip_address)
    return Request(
        method=safe.one_of(f"http_method {named}", monitor.http_method or HTTP_DEFAULTS["http_method"], METHODS),
        path=path,
        escaped_path=safe.url_path(f"url_path {named}", path),
        version=version,
        host=host,
        codes=safe.status_codes(f"expected_codes {named}", monitor.expected_codes or HTTP_DEFAULTS["expected_codes"]),
    )


def _http(monitor: model.HealthMonitor, vip_address: str) -> tuple[str, ...]:
    asked = request(monitor, vip_address)
    host = f" hdr Host {asked.host}" if asked.host else ""
    return (
        "option httpchk",
        f"http-check send meth {asked.method} uri {asked.escaped_path} ver HTTP/{asked.version}{host}",
        f"http-check expect status {asked.codes}",
    )


def _grpc(monitor: model.HealthMonitor, vip_address: str, with_tls: bool) -> Iterator[str]:
    named = f"of health monitor {monitor.id!r}"
    name = monitor.domain_name
    authority = safe.host_name(f"domain_name {named}", name) if name else safe.bracketed("VIP address", vip_address)
    return grpc_checks.directives(safe.grpc_service(f"grpc_service {named}", monitor.grpc_service or ""), authority, with_tls)


def _server_name(monitor: model.HealthMonitor) -> str:
    if not monitor.domain_name:
        return ""
    return f" check-sni {safe.host_name(f'domain_name of health monitor {monitor.id!r}', monitor.domain_name)}"
