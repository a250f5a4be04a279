"""An amphora that beats is replaced for what is reported, once in a while; whoever lies, nobody is replaced without end."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Collection, Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from controller import jobs
from controller.db import database, tables
from controller.health_manager import repairs, replacements, statuses
from controller.model import amphora as amphora_model
from controller.model import load_balancer as model
from controller.model.heartbeat import Report, VrrpReport
from controller.model.status import Role, Topology
from tests import builders, databases
from tests.clocks import SetClock
from tests.functional import heartbeat_fleet
from tests.unit.controller.health_manager.test_verdict import a_report

Says = Callable[["Scene", amphora_model.Amphora], Report]
"""What an amphora reports: its own word, be it true or not."""
STEP = 15.0


class Scene:
    """A load balancer, health managers that hear it, and a worker that does what they post."""

    def __init__(self, db: database.Database, topology: Topology, says: Says) -> None:
        self.db, self.says, self.clock = db, says, SetClock()
        clock: Any = db._clock
        clock._clock = self.clock
        snapshot = builders.a_serving_snapshot(topology=topology)
        self.id, self.generation = snapshot.load_balancer.id, snapshot.generation
        heartbeat_fleet.store(db, snapshot)
        with db.begin() as tx:
            tx.amphorae.confirm({one.id: "0" * 64 for one in snapshot.amphorae}, snapshot.generation)
        self.report = a_report(snapshot)
        self.replaced: list[Role] = []
        self.made = {one.id for one in snapshot.amphorae}  # in the beginning
        self.managers = [self.a_manager(), self.a_manager()]

    def a_manager(self) -> tuple[repairs.Repairs, statuses.Statuses]:
        """One that has just started."""
        known = statuses.Statuses(self.db, self.report_of, clock=self.clock, heard_at=lambda _: self.clock.monotonic())
        recorder: Any = types.SimpleNamespace(statuses=known, judge_again=lambda owner: known.evaluate([owner]))
        options: dict[str, float] = {"grace": 5.0, "boot_timeout": 120.0, "interval": 5.0}
        return repairs.Repairs(self.db, recorder, lambda: None, **options, clock=self.clock), known

    def report_of(self, amphora_id: str, _: Collection[str]) -> Report | None:
        (amphora,) = [one for one in self.amphorae() if one.id == amphora_id]
        return dataclasses.replace(self.says(self, amphora), listeners=self.report.listeners, pools=self.report.pools)

    def amphorae(self) -> tuple[amphora_model.Amphora, ...]:
        with self.db.read() as tx:
            return tx.snapshots.amphorae(self.id)

    def pass_time(self, seconds: float) -> None:
        """Managers judge and repair, and the worker works, every few seconds."""
        for _ in range(int(seconds / STEP)):
            self.clock.passed += STEP
            for repair, known in self.managers:
                known.evaluate([self.id])
                repair.turn()
            self.work()

    def work(self) -> None:
        with self.db.begin() as tx:
            for row in tx.jobs.page(10):
                job = jobs.load(row["kind"], row["details"])
                if isinstance(job, jobs.FailoverAmphora):
                    values = {"id": job.replacement_id, "applied_generation": self.generation, "confirmed_hash": "0" * 64}
                    tx.connection.execute(sa.update(tables.amphorae).where(tables.amphorae.c.id == job.amphora_id).values(values))
                    self.replaced.append(job.role)
            tx.connection.execute(sa.delete(tables.jobs))

    def told(self, code: str) -> list[str]:
        with self.db.read() as tx:
            return [row["message"] for row in tx.faults.events(self.id, 10_000) if row["code"] == code]

    def fault(self) -> model.Fault | None:
        with self.db.read() as tx:
            return tx.load_balancers.get(self.id).fault


@pytest.fixture
def scene(request: pytest.FixtureRequest) -> Iterator[Callable[..., Scene]]:
    with databases.lent() as db:
        before = db._clock._clock
        try:
            yield lambda topology, says: Scene(db, topology, says)
        finally:
            db._clock._clock = before


_TRUE = a_report(builders.a_serving_snapshot())


def _report(holds: bool | None = None, config_hash: str = "0" * 64) -> Report:
    vrrp = None if holds is None else VrrpReport(state="MASTER" if holds else "BACKUP", holds_vip=holds)
    return dataclasses.replace(_TRUE, vrrp=vrrp, config_hash=config_hash)


def a_liar(role: Role, word: bool, comes_back: bool) -> Says:
    """The first amphora of a role (or each that follows it) says `word` whatever is true; the others hold the VIP if it does not."""

    def says(scene: Scene, amphora: amphora_model.Amphora) -> Report:
        lies = amphora.role is role and (comes_back or amphora.id in scene.made)
        if lies:
            return _report(word)
        there = any(one.role is role and (comes_back or one.id in scene.made) for one in scene.amphorae())
        if not there:
            return _report(amphora.role is Role.MASTER)
        return _report(word)  # two holders: the other one holds it in truth; none: the liar keeps it down

    return says


def test_a_liar_is_gone_after_each_half_was_replaced_once(scene: Callable[..., Scene]) -> None:
    """The master says that it holds the VIP though the backup does: the honest backup goes first, then the liar, and all is well."""
    pair = scene(Topology.ACTIVE_STANDBY, a_liar(Role.MASTER, word=True, comes_back=False))
    pair.pass_time(600)
    assert pair.replaced == [Role.BACKUP, Role.MASTER]
    assert pair.told(replacements.CODE) == []
    assert pair.fault() is None


@pytest.mark.lengthy
def test_whoever_was_replaced_is_repaired_no_more(scene: Callable[..., Scene], caplog: pytest.LogCaptureFixture) -> None:
    """Managers that run for months would otherwise keep every amphora that was ever replaced so, and go on about each of them."""
    pair = scene(Topology.ACTIVE_STANDBY, a_liar(Role.MASTER, word=True, comes_back=False))
    pair.pass_time(600)
    assert len(pair.replaced) == 2
    assert [known.mismatches() for _, known in pair.managers] == [[], []]
    caplog.clear()
    pair.pass_time(600)
    assert [record.getMessage() for record in caplog.records if "repair" in record.getMessage()] == []


@pytest.mark.lengthy
@pytest.mark.parametrize("word", [True, False], ids=["two holders", "none"])
@pytest.mark.parametrize("role", [Role.MASTER, pytest.param(Role.BACKUP, marks=pytest.mark.slow)])
def test_whoever_lies_again_and_again_has_each_half_replaced_once(scene: Callable[..., Scene], role: Role, word: bool) -> None:
    pair = scene(Topology.ACTIVE_STANDBY, a_liar(role, word, comes_back=True))
    pair.pass_time(600)
    assert pair.replaced == ([Role.BACKUP, Role.MASTER] if word else [Role.MASTER, Role.BACKUP])
    pair.managers = [pair.a_manager(), pair.a_manager()]
    pair.pass_time(600)
    assert len(pair.replaced) == 2, "a manager that was started anew has forgotten it"
    (told,) = pair.told(replacements.CODE)
    assert "VRRP (IP protocol 112)" in told
    assert "fail the load balancer over" in told
    addresses = [one.vrrp_ip for one in pair.amphorae()]
    assert all(str(address) in told for address in addresses)
    fault = pair.fault()
    assert fault is not None
    assert (fault.code, fault.message) == (replacements.CODE, told)
    assert fault.next_try_at is not None
    count = len(pair.told("repair")) + len(pair.told("failover"))
    pair.pass_time(600)
    assert (len(pair.replaced), len(pair.told("repair")) + len(pair.told("failover"))) == (2, count), "day 31"


@pytest.mark.lengthy
def test_what_lasts_is_tried_once_more_after_the_interval(scene: Callable[..., Scene]) -> None:
    pair = scene(Topology.ACTIVE_STANDBY, a_liar(Role.MASTER, word=True, comes_back=True))
    pair.pass_time(600)
    pair.clock.passed += replacements.INTERVAL
    pair.pass_time(600)
    assert pair.replaced == [Role.BACKUP, Role.MASTER] * 2
    assert len(pair.told(replacements.CODE)) == 2


def test_one_that_says_it_runs_something_else_is_replaced_once(scene: Callable[..., Scene]) -> None:
    """Of no use twice: an image whose agent counts otherwise would have a whole fleet replaced all the time."""
    single = scene(Topology.SINGLE, lambda *_: _report(config_hash="f" * 64))
    single.pass_time(600)
    assert single.replaced == [Role.STANDALONE]
    (told,) = single.told(replacements.CODE)
    assert "it runs the state ffffffffffff" in told
    assert single.fault() is not None


def test_the_fault_goes_when_all_is_well_again(scene: Callable[..., Scene]) -> None:
    broken = [True]
    says: Says = lambda scene, amphora: _report(broken[0] or amphora.role is Role.MASTER)  # noqa: E731
    pair = scene(Topology.ACTIVE_STANDBY, says)
    pair.pass_time(600)
    assert pair.fault() is not None
    broken[0] = False
    pair.managers = [pair.a_manager()]
    pair.pass_time(300)
    assert pair.fault() is None


@pytest.mark.lengthy
def test_a_clock_that_was_set_back_costs_one_more_replacement_at_most(scene: Callable[..., Scene]) -> None:
    pair = scene(Topology.ACTIVE_STANDBY, lambda *_: _report(True))
    pair.pass_time(600)
    pair.clock.ahead = -replacements.INTERVAL / 2
    pair.pass_time(600)
    assert sorted(pair.replaced) == [Role.BACKUP, Role.BACKUP, Role.MASTER, Role.MASTER]


@pytest.mark.lengthy
def test_one_that_is_wrong_and_right_in_turns_is_repaired_a_few_times_and_then_replaced(scene: Callable[..., Scene]) -> None:
    """It could cause a repair, with its event, every ten minutes otherwise, up to day 31."""
    wrong = [True]
    single = scene(Topology.SINGLE, lambda *_: _report(config_hash=("f" if wrong[0] else "0") * 64))
    for _ in range(16):
        wrong[0] = True
        single.pass_time(45)
        wrong[0] = False
        single.pass_time(15)
        single.clock.passed += 700.0
        single.pass_time(15)
    assert len(single.told("repair")) <= 2 * 2 * 3, "three by each manager, of it and of its successor"
    assert single.replaced == [Role.STANDALONE]
