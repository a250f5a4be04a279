"""Pools (`pool`)."""

from __future__ import annotations

import dataclasses
from typing import Any

from controller.refusals import Refusal
from controller.resources import declare, kinds
from controller.resources.declare import Field, Schema

PROTOCOLS = ("HTTP", "HTTPS", "PROXY", "PROXYV2", "SCTP", "TCP", "UDP")
SUPPORTED = frozenset({"HTTP", "HTTPS", "PROXY", "PROXYV2", "TCP"})
ALGORITHMS = ("LEAST_CONNECTIONS", "ROUND_ROBIN", "SOURCE_IP", "SOURCE_IP_PORT")


PERSISTENCE = Schema(
    name="session_persistence",
    collection="",
    argument="",
    shows_fault=False,
    fields=[
        Field(name="type", kind=kinds.one_of("SOURCE_IP", "HTTP_COOKIE", "APP_COOKIE"), required=True),
        Field(name="cookie_name", kind=kinds.token, refusal=Refusal.SESSION_PERSISTENCE),
        Field(name="persistence_timeout", kind=kinds.integer(0, 2147483647)),
        Field(name="persistence_granularity", kind=kinds.netmask),
    ],
)


def _persistence(value: Any) -> dict[str, Any]:
    """The keys that were given; which of them must be, and with which pool, is a rule across fields."""
    return PERSISTENCE.updated(value, "pool_.pool.session_persistence")


_PERSISTENCE = kinds.Described(_persistence, PERSISTENCE.put_schema)


SCHEMA = Schema(
    name="pool",
    collection="pools",
    argument="pool_",
    fields=[
        *declare.common(project=False),
        Field(name="listener_id", kind=kinds.uuid, put=False, column=None, attribute=None),
        Field(
            name="loadbalancer_id", kind=kinds.uuid, put=False, column="load_balancer_id", attribute=None, filter_alias="load_balancer_id"
        ),
        declare.read_only("listeners", column=None, attribute="listener_ids", show=declare.ids),
        declare.read_only("loadbalancers", column=None, attribute="load_balancer_id", show=declare.one_id),
        declare.read_only("members", column=None, attribute="member_ids", show=declare.ids),
        declare.read_only("healthmonitor_id", column=None, attribute="health_monitor_id"),
        Field(name="protocol", kind=kinds.one_of(*PROTOCOLS), supported=SUPPORTED, required=True, put=False),
        Field(
            name="lb_algorithm",
            kind=kinds.one_of(*ALGORITHMS),
            supported=frozenset(ALGORITHMS) - {"SOURCE_IP_PORT"},
            required=True,
        ),
        Field(name="session_persistence", kind=_PERSISTENCE, show=lambda stored: stored and dataclasses.asdict(stored)),
        Field(name="tls_enabled", kind=kinds.boolean, default=False, supported=(False,)),
        Field(name="tls_container_ref", kind=kinds.reference, supported=declare.NOTHING),
        Field(name="ca_tls_container_ref", kind=kinds.reference, supported=declare.NOTHING),
        Field(name="crl_container_ref", kind=kinds.reference, supported=declare.NOTHING),
        Field(name="tls_ciphers", kind=kinds.ciphers, supported=declare.NOTHING),
        Field(name="tls_versions", kind=kinds.list_of(kinds.one_of(*kinds.TLS_VERSIONS)), supported=declare.NOTHING),
        Field(name="alpn_protocols", kind=kinds.list_of(kinds.one_of(*kinds.ALPN_PROTOCOLS)), supported=declare.NOTHING),
    ],
)


def view(pool: Any) -> dict[str, Any]:
    """A pool; the key of its monitor is there only if it has one."""
    shown = SCHEMA.view(pool)
    if shown["healthmonitor_id"] is None:
        del shown["healthmonitor_id"]
    return shown
