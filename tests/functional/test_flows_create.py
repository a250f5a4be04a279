"""Building load balancers: it succeeds, it fails and is undone, its worker dies and another one goes on."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import sqlalchemy as sa

from amphora_agent.protocol import boot
from controller import exceptions, jobs, services
from controller.db import tables
from controller.drivers.compute import interface as compute_interface
from controller.model import access
from controller.model.network import AccessRule
from controller.model.status import AmphoraStatus, ProvisioningStatus, Role, Topology
from controller.worker.engine import Outcome
from tests.functional import flow_site

BUSY = exceptions.Transient("the network service is away")
REFUSED = exceptions.QuotaExceeded(["Security Group Rule"])
STEPS = [(topology, step) for topology in Topology for step in flow_site.step_names(flow_site.a_create("any", topology))]


@pytest.mark.parametrize("topology", Topology)
def test_a_new_load_balancer_becomes_active_and_serves(site: flow_site.Site, topology: Topology) -> None:
    load_balancer_id = site.built(topology)
    assert site.is_whole(load_balancer_id)
    assert set(site.amphorae(load_balancer_id)) == set(topology.roles)


@pytest.mark.parametrize("topology", Topology)
def test_each_amphora_gets_one_request(site: flow_site.Site, topology: Topology) -> None:
    load_balancer_id = site.built(topology)
    assert dict(site.amphora.pushes) == dict.fromkeys(site.amphorae(load_balancer_id).values(), 1)


def test_a_load_balancer_without_listeners_becomes_active(site: flow_site.Site) -> None:
    load_balancer_id = site.accept_load_balancer()
    site.succeed(flow_site.a_create(load_balancer_id, Topology.SINGLE))
    assert site.is_whole(load_balancer_id)


def test_a_machine_is_booted_with_its_ports_and_its_own_key(site: flow_site.Site) -> None:
    load_balancer_id = site.built()
    amphora = site.snapshot(load_balancer_id).amphorae[0]
    request = site.compute.request_of(amphora.id)
    assert [port.id for port in request.ports] == [amphora.management_port_id, amphora.vrrp_port_id]
    assert b"PRIVATE KEY" in request.files["/etc/figlina/certs/server.pem"]
    assert amphora.id.encode() in request.files["/etc/figlina/agent.json"]
    assert amphora.cert_expiration is not None


def test_a_machine_gets_a_host_key_only_if_somebody_may_log_in(site: flow_site.Site) -> None:
    amphora_id = site.snapshot(site.built()).amphorae[0].id
    assert boot.SSH_HOST_KEY_PATH not in site.compute.request_of(amphora_id).files
    settings = dataclasses.replace(site.services.settings, ssh=True)
    site.services = services.Services(site.db, site.compute, site.network, site.amphora, site.services.ca, settings=settings)
    amphora_id = site.snapshot(site.built()).amphorae[0].id
    assert b"OPENSSH PRIVATE KEY" in site.compute.request_of(amphora_id).files[boot.SSH_HOST_KEY_PATH]


def test_no_key_reaches_the_record_of_a_flow(site: flow_site.Site) -> None:
    load_balancer_id = site.accept_load_balancer()
    site.beats_at_boot = False
    site.work(flow_site.a_create(load_balancer_id, Topology.SINGLE), "job-1")
    with site.db.read() as tx:
        record = tx.flow_records.get("job-1")
    assert record is not None
    assert b"PRIVATE KEY" not in record.data
    assert b"heartbeat_key" not in record.data


@pytest.mark.parametrize("after", [flow_site.NOT_QUICK, True], ids=["before its work", "after its work"])
@pytest.mark.parametrize(("topology", "step"), STEPS)
def test_a_step_that_fails_leaves_error_a_reason_and_nothing_unexplained(
    site: flow_site.Site, topology: Topology, step: str, after: bool
) -> None:
    load_balancer_id = site.accept_load_balancer(topology)
    site.accept_tree(load_balancer_id)
    error = exceptions.ComputeFault("no valid host was found")
    result = site.work(flow_site.a_create(load_balancer_id, topology), spoil=flow_site.failing([step], error, after))
    assert result is not None
    assert result.outcome is Outcome.FAILED
    assert site.leaks() == []
    if not (step == "Settle" and after):  # then everything below has been applied, and says so
        assert_told(site, load_balancer_id, step)
    site.settle(load_balancer_id)
    assert site.is_whole(load_balancer_id)
    assert site.events(load_balancer_id).count("built") == 1


def assert_told(site: flow_site.Site, load_balancer_id: str, step: str) -> None:
    snapshot = site.snapshot(load_balancer_id)
    below = [*snapshot.listeners, *snapshot.pools, *snapshot.members]
    assert {one.provisioning_status for one in (snapshot.load_balancer, *below)} == {ProvisioningStatus.ERROR}
    faults = site.faults(load_balancer_id)
    assert faults.keys() == {load_balancer_id, *(one.id for one in below)}
    fault = faults[load_balancer_id]
    assert (fault.code, fault.message, fault.step, fault.request_id) == ("compute", "no valid host was found", step, "req-1")
    assert fault.next_try_at is not None
    with site.db.read() as tx:
        event = next(row for row in tx.faults.events(load_balancer_id) if row["code"] == "compute")
    assert (event["next_try_at"], event["step"], event["request_id"]) == (fault.next_try_at, step, "req-1")


@pytest.mark.parametrize("topology", Topology)
def test_a_failed_build_leaves_no_machine_behind(site: flow_site.Site, topology: Topology) -> None:
    load_balancer_id = site.accept_load_balancer(topology)
    site.network.script.fail_next("set_vip_access", REFUSED)
    site.work(flow_site.a_create(load_balancer_id, topology))
    assert list(site.compute.list_ours()) == []
    assert [port.device_id for port in site.network.list_ours()] == [f"lb-{load_balancer_id}"]
    assert site.snapshot(load_balancer_id).amphorae == ()


@pytest.mark.parametrize("after", [flow_site.NOT_QUICK, True], ids=["before its work", "after its work"])
@pytest.mark.parametrize(("topology", "step"), STEPS)
def test_a_service_that_is_busy_for_a_while_costs_no_second_boot(site: flow_site.Site, topology: Topology, step: str, after: bool) -> None:
    load_balancer_id = site.accept_load_balancer(topology)
    site.accept_tree(load_balancer_id)
    job = flow_site.a_create(load_balancer_id, topology)
    for _ in range(2):
        result = site.work(job, spoil=flow_site.failing([step], BUSY, after))
        assert result is not None
        if not (step == "Settle" and after):
            assert (result.outcome, result.code) == (Outcome.FAILED, "transient")
            assert site.state(load_balancer_id) is ProvisioningStatus.ERROR
        assert site.leaks() == []
    site.settle(load_balancer_id)
    assert site.is_whole(load_balancer_id)
    assert len({arguments[0].amphora_id for arguments in site.compute.script.calls_of("boot")}) == len(topology.roles)
    assert site.compute.script.calls_of("delete") == []


@pytest.mark.parametrize("topology", Topology)
def test_a_worker_that_has_no_descriptor_left_costs_no_second_boot(
    site: flow_site.Site, topology: Topology, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(*_: object, **__: object) -> None:
        raise exceptions.HostFault("amphora X could not be asked: the controller's own machine refused: Too many open files")

    load_balancer_id = site.accept_load_balancer(topology)
    with monkeypatch.context() as patched:
        patched.setattr(site.amphora, "apply", ask)
        result = site.work(flow_site.a_create(load_balancer_id, topology))
    assert result is not None
    assert (result.outcome, result.code) == (Outcome.FAILED, "host")
    site.settle(load_balancer_id)
    assert site.is_whole(load_balancer_id)
    assert len({arguments[0].amphora_id for arguments in site.compute.script.calls_of("boot")}) == len(topology.roles)
    assert site.compute.script.calls_of("delete") == []


@pytest.mark.parametrize("topology", Topology)
def test_after_many_failures_that_nobody_is_blamed_for_all_is_made_anew(site: flow_site.Site, topology: Topology) -> None:
    """A machine may be broken in a way that only the cloud's services see."""
    load_balancer_id = site.accept_load_balancer(topology)
    machines = []
    for _ in range(7):
        site.network.script.fail_next("set_vip_access", BUSY)
        site.work(flow_site.a_create(load_balancer_id, topology))
        machines.append(len(list(site.compute.list_ours())))
    assert machines == [len(topology.roles)] * 5 + [0] + [len(topology.roles)]
    site.settle(load_balancer_id)
    assert site.is_whole(load_balancer_id)
    assert site.leaks() == []


