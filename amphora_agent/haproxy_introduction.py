"""Pure: servers to which a change leads clients who are served already, and of whom nothing is known yet.

A worker that knows nothing of them would answer 503 until their first checks have passed. So one that serves as before checks them
first: those of a backend that it has not, and those of one in which everybody is replaced. It does so in backends of their own
(`rendered.NEXT_BACKEND`), to which nobody is led; `haproxy_states` takes what it finds for what is known of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from amphora_agent import certificates, haproxy_config
from amphora_agent.protocol import rendered

_OF_CHECKS = frozenset(("default-server", "external-check", "http-check", "mode", "option", "tcp-check", "timeout"))
"""Lines by which servers are checked. Others may name what the configuration of before has not, such as peers."""
_LEADS = re.compile(r"(?m)^[ \t]*(?:default|use)_backend ").search
_Servers = Mapping[str, haproxy_config.Server]


def strangers(old: str, new: str) -> str:
    """The text of such backends, to be read after `old`. Empty if there are none."""
    was, leading = {name: chunk for chunk, name in _named(old, "backend")}, set(_leading(old))
    changed = (chunk for chunk, name in _named(new, "backend") if was.get(name) != chunk and name.rpartition(":")[2] in leading)
    files = _other_files(old, new)
    return "".join(_text(section, strange, files) for section, strange in _strange(was, changed))


def _named(text: str, kind: str) -> Iterator[tuple[str, str]]:
    """The text of each section of a kind, and its name. Servers are not read: there may be thousands."""
    return ((chunk, chunk.split(maxsplit=2)[1]) for chunk in haproxy_config.cut(text) if chunk.startswith(f"{kind} "))


def _leading(text: str) -> Iterator[str]:
    """The frontends whose clients may meet a server."""
    return (name for chunk, name in _named(text, "frontend") if _LEADS(chunk))


def _other_files(old: str, new: str) -> Mapping[str, str]:
    """What the names of certificates stand for that are new, or stood for something else: whoever is checked beside goes by the file."""
    known = certificates.of(old).names
    return {name: file for name, file in certificates.of(new).names.items() if known.get(name) != file}


def _strange(was: Mapping[str, str], changed: Iterator[str]) -> Iterator[tuple[haproxy_config.Section, _Servers]]:
    """Of these backends, those of whose servers none is known that may serve, and the servers."""
    for chunk in changed:
        [now] = haproxy_config.parse(chunk)
        before = was.get(now.backend or "")
        on = {name: one for name, one in now.servers.items() if not one.disabled and one.weight}
        if any(one.checked for one in on.values()) and (before is None or _is_replaced(haproxy_config.parse(before)[0].servers, on)):
            yield now, on


def _is_replaced(known: _Servers, on: _Servers) -> bool:
    """Whether somebody has served, and nobody of these is left."""
    there = {name: one.weight for name, one in known.items() if not one.disabled}
    return any(there.values()) and not there.keys() & on.keys()


def _text(section: haproxy_config.Section, servers: _Servers, files: Mapping[str, str]) -> str:
    lines = (f"    {line}" for line in section.lines if line.split(maxsplit=1)[0] in _OF_CHECKS)
    head = f"backend {rendered.NEXT_BACKEND}{section.backend}"
    return "\n".join(("", head, *lines, *(_line(one, files) for one in servers.values()), ""))


def _line(server: haproxy_config.Server, files: Mapping[str, str]) -> str:
    words = (files.get(word, word) for word in server.words)
    return f"    server {server.name} {server.address} weight {server.weight} {' '.join(words)}"
