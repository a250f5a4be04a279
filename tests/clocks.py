"""Clocks that a test can set."""

from __future__ import annotations

import time

from controller import clock


class SetClock(clock.Clock):
    """The machine's clocks, of which `ahead` seconds were added to the wall clock alone, and `passed` to both."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self.passed = 0.0

    def wall(self) -> float:
        """What the wall clock shows."""
        return time.time() + self.ahead + self.passed

    def monotonic(self) -> float:
        """What nobody can set."""
        return time.monotonic() + self.passed
