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
from tests.integration.random_walk.world import CERTIFICATES, IDENTITIES, PROTOCOLS, REVOKED, Ask, Visit, World, version

HTTP, TLS, DATAGRAMS = ("HTTP", "TERMINATED_HTTPS"), ("TERMINATED_HTTPS", "HTTPS"), ("UDP", "SCTP")
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
    """For one state of the API in one state of the world. `at_once`: what checks say of members need not be known yet."""

    def __init__(self, world: World, state: State, at_once: bool = False) -> None:
        self._world, self._state, self._at_once = world, state, at_once

    def serves(self, listener: Thing) -> bool:
        """Whether it is there at all."""
        return bool(self._state.balancer["admin_state_up"] and listener["admin_state_up"])

    def lets_in(self, listener: Thing, address: str) -> bool:
        """Whether a client may come."""
        allowed = [ipaddress.ip_network(cidr) for cidr in listener["allowed_cidrs"] or ("0.0.0.0/0", "::/0")]
        return self.serves(listener) and any(ipaddress.ip_address(address) in one for one in allowed)

    def admits(self, listener: Mapping[str, Any], identity: str) -> bool:
        """Whether a client with this identity is spoken to."""
        if listener["protocol"] != "TERMINATED_HTTPS" or listener["client_authentication"] == "NONE":
            return True
        if not identity:
            return bool(listener["client_authentication"] == "OPTIONAL")
        names = {ref: name for name, ref in self._world.references.items()}
        if names[listener["client_ca_tls_container_ref"]] != f"{IDENTITIES[identity]}.ca":
            return False
        return identity != REVOKED or not listener["client_crl_container_ref"]

    def identity(self, listener: Thing) -> str:
        """One who is spoken to."""
        return next(one for one in IDENTITIES if self.admits(listener, one))

    def certificate(self, listener: Mapping[str, Any], host: str) -> str:
        """Whose certificate somebody is shown who asks for a host: of the first that is for it, or else of the default one."""
        names = {ref: name for name, ref in self._world.references.items()}
        served = [names[ref] for ref in (listener["default_tls_container_ref"], *listener["sni_container_refs"])]
        return next((name for name in served if host in CERTIFICATES[name]), served[0])

    @staticmethod
    def greeting(listener: Mapping[str, Any]) -> tuple[str | None, str]:
        """What is agreed upon with somebody who speaks all protocols and versions."""
        protocol = next((one for one in listener["alpn_protocols"] or () if one in PROTOCOLS), None)
        return protocol, max(listener["tls_versions"] or ("TLSv1.3",))

    @staticmethod
    def told_by_hsts(listener: Mapping[str, Any]) -> str | None:
        """What browsers are told."""
        if (age := listener["hsts_max_age"]) is None:
            return None
        more = ("; includeSubDomains" if listener["hsts_include_subdomains"] else "") + ("; preload" if listener["hsts_preload"] else "")
        return f"max-age={age}{more}"

    # Requests

    def expected(self, visit: Visit, ask: Ask) -> Expected:
        """What somebody who may come is answered."""
        listener = visit.listener
        if listener["protocol"] in HTTP:
            for policy in self._policies(listener):
                if self._meets(policy, visit, ask):
                    return self._of_policy(visit, policy, ask)
        return self._of_pool(visit, self._pool(listener["default_pool_id"]))

    def _policies(self, listener: Mapping[str, Any]) -> list[Thing]:
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

    def _meets(self, policy: Thing, visit: Visit, ask: Ask) -> bool:
        asked = self.shown(visit)
        return all(_matches(rule, asked, ask) != rule["invert"] for rule in self._rules(policy))

    def shown(self, visit: Visit) -> str | None:
        """As whom a client has shown itself; None: it was not asked to, or not over TLS."""
        listener = visit.listener
        if listener["protocol"] != "TERMINATED_HTTPS":
            return None
        return visit.identity if listener["client_authentication"] != "NONE" else ""

    def _pool(self, pool_id: str | None) -> Thing | None:
        pool = self._state.pools.get(pool_id) if pool_id else None
        return pool if pool is not None and pool["admin_state_up"] else None

    def _of_policy(self, visit: Visit, policy: Thing, ask: Ask) -> Expected:
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
        shares = [(self._of_pool(visit, pool), weight) for pool, weight in self._shares(policy) if weight]
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

    def _of_pool(self, visit: Visit, pool: Thing | None) -> Expected:
        listener = visit.listener
        nobody = frozenset({503 if listener["protocol"] in HTTP else 0})
        page = listener.get("error_page")
        body = page["body"] if page else None
        if pool is None:
            return Expected(statuses=nobody, body=body)
        kind = (pool["session_persistence"] or {}).get("type")
        if self._at_once and self.monitor(pool) is not None:
            return self._of_unknown(visit, pool, bool(kind), nobody, body)
        members = [one for one in self._state.members[pool["id"]] if self._is_reached(visit, one)]
        up = [one for one in members if one["admin_state_up"] and not self.is_down(pool, one)]
        regular = [one for one in up if one["weight"] and not one["backup"]]
        serving = regular or [one for one in up if one["weight"] and one["backup"]]
        fit = [one for one in serving if self._is_fit(listener, pool, one)]
        # Who is bound to a member stays there while it drains.
        held = [one for one in up if not one["weight"] and not one["backup"] and kind and self._is_fit(listener, pool, one)]
        by_address = pool["lb_algorithm"] == "SOURCE_IP" or kind == "SOURCE_IP"
        sticks = pool["lb_algorithm"] == "SOURCE_IP" or bool(regular)  # nobody is bound to backups
        growing = self._at_once and bool(pool.get("slow_start"))  # shares change while somebody comes up
        by_chance = (
            growing
            or pool["lb_algorithm"] == "SOURCE_IP_PORT"
            or (listener["protocol"] in DATAGRAMS and pool["lb_algorithm"] != "ROUND_ROBIN")
        )
        failing = frozenset[int]()
        if len(fit) < len(serving) or not serving:
            failing = (_FAILURES if serving else nobody) if listener["protocol"] in HTTP else frozenset({0})
        return Expected(
            may=self._names(fit) | (self._names(held) if by_address else frozenset()),
            must=() if by_address or by_chance else tuple(self._names([one]) for one in fit),
            statuses=failing,
            one=by_address and sticks and len(fit) == len(serving) and not growing,
            body=body,
            pool=pool,
            bound=self._names(regular) if kind in ("HTTP_COOKIE", "APP_COOKIE") and len(fit) == len(serving) else frozenset(),
        )

    def _of_unknown(self, visit: Visit, pool: Thing, sticky: bool, nobody: frozenset[int], body: str | None) -> Expected:
        """Checks of the pool's members may be under way."""
        on = [one for one in self._state.members[pool["id"]] if self._is_reached(visit, one) and one["admin_state_up"]]
        some = [one for one in on if (one["weight"] or sticky) and self._is_fit(visit.listener, pool, one)]
        failures = _FAILURES if visit.listener["protocol"] in HTTP else nobody
        return Expected(may=self._names(some), statuses=failures, body=body, pool=pool)

    def _names(self, members: list[Thing]) -> frozenset[str]:
        return frozenset(self._world.name_of(one["address"]) for one in members)

    @staticmethod
    def _is_reached(visit: Visit, member: Thing) -> bool:
        """Datagrams are passed on as they are, by the same version of IP."""
        return visit.listener["protocol"] not in DATAGRAMS or version(visit.vip) == version(member["address"])

    def _is_fit(self, listener: Mapping[str, Any], pool: Thing, member: Thing) -> bool:
        """Whether it understands what it is sent, and shows that it is who it should be."""
        if listener["protocol"] in DATAGRAMS:
            return self._world.hears_datagrams(listener["protocol"], member["address"], member["protocol_port"])
        if not self._is_trusted(pool):
            return False
        layers = (listener["protocol"] == "HTTPS") + bool(pool["tls_enabled"])
        wanted = ("http", "tls", "nobody speaks this")[layers], _PROXY.get(pool["protocol"], 0)
        return self._world.there(member["address"], member["protocol_port"]) == wanted

    def _is_trusted(self, pool: Thing) -> bool:
        """Whether members show what the pool's authority has signed, and not revoked."""
        if not pool["tls_enabled"] or not pool["ca_tls_container_ref"]:
            return True
        return bool(pool["ca_tls_container_ref"] == self._world.references["members.ca"] and not pool["crl_container_ref"])

    def inserted(self, visit: Visit) -> dict[str, str | None]:
        """What members are told in headers; None: nothing."""
        listener, identity = visit.listener, self.shown(visit)
        values = dict.fromkeys(("X-Forwarded-For", "X-Real-IP", "X-Client-IP", "X-Forwarded-IP"), visit.address)
        values["X-Forwarded-Port"] = str(listener["protocol_port"])
        values["X-Forwarded-Proto"] = "https" if listener["protocol"] in TLS else "http"
        values["X-SSL-Client-Has-Cert"] = "1" if identity else "0"
        return {name: value if listener["insert_headers"].get(name) == "true" else None for name, value in values.items()}

    @staticmethod
    def proxied(visit: Visit, pool: Thing) -> list[Any] | None:
        """What members are told by the PROXY protocol."""
        told = _PROXY.get(pool["protocol"])
        return None if told is None else [told, visit.address, visit.vip, visit.port]

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
        if kind in ("UDP-CONNECT", "SCTP"):
            return self._world.hears_datagrams("SCTP" if kind == "SCTP" else "UDP", address, port)
        spoken = self._world.there(address, port)
        if spoken is None:
            return False
        own_place = not member["monitor_address"] and not member["monitor_port"]
        with_tls = kind in ("HTTPS", "TLS-HELLO") or bool(own_place and pool["tls_enabled"])
        if kind == "TCP" and not with_tls:
            return True
        if pool["tls_enabled"] and with_tls and not self._is_trusted(pool):
            return False
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


def _matches(rule: Thing, identity: str | None, ask: Ask) -> bool:
    """Whether a request of somebody who has shown this identity is meant; None: not over TLS."""
    match rule["type"]:
        case "SSL_CONN_HAS_CERT":
            return bool(identity)
        case "SSL_VERIFY_RESULT":  # who is not verified, does not come so far
            return identity is not None and rule["value"] == "0"
        case "SSL_DN_FIELD" if not identity:
            return False
    value, wanted = (identity, rule["value"]) if rule["type"] == "SSL_DN_FIELD" else _compared(rule, ask)
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
