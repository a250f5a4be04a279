"""Many items in one transaction, of which one may be poison: something that the database refuses, whatever else is in the batch.

A batch that was kept and tried again as it is would fail for ever, and with it everybody's items that came later.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

from controller.db import database

T = TypeVar("T")


def write(items: Sequence[T], attempt: Callable[[Sequence[T]], object], probe: Callable[[], object]) -> list[tuple[T, Exception]]:
    """Write all items, in halves of halves as far as it takes to find those that can't be written; these, and why.

    `attempt` writes some items in one transaction. `probe` writes something harmless of the same kind: only if that succeeds is an item to
    blame and not the database.

    :raises Exception: the database is away, busy or broken; some of the items may be written already.
    """
    if not items:
        return []
    try:
        attempt(items)
    except Exception as exc:
        if database.is_transient(exc):
            raise
        if len(items) > 1:
            half = len(items) // 2
            return write(items[:half], attempt, probe) + write(items[half:], attempt, probe)
        probe()
        return [(items[0], exc)]
    return []
