"""Verdicts are pure: tables of cases, and properties that hold for all of them."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.health_manager import verdict
from controller.model import load_balancer as model
from controller.model.heartbeat import ListenerReport, PoolReport, Report
from controller.model.status import AmphoraStatus, OperatingStatus, ProvisioningStatus, Role, Topology
from tests import builders

O = OperatingStatus  # noqa: E741
SEVERITY = {O.ONLINE: 0, O.DEGRADED: 1, O.ERROR: 2}
WORST_FIRST = ["DOWN", "MAINT", "DRAIN", "no check", "UP"]


def a_listener_report(status: str = "OPEN") -> ListenerReport:
    return ListenerReport(status=status, bytes_in=0, bytes_out=0, active_connections=0, total_connections=0, request_errors=0)


def a_report(
    snapshot: model.Snapshot,
    words: dict[str, str] | None = None,
    *,
    generation: int | None = None,
    pools: dict[str, str] | None = None,
    listeners: dict[str, str | None] | None = None,
) -> Report:
    """A healthy report, but for members' words, pools' words and listeners' words (None: absent) by id."""
    words, pools, listeners = words or {}, pools or {}, listeners or {}
    kept = [item for item in snapshot.listeners if listeners.get(item.id, "OPEN") is not None]
    views = {}
    for listener in kept:
        if listener.default_pool_id is not None:
            own = {item.id: words.get(item.id, "UP") for item in snapshot.members_by_pool.get(listener.default_pool_id, ())}
            down = bool(own) and all(word == "DOWN" for word in own.values())
            word = pools.get(listener.default_pool_id, "DOWN" if down else "UP")
            views[listener.default_pool_id, listener.id] = PoolReport(status=word, members=own)
    return Report(
        generation=snapshot.generation if generation is None else generation,
        config_hash="",
        listeners={item.id: a_listener_report(listeners.get(item.id) or "OPEN") for item in kept},
        pools=views,
    )


def judge(snapshot: model.Snapshot, *reports: Report | None, silent: tuple[str, ...] = ()) -> verdict.Statuses:
    by_id = {amphora.id: report for amphora, report in zip(snapshot.amphorae, reports, strict=False) if report is not None}
    return verdict.operating_statuses(snapshot, by_id, silent)


def changed(snapshot: model.Snapshot, kind: str, place: int = 0, **fields: object) -> model.Snapshot:
    items = list(getattr(snapshot, kind))
    items[place] = dataclasses.replace(items[place], **fields)
    changes: dict[str, Any] = {kind: tuple(items)}
    return dataclasses.replace(snapshot, **changes)


@pytest.fixture
def single() -> model.Snapshot:
    return builders.a_serving_snapshot(monitor="HTTP", members=2)


@pytest.fixture
def pair() -> model.Snapshot:
    return builders.a_serving_snapshot(monitor="HTTP", members=2, topology=Topology.ACTIVE_STANDBY)


def test_everything_is_online_when_all_is_well(single: model.Snapshot) -> None:
    found = judge(single, a_report(single))
    below = (found.listeners, found.pools, found.members, found.health_monitors)
    assert {found.load_balancer, *(status for statuses in below for status in statuses.values())} == {O.ONLINE}
    assert [len(statuses) for statuses in below] == [1, 1, 2, 1]


@pytest.mark.parametrize(
    ("word", "member", "pool", "load_balancer"),
    [
        ("UP", O.ONLINE, O.ONLINE, O.ONLINE),
        ("DOWN", O.ERROR, O.DEGRADED, O.DEGRADED),
        ("DRAIN", O.DRAINING, O.ONLINE, O.ONLINE),
        ("MAINT", O.OFFLINE, O.ONLINE, O.ONLINE),
        ("no check", O.NO_MONITOR, O.ONLINE, O.ONLINE),
    ],
)
def test_each_word_for_a_member_has_its_statuses(single: model.Snapshot, word: str, member: O, pool: O, load_balancer: O) -> None:
    found = judge(single, a_report(single, {single.members[0].id: word}))
    assert found.members[single.members[0].id] is member
    assert found.members[single.members[1].id] is O.ONLINE
    assert found.pools[single.pools[0].id] is pool
    assert found.load_balancer is load_balancer


