"""Pure: what a HAProxy configuration says of servers, the agent's own part of it, and which runtime commands lead from one to the next."""

from __future__ import annotations

import dataclasses
import functools
import ipaddress
import re
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence

from amphora_agent import certificates

_SECTION = (
    r"(?:backend|cache|defaults|fcgi-app|frontend|global|http-errors|listen|log-forward|mailers|peers|program|resolvers|ring|userlist)\b"
)
_CUT = re.compile(rf"\n[ \t]*(?={_SECTION})")  # begins with a letter, so that most of a text is passed over quickly
_HEADER = re.compile(_SECTION)
_LIMIT = re.compile(r"(?m)^[ \t]*maxconn[ \t]+([0-9]+)(?=\s|$)").search
_NAME = re.compile(r"[0-9A-Za-z_.:-]+").fullmatch
DEFAULT_MAXCONN = 50_000
HIGHEST_MAXCONN = 1_000_000
_SESSIONS = 10_000
SMALLEST_ROOM = 65_536
_LEAST_OF_A_CONNECTION = 4096
"""Bytes that a connection takes at least, in HAProxy and in the kernel, if nothing is under way on it."""
HIGHEST_WEIGHT = 256
_STATIC_SERVER_DEFAULTS = {"pool-max-conn": "-1", "pool-purge-delay": "5s"}


@dataclasses.dataclass(frozen=True, slots=True)
class Server:
    """One `server` line. `words` are all that follow the address but the weight and `disabled`, which change at run time."""

    name: str
    address: str
    weight: int
    disabled: bool
    words: tuple[str, ...]

    @property
    def backup(self) -> bool:
        """Whether it serves only when the others are down."""
        return "backup" in self.words

    @property
    def serves(self) -> bool:
        """Whether it gets clients while it is fit."""
        return self.weight != 0 and not self.disabled

    @property
    def check_target(self) -> dict[str, str]:
        """The address (`addr`) and `port` that its check has of its own."""
        pairs = zip(self.words, self.words[1:], strict=False)
        return {word: value.strip("[]") for word, value in pairs if word in ("addr", "port")}

    @property
    def checked(self) -> bool:
        """Whether its own line asks for a health check."""
        return "check" in self.words

    @property
    def speaks_tls(self) -> bool:
        """Whether clients' requests go to it over TLS."""
        return "ssl" in self.words


@dataclasses.dataclass(frozen=True, slots=True)
class Section:
    """A section: its header, its lines but the servers, and its servers by name, in order."""

    header: str
    lines: tuple[str, ...]
    servers: Mapping[str, Server]

    @property
    def backend(self) -> str | None:
        """Its name if it is a backend."""
        kind, _, name = self.header.partition(" ")
        return name.strip() if kind == "backend" else None


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """What leads from one configuration to the next without a reload: per backend the servers that come, change and go.

    `renewed` come back from maintenance, and are to be checked first: they go and come.
    """

    added: tuple[tuple[Section, Server], ...]
    renewed: tuple[tuple[Section, Server], ...]
    weighed: tuple[tuple[str, Server], ...]
    switched: tuple[tuple[str, Server], ...]
    removed: tuple[tuple[str, str], ...]
    touched: tuple[str, ...]
    limited: tuple[tuple[str, int], ...] = ()  # frontends with another number of connections

    @property
    def leaving(self) -> frozenset[tuple[str, str]]:
        """Who is to get no more clients."""
        off = [(backend, server.name) for backend, server in (*self.weighed, *self.switched) if not server.serves]
        return frozenset((*off, *self.removed))


@functools.lru_cache(maxsize=3)
def cut(text: str) -> tuple[str, ...]:
    """The text of each section, its header first.

    Kept of the texts that a change is about (the one before, the next one, and that with its notes), because it asks several times, and
    thousands of servers take a while.
    """
    before, *chunks = _CUT.split(f"\n{text}")
    ended = [f"{before[1:]}\n", *(f"{chunk}\n" for chunk in chunks)]
    ended[-1] = ended[-1][:-1]
    return tuple(chunk for chunk in ended if chunk[:1].isalpha() or any(_lines(chunk)))


