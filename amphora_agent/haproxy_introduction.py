"""Pure: servers to which a change leads clients who are served already, and of whom nothing is known yet.

A worker that knows nothing of them would answer 503 until their first checks have passed. So one that serves as before checks them
first: those of a backend that it has not, and those of one in which everybody is replaced.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping

from amphora_agent import certificates, haproxy_config, haproxy_states

_OF_CHECKS = frozenset(("default-server", "external-check", "http-check", "mode", "option", "tcp-check", "timeout"))
"""Lines by which servers are checked. Others may name what the configuration of before has not, such as peers."""
_LEADS = re.compile(r"(?m)^[ \t]*(?:default|use)_backend ").search


@dataclasses.dataclass(frozen=True, slots=True)
class Introduction:
    """A text with all that serves, and whoever is to be checked beside it. `leaving`: who is replaced."""

    text: str
    leaving: frozenset[haproxy_states.Key] = frozenset()


def introduction(old: str, new: str) -> Introduction | None:
    """What leads from `old` to `new` without a gap: `old`, with strangers to whom nobody is led. None: there are none."""
    was, leading = {name: chunk for chunk, name in _named(old, "backend")}, set(_leading(old))
    files = _other_files(old, new)
    strange: list[str] = []
    changed: dict[str, str] = {}
    leaving: set[haproxy_states.Key] = set()
    for chunk, name in _named(new, "backend"):
        if was.get(name) == chunk or name.rpartition(":")[2] not in leading:
            continue
        [now] = haproxy_config.parse(chunk)
        if name not in was:
            strange.extend([_as_a_whole(now, files)] if _is_checked(now) else [])
            continue
        [known] = haproxy_config.parse(was[name])
        if successors := _successors(known, now):
            changed[name] = _with(was[name], successors, files)
            leaving.update((name, server) for server in known.servers if server not in successors)
    if not strange and not changed:
        return None
    serving = (changed.get(_name(chunk), chunk) for chunk in haproxy_config.cut(old))
    return Introduction("".join((*serving, *strange)), frozenset(leaving))


def _named(text: str, kind: str) -> Iterator[tuple[str, str]]:
    """The text of each section of a kind, and its name. Servers are not read: there may be thousands."""
    return ((chunk, _name(chunk)) for chunk in haproxy_config.cut(text) if chunk.startswith(f"{kind} "))


def _name(chunk: str) -> str:
    return [*chunk.split(maxsplit=2), "", ""][1]


def _leading(text: str) -> Iterator[str]:
    """The frontends whose clients may meet a server."""
    return (name for chunk, name in _named(text, "frontend") if _LEADS(chunk))


def _other_files(old: str, new: str) -> Mapping[str, str]:
    """What the names of certificates stand for that are new, or stood for something else: whoever is checked beside goes by the file."""
    known = certificates.of(old).names
    return {name: file for name, file in certificates.of(new).names.items() if known.get(name) != file}


def _is_checked(section: haproxy_config.Section) -> bool:
    return any(one.checked and not one.disabled for one in section.servers.values())


def _successors(was: haproxy_config.Section, now: haproxy_config.Section) -> dict[str, haproxy_config.Server]:
    """Who takes over in a backend where none of those is left who are known, and is checked by the same lines as they were."""
    known = {name: one.weight for name, one in was.servers.items() if not one.disabled}
    on = {name: one for name, one in now.servers.items() if not one.disabled and one.weight}
    if not any(known.values()) or known.keys() & on.keys() or not all(one.checked for one in on.values()):
        return {}
    alike = (haproxy_states.check_shape(was, one) == haproxy_states.check_shape(now, one) for one in on.values())
    return on if all(alike) else {}


def _as_a_whole(section: haproxy_config.Section, files: Mapping[str, str]) -> str:
    lines = [f"    {line}" for line in section.lines if line.split(maxsplit=1)[0] in _OF_CHECKS]
    return "\n".join(("", section.header, *lines, *(_line(one, one.weight, files) for one in section.servers.values()), ""))


def _with(chunk: str, successors: Mapping[str, haproxy_config.Server], files: Mapping[str, str]) -> str:
    """A backend with servers more, without a weight: they get no clients."""
    kept = [line for line in chunk.splitlines() if not _is_of(line, successors)]
    return "\n".join((*kept, *(_line(one, 0, files) for one in successors.values()), ""))


def _is_of(line: str, servers: Mapping[str, haproxy_config.Server]) -> bool:
    kind, name, *_ = (*line.split(maxsplit=2), "", "")
    return kind == "server" and name in servers


def _line(server: haproxy_config.Server, weight: int, files: Mapping[str, str]) -> str:
    words = (files.get(word, word) for word in server.words)
    return f"    server {server.name} {server.address} weight {weight} {' '.join(words)}{' disabled' if server.disabled else ''}"
