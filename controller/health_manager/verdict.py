"""Pure: what reports say about a load balancer's objects, and whether an amphora's silence calls for a failover.

How views are merged. Each (amphora, listener) in which a pool appears gives one view of it: a pool that several listeners share has as
many views per amphora, and a pair has two amphorae. All views count alike, because the manager does not know which half holds the VIP, and
after a take-over it is the other one. So the merged status tells what a client may meet:

* a member is as bad as its worst view: if one half can't reach it, that is a fault today or at the next take-over;
* a pool or listener is ERROR only if all views say so, and DEGRADED if they disagree;
* the presence of an object in a report always counts. Its absence counts only if the report's generation is the object's or newer: an
  amphora can't speak of what it was not told yet. Where nobody has an opinion the status stays as it is, and is left out of the result.
"""

import dataclasses
import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TypeVar

from amphora_agent.protocol import heartbeat
from controller.model import load_balancer as model
from controller.model.amphora import Amphora
from controller.model.heartbeat import ListenerReport, PoolReport, Report
from controller.model.status import OUT_OF_SERVICE, AmphoraStatus, OperatingStatus, ProvisioningStatus

_O = OperatingStatus
R = TypeVar("R", bound=model.Resource)
_SEVERITY = {_O.ONLINE: 0, _O.DEGRADED: 1, _O.ERROR: 2}
SERVING, KEEPALIVED = ("haproxy", "datagrams"), "keepalived"
"""Programs that a report names. Without one of the first an amphora does not answer; without the other it can't take over."""


@dataclasses.dataclass(frozen=True, slots=True)
class Statuses:
    """Operating statuses by object id, of those on which there is an opinion."""

    load_balancer: OperatingStatus | None = None
    listeners: Mapping[str, OperatingStatus] = dataclasses.field(default_factory=dict)
    pools: Mapping[str, OperatingStatus] = dataclasses.field(default_factory=dict)
    members: Mapping[str, OperatingStatus] = dataclasses.field(default_factory=dict)
    health_monitors: Mapping[str, OperatingStatus] = dataclasses.field(default_factory=dict)
    l7policies: Mapping[str, OperatingStatus] = dataclasses.field(default_factory=dict)
    l7rules: Mapping[str, OperatingStatus] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """A decision, and the sentence that explains it."""

    decision: bool
    sentence: str


def operating_statuses(snapshot: model.Snapshot, reports: Mapping[str, Report], silent: Collection[str]) -> Statuses:
    """What these reports, by amphora id, say about the load balancer; `silent` amphorae were found dead and wait for replacement."""
    if not snapshot.load_balancer.admin_state_up:
        return _all_offline(snapshot)
    halves = [amphora.id for amphora in snapshot.amphorae if amphora.status not in OUT_OF_SERVICE]
    dead = {half for half in halves if half in silent or (half in reports and not _serves(reports[half]))}
    speaking = [reports[half] for half in halves if half not in dead and half in reports and reports[half].generation > 0]
    if speaking:
        lame = {half for half in halves if half in reports and not reports[half].runs(KEEPALIVED)}
        return _statuses(snapshot, speaking, missing=_missing(snapshot, halves, dead | lame))
    if halves and dead.issuperset(halves):
        down = {item.id: _O.ERROR if item.admin_state_up else _O.OFFLINE for item in _wanted(snapshot.listeners)}
        return Statuses(load_balancer=_O.ERROR, listeners=down)
    return Statuses()


def _serves(report: Report) -> bool:
    """Whether all run that answer clients."""
    return all(report.runs(program) for program in SERVING)


def _missing(snapshot: model.Snapshot, halves: Collection[str], silent: Collection[str]) -> bool:
    """Whether a half of the topology is known to be away; while the pair is still being built, that is no news."""
    if snapshot.load_balancer.provisioning_status is ProvisioningStatus.PENDING_CREATE:
        return False
    alive = sum(half not in silent for half in halves)
    return alive < len(snapshot.load_balancer.topology.roles)


def _statuses(snapshot: model.Snapshot, reports: Collection[Report], missing: bool) -> Statuses:
    views = _views(reports)
    members = {member.id: status for member in _wanted(snapshot.members) if (status := _member(snapshot, member, views, reports))}
    listeners = {item.id: status for item in _wanted(snapshot.listeners) if (status := _listener(item, reports))}
    pools = {}
    for pool in _wanted(snapshot.pools):
        own = [members[item.id] for item in snapshot.members_by_pool.get(pool.id, ()) if item.id in members]
        if status := _pool(pool, views.get(pool.id, ()), own, reports):
            pools[pool.id] = status
    verdict: OperatingStatus | None = _load_balancer(listeners.values(), pools.values(), missing)
    if verdict is _O.ONLINE and any(
        view.status == heartbeat.UNCHECKED for pool in _wanted(snapshot.pools) for view in views.get(pool.id, ())
    ):
        verdict = None
    told = [_told(some, reports) for some in (snapshot.health_monitors, snapshot.l7policies, snapshot.l7rules)]
    return Statuses(verdict, listeners, pools, members, *told)


