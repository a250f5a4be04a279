"""Pure: which member gets which of the numbers that the kernel counts, or makes of a client's address: shares by weight.

`in_turn` is for numbers that are counted: every member at intervals as even as may be. `by_hash` is for hashes, and moves few clients: the
numbers of a member that is away go to others, all else stays, and it gets its own back. The table is Maglev's (Eisenbud et al., NSDI 2016,
section 3.4), so it is near to even, and one member more or less changes little of it; the lightest have one number each at least. Both
halves of a pair make the same.
"""

from __future__ import annotations

import functools
import hashlib
import heapq
import itertools
import math
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence

LONGEST_TURN = 4096
_SIZES = ((12, 251), (100, 1021), (400, 4093), (1 << 30, 16381))
"""Primes: so many numbers for so many members at most."""
_LONGEST_WAY = 16
"""Steps through the table: where so many lead to nobody, those who are present have few numbers, by which no shares can be told."""

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
    left = [(name.encode(), name, weight) for name, weight in weights if name in present]
    if len(left) == 1:
        return (left[0][1],) * len(table)
    return tuple(name if name in present else _instead(table, number, present, left) for number, name in enumerate(table))


def _instead(table: Sequence[str], number: int, present: Collection[str], left: Sequence[tuple[bytes, str, int]]) -> str:
    """Who is met first on a way through the table that is the number's own: so whoever else leaves or comes changes it for those only.

    After a long way, who has drawn the best lot for this number, better ones for greater weights: of the same promise, slower, and exact.
    """
    size = len(table)
    step = zlib.crc32(b"%d" % number) % (size - 1) + 1
    way = (table[(number + turn * step) % size] for turn in range(1, min(size, _LONGEST_WAY)))
    return next((name for name in way if name in present), "") or max(left, key=lambda one: _lot(number, one[0]) / one[2])[1]


def _lot(number: int, name: bytes) -> float:
    """Below zero; divided by weights, the greatest is each one's as often as its weight says (weighted rendezvous)."""
    drawn = int.from_bytes(hashlib.blake2b(b"%d %b" % (number, name), digest_size=6).digest(), "big")
    return math.log((drawn + 0.5) / (1 << 48))


@functools.lru_cache(maxsize=64)
def _table(weights: Weights) -> Sequence[str]:
    if not weights:
        return ()
    size = next(size for most, size in _SIZES if len(weights) <= most)
    free: list[str | None] = [None] * size
    wishes = {name: _wishes(name, size) for name, _ in weights}
    for name in _choosing(weights, size):
        free[next(number for number in wishes[name] if free[number] is None)] = name
    return tuple(name for name in free if name is not None)


def _choosing(weights: Weights, size: int) -> Iterator[str]:
    """Who takes one of so many numbers, time after time: in turn, and the last ones are for those whose first turn would come too late."""
    waiting = dict.fromkeys(name for name, _ in weights)
    for left, name in zip(range(size, 0, -1), _turns(_reduced(weights)), strict=False):
        if left <= len(waiting):
            yield from itertools.islice(waiting, left)
            return
        waiting.pop(name, None)
        yield name


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
