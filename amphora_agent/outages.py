"""What a loop of the agent that outlives errors says of them: each once, and when all is well again."""

from __future__ import annotations

import logging
import time

_MOST_KINDS = 20


class Outage:
    """Outlives, in one loop, whatever goes wrong outside, and tells its beginning and its end once. Not for several threads."""

    def __init__(self, log: logging.Logger, loop: str) -> None:
        """`loop` names the loop at the beginning of a sentence."""
        self._log = log
        self._loop = loop
        self._since: float | None = None
        self._tries = 0
        self._told: set[tuple[str, str]] = set()

    def met(self, error: BaseException) -> None:
        """A turn failed."""
        if self._since is None:
            self._since = time.monotonic()
        self._tries += 1
        kind = type(error).__name__, str(error)[:100]
        if kind not in self._told and len(self._told) < _MOST_KINDS:
            self._told.add(kind)
            self._log.error("%s met an error, and goes on trying; it will be told when all is well again", self._loop, exc_info=error)

    def over(self) -> None:
        """A turn did all that it should."""
        if self._since is not None:
            seconds = time.monotonic() - self._since
            self._log.warning("%s is well again, after %.1f s and %d failed turns", self._loop, seconds, self._tries)
            self._since, self._tries, self._told = None, 0, set()
