"""Pure: HAProxy's `show stat` as the report that a heartbeat carries."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from amphora_agent import member_counters, program, programs
from amphora_agent.protocol import heartbeat, rendered

_STATUS, _WEIGHT, _CHECK_STATUS = 17, 18, 36
_NOT_CHECKED = "INI"
_ACTIVE, _LIMIT, _TOTAL, _BYTES_IN, _BYTES_OUT, _ERRORS = 4, 6, 7, 8, 9, 12
_NOT_CONNECTED, _NOT_ANSWERED = 13, 14
_COLUMNS = 37
COUNTS = "counts"
"""The key of what was counted on pools and members, by their ids, beside what a report says."""


@dataclasses.dataclass(slots=True)
class Statistics:
    """What one `show stat` says. `raw` holds the counters of this worker in the order of `counters.FIELDS`, `raw_of_members` those of pools
    and members by the names of `member_counters`; `active` are connections that are open, by both kinds of names.
    """

    raw: dict[str, list[int]] = dataclasses.field(default_factory=dict)
    raw_of_members: dict[str, list[int]] = dataclasses.field(default_factory=dict)
    active: dict[str, int] = dataclasses.field(default_factory=dict)
    full: set[str] = dataclasses.field(default_factory=set)
    pools: dict[str, str] = dataclasses.field(default_factory=dict)
    members: dict[str, dict[str, str]] = dataclasses.field(default_factory=dict)


def read_statistics(text: str, lingering: Collection[tuple[str, str]] = ()) -> Statistics:
    """Read `show stat`; servers that are removed and only finish their sessions are no members any more."""
    statistics = Statistics()
    for line in text.splitlines():
        columns = line.split(",", _COLUMNS)
        if len(columns) <= _CHECK_STATUS or line.startswith("#"):
            continue
        proxy, name, status = columns[0], columns[1], columns[_STATUS]
        if rendered.is_own(proxy):
            continue
        if name == "FRONTEND":
            statistics.raw[proxy] = [_number(columns[i]) for i in (_BYTES_IN, _BYTES_OUT, _TOTAL, _ERRORS)]
            statistics.active[proxy] = _number(columns[_ACTIVE])
            if statistics.active[proxy] >= _number(columns[_LIMIT]) > 0:  # HAProxy 2.6 goes on calling it OPEN while clients wait
                statistics.full.add(proxy)
        elif name == "BACKEND":
            statistics.pools[proxy] = "UP" if status.startswith("UP") else "DOWN"
            statistics.members.setdefault(proxy, {})
            _count(statistics, member_counters.of_pool(proxy), columns)
        elif (proxy, name) not in lingering:
            word = member_status(status, columns[_WEIGHT], columns[_CHECK_STATUS])
            statistics.members.setdefault(proxy, {})[name] = word
            _count(statistics, member_counters.of_member(proxy, name), columns)
    for proxy, word in statistics.pools.items():
        if word == "DOWN" and heartbeat.UNCHECKED in statistics.members[proxy].values():
            statistics.pools[proxy] = heartbeat.UNCHECKED
    return statistics


def _count(statistics: Statistics, name: str, columns: Sequence[str]) -> None:
    errors = _number(columns[_NOT_CONNECTED]) + _number(columns[_NOT_ANSWERED])
    statistics.raw_of_members[name] = [*(_number(columns[i]) for i in (_BYTES_IN, _BYTES_OUT, _TOTAL)), errors]
    if columns[_ACTIVE] not in ("", "0"):
        statistics.active[name] = _number(columns[_ACTIVE])


def member_status(status: str, weight: str, check: str = "") -> str:
    """HAProxy's words for a server, such as `UP 1/3`, and for its last check, such as `L7OK`, as one of ours."""
    if check.endswith(_NOT_CHECKED) and status.startswith(("UP", "DOWN")):
        return heartbeat.UNCHECKED
    for word in ("DOWN", "MAINT", "DRAIN", "no check"):
        if status.startswith(word):
            return word
    if status.startswith("UP"):
        return "DRAIN" if weight == "0" else "UP"
    return "DRAIN" if status.startswith("NOLB") else "DOWN"


def limit_of(text: str) -> int | None:
    """How many connections the one frontend of a `show stat` takes."""
    rows = (line.split(",", _COLUMNS) for line in text.splitlines() if not line.startswith("#"))
    return next((_number(columns[_LIMIT]) for columns in rows if len(columns) > _LIMIT and columns[1] == "FRONTEND"), None)


def make(generation: int, config_hash: str, parts: Sequence[program.Part]) -> dict[str, Any]:
    """The report, as `protocol/heartbeat.py` lays it out. What serves a pool does so for one listener, so no two parts name the same."""
    made: dict[str, Any] = {"generation": generation, "hash": config_hash, "listeners": {}, "pools": {}, COUNTS: {}}
    for one in parts:
        made[COUNTS].update(one.counts)
        made["listeners"].update(one.listeners)
        made["pools"].update(one.pools)
        made.update(one.others)
    return made


def idle(record: programs.Record) -> dict[str, Any]:
    """The report of an amphora that serves nothing: what `load_balancer` reports then, for who has not loaded that yet."""
    return {**make(0, "", []), "vrrp": None, "programs": record.show({})}


def part(statistics: Statistics, totals: Mapping[str, list[int]], by_id: Mapping[str, list[int]]) -> program.Part:
    """HAProxy's part of it; `by_id` are the totals of pools and members."""
    listeners = {
        listener: {
            "status": "FULL" if listener in statistics.full else "OPEN",
            "stats": {
                "bytes_in": values[0],
                "bytes_out": values[1],
                "active_connections": statistics.active[listener],
                "total_connections": values[2],
                "request_errors": values[3],
            },
        }
        for listener, values in totals.items()
    }
    pools = {pool: {"status": status, "members": statistics.members[pool]} for pool, status in statistics.pools.items()}
    return program.Part(listeners, pools, counts(by_id, statistics.active))


def counts(by_id: Mapping[str, list[int]], active: Mapping[str, int]) -> dict[str, list[int]]:
    """Totals of pools and members with the connections that are open, in the order of `heartbeat.COUNTERS`."""
    open_now: dict[str, int] = {}
    for name, number in active.items():
        key = member_counters.id_of(name)
        open_now[key] = open_now.get(key, 0) + number
    return {key: [into, out, open_now.get(key, 0), total, errors] for key, (into, out, total, errors) in by_id.items()}


def claims_life(report: Mapping[str, Any]) -> bool:
    """Whether every program runs that should: only then may a heartbeat be sent for no other reason than that time has passed."""
    return all(program["state"] == programs.RUNS for program in report.get("programs", {}).values())


def without_counts(report: Mapping[str, Any]) -> dict[str, Any]:
    """The report itself; `COUNTS` travel by themselves."""
    return {key: value for key, value in report.items() if key != COUNTS}


def digest(report: Mapping[str, Any]) -> bytes:
    """16 bytes that change whenever anything but the counters does."""
    state = {**without_counts(report), "listeners": {listener: value["status"] for listener, value in report["listeners"].items()}}
    return hashlib.sha256(json.dumps(state, sort_keys=True, separators=(",", ":")).encode()).digest()[:16]


def _number(text: str) -> int:
    return int(text) if text else 0
