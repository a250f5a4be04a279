"""Two holders of one VIP, or none, are a mismatch: but not for a moment, and not by the last words of a half that has just died."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from controller.health_manager import pairs, verdict
from controller.model import load_balancer as model
from controller.model.heartbeat import ProgramReport, VrrpReport
from controller.model.status import AmphoraStatus, OperatingStatus, ProvisioningStatus, Role, Topology
from tests import builders
from tests.unit.controller.health_manager.test_verdict import a_report


class Scene:
    """A pair, and what its halves say, with a clock that a test sets."""

    def __init__(self, **fields: Any) -> None:
        self.snapshot: model.Snapshot = builders.a_serving_snapshot(topology=Topology.ACTIVE_STANDBY)
        if fields:
            changed = dataclasses.replace(self.snapshot.load_balancer, **fields)
            self.snapshot = dataclasses.replace(self.snapshot, load_balancer=changed)
        self.now = 1000.0
        self.heard: dict[str, float] = {}
        self.silent: set[str] = set()
        self.pairs = pairs.Pairs(self.heard.get, lambda: self.now)

    def look(self, *holds: bool | None, after: float = 0.0, beating: bool = True) -> pairs.Discord | None:
        """What is found some seconds later, when each half says whether it has the VIP (None: nothing of its VRRP)."""
        self.now += after
        reports = {}
        for half, held in zip(self.snapshot.amphorae, holds, strict=True):
            vrrp = None if held is None else VrrpReport(state="MASTER" if held else "BACKUP", holds_vip=held)
            reports[half.id] = dataclasses.replace(a_report(self.snapshot), vrrp=vrrp)
            if beating:
                self.heard[half.id] = self.now
        return self.pairs.look(self.snapshot, reports, self.silent)


@pytest.mark.parametrize(
    ("holds", "discord"),
    [
        ((True, True), pairs.Discord.TWO_HOLDERS),
        ((False, False), pairs.Discord.NO_HOLDER),
        ((True, False), None),
        ((False, True), None),
        ((None, None), None),
        ((True, None), None),
        ((False, None), None),
    ],
)
def test_a_pair_has_one_holder(holds: tuple[bool | None, bool | None], discord: pairs.Discord | None) -> None:
    scene = Scene()
    assert scene.look(*holds) is None, "a take-over looks the same for a moment"
    assert scene.look(*holds, after=pairs.GRACE - 0.1) is None
    assert scene.pairs.undecided() == []
    scene.now += 0.2
    assert scene.pairs.undecided() == ([scene.snapshot.load_balancer.id] if discord else [])
    assert scene.look(*holds) is discord
    assert scene.pairs.undecided() == []
    assert scene.look(True, False) is None
    assert scene.look(*holds) is None, "it begins anew"


def test_the_last_words_of_a_half_that_died_do_not_make_two_holders() -> None:
    scene = Scene()
    scene.look(True, True)
    assert scene.look(True, True, after=2 * pairs.GRACE, beating=False) is None
    assert scene.pairs.undecided(), "asked again as long as it is not known"
    scene.silent = {scene.snapshot.amphorae[0].id}
    assert scene.look(True, True) is None


def test_nobody_holds_it_though_one_half_is_dead() -> None:
    scene = Scene()
    scene.silent = {scene.snapshot.amphorae[0].id}
    scene.look(True, False)
    assert scene.look(True, False, after=pairs.GRACE) is pairs.Discord.NO_HOLDER


@pytest.mark.parametrize(
    "fields",
    [
        {"provisioning_status": ProvisioningStatus.PENDING_CREATE},
        {"provisioning_status": ProvisioningStatus.PENDING_DELETE},
        {"admin_state_up": False},
        {"topology": Topology.SINGLE},
    ],
)
def test_what_is_being_made_or_is_no_pair_is_not_judged(fields: dict[str, object]) -> None:
    scene = Scene(**fields)
    scene.look(False, False)
    assert scene.look(False, False, after=pairs.GRACE) is None


def test_a_pair_that_was_wrong_while_it_was_being_made_is_looked_at_again_once_it_is_built() -> None:
    scene = Scene(provisioning_status=ProvisioningStatus.PENDING_CREATE)
    scene.look(True, True)
    scene.now += pairs.GRACE
    assert scene.pairs.undecided() == [scene.snapshot.load_balancer.id]
    built = dataclasses.replace(scene.snapshot.load_balancer, provisioning_status=ProvisioningStatus.ACTIVE)
    assert scene.look(True, True) is None
    scene.snapshot = dataclasses.replace(scene.snapshot, load_balancer=built)
    assert scene.look(True, True, after=pairs.GRACE) is pairs.Discord.TWO_HOLDERS


def test_a_half_that_is_on_its_way_out_is_no_second_holder() -> None:
    scene = Scene()
    going = dataclasses.replace(scene.snapshot.amphorae[0], status=AmphoraStatus.PENDING_DELETE)
    scene.snapshot = dataclasses.replace(scene.snapshot, amphorae=(going, *scene.snapshot.amphorae[1:]))
    scene.look(True, True)
    assert scene.look(True, True, after=pairs.GRACE) is None


def test_the_half_is_mended_that_should_be_otherwise_and_the_status_says_how_bad_it_is() -> None:
    assert (pairs.Discord.TWO_HOLDERS.role, pairs.Discord.NO_HOLDER.role) == (Role.BACKUP, Role.MASTER)
    online, error = verdict.Statuses(OperatingStatus.ONLINE), verdict.Statuses(OperatingStatus.ERROR)
    assert pairs.truer(online, None) is online
    assert pairs.truer(online, pairs.Discord.TWO_HOLDERS).load_balancer is OperatingStatus.DEGRADED
    assert pairs.truer(error, pairs.Discord.TWO_HOLDERS).load_balancer is OperatingStatus.ERROR
    assert pairs.truer(online, pairs.Discord.NO_HOLDER).load_balancer is OperatingStatus.ERROR


@pytest.mark.parametrize("state", ["silent", "down"])
@pytest.mark.parametrize(
    ("program", "topology", "expected"),
    [
        ("haproxy", Topology.SINGLE, OperatingStatus.ERROR),
        ("haproxy", Topology.ACTIVE_STANDBY, OperatingStatus.DEGRADED),
        ("keepalived", Topology.ACTIVE_STANDBY, OperatingStatus.DEGRADED),
    ],
)
def test_a_load_balancer_is_not_online_while_a_program_does_not_run(
    program: str, topology: Topology, expected: OperatingStatus, state: str
) -> None:
    snapshot = builders.a_serving_snapshot(topology=topology)
    sick = dataclasses.replace(a_report(snapshot), programs={program: ProgramReport(state=state, died=0, hung=0)})
    if program == "haproxy":
        sick = dataclasses.replace(sick, listeners={}, pools={})
    reports = {half.id: a_report(snapshot) for half in snapshot.amphorae} | {snapshot.amphorae[0].id: sick}
    found = verdict.operating_statuses(snapshot, reports, ())
    assert found.load_balancer is expected
    assert OperatingStatus.ERROR not in found.members.values(), "nobody has seen them fail"
    assert verdict.mismatch(snapshot, snapshot.amphorae[0], sick) is None
    whole = dataclasses.replace(sick, listeners=a_report(snapshot).listeners, pools=a_report(snapshot).pools)
    whole = dataclasses.replace(whole, programs={program: ProgramReport(state="runs", died=1, hung=0)})
    assert verdict.operating_statuses(snapshot, reports | {snapshot.amphorae[0].id: whole}, ()).load_balancer is OperatingStatus.ONLINE
