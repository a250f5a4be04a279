"""Health monitors (`healthmonitor`)."""

from __future__ import annotations

from controller.resources import fields, kinds
from controller.resources.declare import Field, Schema
from controller.resources.fields import REFUSED, also, related

TYPES = ("HTTP", "HTTPS", "PING", "SCTP", "TCP", "TLS-HELLO", "UDP-CONNECT")
METHODS = ("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE")
HTTP_DEFAULTS = {"http_method": "GET", "url_path": "/", "expected_codes": "200"}
"""What a monitor of type HTTP or HTTPS has when nothing was said."""
HTTP_ONLY = (*HTTP_DEFAULTS, "http_version", "domain_name", "grpc_service")

_seconds = kinds.integer(0, 2147483)  # what HAProxy can count in milliseconds
_seconds_of_lbaasv2 = kinds.integer(0, 86400)
_tries = kinds.integer(1, 10, example=3)

SCHEMA = Schema(
    name="healthmonitor",
    collection="healthmonitors",
    argument="health_monitor_",
    fields=[
        *fields.common(description=False, project=False),
        Field(
            "pool_id",
            kinds.uuid,
            "The pool whose members are checked. A pool has one monitor at most.",
            required=True,
            put=False,
            attribute=None,
            lbaasv2=also(),
        ),
        related("pools", "pool_id", "The pool whose members are checked, as a list of one.", kinds.one_id),
        Field(
            "type",
            kinds.one_of(*TYPES),
            "How a member is checked: by a request of HTTP or HTTPS, by opening a connection (TCP, SCTP), by the beginning of TLS "
            "(TLS-HELLO), by a datagram (UDP-CONNECT), or by ping.",
            required=True,
            put=False,
            lbaasv2=also(kind=kinds.one_of("PING", "TCP", "HTTP", "HTTPS")),
        ),
        Field(
            "delay", _seconds, "Seconds between two checks of a member.", example=5, required=True, lbaasv2=also(kind=_seconds_of_lbaasv2)
        ),
        Field(
            "timeout",
            _seconds,
            "Seconds within which a check must succeed.",
            example=3,
            required=True,
            lbaasv2=also(kind=_seconds_of_lbaasv2),
        ),
        Field("max_retries", _tries, "How many checks in a row must succeed before a member is used again.", required=True, lbaasv2=also()),
        Field(
            "max_retries_down", _tries, "How many checks in a row must fail before a member is no longer used.", default=3, lbaasv2=also()
        ),
        Field(
            "http_method",
            kinds.one_of(*METHODS),
            "The method of the request, for HTTP and HTTPS; GET if nothing is said.",
            blank="",
            lbaasv2=also(null=REFUSED),
        ),
        Field(
            "url_path",
            kinds.url_path,
            "The path of the request, for HTTP and HTTPS; / if nothing is said.",
            example="/health",
            blank="",
            lbaasv2=also(null=REFUSED),
        ),
        Field(
            "expected_codes",
            kinds.status_codes,
            "The status codes of a healthy answer, as a list or a range, for HTTP and HTTPS; 200 if nothing is said.",
            blank="",
            lbaasv2=also(null=REFUSED),
        ),
        Field("http_version", kinds.http_version, "The version of HTTP of the request; null: 1.0."),
        Field("domain_name", kinds.host_name, "The host that the request names, with HTTP 1.1.", blank=""),
        Field(
            "grpc_service",
            kinds.grpc_service,
            "Members are asked by gRPC's health protocol (grpc.health.v1) whether they serve this service; an empty string: whether they "
            "serve at all. For HTTP (HTTP/2 without TLS) and HTTPS, with pools over TCP; method, path and codes have no effect then. "
            "null: they are asked by a request as these say.",
            added=True,
        ),
    ],
)
