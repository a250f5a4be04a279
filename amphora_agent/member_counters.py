"""Counters of pools and their members that never fall: kept as those of listeners (`counters`), and added up over listeners."""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Iterable, Mapping

from amphora_agent import counters

_ABSENT = 2000
"""So many counts are kept of what is not served at present: of a listener that is switched off, of members that are removed."""


def of_pool(pool: str) -> str:
    """By what name a pool is counted; `pool` is `<pool id>:<listener id>`, as programs call it."""
    return sys.intern(pool)


def of_member(pool: str, member: str) -> str:
    """By what name a member of it is."""
    return sys.intern(f"{pool}/{member}")


class MemberCounters(counters.Counters):
    """Totals of what `of_pool` and `of_member` name. `pools_are_sums` where nothing but members is counted."""

    def __init__(self, path: pathlib.Path, pools_are_sums: bool = False) -> None:
        super().__init__(path)
        self._pools_are_sums = pools_are_sums

    def by_id(self) -> dict[str, list[int]]:
        """Totals by the ids of pools and members, over all listeners that ever led to them."""
        found: dict[str, list[int]] = {}
        for known in (self._base, *self._last.values()):
            for name, values in known.items():
                if any(values):
                    for key in self._ids_of(name):
                        found[key] = counters.add(found.get(key), values)
        return found

    def _ids_of(self, name: str) -> Iterable[str]:
        """Whom it counts for."""
        pool, key = name.partition(":")[0], id_of(name)
        return {pool, key} if self._pools_are_sums else (key,)

    def _forget_absent(self, raw: Mapping[str, list[int]]) -> None:
        """What was counted by way of a listener that is gone stays with what is there still."""
        absent = [name for name in self._base if name not in raw]
        if len(absent) <= _ABSENT:
            return
        present = {key for name in raw for key in self._ids_of(name)}
        for name in absent[:-_ABSENT]:
            values = self._base.pop(name)
            if id_of(name) in present:
                self._add(_without_listener(name), values)
            elif self._pools_are_sums and (pool := name.partition(":")[0]) in present:
                self._add(of_pool(f"{pool}:"), values)


def id_of(name: str) -> str:
    """The id of the pool or member that is counted by this name; a listener's id is its own name."""
    pool, _, rest = name.partition(":")
    return rest.partition("/")[2] or pool


def listener_of(name: str) -> str:
    """The id of the listener by way of which it is counted."""
    return name.partition(":")[2].partition("/")[0]


def _without_listener(name: str) -> str:
    pool, _, rest = name.partition(":")
    return f"{pool}:{''.join(rest.partition('/')[1:])}"