def test_a_word_of_a_later_version_changes_nothing(single: model.Snapshot) -> None:
    assert single.members[0].id not in judge(single, a_report(single, {single.members[0].id: "PUZZLED"})).members


def test_of_whom_the_first_check_is_under_way_there_is_no_opinion(single: model.Snapshot) -> None:
    waiting = {item.id: "unchecked" for item in single.members}
    found = judge(single, a_report(single, waiting, pools={single.pools[0].id: "unchecked"}))
    assert (found.members, found.pools, found.load_balancer) == ({}, {}, None)
    assert found.listeners == {single.listeners[0].id: O.ONLINE}


def test_a_half_that_has_not_checked_yet_leaves_the_verdict_to_the_other(pair: model.Snapshot) -> None:
    waiting = a_report(pair, {pair.members[0].id: "unchecked"}, pools={pair.pools[0].id: "unchecked"})
    found = judge(pair, a_report(pair, {pair.members[0].id: "DOWN"}), waiting)
    assert (found.members[pair.members[0].id], found.pools[pair.pools[0].id]) == (O.ERROR, O.DEGRADED)


def test_a_pool_that_is_down_is_an_error_of_the_load_balancer(single: model.Snapshot) -> None:
    found = judge(single, a_report(single, {item.id: "DOWN" for item in single.members}))
    assert (found.pools[single.pools[0].id], found.load_balancer) == (O.ERROR, O.ERROR)


def test_a_full_listener_degrades_the_load_balancer(single: model.Snapshot) -> None:
    found = judge(single, a_report(single, listeners={single.listeners[0].id: "FULL"}))
    assert (found.listeners[single.listeners[0].id], found.load_balancer) == (O.DEGRADED, O.DEGRADED)


def test_a_missing_listener_is_an_error_and_degrades_and_all_missing_are_an_error_of_the_load_balancer() -> None:
    snapshot = builders.a_serving_snapshot(listeners=2)
    first, second = (item.id for item in snapshot.listeners)
    one = judge(snapshot, a_report(snapshot, listeners={first: None}))
    assert (one.listeners[first], one.listeners[second], one.load_balancer) == (O.ERROR, O.ONLINE, O.DEGRADED)
    both = judge(snapshot, a_report(snapshot, listeners={first: None, second: None}))
    assert (both.listeners[first], both.load_balancer) == (O.ERROR, O.ERROR)


def test_an_object_that_the_amphora_was_not_told_of_yet_keeps_its_status(single: model.Snapshot) -> None:
    report = a_report(single, listeners={single.listeners[0].id: None}, generation=1)
    newer = changed(single, "listeners", generation=2)
    assert newer.listeners[0].id not in judge(newer, report).listeners
    assert judge(newer, report).load_balancer is O.ONLINE


def test_a_load_balancer_without_listeners_is_online_when_its_amphora_reports() -> None:
    snapshot = builders.a_serving_snapshot(listeners=0)
    assert judge(snapshot, a_report(snapshot)).load_balancer is O.ONLINE


def test_a_fresh_amphora_says_nothing_about_its_load_balancer(single: model.Snapshot) -> None:
    assert judge(single, a_report(single, generation=0)) == verdict.Statuses()


def test_a_pool_that_no_listener_uses_is_offline_and_its_members_with_it() -> None:
    pool = builders.a_pool()
    members = [builders.a_member(pool_id=pool.id)]
    plain = builders.a_snapshot(pools=[pool], members=members)
    found = judge(plain, a_report(plain))
    assert (found.pools[pool.id], found.members[members[0].id], found.load_balancer) == (O.OFFLINE, O.NO_MONITOR, O.ONLINE)
    monitored = builders.a_snapshot(pools=[pool], members=members, health_monitors=[builders.a_health_monitor(pool_id=pool.id)])
    assert judge(monitored, a_report(monitored)).members[members[0].id] is O.OFFLINE