def has_stick_table(line: str) -> bool:
    """Whether a line of a backend makes a stick table."""
    return line.lstrip().startswith("stick-table ")


def number(name: str) -> int:
    """The number of a server of this name where servers have one, if nobody else has it."""
    return zlib.crc32(name.encode()) & 0x7FFFFFFF or 1


def parse(text: str) -> list[Section]:
    """Read a configuration; comments and empty lines do not count."""
    return [_section(chunk) for chunk in cut(text)]


def parse_server(line: str) -> Server:
    """Read a `server` line. A line that is too short for one is left to HAProxy to refuse."""
    parts = [*line.split()[1:], "", ""]
    weight, disabled, words = 1, False, list[str]()
    rest = iter(parts[2:-2])
    for word in rest:
        if word == "weight":
            value = next(rest, "")
            weight = int(value) if value.isdecimal() else -1
        elif word in ("disabled", "enabled"):
            disabled = word == "disabled"
        else:
            words.append(word)
    return Server(parts[0], parts[1], weight, disabled, tuple(words))


def servers_of(text: str, backends: Collection[str] | None = None) -> dict[str, Mapping[str, Server]]:
    """The servers of each backend, or of these backends only."""
    if backends is None:
        return {section.backend or "": section.servers for section in all_backends(text)}
    chunks = [(_name(chunk), chunk) for chunk in cut(text) if chunk.startswith("backend")]
    return {name: _section(chunk).servers for name, chunk in chunks if name in backends}


@functools.lru_cache(maxsize=2)
def all_backends(text: str) -> tuple[Section, ...]:
    """Each backend, with the lines of the `defaults` section that stands before it at the head of its own.

    Kept of the two texts that a reload is about, because it asks several times, and thousands of servers take a while.
    """
    found = []
    inherited: tuple[str, ...] = ()
    for chunk in cut(text):
        if chunk.startswith("defaults"):
            inherited = _section(chunk).lines
        elif chunk.startswith("backend"):
            section = _section(chunk)
            found.append(dataclasses.replace(section, lines=(*inherited, *section.lines)))
    return tuple(found)


def addresses_of_external_checks(text: str) -> dict[tuple[str, str], str]:
    """By backend and server: the address that an external check is to look at, where it is not the server's own."""
    if "option external-check" not in text:
        return {}
    return {
        (section.backend or "", server.name): address
        for section in all_backends(text)
        if "option external-check" in section.lines
        for server in section.servers.values()
        if (address := server.check_target.get("addr"))
    }


@functools.lru_cache(maxsize=1)
def plan(old: str, new: str) -> Plan | None:
    """The way from `old` to `new` by runtime commands, or None where only a reload leads there."""
    before, after = cut(old), cut(new)
    if len(before) != len(after) or certificates.verify_otherwise(certificates.of(old), certificates.of(new)):
        return None
    added: list[tuple[Section, Server]] = []
    renewed: list[tuple[Section, Server]] = []
    weighed: list[tuple[str, Server]] = []
    switched: list[tuple[str, Server]] = []
    removed: list[tuple[str, str]] = []
    limited: list[tuple[str, int]] = []
    for old_chunk, new_chunk in zip(before, after, strict=True):
        if old_chunk == new_chunk:
            continue  # of a large configuration all but a section or two are the same to the letter
        was, now = _section(old_chunk), _section(new_chunk)
        if _differ_in_limit(was, now):
            limited.append((new_chunk.split(maxsplit=2)[1], _limit(now)))
            continue
        if (was.header, was.lines) != (now.header, now.lines):
            return None
        if was.servers == now.servers and list(was.servers) == list(now.servers):
            continue
        backend = now.backend
        if backend is None or _order_matters(was.servers, now.servers):
            return None
        for name, server in now.servers.items():
            known = was.servers.get(name)
            if known is None:
                added.append((with_defaults(now, after), server))
            elif (known.address, known.words) != (server.address, server.words):
                return None
            else:
                if known.disabled and not server.disabled and server.checked:
                    renewed.append((with_defaults(now, after), server))
                    continue
                weighed.extend([(backend, server)] if known.weight != server.weight else [])
                switched.extend([(backend, server)] if known.disabled != server.disabled else [])
        removed.extend((backend, name) for name in was.servers if name not in now.servers)
        come_or_go = was.servers.keys() != now.servers.keys() or any(section.backend == backend for section, _ in renewed)
        if come_or_go and "option external-check" in now.lines:
            return None  # HAProxy 2.6 crashes on `enable health` of a server with an external check that came at run time
    if any("cookie" in server.words for _, server in (*added, *renewed)):
        return None  # HAProxy 2.6 takes no server with a cookie of its own at run time
    come = (section.backend or "" for section, _ in (*added, *renewed))
    names = dict.fromkeys([*come, *(name for name, _ in (*weighed, *switched, *removed))])
    return Plan(tuple(added), tuple(renewed), tuple(weighed), tuple(switched), tuple(removed), tuple(names), tuple(limited))


