"""How LBaaS v2 shows objects."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from controller.api.lbaasv2 import attributes
from controller.api.lbaasv2.attributes import Resource
from controller.resources.declare import Values

HTTP_ATTRIBUTES = ("http_method", "url_path", "expected_codes")
"""What only monitors of type HTTP and HTTPS have."""

_STATUSES = {"ERROR": "DEGRADED"}
_MEMBER_STATUSES = {"ERROR": "OFFLINE", "DRAINING": "ONLINE"}


def operating_status(status: str, *, of_member: bool = False) -> str:
    """An operating status in words that LBaaS v2 has: it knows neither ERROR nor DRAINING."""
    return (_MEMBER_STATUSES if of_member else _STATUSES).get(status, str(status))


def shown(resource: Resource, objects: Sequence[Any], policies: Mapping[str, list[str]] | None = None) -> list[Values]:
    """Objects as LBaaS v2 shows them; `policies` are the ids of the L7 policies that redirect to each pool."""
    finish: Callable[[Values], Values] = _FINISHES.get(resource.name, lambda found: found)
    found = [finish(resource.view(one)) for one in objects]
    if resource is attributes.POOL:
        for one in found:
            one["l7_policies"] = [{"id": policy} for policy in (policies or {}).get(one["id"], ())]
    return found


def _load_balancer(found: Values) -> Values:
    found["operating_status"] = operating_status(found["operating_status"])
    if found["flavor_id"] is None:
        del found["flavor_id"]
    return found


def _pool(found: Values) -> Values:
    persistence = found["session_persistence"]
    if persistence is not None:
        found["session_persistence"] = {name: persistence.get(name) for name in ("type", "cookie_name")}
    return found


def _monitor(found: Values) -> Values:
    if found["type"] not in ("HTTP", "HTTPS"):
        for name in HTTP_ATTRIBUTES:
            del found[name]
    return found


_FINISHES: Mapping[str, Callable[[Values], Values]] = {"loadbalancer": _load_balancer, "pool": _pool, "healthmonitor": _monitor}
