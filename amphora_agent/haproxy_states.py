"""Pure: HAProxy's `show servers state` as rows, what of them is still true under another configuration, and how they differ from one.

The table's columns are those of the Management Guide of HAProxy, section 9.3, "show servers state", version 1 of the format.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

from amphora_agent import addresses, haproxy_config

Key = tuple[str, str]
"""A backend's and a server's name."""

_HEADING = (
    "# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight srv_time_since_last_change "
    "srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn srv_port "
    "srvrecord srv_use_ssl srv_check_port srv_check_addr srv_agent_addr srv_agent_port"
)
_BACKEND, _SERVER, _ADDRESS, _OPERATION, _ADMIN, _WEIGHT, _STARTING_WEIGHT = 1, 3, 4, 5, 6, 7, 8
_PORT, _CHECK_PORT, _CHECK_ADDRESS = 18, 21, 22
_COLUMNS = 20
_STOPPED = "0"
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
    def maintenance(self) -> bool:
        """Whether it is taken out by hand or by its configuration."""
        return bool(int(self.columns[_ADMIN]) & MAINTENANCE)

    @property
    def stopped(self) -> bool:
        """Whether it gets no traffic because its check says so."""
        return self.columns[_OPERATION] == _STOPPED

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
            ("address", addresses.packed(self.columns[_ADDRESS]), addresses.packed(address.strip("[]"))),
            ("port", self.columns[_PORT], port),
            ("port of its check", self._column(_CHECK_PORT, "0"), own.get("port", "0")),
            ("address of its check", addresses.packed(self._column(_CHECK_ADDRESS, "-")), addresses.packed(own.get("addr", "-"))),
        )
        return next((f"has another {fact} than was asked for" for fact, runs, asked in facts if runs != asked), None)

    def _column(self, position: int, default: str) -> str:
        return self.columns[position] if len(self.columns) > position else default


def rows(dump: str) -> dict[Key, Row]:
    """The servers of the table."""
    found = (tuple(line.split()) for line in dump.splitlines() if not line.startswith("#"))
    return {row.key: row for row in (Row(columns) for columns in found if len(columns) >= _COLUMNS)}


def state_file(dump: str, old: str | None, new: str) -> str:
    """What a worker that starts with the configuration `new` is to know of the health that `dump` shows under `old`.

    It is what is still true: the health of servers whose check, address and port are the same in both. All others start as in a fresh
    process: their last check was another one, of another target, or none. Weights, switches and targets of checks come from `new`
    alone; HAProxy would take those of the file instead.
    """
    kept = list(_kept(rows(dump), old, new))
    return "\n".join(["1", _HEADING, *(" ".join(row.columns) for row in kept)]) + "\n"


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


def _kept(running: Mapping[Key, Row], old: str | None, new: str) -> Iterator[Row]:
    before = {} if old is None else {section.backend: section for section in haproxy_config.backends(old)}
    for section in haproxy_config.backends(new):
        was = before.get(section.backend)
        for server in section.servers.values():
            known = None if was is None else was.servers.get(server.name)
            row = running.get((section.backend or "", server.name))
            if was is None or known is None or row is None or row.maintenance:
                continue
            if known.disabled or server.disabled or not server.checked:
                continue
            if check_shape(was, known) == check_shape(section, server):
                yield row.with_columns(_asked_for(server))


def _asked_for(server: haproxy_config.Server) -> dict[int, str]:
    """What never comes from the state of an earlier worker."""
    weight = str(server.weight)
    return {_ADMIN: "0", _WEIGHT: weight, _STARTING_WEIGHT: weight, _CHECK_PORT: "0", _CHECK_ADDRESS: "-"}


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
