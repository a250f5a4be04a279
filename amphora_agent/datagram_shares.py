"""Pure: which member gets which of the numbers that the kernel counts, or makes of a client's address: shares by weight.

`in_turn` is for numbers that are counted: every member at intervals as even as may be. `by_hash` is for hashes, and moves few clients: the
numbers of a member that is away go to others, all else stays, and it gets its own back. The table is Maglev's (Eisenbud et al., NSDI 2016,
section 3.4), so it is near to even, and one member more or less changes little of it. Both halves of a pair make the same.
"""

from __future__ import annotations

import functools
import heapq
import itertools
import math
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence

LONGEST_TURN = 4096
_SIZES = ((12, 251), (100, 1021), (400, 4093), (1 << 30, 16381))
"""Primes: so many numbers for so many members at most."""

Weights = tuple[tuple[str, int], ...]
"""Ids of members with weights above zero."""


def in_turn(weights: Weights) -> Sequence[str]:
    """One turn of all members, each as often as its weight says (weighted round robin)."""
    return tuple(itertools.islice(_turns(_reduced(weights)), sum(weight for _, weight in _reduced(weights))))


def by_fewest(weights: Weights, flows: Mapping[str, int], length: int) -> Sequence[str]:
    """The next ones if each flow goes where there are fewest by weight, and none ends meanwhile (least connections)."""
    waiting = [((flows.get(name, 0) + 1) / weight, place, name, weight) for place, (name, weight) in enumerate(weights)]
    heapq.heapify(waiting)
    found = []
    for _ in range(length if waiting else 0):
        load, place, name, weight = waiting[0]
        found.append(name)
        heapq.heapreplace(waiting, (load + 1 / weight, place, name, weight))
    return found


def by_hash(weights: Weights, present: Collection[str]) -> Sequence[str]:
    """The table of all members, with the numbers of those that are not `present` given to others; empty if nobody is present."""
    table = _table(weights)
    if all(name in present for name, _ in weights):
        return table
    if not any(name in present for name, _ in weights):
        return ()
    return tuple(name if name in present else _instead(table, number, present) for number, name in enumerate(table))


def _instead(table: Sequence[str], number: int, present: Collection[str]) -> str:
    """Who is met first on a way through the table that is the number's own: so whoever else leaves or comes changes it for those only."""
    size = len(table)
    step = zlib.crc32(b"%d" % number) % (size - 1) + 1
    return next(name for turn in range(1, size) if (name := table[(number + turn * step) % size]) in present)


@functools.lru_cache(maxsize=64)
def _table(weights: Weights) -> Sequence[str]:
    if not weights:
        return ()
    size = next(size for most, size in _SIZES if len(weights) <= most)
    free: list[str | None] = [None] * size
    wishes = {name: _wishes(name, size) for name, _ in weights}
    for name in itertools.islice(_turns(_reduced(weights)), size):
        free[next(number for number in wishes[name] if free[number] is None)] = name
    return tuple(name for name in free if name is not None)


def _wishes(name: str, size: int) -> Iterator[int]:
    """All numbers in an order of the member's own."""
    first, step = zlib.crc32(name.encode()) % size, zlib.crc32(name[::-1].encode()) % (size - 1) + 1
    return ((first + turn * step) % size for turn in range(size))


def _turns(weights: Weights) -> Iterator[str]:
    """Turn after turn for ever: the k-th of a member with weight w stands at (k + 1/2) / w."""
    places = sorted(((k + 0.5) / weight, place) for place, (_, weight) in enumerate(weights) for k in range(weight))
    return itertools.cycle([weights[place][0] for _, place in places])


def _reduced(weights: Weights) -> Weights:
    """The same proportions in smaller numbers: exact, unless a turn would be too long."""
    divisor = math.gcd(*(weight for _, weight in weights)) or 1
    total = sum(weight for _, weight in weights) // divisor
    excess = max(1.0, total / LONGEST_TURN)
    return tuple((name, max(1, round(weight / divisor / excess))) for name, weight in weights)
