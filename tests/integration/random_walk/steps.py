"""Steps of a walk: what is asked of the API, and what befalls those who serve.

A step names objects by their names (`@p1`), so that a list of steps can be taken again on another load balancer. What is named and is not
there makes a step that is left out.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
import re
import signal
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from controller.dev import client
from tests.integration import speaking
from tests.integration.random_walk import state
from tests.integration.random_walk.looking import LOW
from tests.integration.random_walk.oracle import DATAGRAMS
from tests.integration.random_walk.state import State, Thing
from tests.integration.random_walk.world import CERTIFICATES, CLOSED, DEAF, LOGS, World, version
from tests.integration.site import agent_pids, haproxy_workers, keepalived_pids

_T = TypeVar("_T")
_NAMED = re.compile(r"@([a-z]+\d*)").sub
_SECRETS = re.compile(r"@@([a-z.]+)").findall
_POOLS = {
    "HTTP": ("HTTP", "HTTP", "HTTP", "PROXY", "PROXYV2"),
    "TERMINATED_HTTPS": ("HTTP", "HTTP", "HTTP", "PROXY", "PROXYV2"),
    "TCP": ("TCP", "TCP", "HTTP", "PROXY", "PROXYV2"),
    "HTTPS": ("HTTPS",),
    "UDP": ("UDP",),
    "SCTP": ("SCTP",),
}
"""Protocols of pools by that of a listener."""
_PORTS = (80, 81, 443, 5000, 5001)
_MOST = {"listeners": 4, "pools": 5, "members": 4, "policies": 4, "rules": 3}
_PAUSE = 2.5
RARELY = 15
"""Seconds between checks that are so rare that one sees whether somebody waits for the next one."""
_OF_CHECKS = {"monitor_address", "monitor_port", "tls_enabled", "ca_tls_container_ref", "crl_container_ref", "tls_versions"}
"""Fields of members and pools with which checks may find somebody unfit who serves until then."""
_URL = "http://www.example.com/there"
_RULES: tuple[dict[str, str], ...] = (
    {"type": "PATH", "compare_type": "STARTS_WITH", "value": "/api"},
    {"type": "PATH", "compare_type": "EQUAL_TO", "value": "/api"},
    {"type": "PATH", "compare_type": "REGEX", "value": "^/(api|static)/.*[og]$"},
    {"type": "PATH", "compare_type": "CONTAINS", "value": "o"},
    {"type": "PATH", "compare_type": "ENDS_WITH", "value": ".png"},
    {"type": "FILE_TYPE", "compare_type": "EQUAL_TO", "value": "jpg"},
    {"type": "HOST_NAME", "compare_type": "EQUAL_TO", "value": "two.example"},
    {"type": "HOST_NAME", "compare_type": "ENDS_WITH", "value": ".example"},
    {"type": "HEADER", "key": "X-Walk", "compare_type": "EQUAL_TO", "value": "blue"},
    {"type": "HEADER", "key": "X-Walk", "compare_type": "STARTS_WITH", "value": "r"},
    {"type": "COOKIE", "key": "walk", "compare_type": "EQUAL_TO", "value": "first"},
    {"type": "COOKIE", "key": "walk", "compare_type": "CONTAINS", "value": "s"},
)
_RULES_OF_TLS: tuple[dict[str, str], ...] = (
    {"type": "SSL_CONN_HAS_CERT", "compare_type": "EQUAL_TO", "value": "True"},
    {"type": "SSL_VERIFY_RESULT", "compare_type": "EQUAL_TO", "value": "0"},
    {"type": "SSL_DN_FIELD", "key": "CN", "compare_type": "STARTS_WITH", "value": "a"},
)
_VERIFIED = ((None, None), (None, None), ("@@members.ca", None), ("@@members.ca", "@@members.crl"), ("@@first.ca", None))
"""By which authority and which list of what it revoked members of a pool are verified."""
TROUBLES = (
    *("kill agent", "kill haproxy", "pause agent", "pause haproxy", "kill keepalived", "kill amphora", "fail over amphora"),
    *("kill worker", "pause worker", "kill health_manager", "kill housekeeping"),
)
_HEADERS = ("X-Forwarded-For", "X-Forwarded-Port", "X-Forwarded-Proto", "X-Real-IP")


@dataclasses.dataclass(frozen=True)
class Step:
    """A request (`POST`, `PUT`, `DELETE`; `LOSE`: a PUT whose one secret nobody can read any more when a worker takes it up) with its
    path and body, or what befalls somebody (`do`). `wait`: then one looks."""

    do: str
    path: str = ""
    body: Any = None
    wait: bool = True

    @property
    def has_effect_at_once(self) -> bool:
        """Whether it waits for no more than first checks: nobody serves until a check finds out."""
        if self.do not in ("POST", "PUT", "DELETE"):
            return False
        if self.path.startswith("/healthmonitors"):
            return self.do == "DELETE"
        return not _OF_CHECKS & set(re.findall(r"'([a-z_]+)':", str(self.body)))


class Chooser:
    """Steps by chance."""

    def __init__(self, world: World, chance: random.Random, troubles: bool = True) -> None:
        self._world, self._chance = world, chance
        self._count = 0
        self._troubles = troubles

    def beginning(self, now: State) -> list[Step]:
        """Something to begin with."""
        return [
            Step("POST", "/listeners", {"listener": self._new_listener("HTTP", 80)}, False),
            *self._pool(now, "HTTP", listener=f"l{self._count}"),
            Step("POST", "/listeners", {"listener": self._new_listener(self._chance.choice(list(_POOLS)), 81)}),
        ]

    def next(self, now: State) -> list[Step]:
        """What is to be asked together; the last one waits, perhaps."""
        if not now.balancer["admin_state_up"] and self._chance.random() < 0.6:
            return [Step("PUT", "/loadbalancers/@lb", {"loadbalancer": {"admin_state_up": True}})]
        if self._world.hidden and self._chance.random() < 0.3:
            return [Step("show", self._one(*sorted(self._world.hidden)))]
        if self._world.stopped and self._chance.random() < 0.3:
            return [Step("start", self._chance.choice(sorted(self._world.stopped)))]
        kinds: list[tuple[Callable[[State], list[Step]], int]] = [
            (self._add_listener, 5),
            (self._change_listener, 14),
            (self._delete_listener, 3),
            (self._add_pool, 6),
            (self._change_pool, 12),
            (self._delete_pool, 3),
            (self._add_member, 8),
            (self._change_member, 16),
            (self._delete_member, 4),
            (self._change_members, 4),
            (self._add_monitor, 8),
            (self._change_monitor, 8),
            (self._delete_monitor, 4),
            (self._add_policy, 8),
            (self._change_policy, 8),
            (self._delete_policy, 3),
            (self._add_rule, 3),
            (self._change_rule, 5),
            (self._delete_rule, 2),
            (self._switch, 1),
            (self._stop, 4),
            (self._change_log, 3),
            (self._hide, 2),
            (self._lose, 2),
        ]
        if self._troubles:
            kinds += [(self._trouble, 6), (self._fail_over, 2)]
        found: list[Step] = []
        while not found:
            make = self._chance.choices([kind for kind, _ in kinds], [share for _, share in kinds])[0]
            found = make(now)
        waits = self._chance.random() < 0.6
        return [dataclasses.replace(one, wait=waits and number == len(found)) for number, one in enumerate(found, 1)]

    def _name(self, kind: str) -> str:
        self._count += 1
        return f"{kind}{self._count}"

    def _one(self, *values: Any) -> Any:
        return self._chance.choice(values)

    def _any(self, things: Sequence[_T]) -> _T | None:
        return self._chance.choice(things) if things else None

    # Listeners

    def _new_listener(self, protocol: str, port: int) -> Thing:
        made = {"name": self._name("l"), "loadbalancer_id": "@lb", "protocol": protocol, "protocol_port": port}
        if protocol == "TERMINATED_HTTPS":
            made["default_tls_container_ref"] = f"@@{self._one(*CERTIFICATES)}"
            if self._chance.random() < 0.3:
                made |= self._authentication()
        return made

    def _authentication(self) -> Thing:
        """How clients are to show who they are."""
        if self._chance.random() < 0.3:
            return {"client_authentication": "NONE"}
        authority, revocations = self._one(("first", None), ("first", "@@first.crl"), ("second", None))
        names = {"client_ca_tls_container_ref": f"@@{authority}.ca", "client_crl_container_ref": revocations}
        return {"client_authentication": self._one("OPTIONAL", "MANDATORY"), **names}

    def _add_listener(self, now: State) -> list[Step]:
        protocol = self._chance.choices(list(_POOLS), [5, 4, 3, 1, 2, 2])[0]
        taken = {one["protocol_port"] for one in now.listeners if _transport(one["protocol"]) == _transport(protocol)}
        free = [port for port in _PORTS if port not in taken]
        if len(now.listeners) >= _MOST["listeners"] or not free:
            return []
        made = self._new_listener(protocol, self._one(*free))
        if (pool := self._fitting(now, protocol)) is not None and self._chance.random() < 0.7:
            made["default_pool_id"] = f"@{pool['name']}"
        return [Step("POST", "/listeners", {"listener": made})]

    def _fitting(self, now: State, protocol: str) -> Thing | None:
        return self._any([one for one in now.pools.values() if one["protocol"] in _POOLS[protocol]])

    def _change_listener(self, now: State) -> list[Step]:
        if (listener := self._any([one for one in now.listeners if one["provisioning_status"] != "ERROR"])) is None:
            return []
        protocol = listener["protocol"]
        pool = self._fitting(now, protocol)
        changes: list[Thing] = [
            {"default_pool_id": f"@{pool['name']}" if pool and self._chance.random() < 0.8 else None},
            {"default_pool_id": f"@{pool['name']}" if pool else None},
            {"admin_state_up": self._one(True, True, not listener["admin_state_up"])},
            {"admin_state_up": True},
            {"allowed_cidrs": self._ranges(now)},
        ]
        if protocol not in DATAGRAMS:
            changes += [
                {"connection_limit": self._one(-1, 1, 2, 1000)},
                {"timeout_client_data": self._one(1000 * LOW, 7000, 50000)},
                {"timeout_member_data": self._one(1000 * LOW, 8000, 50000)},
                {"timeout_member_connect": self._one(1000, 5000), "timeout_tcp_inspect": self._one(0, 100)},
            ]
        if protocol in ("HTTP", "TERMINATED_HTTPS"):
            more = ("X-SSL-Client-Has-Cert",) if protocol == "TERMINATED_HTTPS" else ()
            names = self._chance.sample((*_HEADERS, *more), self._one(0, 1, 2))
            page = {"content_type": "text/html", "body": f"<p>{self._one('noon', 'night')}</p>"}
            changes += [
                {"insert_headers": dict.fromkeys(names, "true")},
                {"error_page": self._one(None, page)},
                {"rate_limit": self._one(None, None, {"requests": self._one(2, 4), "period": 600})},
            ]
        if protocol == "TERMINATED_HTTPS":
            others = self._chance.sample(list(CERTIFICATES), self._one(0, 1, 2, 3))
            changes += 2 * [self._authentication()]
            changes += [
                {"default_tls_container_ref": f"@@{self._one(*CERTIFICATES)}"},
                {"sni_container_refs": [f"@@{name}" for name in others]},
                {"hsts_max_age": self._one(None, 300, 6000)},
                {"hsts_max_age": 900, "hsts_include_subdomains": self._one(True, False), "hsts_preload": self._one(True, False)},
                {"alpn_protocols": self._one(["http/1.1"], ["h2", "http/1.1"], ["http/1.1", "h2"], ["http/1.0"])},
                {"tls_versions": self._one(["TLSv1.2"], ["TLSv1.3"], ["TLSv1.2", "TLSv1.3"])},
            ]
        wanted = self._chance.sample(changes, self._one(1, 1, 1, 2))
        return [Step("PUT", f"/listeners/@{listener['name']}", {"listener": {key: one[key] for one in wanted for key in one}})]

    def _ranges(self, now: State) -> list[str]:
        """From where clients may come, by the versions of IP of the VIPs."""
        some: list[str] = []
        for at in sorted({version(vip) for vip in now.vips}):
            whole, foreign = ("198.19.0.0/16", "10.0.0.0/8") if at == 4 else ("fd00::/16", "2001:db8::/32")
            first, second = (f"{client.addresses[at]}/{32 if at == 4 else 128}" for client in self._world.clients)
            some += self._one([], [], [first], [second, foreign], [whole])
        return some

    def _delete_listener(self, now: State) -> list[Step]:
        listener = self._any(now.listeners)
        return [] if listener is None else [Step("DELETE", f"/listeners/@{listener['name']}")]

    # Pools and members

    def _pool(self, now: State, protocol: str, listener: str = "") -> list[Step]:
        """A pool with members, and perhaps a monitor."""
        name = self._name("p")
        made: Thing = {"name": name, "protocol": protocol, **self._pool_fields(protocol, new=True)}
        made |= {"listener_id": f"@{listener}"} if listener else {"loadbalancer_id": "@lb"}
        like = {"name": name, **made}
        servers = self._chance.sample(list(self._world.servers), self._one(1, 2, 2, 3))
        steps = [Step("POST", "/pools", {"pool": made}, False)]
        steps += [Step("POST", f"/pools/@{name}/members", {"member": self._new_member(like, one, now)}, False) for one in servers]
        if self._chance.random() < 0.5:
            steps.append(Step("POST", "/healthmonitors", {"healthmonitor": self._new_monitor(like)}))
        return steps

    def _pool_fields(self, protocol: str, new: bool) -> Thing:
        algorithms = ["ROUND_ROBIN", "ROUND_ROBIN", "LEAST_CONNECTIONS", "SOURCE_IP"]
        algorithms += ["SOURCE_IP_PORT"] if protocol in DATAGRAMS else []
        kinds: list[Thing | None] = [None, None, {"type": "SOURCE_IP"}]
        if protocol in ("HTTP", "PROXY", "PROXYV2"):
            kinds += [{"type": "HTTP_COOKIE"}, {"type": "APP_COOKIE", "cookie_name": "session"}]
        found: Thing = {"lb_algorithm": self._one(*algorithms), "session_persistence": self._one(*kinds)}
        if protocol not in DATAGRAMS:
            found |= {"slow_start": self._one(None, None, 2), "drain_timeout": self._one(None, None, 1, 30)}
        if protocol not in (*DATAGRAMS, "HTTPS"):
            found["tls_enabled"] = self._one(False, False, False, True)
            authority, revocations = self._one(*_VERIFIED)
            found["verified"] = {"ca_tls_container_ref": authority, "crl_container_ref": revocations}
            if found["tls_enabled"] or not new:
                spoken = {"alpn_protocols": self._one(["http/1.1"], ["h2", "http/1.1"])}
                found["spoken"] = self._one(spoken, {"tls_versions": self._one(["TLSv1.3"], ["TLSv1.2", "TLSv1.3"])})
                found["tls_container_ref"] = self._one(None, *(f"@@{name}" for name in CERTIFICATES))
        if not new:
            found["admin_state_up"] = self._one(True, True, False)
            found = {key: found[key] for key in self._chance.sample(sorted(found), self._one(1, 1, 2))}
        found |= found.pop("verified", {}) | found.pop("spoken", {})
        return {key: value for key, value in found.items() if value is not None or not new}

    def _add_pool(self, now: State) -> list[Step]:
        if len(now.pools) >= _MOST["pools"]:
            return []
        without = self._any([one for one in now.listeners if one["default_pool_id"] is None])
        if without is not None and self._chance.random() < 0.7:
            return self._pool(now, self._one(*_POOLS[without["protocol"]]), without["name"])
        protocol = self._one(*(listener["protocol"] for listener in now.listeners)) if now.listeners else "HTTP"
        return self._pool(now, self._one(*_POOLS[protocol]))

    def _change_pool(self, now: State) -> list[Step]:
        pool = self._any(list(now.pools.values()))
        return [] if pool is None else [Step("PUT", f"/pools/@{pool['name']}", {"pool": self._pool_fields(pool["protocol"], new=False)})]

    def _delete_pool(self, now: State) -> list[Step]:
        used = {one for some in now.policies.values() for policy in some for one in _pools_of(policy)}
        pool = self._any([one for one in now.pools.values() if one["id"] not in used])
        return [] if pool is None else [Step("DELETE", f"/pools/@{pool['name']}")]

    def _new_member(self, pool: Thing, server: str, now: State) -> Thing:
        made = {"name": self._name("m"), **self._place(pool, server, now), "protocol_port": self._port(pool)}
        return made | {
            "weight": self._one(1, 1, 1, 2, 3, 0),
            "backup": self._chance.random() < 0.12,
            "admin_state_up": self._chance.random() < 0.92,
        }

    def _place(self, pool: Thing, server: str, now: State) -> Thing:
        """An address of a server, and its subnet where no VIP is on it, or by chance."""
        near = sorted({version(vip) for vip in now.vips})
        at = self._one(*near) if pool["protocol"] in DATAGRAMS or self._chance.random() < 0.75 else self._one(4, 6)
        told = at not in near or self._chance.random() < 0.1
        return {"address": self._world.servers[server][at]} | ({"subnet_id": self._world.subnets[at]} if told else {})

    def _port(self, pool: Thing) -> int:
        if self._chance.random() < 0.12:
            return CLOSED
        if pool["protocol"] in DATAGRAMS:
            return speaking.port("sctp" if pool["protocol"] == "SCTP" else "datagram")
        version = {"PROXY": 1, "PROXYV2": 2}.get(pool["protocol"], 0)
        content = "tls" if pool.get("tls_enabled") or pool["protocol"] == "HTTPS" else "http"
        return speaking.port(content, version if self._chance.random() < 0.95 else 0)

    def _add_member(self, now: State) -> list[Step]:
        pool = self._any([one for one in now.pools.values() if len(now.members[one["id"]]) < _MOST["members"]])
        if pool is None:
            return []
        server = self._one(*self._free(now.members[pool["id"]]))
        return [Step("POST", f"/pools/@{pool['name']}/members", {"member": self._new_member(pool, server, now)})]

    def _free(self, members: Sequence[Thing]) -> list[str]:
        """Servers that are none of these."""
        there = {self._world.name_of(one["address"]) for one in members}
        return [name for name in self._world.servers if name not in there]

    def _member(self, now: State) -> tuple[Thing, Thing] | None:
        return self._any([(now.pools[pool_id], one) for pool_id in now.pools for one in now.members[pool_id]])

    def _change_member(self, now: State) -> list[Step]:
        if (found := self._member(now)) is None:
            return []
        pool, member = found
        changes: list[Thing] = [
            {"weight": self._one(0, 1, 2, 3)},
            {"weight": self._one(1, 2, 3)},
            {"backup": self._one(True, False, False)},
            {"admin_state_up": self._one(True, True, False)},
            {"monitor_port": self._one(None, None, self._port(pool), speaking.port("http"), CLOSED)},
        ]
        if pool["protocol"] not in DATAGRAMS:
            at = self._one(*{version(vip) for vip in now.vips})
            places = (*(one[at] for one in self._world.servers.values()), self._world.nobody[at])
            changes.append({"monitor_address": self._one(None, None, *places)})
        wanted = self._chance.sample(changes, self._one(1, 1, 1, 2))
        body = {key: one[key] for one in wanted for key in one}
        return [Step("PUT", f"/pools/@{pool['name']}/members/@{member['name']}", {"member": body})]

    def _delete_member(self, now: State) -> list[Step]:
        if (found := self._member(now)) is None:
            return []
        again = [
            Step(
                "POST",
                f"/pools/@{found[0]['name']}/members",
                {"member": self._new_member(found[0], self._world.name_of(found[1]["address"]), now)},
            )
        ]
        gone = Step("DELETE", f"/pools/@{found[0]['name']}/members/@{found[1]['name']}")
        return [gone, *(again if self._chance.random() < 0.3 else [])]

    def _change_members(self, now: State) -> list[Step]:
        """A batch: some stay, some go, some come."""
        if (pool := self._any(list(now.pools.values()))) is None:
            return []
        members = now.members[pool["id"]]
        kept = self._chance.sample(members, self._chance.randint(0, len(members)))
        bodies: list[Thing] = []
        for one in kept:
            fields = {"weight": self._one(0, 1, 2), "backup": self._chance.random() < 0.1}
            bodies.append(
                {"address": one["address"], "protocol_port": one["protocol_port"], **(fields if self._chance.random() < 0.6 else {})}
            )
        free = self._free(members)
        additive = self._chance.random() < 0.3
        room = _MOST["members"] - (len(members) if additive else len(kept))
        bodies += [self._new_member(pool, one, now) for one in self._chance.sample(free, min(room, self._one(0, 1, 2)))]
        return [Step("PUT", f"/pools/@{pool['name']}/members" + ("?additive_only=true" if additive else ""), {"members": bodies})]

    # Monitors

    def _new_monitor(self, pool: Thing) -> Thing:
        made: Thing = {"name": self._name("h"), "pool_id": f"@{pool['name']}", **self._times()}
        if pool["protocol"] in DATAGRAMS:
            own = "SCTP" if pool["protocol"] == "SCTP" else "UDP-CONNECT"
            kind = self._one(own, own, "TCP", "HTTP")
            made |= {"type": kind, "delay": 3 if kind == "UDP-CONNECT" else 1}
        else:
            fits = "HTTPS" if pool.get("tls_enabled") or pool["protocol"] == "HTTPS" else "HTTP"
            made["type"] = self._one(fits, fits, fits, "TCP", "TCP", "TLS-HELLO", "PING", "HTTP", "HTTPS")
        if made["type"] in ("HTTP", "HTTPS"):
            made |= {
                "url_path": self._one("/", "/health", "/health", "/sick"),
                "expected_codes": self._one("200", "200", "200-299", "200,503"),
            }
        return made

    def _times(self) -> Thing:
        retries = {"max_retries": self._one(1, 2), "max_retries_down": self._one(1, 2)}
        return {"delay": self._one(1, 1, RARELY), "timeout": self._one(1, 2), **retries}

    def _add_monitor(self, now: State) -> list[Step]:
        pool = self._any([one for one in now.pools.values() if one["id"] not in now.monitors])
        return [] if pool is None else [Step("POST", "/healthmonitors", {"healthmonitor": self._new_monitor(pool)})]

    def _change_monitor(self, now: State) -> list[Step]:
        if (monitor := self._any(list(now.monitors.values()))) is None:
            return []
        body: Thing = {"admin_state_up": self._one(True, False)} if self._chance.random() < 0.4 else self._times()
        if monitor["type"] == "UDP-CONNECT":
            body.pop("delay", None)
        if monitor["type"] in ("HTTP", "HTTPS") and self._chance.random() < 0.6:
            body = self._one(
                {"url_path": self._one("/", "/health", "/sick")},
                {"expected_codes": self._one("200", "503", "200,503", "418")},
                {"http_method": self._one("GET", "HEAD"), "http_version": self._one(1.0, 1.1)},
            )
        return [Step("PUT", f"/healthmonitors/@{monitor['name']}", {"healthmonitor": body})]

    def _delete_monitor(self, now: State) -> list[Step]:
        monitor = self._any(list(now.monitors.values()))
        return [] if monitor is None else [Step("DELETE", f"/healthmonitors/@{monitor['name']}")]

    # Policies

    def _action(self, now: State) -> Thing:
        pools = [one for one in now.pools.values() if one["protocol"] in _POOLS["HTTP"]]
        code = self._one(301, 302, 307)
        actions: list[Thing] = [
            {"action": "REJECT"},
            {"action": "REDIRECT_TO_URL", "redirect_url": f"{_URL}/{self._one('a', 'b')}", "redirect_http_code": code},
            {"action": "REDIRECT_PREFIX", "redirect_prefix": "https://www.example.com:8443", "redirect_http_code": code},
            {
                "action": "FIXED_RESPONSE",
                "fixed_response": {
                    "status": self._one(200, 404, 503),
                    "content_type": "text/plain",
                    "body": self._one("", "fixed", "so be it"),
                },
            },
        ]
        if pools:
            actions += 3 * [{"action": "REDIRECT_TO_POOL", "redirect_pool_id": f"@{self._one(*pools)['name']}", "split": None}]
        if len(pools) > 1:
            some = self._chance.sample(pools, 2)
            shares = [
                {"pool_id": f"@{one['name']}", "weight": weight}
                for one, weight in zip(some, self._one((1, 1), (2, 1), (1, 0)), strict=True)
            ]
            split = {"by": self._one("REQUEST", "REQUEST", "SOURCE_IP"), "pools": shares}
            actions += 2 * [{"action": "REDIRECT_TO_POOL", "redirect_pool_id": shares[0]["pool_id"], "split": split}]
        return dict(self._one(*actions))

    def _add_policy(self, now: State) -> list[Step]:
        listeners = [one for one in now.listeners if one["protocol"] in ("HTTP", "TERMINATED_HTTPS")]
        listener = self._any([one for one in listeners if len(now.policies[one["id"]]) < _MOST["policies"]])
        if listener is None:
            return []
        name = self._name("y")
        made = {"name": name, "listener_id": f"@{listener['name']}", **self._action(now)}
        if self._chance.random() < 0.6:
            made["position"] = self._one(1, 2, 3)
        steps = [Step("POST", "/l7policies", {"l7policy": {key: value for key, value in made.items() if value is not None}})]
        return steps + [self._new_rule(name, listener) for _ in range(self._one(1, 1, 1, 2))]

    def _policy(self, now: State) -> Thing | None:
        return self._any([one for some in now.policies.values() for one in some])

    def _change_policy(self, now: State) -> list[Step]:
        if (policy := self._policy(now)) is None:
            return []
        body = self._one(self._action(now), {"position": self._one(1, 2, 3, 4)}, {"admin_state_up": self._one(True, True, False)})
        return [Step("PUT", f"/l7policies/@{policy['name']}", {"l7policy": body})]

    def _delete_policy(self, now: State) -> list[Step]:
        policy = self._policy(now)
        return [] if policy is None else [Step("DELETE", f"/l7policies/@{policy['name']}")]

    def _rule_fields(self, listener: Thing) -> Thing:
        more = 3 * _RULES_OF_TLS if listener["protocol"] == "TERMINATED_HTTPS" else ()
        return {"key": None, **self._one(*_RULES, *more), "invert": self._chance.random() < 0.25}

    def _new_rule(self, policy: str, listener: Thing) -> Step:
        fields = {key: value for key, value in self._rule_fields(listener).items() if value is not None}
        return Step("POST", f"/l7policies/@{policy}/rules", {"rule": {"tags": [self._name("r")], **fields}})

    def _add_rule(self, now: State) -> list[Step]:
        policy = self._policy(now)
        if policy is None or len(now.rules[policy["id"]]) >= _MOST["rules"]:
            return []
        return [self._new_rule(policy["name"], _listener_of(policy, now))]

    def _rule(self, now: State) -> tuple[str, Thing] | None:
        """Its path, and its listener."""
        policies = [one for some in now.policies.values() for one in some]
        there = [
            (f"/l7policies/@{policy['name']}/rules/@{rule['tags'][0]}", policy) for policy in policies for rule in now.rules[policy["id"]]
        ]
        if not there:
            return None
        path, policy = self._chance.choice(there)
        return path, _listener_of(policy, now)

    def _change_rule(self, now: State) -> list[Step]:
        if (found := self._rule(now)) is None:
            return []
        path, listener = found
        body = self._rule_fields(listener) if self._chance.random() < 0.6 else {"admin_state_up": self._one(True, False)}
        return [Step("PUT", path, {"rule": body})]

    def _delete_rule(self, now: State) -> list[Step]:
        found = self._rule(now)
        return [] if found is None else [Step("DELETE", found[0])]

    # The rest

    def _switch(self, now: State) -> list[Step]:
        return [Step("PUT", "/loadbalancers/@lb", {"loadbalancer": {"admin_state_up": not now.balancer["admin_state_up"]}})]

    def _stop(self, now: State) -> list[Step]:
        used = {self._world.name_of(one["address"]) for some in now.members.values() for one in some} - self._world.stopped
        return [Step("stop", self._one(*sorted(used)))] if used else []

    def _change_log(self, now: State) -> list[Step]:
        at = self._one(*sorted({version(vip) for vip in now.vips}))
        protocol = self._one(None, *LOGS)
        target = None
        if protocol is not None:
            port = self._one(*3 * [LOGS[protocol]], CLOSED, DEAF)
            target = {"protocol": protocol, "address": self._world.log_addresses[at], "port": port}
            if protocol == "TLS":
                target |= {"ca_tls_container_ref": "@@members.ca", "host_name": self._one(None, "logs.example")}
        return [Step("PUT", "/loadbalancers/@lb", {"loadbalancer": {"access_log": target}})]

    def _hide(self, now: State) -> list[Step]:
        """A secret that can't be read for a while."""
        seen = sorted(self._world.references.keys() - self._world.hidden)
        return [Step("hide", self._one(*seen))] if seen else []

    def _lose(self, now: State) -> list[Step]:
        """A change to a secret that can't be read when it is to be applied."""
        used = now.references
        names = [name for name, ref in self._world.references.items() if ref not in used and name not in self._world.hidden]
        fit = [one for one in now.listeners if one["protocol"] == "TERMINATED_HTTPS" and one["provisioning_status"] != "ERROR"]
        listener, name = self._any(fit), self._any([one for one in names if one in (*CERTIFICATES, "second.ca")])
        if listener is None or name is None:
            return []
        body: Thing = {"default_tls_container_ref": f"@@{name}"}
        if name not in CERTIFICATES:
            body = {"client_authentication": "OPTIONAL", "client_ca_tls_container_ref": f"@@{name}", "client_crl_container_ref": None}
        return [Step("LOSE", f"/listeners/@{listener['name']}", {"listener": body})]

    def _trouble(self, now: State) -> list[Step]:
        return [Step(self._one(*TROUBLES))]

    def _fail_over(self, now: State) -> list[Step]:
        return [Step("PUT", "/loadbalancers/@lb/failover")]


