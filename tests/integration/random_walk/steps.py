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
from tests.integration.random_walk.state import State, Thing
from tests.integration.random_walk.world import CERTIFICATES, CLOSED, World
from tests.integration.site import agent_pids, haproxy_workers

_T = TypeVar("_T")
_NAMED = re.compile(r"@([a-z]+\d*)").sub
_POOLS = {
    "HTTP": ("HTTP", "HTTP", "HTTP", "PROXY", "PROXYV2"),
    "TERMINATED_HTTPS": ("HTTP", "HTTP", "HTTP", "PROXY", "PROXYV2"),
    "TCP": ("TCP", "TCP", "HTTP", "PROXY", "PROXYV2"),
    "HTTPS": ("HTTPS",),
    "UDP": ("UDP",),
}
"""Protocols of pools by that of a listener."""
_PORTS = (80, 81, 443, 5000, 5001)
_MOST = {"listeners": 4, "pools": 5, "members": 4, "policies": 4, "rules": 3}
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
TROUBLES = ("kill agent", "kill haproxy", "pause agent", "pause haproxy", "kill worker", "kill amphora")
_HEADERS = ("X-Forwarded-For", "X-Forwarded-Port", "X-Forwarded-Proto", "X-Real-IP")


@dataclasses.dataclass(frozen=True)
class Step:
    """A request (`POST`, `PUT`, `DELETE`) with its path and body, or what befalls somebody (`do`). `wait`: then one looks."""

    do: str
    path: str = ""
    body: Any = None
    wait: bool = True


