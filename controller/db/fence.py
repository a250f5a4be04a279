"""What leaves a worker is written under its lease: looked at before and after, and sent along, so that the other side can look as well."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator

from controller import exceptions, jobs
from controller.db import database
from controller.model import load_balancer as model
from controller.model import order

LOG = logging.getLogger(__name__)


class Fence:
    """Surrounds every write to an agent or to a service of the cloud; threads share it.

    The lease is looked at before each write, so that a worker that was paused rarely writes at all; the order goes with the write, so that
    an agent, or a driver with books of its own, refuses it if it is late all the same; and the lease is looked at once more after it. If
    it was lost by then, what was written may be older than what its new owner wrote: a repair is posted, which writes the newest again.
    """

    def __init__(self, db: database.Database, wake: Callable[[], None] = lambda: None) -> None:
        """`wake` rings the workers after a repair was posted."""
        self._db = db
        self._wake = wake

    @contextlib.contextmanager
    def writing(self, lease: jobs.Lease) -> Iterator[order.Order]:
        """Write something outside, by the order that is yielded.

        :raises StaleLease: another worker has taken the load balancer over, before the write or meanwhile.
        :raises StaleOrder: the other side follows a newer order than this database has ever given, although the lease is held.
        """
        self._check(lease)
        try:
            yield order.Order(lease.load_balancer_id, lease.token)
        except exceptions.StaleOrder as exc:
            self._check(lease)
            self._catch_up(lease, exc)
            raise
        except Exception:  # what was not answered may have been done
            self._check(lease)
            raise
        self._check(lease)

    def _check(self, lease: jobs.Lease) -> None:
        with self._db.read() as tx:
            if tx.leases.is_held(lease):
                return
        LOG.warning("load balancer %s: its lease was lost around a write: the newest state is written again", lease.load_balancer_id)
        with self._db.begin() as tx:
            tx.load_balancers.cross_access_out(lease.load_balancer_id)  # what came late may have been this, and the repair may fail
            tx.jobs.post(jobs.RepairLoadBalancer(load_balancer_id=lease.load_balancer_id))
        self._wake()
        raise exceptions.StaleLease(lease.load_balancer_id)

    def _catch_up(self, lease: jobs.Lease, refusal: exceptions.StaleOrder) -> None:
        """The database is older than what it has built (it was restored from a copy): raise its numbers above those that were seen."""
        message = (
            f"{refusal}: this database is older than that, as after a restore from a backup. Its numbers are raised, and what it says now "
            "is applied with the next try; compare it with what you expect"
        )
        event = model.Fault(code=refusal.code, message=message)
        with self._db.begin() as tx:
            if tx.leases.outrun(lease, refusal.token, refusal.generation):
                tx.faults.add_event(lease.load_balancer_id, "load_balancer", lease.load_balancer_id, event)
