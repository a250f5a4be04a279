"""Pure: HAProxy's `show servers state` as rows, what of them is still true under another configuration, and how they differ from one.

The table's columns are those of the Management Guide of HAProxy, section 9.3, "show servers state", version 1 of the format.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

from amphora_agent import addresses, haproxy_config
from amphora_agent.protocol import heartbeat, rendered

Key = tuple[str, str]
"""A backend's and a server's name."""

_HEADING = (
    "# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight srv_time_since_last_change "
    "srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn srv_port "
    "srvrecord srv_use_ssl srv_check_port srv_check_addr srv_agent_addr srv_agent_port"
)
_BACKEND, _NUMBER, _SERVER, _ADDRESS, _OPERATION, _ADMIN, _WEIGHT, _STARTING_WEIGHT = range(1, 9)
_CHECK_STATUS, _CHECK_HEALTH = 10, 12
_PORT, _TLS, _CHECK_PORT, _CHECK_ADDRESS = 18, 20, 21, 22
_COLUMNS = 20
_STOPPED, _RUNNING = "0", "2"
_NOT_CHECKED, _FAILED = ("1", "0"), ("8", "2")
"""Status and result of a check that was not made yet, and of one that found nobody."""
MAINTENANCE = 0x63
"""The bits of HAProxy's administrative state that take a server out (forced, inherited, by resolution, by host name)."""
_DRAINING = 0x18

_SHAPING_LINES = frozenset(("default-server", "external-check", "http-check", "mode", "tcp-check"))
_SHAPING_TIMEOUTS = frozenset(("check", "connect"))
_FLAGS_BESIDE_CHECKS = frozenset(("backup", "non-stick"))
_WORDS_BESIDE_CHECKS = frozenset(("cookie", "id", "maxconn", "maxqueue", "minconn", "pool-max-conn", "pool-purge-delay", "slowstart"))
"""Words of a `server` line, the latter with a value, that do not shape its check. Whatever else stands there may, so it counts."""


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One server as it runs."""

    columns: tuple[str, ...]

    @property
    def key(self) -> Key:
        """Its backend's and its own name."""
        return self.columns[_BACKEND], self.columns[_SERVER]

    @property
    def number(self) -> str:
        """The id that HAProxy knows it by inside its backend."""
        return self.columns[_NUMBER]

    @property
    def maintenance(self) -> bool:
        """Whether it is taken out by hand or by its configuration."""
        return bool(int(self.columns[_ADMIN]) & MAINTENANCE)

    @property
    def stopped(self) -> bool:
        """Whether it gets no traffic because its check says so."""
        return self.columns[_OPERATION] == _STOPPED

    @property
    def serves(self) -> bool:
        """Whether it takes new clients."""
        return not self.stopped and not self.maintenance and self.columns[_WEIGHT] != "0"

    @property
    def unchecked(self) -> bool:
        """Whether no check of it has come to an end."""
        return self.columns[_CHECK_STATUS] == _NOT_CHECKED[0]  # the result says so, too, each time while a check is under way

    @property
    def passed(self) -> bool:
        """Whether the last check that came to an end found it fit; of one that is stopped."""
        return self.columns[_CHECK_HEALTH] != "0"

    def brought_up(self) -> Row:
        """The same server, as one that serves."""
        return self.with_columns({_OPERATION: _RUNNING})

    def with_columns(self, changes: Mapping[int, str]) -> Row:
        """The same with other values in some columns."""
        return Row(tuple(changes.get(position, value) for position, value in enumerate(self.columns)))

    def difference(self, wanted: haproxy_config.Server) -> str | None:
        """What the server is, and should not be; None if it is as wanted, as far as the table shows it."""
        address, _, port = wanted.address.rpartition(":")
        own = wanted.check_target
        facts = (
            ("weight", self.columns[_WEIGHT], str(wanted.weight)),
            ("state", _switch(int(self.columns[_ADMIN])), "maintenance" if wanted.disabled else "ready"),
            ("address", self.columns[_ADDRESS], address.strip("[]")),
            ("port", self.columns[_PORT], port),
            ("use of TLS", self._column(_TLS, _flag(wanted.speaks_tls)), _flag(wanted.speaks_tls)),
            ("port of its check", self._column(_CHECK_PORT, "0"), own.get("port", "0")),
            ("address of its check", self._column(_CHECK_ADDRESS, "-"), own.get("addr", "-")),
        )
        for fact, runs, asked in facts:
            if runs != asked and addresses.packed(runs) != addresses.packed(asked):
                return f"has another {fact} than was asked for"
        return None

    def _column(self, position: int, default: str) -> str:
        return self.columns[position] if len(self.columns) > position else default


def rows(dump: str) -> dict[Key, Row]:
    """The servers of the table."""
    found = (tuple(line.split()) for line in dump.splitlines() if not line.startswith("#"))
    return {row.key: row for row in (Row(columns) for columns in found if len(columns) >= _COLUMNS)}


@dataclasses.dataclass(frozen=True, slots=True)
class Start:
    """What a worker is to know of servers when it starts: the text of the state file, and who begins DOWN until it is checked."""

    text: str
    unchecked: frozenset[Key]


