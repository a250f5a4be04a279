"""A day in the life of a client: everything is made (once with what is required, once with all that it can say), read, changed, deleted.

Whatever a client shows must be what the API told it, and what the API told must be what `shapes` expects.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from tests.clients import shapes
from tests.clients.recorder import Recorder
from tests.clients.shapes import Stage

PATHS = {
    "loadbalancer": "loadbalancers",
    "listener": "listeners",
    "pool": "pools",
    "member": "members",
    "healthmonitor": "healthmonitors",
    "l7policy": "l7policies",
    "rule": "rules",
}
"""The nouns of a load balancer in the order in which they are made."""


PARENTS = {"loadbalancer_id", "listener_id", "pool_id", "l7policy_id"}
"""Fields of a creation that its answer does not have; some clients go on showing what they sent."""


class Client(Protocol):
    """What the day asks of a client; objects come back as the client shows them, by the API's names of fields."""

    def create(self, noun: str, parent: str, fields: dict[str, Any]) -> dict[str, Any]: ...
    def get(self, noun: str, parent: str, object_id: str) -> dict[str, Any]: ...
    def update(self, noun: str, parent: str, object_id: str, fields: dict[str, Any]) -> dict[str, Any]: ...
    def list(self, noun: str, parent: str) -> list[dict[str, Any]]: ...
    def delete(self, noun: str, parent: str, object_id: str) -> None: ...


@dataclasses.dataclass(slots=True)
class Made:
    """An object of the day."""

    noun: str
    parent: str
    id: str


