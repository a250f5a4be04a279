"""What lets web pages of other origins (a dashboard) read our answers, refusals included."""

from __future__ import annotations

from collections.abc import Collection

_ALLOWED = "Content-Type, X-Auth-Token, X-Openstack-Request-Id, X-Project-Id"
_EXPOSED = "X-Auth-Token, X-Openstack-Request-Id"


def headers(origin: str | None, allowed: Collection[str]) -> dict[str, str]:
    """Headers of an answer to a page of this origin; none if it is not allowed."""
    if origin is None or (origin not in allowed and "*" not in allowed):
        return {}
    return {
        "Access-Control-Allow-Origin": origin,
        "Vary": "Origin",
        "Access-Control-Allow-Methods": "GET, PUT, POST, DELETE",
        "Access-Control-Allow-Headers": _ALLOWED,
        "Access-Control-Expose-Headers": _EXPOSED,
    }
