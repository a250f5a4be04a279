"""Asks HAProxy several times a second whether it answers, so that in a pair the VIP goes to the other half within a second.

keepalived's own scripts run once a second at most (2.2.7), and can't ask a socket without a program of some size. It heeds a file, though,
within 15 ms (`track_file`, inotify). A question costs HAProxy 0.04 ms and us 0.06 ms of processor time.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from amphora_agent import outages

LOG = logging.getLogger(__name__)
INTERVAL = 0.2
"""Seconds between two questions."""
PATIENCE = 0.4
"""Seconds for an answer."""
IDLE = 1.0


class Watch:
    """One thread (`run`). `is_wanted`: whether there is anybody to be told; `hangs`: None if that can't be said now."""

    def __init__(
        self,
        is_wanted: Callable[[], bool],
        hangs: Callable[[], bool | None],
        tell: Callable[[bool], None],
        on_change: Callable[[], None],
    ) -> None:
        self._is_wanted, self._hangs, self._tell, self._on_change = is_wanted, hangs, tell, on_change
        self._told: bool | None = None
        self._over = threading.Event()

    def run(self) -> None:
        """Watch for ever; a bad turn is logged and outlived."""
        outage = outages.Outage(LOG, "The watch over HAProxy")
        while not self._over.is_set():
            try:
                wait = self.turn()
                outage.over()
            except Exception as exc:
                outage.met(exc)
                wait = IDLE
            self._over.wait(wait)

    def stop(self) -> None:
        """End `run` soon."""
        self._over.set()

    def turn(self) -> float:
        """Ask once, and tell what is new; the seconds until the next question."""
        if not self._is_wanted():
            if self._told:  # what hung is not to run any more
                self._tell(False)
            self._told = None
            return IDLE
        hangs = self._hangs()
        if hangs is not None and hangs != self._told:
            self._tell(hangs)
            if hangs:
                LOG.warning("HAProxy does not answer: keepalived is told, the other half takes the VIP")
            if hangs or self._told:
                self._on_change()
            self._told = hangs
        return INTERVAL
