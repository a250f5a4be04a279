"""What the compute service says of machines that are to come up: asked now and then, however often somebody wants to know."""

import logging
import threading
import time
from collections.abc import Callable

from controller import exceptions
from controller.drivers.compute import interface

_LONGEST = 60.0
LOG = logging.getLogger(__name__)

_MANY = 10_000  # amphorae; then all are forgotten


class Watch:
    """Asks about one amphora for the first time after `every` seconds, then each time after twice as many, up to a minute.

    Threads share it. A machine that comes up tells by its heartbeats. What is found here is only why one does not.
    """

    def __init__(self, compute: interface.ComputeDriver, every: float = 10.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._compute = compute
        self._every = every
        self._clock = clock
        self._lock = threading.Lock()
        self._next: dict[str, tuple[float, float]] = {}  # when it is asked about, and how long not after that

    def trouble(self, amphora_id: str, compute_id: str) -> str | None:
        """In words, why a machine that was booted will not come up; None if nothing is known against it."""
        if not self._is_due(amphora_id):
            return None
        try:
            instance = self._compute.get(compute_id)
        except exceptions.NotFound:
            return "the compute service has no machine for it any more"
        except exceptions.ControllerError as error:  # also that we may not look: the machine may be well
            LOG.warning("Nobody knows how amphora %s boots: %s", amphora_id, error)
            return None
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
            at, pause = self._next.setdefault(amphora_id, (now + self._every, self._every))
            if now < at:
                return False
            pause = min(2 * pause, max(_LONGEST, self._every))
            self._next[amphora_id] = (now + pause, pause)
            return True
