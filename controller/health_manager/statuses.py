"""Operating statuses of load balancers whose reports changed: read what is needed, judge, write only what differs.

Snapshots are kept by load balancer and generation, a bounded number of them, for a bounded time: another health manager may write too.
"""

import collections
import dataclasses
import logging
import threading
from collections.abc import Callable, Collection, Mapping

from controller import clock as clocks
from controller.db import database, tables
from controller.health_manager import pairs, verdict
from controller.jobs import owed
from controller.model import amphora as amphora_model
from controller.model import load_balancer as model
from controller.model import status
from controller.model.heartbeat import Report

LOG = logging.getLogger(__name__)

Changes = dict[str, dict[str, status.OperatingStatus]]
_KEPT_FOR = 60.0


@dataclasses.dataclass(slots=True)
class _Cached:
    snapshot: model.Snapshot
    written: dict[str, status.OperatingStatus]  # by object id, as the rows have it
    read_at: float
    is_well: bool = False  # whether every amphora in service reports, and none of them a mismatch


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    """An amphora that beats, and yet does not run what its row says."""

    amphora_id: str
    load_balancer_id: str
    sentence: str
    since: float  # by the monotonic clock
    discord: pairs.Discord | None = None
    """It follows from what both halves of a pair say: clients suffer from it, so one repair in vain is enough, and either half may lie."""