@pytest.mark.parametrize("topology", Topology)
def test_what_stays_for_the_next_try_goes_with_its_load_balancer(site: flow_site.Site, topology: Topology) -> None:
    load_balancer_id = site.accept_load_balancer(topology)
    site.network.script.fail_next("set_vip_access", BUSY)
    site.work(flow_site.a_create(load_balancer_id, topology))
    assert list(site.compute.list_ours()) != []
    site.accept_delete(load_balancer_id)
    site.settle(load_balancer_id)
    assert list(site.compute.list_ours()) == []
    assert list(site.network.list_ours()) == []


def test_of_two_machines_the_one_that_does_not_answer_is_made_anew(site: flow_site.Site) -> None:
    load_balancer_id = site.accept_load_balancer(Topology.ACTIVE_STANDBY)
    job = flow_site.a_create(load_balancer_id, Topology.ACTIVE_STANDBY)
    site.amphora.be_silent(amphora_id=job.amphora_ids[1])
    site.work(job)
    assert [one.amphora_id for one in site.compute.list_ours()] == [job.amphora_ids[0]]
    site.settle(load_balancer_id)
    assert site.is_whole(load_balancer_id)
    assert site.amphorae(load_balancer_id)[Role.MASTER] == job.amphora_ids[0]


def test_what_can_not_be_undone_is_still_explained_and_cleared_later(site: flow_site.Site) -> None:
    load_balancer_id = site.accept_load_balancer()
    site.network.script.fail_next("set_vip_access", REFUSED)
    site.compute.script.fail_next("delete", exceptions.Transient("the compute service is away"))
    result = site.work(flow_site.a_create(load_balancer_id, Topology.SINGLE))
    assert result is not None
    assert result.outcome is Outcome.FAILED
    assert [one.status for one in site.snapshot(load_balancer_id).amphorae] == [AmphoraStatus.PENDING_DELETE]
    assert site.leaks() == []
    site.settle(load_balancer_id)
    assert site.is_whole(load_balancer_id)