def _load_balancer(listeners: Collection[OperatingStatus], pools: Iterable[OperatingStatus], missing: bool) -> OperatingStatus:
    """ERROR: a pool is down, or no listener that should answer does. DEGRADED: something else is not as it should be."""
    pools = list(pools)
    judged = [status for status in listeners if status is not _O.OFFLINE]
    if _O.ERROR in pools or (judged and all(status is _O.ERROR for status in judged)):
        return _O.ERROR
    impaired = _O.DEGRADED in pools or _O.DEGRADED in judged or _O.ERROR in judged
    return _O.DEGRADED if impaired or missing else _O.ONLINE


def _listener(listener: model.Listener, reports: Iterable[Report]) -> OperatingStatus | None:
    if not listener.admin_state_up:
        return _O.OFFLINE
    opinions = []
    for report in reports:
        seen: ListenerReport | None = report.listeners.get(listener.id)
        if seen is not None:
            opinions.append(_O.DEGRADED if seen.status == "FULL" else _O.ONLINE)
        elif report.generation >= listener.generation:
            opinions.append(_O.ERROR)
    return _agreed(opinions)


def _pool(
    pool: model.Pool, views: Collection[PoolReport], members: Collection[OperatingStatus], reports: Iterable[Report]
) -> OperatingStatus | None:
    if not pool.admin_state_up:
        return _O.OFFLINE
    if not views:
        return _O.OFFLINE if _known_to_all(pool, reports) else None
    agreed = _agreed([_O.ERROR if view.status == "DOWN" else _O.ONLINE for view in views if view.status != heartbeat.UNCHECKED])
    return _O.DEGRADED if agreed is _O.ONLINE and _O.ERROR in members else agreed


def _member(
    snapshot: model.Snapshot, member: model.Member, views: Mapping[str, Collection[PoolReport]], reports: Iterable[Report]
) -> OperatingStatus | None:
    if not member.admin_state_up:
        return _O.OFFLINE
    monitor = snapshot.health_monitor_by_pool.get(member.pool_id)
    monitored = monitor is not None and _watches(monitor, reports)
    words = {view.members[member.id] for view in views.get(member.pool_id, ()) if member.id in view.members}
    if not words:
        if views.get(member.pool_id) and _known_to_all(member, reports):
            return _O.ERROR  # its pool is served without it, for it is the load balancer itself: see `Snapshot.loops`
        unserved = _O.OFFLINE if monitored else _O.NO_MONITOR
        return unserved if _known_to_all(member, reports) else None
    if "DOWN" in words:
        return _O.ERROR
    if "MAINT" in words:
        return _O.OFFLINE
    if "DRAIN" in words or member.weight == 0:
        return _O.DRAINING
    if "no check" in words or not monitored:
        return _O.NO_MONITOR
    return _O.ONLINE if words == {"UP"} else None


def _watches(monitor: model.HealthMonitor, reports: Iterable[Report]) -> bool:
    """Not any more once all know that it goes: its row vanishes with that generation, and what we have read of it stays as it is."""
    is_going = monitor.provisioning_status is ProvisioningStatus.PENDING_DELETE
    return monitor.admin_state_up and not (is_going and _known_to_all(monitor, reports))


def _told(items: Iterable[model.Resource], reports: Collection[Report]) -> Mapping[str, OperatingStatus]:
    """Of what nobody can see at work (monitors, policies, rules) it is enough that all amphorae were told."""
    return {
        item.id: _O.ONLINE if item.admin_state_up else _O.OFFLINE
        for item in _wanted(items)
        if not item.admin_state_up or _known_to_all(item, reports)
    }


def _agreed(opinions: Collection[OperatingStatus]) -> OperatingStatus | None:
    """ERROR only if all say so; what only some say is DEGRADED."""
    if not opinions:
        return None
    worst = max(opinions, key=_SEVERITY.__getitem__)
    return _O.DEGRADED if worst is _O.ERROR and any(opinion is not _O.ERROR for opinion in opinions) else worst


def _known_to_all(item: model.Resource, reports: Iterable[Report]) -> bool:
    return all(report.generation >= item.generation for report in reports)


def _wanted(items: Iterable[R]) -> Iterator[R]:
    """Without those that are on their way out: their last status stands until they vanish."""
    return (item for item in items if item.provisioning_status is not ProvisioningStatus.PENDING_DELETE)


