"""Replacing amphorae: the successor is up and proven before its predecessor goes, whatever fails or dies on the way."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
import sqlalchemy as sa

from amphora_agent.protocol import rest
from controller import exceptions, jobs
from controller.db import tables
from controller.drivers.amphora import interface
from controller.model.amphora import Amphora
from controller.model.status import AmphoraStatus, ProvisioningStatus, Role, Topology
from controller.worker.engine import Outcome
from tests.functional import flow_site


def of_amphora(amphora_id: str, load_balancer_id: str, role: Role) -> jobs.FailoverAmphora:
    return jobs.FailoverAmphora(load_balancer_id=load_balancer_id, amphora_id=amphora_id, replacement_id=str(uuid.uuid4()), role=role)


def of_load_balancer(load_balancer_id: str, topology: Topology) -> jobs.FailoverLoadBalancer:
    replacement_ids = tuple(str(uuid.uuid4()) for _ in topology.roles)
    return jobs.FailoverLoadBalancer(load_balancer_id=load_balancer_id, topology=topology, replacement_ids=replacement_ids)


def role_of(topology: Topology) -> Role:
    return topology.roles[0]


STEPS = [
    (topology, whole, step)
    for topology in Topology
    for whole in ((False,) if topology is Topology.SINGLE else (False, True))  # of one amphora, both flows are the same
    for step in flow_site.step_names(of_load_balancer("any", topology) if whole else of_amphora("any", "any", role_of(topology)))
]


def posted(site: flow_site.Site, load_balancer_id: str, topology: Topology, whole: bool) -> jobs.Job:
    if whole:
        return of_load_balancer(load_balancer_id, topology)
    role = role_of(topology)
    return of_amphora(site.amphorae(load_balancer_id)[role], load_balancer_id, role)


def dies(site: flow_site.Site, amphora_id: str) -> None:
    """As by a power cut."""
    site.compute.kill(amphora_id)
    site.amphora.die(amphora_id)
    site.amphora.be_silent(amphora_id=amphora_id, calls=1000)


@pytest.mark.parametrize("is_dead", [False, True], ids=["planned", "dead"])
@pytest.mark.parametrize("role", Role)
def test_one_amphora_is_replaced_and_the_others_stay(site: flow_site.Site, role: Role, is_dead: bool) -> None:
    topology = Topology.SINGLE if role is Role.STANDALONE else Topology.ACTIVE_STANDBY
    load_balancer_id = site.built(topology)
    before = site.amphorae(load_balancer_id)
    job = of_amphora(before[role], load_balancer_id, role)
    if is_dead:
        dies(site, before[role])
    site.succeed(job)
    assert site.is_whole(load_balancer_id)
    assert site.amphorae(load_balancer_id) == {**before, role: job.replacement_id}
    assert "replaced" in site.events(load_balancer_id)


@pytest.mark.parametrize("topology", Topology)
def test_every_amphora_of_a_load_balancer_is_replaced(site: flow_site.Site, topology: Topology) -> None:
    load_balancer_id = site.built(topology)
    job = of_load_balancer(load_balancer_id, topology)
    site.succeed(job)
    assert site.is_whole(load_balancer_id)
    assert site.amphorae(load_balancer_id) == dict(zip(topology.roles, job.replacement_ids, strict=True))


def test_the_backup_is_replaced_before_the_master(site: flow_site.Site) -> None:
    load_balancer_id = site.built(Topology.ACTIVE_STANDBY)
    before = site.amphorae(load_balancer_id)
    site.succeed(of_load_balancer(load_balancer_id, Topology.ACTIVE_STANDBY))
    deleted = [arguments[0] for arguments in site.compute.script.calls_of("delete")]
    assert deleted == [before[Role.BACKUP], before[Role.MASTER]]


@pytest.mark.parametrize("whole", [False, True], ids=["amphora", "load balancer"])
@pytest.mark.parametrize("topology", Topology)
def test_changes_accepted_before_a_failover_are_in_its_push(site: flow_site.Site, topology: Topology, whole: bool) -> None:
    load_balancer_id = site.built(topology)
    site.accept(load_balancer_id, flow_site.a_listener(8080))
    site.succeed(posted(site, load_balancer_id, topology, whole))
    assert site.is_whole(load_balancer_id)
    assert {one.provisioning_status for one in site.snapshot(load_balancer_id).listeners} == {ProvisioningStatus.ACTIVE}


def test_a_single_successor_is_proven_first_and_takes_the_vip_last(site: flow_site.Site, monkeypatch: pytest.MonkeyPatch) -> None:
    load_balancer_id = site.built()
    old = site.amphorae(load_balancer_id)[Role.STANDALONE]
    story: list[str] = []
    apply, remove, delete = site.amphora.apply, site.amphora.remove, site.compute.delete

    def told(amphora: Amphora, wanted: rest.WantedState, certificates: dict[str, bytes], order: Any = None) -> interface.Applied:
        story.append("successor takes the VIP" if wanted.interfaces[0].vips else "successor is prepared")
        return apply(amphora, wanted, certificates, order)

    monkeypatch.setattr(site.amphora, "apply", told)

    def lets_go(*args: Any, **named: Any) -> None:
        story.append("predecessor lets go")
        remove(*args, **named)

    def is_deleted(amphora_id: str) -> None:
        story.append("predecessor is deleted")
        delete(amphora_id)

    monkeypatch.setattr(site.amphora, "remove", lets_go)
    monkeypatch.setattr(site.compute, "delete", is_deleted)
    site.succeed(of_amphora(old, load_balancer_id, Role.STANDALONE))
    assert list(dict.fromkeys(story)) == [
        "successor is prepared",
        "predecessor lets go",
        "successor takes the VIP",
        "predecessor is deleted",
    ]


def test_a_dead_single_amphora_is_deleted_before_its_successor_takes_the_vip(site: flow_site.Site, monkeypatch: pytest.MonkeyPatch) -> None:
    load_balancer_id = site.built()
    old = site.amphorae(load_balancer_id)[Role.STANDALONE]
    dies(site, old)
    there: list[bool] = []
    apply = site.amphora.apply

    def told(amphora: Amphora, wanted: rest.WantedState, certificates: dict[str, bytes], order: Any = None) -> interface.Applied:
        if wanted.interfaces[0].vips:
            there.append(site.compute.find(old) is not None)
        return apply(amphora, wanted, certificates, order)

    monkeypatch.setattr(site.amphora, "apply", told)
    site.succeed(of_amphora(old, load_balancer_id, Role.STANDALONE))
    assert there == [False]


def told_in_turn(site: flow_site.Site, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Who is told what: `MASTER speaks` of VRRP with the other half, `... is prepared` to, or `... lets go` of the VIP or `is deleted`."""
    story: list[str] = []
    apply, remove, delete = site.amphora.apply, site.amphora.remove, site.compute.delete
    roles: dict[str, Role | None] = {}

    def told(amphora: Amphora, wanted: rest.WantedState, certificates: dict[str, bytes], order: Any = None) -> interface.Applied:
        roles[amphora.id] = amphora.role
        story.append(f"{amphora.role} {'speaks' if 'keepalived' in wanted.programs else 'is prepared'}")
        return apply(amphora, wanted, certificates, order)

    def lets_go(amphora: Amphora, *args: Any, **named: Any) -> None:
        roles[amphora.id] = amphora.role
        story.append(f"old {amphora.role} lets go")
        remove(amphora, *args, **named)

    def is_deleted(amphora_id: str) -> None:
        story.append(f"old {next(one.role for one in known if one.id == amphora_id)} is deleted")
        delete(amphora_id)

    with site.db.read() as tx:
        (load_balancer_id,) = tx.connection.execute(sa.select(tables.load_balancers.c.id)).scalars()
    known = site.snapshot(load_balancer_id).amphorae
    monkeypatch.setattr(site.amphora, "apply", told)
    monkeypatch.setattr(site.amphora, "remove", lets_go)
    monkeypatch.setattr(site.compute, "delete", is_deleted)
    return story


