"""How often something may be said: of what a stranger can cause again and again, a few times at once, and then now and then."""

from collections.abc import Hashable

from controller import clock as clocks

SELDOM = 3600.0
"""Seconds between two events of one kind about one thing, once its first ones were said. A liar could fill the table otherwise: what is
said every ten seconds is a quarter of a million rows on day 31."""
FEW = 5
"""Events of one kind that are said of one thing before it has to wait."""


class Pace:
    """For each key `few` at once, and one in `seldom` seconds on the long run (a leaky bucket). Threads share one under a lock."""

    def __init__(self, few: int = FEW, seldom: float = SELDOM, clock: clocks.Clock = clocks.SYSTEM) -> None:
        self._patience = (few - 1) * seldom
        self._seldom = seldom
        self._clock = clock
        self._full_until: dict[Hashable, float] = {}  # by the monotonic clock: when all that was said will have been waited for

    def allows(self, key: Hashable) -> bool:
        """Whether it may be said of this now."""
        return self._full_until.get(key, float("-inf")) - self._clock.monotonic() <= self._patience

    def note(self, key: Hashable) -> None:
        """This one was told just now."""
        self._full_until[key] = max(self._clock.monotonic(), self._full_until.get(key, float("-inf"))) + self._seldom

    def take(self, key: Hashable) -> bool:
        """Whether it may be said, which it is then."""
        if not self.allows(key):
            return False
        self.note(key)
        return True

    def prune(self) -> None:
        """Forget of whom nothing was said for long."""
        now = self._clock.monotonic()
        self._full_until = {key: until for key, until in self._full_until.items() if until > now}
