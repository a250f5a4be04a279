"""Listeners (`listener`)."""

from __future__ import annotations

from controller.resources import declare, kinds
from controller.resources.declare import Field, Schema

PROTOCOLS = ("HTTP", "HTTPS", "SCTP", "PROMETHEUS", "TCP", "TERMINATED_HTTPS", "UDP")
SUPPORTED = frozenset({"HTTP", "HTTPS", "TCP"})
INSERT_HEADERS = (
    "X-Forwarded-For",
    "X-Forwarded-Port",
    "X-Forwarded-Proto",
    "X-Forwarded-IP",
    "X-Client-IP",
    "X-Real-IP",
    "X-SSL-Client-Verify",
    "X-SSL-Client-Has-Cert",
    "X-SSL-Client-DN",
    "X-SSL-Client-CN",
    "X-SSL-Issuer",
    "X-SSL-Client-SHA1",
    "X-SSL-Client-Not-Before",
    "X-SSL-Client-Not-After",
)
TIMEOUTS = ("timeout_client_data", "timeout_member_connect", "timeout_member_data", "timeout_tcp_inspect")
"""Left out or null, they are stored as the operator's defaults."""

_milliseconds = kinds.integer(0, 2073600000)

SCHEMA = Schema(
    name="listener",
    collection="listeners",
    argument="listener_",
    fields=[
        *declare.common(project=False),
        Field(
            name="loadbalancer_id",
            kind=kinds.uuid,
            required=True,
            put=False,
            column="load_balancer_id",
            attribute=None,
            filter_alias="load_balancer_id",
        ),
        declare.read_only("loadbalancers", column=None, attribute="load_balancer_id", show=declare.one_id),
        Field(name="protocol", kind=kinds.one_of(*PROTOCOLS), supported=SUPPORTED, required=True, put=False),
        Field(name="protocol_port", kind=kinds.port, required=True, put=False),
        Field(name="connection_limit", kind=kinds.integer(-1, 2147483647), default=-1),
        Field(name="default_pool_id", kind=kinds.uuid, blank=""),
        Field(name="insert_headers", kind=kinds.headers(INSERT_HEADERS), default={}),
        *(Field(name=name, kind=_milliseconds) for name in TIMEOUTS),
        Field(name="allowed_cidrs", kind=kinds.list_of(kinds.cidr, unique=True), default=[], show=lambda cidrs: cidrs or None),
        declare.read_only("l7policies", column=None, attribute="l7policy_ids", show=declare.ids),
        Field(name="default_tls_container_ref", kind=kinds.reference, supported=declare.NOTHING),
        Field(name="sni_container_refs", kind=kinds.list_of(kinds.name), default=[], supported=declare.NOTHING),
        Field(name="client_ca_tls_container_ref", kind=kinds.reference, supported=declare.NOTHING),
        Field(name="client_authentication", kind=kinds.one_of("NONE", "OPTIONAL", "MANDATORY"), default="NONE", supported=("NONE",)),
        Field(name="client_crl_container_ref", kind=kinds.reference, supported=declare.NOTHING),
        Field(name="tls_ciphers", kind=kinds.ciphers, supported=declare.NOTHING),
        Field(name="tls_versions", kind=kinds.list_of(kinds.one_of(*kinds.TLS_VERSIONS)), supported=declare.NOTHING),
        Field(name="alpn_protocols", kind=kinds.list_of(kinds.one_of(*kinds.ALPN_PROTOCOLS)), supported=declare.NOTHING),
        Field(name="hsts_max_age", kind=kinds.integer(0, 2147483647), supported=declare.NOTHING),
        Field(name="hsts_include_subdomains", kind=kinds.boolean, default=False, supported=(False,)),
        Field(name="hsts_preload", kind=kinds.boolean, default=False, supported=(False,)),
    ],
)
