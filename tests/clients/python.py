"""openstacksdk and python-octaviaclient as clients of a day."""

from __future__ import annotations

from typing import Any

from octaviaclient.api import exceptions as octavia_exceptions
from octaviaclient.api.v2 import octavia
from openstack import connection, exceptions
from osc_lib import exceptions as osc_exceptions

from tests.clients.days import NotFound

_SDK_NAMES = {"loadbalancer": "load_balancer", "healthmonitor": "health_monitor", "l7policy": "l7_policy", "rule": "l7_rule"}
_SDK_LISTS = {"l7_policy": "l7_policies"}
_CLI_NAMES = {"loadbalancer": "load_balancer", "healthmonitor": "health_monitor", "rule": "l7rule"}


class Sdk:
    """The `load_balancer` proxy of openstacksdk."""

    def __init__(self, cloud: connection.Connection) -> None:
        self._proxy: Any = cloud.load_balancer

    def create(self, noun: str, parent: str, fields: dict[str, Any]) -> dict[str, Any]:
        return told(self._call("create", noun)(*_parents(parent), **_named(noun, fields)))

    def get(self, noun: str, parent: str, object_id: str) -> dict[str, Any]:
        try:
            return told(self._call("get", noun)(object_id, *_parents(parent)))
        except exceptions.NotFoundException as exc:
            raise NotFound(str(exc)) from exc

    def update(self, noun: str, parent: str, object_id: str, fields: dict[str, Any]) -> dict[str, Any]:
        return told(self._call("update", noun)(object_id, *_parents(parent), **_named(noun, fields)))

    def list(self, noun: str, parent: str) -> list[dict[str, Any]]:
        name = _SDK_NAMES.get(noun, noun)
        return [told(item) for item in getattr(self._proxy, _SDK_LISTS.get(name, f"{name}s"))(*_parents(parent))]

    def delete(self, noun: str, parent: str, object_id: str) -> None:
        self._call("delete", noun)(object_id, *_parents(parent))

    def _call(self, verb: str, noun: str) -> Any:
        return getattr(self._proxy, f"{verb}_{_SDK_NAMES.get(noun, noun)}")


class OctaviaClient:
    """The calls below `openstack loadbalancer`."""

    def __init__(self, cloud: connection.Connection, endpoint: str) -> None:
        self._api: Any = octavia.OctaviaAPI(session=cloud.session, service_type="load-balancer", endpoint=endpoint)

    def create(self, noun: str, parent: str, fields: dict[str, Any]) -> dict[str, Any]:
        return dict(self._call(noun, "create")(*_parents(parent), json={noun: fields})[noun])

    def get(self, noun: str, parent: str, object_id: str) -> dict[str, Any]:
        try:
            return dict(self._call(noun, "show")(**self._named(noun, parent, object_id)))
        except (octavia_exceptions.OctaviaClientException, osc_exceptions.NotFound) as exc:
            if exc.code != 404:
                raise
            raise NotFound(str(exc)) from exc

    def update(self, noun: str, parent: str, object_id: str, fields: dict[str, Any]) -> dict[str, Any]:
        return dict(self._call(noun, "set")(**self._named(noun, parent, object_id), json={noun: fields})[noun])

    def list(self, noun: str, parent: str) -> list[dict[str, Any]]:
        answer = self._call(noun, "list")(*_parents(parent))
        return list(next(value for name, value in answer.items() if not name.endswith("_links")))

    def delete(self, noun: str, parent: str, object_id: str) -> None:
        self._call(noun, "delete")(**self._named(noun, parent, object_id))

    def _call(self, noun: str, verb: str) -> Any:
        return getattr(self._api, f"{_CLI_NAMES.get(noun, noun)}_{verb}")

    def _named(self, noun: str, parent: str, object_id: str) -> dict[str, str]:
        word = {"loadbalancer": "lb_id", "healthmonitor": "health_monitor_id", "rule": "l7rule_id"}.get(noun, f"{noun}_id")
        return {word: object_id} | ({{"member": "pool_id", "rule": "l7policy_id"}[noun]: parent} if parent else {})


def _parents(parent: str) -> list[str]:
    return [parent] if parent else []


def _named(noun: str, fields: dict[str, Any]) -> dict[str, Any]:
    """The one field for which the SDK takes its own name alone."""
    return {"rule_value" if (noun, name) == ("rule", "value") else name: value for name, value in fields.items()}


def told(resource: Any) -> dict[str, Any]:
    """What a resource holds, by the API's names; the SDK keeps its own fields (location, and what was in the address) apart."""
    shown: dict[str, Any] = resource.to_dict(original_names=True, computed=False, headers=False)
    return {name: value for name, value in shown.items() if name not in ("pool_id", "l7policy_id", "connection")}
