"""L7 policies (`l7policy`)."""

from __future__ import annotations

import re
from typing import Any

from controller.resources import declare, kinds
from controller.resources.declare import Field, Schema

REJECT, TO_POOL, TO_URL, PREFIX = "REJECT", "REDIRECT_TO_POOL", "REDIRECT_TO_URL", "REDIRECT_PREFIX"
TARGETS = {TO_POOL: "redirect_pool_id", TO_URL: "redirect_url", PREFIX: "redirect_prefix"}
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


@kinds.described("string", format="uri", maxLength=2048)
def absolute_url(value: Any) -> str:
    """A URL of the web with its host."""
    if not isinstance(value, str) or not _URL(value):
        raise kinds.Reject("Value must be a valid URL string")
    if len(value) > 2048:
        raise kinds.Reject("Value should have a maximum character requirement of 2048")
    return value


@kinds.described("integer", enum=list(HTTP_CODES))
def _http_code(value: Any) -> int:
    code = kinds.integer()(value)
    if code not in HTTP_CODES:
        raise kinds.Reject(f"Value should be one of: {', '.join(map(str, HTTP_CODES))}")
    return int(code)


SCHEMA = Schema(
    name="l7policy",
    collection="l7policies",
    argument="l7policy",
    fields=[
        *declare.common(project=False),
        Field(name="listener_id", kind=kinds.uuid, required=True, put=False),
        Field(name="action", kind=kinds.one_of(REJECT, TO_POOL, TO_URL, PREFIX), required=True),
        Field(name="redirect_pool_id", kind=kinds.uuid, blank=""),
        Field(name="redirect_url", kind=absolute_url, blank=""),
        Field(name="redirect_prefix", kind=absolute_url, blank=""),
        Field(name="redirect_http_code", kind=_http_code),
        Field(name="position", kind=kinds.integer(1, LAST), default=LAST),
        declare.read_only("rules", column=None, attribute="rule_ids", show=declare.ids),
    ],
)
