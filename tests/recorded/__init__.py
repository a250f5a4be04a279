"""What real programs said, recorded: `python -m tests.recorded.record` says it again with the programs of this machine.

Unit tests run no program, and invent no word of one either.
"""

from __future__ import annotations

import pathlib

HAPROXY = pathlib.Path(__file__).parent / "haproxy-2.6.12"
"""By HAProxy 2.6.12-1+deb12u4 (Debian 12)."""

INVENTORY = pathlib.Path(__file__).parent / "network-inventory.sql"
"""A whole inventory of the embedded network, as it was written before its tables were declared."""


def haproxy(name: str) -> str:
    """What HAProxy said: `show-stat`, `show-servers-state`, `show-info` of the site in `record.py`, or `refused`."""
    return (HAPROXY / f"{name}.txt").read_text()


def refusal() -> str:
    """What the agent hands on of HAProxy's words about a configuration with an unknown keyword, `frob`."""
    said = (line for line in haproxy("refused").splitlines() if line.startswith("[ALERT]"))
    return "\n".join(line.partition(") : ")[2] for line in said)
