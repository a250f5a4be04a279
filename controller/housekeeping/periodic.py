"""Of several housekeeping processes one leads and works, the others stand by; each kind of work has its own thread and interval."""

import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Sequence

from controller import outages
from controller.db import database

LOG = logging.getLogger(__name__)

_NAME = "housekeeping"


class Leadership:
    """A lease in the database, renewed each third of its time. Whoever can't renew it in time stops working before another one begins."""

    def __init__(self, db: database.Database, owner: str, expiry: float) -> None:
        self._db = db
        self._owner = owner
        self._expiry = expiry
        self._until = float("-inf")

    def leads(self) -> bool:
        """Whether this process is the active one, for certain."""
        return time.monotonic() < self._until

    def renew(self) -> bool:
        """Lead, or go on leading."""
        started, before = time.monotonic(), self.leads()
        with self._db.begin() as tx:
            leads = tx.leaders.acquire(_NAME, self._owner, self._expiry)
        # The lease in the row began later than `started`: this clock runs out first.
        self._until = started + self._expiry if leads else float("-inf")
        if leads != before:
            LOG.info("%s %s", self._owner, "leads the housekeeping" if leads else "stands by")
        return leads

    def resign(self) -> None:
        """Let another one lead at once."""
        self._until = float("-inf")
        with self._db.begin() as tx:
            tx.leaders.resign(_NAME, self._owner)

    def run(self, stop: threading.Event) -> None:
        """Renew until told to stop."""
        outage = outages.Outage(LOG, "The lease of the housekeeping")
        outage.outlives(self.renew)
        while not stop.wait(self._expiry / 3):  # which is the pause after an error, too
            outage.outlives(self.renew)


@dataclasses.dataclass(frozen=True, slots=True)
class Duty:
    """A kind of work. `work` is called with a question: is it still ours to do? It asks between two steps."""

    name: str
    interval: float
    work: Callable[[Callable[[], bool]], None]


class Housekeeper:
    """Runs duties while it leads."""

    def __init__(self, leadership: Leadership, duties: Sequence[Duty]) -> None:
        self._leadership = leadership
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=leadership.run, args=(self._stop,), name="leadership", daemon=True)]
        self._threads += [threading.Thread(target=self._attend, args=(duty,), name=duty.name, daemon=True) for duty in duties]

    def start(self) -> None:
        """Begin in threads of its own; it works once it leads."""
        for thread in self._threads:
            thread.start()

    def stop(self, timeout: float = 1.8) -> bool:
        """Finish the step under way and resign; False if a thread did not end in time."""
        self._stop.set()
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        try:
            self._leadership.resign()
        except Exception as exc:
            LOG.warning("The lease of the housekeeping could not be given back, and runs out by itself: %s", exc)
        return not any(thread.is_alive() for thread in self._threads)

    def _attend(self, duty: Duty) -> None:
        next_at, outage = 0.0, outages.Outage(LOG, f"The {duty.name}", longest_wait=max(duty.interval, outages.LONGEST_WAIT))
        while not self._stop.wait(min(0.1, duty.interval)):
            if not self._leadership.leads() or time.monotonic() < next_at:
                continue
            began = time.monotonic()
            pause = outage.outlives(lambda: duty.work(lambda: self._leadership.leads() and not self._stop.is_set()))
            next_at = time.monotonic() + max(duty.interval, pause) if pause else began + duty.interval
