"""Until when the work of this thread has to be done: said once, where a request comes in, and asked wherever something is waited for."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator


class _Thread(threading.local):
    until: float | None = None  # of the monotonic clock


_thread = _Thread()


@contextlib.contextmanager
def until(moment: float) -> Iterator[None]:
    """What this thread waits for within the block is waited for no longer than until then, by the monotonic clock."""
    before, _thread.until = _thread.until, moment
    try:
        yield
    finally:
        _thread.until = before


def left(most: float) -> float:
    """Seconds that this thread may wait: `most`, or what is left until its deadline if that is less; never below 0."""
    moment = _thread.until
    return most if moment is None else max(0.0, min(most, moment - time.monotonic()))
