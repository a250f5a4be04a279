"""Members that are to serve no more finish what they have begun, for as long as their pool allows.

A backend says for how many seconds in a comment, `# drain-timeout <seconds>`, which HAProxy and older agents pass over: HAProxy knows
`shutdown sessions server`, but nothing that gives it at a time. Since when a server drains is written down, so that no other agent and no
other worker begins anew. Who drains by weight 0 still gets those who were with it before; when the time is over, it is put in maintenance,
so that they go elsewhere.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import pathlib
import re
import time
from collections.abc import Callable, Collection, Iterable, Mapping

from amphora_agent import haproxy_config, haproxy_runtime, system

LOG = logging.getLogger(__name__)
Key = tuple[str, str]
"""A backend's and a server's name."""
Ask = Callable[[str], str]
"""A worker that answers commands."""

_COMMENT = re.compile(r"(?m)^[ \t]*# drain-timeout ([1-9][0-9]{0,5})[ \t]*$").search
_SESSIONS = re.compile(r"(?m)^(0x[0-9a-f]+): .* be=(\S+) srv=(\S+) ").findall
_AT_ONCE = 100
"""So many servers are looked after in one second: each costs a command for each worker."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Drain:
    since: float  # by the monotonic clock, which all processes of a machine share
    limit: int  # seconds


class Drains:
    """Who drains, since when, and who has had its time; `path` outlives the agent, but need not outlive the machine."""

    def __init__(self, path: pathlib.Path, runtime: haproxy_runtime.RuntimeApi) -> None:
        self._path = path
        self._runtime = runtime
        self._drains = self._read()
        self._ended: set[Key] = set()  # servers that the present worker has, in maintenance since their time was over

    def follow(self, old: str, new: str) -> None:
        """Configuration `new` is to take the place of `old`: begin or end drains. `old` may be `new`, if nobody knows what was before."""
        before, after = timeouts(old), timeouts(new)
        if not (before or after or self._drains):
            return
        was, now = haproxy_config.servers_of(old), haproxy_config.servers_of(new)
        limits = {backend: limit for backend, limit in before.items() if backend not in now} | after
        candidates = {(backend, name) for backend in limits for name in (*was.get(backend, ()), *now.get(backend, ()))}
        earlier = {key for key in self._drains if key[0] in limits or key[0] not in now}
        found = {}
        for key in candidates | earlier:
            if not _serves(now, key):
                known = self._drains.get(key)
                limit = limits.get(key[0], 0) or (known.limit if known is not None else 0)
                found[key] = _Drain(time.monotonic() if known is None else known.since, limit)
        self._keep(found)

    def settle(self) -> None:
        """The present worker was led to the configuration that was followed last: who came back is not in maintenance any more."""
        self._ended &= self._drains.keys()

    def forget(self) -> None:
        """Nobody serves any more."""
        self._drains.clear()
        self._ended.clear()
        self._path.unlink(missing_ok=True)

    def forget_worker(self) -> None:
        """Another worker serves: its servers are as its configuration says."""
        self._ended.clear()

    def end_overdue(self, config: Callable[[], str], former: Callable[[], Iterable[Ask]]) -> None:
        """Cut what goes on to servers whose time is over: in the present worker, which runs `config`, and in `former` ones, which finish
        connections. Neither is asked for while nobody is overdue.
        """
        now = time.monotonic()
        due = [key for key, drain in self._drains.items() if key not in self._ended and not 0 <= now - drain.since < drain.limit]
        if not due:
            return
        servers, kept = haproxy_config.servers_of(config()), dict(self._drains)
        for ask in former():
            try:
                _cut(ask, {key for key in due if not _serves(servers, key)})
            except haproxy_runtime.RuntimeFailed as exc:
                LOG.info("A worker of before a reload has nothing more to cut: %s", exc)
        for key in due[:_AT_ONCE]:
            backend, name = key
            if _serves(servers, key):  # the change was refused
                del kept[key]
                continue
            present = servers.get(backend, {}).get(name)
            try:
                if present is not None and not present.disabled:
                    self._runtime.order(f"set server {backend}/{name} state maint")
                self._runtime.ask(f"shutdown sessions server {backend}/{name}")
            except haproxy_runtime.RuntimeFailed as exc:
                LOG.warning("Connections to a member whose time is over can't be cut now: %s", exc)
                return
            LOG.info("Server %s/%s has had %s s to finish", backend, name, kept[key].limit)
            if present is None:
                del kept[key]
            else:
                self._ended.add(key)
        self._keep(kept)

    def as_run(self, config: str) -> str:
        """A configuration with those in maintenance whose time was over: so the present worker has them."""
        if not self._ended:
            return config
        backends = {backend for backend, _ in self._ended}
        return "".join(self._marked(chunk) if _backend(chunk) in backends else chunk for chunk in haproxy_config.cut(config))

    def _marked(self, chunk: str) -> str:
        lines = []
        for line in chunk.splitlines(keepends=True):
            if line.lstrip().startswith("server "):
                server = haproxy_config.parse_server(line.strip())
                if (_backend(chunk), server.name) in self._ended and server.weight == 0 and not server.disabled:
                    line = f"{line.rstrip()} disabled\n"
            lines.append(line)
        return "".join(lines)

    def _read(self) -> dict[Key, _Drain]:
        def parse(content: bytes) -> dict[Key, _Drain]:
            rows = json.loads(content)
            return {(str(backend), str(name)): _Drain(float(since), int(limit)) for backend, name, since, limit in rows}

        return system.recall(self._path, parse) or {}

    def _keep(self, drains: Mapping[Key, _Drain]) -> None:
        if drains != self._drains:
            self._drains = dict(drains)
            rows = [[*key, drain.since, drain.limit] for key, drain in drains.items()]
            try:
                system.write_file(self._path, json.dumps(rows).encode(), durable=False)
            except OSError as exc:  # HAProxy serves all the same
                LOG.warning("Since when members drain can't be written down: %s", exc)


def timeouts(config: str) -> dict[str, int]:
    """The seconds of `drain_timeout`, of each backend that has one."""
    if "# drain-timeout " not in config:
        return {}
    found = ((_backend(chunk), _COMMENT(chunk)) for chunk in haproxy_config.cut(config))
    return {backend: int(said[1]) for backend, said in found if backend is not None and said is not None}


def _backend(chunk: str) -> str | None:
    return chunk.split(maxsplit=2)[1] if chunk.startswith("backend") else None


def _cut(ask: Ask, servers: Collection[Key]) -> None:
    """End the sessions with these servers one by one: a worker that stops refuses `shutdown sessions server`, for its proxies are disabled.

    :raises RuntimeFailed: it does not answer.
    """
    for session, backend, name in _SESSIONS(ask("show sess")):
        if (backend, name) in servers:
            ask(f"shutdown session {session}")


def _serves(servers: Mapping[str, Mapping[str, haproxy_config.Server]], key: Key) -> bool:
    server = servers.get(key[0], {}).get(key[1])
    return server is not None and server.weight != 0 and not server.disabled
