"""A client that applies a plan as Terraform does: it waits before and after every call, and looks whether it got what it asked for."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from controller.dev.client import eventually
from tests.integration.habits import Client, Refused

_PARENTS = {"loadbalancer_id": "loadbalancers", "listener_id": "listeners", "pool_id": "pools"}
_SETS = ("tags",)
_TRIES = 50


class Resource:
    """An object as it stands in the plan: what was asked for, and where it is."""

    def __init__(self, key: str, path: str, planned: Mapping[str, Any]) -> None:
        self.key = key
        self.path = path
        self.id = path.rpartition("/")[2]
        self.planned = dict(planned)


class Terraform:
    """One load balancer under its hand. It tries again on 409, as it has learnt to; `retries` says how often it had to."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.retries = 0
        self.load_balancer_id = ""

    def load_balancer(self, **planned: Any) -> Resource:
        """Create it and wait until it is ACTIVE."""
        made = self.client.create("loadbalancer", "/loadbalancers", **planned)
        self.load_balancer_id = made["id"]
        self.client.wait_active(made["id"])
        return self._planned("loadbalancer", f"/loadbalancers/{made['id']}", planned)

    def create(self, key: str, collection: str, **planned: Any) -> Resource:
        """Create a child."""
        made = self._change(lambda: self.client.create(key, collection, **planned))
        return self._planned(key, f"{collection}/{made['id']}", planned)

    def update(self, resource: Resource, **changes: Any) -> None:
        """Send what has changed in the plan."""
        self._change(lambda: self.client.update(resource.key, resource.path, **changes))
        resource.planned |= changes
        self._wait_for(resource)
        self.has_nothing_to_do(resource)

    def members(self, pool: Resource, *planned: dict[str, Any]) -> None:
        """The resource that holds all members of a pool: it sends them in one call, and wants to find them and no others."""
        path = f"{pool.path}/members"
        self._change(lambda: self.client.send("PUT", path, {"members": list(planned)}, {202}))
        found = {(one["address"], one["protocol_port"]): one for one in self.client.every("members", path)}
        assert found.keys() == {(one["address"], one["protocol_port"]) for one in planned}
        for one in planned:
            member = found[one["address"], one["protocol_port"]]
            assert _difference(one, member) == {}, (one, member)
            assert member["provisioning_status"] == "ACTIVE", member

    def delete(self, resource: Resource) -> None:
        """Delete it and wait until it answers 404."""
        if resource.key == "loadbalancer":
            self.client.wait_active(self.load_balancer_id)
            self._patiently(lambda: self.client.delete(resource.path))
        else:
            self._change(lambda: self.client.delete(resource.path))
        eventually(lambda: self.client.is_gone(resource.path), 60, f"{resource.path} is still there")

    def has_nothing_to_do(self, resource: Resource) -> None:
        """The next plan would not want to change anything."""
        difference = _difference(resource.planned, self.client.get(resource.key, resource.path))
        assert difference == {}, f"planned and found in {resource.path}: {difference}"

    def _planned(self, key: str, path: str, planned: Mapping[str, Any]) -> Resource:
        resource = Resource(key, path, planned)
        self._wait_for(resource)
        self.has_nothing_to_do(resource)
        return resource

    def _change(self, call: Callable[[], Any]) -> Any:
        """A call between two looks at the load balancer."""
        self.client.wait_active(self.load_balancer_id)
        answer = self._patiently(call)
        self.client.wait_active(self.load_balancer_id)
        return answer

    def _patiently(self, call: Callable[[], Any]) -> Any:
        for _ in range(_TRIES):
            try:
                return call()
            except Refused as answer:
                if answer.status != 409:
                    raise
            self.retries += 1
            time.sleep(0.1)
        raise AssertionError("it is refused for good")

    def _wait_for(self, resource: Resource) -> None:
        found: dict[str, Any] = {}

        def is_active() -> bool:
            found.update(self.client.get(resource.key, resource.path))
            assert found["provisioning_status"] != "ERROR", found
            return bool(found["provisioning_status"] == "ACTIVE")

        eventually(is_active, 60, lambda: str(found))


def _difference(planned: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    wrong = {}
    for name, value in planned.items():
        if name in _PARENTS and name not in found:
            seen: Any = found[_PARENTS[name]][0]["id"]
        elif isinstance(value, dict) and isinstance(found[name], dict):
            seen = {key: content for key, content in found[name].items() if content is not None}
        else:
            seen = found[name]
        if _as_typed(name, value) != _as_typed(name, seen):
            wrong[name] = (value, seen)
    return wrong


def _as_typed(name: str, value: Any) -> Any:
    """In typed languages there is no null: nothing is an empty string or an empty list; and some lists have no order."""
    if value in (None, "", [], {}):
        return None
    return sorted(value) if name in _SETS else value
