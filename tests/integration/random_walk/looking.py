"""Compares what clients meet with what an oracle says."""

from __future__ import annotations

import collections
import contextlib
import socket
from collections.abc import Iterator
from concurrent import futures

from tests.integration.random_walk import state
from tests.integration.random_walk.oracle import HTTP, TLS, Expected, Oracle
from tests.integration.random_walk.state import State, Thing
from tests.integration.random_walk.world import Answer, Ask, Client, World

ASKS = (
    Ask(),
    Ask(path="/login", host="one.example"),
    Ask(path="/api/v1/photo.jpg", host="Two.example", headers=(("X-Walk", "blue"),)),
    Ask(path="/api", host="three.example", headers=(("X-Walk", "red"),), cookies=(("walk", "first"),)),
    Ask(path="/static/logo.png", host="two.example", cookies=(("walk", "second"),)),
)
FEW = 3
"""So many connections can be held to see a limit."""
_SHORT, _LONG = 3, 30


class Look:
    """One look at a load balancer; `problems` says what is not as it should be."""

    def __init__(self, world: World, now: State) -> None:
        self._world, self._state = world, now
        self._oracle = Oracle(world, now)
        self._vip: str = now.balancer["vip_address"]

    def problems(self) -> list[str]:
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
        inside = [one for one in self._world.clients if self._oracle.lets_in(listener, one.address)]
        for client in self._world.clients:
            if client not in inside:
                answer = self._ask(client, listener, Ask())
                if answer.ending not in ("refused", "silent"):
                    yield f"{client.address} may not come, and meets {answer}"
        if not inside:
            return
        if listener["protocol"] == "UDP":
            yield from self._series(inside[0], listener, Ask(), _LONG)
        elif listener.get("rate_limit"):
            yield from self._limited(inside[0], listener)
        else:
            yield from self._requests(inside[0], listener)

    def _ask(self, client: Client, listener: Thing, ask: Ask) -> Answer:
        port = listener["protocol_port"]
        if listener["protocol"] == "UDP":
            return client.send(self._vip, port)
        return client.ask(self._vip, port, ask, tls=listener["protocol"] in TLS)

    def _requests(self, client: Client, listener: Thing) -> Iterator[str]:
        seen: set[str] = set()
        for ask in ASKS if listener["protocol"] in HTTP else ASKS[:1]:
            expected = self._oracle.expected(listener, ask)
            key = repr(sorted(map(sorted, expected.must)))
            yield from self._series(client, listener, ask, _SHORT if key in seen else _LONG)
            seen.add(key)
            if expected.bound and listener["protocol"] in HTTP:
                yield from self._stays(client, listener, ask, expected)
        first = self._oracle.expected(listener, Ask())
        if 0 < listener["connection_limit"] <= FEW and first.may and not first.statuses and listener["protocol"] in HTTP:
            yield from self._crowd(client, listener)

    def _series(self, client: Client, listener: Thing, ask: Ask, most: int) -> Iterator[str]:
        """As many requests as it needs until all came that must."""
        expected = self._oracle.expected(listener, ask)
        seen: collections.Counter[str] = collections.Counter()
        long = most == _LONG and expected.must
        for number in range(most):
            answer = self._ask(client, listener, ask)
            seen[answer.word] += 1
            if said := self._wrong(client, listener, ask, expected, answer):
                yield f"{ask.path}: {said} (after {dict(seen)})"
                return
            if number >= _SHORT - 1 and (not long or all(group & set(seen) for group in expected.must)):
                break
        members = {word for word in seen if word in self._world.servers}
        if long and (missing := [sorted(group) for group in expected.must if not group & members]):
            yield f"{ask.path}: {missing} should answer, too, and only {dict(seen)} did"
        if expected.one and len(members) > 1:
            yield f"{ask.path}: one member should answer, and {dict(seen)} did"

    def _wrong(self, client: Client, listener: Thing, ask: Ask, expected: Expected, answer: Answer) -> str:
        """What is wrong with an answer."""
        if answer.member:
            return self._wrong_of_member(client, listener, ask, expected, answer)
        if listener["protocol"] == "UDP":
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
        return self._wrong_tls(listener, ask, answer)

    def _wrong_of_member(self, client: Client, listener: Thing, ask: Ask, expected: Expected, answer: Answer) -> str:
        if answer.member not in expected.may or answer.status != 200:
            return f"{answer.status} of {answer.member} instead of {_words(expected)}"
        heard = dict(answer.heard or {})
        if listener["protocol"] in HTTP:
            for name, value in self._oracle.inserted(listener, client.address).items():
                if heard["head"].get(name.lower()) != value:
                    return f"{answer.member} is told {name} {heard['head'].get(name.lower())!r} instead of {value!r}"
        if expected.pool is not None and listener["protocol"] != "UDP":
            wanted = self._oracle.proxied(listener, expected.pool, client.address)
            if heard["proxied"] != wanted:
                return f"{answer.member} is told {heard['proxied']} by the PROXY protocol instead of {wanted}"
        return self._wrong_tls(listener, ask, answer)

    def _wrong_tls(self, listener: Thing, ask: Ask, answer: Answer) -> str:
        if listener["protocol"] != "TERMINATED_HTTPS":
            return ""
        names = {ref: name for name, ref in self._world.references.items()}
        default = names[listener["default_tls_container_ref"]]
        wanted = ask.host.lower() if ask.host.lower() in {default, *(names[ref] for ref in listener["sni_container_refs"])} else default
        if answer.certificate != wanted:
            return f"the certificate of {answer.certificate!r} instead of {wanted!r}"
        age = listener["hsts_max_age"]
        told = answer.header("Strict-Transport-Security")
        return "" if told == (None if age is None else f"max-age={age}") else f"HSTS {told}"

    def _stays(self, client: Client, listener: Thing, ask: Ask, expected: Expected) -> Iterator[str]:
        """A client with the cookie that it was given meets its member again."""
        pool = expected.pool
        assert pool is not None
        persistence = pool["session_persistence"]
        name = f"SRV-{pool['id']}" if persistence["type"] == "HTTP_COOKIE" else persistence["cookie_name"]
        if persistence["type"] == "APP_COOKIE" and (ask.path, name) != ("/login", "session"):
            return
        first = self._ask(client, listener, ask)
        if first.member not in expected.bound:
            return
        value = first.cookie(name)
        if value is None:
            yield f"{ask.path}: {first.member} answers without the cookie {name}: {first.headers}"
            return
        for _ in range(_SHORT):
            again = self._ask(client, listener, ask.with_cookie(name, value))
            if again.member != first.member:
                yield f"{ask.path}: a client of {first.member} meets {again.word}"
                return

    def _limited(self, client: Client, listener: Thing) -> Iterator[str]:
        """More requests than are let in: the last ones are told when to come back."""
        limit = listener["rate_limit"]
        ask = ASKS[0]
        expected = self._oracle.expected(listener, ask)
        answers = [self._ask(client, listener, ask) for _ in range(limit["requests"] + 2)]
        for answer in answers:
            if answer.status == 429:
                if answer.header("Retry-After") != str(limit["period"]):
                    yield f"429 with {answer.header('Retry-After')}"
            elif said := self._wrong(client, listener, ask, expected, answer):
                yield said
        if any(answer.status != 429 for answer in answers[-2:]):
            yield f"{[answer.word for answer in answers]} at a limit of {limit['requests']}"

    def _crowd(self, client: Client, listener: Thing) -> Iterator[str]:
        """Who comes when all places are taken waits."""
        with contextlib.ExitStack() as stack:

            def come() -> socket.socket | Answer:
                tls = listener["protocol"] in TLS
                return stack.enter_context(client.connection(self._vip, listener["protocol_port"], tls=tls))

            for place in range(listener["connection_limit"]):
                opened = come()
                answer = opened if isinstance(opened, Answer) else client.ask_on(opened, self._vip, 5)
                if answer.status != 200:
                    yield f"{answer.word} on connection {place + 1} of {listener['connection_limit']}"
                    return
            if listener["protocol"] in TLS:
                return  # its hand-shake would wait, too
            late = come()
            answer = late if isinstance(late, Answer) else client.ask_on(late, self._vip, 0.5)
            if answer.ending not in ("stuck", "silent"):
                yield f"{answer.word} on one connection more than {listener['connection_limit']}"


def _words(expected: Expected) -> str:
    return f"{sorted(expected.may)} {sorted(expected.statuses)}"


def at(world: World, balancer_id: str) -> Look:
    """A look at what the API says now."""
    return Look(world, state.read(world.site.api, balancer_id))
