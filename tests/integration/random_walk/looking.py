"""Compares what clients meet with what an oracle says."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import itertools
import socket
import time
from collections.abc import Iterator, Mapping
from concurrent import futures
from typing import Any

from tests.integration.random_walk import state
from tests.integration.random_walk.oracle import DATAGRAMS, HTTP, Expected, Oracle
from tests.integration.random_walk.state import State, Thing
from tests.integration.random_walk.world import IDENTITIES, LOGS, Answer, Ask, Visit, World, ask_on, until_closed

ASKS = (
    Ask(),
    Ask(path="/login", host="one.example"),
    Ask(path="/api/v1/photo.jpg", host="Two.example", headers=(("X-Walk", "blue"),)),
    Ask(path="/api", host="three.example", headers=(("X-Walk", "red"),), cookies=(("walk", "first"),)),
    Ask(path="/static/logo.png", host="two.example", cookies=(("walk", "second"),)),
)
FEW = 3
"""So many connections can be held to see a limit."""
LOW = 2
"""Seconds of silence that can be waited for."""
_LATE, _PATIENCE_FOR_LOGS = 4.0, 3.0
_SHORT, _LONG = 3, 30
_WORDS = itertools.count(1)


class Look:
    """One look at a load balancer; `problems` says what is not as it should be. `number`: looks come by different VIPs. `at_once`:
    checks of members may be under way."""

    def __init__(self, world: World, now: State, number: int = 0, at_once: bool = False) -> None:
        self._world, self._state, self._number, self._at_once = world, now, number, at_once
        now.listeners = [self._served(one) for one in now.listeners]
        self._oracle = Oracle(world, now, at_once)

    def _served(self, listener: Thing) -> Thing:
        """It as it was before a change to a secret that can't be read."""
        if listener["provisioning_status"] != "ERROR":
            self._world.before.pop(listener["id"], None)
        before = self._world.before.get(listener["id"], listener)
        return {**listener, **{name: value for name, value in before.items() if not name.endswith("_status")}}

    def problems(self) -> list[str]:
        hidden = {self._world.references[name] for name in self._world.hidden}
        left = [one for one in self._state.listeners if one["provisioning_status"] == "ERROR"] if not self._at_once and not hidden else []
        found = [f"{one['name']} is left out, though every secret can be read" for one in left]
        return found + self._problems()

    def _problems(self) -> list[str]:
        with futures.ThreadPoolExecutor(4) as many:
            of_listeners = list(many.map(lambda one: list(self._of_listener(one)), self._state.listeners))
        return [f"{one['name']}: {said}" for one, some in zip(self._state.listeners, of_listeners, strict=True) for said in some]

    def wrong_statuses(self) -> list[str]:
        """Of listeners and members."""
        expected = self._oracle.statuses()
        things = [*self._state.listeners, *(one for some in self._state.members.values() for one in some)]
        return [
            f"{one['name']} is {one['operating_status']}, not {sorted(expected[one['name']])}"
            for one in things
            if one["operating_status"] not in expected[one["name"]]
        ]

    def _of_listener(self, listener: Thing) -> Iterator[str]:
        if self._is_small(listener):
            self._world.leaves(listener["id"])
        identity = self._oracle.identity(listener)
        vips = self._state.vips
        vips = vips[self._number % len(vips) :] + vips[: self._number % len(vips)]
        visits = [Visit(client, vip, listener, identity) for vip in vips for client in self._world.clients]
        inside = [one for one in visits if self._oracle.lets_in(listener, one.address)]
        for visit in visits:
            if visit not in inside:
                answer = visit.ask(Ask())
                if answer.ending not in ("refused", "silent"):
                    yield f"{visit.address} may not come, and meets {answer}"
        if not inside:
            return
        by_vip = {one.vip: one for one in reversed(inside)}
        for visit in reversed(by_vip.values()):
            yield from (f"{visit.vip}: {said}" for said in self._of_visit(visit, visit is inside[0]))

    def _of_visit(self, visit: Visit, thoroughly: bool) -> Iterator[str]:
        listener = visit.listener
        if listener.get("rate_limit"):
            yield from self._limited(visit)
        elif not thoroughly or listener["protocol"] in DATAGRAMS:
            yield from self._series(visit, Ask(), _LONG if thoroughly else _SHORT)
        else:
            with contextlib.ExitStack() as stack:
                idle = self._begin_idly(visit, stack)
                yield from self._requests(visit)
                yield from self._identities(visit)
                yield from self._greeting(visit)
                yield from self._slowly(visit)
                yield from self._line_of_log(visit)
                yield from self._end_idly(visit, idle)
                self._stay(visit)

    def _requests(self, visit: Visit) -> Iterator[str]:
        seen: set[str] = set()
        listener = visit.listener
        for ask in ASKS if listener["protocol"] in HTTP else ASKS[:1]:
            expected = self._oracle.expected(visit, ask)
            key = repr(sorted(map(sorted, expected.must)))
            yield from self._series(visit, ask, _SHORT if key in seen else _LONG)
            seen.add(key)
            if expected.bound and listener["protocol"] in HTTP:
                yield from self._stays(visit, ask, expected)
        first = self._oracle.expected(visit, Ask())
        if self._is_small(listener) and first.may and not first.statuses and listener["protocol"] in HTTP:
            yield from self._crowd(visit)

    def _series(self, visit: Visit, ask: Ask, most: int) -> Iterator[str]:
        """As many requests as it needs until all came that must."""
        expected = self._oracle.expected(visit, ask)
        seen: collections.Counter[str] = collections.Counter()
        long = most == _LONG and expected.must
        for number in range(most):
            answer = visit.ask(ask)
            seen[answer.word] += 1
            if said := self._wrong(visit, ask, expected, answer):
                yield f"{ask.path}: {said} (after {dict(seen)})"
                return
            if number >= _SHORT - 1 and (not long or all(group & set(seen) for group in expected.must)):
                break
        members = {word for word in seen if word in self._world.servers}
        if long and (missing := [sorted(group) for group in expected.must if not group & members]):
            yield f"{ask.path}: {missing} should answer, too, and only {dict(seen)} did"
        if expected.one and len(members) > 1:
            yield f"{ask.path}: one member should answer, and {dict(seen)} did"

    def _wrong(self, visit: Visit, ask: Ask, expected: Expected, answer: Answer) -> str:
        """What is wrong with an answer."""
        if answer.member:
            return self._wrong_of_member(visit, ask, expected, answer)
        if visit.listener["protocol"] in DATAGRAMS:
            return "" if 0 in expected.statuses else f"{answer.word} instead of {_words(expected)}"
        if answer.ending:
            return "" if answer.ending == "closed" and 0 in expected.statuses else f"{answer.word} instead of {_words(expected)}"
        if answer.status not in expected.statuses:
            return f"{answer.status} instead of {_words(expected)}"
        for name, value in expected.headers.items():
            if answer.header(name) != value:
                return f"{name}: {answer.header(name)!r} instead of {value!r}"
        if expected.body is not None and answer.body != expected.body:
            return f"{answer.body!r} instead of {expected.body!r}"
        return self._wrong_tls(visit, ask, answer)

    def _wrong_of_member(self, visit: Visit, ask: Ask, expected: Expected, answer: Answer) -> str:
        if answer.member not in expected.may or answer.status != 200:
            return f"{answer.status} of {answer.member} instead of {_words(expected)}"
        heard = dict(answer.heard or {})
        if visit.listener["protocol"] in HTTP:
            for name, value in self._oracle.inserted(visit).items():
                if heard["head"].get(name.lower()) != value:
                    return f"{answer.member} is told {name} {heard['head'].get(name.lower())!r} instead of {value!r}"
        if expected.pool is not None and visit.listener["protocol"] not in DATAGRAMS:
            wanted = self._oracle.proxied(visit, expected.pool)
            if heard["proxied"] != wanted:
                return f"{answer.member} is told {heard['proxied']} by the PROXY protocol instead of {wanted}"
        return self._wrong_tls(visit, ask, answer)

    def _wrong_tls(self, visit: Visit, ask: Ask, answer: Answer) -> str:
        listener = visit.listener
        if listener["protocol"] != "TERMINATED_HTTPS":
            return ""
        wanted = self._oracle.certificate(listener, ask.host.lower())
        if answer.certificate != wanted:
            return f"the certificate of {answer.certificate!r} instead of {wanted!r}"
        told = answer.header("Strict-Transport-Security")
        return "" if told == self._oracle.told_by_hsts(listener) else f"HSTS {told}"

    def _identities(self, visit: Visit) -> Iterator[str]:
        """Whoever may come is spoken to, and nobody else, even if they were before."""
        if visit.listener["protocol"] != "TERMINATED_HTTPS":
            return
        for identity in IDENTITIES:
            as_one = dataclasses.replace(visit, identity=identity)
            admitted = self._oracle.admits(visit.listener, identity)
            again = as_one.comes_back()
            for word, answer in (("", as_one.ask(Ask())), (" on a session from before", again)):
                if answer is not None and (answer.ending != "closed") != admitted:
                    yield f"as {identity or 'nobody'}{word}: {answer.word}, though {'admitted' if admitted else 'turned away'}"

    def _greeting(self, visit: Visit) -> Iterator[str]:
        """Whoever speaks everything agrees with it on what it speaks best."""
        if visit.listener["protocol"] == "TERMINATED_HTTPS":
            wanted, agreed = self._oracle.greeting(visit.listener), visit.greets()
            if agreed != wanted:
                yield f"{agreed} is agreed upon, and not {wanted}"

    def _stay(self, visit: Visit) -> None:
        """Somebody is there during the next changes, unless that shows: few have room, or members are chosen by their connections."""
        pool = self._state.pools.get(visit.listener["default_pool_id"] or "")
        if not self._is_small(visit.listener) and (pool is None or pool["lb_algorithm"] != "LEAST_CONNECTIONS"):
            self._world.stays(visit)

    @staticmethod
    def _is_small(listener: Mapping[str, Any]) -> bool:
        return bool(0 < listener["connection_limit"] <= FEW)

    def _stays(self, visit: Visit, ask: Ask, expected: Expected) -> Iterator[str]:
        """A client with the cookie that it was given meets its member again."""
        pool = expected.pool
        assert pool is not None
        persistence = pool["session_persistence"]
        name = f"SRV-{pool['id']}" if persistence["type"] == "HTTP_COOKIE" else persistence["cookie_name"]
        if persistence["type"] == "APP_COOKIE" and (ask.path, name) != ("/login", "session"):
            return
        first = visit.ask(ask)
        if first.member not in expected.bound:
            return
        value = first.cookie(name)
        if value is None:
            yield f"{ask.path}: {first.member} answers without the cookie {name}: {first.headers}"
            return
        for _ in range(_SHORT):
            again = visit.ask(ask.with_cookie(name, value))
            if again.member != first.member:
                yield f"{ask.path}: a client of {first.member} meets {again.word}"
                return

    def _limited(self, visit: Visit) -> Iterator[str]:
        """More requests than are let in: the last ones are told when to come back."""
        limit = visit.listener["rate_limit"]
        ask = ASKS[0]
        expected = self._oracle.expected(visit, ask)
        answers = [visit.ask(ask) for _ in range(limit["requests"] + 2)]
        for answer in answers:
            if answer.status == 429:
                if answer.header("Retry-After") != str(limit["period"]):
                    yield f"429 with {answer.header('Retry-After')}"
            elif said := self._wrong(visit, ask, expected, answer):
                yield said
        if any(answer.status != 429 for answer in answers[-2:]):
            yield f"{[answer.word for answer in answers]} at a limit of {limit['requests']}"

    def _crowd(self, visit: Visit) -> Iterator[str]:
        """Who comes when all places are taken waits."""
        with contextlib.ExitStack() as stack:
            limit = visit.listener["connection_limit"]
            for place in range(limit):
                opened = stack.enter_context(visit.connection())
                answer = opened if isinstance(opened, Answer) else ask_on(opened, visit.vip, 5)
                if answer.status != 200:
                    yield f"{answer.word} on connection {place + 1} of {limit}"
                    return
            if visit.tls:
                return  # its hand-shake would wait, too
            late = stack.enter_context(visit.connection())
            answer = late if isinstance(late, Answer) else ask_on(late, visit.vip, 0.5)
            if answer.ending not in ("stuck", "silent"):
                yield f"{answer.word} on one connection more than {limit}"

    # Times

    def _begin_idly(self, visit: Visit, stack: contextlib.ExitStack) -> tuple[socket.socket, float] | None:
        """A connection on which nothing is said, if there is room for it, and when it was made."""
        expected = self._oracle.expected(visit, Ask())
        if self._at_once or self._is_small(visit.listener):
            return None
        if visit.listener["protocol"] not in HTTP and (expected.statuses or not expected.may):
            return None  # it ends at once where nobody serves
        opened = stack.enter_context(visit.connection())
        return None if isinstance(opened, Answer) else (opened, time.monotonic())

    def _end_idly(self, visit: Visit, idle: tuple[socket.socket, float] | None) -> Iterator[str]:
        """It ends when it is time, and not before."""
        if idle is None:
            return
        opened, began = idle
        listener = visit.listener
        times = [listener["timeout_client_data"], *([] if listener["protocol"] in HTTP else [listener["timeout_member_data"]])]
        allowed = min(times) / 1000
        passed = time.monotonic() - began
        ended = until_closed(opened, max(0.1, allowed + _LATE - passed) if allowed <= LOW else 0.1)
        if allowed <= LOW and ended is None:
            yield f"an idle connection stays for more than {allowed + _LATE} s, and not {allowed}"
        elif ended is not None and passed + ended < allowed - 0.5:
            yield f"an idle connection ends after {passed + ended:.1f} s, and not {allowed}"

    def _slowly(self, visit: Visit) -> Iterator[str]:
        """A member that needs more time than it is given."""
        listener, ask = visit.listener, Ask(path="/slow")
        if self._at_once or listener["protocol"] not in HTTP or (listener["timeout_member_data"] > 1000 * LOW and self._number % 8):
            return
        expected = self._oracle.expected(visit, ask)
        if not expected.may or expected.statuses:
            return
        answer = visit.ask(ask)
        if listener["timeout_member_data"] <= 1000 * LOW:
            page = listener.get("error_page")
            if answer.status != 504 or (page and answer.body != page["body"]):
                yield f"{ask.path}: {answer.word} {answer.body!r} instead of 504"
        elif said := self._wrong(visit, ask, expected, answer):
            yield f"{ask.path}: {said}"

    # The access log

    def _line_of_log(self, visit: Visit) -> Iterator[str]:
        """A request is told to the target, once, and to nobody else."""
        if visit.listener["protocol"] not in HTTP:
            return
        target = self._state.balancer.get("access_log")
        word = f"walk-{next(_WORDS)}-"
        visit.ask(Ask(path=f"/{word}"))
        wanted = {} if target is None or target["port"] not in LOGS.values() else {f"{target['protocol']} {target['address']}": 1}
        until = time.monotonic() + _PATIENCE_FOR_LOGS
        while (told := self._world.logs(word)) != wanted and time.monotonic() < until and wanted:
            time.sleep(0.1)
        if told != wanted:
            yield f"a line of the access log is told to {told}, not {wanted}"


def _words(expected: Expected) -> str:
    return f"{sorted(expected.may)} {sorted(expected.statuses)}"


def at(world: World, balancer_id: str, number: int = 0, at_once: bool = False) -> Look:
    """A look at what the API says now."""
    return Look(world, state.read(world.site.api, balancer_id), number, at_once)
