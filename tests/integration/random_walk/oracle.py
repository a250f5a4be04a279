"""What clients and users are to see, reckoned from the API's answers and from who is there: nothing here knows how an amphora is told.

An oracle says what *may* come and what *must* come in a long enough series of requests; which member comes next is not its business.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from collections.abc import Mapping
from typing import Any

from tests.integration.random_walk.state import State, Thing
from tests.integration.random_walk.world import Ask, World

HTTP, TLS = ("HTTP", "TERMINATED_HTTPS"), ("TERMINATED_HTTPS", "HTTPS")
_FAILURES = frozenset({502, 503, 504})
_PROXY = {"PROXY": 1, "PROXYV2": 2}
_CLASSES = {"REJECT": 0, "REDIRECT_TO_URL": 1, "REDIRECT_PREFIX": 1, "FIXED_RESPONSE": 1, "REDIRECT_TO_POOL": 2}
"""Rejects win over redirects, and these over pools."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Expected:
    """The answers to one kind of request.

    `may`: the members that may answer; `must`: of each of these groups one does, in a long series. `statuses` beside theirs. `one`: it is
    always the same member. `pool`: where it goes, if that is one pool. `bound`: members to which clients are bound by a cookie.
    """

    may: frozenset[str] = frozenset()
    must: tuple[frozenset[str], ...] = ()
    statuses: frozenset[int] = frozenset()
    one: bool = False
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    body: str | None = None
    pool: Thing | None = None
    bound: frozenset[str] = frozenset()


