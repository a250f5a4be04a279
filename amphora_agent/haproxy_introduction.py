"""Pure: backends to which a change leads clients who are served already, and of whose servers nothing is known yet.

A worker that knows nothing of them would answer 503 until their first checks have passed. So one that serves as before checks them
first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from amphora_agent import certificates, haproxy_config

_OF_CHECKS = frozenset(("default-server", "http-check", "mode", "option", "tcp-check", "timeout"))
"""Lines by which servers are checked. Others may name what the configuration of before has not, such as peers."""
_LEADS = re.compile(r"(?m)^[ \t]*(?:default|use)_backend ").search


def strangers(old: str, new: str) -> str:
    """The text of such backends, to be read after `old`: nothing leads there. Empty if there are none, or if it takes more than a text to
    check them: other certificates, or a program.
    """
    if certificates.of(old) != certificates.of(new):
        return ""
    known, leading = {name for _, name in _named(old, "backend")}, set(_leading(old))
    strange = (chunk for chunk, name in _named(new, "backend") if name not in known and name.rpartition(":")[2] in leading)
    return "".join(_text(section) for chunk in strange for section in haproxy_config.parse(chunk) if _is_checked(section))


def _named(text: str, kind: str) -> Iterator[tuple[str, str]]:
    """The text of each section of a kind, and its name. Servers are not read: there may be thousands."""
    return ((chunk, chunk.split(maxsplit=2)[1]) for chunk in haproxy_config.cut(text) if chunk.startswith(f"{kind} "))


def _leading(text: str) -> Iterator[str]:
    """The frontends whose clients may meet a server."""
    return (name for chunk, name in _named(text, "frontend") if _LEADS(chunk))


def _is_checked(section: haproxy_config.Section) -> bool:
    return "option external-check" not in section.lines and any(one.checked and not one.disabled for one in section.servers.values())


def _text(section: haproxy_config.Section) -> str:
    return "\n".join(("", section.header, *_lines(section), ""))


def _lines(section: haproxy_config.Section) -> Iterator[str]:
    yield from (f"    {line}" for line in section.lines if line.split(maxsplit=1)[0] in _OF_CHECKS)
    for server in section.servers.values():
        switch = " disabled" if server.disabled else ""
        yield f"    server {server.name} {server.address} weight {server.weight} {' '.join(server.words)}{switch}"
