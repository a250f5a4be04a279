"""Checks the members of services of UDP and SCTP, each at its own interval: what is known of them, and who hears of it.

The probes themselves are made by `member_probes`, on a thread of its own.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Callable, Mapping, Set
from typing import TYPE_CHECKING

from amphora_agent import system
from amphora_agent.protocol import datagrams

if TYPE_CHECKING:
    from amphora_agent import member_probes

LOG = logging.getLogger(__name__)

Key = tuple[str, str]
"""Ids of a service and of a member of it."""
Place = tuple[str, int]
"""Address and port that are checked."""


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """What is checked, and how: if any of it changes, what was known is known no more. Members of several services may be one target."""

    address: str
    port: int
    check: datagrams.Check

    @property
    def place(self) -> Place:
        """Address and port that are checked."""
        return self.address, self.port


@dataclasses.dataclass(slots=True)
class _Health:
    """What checks have said. `up` None: nothing yet."""

    target: Target
    up: bool | None = None
    streak: int = 0  # checks in a row that contradict `up`
    accused: bool = False  # somebody else was refused since the last check

    def take(self, good: bool) -> bool:
        """One more check; whether that changes what is known. The first one decides alone."""
        good, self.accused = good and not self.accused, False
        if self.up is None:
            self.up = good
            return True
        self.streak = 0 if good == self.up else self.streak + 1
        if self.streak < (self.target.check.fall if self.up else self.target.check.rise):
            return False
        self.up, self.streak = good, 0
        return True


class MemberChecks:
    """Every public method may be called from any thread. `on_change` is called on a thread of its own, when somebody came or went."""

    def __init__(self, namespace: str, on_change: Callable[[], None]) -> None:
        self._namespace, self._on_change = namespace, on_change
        self._lock = threading.Lock()
        self._known: dict[Key, _Health] = {}  # one and the same for all keys of a target
        self._found: dict[Target, _Health] = {}
        self._probes: member_probes.Probes | None = None
        self._told = False  # that somebody came or went, and not yet heard

    def set(self, targets: Mapping[Key, Target], known: Mapping[Key, bool]) -> None:
        """Check these from now on. What checks have said of those that stay is kept; of others it is what `known` says, until they fail."""
        with self._lock:
            self._found = {target: self._found.get(target) or _Health(target) for target in set(targets.values())}
            self._known = {key: self._found[target] for key, target in targets.items()}
            for key, one in self._known.items():
                if one.up is None:
                    one.up = known.get(key)
            unknown = {target for target, one in self._found.items() if one.up is None}
        if targets and self._probes is None:
            from amphora_agent import member_probes  # imported here: asyncio is large, and most amphorae have no use for it

            self._probes = member_probes.Probes(self._namespace, self._take)
        if self._probes is not None:
            self._probes.arrange(set(targets.values()), unknown)

    def states(self) -> dict[Key, bool | None]:
        """Whether each member is up; None: not checked yet."""
        with self._lock:
            return {key: one.up for key, one in self._known.items()}

    def accuse(self, places: Set[Place]) -> None:
        """Clients were refused there: the next check of it by datagrams fails. A machine refuses one sender once a second
        (net.ipv4.icmp_ratelimit), and where clients send much it is they who hear of it, and not who checks.
        """
        with self._lock:
            for target, health in self._found.items():
                if target.check.type == datagrams.UDP_CONNECT and target.place in places:
                    health.accused = True

    def wait(self, seconds: float) -> None:
        """Give first checks a moment."""
        system.wait_until(lambda: None not in self.states().values(), seconds)

    def _take(self, target: Target, good: bool) -> None:
        """A probe's word; called on its thread, which is not to wait for what follows."""
        with self._lock:
            health = self._found.get(target)
            if health is None or not health.take(good):
                return
            LOG.info("Members at %s port %s are %s", *target.place, "up" if health.up else "down")
            if self._told:  # many that go at once are told of once
                return
            self._told = True
        try:
            threading.Thread(target=self._tell, name="members-changed", daemon=True).start()
        except RuntimeError as exc:  # too many threads: whoever looks after the rules finds it out within a second
            LOG.warning("No thread to change the rules by what checks have found, which is done within a second: %s", exc)
            with self._lock:
                self._told = False

    def _tell(self) -> None:
        with self._lock:
            self._told = False
        try:
            self._on_change()
        except Exception:
            LOG.exception("What checks have found could not be followed")