class Chooser:
    """Steps by chance."""

    def __init__(self, world: World, chance: random.Random, troubles: bool = True) -> None:
        self._world, self._chance = world, chance
        self._count = 0
        self._troubles = troubles

    def beginning(self) -> list[Step]:
        """Something to begin with."""
        return [
            Step("POST", "/listeners", {"listener": self._new_listener("HTTP", 80)}, False),
            *self._pool("HTTP", listener=f"l{self._count}"),
            Step("POST", "/listeners", {"listener": self._new_listener(self._chance.choice(list(_POOLS)), 81)}),
        ]

    def next(self, now: State) -> list[Step]:
        """What is to be asked together; the last one waits, perhaps."""
        if not now.balancer["admin_state_up"] and self._chance.random() < 0.6:
            return [Step("PUT", "/loadbalancers/@lb", {"loadbalancer": {"admin_state_up": True}})]
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
        return made

    def _add_listener(self, now: State) -> list[Step]:
        protocol = self._chance.choices(list(_POOLS), [5, 4, 3, 1, 3])[0]
        taken = {one["protocol_port"] for one in now.listeners if (one["protocol"] == "UDP") == (protocol == "UDP")}
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
        if (listener := self._any(now.listeners)) is None:
            return []
        protocol = listener["protocol"]
        pool = self._fitting(now, protocol)
        changes: list[Thing] = [
            {"default_pool_id": f"@{pool['name']}" if pool and self._chance.random() < 0.8 else None},
            {"default_pool_id": f"@{pool['name']}" if pool else None},
            {"admin_state_up": self._one(True, True, not listener["admin_state_up"])},
            {"admin_state_up": True},
            {"allowed_cidrs": self._one([], [], ["198.19.64.10/32"], ["198.19.64.14/32", "10.0.0.0/8"], ["198.19.0.0/16"])},
            {"timeout_client_data": self._one(7000, 50000), "timeout_member_data": self._one(8000, 50000)},
        ]
        if protocol != "UDP":
            changes.append({"connection_limit": self._one(-1, 1, 2, 1000)})
        if protocol in ("HTTP", "TERMINATED_HTTPS"):
            names = self._chance.sample(_HEADERS, self._one(0, 1, 2))
            page = {"content_type": "text/html", "body": f"<p>{self._one('noon', 'night')}</p>"}
            changes += [
                {"insert_headers": dict.fromkeys(names, "true")},
                {"error_page": self._one(None, page)},
                {"rate_limit": self._one(None, None, {"requests": self._one(2, 4), "period": 600})},
            ]
        if protocol == "TERMINATED_HTTPS":
            more = self._chance.sample(CERTIFICATES, self._one(0, 1, 2))
            changes += [
                {"default_tls_container_ref": f"@@{self._one(*CERTIFICATES)}"},
                {"sni_container_refs": [f"@@{name}" for name in more]},
                {"hsts_max_age": self._one(None, 300, 6000)},
            ]
        wanted = self._chance.sample(changes, self._one(1, 1, 1, 2))
        return [Step("PUT", f"/listeners/@{listener['name']}", {"listener": {key: one[key] for one in wanted for key in one}})]

    def _delete_listener(self, now: State) -> list[Step]:
        listener = self._any(now.listeners)
        return [] if listener is None else [Step("DELETE", f"/listeners/@{listener['name']}")]

    # Pools and members

    def _pool(self, protocol: str, listener: str = "") -> list[Step]:
        """A pool with members, and perhaps a monitor."""
        name = self._name("p")
        made: Thing = {"name": name, "protocol": protocol, **self._pool_fields(protocol, new=True)}
        made |= {"listener_id": f"@{listener}"} if listener else {"loadbalancer_id": "@lb"}
        like = {"name": name, **made}
        servers = self._chance.sample(list(self._world.servers), self._one(1, 2, 2, 3))
        steps = [Step("POST", "/pools", {"pool": made}, False)]
        steps += [Step("POST", f"/pools/@{name}/members", {"member": self._new_member(like, one)}, False) for one in servers]
        if self._chance.random() < 0.5:
            steps.append(Step("POST", "/healthmonitors", {"healthmonitor": self._new_monitor(like)}))
        return steps

    def _pool_fields(self, protocol: str, new: bool) -> Thing:
        algorithms = ["ROUND_ROBIN", "ROUND_ROBIN", "LEAST_CONNECTIONS", "SOURCE_IP"] + (["SOURCE_IP_PORT"] if protocol == "UDP" else [])
        kinds: list[Thing | None] = [None, None, {"type": "SOURCE_IP"}]
        if protocol in ("HTTP", "PROXY", "PROXYV2"):
            kinds += [{"type": "HTTP_COOKIE"}, {"type": "APP_COOKIE", "cookie_name": "session"}]
        found: Thing = {"lb_algorithm": self._one(*algorithms), "session_persistence": self._one(*kinds)}
        if protocol != "UDP":
            found |= {"slow_start": self._one(None, None, 2), "drain_timeout": self._one(None, None, 1, 30)}
        if protocol not in ("UDP", "HTTPS"):
            found["tls_enabled"] = self._one(False, False, False, True)
        if new:
            return {key: value for key, value in found.items() if value is not None}
        found["admin_state_up"] = self._one(True, True, False)
        return {key: found[key] for key in self._chance.sample(sorted(found), self._one(1, 1, 2))}

    def _add_pool(self, now: State) -> list[Step]:
        if len(now.pools) >= _MOST["pools"]:
            return []
        without = self._any([one for one in now.listeners if one["default_pool_id"] is None])
        if without is not None and self._chance.random() < 0.7:
            return self._pool(self._one(*_POOLS[without["protocol"]]), without["name"])
        protocol = self._one(*(listener["protocol"] for listener in now.listeners)) if now.listeners else "HTTP"
        return self._pool(self._one(*_POOLS[protocol]))

    def _change_pool(self, now: State) -> list[Step]:
        pool = self._any(list(now.pools.values()))
        return [] if pool is None else [Step("PUT", f"/pools/@{pool['name']}", {"pool": self._pool_fields(pool["protocol"], new=False)})]

    def _delete_pool(self, now: State) -> list[Step]:
        used = {one for some in now.policies.values() for policy in some for one in _pools_of(policy)}
        pool = self._any([one for one in now.pools.values() if one["id"] not in used])
        return [] if pool is None else [Step("DELETE", f"/pools/@{pool['name']}")]

    def _new_member(self, pool: Thing, server: str) -> Thing:
        made = {"name": self._name("m"), "address": self._world.servers[server], "protocol_port": self._port(pool)}
        return made | {
            "weight": self._one(1, 1, 1, 2, 3, 0),
            "backup": self._chance.random() < 0.12,
            "admin_state_up": self._chance.random() < 0.92,
        }

    def _port(self, pool: Thing) -> int:
        if self._chance.random() < 0.12:
            return CLOSED
        if pool["protocol"] == "UDP":
            return speaking.port("datagram")
        version = {"PROXY": 1, "PROXYV2": 2}.get(pool["protocol"], 0)
        content = "tls" if pool.get("tls_enabled") or pool["protocol"] == "HTTPS" else "http"
        return speaking.port(content, version if self._chance.random() < 0.95 else 0)

    def _add_member(self, now: State) -> list[Step]:
        pool = self._any([one for one in now.pools.values() if len(now.members[one["id"]]) < _MOST["members"]])
        if pool is None:
            return []
        there = {one["address"] for one in now.members[pool["id"]]}
        server = self._one(*(name for name, address in self._world.servers.items() if address not in there))
        return [Step("POST", f"/pools/@{pool['name']}/members", {"member": self._new_member(pool, server)})]

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
        if pool["protocol"] != "UDP":
            changes.append({"monitor_address": self._one(None, None, *self._world.servers.values(), self._world.nobody)})
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
                {"member": self._new_member(found[0], self._world.name_of(found[1]["address"]))},
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
        there = {one["address"] for one in members}
        free = [name for name, address in self._world.servers.items() if address not in there]
        additive = self._chance.random() < 0.3
        room = _MOST["members"] - (len(members) if additive else len(kept))
        bodies += [self._new_member(pool, one) for one in self._chance.sample(free, min(room, self._one(0, 1, 2)))]
        return [Step("PUT", f"/pools/@{pool['name']}/members" + ("?additive_only=true" if additive else ""), {"members": bodies})]

    # Monitors

    def _new_monitor(self, pool: Thing) -> Thing:
        made: Thing = {"name": self._name("h"), "pool_id": f"@{pool['name']}", **self._times()}
        if pool["protocol"] == "UDP":
            kind = self._one("UDP-CONNECT", "UDP-CONNECT", "TCP", "HTTP")
            made |= {"type": kind} | ({"delay": 3} if kind == "UDP-CONNECT" else {})
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
        return {"delay": 1, "timeout": self._one(1, 2), "max_retries": self._one(1, 2), "max_retries_down": self._one(1, 2)}

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
        return steps + [self._new_rule(name) for _ in range(self._one(1, 1, 1, 2))]

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

    def _rule_fields(self) -> Thing:
        return {"key": None, **self._one(*_RULES), "invert": self._chance.random() < 0.25}

    def _new_rule(self, policy: str) -> Step:
        fields = {key: value for key, value in self._rule_fields().items() if value is not None}
        return Step("POST", f"/l7policies/@{policy}/rules", {"rule": {"tags": [self._name("r")], **fields}})

    def _add_rule(self, now: State) -> list[Step]:
        policy = self._policy(now)
        return [self._new_rule(policy["name"])] if policy is not None and len(now.rules[policy["id"]]) < _MOST["rules"] else []

    def _rule(self, now: State) -> str | None:
        names = {one["id"]: one["name"] for some in now.policies.values() for one in some}
        there = [f"/l7policies/@{names[policy_id]}/rules/@{rule['tags'][0]}" for policy_id in names for rule in now.rules[policy_id]]
        return self._one(*there) if there else None

    def _change_rule(self, now: State) -> list[Step]:
        body = self._rule_fields() if self._chance.random() < 0.6 else {"admin_state_up": self._one(True, False)}
        path = self._rule(now)
        return [] if path is None else [Step("PUT", path, {"rule": body})]

    def _delete_rule(self, now: State) -> list[Step]:
        path = self._rule(now)
        return [] if path is None else [Step("DELETE", path)]

    # The rest

    def _switch(self, now: State) -> list[Step]:
        return [Step("PUT", "/loadbalancers/@lb", {"loadbalancer": {"admin_state_up": not now.balancer["admin_state_up"]}})]

    def _stop(self, now: State) -> list[Step]:
        used = {self._world.name_of(one["address"]) for some in now.members.values() for one in some} - self._world.stopped
        return [Step("stop", self._one(*sorted(used)))] if used else []

    def _trouble(self, now: State) -> list[Step]:
        return [Step(self._one(*TROUBLES))]

    def _fail_over(self, now: State) -> list[Step]:
        return [Step("PUT", "/loadbalancers/@lb/failover")]


