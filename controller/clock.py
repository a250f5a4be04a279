"""The two clocks of a machine, as an object, so that a test can set the one that people can set.

How long something took or is to last is a difference of `monotonic` alone. `wall` is for what others read: rows, certificates, people.
"""

from __future__ import annotations

import time


class Clock:
    """The machine's own."""

    def wall(self) -> float:
        """Seconds since the epoch. May jump either way at any moment: somebody, or a time service, sets it."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds since some moment that is the same for the whole life of the machine; never falls, nobody can set it."""
        return time.monotonic()


SYSTEM = Clock()