def differ_plainly(old: str, new: str) -> bool:
    """Whether `new` is `old` but for servers, so plainly that HAProxy takes the one if it took the other: weights, switches, servers less,
    and servers more of whose kind their backend has others.
    """
    found = plan(old, new)
    if found is None or found.limited or not new.isascii() or certificates.of(old) != certificates.of(new):
        return False
    if found.removed and " track " in new:
        return False
    kinds = {section.backend: _kinds(section, found.added) for section, _ in found.added}
    return (
        all(0 <= server.weight <= HIGHEST_WEIGHT for _, server in (*found.weighed, *found.added))
        and all(_is_plain(server) and server.words in kinds[section.backend] for section, server in found.added)
        and all(_has_unique_names(chunk) for chunk in cut(new) if chunk.startswith("backend") and _name(chunk) in found.touched)
    )


def _kinds(section: Section, added: Collection[tuple[Section, Server]]) -> set[tuple[str, ...]]:
    """What stands in the lines of servers that a backend had before."""
    come = {server.name for one, server in added if one.backend == section.backend}
    return {server.words for server in section.servers.values() if server.name not in come}


def _is_plain(server: Server) -> bool:
    """Whether its name and its address are such for HAProxy, and it has nothing that another one may have already."""
    host, _, port = server.address.rpartition(":")
    version = 6 if host.startswith("[") and host.endswith("]") else 4
    try:
        known = ipaddress.ip_address(host.strip("[]")).version == version and 0 < int(port) < 65536
    except ValueError:
        return False
    return known and port.isdecimal() and _NAME(server.name) is not None and not {"id", "track"}.intersection(server.words)


def _has_unique_names(chunk: str) -> bool:
    lines = [line for line in _lines(chunk) if line.startswith("server ")]
    return len(lines) == len(_section(chunk).servers)


def with_defaults(section: Section, chunks: Sequence[str]) -> Section:
    """A backend with the `default-server` lines of the `defaults` section that stands before it."""
    inherited: tuple[str, ...] = ()
    for chunk in chunks:
        if chunk.startswith("defaults"):
            inherited = tuple(line for line in _section(chunk).lines if line.startswith("default-server "))
        elif chunk.startswith("backend") and _name(chunk) == section.backend:
            break
    return dataclasses.replace(section, lines=(*inherited, *section.lines))


def add_commands(section: Section, server: Server) -> list[str]:
    """The runtime commands that bring a new server into a backend.

    A server that comes at run time inherits nothing from `default-server`, keeps no idle connections, and is checked without TLS and
    without the PROXY protocol, unless it is told to.
    """
    words = [word for line in section.lines if line.startswith("default-server ") for word in line.split()[1:]] + list(server.words)
    words += [word for word in _said_of_check(server) if word not in words]
    for word, value in _STATIC_SERVER_DEFAULTS.items():
        if word not in words:
            words += [word, value]
    if "id" not in words and any(has_stick_table(line) for line in section.lines):
        words += ["id", str(number(server.name))]
    target = f"{section.backend}/{server.name}"
    commands = [f"add server {target} {server.address} weight {server.weight} {' '.join(words)}"]
    for line in section.lines:
        if line.startswith("dynamic-cookie-key "):  # gives the newcomer its cookie, and everyone else the same as before
            commands.append(f"set dynamic-cookie-key backend {section.backend} {line.split()[1]}")
    commands += [f"enable health {target}"] if "check" in words else []
    commands += [f"enable agent {target}"] if "agent-check" in words else []
    if server.disabled:
        return commands
    if "check" not in words:
        return [*commands, f"enable server {target}"]
    return [*commands, *enable_commands(section, server)]