class Oracle:
    """For one state of the API in one state of the world."""

    def __init__(self, world: World, state: State) -> None:
        self._world, self._state = world, state

    def serves(self, listener: Thing) -> bool:
        """Whether it is there at all."""
        return bool(self._state.balancer["admin_state_up"] and listener["admin_state_up"])

    def lets_in(self, listener: Thing, address: str) -> bool:
        """Whether a client may come."""
        allowed = [ipaddress.ip_network(cidr) for cidr in listener["allowed_cidrs"] or ("0.0.0.0/0",)]
        return self.serves(listener) and any(ipaddress.ip_address(address) in one for one in allowed)

    # Requests

    def expected(self, listener: Thing, ask: Ask) -> Expected:
        """What somebody who may come is answered."""
        if listener["protocol"] in HTTP:
            for policy in self._policies(listener):
                if self._meets(policy, ask):
                    return self._of_policy(listener, policy, ask)
        return self._of_pool(listener, self._pool(listener["default_pool_id"]))

    def _policies(self, listener: Thing) -> list[Thing]:
        """Those that have an effect, in the order in which they are tried."""
        some = [one for one in self._state.policies[listener["id"]] if one["admin_state_up"] and self._has_effect(one)]
        return sorted(some, key=lambda one: (_CLASSES[one["action"]], one["position"]))

    def _has_effect(self, policy: Thing) -> bool:
        if not self._rules(policy):
            return False
        return policy["action"] != "REDIRECT_TO_POOL" or any(weight for _, weight in self._shares(policy))

    def _rules(self, policy: Thing) -> list[Thing]:
        return [rule for rule in self._state.rules[policy["id"]] if rule["admin_state_up"]]

    def _shares(self, policy: Thing) -> list[tuple[Thing, int]]:
        """The pools of a policy that are on, and their weights."""
        split = policy.get("split")
        named = [(one["pool_id"], one["weight"]) for one in split["pools"]] if split else [(policy["redirect_pool_id"], 1)]
        return [(pool, weight) for pool_id, weight in named if (pool := self._pool(pool_id)) is not None]

    def _meets(self, policy: Thing, ask: Ask) -> bool:
        return all(_matches(rule, ask) != rule["invert"] for rule in self._rules(policy))

    def _pool(self, pool_id: str | None) -> Thing | None:
        pool = self._state.pools.get(pool_id) if pool_id else None
        return pool if pool is not None and pool["admin_state_up"] else None

    def _of_policy(self, listener: Thing, policy: Thing, ask: Ask) -> Expected:
        code = frozenset({policy["redirect_http_code"]})
        match policy["action"]:
            case "REJECT":
                return Expected(statuses=frozenset({403}))
            case "REDIRECT_TO_URL":
                return Expected(statuses=code, headers={"Location": policy["redirect_url"]})
            case "REDIRECT_PREFIX":
                return Expected(statuses=code, headers={"Location": policy["redirect_prefix"] + ask.path})
            case "FIXED_RESPONSE":
                shown = policy["fixed_response"]
                of_body = {"Content-Type": shown["content_type"]} if shown["body"] else {}
                return Expected(statuses=frozenset({shown["status"]}), headers=of_body, body=shown["body"])
        shares = [(self._of_pool(listener, pool), weight) for pool, weight in self._shares(policy) if weight]
        if len(shares) == 1:
            return shares[0][0]
        parts = [one for one, _ in shares]
        by_request = policy["split"]["by"] == "REQUEST"
        groups = tuple(one.may for one in parts if one.may and not one.statuses & _FAILURES) if by_request else ()
        return Expected(
            may=frozenset().union(*(one.may for one in parts)),
            must=groups,
            statuses=frozenset().union(*(one.statuses for one in parts)),
            body=next((one.body for one in parts if one.body is not None), None),
        )

    def _of_pool(self, listener: Thing, pool: Thing | None) -> Expected:
        nobody = frozenset({503 if listener["protocol"] in HTTP else 0})
        page = listener.get("error_page")
        body = page["body"] if page else None
        if pool is None:
            return Expected(statuses=nobody, body=body)
        kind = (pool["session_persistence"] or {}).get("type")
        up = [one for one in self._state.members[pool["id"]] if one["admin_state_up"] and not self.is_down(pool, one)]
        regular = [one for one in up if one["weight"] and not one["backup"]]
        serving = regular or [one for one in up if one["weight"] and one["backup"]]
        fit = [one for one in serving if self._is_fit(listener, pool, one)]
        # Who is bound to a member stays there while it drains.
        held = [one for one in up if not one["weight"] and not one["backup"] and kind and self._is_fit(listener, pool, one)]
        by_address = pool["lb_algorithm"] == "SOURCE_IP" or kind == "SOURCE_IP"
        sticks = pool["lb_algorithm"] == "SOURCE_IP" or bool(regular)  # nobody is bound to backups
        by_chance = pool["lb_algorithm"] == "SOURCE_IP_PORT" or (listener["protocol"] == "UDP" and pool["lb_algorithm"] != "ROUND_ROBIN")
        failing = frozenset[int]()
        if len(fit) < len(serving) or not serving:
            failing = (_FAILURES if serving else nobody) if listener["protocol"] in HTTP else frozenset({0})
        return Expected(
            may=self._names(fit) | (self._names(held) if by_address else frozenset()),
            must=() if by_address or by_chance else tuple(self._names([one]) for one in fit),
            statuses=failing,
            one=by_address and sticks and len(fit) == len(serving),
            body=body,
            pool=pool,
            bound=self._names(regular) if kind in ("HTTP_COOKIE", "APP_COOKIE") and len(fit) == len(serving) else frozenset(),
        )

    def _names(self, members: list[Thing]) -> frozenset[str]:
        return frozenset(self._world.name_of(one["address"]) for one in members)

    def _is_fit(self, listener: Thing, pool: Thing, member: Thing) -> bool:
        """Whether it understands what it is sent."""
        if listener["protocol"] == "UDP":
            return self._world.hears_datagrams(member["address"], member["protocol_port"])
        layers = (listener["protocol"] == "HTTPS") + bool(pool["tls_enabled"])
        wanted = ("http", "tls", "nobody speaks this")[layers], _PROXY.get(pool["protocol"], 0)
        return self._world.there(member["address"], member["protocol_port"]) == wanted

    def inserted(self, listener: Thing, client: str) -> dict[str, str | None]:
        """What members are told in headers; None: nothing."""
        values = dict.fromkeys(("X-Forwarded-For", "X-Real-IP", "X-Client-IP", "X-Forwarded-IP"), client)
        values["X-Forwarded-Port"] = str(listener["protocol_port"])
        values["X-Forwarded-Proto"] = "https" if listener["protocol"] in TLS else "http"
        return {name: value if listener["insert_headers"].get(name) == "true" else None for name, value in values.items()}

    def proxied(self, listener: Thing, pool: Thing, client: str) -> list[Any] | None:
        """What members are told by the PROXY protocol."""
        version = _PROXY.get(pool["protocol"])
        return None if version is None else [version, client, self._state.balancer["vip_address"], listener["protocol_port"]]

    # Checks of members

    def monitor(self, pool: Thing) -> Thing | None:
        """What checks the members of a pool."""
        monitor = self._state.monitors.get(pool["id"])
        return monitor if monitor is not None and monitor["admin_state_up"] else None

    def is_down(self, pool: Thing, member: Thing) -> bool:
        """Whether checks of a member fail."""
        monitor = self.monitor(pool)
        return monitor is not None and not self._passes(monitor, pool, member)

    def _passes(self, monitor: Thing, pool: Thing, member: Thing) -> bool:
        address, port = member["monitor_address"] or member["address"], member["monitor_port"] or member["protocol_port"]
        kind = monitor["type"]
        if kind == "PING":
            return bool(self._world.name_of(address))
        if kind == "UDP-CONNECT":
            return self._world.hears_datagrams(address, port)
        spoken = self._world.there(address, port)
        if spoken is None:
            return False
        own_place = not member["monitor_address"] and not member["monitor_port"]
        with_tls = kind in ("HTTPS", "TLS-HELLO") or bool(own_place and pool["tls_enabled"])
        if kind == "TCP" and not with_tls:
            return True
        if spoken != ("tls" if with_tls else "http", _PROXY.get(pool["protocol"], 0)):
            return False
        if kind not in ("HTTP", "HTTPS"):
            return True
        return _expects(monitor["expected_codes"], 503 if monitor["url_path"] == "/sick" else 200)

    # Statuses

    def statuses(self) -> dict[str, set[str]]:
        """The operating statuses that listeners and members may have, by name."""
        on = self._state.balancer["admin_state_up"]
        found = {one["name"]: {"ONLINE"} if self.serves(one) else {"OFFLINE"} for one in self._state.listeners}
        for one in self._state.listeners:
            if self.serves(one) and one["connection_limit"] > 0:  # it may be full, of those who look
                found[one["name"]].add("DEGRADED")
        served = self._served() if on else set()
        for pool_id, members in self._state.members.items():
            pool = self._state.pools[pool_id]
            for one in members:
                found[one["name"]] = self._of_member(pool, one, pool_id in served)
        return found

    def _of_member(self, pool: Thing, member: Thing, served: bool) -> set[str]:
        if not member["admin_state_up"]:
            return {"OFFLINE"}
        monitored = self.monitor(pool) is not None
        if not served:
            return {"OFFLINE" if monitored else "NO_MONITOR"}
        over = (
            {"OFFLINE"} if not member["weight"] and pool.get("drain_timeout") else set[str]()
        )  # when its time to drain is over, it is off
        if self.is_down(pool, member):
            return {"ERROR"} | over
        if not member["weight"]:
            return {"DRAINING"} | over
        return {"ONLINE" if monitored else "NO_MONITOR"}

    def _served(self) -> set[str]:
        """Pools to which something may lead."""
        found = set()
        for listener in filter(self.serves, self._state.listeners):
            if self._pool(listener["default_pool_id"]) is not None:
                found.add(listener["default_pool_id"])
            if listener["protocol"] in HTTP:
                to_pools = [one for one in self._policies(listener) if one["action"] == "REDIRECT_TO_POOL"]
                found.update(pool["id"] for policy in to_pools for pool, _ in self._shares(policy))
        return found


