"""Many spellings of one path: `/v2.0/lbaas/listeners/` is `/v2/listeners`. Routes know the short one only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from controller.api import links

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

_PREFIXES = (("/v2.0", "/v2"), ("/v2", "/v2"))


def normalised(path: str) -> str:
    """The short spelling. What is wrong stays wrong: load balancers are not below `/octavia`, nor amphorae below `/lbaas`."""
    trimmed = path[:-1] if len(path) > 1 and path.endswith("/") else path
    for spelling, short in _PREFIXES:
        if trimmed == spelling or trimmed.startswith(f"{spelling}/"):
            rest = trimmed[len(spelling) :]
            if rest == "/lbaas" or (rest.startswith("/lbaas/") and not rest.startswith("/lbaas/octavia")):
                rest = rest[len("/lbaas") :]
            return short + rest
    return trimmed or "/"  # where a proxy mounts us, the root has no path at all


def shorten(environ: WSGIEnvironment) -> None:
    """Exchange the path of a request for its short spelling, and remember the one that the client asked for."""
    path = environ.get("PATH_INFO", "")
    environ[links.ORIGINAL_PATH] = path
    environ["PATH_INFO"] = normalised(path)
