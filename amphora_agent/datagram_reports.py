"""Pure: what is known of services of UDP and SCTP, as reports and metrics tell it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

from amphora_agent import counters, datagram_rules, member_checks, member_counters, program
from amphora_agent import report as reports
from amphora_agent.protocol import datagrams, heartbeat

_SERVES = ("UP", "no check")
_UNCOUNTED = [0] * len(counters.FIELDS)


@dataclasses.dataclass(frozen=True, slots=True)
class Known:
    """What is known of `services`: their `totals` (`counters.FIELDS`), those of pools and members `by_id`, the open flows by mark, and who
    passes the checks.
    """

    services: Sequence[datagrams.Service] = ()
    totals: Mapping[str, list[int]] = dataclasses.field(default_factory=dict)
    flows: Mapping[str, Mapping[int, int]] = dataclasses.field(default_factory=dict)
    states: Mapping[member_checks.Key, bool | None] = dataclasses.field(default_factory=dict)
    by_id: Mapping[str, list[int]] = dataclasses.field(default_factory=dict)

    def part(self, path: str) -> program.Part:
        """Their part of the report; `path` is the data plane."""
        part = program.Part(others={datagrams.NAME: {"path": path}})
        for one in self.services:
            active = self._active(one)
            bytes_in, bytes_out, total, failed = self.totals[one.id]
            part.listeners[one.id] = {
                "status": "FULL" if one.most_flows and active >= one.most_flows else "OPEN",
                "stats": {
                    "bytes_in": bytes_in,
                    "bytes_out": bytes_out,
                    "active_connections": active,
                    "total_connections": total,
                    "request_errors": failed,
                },
            }
            if one.pool_id is not None:
                words = self._words(one)
                part.pools[f"{one.pool_id}:{one.id}"] = {"status": _status(one, words), "members": words}
        part.counts = reports.counts(self.by_id, dict(self._open()))
        return part

    def _open(self) -> Iterator[tuple[str, int]]:
        """Flows by the names by which members and pools are counted."""
        for one in self.services:
            if one.pool_id is not None and self.flows.get(one.id):
                pool, marks, flows = f"{one.pool_id}:{one.id}", datagram_rules.numbers(one), self.flows[one.id]
                yield member_counters.of_pool(pool), self._active(one)
                yield from ((member_counters.of_member(pool, name), flows[mark]) for name, mark in marks.items() if mark in flows)

    def rows(self) -> Iterator[Mapping[str, str]]:
        """The same as rows of HAProxy's `show stat` (management guide, section 9.1): a flow is a session. Members are counted over all
        listeners of their pool, so it is by the first of these that their counts are told."""
        told: set[str | None] = set()
        for one in self.services:
            into, out, total, _ = self.totals[one.id]
            seen = {"bin": f"{into}", "bout": f"{out}", "stot": f"{total}", "scur": f"{self._active(one)}"}
            limit = {"slim": f"{one.most_flows}"} if one.most_flows else {}
            yield {"pxname": one.id, "svname": "FRONTEND", "status": "OPEN", "conn_tot": f"{total}", **seen, **limit}
            if one.pool_id is not None:
                yield from self._rows_of_pool(one, seen, {} if one.pool_id in told else self.by_id)
                told.add(one.pool_id)

    def _rows_of_pool(
        self, service: datagrams.Service, seen: Mapping[str, str], by_id: Mapping[str, list[int]]
    ) -> Iterator[Mapping[str, str]]:
        name, words = f"{service.pool_id}:{service.id}", self._words(service)
        serving = [one for one in service.members if words[one.id] in _SERVES and one.weight]
        many = {"act": f"{sum(not one.backup for one in serving)}", "bck": f"{sum(one.backup for one in serving)}"}
        yield {"pxname": name, "svname": "BACKEND", "status": _status(service, words), "lbtot": seen["stot"], **seen, **many}
        marks, flows = datagram_rules.numbers(service), self.flows.get(service.id, {})
        for one in service.members:
            into, out, total, _ = by_id.get(one.id, _UNCOUNTED)
            counts = {"bin": f"{into}", "bout": f"{out}", "stot": f"{total}", "lbtot": f"{total}"}
            current = {"scur": f"{flows.get(marks[one.id], 0)}", "weight": f"{one.weight}"}
            yield {"pxname": name, "svname": one.id, "status": words[one.id], **counts, **current}

    def _active(self, service: datagrams.Service) -> int:
        return sum(self.flows.get(service.id, {}).values())

    def _words(self, service: datagrams.Service) -> dict[str, str]:
        return {one.id: _word(service, one, self.states.get((service.id, one.id))) for one in service.members}


NOTHING = Known()


def _status(service: datagrams.Service, words: Mapping[str, str]) -> str:
    serving = any(words[one.id] in _SERVES and one.weight for one in service.members)
    return "UP" if serving or not words else heartbeat.UNCHECKED if heartbeat.UNCHECKED in words.values() else "DOWN"


def _word(service: datagrams.Service, member: datagrams.Member, up: bool | None) -> str:
    if not member.enabled:
        return "MAINT"
    if service.check is None:
        return "no check"
    if up is None:
        return heartbeat.UNCHECKED
    if not up:
        return "DOWN"
    return "UP" if member.weight else "DRAIN"