def _expects(codes: str, code: int) -> bool:
    for one in codes.split(","):
        low, _, high = one.partition("-")
        if int(low) <= code <= int(high or low):
            return True
    return False


def _matches(rule: Thing, ask: Ask) -> bool:
    value, wanted = _compared(rule, ask)
    if value is None:
        return False
    match rule["compare_type"]:
        case "EQUAL_TO":
            return value == wanted
        case "STARTS_WITH":
            return value.startswith(wanted)
        case "ENDS_WITH":
            return value.endswith(wanted)
        case "CONTAINS":
            return wanted in value
        case "REGEX":
            return re.search(wanted, value) is not None
    raise AssertionError(rule)


def _compared(rule: Thing, ask: Ask) -> tuple[str | None, str]:
    """What of a request is compared with what."""
    wanted = rule["value"]
    match rule["type"]:
        case "PATH":
            return ask.path, wanted
        case "HOST_NAME":
            return ask.host.lower(), wanted.lower()
        case "HEADER":
            return dict(ask.headers).get(rule["key"]), wanted
        case "COOKIE":
            return dict(ask.cookies).get(rule["key"]), wanted
        case "FILE_TYPE":  # EQUAL_TO alone
            return ask.path.rpartition(".")[2], wanted
    raise AssertionError(rule)
