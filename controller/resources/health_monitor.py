"""Health monitors (`healthmonitor`)."""

from __future__ import annotations

from controller.resources import declare, kinds
from controller.resources.declare import Field, Schema

TYPES = ("HTTP", "HTTPS", "PING", "SCTP", "TCP", "TLS-HELLO", "UDP-CONNECT")
METHODS = ("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE")
HTTP_DEFAULTS = {"http_method": "GET", "url_path": "/", "expected_codes": "200"}
"""What a monitor of type HTTP or HTTPS has when nothing was said."""
HTTP_ONLY = (*HTTP_DEFAULTS, "http_version", "domain_name")

_seconds = kinds.integer(0, 2147483)  # what HAProxy can count in milliseconds
_tries = kinds.integer(1, 10)

SCHEMA = Schema(
    name="healthmonitor",
    collection="healthmonitors",
    argument="health_monitor_",
    fields=[
        *declare.common(description=False, project=False),
        Field(name="pool_id", kind=kinds.uuid, required=True, put=False, attribute=None),
        declare.read_only("pools", column=None, attribute="pool_id", show=declare.one_id),
        Field(name="type", kind=kinds.one_of(*TYPES), required=True, put=False),
        Field(name="delay", kind=_seconds, required=True),
        Field(name="timeout", kind=_seconds, required=True),
        Field(name="max_retries", kind=_tries, required=True),
        Field(name="max_retries_down", kind=_tries, default=3),
        Field(name="http_method", kind=kinds.one_of(*METHODS), blank=""),
        Field(name="url_path", kind=kinds.url_path, blank=""),
        Field(name="expected_codes", kind=kinds.status_codes, blank=""),
        Field(name="http_version", kind=kinds.http_version),
        Field(name="domain_name", kind=kinds.host_name, blank=""),
    ],
)
