"""Amphorae that beat and yet are not as they should be: never heard at all, without a heartbeat's row, or with another configuration."""

import dataclasses
import logging
import threading
from collections.abc import Callable

from controller import clock as clocks
from controller import exceptions, jobs, outages
from controller.db import database
from controller.health_manager import paces, replacements, statuses
from controller.health_manager import recorder as recording
from controller.model import load_balancer as model
from controller.model import status

LOG = logging.getLogger(__name__)

_PAGE = 500
_REPAIRED_AGAIN_AFTER = 30.0
_REPAIRS = 3  # in vain, before the amphora is replaced
_REMEMBERED_FOR = paces.SELDOM  # one that is wrong and right in turns costs no more than one repair, and its event, in this time
_URGENT_REPAIRS, _URGENTLY_AGAIN_AFTER = 1, 10.0  # the same while clients suffer from it
_NEVER_HEARD = "never_heard"


@dataclasses.dataclass(slots=True)
class _Repair:
    rechecked: bool = False
    count: int = 0
    next_at: float = float("-inf")  # by the monotonic clock


@dataclasses.dataclass(eq=False)
class Repairs:
    """One thread (`run`). Times in seconds."""

    db: database.Database
    recorder: recording.Recorder
    ring: Callable[[], None]
    _: dataclasses.KW_ONLY
    grace: float
    boot_timeout: float
    interval: float
    replacement_interval: float = replacements.INTERVAL
    clock: clocks.Clock = clocks.SYSTEM

    def __post_init__(self) -> None:
        self._unheard: dict[str, float] = {}  # amphorae that were never heard, and since when this manager knows them
        self._repairs: dict[str, _Repair] = {}
        self._replacements = replacements.Replacements(self.db, self.recorder, interval=self.replacement_interval, clock=self.clock)
        self._cursor = ""

    def run(self, stop: threading.Event) -> None:
        """Look at all amphorae at each interval, until told to stop; whatever fails in a turn is logged, and the next one comes."""
        outage, pause = outages.Outage(LOG, "The repair of amphorae"), self.interval
        while not stop.wait(pause):
            pause = max(self.interval, outage.outlives(self.turn))

    def turn(self) -> None:
        """Look once for amphorae that need a repair, and post what they need."""
        self._repair_mismatches(self.clock.monotonic())
        self._report_never_heard()
        self._replacements.look()
        with self.db.begin() as tx:
            # An amphora in service without a time of its last heartbeat would never be found silent.
            count, self._cursor = tx.health.presume_heard(self.db.now(), self._cursor, _PAGE)
        if count:
            LOG.warning("%d amphorae in service were never heard: they count as heard now, and are asked once they stay silent", count)

    def _repair_mismatches(self, now: float) -> None:
        found = {item.amphora_id: item for item in self.recorder.statuses.mismatches()}
        # One that is wrong and right in turns is repaired, and in the end replaced, like one that is wrong all the time.
        self._repairs = {key: repair for key, repair in self._repairs.items() if key in found or now < repair.next_at + _REMEMBERED_FOR}
        for amphora_id, item in found.items():
            repair = self._repairs.setdefault(amphora_id, _Repair())
            if now - item.since < self.grace or now < repair.next_at:
                continue
            if repair.rechecked:
                self._try(item, repair, now)
            else:  # what it was found by may be old by now: judged again, it vanishes unless it is still so
                self.recorder.judge_again(item.load_balancer_id)
            repair.rechecked = not repair.rechecked

    def _try(self, item: statuses.Mismatch, repair: _Repair, now: float) -> None:
        """Repair one; what goes wrong with it must not keep the others waiting."""
        try:
            self._repair(item, repair, now)
        except exceptions.NotFound:
            self.recorder.statuses.settle_mismatch(item.amphora_id)
        except Exception as exc:
            if database.is_transient(exc):
                raise
            LOG.exception("Amphora %s could not be repaired", item.amphora_id)
            repair.next_at = now + _REPAIRED_AGAIN_AFTER

    def _repair(self, item: statuses.Mismatch, repair: _Repair, now: float) -> None:
        with self.db.begin() as tx:
            snapshot = tx.snapshots.outline(item.load_balancer_id)
            settled = snapshot.load_balancer.provisioning_status is status.ProvisioningStatus.ACTIVE
            if not settled or tx.leases.is_live(item.load_balancer_id):
                return  # a flow is about to bring it, or is just bringing it, to its newest state
            repair.count, repair.next_at = repair.count + 1, now + (_URGENTLY_AGAIN_AFTER if item.discord else _REPAIRED_AGAIN_AFTER)
            most = _URGENT_REPAIRS if item.discord else _REPAIRS
            if repair.count > most:
                self._replacements.replace(tx, snapshot, item, f"{most} repair{'s were' if most > 1 else ' was'} in vain")
            else:
                job = jobs.RepairLoadBalancer(load_balancer_id=item.load_balancer_id)
                tx.jobs.post(job)
                event = model.Fault(code="repair", message=f"its configuration is sent again: {item.sentence}", step=job.kind)
                tx.faults.add_event(item.load_balancer_id, "amphora", item.amphora_id, event)
        LOG.warning("Amphora %s beats, but %s: repair %d", item.amphora_id, item.sentence, repair.count)
        self.ring()

    def _report_never_heard(self) -> None:
        now = self.clock.monotonic()
        with self.db.read() as tx:
            found = [item for item in tx.health.never_heard(_PAGE) if item.load_balancer_id is not None]
        self._unheard = {item.id: self._unheard.get(item.id, now) for item in found}
        for amphora in (item for item in found if now - self._unheard[item.id] >= self.boot_timeout):
            owner = amphora.load_balancer_id
            assert owner is not None
            message = f"was made {self.boot_timeout:g} s ago or more and was never heard: does it boot, and reach this manager by UDP?"
            fault = model.Fault(code=_NEVER_HEARD, message=message)
            with self.db.begin() as tx:
                known = tx.faults.of_load_balancer(owner).get(amphora.id)
                if known is not None and known.code == _NEVER_HEARD:
                    continue
                tx.faults.put(owner, [amphora.id], fault)
                tx.faults.add_event(owner, "amphora", amphora.id, fault)
            LOG.error("Amphora %s of load balancer %s %s", amphora.id, owner, message)