@pytest.mark.parametrize("in_the_middle", [flow_site.NOT_QUICK, True], ids=["before the step", "before its record"])
@pytest.mark.parametrize(("topology", "step"), STEPS)
def test_after_a_death_another_worker_goes_on(site: flow_site.Site, topology: Topology, step: str, in_the_middle: bool) -> None:
    load_balancer_id = site.accept_load_balancer(topology)
    site.accept_tree(load_balancer_id)
    job = flow_site.a_create(load_balancer_id, topology)
    result = site.work(job, "job-1", flow_site.dying(step, in_the_middle))
    assert result is not None
    assert result.outcome is Outcome.LOST
    assert site.leaks() == []
    site.work(job, "job-1")
    site.settle(load_balancer_id)
    assert site.is_whole(load_balancer_id)
    assert len(site.compute.script.calls_of("boot")) <= 2 * len(topology.roles)


@pytest.mark.parametrize(("topology", "step"), STEPS)
def test_after_a_death_a_worker_without_the_record_builds_the_same(site: flow_site.Site, topology: Topology, step: str) -> None:
    load_balancer_id = site.accept_load_balancer(topology)
    site.work(flow_site.a_create(load_balancer_id, topology), spoil=flow_site.dying(step, in_the_middle=True))
    site.settle(load_balancer_id)
    assert site.is_whole(load_balancer_id)
    with site.db.read() as tx:
        assert tx.connection.execute(sa.select(sa.func.count()).select_from(tables.amphorae)).scalar() == len(topology.roles)


def test_the_flow_waits_for_the_first_heartbeats_of_all(site: flow_site.Site) -> None:
    load_balancer_id = site.accept_load_balancer(Topology.ACTIVE_STANDBY)
    site.beats_at_boot = False
    job = flow_site.a_create(load_balancer_id, Topology.ACTIVE_STANDBY)
    for heard in job.amphora_ids:
        result = site.work(job, "job-1")
        assert result is not None
        assert result.outcome is Outcome.WAITING
        assert "heartbeat" in result.words
        site.beat(heard)
    site.work(job, "job-1")
    assert site.is_whole(load_balancer_id)


@pytest.mark.parametrize("topology", list(Topology))
def test_what_may_reach_the_vip_is_set_while_it_boots(site: flow_site.Site, topology: Topology, monkeypatch: pytest.MonkeyPatch) -> None:
    load_balancer_id = site.accept_load_balancer(topology)
    site.accept_tree(load_balancer_id)
    site.beats_at_boot = False
    job = flow_site.a_create(load_balancer_id, topology)
    site.work(job, "job-1")
    settings = site.services.settings.render
    assert site.network.vip_access(load_balancer_id) == frozenset(access.rules(site.snapshot(load_balancer_id), settings.peer_port))
    told = []
    set_access = site.network.set_vip_access

    def noted(*arguments: Any, **named: Any) -> None:
        told.append(arguments)
        set_access(*arguments, **named)

    monkeypatch.setattr(site.network, "set_vip_access", noted)
    for amphora_id in job.amphora_ids:
        site.beat(amphora_id)
    site.work(job, "job-1")
    assert site.is_whole(load_balancer_id)
    assert told == [], "nothing has changed since"