def start(running: Mapping[Key, Row], old: str | None, new: str) -> Start:
    """What a worker that starts with the configuration `new` is to know of the health that was seen under `old`.

    It is what is still true: the health of servers whose check, address and port are the same in both. Who is checked otherwise than
    before starts as in a fresh process, if it served: UP, until a check fails. Who did not serve, or is new, or is not known, has to
    pass its first check. Weights, switches, the use of TLS and targets of checks come from `new` alone; HAProxy would take those of the
    file instead.
    """
    found = list(_beginnings(running, old, new))
    unchecked = frozenset(row.key for row in found if row.stopped and row.unchecked)
    return Start("\n".join(["1", _HEADING, *(" ".join(row.columns) for row in found)]) + "\n", unchecked)


def seen(members: Mapping[str, Mapping[str, str]]) -> dict[Key, Row]:
    """What was last reported of servers (words of `report.member_status`, by backend and name), as rows: HAProxy itself is gone."""
    return {(backend, name): _seen(backend, name, word) for backend, servers in members.items() for name, word in servers.items()}


def differences(dump: str, wanted: Mapping[str, Mapping[str, haproxy_config.Server]], lingering: frozenset[Key] = frozenset()) -> list[str]:
    """How the running servers of some backends differ from the wanted ones, a sentence for each; `lingering` ones may still be there."""
    running = rows(dump)
    found = []
    for (backend, name), row in running.items():
        if backend in wanted and name not in wanted[backend] and not ((backend, name) in lingering and row.maintenance):
            found.append(f"server {backend}/{name} is not wanted, and serves")
    for backend, servers in wanted.items():
        for server in servers.values():
            present = running.get((backend, server.name))
            difference = "is missing" if present is None else present.difference(server)
            if difference is not None:
                found.append(f"server {backend}/{server.name} {difference}")
    return found


def check_shape(section: haproxy_config.Section, server: haproxy_config.Server) -> tuple[str, ...]:
    """All words of a backend and of a server in it that say what its check is; `section` has what it inherits."""
    return (server.address, *(line for line in section.lines if _shapes(line)), *_shaping_words(server.words))


def _beginnings(running: Mapping[Key, Row], old: str | None, new: str) -> Iterator[Row]:
    before = {} if old is None else {section.backend: section for section in haproxy_config.all_backends(old)}
    for section in haproxy_config.all_backends(new):
        name = section.backend or ""
        for server in section.servers.values():
            if server.disabled or not server.checked:
                continue
            was = _home(server, before.get(f"{rendered.NEXT_BACKEND}{name}"), before.get(name))
            known = None if was is None else was.servers.get(server.name)
            row = None if was is None else running.get((was.backend or "", server.name))
            if was is None or known is None or known.disabled or row is None or row.maintenance:
                yield _unchecked(section, server)
            elif check_shape(was, known) == check_shape(section, server):
                yield row.with_columns({_BACKEND: name, **_asked_for(server)})
            elif row.stopped:
                yield _unchecked(section, server)


def _home(
    server: haproxy_config.Server, introduced: haproxy_config.Section | None, serving: haproxy_config.Section | None
) -> haproxy_config.Section | None:
    """The backend where a server was checked."""
    return introduced if introduced is not None and server.name in introduced.servers else serving


def _unchecked(section: haproxy_config.Section, server: haproxy_config.Server) -> Row:
    return _row(section.backend or "", server.name, _STOPPED, _NOT_CHECKED).with_columns(_asked_for(server))


def _seen(backend: str, name: str, word: str) -> Row:
    checked = _FAILED if word == "DOWN" else _NOT_CHECKED
    row = _row(backend, name, _STOPPED if word in ("DOWN", heartbeat.UNCHECKED) else _RUNNING, checked)
    return row.with_columns({_ADMIN: "1"}) if word == "MAINT" else row


def _row(backend: str, name: str, operation: str, checked: tuple[str, str]) -> Row:
    status, result = checked
    return Row(tuple(f"0 {backend} 0 {name} - {operation} 0 1 1 0 {status} {result} 0 6 0 0 0 - 0 - 0 0 - - 0".split()))


def _asked_for(server: haproxy_config.Server) -> dict[int, str]:
    """What never comes from the state of an earlier worker."""
    weight, port = str(server.weight), server.address.rpartition(":")[2]
    switches = {_ADMIN: "0", _TLS: _flag(server.speaks_tls)}
    return {_PORT: port, **switches, _WEIGHT: weight, _STARTING_WEIGHT: weight, _CHECK_PORT: "0", _CHECK_ADDRESS: "-"}


def _flag(value: bool) -> str:
    return "1" if value else "0"


def _shapes(line: str) -> bool:
    first, second, third, *_ = [*line.split(), "", "", ""]
    if first == "no":
        first, second = second, third
    if first == "option":  # by one of these HAProxy chooses the kind of check: httpchk, tcp-check, external-check, ssl-hello-chk ...
        return second.endswith(("-check", "chk"))
    return first in _SHAPING_LINES or (first == "timeout" and second in _SHAPING_TIMEOUTS)


def _shaping_words(words: Sequence[str]) -> Iterator[str]:
    remaining = iter(words)
    for word in remaining:
        if word in _WORDS_BESIDE_CHECKS:
            next(remaining, None)
        elif word not in _FLAGS_BESIDE_CHECKS:
            yield word


def _switch(admin: int) -> str:
    if admin & MAINTENANCE:
        return "maintenance"
    return "drain" if admin & _DRAINING else "ready"
