"""Stick tables over a reload: who stays with which server.

An old worker of HAProxy teaches its tables to the new one over the `peers` section, but not if nobody has taught it: one that is alone
waits for others for twice 5 seconds first. Until then what it has learned from clients would be lost, for it empties its tables when it is
to end. So the agent has a connection to the old worker, reads the tables until the new one serves, and sets there what that one has not
learned.

Nor does a new worker pass on what an old one is just teaching it: the new half of a pair, which asks it in that moment, gets nothing, and
is not taught later. So where a peer is named that was not before, all entries are set, which makes them news for peers; and the reload is
over only when the new peer was sent them, for what follows may be the end of the half that knew them.

Until a new worker is told that it has the tables, clients that it does not know wait (`haproxy_order`).
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Collection, Iterable, Iterator, Mapping

from amphora_agent import haproxy_config, haproxy_order, haproxy_runtime, haproxy_states, system

LOG = logging.getLogger(__name__)
_TAUGHT = 0x3
"""The bits of a `peers` section's flags that say that it has learned what there was to learn (PEERS_F_RESYNC_LOCAL and _REMOTE)."""
_FLAGS = re.compile(r" id=\S+ disabled=\d+ flags=0x([0-9a-f]+) resync_timeout=").search
_ENTRY = re.compile(r"0x[0-9a-f]+: key=(?P<key>.*) use=\d+ (?:.* )?server_id=(?P<id>\d+)(?: server_key=(?P<server>\S+))?").match
_SIZES = re.compile(r"(?m)^# table: (?P<table>[^,\s]+), .*\bused:(?P<used>\d+)").finditer
_SAFE_KEY = re.compile(r"(?:[!-\[\]-~]|\\[\\= ])+").fullmatch
"""What HAProxy shows of a key and takes back as it is: printable ASCII, with a backslash before another, `=` and a blank."""
_PEER = re.compile(r"id=(?P<name>\S+?)\((?:local|remote),").search
_SENT = re.compile(r"\blast_pushed=(\d+)").search
_NEWS = re.compile(r"\bid=(?P<table>\S+) .*\blocalupdate=(?P<newest>\d+)").search
LESSON = 1.0
"""Seconds that a worker has for what another one teaches it: it takes some milliseconds, more with many clients."""
INTRODUCTION = 3.0
"""Seconds until a peer that was not known before is connected and was sent all entries."""
_LINE = 12_000
"""Bytes of commands in one line: HAProxy's buffer for one takes 16 KiB."""


@contextlib.contextmanager
def kept(runtime: haproxy_runtime.RuntimeApi, old: str | None, new: str) -> Iterator[Carrier]:
    """What to have around a reload: `read()` while it lasts, and `carry()` afterwards."""
    tables = [] if old is None else list(same_tables(old, new))
    with contextlib.ExitStack() as stack:
        session, teaches = None, False
        try:
            if tables:
                session, teaches = stack.enter_context(runtime.session()), _teaches(runtime.ask("show peers"))
        except haproxy_runtime.RuntimeFailed as exc:
            LOG.warning("Clients may change servers by this reload: %s", exc)
        carrier = Carrier(runtime, session, tables, teaches, new_peers(old or "", new))
        carrier.read()
        yield carrier


class Carrier:
    """Carries entries from the worker at the other end of a session to the present one, as far as it does not teach them itself."""

    def __init__(
        self,
        runtime: haproxy_runtime.RuntimeApi,
        old: haproxy_runtime.Session | None,
        tables: Iterable[str],
        teaches: bool,
        new_peers: frozenset[str],
    ) -> None:
        self._runtime, self._old, self._teaches, self._new_peers = runtime, old, teaches, new_peers
        self._found: dict[str, dict[str, str]] = {table: {} for table in tables}  # server's name by key, by table

    @property
    def names(self) -> Collection[str]:
        """The backends whose tables it carries."""
        return self._found.keys()

    def read(self) -> None:
        """Take in what the old worker knows now: clients come while the new one starts. Of one that teaches, once is enough."""
        if self._old is None or (self._teaches and any(self._found.values())):
            return
        try:
            servers = haproxy_states.rows(self._old.ask("show servers state"))
            for table, found in self._found.items():
                found.update(entries(self._old.ask(f"show table {table}"), table, servers))
        except haproxy_runtime.RuntimeFailed as exc:
            LOG.info("The old worker tells no more of its clients: %s", exc)
            self._old = None

    def carry(self) -> None:
        """Put what was read into the new worker; what clients have set there meanwhile is newer, and stays."""
        wanted = {table: len(found) for table, found in self._found.items() if found}
        try:
            if self._teaches and wanted:
                system.wait_until(lambda: self._has_learned(wanted), LESSON)
            present = haproxy_states.rows(self._runtime.server_states()) if wanted else {}
            for table in wanted:
                self._fill(table, present)
        except haproxy_runtime.RuntimeFailed as exc:
            LOG.warning("Clients may have changed servers: %s", exc)
        if self._found:
            self._have_it_know()

    def _have_it_know(self) -> None:
        try:
            self._runtime.ask(haproxy_order.HAS_LEARNED)
        except haproxy_runtime.RuntimeFailed as exc:
            LOG.warning("New clients may have to wait: %s", exc)

    def introduce(self) -> None:
        """Wait until a new peer knows all clients."""
        wanted = [table for table, found in self._found.items() if found]
        try:
            if wanted and self._new_peers:
                self._await_new_peers(wanted)
        except haproxy_runtime.RuntimeFailed as exc:
            LOG.warning("A new peer may not know all clients: %s", exc)

    def _has_learned(self, wanted: Mapping[str, int]) -> bool:
        sizes = {match["table"]: int(match["used"]) for match in _SIZES(self._runtime.ask("show table"))}
        return all(sizes.get(table, 0) >= count for table, count in wanted.items())

    def _fill(self, table: str, servers: Mapping[haproxy_states.Key, haproxy_states.Row]) -> None:
        taken = dict(entries(self._runtime.ask(f"show table {table}"), table, servers))
        missing = {key: name for key, name in self._found[table].items() if key not in taken}
        for line in _lines(commands(table, ({**missing, **taken} if self._new_peers else missing).items(), servers)):
            self._runtime.ask(line)
        LOG.info("%s entries of table %s were carried to the new worker", len(missing), table)

    def _await_new_peers(self, tables: Iterable[str]) -> None:
        def are_told() -> bool:
            said = self._runtime.ask("show peers")
            return all(is_told(said, peer, tables) for peer in self._new_peers)

        if not system.wait_until(are_told, INTRODUCTION):
            LOG.warning("A new peer was not sent all clients yet: %s", ", ".join(sorted(self._new_peers)))