def _pools_of(policy: Thing) -> set[str]:
    split = policy.get("split")
    return {policy["redirect_pool_id"], *(one["pool_id"] for one in split["pools"])} if split else {policy["redirect_pool_id"]}


_BEFALLEN: Mapping[str, Callable[[Thing], Iterable[int]]] = {
    "agent": agent_pids,
    "haproxy": haproxy_workers,
    "amphora": lambda one: [int(pid) for pid in one["pids"]],
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
        if step.do in ("stop", "start"):
            (self._world.stop if step.do == "stop" else self._world.start)(step.path)
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

    def _befall(self, what: str) -> None:
        if what == "kill worker":
            running = self._site.machine.processes
            self._site.kill(running.pids("worker"))
            client.eventually(lambda: not running.running("worker"), 60, "the worker does not end")
            self._site.machine.start("worker")
            return
        amphorae = [one for one in self._site.machine.status()["amphorae"] if one["load_balancer_id"] == self.balancer_id and one["pids"]]
        if not amphorae:
            return
        amphora = min(amphorae, key=lambda one: str(one["role"]))
        how, _, whom = what.partition(" ")
        pids = list(_BEFALLEN[whom](amphora))
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL if how == "kill" else signal.SIGSTOP)
        if how == "pause":
            time.sleep(2.5)
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)


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
