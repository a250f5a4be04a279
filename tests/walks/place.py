"""Where a walk is taken: machines of a tenant, who can be asked, and how long things take there."""

from __future__ import annotations

import dataclasses
import subprocess
from collections.abc import Callable, Mapping, Sequence

Run = Callable[[str, Sequence[str]], str]
"""What a command prints that is run on one of our machines: `client`, on the tenant's network, or `outside` of it."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """`web` are addresses of web servers that answer with their names; the subnet that they are on is called `private-subnet`.

    `patience` in seconds until something that takes its time is done; `groups_take` until a group on a VIP port has its effect.
    """

    subnet_id: str
    web: Mapping[str, str]
    run: Run
    patience: float = 60.0
    groups_take: float = 0.0

    def fetch(self, address: str, path: str = "/", scheme: str = "http", where: str = "client") -> str:
        """Who answers one request; an empty string if nobody does."""
        curl = [
            "curl",
            "--silent",
            "--insecure",
            "--noproxy",
            "*",
            "--connect-timeout",
            "2",
            "--max-time",
            "10",
            f"{scheme}://{address}{path}",
        ]
        return (self.run(where, curl).splitlines() or [""])[0]


def printed(command: Sequence[str]) -> str:
    """What a command prints, however it ends."""
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout
