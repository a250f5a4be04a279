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
class ProgramReport:
    """A program that is meant to run, and how often it died or hung and was started again. `state`: runs, silent (no answer), or down."""

    state: str
    died: int
    hung: int

    @property
    def runs(self) -> bool:
        """Whether it does what it is there for."""
        return self.state == "runs"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class VrrpReport:
    """Half of a pair: what keepalived says of itself (INIT, BACKUP, MASTER, FAULT, UNKNOWN), and whether the kernel has the VIP there."""

    state: str
    holds_vip: bool


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A full report. Keys are listener ids, and `(pool id, listener id)`; `strays` counts listeners that it names and nobody asked for.

    `named` are all listeners that it names, in order: the one in which beats carry their counters.
    """

    generation: int
    config_hash: str
    listeners: Mapping[str, ListenerReport]
    pools: Mapping[tuple[str, str], PoolReport]
    strays: int = 0
    named: tuple[str, ...] = ()
    programs: Mapping[str, ProgramReport] = dataclasses.field(default_factory=dict)  # by name; empty from older agents
    vrrp: VrrpReport | None = None

    def runs(self, program: str) -> bool:
        """Whether a program runs, as far as is known: one that is not meant to does no harm."""
        found = self.programs.get(program)
        return found is None or found.runs
