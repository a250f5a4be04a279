"""How much a project may have, kind by kind."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

TITLES = {
    "load_balancer": "Load Balancer",
    "listener": "Listener",
    "pool": "Pool",
    "member": "Member",
    "health_monitor": "Health Monitor",
    "l7policy": "L7 Policy",
    "l7rule": "L7 Rule",
}
"""What is counted, and what people call it."""

KINDS = tuple(TITLES)
UNLIMITED = -1
HIGHEST = 2_000_000_000

Limits = Mapping[str, int]
"""By kind; `UNLIMITED` or the highest number."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """What holds for a project: its own limits, and the deployment's where it has none."""

    project_id: str
    load_balancer: int
    listener: int
    pool: int
    member: int
    health_monitor: int
    l7policy: int
    l7rule: int


def merged(project_id: str, own: Mapping[str, int | None], defaults: Limits) -> Quota:
    """A project's limits; None, or nothing at all, is the default."""
    return Quota(project_id=project_id, **effective(own, defaults))


def effective(own: Mapping[str, int | None], defaults: Limits) -> dict[str, int]:
    """The limits that hold where these are a project's own."""
    return {kind: defaults[kind] if (limit := own.get(kind)) is None else limit for kind in KINDS}
