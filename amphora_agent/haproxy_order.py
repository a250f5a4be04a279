"""Pure: a configuration as HAProxy gets to read it, with the servers of each backend in another order at each start.

Round robin and least connections begin with the first of equals after each start. A load balancer that is reloaded often and asked
rarely would send everybody to one member, so each start begins with another one. Backups stay last, in their order.

Stick tables know servers by their numbers, too. HAProxy counts lines; where there is such a table, servers get numbers that follow from
their names instead, so that an entry means the same server after a reload, whatever the order, and on the other half of a pair.

Bytes of a connection are counted every five seconds while it lasts (`option contstats`), not when it ends: those of one that lasts for days
are in the statistics, and a HAProxy that dies takes no more than these seconds with it. It is said here, and not by the controller, because
agents of before take no such line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from amphora_agent import haproxy_config


def arranged(text: str, choose: Callable[[int], int]) -> str:
    """The text; `choose(n)` says which of n servers comes first (from 0)."""
    return "".join(_backend(chunk, choose) if chunk.startswith("backend") else _counting(chunk) for chunk in haproxy_config.cut(text))


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


def _backend(chunk: str, choose: Callable[[int], int]) -> str:
    lines = chunk.splitlines(keepends=True)
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


def _turned(lines: Sequence[str], choose: Callable[[int], int]) -> Sequence[str]:
    if len(lines) < 2:
        return lines
    first = choose(len(lines))
    ended = [line if line.endswith("\n") else f"{line}\n" for line in lines]
    return [*ended[first:], *ended[:first]]
