"""What an amphora says about itself, once its heartbeat has been verified."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ListenerReport:
    """Counters since the amphora was made (bytes, connections); they never fall while the amphora lives."""

    status: str  # OPEN or FULL
    bytes_in: int
    bytes_out: int
    active_connections: int
    total_connections: int
    request_errors: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PoolReport:
    """`status` is UP, DOWN or `unchecked`; members' are UP, DOWN, DRAIN, MAINT, `no check` or `unchecked` (which says nothing as yet)."""

    status: str
    members: Mapping[str, str]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A full report. Keys are listener ids, and `(pool id, listener id)`; `strays` counts listeners that it names and nobody asked for."""

    generation: int
    config_hash: str
    listeners: Mapping[str, ListenerReport]
    pools: Mapping[tuple[str, str], PoolReport]
    strays: int = 0
