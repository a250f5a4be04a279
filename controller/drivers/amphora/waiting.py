"""Whose work waits for an agent just now: a worker gives the place of such work to others meanwhile."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator


class Waiting:
    """The load balancers whose agents were asked something and have not answered yet. One per process; threads share it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._since: dict[str, list[float]] = {}

    @contextlib.contextmanager
    def of(self, load_balancer_id: str) -> Iterator[None]:
        """Within the block, the work of this load balancer waits for an agent, and does nothing else."""
        began = self._clock()
        with self._lock:
            self._since.setdefault(load_balancer_id, []).append(began)
        try:
            yield
        finally:
            with self._lock:
                self._since[load_balancer_id].remove(began)
                if not self._since[load_balancer_id]:
                    del self._since[load_balancer_id]

    def seconds(self, load_balancer_id: str) -> float:
        """For how long its work has been waiting; 0 if it does not wait."""
        with self._lock:
            began = self._since.get(load_balancer_id)
            return self._clock() - began[0] if began else 0.0
