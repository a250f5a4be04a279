"""Workers of HAProxy that have a successor and finish their connections: as long as these last, unless memory runs short."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Collection

from amphora_agent import system

LOG = logging.getLogger(__name__)


class FormerWorkers:
    """Remembers how long each has been idle. `available` says how many MiB of memory programs may still take."""

    def __init__(self, available: Callable[[], float] | None = None) -> None:
        self._available = available or _available
        self._seen: dict[int, tuple[int, int]] = {}  # process id -> its processor time, and the look at which that rose last
        self._looks = 0

    def look(self, pids: Collection[int], reserve: float) -> int | None:
        """Note what these have done since the last look; if less than `reserve` MiB are available, end the one that has done nothing for
        longest (of several, the oldest), and say which."""
        self._looks += 1
        used = {pid: system.processor_time(pid) for pid in pids}
        for pid, now in used.items():
            if self._seen.get(pid, (-1, 0))[0] != now:
                self._seen[pid] = (now, self._looks)
        self._seen = {pid: self._seen[pid] for pid in pids}
        if not pids or self._available() >= reserve:
            return None
        idlest = min(pids, key=lambda pid: (self._seen[pid][1], system.started_at(pid)))
        LOG.warning("Memory is short: worker %s, which finished connections of before a reload, is ended", idlest)
        system.send_signal(idlest, signal.SIGTERM)
        return idlest


def _available() -> float:
    """MiB, as the kernel estimates it."""
    return system.memory().get("MemAvailable", float("inf")) / 1024
