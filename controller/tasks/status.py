"""First and last steps of every flow: what is tried, what became of it."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Mapping
from typing import Any

from taskflow.types import failure

from controller import exceptions, jobs
from controller.jobs import owed
from controller.model import load_balancer as model
from controller.tasks import base, passes, retries

LOG = logging.getLogger(__name__)


class FaultOnRevert(base.Step):
    """Remember which generation this run is for. If the flow fails, what was pending then is in ERROR, with the reason.

    A load balancer that is being deleted is not in ERROR but stays PENDING_DELETE, with the reason: its deletion was accepted, and is
    tried until it is done.
    """

    seen: passes.Pass | None = None

    def execute(self, load_balancer_id: str) -> int:
        if self.seen is not None:
            return self.seen.get(load_balancer_id).generation
        with self.services.db.read() as tx:
            return tx.settlement.generation(load_balancer_id)

    def revert(
        self,
        load_balancer_id: str,
        lease: jobs.Lease,
        result: int | failure.Failure,
        flow_failures: Mapping[str, failure.Failure],
        request_id: str | None = None,
        **_: Any,
    ) -> None:
        step, code, words = reason(flow_failures)
        if code == exceptions.Immutable.code:
            LOG.info("load balancer %s: given up at %s: %s", load_balancer_id, step, words)
            return
        now = datetime.datetime.now(datetime.UTC)  # by which the event of this fault is found, to add the next try
        fault = model.Fault(code=code, message=words, step=step, request_id=request_id, occurred_at=now)
        with self.services.db.begin() as tx:
            generation = result if isinstance(result, int) else tx.settlement.generation(load_balancer_id)
            becomes = tx.settlement.fail(load_balancer_id, generation, fault, lease)
        LOG.warning("load balancer %s is %s: %s failed (%s): %s", load_balancer_id, becomes, step, code, words)


class Settle(base.Step):
    """Everything stamped with the generation that was applied, or before, is ACTIVE, or gone if it was to go.

    If an amphora is missing, or serves an older state, the load balancer stays PENDING_UPDATE: more is owed, and the next flow does it.
    The `ending` of the job is written along: what the tenant sees as done and what the board says is one moment. With `reads_anew` False,
    the flow has read no secret again, so what was asked for since the last settlement is owed, too.
    """

    seen: passes.Pass | None = None
    reads_anew: bool = True

    def execute(self, load_balancer_id: str, generation: int, lease: jobs.Lease, ending: passes.Ending | None = None) -> None:
        with self.services.db.begin(lease) as tx:  # holds the row, so that what is read from here on is what is settled
            if self.seen is not None:
                tx.amphorae.confirm(self.seen.confirmed, generation)
            now = tx.snapshots.outline(load_balancer_id)
            complete = owed.is_complete(now) and all(one.applied_generation >= generation for one in owed.serving(now))
            if not self.reads_anew:
                known = tx.tenant_certificates.of(load_balancer_id).values()
                complete &= not any(one.is_stale and one.asked_for > now.load_balancer.applied_generation for one in known)
            pushed_by_us = self.seen is not None  # what is recorded may have been begun by another process
            active = tx.settlement.settle(load_balancer_id, generation, lease, complete=complete, pushed_by_us=pushed_by_us)
            if ending is not None:
                ending.write(tx)
        if ending is not None:
            ending.done()
        LOG.info("load balancer %s: generation %s is applied%s", load_balancer_id, generation, "" if active else ", and more is owed")


class RemoveRows(base.Step):
    """Nothing of the load balancer is left in the cloud: nothing is left below it in the database."""

    def execute(self, load_balancer_id: str, lease: jobs.Lease, request_id: str | None = None, ending: passes.Ending | None = None) -> None:
        event = model.Fault(code="deleted", message="the load balancer and all that was made for it are gone", request_id=request_id)
        with self.services.db.begin() as tx:
            tx.settlement.remove(load_balancer_id, lease)
            tx.faults.add_event(load_balancer_id, "load_balancer", load_balancer_id, event)
            if ending is not None:
                ending.write(tx)
        if ending is not None:
            ending.done()
        LOG.info("load balancer %s is deleted", load_balancer_id)


def reason(failures: Mapping[str, failure.Failure]) -> tuple[str, str, str]:
    """Step, code and words of what made a flow fail. Of several at once, one that we know by its own code says most."""
    explained = [(step, *retries.explain(each)) for step, each in failures.items()]
    ours = [one for one in explained if one[1] not in (exceptions.ControllerError.code, exceptions.Transient.code)]
    return (ours or explained or [("", exceptions.ControllerError.code, "the flow failed without saying why")])[0]
