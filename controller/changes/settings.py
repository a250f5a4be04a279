"""What changes take from the configuration, read once: looking an option up costs more than a SELECT."""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Mapping
from typing import Any

from controller.conf import api_settings, quotas
from controller.model import quota
from controller.model.status import AT_REST, MUTABLE, ProvisioningStatus, Topology


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TlsDefaults:
    """How TLS is spoken by a listener or a pool that does not say it, by the field of the body."""

    tls_ciphers: str
    tls_versions: tuple[str, ...]
    alpn_protocols: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """What the operator says about TLS."""

    listener: TlsDefaults
    pool: TlsDefaults
    prohibited_ciphers: frozenset[str]
    refused_versions: frozenset[str]
    allow_terminated: bool
    allow_prometheus: bool


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Values, not options."""

    providers: Mapping[str, str]  # those that load balancers may name, with their descriptions
    default_provider: str
    allow_ping_health_monitors: bool
    udp_connect_min_interval: int  # seconds
    tls: Tls
    allow_invisible: bool  # objects of the network service that belong to other projects
    allow_vip: Mapping[str, bool]  # by the field of the body
    valid_vip_networks: frozenset[str]
    denied_vip_networks: frozenset[str]
    reserved_ips: frozenset[str]  # in their usual spelling
    topology: Topology
    timeouts: Mapping[str, int]  # of listeners, by the field of the body
    quotas: quota.Limits  # of projects that have none of their own
    mutable: frozenset[ProvisioningStatus]  # states in which a load balancer takes a change
    removable: frozenset[ProvisioningStatus]  # ... and in which it can be deleted or failed over
    is_strict: bool  # what is being changed takes no change
    refuse_unsupported: bool = True  # off only where the rules themselves are tested: what the provider can't do yet is 501


def load(conf: Any) -> Settings:
    """Read them from an oslo.config configuration with all our options."""
    return Settings(**values(conf))


def values(conf: Any) -> dict[str, Any]:
    """The fields of `Settings`, for those that have more."""
    api, networking = conf.api_settings, conf.networking
    strict = api.immutable_while_pending
    timeouts = ("timeout_client_data", "timeout_member_connect", "timeout_member_data", "timeout_tcp_inspect")
    return {
        "providers": dict(api.enabled_provider_drivers),
        "default_provider": api.default_provider_driver,
        "allow_ping_health_monitors": api.allow_ping_health_monitors,
        "udp_connect_min_interval": api.udp_connect_min_interval_health_monitor,
        "tls": _tls(api),
        "allow_invisible": networking.allow_invisible_resource_usage,
        "allow_vip": {name: getattr(networking, f"allow_{name}") for name in ("vip_port_id", "vip_network_id", "vip_subnet_id")},
        "valid_vip_networks": frozenset(networking.valid_vip_networks),
        "denied_vip_networks": frozenset(networking.denylist_vip_networks),
        "reserved_ips": frozenset(str(ipaddress.ip_address(address)) for address in networking.reserved_ips),
        "topology": Topology(conf.controller_worker.loadbalancer_topology),
        "timeouts": {name: getattr(conf.haproxy_amphora, name) for name in timeouts},
        "quotas": _quotas(conf.quotas),
        "is_strict": strict,
        "mutable": frozenset({ProvisioningStatus.ACTIVE}) if strict else MUTABLE,
        "removable": AT_REST if strict else MUTABLE,
    }


def _quotas(section: Any) -> quota.Limits:
    preset = quotas.PRESETS[section.preset]
    own = {kind: getattr(section, f"default_{kind}_quota") for kind in quota.KINDS}
    return {kind: preset.get(kind, quota.UNLIMITED) if own[kind] is None else own[kind] for kind in quota.KINDS}


def _tls(api: Any) -> Tls:
    oldest = api.minimum_tls_version
    return Tls(
        listener=_tls_defaults(api, "listener"),
        pool=_tls_defaults(api, "pool"),
        prohibited_ciphers=frozenset(cipher for cipher in api.tls_cipher_prohibit_list.split(":") if cipher),
        refused_versions=frozenset(api_settings.TLS_VERSIONS[: api_settings.TLS_VERSIONS.index(oldest)] if oldest else ()),
        allow_terminated=api.allow_tls_terminated_listeners,
        allow_prometheus=api.allow_prometheus_listeners,
    )


def _tls_defaults(api: Any, side: str) -> TlsDefaults:
    return TlsDefaults(
        tls_ciphers=getattr(api, f"default_{side}_ciphers"),
        tls_versions=tuple(getattr(api, f"default_{side}_tls_versions")),
        alpn_protocols=tuple(getattr(api, f"default_{side}_alpn_protocols")),
    )
