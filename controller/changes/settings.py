"""What changes take from the configuration, read once: looking an option up costs more than a SELECT."""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Mapping
from typing import Any

from controller.conf import quotas
from controller.model import quota
from controller.model.status import AT_REST, MUTABLE, ProvisioningStatus, Topology
from controller.resources import catalog, kinds
from controller.resources.declare import Schema


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """What the operator says about TLS."""

    prohibited_ciphers: frozenset[str]
    refused_versions: frozenset[str]
    allow_terminated: bool
    allow_prometheus: bool


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the rules of changes need of the configuration, as plain values."""

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
    unsaid: Mapping[str, Mapping[str, Any]]  # what operators have for fields that clients leave out, by resource and field
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
        "unsaid": {schema.name: _unsaid(conf, schema) for schema in catalog.SCHEMAS},
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
        prohibited_ciphers=frozenset(cipher for cipher in api.tls_cipher_prohibit_list.split(":") if cipher),
        refused_versions=frozenset(kinds.TLS_VERSIONS[: kinds.TLS_VERSIONS.index(oldest)] if oldest else ()),
        allow_terminated=api.allow_tls_terminated_listeners,
        allow_prometheus=api.allow_prometheus_listeners,
    )


def _unsaid(conf: Any, schema: Schema) -> dict[str, Any]:
    options = {field.name: field.operator for field in schema.fields.values() if field.operator is not None}
    return {name: conf[operator.group][operator.option] for name, operator in options.items()}
