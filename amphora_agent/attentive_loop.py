"""An event loop whose clock stands still while its thread waits for a processor, or is stopped: only time in which it could listen counts.

Who measures other people's answers by a clock that goes on meanwhile takes their own delay for that of others.
"""

from __future__ import annotations

import asyncio
import selectors
import time

_WORK = 0.05
"""Seconds of work between two looks at what has come, or of oversleeping, that count at most."""


class AttentiveLoop(asyncio.SelectorEventLoop):
    """Time-outs and sleeps within it last at least as long as asked for, and longer by the time that was lost."""

    def __init__(self) -> None:
        self._attention = _Attention()
        super().__init__(self._attention)

    def time(self) -> float:
        """Seconds, from any beginning; never less than before."""
        return self._attention.time()


class _Attention(selectors.DefaultSelector):
    def __init__(self) -> None:
        super().__init__()
        self._counted, self._looked_at = 0.0, time.monotonic()

    def time(self) -> float:
        return self._counted + min(_WORK, time.monotonic() - self._looked_at)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._counted, began = self.time(), time.monotonic()
        found = super().select(timeout)
        took = time.monotonic() - began
        if timeout is None or took <= max(0.0, timeout) + _WORK:
            self._counted += took
        else:  # it was stopped in here, nobody knows when: nobody's time is up, but who is always late comes to an end, too
            self._counted += max(0.0, timeout) / 2
            found = found or super().select(0)  # epoll_wait(2) is interrupted, and has not looked
        self._looked_at = time.monotonic()
        return found
