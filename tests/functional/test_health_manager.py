"""The health manager as a whole: real UDP on the loopback, simulated amphorae, an SQLite database, agents in memory."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import pytest
import sqlalchemy as sa

from controller import exceptions, jobs
from controller.db import database, tables
from controller.drivers.amphora import fake
from controller.health_manager import manager, pairs, receiver, repairs, watcher
from controller.model import load_balancer as model
from controller.model.status import AmphoraStatus, OperatingStatus, ProvisioningStatus, Role, Topology
from tests import builders
from tests.functional import heartbeat_fleet
from tests.functional.heartbeat_fleet import KEY, SimulatedAmphora, a_report

QUICK = watcher.Settings(
    heartbeat_interval=0.1, heartbeat_timeout=0.6, health_check_interval=0.05, record_interval=0.2, question_timeout=0.5
)
PATIENT = dataclasses.replace(QUICK, heartbeat_timeout=600.0)
"""For what is not about silence: nobody dies of a pause of the test's own."""


def eventually(condition: Callable[[], object], *beating: SimulatedAmphora, within: float = 60.0) -> None:
    """Wait until something has happened, while these amphorae beat on."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        for amphora in beating:
            amphora.beat()
        time.sleep(0.05 if beating else 0.01)


class Bench:
    """A running health manager with what surrounds it."""

    def __init__(self, db: database.Database) -> None:
        self.db = db
        self.agents = fake.FakeAmphora()
        self.rung = 0
        self.amphorae: list[SimulatedAmphora] = []
        self.port = 0
        self.manager: manager.HealthManager | None = None

    def start(self, settings: watcher.Settings = QUICK, **options: float) -> manager.HealthManager:
        sock = receiver.open_socket("127.0.0.1", self.port, 4 * 1024 * 1024)
        self.port = sock.getsockname()[1]
        self.manager = manager.HealthManager(self.db, sock, [KEY], self.agents, self._ring, manager.Settings(watcher=settings, **options))
        self.manager.start()
        return self.manager

    def stop(self) -> None:
        if self.manager is not None:
            assert self.manager.stop(5.0)
            self.manager = None
        for amphora in self.amphorae:
            amphora.close()

    def amphora(self, snapshot: model.Snapshot, place: int = 0, **fields: object) -> SimulatedAmphora:
        made = SimulatedAmphora(snapshot.amphorae[place].id, ("127.0.0.1", self.port), a_report(snapshot))
        self.amphorae.append(made)
        return made

    def _ring(self) -> None:
        self.rung += 1

    def operating(self, table: sa.Table, object_id: str) -> str:
        with self.db.read() as tx:
            return str(tx.connection.execute(sa.select(table.c.operating_status).where(table.c.id == object_id)).scalar_one())

    def board(self) -> list[dict[str, Any]]:
        with self.db.read() as tx:
            return [dict(row) for row in tx.jobs.page(100)]

    def failovers(self) -> list[dict[str, Any]]:
        return [row for row in self.board() if row["kind"] == jobs.FailoverAmphora.kind]

    def events(self) -> list[str]:
        with self.db.read() as tx:
            return list(tx.connection.execute(sa.select(tables.events.c.code)).scalars())

    def messages(self, code: str) -> list[str]:
        with self.db.read() as tx:
            found = sa.select(tables.events.c.message).where(tables.events.c.code == code).order_by(tables.events.c.id)
            return list(tx.connection.execute(found).scalars())


@pytest.fixture
def bench(db: database.Database) -> Iterator[Bench]:
    made = Bench(db)
    yield made
    made.stop()


def a_stored_load_balancer(bench: Bench, **kwargs: Any) -> model.Snapshot:
    kwargs.setdefault("monitor", "HTTP")
    snapshot = builders.a_serving_snapshot(operating_status=OperatingStatus.OFFLINE, **kwargs)
    heartbeat_fleet.store(bench.db, snapshot)
    return snapshot


def keep_beating(*amphorae: SimulatedAmphora, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for amphora in amphorae:
            amphora.beat()
        time.sleep(0.05)


def test_the_first_heartbeat_is_written_and_wakes_the_create_flow(bench: Bench) -> None:
    amphora = builders.an_amphora(status=AmphoraStatus.BOOTING)
    snapshot = builders.a_snapshot(builders.a_load_balancer(provisioning_status=ProvisioningStatus.PENDING_CREATE), amphorae=[amphora])
    heartbeat_fleet.store(bench.db, snapshot)
    owner = snapshot.load_balancer.id
    with bench.db.begin() as tx:
        tx.jobs.post(
            jobs.CreateLoadBalancer(load_balancer_id=owner, topology=Topology.SINGLE, amphora_ids=(amphora.id,)),
            available_at=time.time() + 3600,
        )
    bench.start()
    simulated = bench.amphora(snapshot)
    simulated.beat()
    eventually(lambda: bench.rung == 1)
    assert bench.board()[0]["available_at"] == 0.0
    with bench.db.read() as tx:
        assert tx.amphorae.get(amphora.id).first_heartbeat_at is not None


@pytest.mark.lengthy
def test_an_amphora_that_is_made_anew_under_its_old_id_is_heard_for_the_first_time_again(bench: Bench) -> None:
    snapshot = a_stored_load_balancer(bench)
    bench.start()
    amphora = bench.amphora(snapshot)
    amphora.beat()
    eventually(lambda: bench.rung == 1)
    with bench.db.begin() as tx:
        tx.amphorae.set_status([amphora.id], AmphoraStatus.PENDING_DELETE)
        tx.amphorae.mark_deleted(amphora.id)
        tx.amphorae.ensure(amphora.id, snapshot.load_balancer.id, Role.STANDALONE)
    amphora.reboot()
    amphora.beat()
    eventually(lambda: bench.rung == 2)


def test_a_report_sets_the_operating_statuses_of_everything(bench: Bench) -> None:
    snapshot = a_stored_load_balancer(bench, listeners=2)
    bench.start()
    amphora = bench.amphora(snapshot)
    sick = snapshot.members[0]
    amphora.report = a_report(snapshot, members={sick.id: "DOWN"})
    amphora.send_report()
    eventually(lambda: bench.operating(tables.load_balancers, snapshot.load_balancer.id) == "DEGRADED")
    assert bench.operating(tables.members, sick.id) == "ERROR"
    assert bench.operating(tables.members, snapshot.members[1].id) == "ONLINE"
    assert bench.operating(tables.pools, sick.pool_id) == "DEGRADED"
    assert bench.operating(tables.listeners, snapshot.listeners[0].id) == "ONLINE"
    assert bench.operating(tables.health_monitors, snapshot.health_monitors[0].id) == "ONLINE"
    amphora.report = a_report(snapshot)
    amphora.send_report()
    eventually(lambda: bench.operating(tables.load_balancers, snapshot.load_balancer.id) == "ONLINE")
    assert bench.operating(tables.members, sick.id) == "ONLINE"


def test_a_load_balancer_without_listeners_is_online_when_its_amphora_reports(bench: Bench) -> None:
    snapshot = a_stored_load_balancer(bench, listeners=0)
    bench.start()
    bench.amphora(snapshot).send_report()
    eventually(lambda: bench.operating(tables.load_balancers, snapshot.load_balancer.id) == "ONLINE")


def test_counters_are_kept_per_listener_and_amphora_and_never_fall(bench: Bench) -> None:
    snapshot = a_stored_load_balancer(bench)
    bench.start()
    amphora = bench.amphora(snapshot)
    listener_id = snapshot.listeners[0].id

    def total() -> tuple[int, int]:
        with bench.db.read() as tx:
            sums = tx.statistics.of_listener(listener_id)
            return sums.bytes_in, sums.active_connections

    amphora.report = a_report(snapshot, bytes_in=1000, active_connections=7)
    amphora.send_report()
    eventually(lambda: total() == (1000, 7))
    amphora.report = a_report(snapshot, bytes_in=10, active_connections=1)
    amphora.send_report()
    eventually(lambda: total() == (1000, 1))


def test_an_amphora_can_not_write_counters_of_another_load_balancers_listener(bench: Bench) -> None:
    mine, other = a_stored_load_balancer(bench), a_stored_load_balancer(bench)
    bench.start()
    amphora = bench.amphora(mine)
    amphora.report = a_report(mine, bytes_in=5)
    amphora.report["listeners"] |= a_report(other, bytes_in=10**6)["listeners"]
    amphora.send_report()

    def sums(snapshot: model.Snapshot) -> int:
        with bench.db.read() as tx:
            return tx.statistics.of_listener(snapshot.listeners[0].id).bytes_in

    eventually(lambda: sums(mine) == 5)
    assert sums(other) == 0


def test_a_restarted_manager_asks_for_the_reports_that_it_does_not_know(bench: Bench) -> None:
    snapshot = a_stored_load_balancer(bench)
    running = bench.start()
    amphora = bench.amphora(snapshot)
    amphora.send_report()
    eventually(lambda: bench.operating(tables.load_balancers, snapshot.load_balancer.id) == "ONLINE")
    amphora.beat()
    assert not amphora.was_asked_for_a_report()
    assert running.stop(5.0)
    bench.start()
    amphora.beat()
    eventually(amphora.was_asked_for_a_report)


def test_a_lost_report_is_asked_for_because_the_beats_digest_differs(bench: Bench) -> None:
    snapshot = a_stored_load_balancer(bench)
    bench.start()
    amphora = bench.amphora(snapshot)
    amphora.send_report()
    eventually(lambda: bench.operating(tables.load_balancers, snapshot.load_balancer.id) == "ONLINE")
    amphora.report = a_report(snapshot, members={snapshot.members[0].id: "DOWN"})
    amphora.beat()
    eventually(amphora.was_asked_for_a_report)


@pytest.mark.lengthy
def test_an_amphora_that_is_silent_by_udp_and_over_tls_is_failed_over_once(bench: Bench) -> None:
    snapshot = a_stored_load_balancer(bench)
    bench.agents.be_silent(calls=1000)
    bench.start()
    amphora = bench.amphora(snapshot)
    amphora.send_report()
    keep_beating(amphora, seconds=1.0)
    assert bench.failovers() == []
    eventually(bench.failovers)
    details = bench.failovers()[0]["details"]
    assert (details["amphora_id"], details["role"]) == (amphora.id, "STANDALONE")
    eventually(lambda: bench.operating(tables.load_balancers, snapshot.load_balancer.id) == "ERROR")
    time.sleep(0.3)
    assert len(bench.failovers()) == 1
    eventually(lambda: "failover" in bench.events())
    amphora.beat()
    eventually(lambda: bench.operating(tables.load_balancers, snapshot.load_balancer.id) == "ONLINE")


@pytest.mark.lengthy
def test_the_dead_half_of_a_pair_is_failed_over_and_the_load_balancer_degraded(bench: Bench) -> None:
    snapshot = a_stored_load_balancer(bench, topology=Topology.ACTIVE_STANDBY)
    master = snapshot.amphorae[0].id
    bench.agents.be_silent(amphora_id=master, calls=1000)
    bench.start()
    halves = bench.amphora(snapshot, 0), bench.amphora(snapshot, 1)
    for half in halves:
        half.send_report()
    keep_beating(*halves, seconds=1.0)
    eventually(bench.failovers, halves[1])
    assert [row["details"]["amphora_id"] for row in bench.failovers()] == [master]
    eventually(lambda: bench.operating(tables.load_balancers, snapshot.load_balancer.id) == "DEGRADED", halves[1])
    assert bench.operating(tables.listeners, snapshot.listeners[0].id) == "ONLINE"


@pytest.mark.lengthy
def test_a_silent_amphora_is_looked_into_again_after_there_was_no_thread_for_it(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    start = threading.Thread.start
    refused: list[str] = []

    def refuse_some(thread: threading.Thread) -> None:
        if thread.name.startswith("ask-") and len(refused) < 2:
            refused.append(thread.name)
            raise RuntimeError("can't start new thread")
        start(thread)

    snapshot = a_stored_load_balancer(bench)
    bench.agents.be_silent(calls=1000)
    monkeypatch.setattr(threading.Thread, "start", refuse_some)
    bench.start()
    bench.amphora(snapshot).send_report()
    eventually(bench.failovers)
    assert len(refused) == 2


@pytest.mark.lengthy
def test_nobody_is_failed_over_while_the_manager_has_no_descriptor_to_ask_with(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def ask(*_: object, **__: object) -> None:
        raise exceptions.HostFault("amphora X could not be asked: the controller's own machine refused: Too many open files")

    monkeypatch.setattr(watcher, "_POSTED_AGAIN_AFTER", 0.1)
    monkeypatch.setattr(bench.agents, "info", ask)
    snapshot = a_stored_load_balancer(bench)
    bench.start()
    bench.amphora(snapshot).send_report()
    eventually(lambda: caplog.text.count("looking into it failed: it is tried again") > 3)
    assert bench.failovers() == []
    assert "Traceback" not in caplog.text
    monkeypatch.undo()
    bench.agents.be_silent(calls=1000)
    eventually(bench.failovers)


@pytest.mark.lengthy
def test_a_lost_udp_path_is_an_event_and_no_failover(bench: Bench) -> None:
    snapshot = a_stored_load_balancer(bench)
    bench.start()
    amphora = bench.amphora(snapshot)
    amphora.send_report()
    keep_beating(amphora, seconds=0.8)
    eventually(lambda: "heartbeats_lost" in bench.events())
    assert bench.failovers() == []
    keep_beating(amphora, seconds=0.3)
    eventually(lambda: "heartbeats_back" in bench.events())


@pytest.mark.lengthy
def test_one_that_dies_while_its_beats_are_lost_is_found_as_soon_as_by_its_beats(bench: Bench) -> None:
    snapshot = a_stored_load_balancer(bench)
    bench.start()
    amphora = bench.amphora(snapshot)
    amphora.send_report()
    keep_beating(amphora, seconds=0.8)
    eventually(lambda: "heartbeats_lost" in bench.events())
    time.sleep(1.0)  # a beat may have waited for its turn until now, and be lost anew
    told = bench.events()
    time.sleep(1.0)
    assert bench.events() == told
    bench.agents.be_silent(calls=1000)
    eventually(bench.failovers)


@pytest.mark.lengthy
def test_an_amphora_whose_agent_says_that_nothing_runs_is_failed_over(bench: Bench) -> None:
    snapshot = builders.a_serving_snapshot()
    serving = builders.an_amphora(id=snapshot.amphorae[0].id, applied_generation=1)
    snapshot = builders.a_snapshot(snapshot.load_balancer, amphorae=[serving])
    heartbeat_fleet.store(bench.db, snapshot)
    bench.start()
    amphora = bench.amphora(snapshot)
    amphora.send_report()
    keep_beating(amphora, seconds=0.8)
    eventually(bench.failovers)


def test_an_amphora_that_runs_an_older_generation_than_it_confirmed_is_repaired(bench: Bench) -> None:
    snapshot = builders.a_serving_snapshot(generation=5)
    confirmed = builders.an_amphora(id=snapshot.amphorae[0].id, applied_generation=5)
    snapshot = builders.a_snapshot(snapshot.load_balancer, listeners=snapshot.listeners, pools=snapshot.pools, amphorae=[confirmed])
    heartbeat_fleet.store(bench.db, snapshot)
    bench.start(PATIENT, repair_grace=0.1)
    amphora = bench.amphora(snapshot)
    amphora.report = a_report(snapshot, generation=3)
    amphora.send_report()
    eventually(lambda: [row["kind"] for row in bench.board()] == [jobs.RepairLoadBalancer.kind])
    assert "repair" in bench.events()


def test_an_amphora_that_runs_another_state_of_the_same_generation_is_repaired_once_no_worker_is_at_it(bench: Bench) -> None:
    snapshot = builders.a_serving_snapshot(generation=5)
    confirmed = builders.an_amphora(id=snapshot.amphorae[0].id, applied_generation=5, confirmed_hash="c0ffee" * 8)
    snapshot = builders.a_snapshot(snapshot.load_balancer, listeners=snapshot.listeners, pools=snapshot.pools, amphorae=[confirmed])
    heartbeat_fleet.store(bench.db, snapshot)
    with bench.db.begin() as tx:
        lease = tx.leases.take(snapshot.load_balancer.id, "a worker that pushes", 60.0)
    assert lease is not None
    bench.start(PATIENT, repair_grace=0.05)
    amphora = bench.amphora(snapshot)
    amphora.report = a_report(snapshot, generation=5) | {"hash": "decade" * 8}
    amphora.send_report()
    keep_beating(amphora, seconds=0.6)
    assert bench.board() == []
    with bench.db.begin() as tx:
        tx.leases.release(lease)
    eventually(lambda: [row["kind"] for row in bench.board()] == [jobs.RepairLoadBalancer.kind])
    assert "repair" in bench.events()


def test_an_amphora_that_was_never_heard_raises_an_alarm_once(bench: Bench) -> None:
    amphora = builders.an_amphora(status=AmphoraStatus.BOOTING)
    snapshot = builders.a_snapshot(amphorae=[amphora])
    heartbeat_fleet.store(bench.db, snapshot)
    bench.start(boot_timeout=0.2, repair_grace=0.05)
    eventually(lambda: "never_heard" in bench.events())
    time.sleep(0.3)
    assert bench.events().count("never_heard") == 1
    with bench.db.read() as tx:
        assert tx.faults.of_load_balancer(snapshot.load_balancer.id)[amphora.id].code == "never_heard"


@pytest.mark.lengthy
def test_an_amphora_in_service_that_was_never_heard_is_failed_over_too(bench: Bench) -> None:
    snapshot = a_stored_load_balancer(bench)
    bench.agents.be_silent(calls=1000)
    bench.start(repair_grace=0.05)
    eventually(bench.failovers)
    assert bench.failovers()[0]["details"]["amphora_id"] == snapshot.amphorae[0].id


@pytest.mark.lengthy
def test_nobody_is_failed_over_when_too_much_of_the_fleet_is_silent_at_once_and_it_resumes_by_itself(bench: Bench) -> None:
    bench.agents.be_silent(calls=1000)
    snapshots = [a_stored_load_balancer(bench, listeners=0) for _ in range(12)]
    bench.start(dataclasses.replace(QUICK, heartbeat_timeout=1.5))
    fleet = [bench.amphora(snapshot) for snapshot in snapshots]
    keep_beating(*fleet, seconds=1.0)
    eventually(lambda: "FAILOVER_STOPPED" in bench.events())
    eventually(lambda: "FAILOVER_RESUMED" in bench.events(), *fleet[1:])
    eventually(bench.failovers, *fleet[1:])
    keep_beating(*fleet[1:], seconds=0.5)
    assert [row["details"]["amphora_id"] for row in bench.failovers()] == [fleet[0].id]


@pytest.mark.lengthy
def test_amphorae_that_fall_silent_one_after_the_other_as_when_the_network_breaks_are_seen_together(bench: Bench) -> None:
    bench.agents.be_silent(calls=1000)
    snapshots = [a_stored_load_balancer(bench, listeners=0) for _ in range(20)]
    bench.start(dataclasses.replace(QUICK, heartbeat_timeout=2.0, heartbeat_interval=1.0, health_check_interval=0.02))
    fleet = [bench.amphora(snapshot) for snapshot in snapshots]
    for _ in range(3):
        for amphora in fleet:
            amphora.beat()
            time.sleep(0.05)
    eventually(lambda: "FAILOVER_STOPPED" in bench.events())
    time.sleep(1.2)
    assert bench.failovers() == []


@pytest.mark.lengthy
def test_beats_that_are_lost_in_our_own_buffer_fail_nobody_over(bench: Bench) -> None:
    bench.agents.be_silent(calls=1000)
    snapshots = [a_stored_load_balancer(bench, listeners=0) for _ in range(40)]
    running = bench.start()
    fleet = [bench.amphora(snapshot) for snapshot in snapshots]
    keep_beating(*fleet, seconds=0.8)
    heard = fleet[4:]
    end = time.monotonic() + 1.5
    with mock.patch.object(receiver.Receiver, "dropped", property(lambda _: int(100_000 * time.monotonic()))):
        while time.monotonic() < end:
            keep_beating(*heard, seconds=0.05)
    assert running.receiver.fleet == 40
    assert bench.failovers() == []
    eventually(lambda: len(bench.failovers()) == 4, *heard)


def test_a_deleted_amphora_that_still_beats_is_an_event_once(bench: Bench) -> None:
    gone = builders.an_amphora(status=AmphoraStatus.DELETED)
    snapshot = builders.a_snapshot(amphorae=[gone])
    heartbeat_fleet.store(bench.db, snapshot)
    bench.start()
    amphora = bench.amphora(snapshot)
    keep_beating(amphora, seconds=0.6)
    eventually(lambda: bench.events() == ["zombie"])
    with bench.db.read() as tx:
        assert tx.connection.execute(sa.select(sa.func.count()).select_from(tables.amphora_health)).scalar() == 0


@pytest.mark.lengthy
def test_two_managers_post_one_failover(bench: Bench, db: database.Database) -> None:
    snapshot = a_stored_load_balancer(bench)
    bench.agents.be_silent(calls=1000)
    bench.start()
    second = Bench(db)
    second.agents = bench.agents
    second.start()
    try:
        first_path = bench.amphora(snapshot)
        second_path = second.amphora(snapshot)
        keep_beating(first_path, second_path, seconds=0.8)
        eventually(bench.failovers)
        time.sleep(0.5)
        assert len(bench.failovers()) == 1
    finally:
        second.stop()


def _programs(**counts: tuple[int, int]) -> dict[str, object]:
    return {"programs": {name: {"state": "runs", "died": died, "hung": hung} for name, (died, hung) in counts.items()}}


@pytest.mark.lengthy
def test_restarts_of_programs_are_told_once_though_two_managers_hear_of_them(bench: Bench, db: database.Database) -> None:
    snapshot = a_stored_load_balancer(bench)
    other = Bench(db)
    bench.start()
    other.start()
    try:
        pair = (bench.amphora(snapshot), other.amphora(snapshot))
        for amphora in pair:
            amphora.beat()
            amphora.report |= _programs(agent=(0, 0), haproxy=(0, 0))
            amphora.send_report()
        eventually(lambda: bench.operating(tables.load_balancers, snapshot.load_balancer.id) == "ONLINE")
        assert bench.events() == []
        for amphora in pair:
            amphora.report |= _programs(agent=(1, 0), haproxy=(1, 2))
            amphora.send_report()
        eventually(lambda: len(bench.messages("restarted")) >= 3)
        for amphora in pair:
            amphora.report |= {"hash": "another state"}
            amphora.send_report()
        keep_beating(*pair, seconds=1.0)
        assert bench.messages("restarted") == [
            "its agent died and was started again",
            "HAProxy died and was started again",
            "HAProxy hung 2 times and was started again",
        ]
    finally:
        other.stop()


@pytest.mark.lengthy
def test_a_program_that_dies_all_the_time_is_not_told_each_time(bench: Bench) -> None:
    snapshot = a_stored_load_balancer(bench)
    bench.start()
    amphora = bench.amphora(snapshot)
    for count in range(1, 30):
        amphora.report |= _programs(keepalived=(count, 0))
        amphora.send_report()
        keep_beating(amphora, seconds=0.05)
    eventually(lambda: bench.messages("restarted"))
    assert len(bench.messages("restarted")) == 1


@pytest.mark.lengthy
@pytest.mark.parametrize(
    ("holds", "status", "role"), [(True, "DEGRADED", Role.BACKUP), (False, "ERROR", Role.MASTER)], ids=["two holders", "none"]
)
def test_a_pair_without_exactly_one_holder_is_told_and_mended(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, holds: bool, status: str, role: Role
) -> None:
    monkeypatch.setattr(pairs, "GRACE", 0.7)
    monkeypatch.setattr(repairs, "_URGENTLY_AGAIN_AFTER", 0.5)
    snapshot = a_stored_load_balancer(bench, topology=Topology.ACTIVE_STANDBY)
    with bench.db.begin() as tx:
        tx.amphorae.confirm({half.id: "0" * 64 for half in snapshot.amphorae}, snapshot.generation)
    bench.start(repair_grace=0.1)
    halves = [bench.amphora(snapshot, place) for place in range(2)]

    def say(*held: bool) -> None:
        for half, it_holds in zip(halves, held, strict=True):
            half.report |= {"vrrp": {"state": "MASTER" if it_holds else "BACKUP", "holds_vip": it_holds}}
            half.beat()
            half.send_report()

    def operating() -> str:
        return bench.operating(tables.load_balancers, snapshot.load_balancer.id)

    say(True, False)
    eventually(lambda: operating() == "ONLINE")
    say(holds, holds)
    keep_beating(*halves, seconds=2.5)
    eventually(bench.failovers, *halves)
    assert operating() == status
    (told,) = bench.messages("repair")
    assert "hold the VIP address" in told or "holds the VIP address" in told
    (failover,) = bench.failovers()
    (wrong,) = [half.id for half in snapshot.amphorae if half.role is role]
    assert wrong in str(failover)
    say(True, False)
    eventually(lambda: operating() == "ONLINE", *halves)


@pytest.mark.lengthy
def test_two_holders_are_told_of_a_pair_that_was_first_heard_while_it_was_being_made(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "GRACE", 0.7)
    snapshot = a_stored_load_balancer(bench, topology=Topology.ACTIVE_STANDBY)
    row = tables.load_balancers.c.id == snapshot.load_balancer.id

    def put(provisioning_status: str) -> None:
        with bench.db.engine.begin() as connection:
            connection.execute(sa.update(tables.load_balancers).where(row).values(provisioning_status=provisioning_status))

    put("PENDING_CREATE")
    bench.start()
    halves = [bench.amphora(snapshot, place) for place in range(2)]
    for half in halves:
        half.report |= {"vrrp": {"state": "MASTER", "holds_vip": True}}
        half.beat()
        half.send_report()
    keep_beating(*halves, seconds=1)
    eventually(lambda: bench.operating(tables.load_balancers, snapshot.load_balancer.id) == "ONLINE", *halves)
    put("ACTIVE")
    degraded = lambda: bench.operating(tables.load_balancers, snapshot.load_balancer.id) == "DEGRADED"  # noqa: E731
    eventually(degraded, *halves)


def test_what_was_heard_is_written_when_the_manager_stops(bench: Bench) -> None:
    snapshot = a_stored_load_balancer(bench)
    running = bench.start()
    amphora = bench.amphora(snapshot)
    amphora.beat()
    eventually(lambda: bench.rung)
    amphora.report = a_report(snapshot, bytes_in=77)
    amphora.send_report()
    eventually(lambda: running.receiver.received >= 2)
    started = time.monotonic()
    assert running.stop(5.0)
    assert time.monotonic() - started < 2.0
    with bench.db.read() as tx:
        assert tx.statistics.of_listener(snapshot.listeners[0].id).bytes_in == 77
