"""L7 policies (`l7policy`)."""

from __future__ import annotations

import re
from typing import Any

from controller.resources import fields, kinds
from controller.resources.declare import Field, Schema
from controller.resources.fields import also, related

REJECT, TO_POOL, TO_URL, PREFIX = "REJECT", "REDIRECT_TO_POOL", "REDIRECT_TO_URL", "REDIRECT_PREFIX"
FIXED = "FIXED_RESPONSE"
TARGETS = {TO_POOL: "redirect_pool_id", TO_URL: "redirect_url", PREFIX: "redirect_prefix", FIXED: "fixed_response"}
"""The field that an action needs; the others are null."""
HTTP_CODES = (301, 302, 303, 307, 308)
DEFAULT_HTTP_CODE = 302
LAST = 2147483647
"""The position of a policy that comes after all others."""

_URL = re.compile(
    r"https?://"
    r"(?:[0-9A-Za-z._~!$&'()*+,;=:-]+@)?"
    r"(?:[0-9A-Za-z._~!$&'()*+,;=-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?"
    r"(?:[/?#](?:[0-9A-Za-z._~!$&'()*+,;=:@/?#\[\]-]|%[0-9A-Fa-f]{2})*)?",
    re.ASCII | re.IGNORECASE,
).fullmatch


@kinds.described("string", example="https://www.example.com/", format="uri", maxLength=2048)
def absolute_url(value: Any) -> str:
    """A URL of the web with its host."""
    if not isinstance(value, str) or not _URL(value):
        raise kinds.Reject("Value must be a valid URL string")
    if len(value) > 2048:
        raise kinds.Reject("Value should have a maximum character requirement of 2048")
    return value


@kinds.described("integer", example=DEFAULT_HTTP_CODE, enum=list(HTTP_CODES))
def _http_code(value: Any) -> int:
    code = kinds.integer()(value)
    if code not in HTTP_CODES:
        raise kinds.Reject(f"Value should be one of: {', '.join(map(str, HTTP_CODES))}")
    return int(code)


_FIXED_RESPONSE = Schema(
    name="fixed_response",
    shows_fault=False,
    fields=[
        Field("status", kinds.integer(200, 599, example=200), "The status code of the answer.", required=True),
        Field("content_type", kinds.content_type, "What the body is.", default="text/plain; charset=utf-8"),
        Field("body", kinds.page(), "What follows the headers; it may be empty.", default=""),
    ],
)

_WEIGHT = Field("weight", kinds.integer(0, 1000, example=90), "Its share, in relation to the other pools' weights.", required=True)


def split_schema(pool: Field, path: str) -> Schema:
    """How requests are split between pools, each known by `pool`; `path` is where in the body."""
    shares = Schema(name="pools", shows_fault=False, fields=[pool, _WEIGHT])
    by = kinds.one_of("REQUEST", "SOURCE_IP")
    return Schema(
        name="split",
        shows_fault=False,
        fields=[
            Field("pools", shares.nested_list(f"{path}.pools"), "From two to ten pools.", required=True),
            Field("by", by, "Whether each request is given to a pool by itself, or all of a client's to one of them.", default="REQUEST"),
        ],
    )


SPLIT_PATH = "l7policy.l7policy.split"
ABOUT_SPLIT = "How requests are split between pools, for REDIRECT_TO_POOL; redirect_pool_id is one of them. null: it gets all of them."
_SPLIT = split_schema(Field("pool_id", kinds.uuid, "The pool that gets this share.", required=True), SPLIT_PATH)

SCHEMA = Schema(
    name="l7policy",
    collection="l7policies",
    argument="l7policy",
    fields=[
        *fields.common(project=False),
        Field("listener_id", kinds.uuid, "The listener whose requests it looks at.", required=True, put=False, lbaasv2=also()),
        Field(
            "action",
            kinds.one_of(REJECT, TO_POOL, TO_URL, PREFIX, FIXED),
            "What becomes of a request that meets all rules of the policy.",
            example=TO_URL,
            required=True,
            lbaasv2=also(kind=kinds.one_of(REJECT, TO_POOL, TO_URL)),
        ),
        Field("redirect_pool_id", kinds.uuid, "The pool that gets the request, for REDIRECT_TO_POOL.", blank="", lbaasv2=also()),
        Field(
            "redirect_url",
            absolute_url,
            "The URL to which the client is sent, for REDIRECT_TO_URL.",
            example="https://www.example.com/moved",
            blank="",
            lbaasv2=also(kind=kinds.text(255)),
        ),
        Field(
            "redirect_prefix",
            absolute_url,
            "What the client is sent to, followed by the path that it asked for, for REDIRECT_PREFIX.",
            blank="",
        ),
        Field(
            "redirect_http_code",
            _http_code,
            f"The status code with which a client is sent elsewhere; {DEFAULT_HTTP_CODE} if nothing is said.",
        ),
        Field(
            "position",
            kinds.integer(1, LAST, example=1),
            "Its place among the policies of the listener, from 1. Those behind it move on; what is left out comes last.",
            default=LAST,
            lbaasv2=also(),
        ),
        Field(
            "fixed_response",
            _FIXED_RESPONSE.nested("l7policy.l7policy.fixed_response"),
            "What the client is answered, for FIXED_RESPONSE.",
            show=kinds.as_given,
            added=True,
        ),
        Field("split", _SPLIT.nested(SPLIT_PATH), ABOUT_SPLIT, show=kinds.as_given, added=True),
        related("rules", "rule_ids", "The rules of the policy."),
    ],
)