def _all_offline(snapshot: model.Snapshot) -> Statuses:
    """Of a disabled load balancer nothing serves; members without a monitor say that they have none, as always."""
    monitored = {monitor.pool_id for monitor in _wanted(snapshot.health_monitors) if monitor.admin_state_up}
    return Statuses(
        _O.OFFLINE,
        {item.id: _O.OFFLINE for item in _wanted(snapshot.listeners)},
        {item.id: _O.OFFLINE for item in _wanted(snapshot.pools)},
        {
            item.id: _O.OFFLINE if item.pool_id in monitored or not item.admin_state_up else _O.NO_MONITOR
            for item in _wanted(snapshot.members)
        },
        *({item.id: _O.OFFLINE for item in _wanted(some)} for some in (snapshot.health_monitors, snapshot.l7policies, snapshot.l7rules)),
    )


def _views(reports: Iterable[Report]) -> Mapping[str, list[PoolReport]]:
    views: dict[str, list[PoolReport]] = {}
    for report in reports:
        for (pool_id, _), view in report.pools.items():
            views.setdefault(pool_id, []).append(view)
    return views


def failover_verdict(last_heard: float, now: float, timeout: float) -> Verdict:
    """Decide whether an amphora's silence is long enough to ask it over TLS, and to replace it if it is silent there too."""
    silence = now - last_heard
    if silence > timeout:
        return Verdict(True, f"last heard {silence:.1f} s ago, and {timeout:g} s are allowed")
    return Verdict(False, f"heard {silence:.1f} s ago")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What a manager knows of itself when it is about to judge others. Times in seconds; `fleet` counts amphorae that should beat."""

    uptime: float
    lag: float  # the longest delay of its own loops while the silence lasted
    received: int  # datagrams in that time
    dropped: int  # ... and those that the kernel threw away, for want of room
    fleet: int
    silent: int
    longest_silence: float


TINY_FLEET = 5
_SUSPICIOUS_SHARE = 0.2
_SUSPICIOUS_LOSS = 0.05


def failover_limit(fleet: int, threshold: int | None) -> int:
    """How many amphorae may be silent at once before the fault is sought elsewhere."""
    return threshold - 1 if threshold is not None else max(TINY_FLEET, math.floor(fleet * _SUSPICIOUS_SHARE))


def distrust(me: Condition, timeout: float, threshold: int | None) -> Verdict:
    """Decide whether the silence is rather this manager's own fault, so that nobody is to be judged by it now.

    In a tiny fleet a part says little: one dead amphora of one is the whole fleet. There everybody may be failed over; but if all of two or
    more fall silent together, they get the time-out twice.
    """
    if me.uptime < timeout:
        return Verdict(True, f"started {me.uptime:.1f} s ago: every amphora gets {timeout:g} s to be heard first")
    if me.lag > timeout / 3:
        return Verdict(True, f"its own loop was {me.lag:.1f} s late within the last {timeout:g} s")
    if me.dropped > _SUSPICIOUS_LOSS * (me.received + me.dropped):
        return Verdict(True, f"its own buffer lost {me.dropped} of {me.received + me.dropped} datagrams within the last {timeout:g} s")
    limit = failover_limit(me.fleet, threshold)
    if me.silent > limit:
        return Verdict(True, f"{me.silent} of {me.fleet} amphorae are silent at once, and {limit} are believed")
    if threshold is None and me.silent == me.fleet > 1 and me.longest_silence <= 2 * timeout:
        return Verdict(True, f"all {me.fleet} amphorae are silent at once: they get {2 * timeout:g} s")
    return Verdict(False, f"{me.silent} of {me.fleet} amphorae are silent")


def _is_owed(listener: model.Listener, report: Report) -> bool:
    """Whether who runs what it reports has to serve a listener; one in ERROR may have been left out."""
    settled = listener.provisioning_status is not ProvisioningStatus.ERROR
    return listener.admin_state_up and settled and listener.generation <= report.generation


def mismatch(snapshot: model.Snapshot, amphora: Amphora, report: Report | None) -> str | None:
    """The sentence that says how an amphora in service differs from what it confirmed once, or None."""
    if amphora.status is not AmphoraStatus.ALLOCATED or report is None or amphora.applied_generation == 0:
        return None
    if report.generation < amphora.applied_generation:
        return f"it runs generation {report.generation}, and confirmed {amphora.applied_generation} once"
    if amphora.confirmed_hash is not None and report.config_hash != amphora.confirmed_hash:
        return f"it runs the state {report.config_hash[:12] or '(none)'}, and confirmed {amphora.confirmed_hash[:12]}"
    owed = [item.id for item in _wanted(snapshot.listeners) if _is_owed(item, report)]
    up = snapshot.load_balancer.admin_state_up
    if up and owed and not report.listeners and _serves(report):  # one that does not run is started again, or found silent
        return f"it serves none of its {len(owed)} listeners"
    return None
