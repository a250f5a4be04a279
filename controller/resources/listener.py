"""Listeners (`listener`)."""

from __future__ import annotations

from controller.model import protocols
from controller.resources import fields, kinds, tls
from controller.resources.declare import Field, Schema
from controller.resources.fields import Operator, also, related

_reference_of_lbaasv2 = kinds.text(128)


def _timeout(name: str, about: str, default: int, words: str, lowest: int = 1) -> Field:
    """A time in milliseconds for which the operator has a default."""
    option = Operator(group="haproxy_amphora", option=name, default=default, lowest=lowest, help=f"Milliseconds {words}")
    return Field(name, kinds.integer(0, 2073600000, example=default), about, operator=option)


_RATE_LIMIT = Schema(
    name="rate_limit",
    shows_fault=False,
    fields=[
        Field("requests", kinds.integer(1, 1_000_000, example=20), "So many requests a client may make within a period.", required=True),
        Field("period", kinds.integer(1, 3600, example=1), "Seconds. The longer it is, the more may come at once.", default=1),
    ],
)

_ERROR_PAGE = Schema(
    name="error_page",
    shows_fault=False,
    fields=[
        Field("content_type", kinds.content_type, "What the page is.", default="text/html; charset=utf-8"),
        Field("body", kinds.page(shortest=1), "The page that clients are shown.", required=True),
    ],
)

SCHEMA = Schema(
    name="listener",
    collection="listeners",
    argument="listener_",
    fields=[
        *fields.common(project=False),
        Field(
            "loadbalancer_id",
            kinds.uuid,
            "The load balancer on whose VIP it listens.",
            required=True,
            put=False,
            column="load_balancer_id",
            attribute=None,
            filter_alias="load_balancer_id",
            lbaasv2=also(required=False),
        ),
        related("loadbalancers", "load_balancer_id", "The load balancer on whose VIP it listens, as a list of one.", kinds.one_id),
        Field(
            "protocol",
            kinds.one_of(*protocols.OF_LISTENERS),
            "What is spoken with clients. HTTPS is passed through to the members as it is; TERMINATED_HTTPS is decrypted here.",
            required=True,
            put=False,
            lbaasv2=also(kind=kinds.one_of(*protocols.OF_LISTENERS_IN_LBAASV2)),
        ),
        Field("protocol_port", kinds.port, "The port on which it listens.", required=True, put=False, lbaasv2=also()),
        Field(
            "connection_limit",
            kinds.integer(-1, 2147483647, example=2000),
            "How many connections may be open at once; -1: as many as the operator allows.",
            default=-1,
            lbaasv2=also(),
        ),
        Field(
            "default_pool_id",
            kinds.uuid,
            "The pool that gets what no L7 policy sends elsewhere. Without one, clients are told that there is no service (503).",
            blank="",
            lbaasv2=also(),
        ),
        Field(
            "insert_headers",
            kinds.headers(protocols.HEADERS + protocols.HEADERS_OF_TLS),
            'HTTP headers that are added to requests on their way to a member, each with the value "true".',
            default={},
        ),
        _timeout(
            "timeout_client_data",
            "Milliseconds for which a client may be silent before it is disconnected.",
            50000,
            "of silence after which a client is disconnected.",
        ),
        _timeout(
            "timeout_member_connect",
            "Milliseconds within which a member must accept a connection.",
            5000,
            "to wait for a connection to a member.",
        ),
        _timeout(
            "timeout_member_data",
            "Milliseconds for which a member may be silent before it is given up.",
            50000,
            "of silence after which a member is given up.",
        ),
        _timeout(
            "timeout_tcp_inspect",
            "Milliseconds to wait for more of a request before its content is looked at.",
            0,
            "to wait for further TCP packets before content is inspected.",
            lowest=0,
        ),
        Field(
            "allowed_cidrs",
            kinds.list_of(kinds.cidr, unique=True),
            "From where clients may come; an empty list: from anywhere.",
            default=[],
            show=lambda cidrs: cidrs or None,
        ),
        related("l7policies", "l7policy_ids", "Its L7 policies, by position."),
        Field(
            "default_tls_container_ref",
            kinds.reference,
            "The certificate of a TERMINATED_HTTPS listener, with its key: a reference to the secret store.",
            lbaasv2=also(kind=_reference_of_lbaasv2),
        ),
        Field(
            "sni_container_refs",
            kinds.list_of(kinds.name),
            "More certificates, from which one is chosen by the name that a client asks for (SNI): references to the secret store.",
            default=[],
            lbaasv2=also(kind=kinds.list_of(_reference_of_lbaasv2), null=None),
        ),
        Field(
            "client_ca_tls_container_ref",
            kinds.reference,
            "The authority that signs certificates of clients: a reference to the secret store.",
        ),
        Field(
            "client_authentication",
            kinds.one_of("NONE", "OPTIONAL", "MANDATORY"),
            "Whether clients must show a certificate.",
            default="NONE",
        ),
        Field(
            "client_crl_container_ref",
            kinds.reference,
            "The list of certificates of clients that are revoked: a reference to the secret store.",
        ),
        *tls.fields("listener", "clients"),
        Field(
            "hsts_max_age",
            kinds.integer(0, 2147483647, example=31536000),
            "Seconds for which browsers are told to come back by HTTPS only (HSTS); null: they are told nothing.",
        ),
        Field("hsts_include_subdomains", kinds.boolean, "Whether they are told so of subdomains too.", default=False),
        Field(
            "hsts_preload",
            kinds.boolean,
            "Whether browsers may have the host in their own list of those that are reached by HTTPS only.",
            default=False,
        ),
        Field(
            "rate_limit",
            _RATE_LIMIT.nested("listener_.listener.rate_limit"),
            "How many requests one client may make; further ones are answered with 429. A client is an IPv4 address or an IPv6 /64. "
            "null: as many as it likes.",
            show=kinds.as_given,
            added=True,
        ),
        Field(
            "error_page",
            _ERROR_PAGE.nested("listener_.listener.error_page"),
            "What clients are shown when no member answers: with 502, 503 and 504 of the load balancer itself. "
            "What members answer is passed on as it is.",
            show=kinds.as_given,
            added=True,
        ),
        fields.certificate_end("the listener's own certificates (default_tls_container_ref, sni_container_refs)"),
    ],
)
