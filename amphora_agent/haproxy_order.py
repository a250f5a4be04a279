"""Pure: a configuration as HAProxy gets to read it, with the servers of each backend in another order at each start.

Round robin and least connections begin with the first of equals after each start. A load balancer that is reloaded often and asked
rarely would send everybody to one member, so each start begins with another one. Backups stay last, in their order.

Stick tables know servers by their numbers, too. HAProxy counts lines; where there is such a table, servers get numbers that follow from
their names instead, so that an entry means the same server after a reload, whatever the order, and on the other half of a pair.

Bytes of a connection are counted every five seconds while it lasts (`option contstats`), not when it ends: those of one that lasts for days
are in the statistics, and a HAProxy that dies takes no more than these seconds with it. It is said here, and not by the controller, because
agents of before take no such line.

A worker that follows another one serves some milliseconds before it has the stick tables of that one. Who is in no table yet waits in these
moments instead of being sent to another server. HAProxy 2.6 waits in TCP backends only: there a request that is whole waits for nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

from amphora_agent import haproxy_config

_LEARNS = "proc.figlina_learns"
HAS_LEARNED = f"experimental-mode on; set var {_LEARNS} int(0)"
"""The commands that tell a worker that it has the tables of the one before."""
PATIENCE = 0.3
"""Seconds that somebody waits for the tables."""


def arranged(text: str, choose: Callable[[int], int], learned: Collection[str] = ()) -> str:
    """The text; `choose(n)` says which of n servers comes first (from 0), and `learned` are backends whose stick tables will be brought."""
    chunks = haproxy_config.cut(text)
    made = "".join(_backend(chunk, choose, learned) if chunk.startswith("backend") else _counting(chunk) for chunk in chunks)
    return f"global\n    set-var {_LEARNS} int(1)\n\n{made}" if learned else made


def numbers(names: Iterable[str]) -> dict[str, int]:
    """A number for each of the servers of a backend."""
    taken: dict[int, str] = {}
    for name in sorted(names):
        wanted = haproxy_config.number(name)
        while wanted in taken:
            wanted = wanted % 0x7FFFFFFF + 1
        taken[wanted] = name
    return {name: value for value, name in taken.items()}


def _counting(chunk: str) -> str:
    header, _, lines = chunk.partition("\n")
    return f"{header}\n    option contstats\n{lines}" if header.split() == ["defaults"] else chunk


def _backend(chunk: str, choose: Callable[[int], int], learned: Collection[str]) -> str:
    lines = chunk.splitlines(keepends=True)
    if (name := lines[0].split()[1]) in learned:
        lines[1:1] = [f"    {line}\n" for line in _waiting(name, lines)]
    places = [place for place, line in enumerate(lines) if line.lstrip().startswith("server ")]
    servers = {place: haproxy_config.parse_server(lines[place].strip()) for place in places}
    if any(haproxy_config.has_stick_table(line) for line in lines):
        given = numbers(server.name for server in servers.values() if "id" not in server.words)
        for place, server in servers.items():
            if server.name in given:
                lines[place] = f"{lines[place].rstrip()} id {given[server.name]}\n"
    active = [place for place in places if not servers[place].backup]
    for place, line in zip(active, _turned([lines[place] for place in active], choose), strict=True):
        lines[place] = line
    return "".join(lines)


def _waiting(name: str, lines: Iterable[str]) -> Iterator[str]:
    """Rules by which a backend waits for those whom the table will know. In a backend, no other rule looks at the content of TCP."""
    words = [line.split() for line in lines]
    keys = [own[2] for own in words if own[:2] in (["stick", "on"], ["stick", "match"])]
    if not keys:  # it counts something, and sends nobody anywhere
        return
    yield f"tcp-request inspect-delay {PATIENCE * 1000:.0f}ms"
    yield f"tcp-request content accept unless {{ var({_LEARNS}) -m int gt 0 }}"
    yield f"tcp-request content accept unless {' or '.join(f'{{ {key} -m found }}' for key in keys)}"
    yield from (f"tcp-request content accept if {{ {key},in_table({name}) }}" for key in keys)
    yield "tcp-request content accept if WAIT_END"


def _turned(lines: Sequence[str], choose: Callable[[int], int]) -> Sequence[str]:
    if len(lines) < 2:
        return lines
    first = choose(len(lines))
    ended = [line if line.endswith("\n") else f"{line}\n" for line in lines]
    return [*ended[first:], *ended[:first]]