@dataclasses.dataclass(eq=False)
class Statuses:
    """Used by the recorder's thread; `silent` and `mismatches` may be used by others.

    `report_of` gives what the newest report of an amphora says of some listeners, or None; `heard_at` when it was last heard (monotonic).
    """

    db: database.Database
    report_of: Callable[[str, Collection[str]], Report | None]
    kept: int = 2000
    clock: clocks.Clock = clocks.SYSTEM
    heard_at: Callable[[str], float | None] = lambda _: None

    def __post_init__(self) -> None:
        self._cache: collections.OrderedDict[str, _Cached] = collections.OrderedDict()
        self._lock = threading.Lock()
        self._silent: dict[str, float] = {}  # amphora id -> when it was found dead, by the monotonic self.clock
        self._mismatches: dict[str, Mismatch] = {}
        self._pairs = pairs.Pairs(self.heard_at, self.clock.monotonic)

    @property
    def silent(self) -> frozenset[str]:
        """Amphorae that were found dead and have not been heard since."""
        with self._lock:
            return frozenset(self._silent)

    def set_silent(self, amphora_id: str) -> bool:
        """Note that an amphora was found dead just now; tells whether that is news."""
        with self._lock:
            if amphora_id in self._silent:
                return False
            self._silent[amphora_id] = self.clock.monotonic()
            return True

    def set_heard(self, amphora_id: str, at: float) -> bool:
        """Note that an amphora gave a sign of life at a time (monotonic); tells whether it was taken for dead, and was not then."""
        with self._lock:
            if self._silent.get(amphora_id, at) >= at:
                return False
            del self._silent[amphora_id]
            return True

    def forget(self, amphora_ids: Collection[str]) -> None:
        """These amphorae are gone."""
        with self._lock:
            for amphora_id in amphora_ids:
                self._silent.pop(amphora_id, None)
                self._mismatches.pop(amphora_id, None)

    def mismatches(self) -> list[Mismatch]:
        """Amphorae to be looked at again, and repaired if that is still so."""
        with self._lock:
            return list(self._mismatches.values())

    def settle_mismatch(self, amphora_id: str) -> None:
        """This one has been dealt with: it is no mismatch until it reports one again."""
        with self._lock:
            self._mismatches.pop(amphora_id, None)

    def evaluate(self, load_balancer_ids: Collection[str]) -> int:
        """Bring the rows of these load balancers to what the newest reports say; how many statuses changed."""
        changes: Changes = {}
        touched: list[tuple[_Cached, dict[str, status.OperatingStatus]]] = []
        with self.db.read() as tx:
            generations = tx.health.generations(load_balancer_ids)
            amphorae = tx.health.amphorae_of(generations.keys())
            snapshots = {key: self._snapshot(tx.snapshots.get, key, generation) for key, generation in generations.items()}
        self._forget_all_but({one.id for of in amphorae.values() for one in of}, set(load_balancer_ids))
        self._pairs.forget(set(load_balancer_ids) - generations.keys())
        for load_balancer_id, cached in snapshots.items():
            changed = self._judge(cached, amphorae[load_balancer_id], changes)
            touched.append((cached, changed))
        count = sum(len(changed) for changed in changes.values())
        if count:
            with self.db.begin() as tx:
                tx.health.set_operating_statuses(changes)
            for cached, changed in touched:
                cached.written.update(changed)
        return count

    def _forget_all_but(self, amphora_ids: Collection[str], load_balancer_ids: Collection[str]) -> None:
        """These are all amphorae that these load balancers have: what was wrong with others went with them."""
        with self._lock:
            self._mismatches = {
                key: item for key, item in self._mismatches.items() if item.load_balancer_id not in load_balancer_ids or key in amphora_ids
            }

    def _snapshot(self, read: Callable[[str], model.Snapshot], load_balancer_id: str, generation: int) -> _Cached:
        cached = self._cache.get(load_balancer_id)
        now = self.clock.monotonic()
        is_old = cached is None or cached.snapshot.generation != generation or now - cached.read_at > _KEPT_FOR
        if cached is None or is_old or pairs.is_in_between(cached.snapshot):
            snapshot = read(load_balancer_id)
            cached = _Cached(snapshot, _as_written(snapshot), now)
            self._cache[load_balancer_id] = cached
        self._cache.move_to_end(load_balancer_id)
        while len(self._cache) > self.kept:
            self._cache.popitem(last=False)
        return cached

    def _judge(self, cached: _Cached, amphorae: tuple[amphora_model.Amphora, ...], changes: Changes) -> dict[str, status.OperatingStatus]:
        snapshot = dataclasses.replace(cached.snapshot, amphorae=amphorae)
        listeners = {item.id for item in snapshot.listeners}
        reports = {item.id: report for item in amphorae if (report := self.report_of(item.id, listeners)) is not None}
        discord = self._pairs.look(snapshot, reports, self.silent)
        found = pairs.truer(verdict.operating_statuses(snapshot, reports, self.silent), discord)
        cached.is_well = not self._compare(snapshot, reports, discord) and not self._pairs.is_doubted(snapshot.load_balancer.id)
        cached.is_well &= all(item.id in reports and item.id not in self.silent for item in owed.serving(snapshot))
        changed: dict[str, status.OperatingStatus] = {}
        for kind, judged in _by_kind(snapshot.load_balancer.id, found):
            news = {key: new for key, new in judged.items() if cached.written.get(key) != new}
            changes.setdefault(kind, {}).update(news)
            changed |= news
        if (own := changed.get(snapshot.load_balancer.id)) is not None:
            LOG.info("Load balancer %s is %s, it was %s", snapshot.load_balancer.id, own, cached.written.get(snapshot.load_balancer.id))
        return changed

    def undecided(self) -> list[str]:
        """Load balancers that are to be judged again for no other reason than that time has passed."""
        return self._pairs.undecided()

    def is_well(self, load_balancer_id: str) -> bool:
        """Whether it was judged lately and every amphora of it is heard and says what it should."""
        cached = self._cache.get(load_balancer_id)
        return cached is not None and cached.is_well

    def _compare(self, snapshot: model.Snapshot, reports: Mapping[str, Report], discord: pairs.Discord | None) -> bool:
        """Note which amphorae differ from what they should be; whether there is one."""
        found = {item.id: sentence for item in snapshot.amphorae if (sentence := verdict.mismatch(snapshot, item, reports.get(item.id)))}
        torn = {item.id for item in snapshot.amphorae if discord is not None and item.role is discord.role}
        if discord is not None:
            found = dict.fromkeys(torn, discord.sentence) | found
        with self._lock:
            for item in snapshot.amphorae:
                if item.id not in found:
                    self._mismatches.pop(item.id, None)
                elif item.id not in self._mismatches:
                    self._mismatches[item.id] = Mismatch(
                        amphora_id=item.id,
                        load_balancer_id=snapshot.load_balancer.id,
                        sentence=found[item.id],
                        since=self.clock.monotonic(),
                        discord=discord if item.id in torn else None,
                    )
        return bool(found)


def _as_written(snapshot: model.Snapshot) -> dict[str, status.OperatingStatus]:
    below = (*snapshot.listeners, *snapshot.pools, *snapshot.members, *snapshot.health_monitors, *snapshot.l7policies, *snapshot.l7rules)
    return {item.id: item.operating_status for item in (snapshot.load_balancer, *below)}


def _by_kind(load_balancer_id: str, found: verdict.Statuses) -> list[tuple[str, Mapping[str, status.OperatingStatus]]]:
    own = {} if found.load_balancer is None else {load_balancer_id: found.load_balancer}
    return [("load_balancer", own), *((kind, getattr(found, table.name)) for kind, table in tables.CHILDREN.items())]