@pytest.mark.parametrize("behind", [0, 1])
@pytest.mark.parametrize("is_on", [True, False])
def test_a_monitor_that_goes_watches_nobody_once_all_were_told(behind: int, is_on: bool) -> None:
    pool = builders.a_pool()
    members = [builders.a_member(pool_id=pool.id, weight=weight) for weight in (0, 1)]
    monitor = builders.a_health_monitor(pool_id=pool.id)
    snapshot = builders.a_snapshot(pools=[pool], members=members, health_monitors=[monitor])
    going = dataclasses.replace(monitor, provisioning_status=ProvisioningStatus.PENDING_DELETE, generation=monitor.generation + behind)
    balancer = dataclasses.replace(snapshot.load_balancer, admin_state_up=is_on)
    snapshot = dataclasses.replace(snapshot, health_monitors=(going,), load_balancer=balancer)
    report = dataclasses.replace(a_report(snapshot), generation=monitor.generation)
    expected = O.OFFLINE if behind and is_on else O.NO_MONITOR
    assert set(judge(snapshot, report).members.values()) == {expected}


def test_members_of_a_pool_without_monitor_have_none_and_those_of_weight_0_drain() -> None:
    snapshot = builders.a_serving_snapshot(members=2)
    snapshot = changed(snapshot, "members", weight=0)
    words = {item.id: "no check" for item in snapshot.members}
    found = judge(snapshot, a_report(snapshot, words))
    assert [found.members[item.id] for item in snapshot.members] == [O.DRAINING, O.NO_MONITOR]


def test_a_disabled_monitor_is_offline_and_watches_nobody(single: model.Snapshot) -> None:
    snapshot = changed(single, "health_monitors", admin_state_up=False)
    found = judge(snapshot, a_report(snapshot, {item.id: "no check" for item in snapshot.members}))
    assert found.health_monitors[snapshot.health_monitors[0].id] is O.OFFLINE
    assert set(found.members.values()) == {O.NO_MONITOR}


@pytest.mark.parametrize("kind", ["listeners", "pools", "members", "health_monitors"])
def test_what_is_disabled_is_offline_whatever_is_reported(single: model.Snapshot, kind: str) -> None:
    snapshot = changed(single, kind, admin_state_up=False)
    found = judge(snapshot, a_report(snapshot))
    assert getattr(found, kind)[getattr(snapshot, kind)[0].id] is O.OFFLINE
    assert found.load_balancer is O.ONLINE


def test_policies_and_rules_are_online_once_every_amphora_was_told(pair: model.Snapshot) -> None:
    policies = [builders.an_l7policy(listener_id=pair.listeners[0].id, generation=generation) for generation in (1, 9)]
    rules = [builders.an_l7rule(l7policy_id=policies[0].id, admin_state_up=up) for up in (True, False)]
    snapshot = dataclasses.replace(pair, l7policies=tuple(policies), l7rules=tuple(rules))
    found = judge(snapshot, a_report(snapshot, generation=9), a_report(snapshot, generation=1))
    assert found.l7policies == {policies[0].id: O.ONLINE}
    assert found.l7rules == {rules[0].id: O.ONLINE, rules[1].id: O.OFFLINE}
    down = dataclasses.replace(snapshot, load_balancer=dataclasses.replace(snapshot.load_balancer, admin_state_up=False))
    assert {*judge(down).l7policies.values(), *judge(down).l7rules.values()} == {O.OFFLINE}


def test_a_pool_that_is_only_redirected_to_is_judged_like_any_other(single: model.Snapshot) -> None:
    snapshot = changed(single, "listeners", default_pool_id=None)
    words = {item.id: "UP" for item in snapshot.members} | {snapshot.members[0].id: "DOWN"}
    found = judge(snapshot, a_report(single, words))
    assert found.pools[snapshot.pools[0].id] is O.DEGRADED
    assert found.members[snapshot.members[0].id] is O.ERROR


def test_all_of_a_disabled_load_balancer_is_offline(single: model.Snapshot) -> None:
    snapshot = dataclasses.replace(single, load_balancer=dataclasses.replace(single.load_balancer, admin_state_up=False))
    found = judge(snapshot, a_report(snapshot))
    assert found.load_balancer is O.OFFLINE
    assert {*found.listeners.values(), *found.pools.values(), *found.members.values()} == {O.OFFLINE}


def test_what_is_being_deleted_keeps_its_last_status(single: model.Snapshot) -> None:
    snapshot = changed(single, "members", provisioning_status=ProvisioningStatus.PENDING_DELETE)
    assert snapshot.members[0].id not in judge(snapshot, a_report(snapshot)).members


