"""Listeners (`listener`)."""

from __future__ import annotations

from controller.api.v2.schemas import declare, kinds
from controller.api.v2.schemas.declare import Field, Schema

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
_reference = kinds.text(255)

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
        Field(name="default_pool_id", kind=kinds.uuid),
        Field(name="insert_headers", kind=kinds.headers(INSERT_HEADERS), default={}),
        *(Field(name=name, kind=_milliseconds) for name in TIMEOUTS),
        Field(name="allowed_cidrs", kind=kinds.list_of(kinds.cidr, unique=True), default=[], show=lambda cidrs: cidrs or None),
        declare.not_yet("l7policies", kinds.anything_in_a_list, only=[], put=False),
        declare.not_yet("default_tls_container_ref", _reference),
        declare.not_yet("sni_container_refs", kinds.list_of(_reference), only=[]),
        declare.not_yet("client_ca_tls_container_ref", _reference),
        declare.not_yet("client_authentication", kinds.one_of("NONE", "OPTIONAL", "MANDATORY"), only="NONE"),
        declare.not_yet("client_crl_container_ref", _reference),
        declare.not_yet("tls_ciphers", kinds.ciphers),
        declare.not_yet("tls_versions", kinds.list_of(kinds.one_of(*kinds.TLS_VERSIONS))),
        declare.not_yet("alpn_protocols", kinds.list_of(kinds.one_of(*kinds.ALPN_PROTOCOLS))),
        declare.not_yet("hsts_max_age", kinds.integer(0)),
        declare.not_yet("hsts_include_subdomains", kinds.boolean, only=False),
        declare.not_yet("hsts_preload", kinds.boolean, only=False),
    ],
)