def test_of_a_pair_a_half_lets_go_before_another_is_told_of_its_successor(site: flow_site.Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is told of another partner speaks no more with the one of before, which would take the VIP if it were there."""
    load_balancer_id = site.built(Topology.ACTIVE_STANDBY)
    story = told_in_turn(site, monkeypatch)
    site.succeed(of_load_balancer(load_balancer_id, Topology.ACTIVE_STANDBY))
    assert story == [
        "BACKUP is prepared",
        "old BACKUP lets go",
        "MASTER speaks",
        "BACKUP speaks",
        "old BACKUP lets go",  # of everything, in case that somebody else told it to serve again
        "old BACKUP is deleted",
        "MASTER is prepared",
        "old MASTER lets go",
        "BACKUP speaks",
        "MASTER speaks",
        "old MASTER lets go",
        "old MASTER is deleted",
    ]


@pytest.mark.parametrize("is_known", [True, False], ids=["found dead before", "found dead by the failover"])
def test_a_new_half_speaks_when_the_other_one_was_told_of_it(site: flow_site.Site, monkeypatch: pytest.MonkeyPatch, is_known: bool) -> None:
    """Before that, it would hear nobody, and take the VIP away from a half that has it."""
    load_balancer_id = site.built(Topology.ACTIVE_STANDBY)
    lost = site.amphorae(load_balancer_id)[Role.MASTER]
    dies(site, lost)
    if is_known:
        with site.db.begin() as tx:
            tx.amphorae.set_status([lost], AmphoraStatus.ERROR)
    story = told_in_turn(site, monkeypatch)
    site.succeed(of_amphora(lost, load_balancer_id, Role.MASTER))
    assert site.is_whole(load_balancer_id)
    assert [words for words in story if not words.startswith("old ")] == ["MASTER is prepared", "BACKUP speaks", "MASTER speaks"]
    assert story.index("old MASTER is deleted") < story.index("MASTER speaks"), "a dead half may still have the VIP"


@pytest.mark.parametrize("topology", Topology)
@pytest.mark.parametrize("call", ["info", "remove", "apply"])
def test_nobody_is_lost_because_the_worker_has_no_descriptor_left(
    site: flow_site.Site, monkeypatch: pytest.MonkeyPatch, topology: Topology, call: str
) -> None:
    load_balancer_id = site.built(topology)
    before = site.amphorae(load_balancer_id)

    def ask(*_: object, **__: object) -> None:
        raise exceptions.HostFault("amphora X could not be asked: the controller's own machine refused: Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(site.amphora, call, ask)
        result = site.work(of_load_balancer(load_balancer_id, topology))
    assert result is not None
    assert result.code == "host"
    assert site.amphorae(load_balancer_id) == before, "they serve on"
    site.succeed(of_load_balancer(load_balancer_id, topology))
    assert site.is_whole(load_balancer_id)
    assert site.leaks() == []


def test_a_new_half_that_refuses_is_heard_of_by_nobody(site: flow_site.Site) -> None:
    load_balancer_id = site.built(Topology.ACTIVE_STANDBY)
    before = site.amphorae(load_balancer_id)
    running = [site.amphora.running(one, load_balancer_id) for one in before.values()]
    job = of_amphora(before[Role.MASTER], load_balancer_id, Role.MASTER)
    site.amphora.refuse("no such keyword", amphora_id=job.replacement_id)
    site.work(job)
    assert [site.amphora.running(one, load_balancer_id) for one in before.values()] == running


@pytest.mark.parametrize("is_dead", [False, True], ids=["planned", "dead"])
def test_a_new_half_takes_no_vip_from_one_that_refuses_to_hear_of_it(site: flow_site.Site, is_dead: bool) -> None:
    load_balancer_id = site.built(Topology.ACTIVE_STANDBY)
    before = site.amphorae(load_balancer_id)
    job = of_amphora(before[Role.MASTER], load_balancer_id, Role.MASTER)
    if is_dead:
        dies(site, before[Role.MASTER])
    site.amphora.refuse("no such keyword", amphora_id=before[Role.BACKUP])
    result = site.work(job)
    assert result is not None
    assert result.outcome is Outcome.FAILED
    assert site.amphora.running(before[Role.BACKUP], load_balancer_id) is not None
    new = site.amphora.running(job.replacement_id, load_balancer_id)
    assert new is None or "keepalived" not in new.programs
    if not is_dead:
        assert speaks(site, before[Role.MASTER], load_balancer_id), "it was not told to serve again"
    site.work(job)  # the worker tries the same job again
    site.settle(load_balancer_id)
    assert site.is_whole(load_balancer_id)


def speaks(site: flow_site.Site, amphora_id: str, load_balancer_id: str) -> bool:
    running = site.amphora.running(amphora_id, load_balancer_id)
    return running is not None and "keepalived" in running.programs


@pytest.mark.parametrize("is_dead", [False, True], ids=["planned", "dead"])
def test_where_the_other_half_can_not_be_told_somebody_serves(site: flow_site.Site, monkeypatch: pytest.MonkeyPatch, is_dead: bool) -> None:
    """It may be dead, too: then the new half serves, or where it lives its predecessor, which both know."""
    load_balancer_id = site.built(Topology.ACTIVE_STANDBY)
    before = site.amphorae(load_balancer_id)
    job = of_amphora(before[Role.MASTER], load_balancer_id, Role.MASTER)
    if is_dead:
        dies(site, before[Role.MASTER])
    apply = site.amphora.apply

    def told(amphora: Amphora, *args: Any, **named: Any) -> interface.Applied:
        if amphora.id == before[Role.BACKUP]:
            raise exceptions.AmphoraUnreachable(amphora.id, "it has just died")
        return apply(amphora, *args, **named)

    monkeypatch.setattr(site.amphora, "apply", told)
    result = site.work(job)
    assert result is not None
    assert result.outcome is Outcome.FAILED
    assert speaks(site, job.replacement_id, load_balancer_id) is is_dead
    assert speaks(site, before[Role.MASTER], load_balancer_id) is not is_dead
    assert site.leaks() == []
    monkeypatch.undo()
    site.work(job)
    site.settle(load_balancer_id)
    assert site.is_whole(load_balancer_id)
    assert site.leaks() == []


def test_the_other_half_learns_its_new_partner(site: flow_site.Site) -> None:
    load_balancer_id = site.built(Topology.ACTIVE_STANDBY)
    before = site.amphorae(load_balancer_id)
    dies(site, before[Role.MASTER])
    site.succeed(of_amphora(before[Role.MASTER], load_balancer_id, Role.MASTER))
    addresses = {one.role: one.vrrp_ip for one in site.snapshot(load_balancer_id).amphorae}
    running = site.amphora.running(before[Role.BACKUP], load_balancer_id)
    assert running is not None
    assert "keepalived" in running.programs
    address = addresses[Role.MASTER]
    assert address is not None
    assert address in running.programs["keepalived"]


@pytest.mark.parametrize("after", [flow_site.NOT_QUICK, True], ids=["before its work", "after its work"])
@pytest.mark.parametrize(("topology", "whole", "step"), STEPS)
def test_a_planned_failover_that_fails_leaves_a_load_balancer_that_serves(
    site: flow_site.Site, topology: Topology, whole: bool, step: str, after: bool
) -> None:
    load_balancer_id = site.built(topology)
    job = posted(site, load_balancer_id, topology, whole)
    result = site.work(job, spoil=flow_site.failing([step], exceptions.ComputeFault("no valid host was found"), after))
    assert result is not None
    assert result.outcome is Outcome.FAILED
    assert site.leaks() == []
    assert serves(site, load_balancer_id)
    assert site.state(load_balancer_id) is ProvisioningStatus.ERROR
    assert site.faults(load_balancer_id)[load_balancer_id].step == step
    site.work(job)  # the worker tries the same job again
    site.settle(load_balancer_id)
    assert site.is_whole(load_balancer_id)
    assert not set(site.amphorae(load_balancer_id).values()) & old_ones(job)


@pytest.mark.parametrize(("topology", "whole", "step"), STEPS)
def test_a_service_that_is_busy_for_a_while_costs_a_failover_no_second_boot(
    site: flow_site.Site, topology: Topology, whole: bool, step: str
) -> None:
    load_balancer_id = site.built(topology)
    job, before = posted(site, load_balancer_id, topology, whole), set(site.amphorae(load_balancer_id).values())
    spoil = flow_site.failing([step], exceptions.Transient("the network service is away"), after=True)
    result = site.work(job, spoil=spoil)
    assert result is not None
    assert (result.outcome, result.code) == (Outcome.FAILED, "transient")
    assert site.leaks() == []
    assert serves(site, load_balancer_id)
    site.work(job)
    site.settle(load_balancer_id)
    assert site.is_whole(load_balancer_id)
    booted = {arguments[0].amphora_id for arguments in site.compute.script.calls_of("boot")} - before
    assert len(booted) == (len(topology.roles) if whole else 1)
    assert not booted & {arguments[0] for arguments in site.compute.script.calls_of("delete")}


def old_ones(job: jobs.Job) -> set[str]:
    return {job.amphora_id} if isinstance(job, jobs.FailoverAmphora) else set()


def serves(site: flow_site.Site, load_balancer_id: str) -> bool:
    """Whether at least one machine runs and has the load balancer's configuration, with the VIP on it or VRRP for it."""
    living = {one.amphora_id for one in site.compute.list_ours()}
    running = [site.amphora.running(one, load_balancer_id) for one in living]
    return any(one is not None and (one.interfaces[0].vips or one.programs.get("keepalived")) for one in running)


@pytest.mark.parametrize("is_dead", [flow_site.NOT_QUICK, True], ids=["planned", "dead"])
@pytest.mark.parametrize("in_the_middle", [flow_site.NOT_QUICK, True], ids=["before the step", "before its record"])
@pytest.mark.parametrize(("topology", "whole", "step"), STEPS)
def test_after_a_death_another_worker_goes_on(
    site: flow_site.Site, topology: Topology, whole: bool, step: str, in_the_middle: bool, is_dead: bool
) -> None:
    load_balancer_id = site.built(topology)
    job = posted(site, load_balancer_id, topology, whole)
    old = set(site.amphorae(load_balancer_id).values()) if whole else old_ones(job)
    if is_dead:
        dies(site, site.amphorae(load_balancer_id)[role_of(topology)])
    site.work(job, "job-1", flow_site.dying(step, in_the_middle))
    assert site.leaks() == []
    site.work(job, "job-1")
    site.settle(load_balancer_id)
    assert site.is_whole(load_balancer_id)
    if not is_dead:
        assert not set(site.amphorae(load_balancer_id).values()) & old


@pytest.mark.parametrize(("topology", "whole", "step"), STEPS)
def test_after_a_death_even_a_lost_job_ends_well(site: flow_site.Site, topology: Topology, whole: bool, step: str) -> None:
    load_balancer_id = site.built(topology)
    dies(site, site.amphorae(load_balancer_id)[role_of(topology)])
    site.accept(load_balancer_id, flow_site.a_listener(8080))  # so that there is work, and the sweeper looks
    site.work(posted(site, load_balancer_id, topology, whole), spoil=flow_site.dying(step, in_the_middle=True))
    site.settle(load_balancer_id)
    if site.state(load_balancer_id) is ProvisioningStatus.ERROR:  # it died before it knew: then the health manager asks again
        site.succeed(posted(site, load_balancer_id, topology, whole=False))
    site.settle(load_balancer_id)
    assert site.leaks() == []
    assert site.state(load_balancer_id) is ProvisioningStatus.ACTIVE


@pytest.mark.parametrize(
    ("heard", "unanswered", "stays"),
    [
        pytest.param(5, 1, True, id="heard just now"),
        pytest.param(50, 1, True, id="heard before the health manager takes it for dead"),
        pytest.param(70, 2, True, id="not heard, and answers in the end"),
        pytest.param(70, 9, False, id="neither heard nor answering"),
    ],
)
def test_a_half_that_is_slow_to_answer_is_not_lost(site: flow_site.Site, heard: float, unanswered: int, stays: bool) -> None:
    """Its host is crowded, or a process of it stood still for some seconds."""
    load_balancer_id = site.built(Topology.ACTIVE_STANDBY)
    before = site.amphorae(load_balancer_id)
    dies(site, before[Role.MASTER])
    site.amphora.be_slow(before[Role.BACKUP], unanswered)
    with site.db.begin() as tx:
        tx.connection.execute(tables.amphora_health.update().values(last_heartbeat_at=site.db.now() - heard))
    site.succeed(of_amphora(before[Role.MASTER], load_balancer_id, Role.MASTER))
    site.amphora.recover()
    site.settle(load_balancer_id)
    assert site.is_whole(load_balancer_id)
    assert (site.amphorae(load_balancer_id)[Role.BACKUP] == before[Role.BACKUP]) == stays


def test_both_halves_dead_are_both_replaced(site: flow_site.Site) -> None:
    load_balancer_id = site.built(Topology.ACTIVE_STANDBY)
    before = site.amphorae(load_balancer_id)
    for amphora_id in before.values():
        dies(site, amphora_id)
    result = site.work(of_amphora(before[Role.MASTER], load_balancer_id, Role.MASTER))
    assert result is not None
    assert result.outcome is Outcome.SUCCEEDED
    assert site.state(load_balancer_id) is ProvisioningStatus.PENDING_UPDATE  # one half is no ACTIVE pair
    site.settle(load_balancer_id)
    assert site.is_whole(load_balancer_id)
    assert not set(site.amphorae(load_balancer_id).values()) & set(before.values())


def test_changes_go_on_while_a_planned_failover_waits_for_its_machine(site: flow_site.Site) -> None:
    load_balancer_id = site.built()
    site.beats_at_boot = False
    old = site.amphorae(load_balancer_id)[Role.STANDALONE]
    job = of_amphora(old, load_balancer_id, Role.STANDALONE)
    site.work(job, "job-1")
    generation = site.accept(load_balancer_id, flow_site.a_listener(8080))
    site.succeed(flow_site.an_update(load_balancer_id))
    assert site.runs_generation(old, load_balancer_id) == generation
    assert site.state(load_balancer_id) is ProvisioningStatus.ACTIVE
    site.beat(job.replacement_id)
    site.work(job, "job-1")
    assert site.is_whole(load_balancer_id)


def test_changes_do_not_wait_for_a_dead_amphora_while_its_successor_boots(site: flow_site.Site) -> None:
    load_balancer_id = site.built()
    site.beats_at_boot = False
    old = site.amphorae(load_balancer_id)[Role.STANDALONE]
    dies(site, old)
    job = of_amphora(old, load_balancer_id, Role.STANDALONE)
    site.work(job, "job-1")
    site.accept(load_balancer_id, flow_site.a_listener(8080))
    site.amphora.pushes.clear()
    result = site.work(flow_site.an_update(load_balancer_id), "job-2")
    assert result is not None
    assert result.outcome is Outcome.WAITING
    assert site.amphora.pushes.total() == 0
    site.beat(job.replacement_id)
    site.work(job, "job-1")
    site.settle(load_balancer_id)
    assert site.is_whole(load_balancer_id)
    assert len(site.compute.script.calls_of("boot")) == 2


def test_an_old_amphora_serves_again_if_its_successor_can_not_take_the_vip(site: flow_site.Site) -> None:
    load_balancer_id = site.built()
    old = site.amphorae(load_balancer_id)[Role.STANDALONE]
    job = of_amphora(old, load_balancer_id, Role.STANDALONE)
    error = exceptions.AmphoraUnreachable(job.replacement_id, "it has just died")
    site.work(job, spoil=flow_site.failing([f"Push {Role.STANDALONE}"], error))
    running = site.amphora.running(old, load_balancer_id)
    assert running is not None
    assert running.interfaces[0].vips
    assert site.amphorae(load_balancer_id) == {Role.STANDALONE: old}


def test_a_second_failover_of_the_same_amphora_finds_nothing_to_do(site: flow_site.Site) -> None:
    load_balancer_id = site.built()
    job = of_amphora(site.amphorae(load_balancer_id)[Role.STANDALONE], load_balancer_id, Role.STANDALONE)
    site.succeed(job)
    assert site.work(job) is None


def test_the_counters_of_the_dead_are_kept(site: flow_site.Site) -> None:
    load_balancer_id = site.built()
    old = site.amphorae(load_balancer_id)[Role.STANDALONE]
    site.succeed(of_amphora(old, load_balancer_id, Role.STANDALONE))
    with site.db.read() as tx:
        assert tx.amphorae.get(old).status is AmphoraStatus.DELETED