class Day:
    """Leads a client through its day and collects what is wrong."""

    def __init__(self, client: Client, recorder: Recorder, subnet_id: str, address: str, patience: float = 60.0) -> None:
        """`patience` in seconds, until something is ACTIVE."""
        self._client, self._recorder, self._patience = client, recorder, patience
        self._subnet_id, self._address = subnet_id, address
        self.faults: list[str] = []
        self.seen: set[tuple[str, Stage]] = set()

    def live(self, full: bool) -> None:
        """Make, read, change, list and delete one of everything."""
        made: dict[str, Made] = {}
        for noun in PATHS:
            made[noun] = self._create(noun, made, self._wanted(noun, made, full))
        for noun in reversed(PATHS):
            self._change(made[noun], self._changes(noun))
        for noun in reversed(PATHS):
            self._client.delete(noun, made[noun].parent, made[noun].id)
            self._wait(made[noun], gone=True)

    def wait(self, noun: str, object_id: str) -> dict[str, Any]:
        """Read an object that has no parent in its address until it is ACTIVE; what the client shows then."""
        return self._wait(Made(noun, "", object_id))

    def _create(self, noun: str, made: Mapping[str, Made], fields: dict[str, Any]) -> Made:
        parent = made[{"member": "pool", "rule": "l7policy"}[noun]].id if noun in ("member", "rule") else ""
        shown = self._client.create(noun, parent, fields)
        told = self._recorder.last("POST", PATHS[noun])[noun]
        shown = {name: value for name, value in shown.items() if name in told or name not in PARENTS}
        self._compare(noun, Stage.CREATED, shown, told)
        one = Made(noun, parent, str(shown["id"]))
        self._read(one)
        return one

    def _change(self, one: Made, fields: dict[str, Any]) -> None:
        shown = self._client.update(one.noun, one.parent, one.id, fields)
        told = self._recorder.last("PUT", one.id)[one.noun]
        self._compare(one.noun, Stage.UPDATED, shown, told)
        self.faults += [
            f"{one.noun}.{name} is {told[name]!r} after {value!r} was sent" for name, value in fields.items() if told[name] != value
        ]
        self._read(one)

    def _read(self, one: Made) -> None:
        shown = self._wait(one)
        self._compare(one.noun, Stage.ACTIVE, shown, self._recorder.last("GET", one.id)[one.noun])
        listed = {item["id"]: item for item in self._client.list(one.noun, one.parent)}
        told = self._recorder.last("GET", PATHS[one.noun])
        [mine] = [item for item in told[PATHS[one.noun]] if item["id"] == one.id]
        self._compare(one.noun, Stage.LISTED, listed[one.id], mine)

    def _wait(self, one: Made, gone: bool = False) -> dict[str, Any]:
        """Read until it is ACTIVE (or gone), and its load balancer with it, as those clients do that know no queue."""
        until = time.monotonic() + self._patience
        shown: dict[str, Any] = {}
        while time.monotonic() < until:
            try:
                shown = self._client.get(one.noun, one.parent, one.id)
            except NotFound:
                assert gone, f"{one} is not there"
                return {}
            if shown["provisioning_status"] == "ACTIVE" and not gone:
                return shown
            time.sleep(0.05)
        raise AssertionError(f"{one} is still {shown}")

    def _compare(self, noun: str, stage: Stage, shown: Mapping[str, Any], told: Mapping[str, Any]) -> None:
        self.seen.add((noun, stage))
        self.faults += shapes.faults(noun, stage, told)
        self.faults += [f"{noun}: {words} ({stage.value})" for words in differences(shown, told)]

    def _wanted(self, noun: str, made: Mapping[str, Made], full: bool) -> dict[str, Any]:
        required = self._required(noun, made)
        return required | (self._optional(noun) if full else {})

    def _required(self, noun: str, made: Mapping[str, Made]) -> dict[str, Any]:
        required: dict[str, Callable[[], dict[str, Any]]] = {
            "loadbalancer": lambda: {"vip_subnet_id": self._subnet_id},
            "listener": lambda: {"loadbalancer_id": made["loadbalancer"].id, "protocol": "HTTP", "protocol_port": 80},
            "pool": lambda: {"listener_id": made["listener"].id, "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"},
            "member": lambda: {"address": self._address, "protocol_port": 80},
            "healthmonitor": lambda: {
                "pool_id": made["pool"].id, "type": "HTTP", "delay": 5, "timeout": 3, "max_retries": 2, "max_retries_down": 3,
            },
            "l7policy": lambda: {"listener_id": made["listener"].id, "action": "REJECT"},
            "rule": lambda: {"type": "PATH", "compare_type": "EQUAL_TO", "value": "/no"},
        }  # fmt: skip
        return required[noun]()

    def _optional(self, noun: str) -> dict[str, Any]:
        common = {"name": "day", "admin_state_up": True, "tags": ["one", "two"]}
        return {
            "loadbalancer": {**common, "description": "a day"},
            "listener": {
                **common, "description": "a day", "connection_limit": 100, "insert_headers": {"X-Forwarded-For": "true"},
                "allowed_cidrs": ["198.19.0.0/16"], "timeout_client_data": 1000, "timeout_member_connect": 2000,
                "timeout_member_data": 3000, "timeout_tcp_inspect": 4,
            },
            "pool": {**common, "description": "a day", "session_persistence": {"type": "APP_COOKIE", "cookie_name": "session"}},
            "member": {
                **common, "weight": 3, "backup": False, "monitor_address": self._address, "monitor_port": 80, "subnet_id": self._subnet_id,
            },
            "healthmonitor": {
                **common, "http_method": "HEAD", "url_path": "/health", "expected_codes": "200,204", "domain_name": "shop.example",
                "http_version": 1.1,
            },
            "l7policy": {
                **common, "description": "a day", "action": "REDIRECT_TO_URL", "redirect_url": "http://shop.example/",
                "redirect_http_code": 301,
                "position": 1,
            },
            "rule": {
                "admin_state_up": True, "tags": ["one"], "type": "HEADER", "key": "X-Shop", "invert": True,
            },
        }[noun]  # fmt: skip

    def _changes(self, noun: str) -> dict[str, Any]:
        changes: dict[str, dict[str, Any]] = {
            "loadbalancer": {"name": "evening", "description": "", "tags": ["three"]},
            "listener": {"name": "evening", "connection_limit": 200, "allowed_cidrs": ["198.19.0.0/16", "10.0.0.0/8"]},
            "pool": {"name": "evening", "lb_algorithm": "LEAST_CONNECTIONS"},
            "member": {"name": "evening", "weight": 7},
            "healthmonitor": {"name": "evening", "delay": 7, "url_path": "/other"},
            "l7policy": {"name": "evening", "action": "REDIRECT_TO_URL", "redirect_url": "http://evening.example/"},
            "rule": {"value": "/other"},
        }
        return changes[noun]


class NotFound(Exception):
    """The client was told that there is no such object."""


def differences(shown: Mapping[str, Any], told: Mapping[str, Any]) -> list[str]:
    """What a client shows and was not told, in words. Typed clients have no null: nothing is then an empty or zero value."""
    invented = [(name, value) for name, value in shown.items() if name not in told and _something(value)]
    wrong = [f"{name}: shown {value!r}, and nobody told it" for name, value in invented]
    wrong += [
        f"{name}: shown {value!r}, told {told[name]!r}" for name, value in shown.items() if name in told and not _same(value, told[name])
    ]
    return wrong


def _same(shown: Any, told: Any) -> bool:
    if told is None:
        return not _something(shown)
    if isinstance(told, dict) and isinstance(shown, dict):
        return all(_same(shown.get(name), value) for name, value in told.items() if name in shown or value is not None)
    if isinstance(told, list) and isinstance(shown, list):
        return len(shown) == len(told) and all(_same(one, other) for one, other in zip(shown, told, strict=True))
    if isinstance(told, float):
        return str(shown) == str(told)
    if isinstance(told, str) and isinstance(shown, str):
        return shown in (told, told.partition(".")[0])  # a time without its fraction of a second
    return bool(shown == told and type(shown) is type(told))


def _something(value: Any) -> bool:
    return any(map(_something, value.values())) if isinstance(value, dict) else bool(value)
