"""Whether exactly one half of a pair has the VIP, by what both say and the kernel of each: two holders, or none, are a mismatch.

For a moment that is how a take-over looks, so it counts after `GRACE` only, and only of amphorae that were heard since it began: the
last report of a half that has just died still says that it holds the VIP.
"""

import dataclasses
import enum
from collections.abc import Callable, Collection, Mapping

from controller.health_manager import verdict
from controller.model import amphora as amphora_model
from controller.model import load_balancer as model
from controller.model.heartbeat import Report
from controller.model.status import IN_DELETION, SERVING, OperatingStatus, ProvisioningStatus, Role

GRACE = 3.0
"""Seconds. A take-over takes less than one, and a report that tells of it comes within another one."""
_HEARD_AFTER = 0.5
_IN_BETWEEN = IN_DELETION | {ProvisioningStatus.PENDING_CREATE}


class Discord(enum.Enum):
    """How a pair is not one, and who is to be mended: of two holders the backup, of none the master."""

    TWO_HOLDERS = "both halves of the pair hold the VIP address", Role.BACKUP
    NO_HOLDER = "no half of the pair holds the VIP address", Role.MASTER

    def __init__(self, finding: str, role: Role) -> None:
        self.finding, self.role = finding, role

    @property
    def sentence(self) -> str:
        """What is wrong, of the amphora that is to be mended."""
        return f"{self.finding}, and it is the {self.role.lower()}"


def truer(found: verdict.Statuses, discord: Discord | None) -> verdict.Statuses:
    """The statuses of a load balancer whose pair is not one: nobody answers for its VIP, or two do, and clients are torn between them."""
    if discord is Discord.NO_HOLDER:
        return dataclasses.replace(found, load_balancer=OperatingStatus.ERROR)
    if discord is Discord.TWO_HOLDERS and found.load_balancer is OperatingStatus.ONLINE:
        return dataclasses.replace(found, load_balancer=OperatingStatus.DEGRADED)
    return found


@dataclasses.dataclass(slots=True)
class _Seen:
    discord: Discord
    since: float
    lasts: bool = False


class Pairs:
    """What is wrong with pairs now. `heard_at`: when an amphora was last heard (monotonic), None if never."""

    def __init__(self, heard_at: Callable[[str], float | None], monotonic: Callable[[], float]) -> None:
        self._heard_at = heard_at
        self._monotonic = monotonic
        self._seen: dict[str, _Seen] = {}

    def look(self, snapshot: model.Snapshot, reports: Mapping[str, Report], silent: Collection[str]) -> Discord | None:
        """What is wrong with a pair and has been for longer than a take-over takes; None if nothing is, or it is not known yet."""
        key = snapshot.load_balancer.id
        found = _discord(snapshot, reports, silent)
        seen = self._seen.get(key)
        if found is None:
            self._seen.pop(key, None)
            return None
        if seen is None or seen.discord is not found or is_in_between(snapshot):  # looked at again once it is built
            seen = self._seen[key] = _Seen(found, self._monotonic())
        if not seen.lasts and self._monotonic() - seen.since >= GRACE:
            heard = [self._heard_at(half.id) for half in _halves(snapshot) if half.id not in silent]
            seen.lasts = all(at is not None and at > seen.since + _HEARD_AFTER for at in heard)
        return found if seen.lasts else None

    def undecided(self) -> list[str]:
        """Load balancers that are to be looked at again although no report of them may come."""
        now = self._monotonic()
        return [key for key, seen in self._seen.items() if not seen.lasts and now - seen.since >= GRACE]

    def is_doubted(self, load_balancer_id: str) -> bool:
        """Whether something is wrong with its pair, be it for a moment only."""
        return load_balancer_id in self._seen

    def forget(self, load_balancer_ids: Collection[str]) -> None:
        """These load balancers are gone."""
        for key in load_balancer_ids:
            self._seen.pop(key, None)


def is_in_between(snapshot: model.Snapshot) -> bool:
    """Whether it is being built or taken down, and its pair is none yet, or no more. That ends without another generation."""
    return snapshot.load_balancer.provisioning_status in _IN_BETWEEN


def _halves(snapshot: model.Snapshot) -> list[amphora_model.Amphora]:
    return [half for half in snapshot.amphorae if half.status in SERVING and half.role in (Role.MASTER, Role.BACKUP)]


def _discord(snapshot: model.Snapshot, reports: Mapping[str, Report], silent: Collection[str]) -> Discord | None:
    load_balancer = snapshot.load_balancer
    if len(load_balancer.topology.roles) < 2 or not load_balancer.admin_state_up:
        return None
    halves = _halves(snapshot)
    speaking = [report for half in halves if half.id not in silent and (report := reports.get(half.id)) is not None]
    said = [report.vrrp for report in speaking if report.vrrp is not None]
    holders = sum(vrrp.holds_vip for vrrp in said)
    if holders > 1:
        return Discord.TWO_HOLDERS
    everybody_spoke = len(said) == sum(half.id not in silent for half in halves)
    serves = any(report.listeners for report in speaking)  # without a listener HAProxy does not run, and nobody answers for the VIP
    return Discord.NO_HOLDER if said and not holders and everybody_spoke and serves else None
