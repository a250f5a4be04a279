"""The flows that the kernel tracks for services of UDP and SCTP: counted by member, and ended where their member is gone."""

from __future__ import annotations

import collections
import dataclasses
import logging
import time
from collections.abc import Iterator, Mapping, Sequence

from amphora_agent import datagram_rules, system
from amphora_agent.protocol import datagrams

LOG = logging.getLogger(__name__)
_INTERVAL = 5.0
"""Seconds at least between two looks, unless something has changed."""
_SHARE = 0.02
"""Of the time at most is spent on counting: so seldom flows are looked at, if there are many."""
COMMAND = "conntrack"

Place = tuple[str, str, int]
"""Transport, address and port of a service."""


@dataclasses.dataclass(slots=True)
class Flows:
    """Looks at them by conntrack(8), in a network namespace. `counts` are the open ones by service and mark, as they were found last."""

    namespace: str
    counts: Mapping[str, Mapping[int, int]] = dataclasses.field(default_factory=dict)
    _next_at: float = 0.0

    def look(self, services: Sequence[datagrams.Service], present: Mapping[str, frozenset[str]], at_once: bool = False) -> None:
        """Count, and end the flows of members that are not `present` (by service), and of nobody where there is somebody to take them.

        The next packet of such a flow is that of a new one.
        """
        began = time.monotonic()
        if began < self._next_at and not at_once:
            return
        self._next_at = 0.0  # soon again, if this fails
        places = {(one.transport, address, one.port): one for one in services for address in one.addresses}
        found: dict[Place, collections.Counter[int]] = collections.defaultdict(collections.Counter)
        for transport, version in sorted({(one.transport, version) for one in services for version in one.versions}):
            for address, port, mark in self._list(transport, version):
                if (transport, address, port) in places:
                    found[transport, address, port][mark] += 1
        counts: dict[str, collections.Counter[int]] = collections.defaultdict(collections.Counter)
        for place, marks in found.items():
            service = places[place]
            numbers = datagram_rules.numbers(service)
            fit = {numbers[one.id] for one in service.members if one.id in present[service.id]}
            if not fit and marks.keys() - {0}:
                self._end(place, None)  # all at once: each time, the whole table is gone through
                continue
            for mark, count in marks.items():
                if mark in fit:
                    counts[service.id][mark] += count
                elif fit:
                    self._end(place, mark)
        self.counts = counts
        self._next_at = time.monotonic() + max(_INTERVAL, (time.monotonic() - began) / _SHARE)

    def end_all(self, services: Sequence[datagrams.Service]) -> None:
        """End all flows of services that are no more."""
        for one in services:
            for address in one.addresses:
                self._end((one.transport, address, one.port), None)

    def _list(self, transport: str, version: int) -> Iterator[tuple[str, int, int]]:
        """Destination and mark of each flow, as its client sees it."""
        for line in self._run("-L", "-f", f"ipv{version}", "-p", transport).splitlines():
            words = [word.partition("=") for word in line.split()]
            first = {name: value for name, _, value in reversed(words) if value}  # what the client sent stands first
            if "dst" in first and "dport" in first:
                yield first["dst"], int(first["dport"]), int(first.get("mark", "0"))

    def _end(self, place: Place, mark: int | None) -> None:
        transport, address, port = place
        which = [] if mark is None else ["-m", f"{mark}/0xffffffff"]
        family = "ipv6" if ":" in address else "ipv4"
        self._run("-D", "-f", family, "-p", transport, "--orig-dst", address, "--orig-port-dst", str(port), *which)

    def _run(self, *arguments: str) -> str:
        try:
            return system.run(system.in_tenant_namespace(self.namespace, [COMMAND, *arguments]), with_errors=False)
        except system.NotRun:
            raise
        except system.CommandFailed as exc:  # it calls it a failure if there was nothing to end
            LOG.debug("%s", exc)
            return ""