def _said_of_check(server: Server) -> Iterator[str]:
    """What a check says that goes where requests go, as HAProxy itself has it for servers of its file."""
    if not server.checked or server.check_target:
        return
    if server.speaks_tls:
        yield "check-ssl"
    if any(word.startswith("send-proxy") for word in server.words):
        yield "check-send-proxy"


def enable_commands(section: Section, server: Server) -> list[str]:
    """The runtime commands that let a server with a check out of maintenance, DOWN until it is checked.

    HAProxy 2.6 takes it for fit when it leaves maintenance, whatever it was told before: without a weight it gets no client meanwhile.
    """
    target = f"{section.backend}/{server.name}"
    first, last = f"set server {target} weight 0", f"set server {target} weight {server.weight}"
    return [first, f"enable server {target}", f"set server {target} health down", last]


def room_for_connections(text: str, memory: int) -> int:
    """The limit of a whole process on a machine of so many bytes: what its frontends have together, in steps, so that few changes of one of
    them change it, and no more than could ever be there. HAProxy lays out a table for all of them when it starts: for a million, 117 MB in
    each worker, and up to half a second (measured with 2.6).

    HAProxy takes another limit of a frontend at run time, but none of the process that is above the one it was started with.
    """
    room, wanted = SMALLEST_ROOM, maximum_connections(text)
    while room < wanted and 2 * room * _LEAST_OF_A_CONNECTION <= memory:
        room *= 2
    return min(room, HIGHEST_MAXCONN)


def remembered_sessions(memory: int) -> int:
    """How many TLS sessions a worker remembers (`tune.ssl.cachesize`) on a machine of so many bytes.

    HAProxy takes 240 bytes for each when it starts (measured with 2.6). So the caches of two workers, of before and after a reload, take a
    thirty-second of the memory together, and 48 MB at most.
    """
    return max(_SESSIONS, min(memory // 64 // 240 // _SESSIONS, 10) * _SESSIONS)


def maximum_connections(text: str) -> int:
    """The sum of the frontends' limits, each the default where it has none."""
    found = [_LIMIT(chunk) for chunk in cut(text) if chunk.startswith("frontend")]
    limits = [DEFAULT_MAXCONN if one is None else int(one[1]) for one in found]
    return max(1, min(sum(limits), HIGHEST_MAXCONN))


def _name(chunk: str) -> str:
    return chunk.split(maxsplit=2)[1]


def _section(chunk: str) -> Section:
    header, lines, servers = "", list[str](), dict[str, Server]()
    for line in _lines(chunk):
        if not header and _HEADER.match(line):
            header = line
        elif line.startswith("server "):
            server = parse_server(line)
            servers[server.name] = server
        else:
            lines.append(line)
    return Section(header, tuple(lines), servers)


def _lines(text: str) -> Iterator[str]:
    for line in text.splitlines():
        stripped = line.strip()
        if stripped and not stripped.startswith("#"):
            yield stripped


def _order_matters(was: Mapping[str, Server], now: Mapping[str, Server]) -> bool:
    stayed = [name for name in was if name in now]
    reordered = stayed != [name for name in now if name in was]
    return reordered and any(server.backup for server in now.values())


def _differ_in_limit(was: Section, now: Section) -> bool:
    """Whether two frontends are the same but for `maxconn`, which both name once and in the same place."""
    if was.header != now.header or not was.header.startswith("frontend ") or len(was.lines) != len(now.lines):
        return False
    different = [pair for pair in zip(was.lines, now.lines, strict=True) if pair[0] != pair[1]]
    return len(different) == 1 and all(re.fullmatch(r"maxconn [1-9][0-9]{0,6}", line) for line in different[0])


def _limit(section: Section) -> int:
    for line in section.lines:
        words = line.split()
        if words[0] == "maxconn" and len(words) > 1 and words[1].isdecimal():
            return int(words[1])
    return DEFAULT_MAXCONN
