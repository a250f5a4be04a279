"""Rows that have had their time: deleted load balancers and amphorae, old events, records of flows whose job is gone."""

import datetime
import logging
from collections.abc import Callable, Sized

from controller.db import database

LOG = logging.getLogger(__name__)


class Purge:
    """Ages in seconds. Each page is a transaction of its own, so that nobody waits long for the rows."""

    def __init__(self, db: database.Database, *, load_balancer_age: float, amphora_age: float, event_age: float, page_size: int) -> None:
        self._db = db
        self._load_balancer_age = load_balancer_age
        self._amphora_age = amphora_age
        self._event_age = event_age
        self._page_size = page_size

    def purge(self, may_go_on: Callable[[], bool]) -> None:
        """Remove rows that were deleted, and events, longer ago than their ages, page by page; stop when told so."""
        now, size = self._db.now(), self._page_size
        at, event_age = datetime.datetime.fromtimestamp(now, datetime.UTC), datetime.timedelta(seconds=self._event_age)
        steps: list[tuple[str, Callable[[database.Transaction], Sized | int]]] = [
            ("events of load balancers", lambda tx: tx.housekeeping.purge_events_of_deleted(now - self._load_balancer_age, size)),
            ("load balancers", lambda tx: tx.housekeeping.purge_load_balancers(now - self._load_balancer_age, size)),
            ("amphorae", lambda tx: tx.housekeeping.purge_amphorae(now - self._amphora_age, size)),
            ("events", lambda tx: tx.housekeeping.purge_events(at, event_age, size)),
            ("records of flows", lambda tx: tx.housekeeping.drop_stray_records(size)),
        ]
        for what, step in steps:
            count, last = 0, size
            while last == size and may_go_on():
                with self._db.begin() as tx:
                    done = step(tx)
                last = done if isinstance(done, int) else len(done)
                count += last
            if count:
                LOG.info("Purged %d %s", count, what)