def test_a_pool_shared_by_listeners_is_merged_over_all_of_them_in_any_order() -> None:
    pool = builders.a_pool()
    member, other = builders.a_member(pool_id=pool.id), builders.a_member(pool_id=pool.id)
    listeners = [builders.a_listener(default_pool_id=pool.id, protocol_port=port) for port in (80, 81)]
    monitor = builders.a_health_monitor(pool_id=pool.id)
    snapshot = builders.a_snapshot(listeners=listeners, pools=[pool], members=[member, other], health_monitors=[monitor])
    healthy = a_report(snapshot)
    for place in (0, 1):
        key = (pool.id, listeners[place].id)
        views = {**healthy.pools, key: PoolReport(status="DOWN", members={member.id: "DOWN", other.id: "DOWN"})}
        found = judge(snapshot, dataclasses.replace(healthy, pools=views))
        assert (found.members[member.id], found.pools[pool.id], found.load_balancer) == (O.ERROR, O.DEGRADED, O.DEGRADED)


def test_halves_that_disagree_make_the_member_an_error_and_the_pool_degraded(pair: model.Snapshot) -> None:
    everything_down = a_report(pair, {item.id: "DOWN" for item in pair.members})
    for reports in ((everything_down, a_report(pair)), (a_report(pair), everything_down)):
        found = judge(pair, *reports)
        assert set(found.members.values()) == {O.ERROR}
        assert (found.pools[pair.pools[0].id], found.load_balancer) == (O.DEGRADED, O.DEGRADED)


def test_a_pair_that_lost_a_half_is_degraded_and_one_that_lost_both_in_error(pair: model.Snapshot) -> None:
    master, backup = (item.id for item in pair.amphorae)
    healthy = a_report(pair)
    assert judge(pair, healthy, healthy, silent=(master,)).load_balancer is O.DEGRADED
    both = judge(pair, healthy, healthy, silent=(master, backup))
    assert (both.load_balancer, set(both.listeners.values()), both.members) == (O.ERROR, {O.ERROR}, {})


def test_a_half_that_has_not_reported_to_this_manager_yet_is_not_missing(pair: model.Snapshot) -> None:
    assert judge(pair, a_report(pair), None).load_balancer is O.ONLINE
    assert judge(pair, None, None) == verdict.Statuses()


def test_a_half_that_is_being_built_is_no_news_while_the_load_balancer_is_created(pair: model.Snapshot) -> None:
    half = dataclasses.replace(pair, amphorae=pair.amphorae[:1])
    assert judge(half, a_report(half)).load_balancer is O.DEGRADED
    creating = dataclasses.replace(half.load_balancer, provisioning_status=ProvisioningStatus.PENDING_CREATE)
    half = dataclasses.replace(half, load_balancer=creating)
    assert judge(half, a_report(half)).load_balancer is O.ONLINE


def test_the_replacement_speaks_for_the_load_balancer_once_it_is_configured(single: model.Snapshot) -> None:
    old = single.amphorae[0]
    new = builders.an_amphora(status=AmphoraStatus.BOOTING)
    snapshot = dataclasses.replace(single, amphorae=(old, new))
    assert judge(snapshot, None, a_report(snapshot), silent=(old.id,)).load_balancer is O.ONLINE


@given(data=st.data())
def test_worse_news_never_make_a_status_better(data: st.DataObject) -> None:
    topology = data.draw(st.sampled_from(list(Topology)))
    snapshot = builders.a_serving_snapshot(monitor="HTTP", listeners=2, members=2, topology=topology, word="monotonic")
    word, listener_word = st.sampled_from(["UP", "DOWN"]), st.sampled_from(["OPEN", "FULL", None])
    drawn = [
        (
            {item.id: data.draw(word) for item in snapshot.members},
            {item.id: data.draw(listener_word) for item in snapshot.listeners},
        )
        for _ in snapshot.amphorae
    ]
    before = judge(snapshot, *(a_report(snapshot, words, listeners=listeners) for words, listeners in drawn))
    victim = data.draw(st.integers(0, len(drawn) - 1))
    drawn[victim][0][data.draw(st.sampled_from(snapshot.members)).id] = "DOWN"
    after = judge(snapshot, *(a_report(snapshot, words, listeners=listeners) for words, listeners in drawn))
    silenced = judge(
        snapshot,
        *(a_report(snapshot, words, listeners=listeners) for words, listeners in drawn),
        silent=tuple(item.id for item in snapshot.amphorae),
    )
    assert after.load_balancer is not None
    assert before.load_balancer is not None
    assert SEVERITY[after.load_balancer] >= SEVERITY[before.load_balancer]
    for pool_id, status in after.pools.items():
        if status is not O.OFFLINE and before.pools[pool_id] is not O.OFFLINE:
            assert SEVERITY[status] >= SEVERITY[before.pools[pool_id]]
    assert silenced.load_balancer is O.ERROR