def same_tables(old: str, new: str) -> Iterator[str]:
    """The backends whose stick tables mean the same in both configurations."""
    if "stick-table " not in new:
        return
    before = {section.backend: _sticking(section) for section in haproxy_config.all_backends(old)}
    for section in haproxy_config.all_backends(new):
        lines = _sticking(section)
        if lines and section.backend is not None and before.get(section.backend) == lines:
            yield section.backend


def new_peers(old: str, new: str) -> frozenset[str]:
    """The names of peers that only the new configuration has."""
    return frozenset(_peers(new).keys() - _peers(old).keys())


def ports_of_peers(text: str) -> frozenset[int]:
    """Where the HAProxies of a pair find each other."""
    ports = (address.rpartition(":")[2] for address in _peers(text).values())
    return frozenset(int(port) for port in ports if port.isdecimal())


def is_told(shown: str, peer: str, tables: Iterable[str]) -> bool:
    """Whether, by the answer to `show peers`, a peer was sent the newest of each of these tables."""
    told: set[str] = set()
    name, sent = "", 0
    for line in shown.splitlines():
        if found := _PEER(line):
            name = found["name"]
        elif pushed := _SENT(line):
            sent = int(pushed[1])
        elif name == peer and (news := _NEWS(line)) and sent >= int(news["newest"]):
            told.add(news["table"])
    return told >= set(tables)


def entries(dump: str, table: str, servers: Mapping[haproxy_states.Key, haproxy_states.Row]) -> list[tuple[str, str]]:
    """The key and the server's name of each entry of `show table`, as it is written there."""
    names = {row.number: name for (backend, name), row in servers.items() if backend == table}
    found = []
    for line in dump.splitlines():
        entry = _ENTRY(line)
        if entry is not None:
            server = entry["server"]
            name = names.get(entry["id"]) if server in (None, "-") else server
            found.extend([(entry["key"], name)] if name else [])
    return found


def commands(table: str, found: Iterable[tuple[str, str]], servers: Mapping[haproxy_states.Key, haproxy_states.Row]) -> Iterator[str]:
    """What sets these entries in a worker with these servers; who is gone has no clients any more."""
    for key, name in found:
        server = servers.get((table, name))
        if server is not None and _SAFE_KEY(key):
            yield f"set table {table} key {key.replace(';', chr(92) + ';')} data.server_id {server.number}"


def _lines(several: Iterable[str]) -> Iterator[str]:
    line = ""
    for command in several:
        if line and len(line) + len(command) >= _LINE:
            yield line
            line = ""
        line = f"{line};{command}" if line else command
    if line:
        yield line


def _sticking(section: haproxy_config.Section) -> tuple[str, ...]:
    """What keys are, and where they are found; how many are kept and for how long does not change what they mean."""
    return tuple(line.partition(" size ")[0] for line in section.lines if line.startswith(("stick-table ", "stick ")))


def _peers(text: str) -> dict[str, str]:
    """Their addresses by their names."""
    lines = (line.split() for chunk in haproxy_config.cut(text) if chunk.startswith("peers") for line in chunk.splitlines())
    return {words[1]: words[2] for words in lines if len(words) > 2 and words[0] == "peer"}


def _teaches(peers: str) -> bool:
    flags = _FLAGS(peers)
    return flags is not None and int(flags[1], 16) & _TAUGHT == _TAUGHT
