"""Amphorae that beat and are replaced for what is reported: each role of a load balancer once in a while, and then a person is told.

Reports are input from strangers. One half of a pair that says it holds the VIP, while the other half holds it, looks as if the other half
were wrong; were that replaced as often as this is said, the liar would have its honest partner replaced without end. So first the half is
replaced that should be otherwise, and the second time the other one: whoever lied is gone then. What both replacements did not cure, a
third would not cure either: the way between the two is broken, or their image is.
"""

import datetime
import logging
from collections.abc import Mapping, Sequence

from controller import clock as clocks
from controller.db import database
from controller.health_manager import recorder as recording
from controller.health_manager import statuses, watcher
from controller.jobs import owed
from controller.model import amphora as amphora_model
from controller.model import load_balancer as model
from controller.model import status

LOG = logging.getLogger(__name__)

INTERVAL = 86400.0
"""Seconds."""
CODE = "replaced_in_vain"
_LOOKED_AFTER = 60.0
_PAGE = 500


class Replacements:
    """Used by one thread. `interval`: seconds in which a role is replaced once at most."""

    def __init__(
        self, db: database.Database, recorder: recording.Recorder, *, interval: float = INTERVAL, clock: clocks.Clock = clocks.SYSTEM
    ) -> None:
        self._db = db
        self._recorder = recorder
        self._interval = interval
        self._clock = clock
        self._looked_at = float("-inf")
        self._asked: set[str] = set()  # load balancers with a fault of ours that are being judged again

    def replace(self, tx: database.Transaction, seen: model.Snapshot, item: statuses.Mismatch, in_vain: str) -> None:
        """Post the failover of whom it may help to replace; if that was done already, say so and what to do."""
        load_balancer_id = seen.load_balancer.id
        tx.load_balancers.lock(load_balancer_id)
        candidates = _candidates(tx.snapshots.outline(load_balancer_id), item)
        recent = tx.replacements.recent(load_balancer_id, self._interval)
        left = [one for one in candidates if one.role not in recent]
        if not left:
            self._say(tx, load_balancer_id, item, candidates, recent)
            return
        reason = f"{item.sentence}, and {in_vain}"
        if left[0].id != item.amphora_id:
            reason = f"{item.sentence}, and to replace that one did not help"
        if watcher.post_failover(tx, left[0].id, f"failed over: {reason}") and left[0].role is not None:
            tx.replacements.note(load_balancer_id, left[0].role)

    def look(self) -> None:
        """Take faults back where all is well now."""
        now = self._clock.monotonic()
        if now - self._looked_at < _LOOKED_AFTER:
            return
        self._looked_at = now
        with self._db.read() as tx:
            faulty = set(tx.faults.with_code(CODE, _PAGE))
        for load_balancer_id in faulty & self._asked:
            if not self._recorder.statuses.is_well(load_balancer_id):
                continue
            with self._db.begin() as tx:
                if tx.faults.clear_code(load_balancer_id, CODE):
                    LOG.info("Load balancer %s is well again", load_balancer_id)
        for load_balancer_id in faulty:
            self._recorder.judge_again(load_balancer_id)
        self._asked = faulty

    def _say(
        self,
        tx: database.Transaction,
        load_balancer_id: str,
        item: statuses.Mismatch,
        candidates: Sequence[amphora_model.Amphora],
        recent: Mapping[status.Role, float],
    ) -> None:
        ends = [recent[one.role] + self._interval for one in candidates if one.role is not None]
        if not ends:
            return
        next_try_at = datetime.datetime.fromtimestamp(min(ends), datetime.UTC)
        fault = model.Fault(code=CODE, message=_sentence(item, candidates), next_try_at=next_try_at)
        if tx.replacements.tell(load_balancer_id, [one.role for one in candidates if one.role is not None]):
            tx.faults.add_event(load_balancer_id, "amphora", item.amphora_id, fault)
            LOG.error("Load balancer %s: %s", load_balancer_id, fault.message)
        known = tx.faults.of_load_balancer(load_balancer_id).get(load_balancer_id)
        if known is None or known.code != CODE:
            tx.faults.put(load_balancer_id, [load_balancer_id], fault)


def _candidates(now: model.Snapshot, item: statuses.Mismatch) -> list[amphora_model.Amphora]:
    """Whose replacement may help, the likeliest first: of a pair that contradicts itself, each half."""
    halves = owed.serving(now)
    own = [one for one in halves if one.id == item.amphora_id]
    return own + [one for one in halves if item.discord and own and one.id != item.amphora_id]


def _sentence(item: statuses.Mismatch, candidates: Sequence[amphora_model.Amphora]) -> str:
    if item.discord is None:
        return (
            f"amphora {item.amphora_id} is not as it should be: {item.sentence}. To replace it did not help, so it is left as it is: read "
            "the log of its agent, see whether its image fits the controller, then fail the load balancer over"
        )
    addresses = " and ".join(one.vrrp_ip or one.id for one in candidates)
    return (
        f"{item.discord.finding}. To replace each of them did not help, so both are left as they are: see whether "
        f"VRRP (IP protocol 112) passes between {addresses}, in both directions, then fail the load balancer over"
    )
