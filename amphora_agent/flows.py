"""The flows that the kernel tracks for services of UDP and SCTP: counted by member, and ended where their member is gone."""

from __future__ import annotations

import collections
import dataclasses
import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from amphora_agent import datagram_rules, netlink, system
from amphora_agent.protocol import datagrams

LOG = logging.getLogger(__name__)
_INTERVAL = 5.0
"""Seconds at least between two looks, unless something has changed."""
_SHARE = 0.02
"""Of the time at most is spent on counting: so seldom flows are looked at, if there are many."""


@dataclasses.dataclass(slots=True)
class Flows:
    """The tracked flows of a network namespace. `counts` are the open ones by service and mark, as they were found last."""

    namespace: str
    counts: Mapping[str, Mapping[int, int]] = dataclasses.field(default_factory=dict)
    _next_at: float = 0.0

    @property
    def are_ended(self) -> bool:
        """Whether the flows are that were to be ended, as the last look found them."""
        return self._next_at > 0.0

    def look(self, services: Sequence[datagrams.Service], present: Mapping[str, frozenset[str]], at_once: bool = False) -> None:
        """Count, and end the flows of members that are not `present` (by service), and of nobody where there is somebody to take them.

        The next packet of such a flow is that of a new one. What fails is tried again with the next look.
        """
        began = time.monotonic()
        if began < self._next_at and not at_once:
            return
        counts: dict[str, collections.Counter[int]] = {one.id: collections.Counter() for one in services}
        numbers = {one.id: datagram_rules.numbers(one) for one in services}
        fit = {one.id: {numbers[one.id][member.id] for member in one.members if member.id in present[one.id]} for one in services}

        def is_over(service_id: str, mark: int) -> bool:
            if mark in fit[service_id]:
                counts[service_id][mark] += 1
                return False
            return bool(fit[service_id] or mark)

        if self._end(services, is_over):
            self.counts = counts
            self._next_at = time.monotonic() + max(_INTERVAL, (time.monotonic() - began) / _SHARE)
        else:
            self._next_at = 0.0

    def end_all(self, services: Collection[datagrams.Service]) -> None:
        """End all flows of services that are no more; those that can't be ended end by their time-outs."""
        if services:
            self._end(services, lambda *_: True)

    def _end(self, services: Collection[datagrams.Service], is_over: Callable[[str, int], bool]) -> bool:
        """Go through all flows once, and end those of which `is_over` says so by their service and mark; whether that was done."""
        places = {(netlink.PROTOCOLS[one.transport], address, one.port): one.id for one in services for address in one.addresses}

        def go() -> None:
            for version in sorted({version for one in services for version in one.versions}):
                netlink.end_flows(version, _over(netlink.flows(version), places, is_over))

        try:
            system.inside_namespace(self.namespace, go)
        except OSError as exc:
            LOG.warning("Flows of UDP and SCTP can't be looked at: %s", exc)
            return False
        return True


def _over(
    found: Iterable[netlink.Flow], places: Mapping[tuple[int, str, int], str], is_over: Callable[[str, int], bool]
) -> list[netlink.Flow]:
    return [one for one in found if (place := places.get(one.place)) is not None and is_over(place, one.mark)]