def test_what_changes_while_it_boots_may_reach_the_vip(site: flow_site.Site) -> None:
    load_balancer_id = site.accept_load_balancer()
    site.beats_at_boot = False
    job = flow_site.a_create(load_balancer_id, Topology.SINGLE)
    site.work(job, "job-1")
    site.accept(load_balancer_id, flow_site.a_listener(8443, allowed_cidrs=["198.18.0.0/16"]))
    site.beat(job.amphora_ids[0])
    site.work(job, "job-1")
    assert site.is_whole(load_balancer_id)
    assert site.network.vip_access(load_balancer_id) == {AccessRule("tcp", 8443, "198.18.0.0/16")}


def test_writes_that_come_while_it_boots_are_in_the_first_push(site: flow_site.Site) -> None:
    load_balancer_id = site.accept_load_balancer()
    site.beats_at_boot = False
    job = flow_site.a_create(load_balancer_id, Topology.SINGLE)
    site.work(job, "job-1")
    site.accept_tree(load_balancer_id)
    site.beat(job.amphora_ids[0])
    site.work(job, "job-1")
    assert site.is_whole(load_balancer_id)
    assert site.amphora.pushes.total() == 1


def test_an_amphora_that_never_speaks_is_given_up_in_words_and_built_anew() -> None:
    site = flow_site.Site(boot_timeout=0.0)
    load_balancer_id = site.accept_load_balancer()
    site.beats_at_boot = False
    result = site.work(flow_site.a_create(load_balancer_id, Topology.SINGLE))
    assert result is not None
    assert result.outcome is Outcome.FAILED
    fault = site.faults(load_balancer_id)[load_balancer_id]
    assert (fault.code, fault.step) == ("timeout", "AwaitFirstHeartbeats")
    assert "controller_ip_port_list" in fault.message
    assert list(site.compute.list_ours()) == []
    site.beats_at_boot = True
    site.settle(load_balancer_id)
    assert site.is_whole(load_balancer_id)
    site.close()


def test_a_machine_in_error_is_told_in_the_words_of_the_compute_service(site: flow_site.Site, monkeypatch: pytest.MonkeyPatch) -> None:
    load_balancer_id = site.accept_load_balancer()
    site.beats_at_boot = False
    site.services.machines._every = 0.0
    job = flow_site.a_create(load_balancer_id, Topology.SINGLE)
    broken = compute_interface.Instance(
        id="m", amphora_id=job.amphora_ids[0], status=compute_interface.InstanceStatus.ERROR, fault="image is corrupt"
    )
    monkeypatch.setattr(site.compute, "get", lambda _: broken)
    site.work(job)
    fault = site.faults(load_balancer_id)[load_balancer_id]
    assert fault.code == "compute"
    assert "image is corrupt" in fault.message


def test_a_lost_half_is_built_anew_beside_the_other(site: flow_site.Site) -> None:
    load_balancer_id = site.built(Topology.ACTIVE_STANDBY)
    before = site.amphorae(load_balancer_id)
    with site.db.begin() as tx:
        tx.amphorae.set_status([before[Role.BACKUP]], AmphoraStatus.ERROR)
    site.settle(load_balancer_id)
    after = site.amphorae(load_balancer_id)
    assert site.is_whole(load_balancer_id)
    assert after[Role.MASTER] == before[Role.MASTER]
    assert after[Role.BACKUP] != before[Role.BACKUP]


def test_the_dead_amphora_stays_until_its_successor_was_heard(site: flow_site.Site) -> None:
    load_balancer_id = site.built()
    old = site.amphorae(load_balancer_id)[Role.STANDALONE]
    with site.db.begin() as tx:
        tx.amphorae.set_status([old], AmphoraStatus.ERROR)
    site.beats_at_boot = False
    site.work(flow_site.an_update(load_balancer_id))
    assert site.compute.find(old) is not None
    new = next(one.id for one in site.snapshot(load_balancer_id).amphorae if one.status is AmphoraStatus.BOOTING)
    site.beat(new)
    site.settle(load_balancer_id)
    assert site.is_whole(load_balancer_id)


def test_another_flow_that_needs_the_same_amphora_goes_on_with_it(site: flow_site.Site) -> None:
    load_balancer_id = site.accept_load_balancer()
    site.beats_at_boot = False
    job = flow_site.a_create(load_balancer_id, Topology.SINGLE)
    site.work(job, "job-1")
    site.accept_tree(load_balancer_id)
    result = site.work(jobs.UpdateLoadBalancer(load_balancer_id=load_balancer_id), "job-2")
    assert result is not None
    assert result.outcome is Outcome.WAITING
    site.beat(job.amphora_ids[0])
    for job_id in ("job-2", "job-1"):
        site.work(job, job_id)
    assert site.is_whole(load_balancer_id)
    assert len(site.compute.script.calls_of("boot")) == 1
