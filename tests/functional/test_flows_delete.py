"""Deleting load balancers: everything goes, whatever is gone already, fails or dies on the way."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from controller import exceptions
from controller.db import tables
from controller.model.status import ProvisioningStatus, Topology
from controller.worker.engine import Outcome
from tests.functional import flow_site

STEPS = flow_site.step_names(flow_site.a_deletion("any"))


def nothing_is_left(site: flow_site.Site, load_balancer_id: str) -> bool:
    snapshot = site.snapshot(load_balancer_id)
    below = (snapshot.listeners, snapshot.pools, snapshot.members, snapshot.health_monitors, snapshot.amphorae)
    return (
        snapshot.load_balancer.provisioning_status is ProvisioningStatus.DELETED
        and not any(below)
        and list(site.compute.list_ours()) == []
        and list(site.compute.list_server_groups()) == []
        and list(site.network.list_ours()) == []
        and not site.faults(load_balancer_id)
    )


@pytest.mark.parametrize("topology", Topology)
def test_a_deleted_load_balancer_leaves_only_its_row(site: flow_site.Site, topology: Topology) -> None:
    load_balancer_id = site.built(topology)
    site.accept_delete(load_balancer_id)
    site.succeed(flow_site.a_deletion(load_balancer_id))
    assert nothing_is_left(site, load_balancer_id)
    assert "deleted" in site.events(load_balancer_id)
    with site.db.read() as tx:
        assert tx.connection.execute(sa.select(tables.load_balancers.c.deleted_at)).scalar() is not None


def test_tags_counters_and_heartbeats_go_too(site: flow_site.Site) -> None:
    load_balancer_id = site.built()
    listener = site.snapshot(load_balancer_id).listeners[0]
    with site.db.begin() as tx:
        tx.connection.execute(tables.tags.insert().values(resource_id=listener.id, tag="blue"))
        tx.connection.execute(
            tables.listener_statistics.insert().values(listener_id=listener.id, amphora_id="a", load_balancer_id=load_balancer_id)
        )
    site.accept_delete(load_balancer_id)
    site.succeed(flow_site.a_deletion(load_balancer_id))
    with site.db.read() as tx:
        for table in (tables.tags, tables.listener_statistics, tables.amphora_health, tables.members):
            assert tx.connection.execute(sa.select(table)).first() is None, table.name


def test_no_agent_is_spoken_to(site: flow_site.Site) -> None:
    load_balancer_id = site.built(Topology.ACTIVE_STANDBY)
    site.amphora.be_silent(calls=1000)
    site.accept_delete(load_balancer_id)
    site.succeed(flow_site.a_deletion(load_balancer_id))
    assert site.amphora._silences[None] == 1000
    assert nothing_is_left(site, load_balancer_id)


def test_what_is_gone_already_is_no_obstacle(site: flow_site.Site) -> None:
    load_balancer_id = site.built(Topology.ACTIVE_STANDBY)
    snapshot = site.snapshot(load_balancer_id)
    for amphora in snapshot.amphorae:
        site.compute.delete(amphora.id)
        site.network.delete_amphora_ports(amphora.id)
    site.network.deallocate_vip(load_balancer_id, snapshot.load_balancer.vip)
    site.accept_delete(load_balancer_id)
    site.succeed(flow_site.a_deletion(load_balancer_id))
    assert nothing_is_left(site, load_balancer_id)


def test_a_load_balancer_that_was_never_built_can_be_deleted(site: flow_site.Site) -> None:
    load_balancer_id = site.accept_load_balancer()
    site.accept_delete(load_balancer_id)
    site.succeed(flow_site.a_create(load_balancer_id, Topology.SINGLE))  # the job that waits first does what is owed now
    assert nothing_is_left(site, load_balancer_id)
    assert site.compute.script.calls_of("boot") == []


@pytest.mark.parametrize("after", [False, True], ids=["before its work", "after its work"])
@pytest.mark.parametrize("step", STEPS)
def test_a_deletion_that_fails_stays_a_deletion_and_says_why(site: flow_site.Site, step: str, after: bool) -> None:
    load_balancer_id = site.built(Topology.ACTIVE_STANDBY)
    site.accept_delete(load_balancer_id)
    error = exceptions.Transient("the service did not answer")
    result = site.work(flow_site.a_deletion(load_balancer_id), spoil=flow_site.failing([step], error, after))
    assert result is not None
    assert result.outcome is Outcome.FAILED
    if not (step == "RemoveRows" and after):
        assert site.state(load_balancer_id) is ProvisioningStatus.PENDING_DELETE
        fault = site.faults(load_balancer_id)[load_balancer_id]
        assert (fault.step, fault.message) == (step, "the service did not answer")
        assert fault.next_try_at is not None
    assert site.leaks() == []
    site.settle(load_balancer_id)
    assert site.snapshot(load_balancer_id).load_balancer.provisioning_status is ProvisioningStatus.DELETED
    assert list(site.compute.list_ours()) == []


def test_one_machine_that_can_not_be_deleted_does_not_keep_the_other(site: flow_site.Site) -> None:
    load_balancer_id = site.built(Topology.ACTIVE_STANDBY)
    site.accept_delete(load_balancer_id)
    site.compute.script.fail_next("delete", exceptions.Transient("the compute service is busy"))
    site.work(flow_site.a_deletion(load_balancer_id))
    assert len(list(site.compute.list_ours())) == 1
    assert len(site.snapshot(load_balancer_id).amphorae) == 1
    assert site.leaks() == []
    site.settle(load_balancer_id)
    assert nothing_is_left(site, load_balancer_id)


@pytest.mark.parametrize("in_the_middle", [False, True], ids=["before the step", "before its record"])
@pytest.mark.parametrize("step", STEPS)
def test_after_a_death_another_worker_goes_on(site: flow_site.Site, step: str, in_the_middle: bool) -> None:
    load_balancer_id = site.built(Topology.ACTIVE_STANDBY)
    site.accept_delete(load_balancer_id)
    job = flow_site.a_deletion(load_balancer_id)
    site.work(job, "job-1", flow_site.dying(step, in_the_middle))
    assert site.leaks() == []
    site.work(job, "job-1")
    site.settle(load_balancer_id)
    assert nothing_is_left(site, load_balancer_id)


@pytest.mark.parametrize("step", flow_site.step_names(flow_site.a_create("any", Topology.ACTIVE_STANDBY)))
def test_a_deletion_accepted_during_the_build_wins(site: flow_site.Site, step: str) -> None:
    load_balancer_id = site.accept_load_balancer(Topology.ACTIVE_STANDBY)
    site.accept_tree(load_balancer_id)
    job = flow_site.a_create(load_balancer_id, Topology.ACTIVE_STANDBY)
    site.work(job, spoil=flow_site.before(step, lambda: site.accept_delete(load_balancer_id)))
    assert site.state(load_balancer_id) is ProvisioningStatus.PENDING_DELETE
    assert site.leaks() == []
    site.settle(load_balancer_id)
    assert nothing_is_left(site, load_balancer_id)


def test_a_build_that_waits_ends_when_its_load_balancer_is_deleted(site: flow_site.Site) -> None:
    load_balancer_id = site.accept_load_balancer()
    site.beats_at_boot = False
    job = flow_site.a_create(load_balancer_id, Topology.SINGLE)
    site.work(job, "job-1")
    site.accept_delete(load_balancer_id)
    site.succeed(flow_site.a_deletion(load_balancer_id))
    assert site.work(job, "job-1") is None
    assert nothing_is_left(site, load_balancer_id)
