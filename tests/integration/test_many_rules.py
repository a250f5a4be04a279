"""Ten policies with ten rules each in a real HAProxy, against an oracle: every type of rules and comparison, each inverted, too."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import itertools
import pathlib
import random
import re
import socket
from collections.abc import Iterator, Mapping

import pytest

from controller.model import load_balancer as model
from controller.resources.l7rule import COMPARE_TYPES
from tests import builders
from tests.integration.rendered import RunningHaproxy

pytestmark = pytest.mark.integration

POLICIES, RULES = 10, 10
REQUESTS = 300
KINDS = [
    *itertools.product(("COOKIE", "HEADER", "HOST_NAME", "PATH"), COMPARE_TYPES),
    *itertools.product(("FILE_TYPE",), ("EQUAL_TO", "REGEX")),
]
HOSTS = ("www.example", "WWW.Example:8080", "shop.www.example", "example")
PATHS = ("/a/b.jpg", "/b/a.png", "/a/B.JPG", "/a.jpg/b", "/b/a", "/a", "/")
VALUES = ("abc", "abc, xyz", "xyzabc", "ABC", "", None)
"""Of a header and of a cookie."""


@dataclasses.dataclass(frozen=True)
class Request:
    """What clients ask."""

    host: str
    path: str
    header: str | None
    cookie: str | None

    def headers(self) -> dict[str, str]:
        given = {"Host": self.host, "X-Thing": self.header, "Cookie": None if self.cookie is None else f"other=abc; thing={self.cookie}"}
        return {name: value for name, value in given.items() if value is not None}


def _matches(rule: model.L7Rule, request: Request) -> bool:
    """What the documentation says of a rule, in other words than the renderer's."""
    value = rule.value
    match rule.type:
        case "HOST_NAME":
            found, value = [request.host.partition(":")[0].lower()], value.lower()
        case "PATH" | "FILE_TYPE":
            found = [request.path]
        case "HEADER":
            found = [] if request.header is None else [one.strip() for one in request.header.split(",")]
        case _:
            found = [] if request.cookie is None else [request.cookie]
    if rule.type == "FILE_TYPE" and rule.compare_type == "EQUAL_TO":
        return any(one.endswith(f".{value}") for one in found)
    compare = {
        "CONTAINS": lambda one: value in one,
        "ENDS_WITH": lambda one: one.endswith(value),
        "EQUAL_TO": lambda one: one == value,
        "REGEX": lambda one: re.search(value, one) is not None,
        "STARTS_WITH": lambda one: one.startswith(value),
    }[rule.compare_type]
    return any(map(compare, found))


def _said(rule_type: str, compare_type: str, request: Request) -> str:
    """A value that is met by a request."""
    if rule_type == "FILE_TYPE":
        return request.path[-3:] if compare_type == "EQUAL_TO" else r"\.(jpg|png)$"
    whole = {"HOST_NAME": request.host.partition(":")[0], "PATH": request.path}.get(rule_type)
    whole = whole or str(request.header if rule_type == "HEADER" else request.cookie).split(",")[0]
    part = {"ENDS_WITH": whole[-2:], "STARTS_WITH": whole[:2], "CONTAINS": whole[1:3] or whole}.get(compare_type, whole)
    return f"^{re.escape(part)}" if compare_type == "REGEX" else part


def _request(chance: random.Random, whole: bool = False) -> Request:
    """By chance; a `whole` one has something of each kind that a rule can be met by."""
    values, paths = (VALUES[:4], PATHS[:2]) if whole else (VALUES, PATHS)
    cookie = chance.choice([one for one in values if one is None or "," not in one])
    return Request(chance.choice(HOSTS), chance.choice(paths), chance.choice(values), cookie)


@pytest.fixture
def haproxy(tmp_path: pathlib.Path) -> Iterator[RunningHaproxy]:
    running = RunningHaproxy(tmp_path)
    yield running
    running.stop()


def test_each_request_meets_the_first_policy_of_which_it_meets_all_rules(haproxy: RunningHaproxy) -> None:
    chance = random.Random(20)  # the same cases in each run
    snapshot = builders.a_serving_snapshot(members=1)
    [listener] = snapshot.listeners
    kinds = itertools.cycle(chance.sample([(*kind, inverted) for kind in KINDS for inverted in (False, True)], 2 * len(KINDS)))
    policies, rules, likely = [], [], []
    for position in range(1, POLICIES + 1):
        answer = model.FixedResponse(status=200, content_type="text/plain", body=str(position))
        policies.append(builders.an_l7policy(listener_id=listener.id, action="FIXED_RESPONSE", fixed_response=answer, position=position))
        likely.append(_request(chance, whole=True))
        rules += [_met(policies[-1].id, *next(kinds), likely[-1]) for _ in range(RULES)]
    assert len({(one.type, one.compare_type, one.invert) for one in rules}) == 2 * len(KINDS)
    without_pool = dataclasses.replace(listener, default_pool_id=None)
    haproxy.start(dataclasses.replace(snapshot, listeners=(without_pool,), l7policies=tuple(policies), l7rules=tuple(rules)))
    by_policy: Mapping[str, list[model.L7Rule]] = {one.id: [rule for rule in rules if rule.l7policy_id == one.id] for one in policies}
    met = set()
    for request in [*likely, *(_request(chance) for _ in range(REQUESTS))]:
        fits = (one for one in policies if all(_matches(rule, request) is not rule.invert for rule in by_policy[one.id]))
        first = next(fits, None)
        got = _ask(haproxy, snapshot.load_balancer.vip.address, listener.protocol_port, request)
        assert got == ("503" if first is None else str(first.position)), request
        met.add(got)
    assert len(met) > POLICIES // 2


def _met(policy_id: str, kind: str, compare_type: str, inverted: bool, request: Request) -> model.L7Rule:
    """A rule of this kind that a request meets."""
    key = {"HEADER": "X-Thing", "COOKIE": "thing"}.get(kind)
    value = "nothing" if inverted else _said(kind, compare_type, request)
    rule = builders.an_l7rule(l7policy_id=policy_id, type=kind, compare_type=compare_type, key=key, value=value, invert=inverted)
    assert _matches(rule, request) is not inverted
    return rule


def _ask(haproxy: RunningHaproxy, address: str, port: int, request: Request) -> str:
    """The number of the policy, or the status without one."""
    with contextlib.closing(http.client.HTTPConnection(address, port)) as connection:
        connection.sock = haproxy.inside(lambda: socket.create_connection((address, port), 20))
        connection.request("GET", f"{request.path}?.png", headers=request.headers())
        answer = connection.getresponse()
        body = answer.read().decode()
        return body if answer.status == 200 else str(answer.status)
