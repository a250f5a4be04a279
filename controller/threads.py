"""Threads for work that may wait: where the machine has no further one, it waits for one that is there."""

from __future__ import annotations

import logging
import time
from concurrent import futures

LOG = logging.getLogger(__name__)
_TOLD_EVERY = 60.0
"""Seconds."""


class Pool(futures.ThreadPoolExecutor):
    """Its work never waits for other work of its own.

    The usual pool has taken the work in when it finds that no thread can be started (a limit of the unit or container, RLIMIT_NPROC),
    raises RuntimeError all the same, and does the work later, when nobody waits for it any more. This one raises it only while it has no
    thread at all.
    """

    _told_at = float("-inf")

    def _adjust_thread_count(self) -> None:
        try:
            super()._adjust_thread_count()  # CPython has had it under this name since 3.2
        except RuntimeError as exc:
            if not self._threads:
                raise
            if time.monotonic() - self._told_at >= _TOLD_EVERY:
                self._told_at = time.monotonic()
                LOG.warning("There is no further thread, so work waits for one of %d: %s", len(self._threads), exc)
