"""What an amphora runs, as one list: each program is checked, applied, stopped, kept running and asked in the same way.

`load_balancer` goes through the list and names none of its entries; `roster` makes it. The order is that of starting: whoever brings
clients here (keepalived, the VIPs) comes after those that serve them, and goes before them.
"""

# ruff: noqa: B027  (what a program need not do, it does by doing nothing)

from __future__ import annotations

import abc
import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:  # the first heartbeat waits for this module, and not for those
    from amphora_agent.protocol import boot, rest

NONE, RUNTIME, RELOAD = "none", "runtime", "reload"
"""How a state was taken, from the least to the most; a receipt names the most of all programs."""


@dataclasses.dataclass(slots=True)
class Part:
    """A program's part of the report, as `protocol/heartbeat.py` lays it out; `counts` are of pools and members, by id, in the order of
    `heartbeat.COUNTERS`; `others` are keys of its own."""

    listeners: dict[str, Any] = dataclasses.field(default_factory=dict)
    pools: dict[str, Any] = dataclasses.field(default_factory=dict)
    counts: dict[str, list[int]] = dataclasses.field(default_factory=dict)
    others: dict[str, Any] = dataclasses.field(default_factory=dict)

    def ended(self) -> Part:
        """What is left of it once nothing is served any more: totals, and no connection that is open."""
        listeners = {key: {**one, "stats": {**one["stats"], "active_connections": 0}} for key, one in self.listeners.items()}
        counts = {key: [into, out, 0, *others] for key, (into, out, _, *others) in self.counts.items()}
        return Part(listeners, counts=counts)


class Program(abc.ABC):
    """One program, which outlives the agent. Whoever calls lets one in at a time, but for `report`."""

    name: ClassVar[str]
    """As it is called in a wanted state and in reports."""
    brings_clients = False
    """Whether it makes them come here: it is stopped before the VIPs go, all others after that."""

    @property
    @abc.abstractmethod
    def configured(self) -> bool:
        """Whether it is meant to run."""

    @abc.abstractmethod
    def is_set_to(self, wanted: rest.WantedState) -> bool:
        """Whether this is what it is meant to run."""

    @abc.abstractmethod
    def refuse(self, text: str) -> None:
        """Look for what could harm, before anybody reads it.

        :raises Malformed: there is something.
        """

    @abc.abstractmethod
    def check(self, text: str, wanted: rest.WantedState) -> None:
        """Make sure that it would take its configuration.

        :raises ConfigRefused: it would not.
        :raises ProgramFailed: it could not be asked.
        """

    @abc.abstractmethod
    def apply(self, text: str, wanted: rest.WantedState) -> str:
        """Bring it to a checked configuration, and say how: `none`, `runtime` or `reload`.

        :raises ConfigRefused: it does not serve with it; the one before serves on.
        :raises OSError: it can't be written; the one before serves on.
        """

    @abc.abstractmethod
    def runs(self, text: str, wanted: rest.WantedState) -> bool:
        """Whether it runs this."""

    @abc.abstractmethod
    def ensure_running(self) -> str:
        """Start it again if it died or hangs; how it fares (`programs`)."""

    @abc.abstractmethod
    def stop(self) -> None:
        """End it and forget its files; not running is fine."""

    def forget(self) -> None:
        """Its load balancer is gone: nothing of it is kept."""

    def go_back_to(self, wanted: rest.WantedState | None) -> None:
        """An agent begins, and one before it may have been killed while it tried something new: be set to what served last (None: nothing
        did), unless the new one is known to run. What runs goes on."""

    def resume(self) -> None:
        """An agent begins and finds it as an earlier one left it."""

    def assert_again(self) -> None:
        """The state that runs already was sent again: something may be wrong that we do not see, so have it done anew."""

    def tend(self) -> None:
        """Look after the program, once a second while it runs."""

    def live_by(self, config: boot.AgentConfig) -> None:
        """Take what a configuration of the agent says of it."""

    def report(self, state: str | None) -> Part | None:
        """Its part of the report; `state` is how it fares, None if it is not meant to run. None: it runs, and does not say how."""
        return Part()

    def last_counts(self) -> Part:
        """What it has counted, now that no clients come any more and it is about to be stopped; nothing if it does not say so at once."""
        return Part()

    def told(self, part: Part) -> None:
        """This is what `report` said, and nothing was changed since."""

    def save(self) -> None:
        """Write down what is about to be told."""

    def end(self) -> None:
        """The agent ends, as it was told to: write down what the next one is to know. The program goes on."""
        self.save()

    @property
    def awaits(self) -> bool:
        """Whether something is under way that is to be told at once: it is looked at ten times a second then."""
        return False

    def look_closely(self) -> bool:
        """Look at what is under way; False if that is for `ensure_running` to settle."""
        return False