def _transport(protocol: str) -> str:
    return protocol if protocol in DATAGRAMS else "TCP"


def _listener_of(policy: Thing, now: State) -> Thing:
    return next(one for one in now.listeners if one["id"] == policy["listener_id"])


def _pools_of(policy: Thing) -> set[str]:
    split = policy.get("split")
    return {policy["redirect_pool_id"], *(one["pool_id"] for one in split["pools"])} if split else {policy["redirect_pool_id"]}


_BEFALLEN: Mapping[str, Callable[[Thing], Iterable[int]]] = {
    "agent": agent_pids,
    "haproxy": haproxy_workers,
    "amphora": lambda one: [int(pid) for pid in one["pids"]],
    "keepalived": keepalived_pids,
}


class Taker:
    """Takes steps on one load balancer."""

    def __init__(self, world: World, balancer_id: str) -> None:
        self._world, self._site, self.balancer_id = world, world.site, balancer_id
        self.refused: list[str] = []

    def take(self, step: Step) -> bool:
        """Whether it could be taken; what is refused goes to `refused`."""
        if step.do in ("POST", "PUT", "DELETE"):
            return self._ask(step)
        if step.do == "LOSE":
            return self._lose(step)
        if step.do in ("stop", "start", "hide", "show"):
            getattr(self._world, step.do)(step.path)
            return True
        self._befall(step.do)
        return True

    def _ask(self, step: Step) -> bool:
        ids = state.read(self._site.api, self.balancer_id).ids
        try:
            path, body = _with_ids(step.path, ids, self._world), _with_ids(step.body, ids, self._world)
        except KeyError:
            return False
        try:
            self._site.api.request(step.do, path, body)
        except client.ApiError as exc:
            self.refused.append(f"{step}: {exc}")
            return False
        return True

    def _lose(self, step: Step) -> bool:
        now = state.read(self._site.api, self.balancer_id)
        [name] = _SECRETS(str(step.body))
        if name in self._world.hidden or self._world.references[name] in now.references:
            return False
        pids = self._site.machine.processes.pids("worker")
        self._send(pids, signal.SIGSTOP)
        try:
            if taken := self._ask(dataclasses.replace(step, do="PUT")):
                self._world.lose(name)
        finally:
            self._send(pids, signal.SIGCONT)
        if taken:
            [listener] = [one for one in now.listeners if step.path.endswith(f"@{one['name']}")]
            self._world.before[listener["id"]] = listener
        return taken

    def _befall(self, what: str) -> None:
        how, _, whom = what.partition(" ")
        if whom in ("worker", "health_manager", "housekeeping"):
            self._befall_process(how, whom)
            return
        amphorae = [one for one in self._site.machine.status()["amphorae"] if one["load_balancer_id"] == self.balancer_id and one["pids"]]
        if not amphorae:
            return
        amphora = min(amphorae, key=lambda one: str(one["role"]))
        if what == "fail over amphora":
            with contextlib.suppress(client.ApiError):  # it may be on its way out
                self._site.api.request("PUT", f"/octavia/amphorae/{amphora['id']}/failover")
            return
        pids = list(_BEFALLEN[whom](amphora))
        self._send(pids, signal.SIGKILL if how == "kill" else signal.SIGSTOP)
        if how == "pause":
            time.sleep(_PAUSE)
            self._send(pids, signal.SIGCONT)

    def _befall_process(self, how: str, name: str) -> None:
        running = self._site.machine.processes
        if how == "pause":
            pids = running.pids(name)
            self._send(pids, signal.SIGSTOP)
            time.sleep(_PAUSE)
            self._send(pids, signal.SIGCONT)
            return
        self._site.kill(running.pids(name))
        client.eventually(lambda: not running.running(name), 60, f"{name} does not end")
        self._site.machine.start(name)

    @staticmethod
    def _send(pids: Iterable[int], number: signal.Signals) -> None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def _with_ids(value: Any, ids: dict[str, str], world: World) -> Any:
    """The value with ids in the place of names.

    :raises KeyError: somebody is named who is not there.
    """
    if isinstance(value, dict):
        return {key: _with_ids(one, ids, world) for key, one in value.items()}
    if isinstance(value, list):
        return [_with_ids(one, ids, world) for one in value]
    if isinstance(value, str) and value.startswith("@@"):
        return world.references[value[2:]]
    return _NAMED(lambda found: ids[found[1]], value) if isinstance(value, str) else value
