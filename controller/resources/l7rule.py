"""Rules of L7 policies (`rule`)."""

from __future__ import annotations

from controller.resources import declare, kinds
from controller.resources.declare import Field, Schema

TYPES = ("COOKIE", "FILE_TYPE", "HEADER", "HOST_NAME", "PATH", "SSL_CONN_HAS_CERT", "SSL_VERIFY_RESULT", "SSL_DN_FIELD")
SUPPORTED = frozenset({"COOKIE", "FILE_TYPE", "HEADER", "HOST_NAME", "PATH"})
COMPARE_TYPES = ("CONTAINS", "ENDS_WITH", "EQUAL_TO", "REGEX", "STARTS_WITH")

SCHEMA = Schema(
    name="rule",
    collection="rules",
    argument="l7rule",
    fields=[
        *(field for field in declare.common(description=False, project=False) if field.name != "name"),
        Field(name="type", kind=kinds.one_of(*TYPES), required=True, supported=SUPPORTED),
        Field(name="compare_type", kind=kinds.one_of(*COMPARE_TYPES), required=True),
        Field(name="key"),
        Field(name="value", required=True),
        Field(name="invert", kind=kinds.boolean, default=False),
        declare.read_only("l7policy_id", kinds.uuid, attribute=None),  # not shown, but openstacksdk filters by it
    ],
)
