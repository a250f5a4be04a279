"""What the compute service says of machines that are to come up: asked now and then, however often somebody wants to know."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from controller import exceptions
from controller.drivers.compute import interface

_MANY = 10_000  # amphorae; then all are forgotten


class Watch:
    """Asks about one amphora once in `every` seconds, the first time after as many. Threads share it."""

    def __init__(self, compute: interface.ComputeDriver, every: float = 10.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._compute = compute
        self._every = every
        self._clock = clock
        self._lock = threading.Lock()
        self._next: dict[str, float] = {}

    def trouble(self, amphora_id: str) -> str | None:
        """In words, why a machine that was booted will not come up; None if nothing is known against it."""
        if not self._is_due(amphora_id):
            return None
        try:
            instance = self._compute.find(amphora_id)
        except exceptions.Transient:
            return None
        if instance is None:
            return "the compute service has no machine for it any more"
        if instance.status is interface.InstanceStatus.ERROR:
            return f"the compute service says: {instance.fault or 'ERROR, without a reason'}"
        if instance.status is interface.InstanceStatus.SHUTOFF:
            return "its machine has stopped"
        return None

    def _is_due(self, amphora_id: str) -> bool:
        now = self._clock()
        with self._lock:
            if len(self._next) >= _MANY:
                self._next.clear()
            due = now >= self._next.setdefault(amphora_id, now + self._every)
            if due:
                self._next[amphora_id] = now + self._every
        return due