def test_silence_is_judged_by_its_length_and_explained() -> None:
    assert verdict.failover_verdict(100.0, 111.0, 10.0) == verdict.Verdict(True, "last heard 11.0 s ago, and 10 s are allowed")
    assert not verdict.failover_verdict(100.0, 110.0, 10.0).decision


def a_condition(**fields: float) -> verdict.Condition:
    defaults: dict[str, Any] = {
        "uptime": 1000.0, "lag": 0.0, "received": 1000, "dropped": 0, "fleet": 100, "silent": 1, "longest_silence": 11.0,
    }  # fmt: skip
    return verdict.Condition(**(defaults | fields))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"uptime": 5.0}, "started 5.0 s ago"),
        ({"lag": 4.0}, "late"),
        ({"received": 100, "dropped": 900}, "lost 900 of 1000"),
        ({"silent": 21}, "21 of 100 amphorae are silent at once"),
        ({"fleet": 10, "silent": 6}, "6 of 10"),
        ({"fleet": 5, "silent": 5}, "all 5 amphorae"),
        ({"fleet": 2, "silent": 2}, "all 2 amphorae"),
    ],
)
def test_a_manager_distrusts_itself_for_a_reason_that_it_can_name(fields: dict[str, float], words: str) -> None:
    found = verdict.distrust(a_condition(**fields), timeout=10.0, threshold=None)
    assert found.decision
    assert words in found.sentence


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"silent": 20},
        {"dropped": 10},
        {"fleet": 1, "silent": 1},
        {"fleet": 2, "silent": 1},
        {"fleet": 5, "silent": 4},
        {"fleet": 2, "silent": 2, "longest_silence": 21.0},
        {"fleet": 5, "silent": 5, "longest_silence": 21.0},
    ],
)
def test_a_few_dead_amphorae_are_believed_also_in_a_tiny_fleet(fields: dict[str, float]) -> None:
    assert not verdict.distrust(a_condition(**fields), timeout=10.0, threshold=None).decision


def test_a_configured_threshold_is_the_number_at_which_failovers_stop() -> None:
    assert verdict.distrust(a_condition(silent=3), timeout=10.0, threshold=3).decision
    assert not verdict.distrust(a_condition(silent=2), timeout=10.0, threshold=3).decision
    assert not verdict.distrust(a_condition(fleet=1), timeout=10.0, threshold=2).decision


def test_an_amphora_that_forgot_its_configuration_does_not_match_its_row(single: model.Snapshot) -> None:
    confirmed = builders.an_amphora(role=Role.STANDALONE, applied_generation=3)
    assert "generation 0" in str(verdict.mismatch(single, confirmed, a_report(single, generation=0)))
    assert verdict.mismatch(single, confirmed, a_report(single, generation=3)) is None
    assert verdict.mismatch(single, confirmed, None) is None
    nothing = a_report(single, generation=3, listeners={single.listeners[0].id: None})
    assert "none of its 1 listeners" in str(verdict.mismatch(single, confirmed, nothing))


def test_a_state_that_was_not_confirmed_is_a_mismatch_though_its_generation_is_the_same() -> None:
    snapshot = builders.a_serving_snapshot(generation=3)
    report = a_report(snapshot, generation=3)
    confirmed = dataclasses.replace(snapshot.amphorae[0], status=AmphoraStatus.ALLOCATED, applied_generation=3)
    assert verdict.mismatch(snapshot, dataclasses.replace(confirmed, confirmed_hash=report.config_hash), report) is None
    assert verdict.mismatch(snapshot, dataclasses.replace(confirmed, confirmed_hash=None), report) is None
    other = verdict.mismatch(snapshot, dataclasses.replace(confirmed, confirmed_hash="0" * 64), report)
    assert "confirmed 000000000000" in str(other)
