"""Rules of L7 policies (`rule`)."""

from __future__ import annotations

from controller.resources import fields, kinds
from controller.resources.declare import Field, Schema
from controller.resources.fields import also, read_only

TYPES = ("COOKIE", "FILE_TYPE", "HEADER", "HOST_NAME", "PATH", "SSL_CONN_HAS_CERT", "SSL_VERIFY_RESULT", "SSL_DN_FIELD")
COMPARE_TYPES = ("CONTAINS", "ENDS_WITH", "EQUAL_TO", "REGEX", "STARTS_WITH")

SCHEMA = Schema(
    name="rule",
    collection="rules",
    argument="l7rule",
    fields=[
        *(field for field in fields.common(description=False, project=False) if field.name != "name"),
        Field(
            "type",
            kinds.one_of(*TYPES),
            "What of a request is compared.",
            example="PATH",
            required=True,
            lbaasv2=also(kind=kinds.one_of("HOST_NAME", "PATH", "FILE_TYPE", "HEADER", "COOKIE")),
        ),
        Field(
            "compare_type",
            kinds.one_of(*COMPARE_TYPES),
            "How it is compared with the value.",
            example="STARTS_WITH",
            required=True,
            lbaasv2=also(kind=kinds.one_of("REGEX", "STARTS_WITH", "ENDS_WITH", "CONTAINS", "EQUAL_TO")),
        ),
        Field(
            "key",
            about="The name of the header or of the cookie, for HEADER and COOKIE; of the field of the subject, for SSL_DN_FIELD.",
            lbaasv2=also(),
        ),
        Field("value", about="What it is compared with.", example="/api", required=True, lbaasv2=also()),
        Field("invert", kinds.boolean, "Whether the rule is met by what does not match.", default=False, lbaasv2=also()),
        read_only(
            "l7policy_id",
            kinds.uuid,
            "The policy that it belongs to.",
            attribute=None,  # not shown, but openstacksdk filters by it
        ),
    ],
)
