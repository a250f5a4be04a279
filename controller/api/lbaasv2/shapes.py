"""From bodies of LBaaS v2 to those of the first API, and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from controller.api.lbaasv2 import attributes
from controller.api.lbaasv2.attributes import Resource
from controller.resources.declare import Values

HTTP_ATTRIBUTES = ("http_method", "url_path", "expected_codes")
"""What only monitors of type HTTP and HTTPS have."""

_NAMES: Mapping[str, tuple[str, ...]] = {
    resource.name: tuple(sorted(name for name, attribute in resource.attributes.items() if attribute.is_shown))
    for resource in attributes.RESOURCES
}
_STATUSES = {"ERROR": "DEGRADED"}
_MEMBER_STATUSES = {"ERROR": "OFFLINE", "DRAINING": "ONLINE"}


def operating_status(status: str, *, of_member: bool = False) -> str:
    """In words that LBaaS v2 has: it knows neither ERROR nor DRAINING."""
    return (_MEMBER_STATUSES if of_member else _STATUSES).get(status, str(status))


def wanted(resource: Resource, values: Values) -> Values:
    """A body of LBaaS v2, already checked, as the first API takes it."""
    given = dict(values)
    if "tenant_id" in given:
        given["project_id"] = given.pop("tenant_id")
    if given.get("sni_container_refs", ()) is None:
        given["sni_container_refs"] = []
    return given


def shown(resource: Resource, views: Sequence[Values], policies: Mapping[str, list[str]] | None = None) -> list[Values]:
    """Views of the first API, as LBaaS v2 shows them; `policies` are the ids of the L7 policies that redirect to each pool."""
    finish = _FINISHES.get(resource.name, _unchanged)
    found = [finish({name: view.get(name) for name in _NAMES[resource.name]}, view) for view in views]
    if resource is attributes.POOL:
        for one in found:
            one["l7_policies"] = [{"id": policy} for policy in (policies or {}).get(one["id"], ())]
    return found


def _unchanged(found: Values, view: Values) -> Values:
    return found


def _load_balancer(found: Values, view: Values) -> Values:
    found["operating_status"] = operating_status(found["operating_status"])
    for name in ("listeners", "pools"):
        found[name] = _references(found[name])
    if found["flavor_id"] is None:
        del found["flavor_id"]
    return found


def _listener(found: Values, view: Values) -> Values:
    found["default_tls_container_id"] = found["default_tls_container_ref"]
    return found


def _pool(found: Values, view: Values) -> Values:
    persistence = found["session_persistence"]
    if persistence is not None:
        found["session_persistence"] = {name: persistence.get(name) for name in ("type", "cookie_name")}
    found["members"] = _references(found["members"])
    return found


def _monitor(found: Values, view: Values) -> Values:
    if found["type"] not in ("HTTP", "HTTPS"):
        for name in HTTP_ATTRIBUTES:
            del found[name]
    return found


def _policy(found: Values, view: Values) -> Values:
    found["status"] = view["provisioning_status"]
    return found


def _references(objects: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    return [{"id": one["id"]} for one in objects]


_FINISHES: Mapping[str, Callable[[Values, Values], Values]] = {
    "loadbalancer": _load_balancer,
    "listener": _listener,
    "pool": _pool,
    "healthmonitor": _monitor,
    "l7policy": _policy,
}
