"""Work that a row owes and no job carries: a job was lost, its worker died at the worst moment, or the time of a retry has come."""

import datetime
import itertools
import logging
from collections.abc import Callable, Collection

from controller import exceptions
from controller.db import database
from controller.jobs import owed

LOG = logging.getLogger(__name__)

_CLAIM_GRACE = 5.0  # workers take expired claims over themselves; this is for when there is none
_PAGES = 20


class Sweeper:
    """`ring` tells workers that there is something to do; `unfinished_after` is when an amphora that never came to serve is given up."""

    def __init__(self, db: database.Database, ring: Callable[[], None], *, page_size: int, unfinished_after: float) -> None:
        self._db = db
        self._ring = ring
        self._page_size = page_size
        self._unfinished_after = unfinished_after
        self._cursor = ""

    def sweep(self, may_go_on: Callable[[], bool]) -> None:
        """One round: all that is due, and one page of all load balancers for what no status shows."""
        posted, now = 0, self._db.now()
        with self._db.begin() as tx:
            freed = tx.housekeeping.free_claims(now - _CLAIM_GRACE)
            given_up = tx.housekeeping.give_up_amphorae(_time(now - self._unfinished_after), now, self._page_size)
        if freed:
            LOG.info("%d jobs were taken from dead workers", freed)
        for _ in range(_PAGES):
            if not may_go_on():
                return
            with self._db.read() as tx:
                owing = tx.housekeeping.owing(self._db.now(), self._page_size)
            posted += self._post(owing, may_go_on)
            if len(owing) < self._page_size:
                break
        with self._db.read() as tx:
            drifted, self._cursor = tx.housekeeping.drifted(self._db.now(), self._cursor, self._page_size)
        posted += self._post({*drifted, *given_up}, may_go_on)
        if posted or freed:
            self._ring()

    def _post(self, load_balancer_ids: Collection[str], may_go_on: Callable[[], bool]) -> int:
        return sum(map(self._post_one, itertools.takewhile(lambda _: may_go_on(), load_balancer_ids)))

    def _post_one(self, load_balancer_id: str) -> bool:
        with self._db.begin() as tx:
            try:
                snapshot = tx.snapshots.outline(load_balancer_id)
            except exceptions.NotFound:
                return False
            job = owed.owed(snapshot, _time(self._db.now()))
            if job is None:
                return False
            tx.jobs.post(job)
        LOG.info(
            "Load balancer %s is %s and nobody works on it: posted %s",
            load_balancer_id,
            snapshot.load_balancer.provisioning_status,
            job.kind,
        )
        return True


def _time(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)
