"""What the rows say is still to be done."""

from __future__ import annotations

import dataclasses
import datetime

import pytest

from controller import jobs
from controller.jobs import owed
from controller.model import load_balancer as model
from controller.model.status import AmphoraStatus, ProvisioningStatus, Role, Topology
from tests import builders

NOW = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
LATER = NOW + datetime.timedelta(seconds=1)
ID = builders.an_id("load balancer")


def a_snapshot(
    status: ProvisioningStatus = ProvisioningStatus.ACTIVE,
    amphorae: dict[Role, AmphoraStatus] | None = None,
    topology: Topology = Topology.SINGLE,
    generation: int = 3,
    applied: int = 3,
    next_try_at: datetime.datetime | None = None,
) -> model.Snapshot:
    load_balancer = builders.a_load_balancer(
        id=ID, topology=topology, provisioning_status=status, generation=generation, applied_generation=applied, next_try_at=next_try_at
    )
    states = amphorae if amphorae is not None else dict.fromkeys(topology.roles, AmphoraStatus.ALLOCATED)
    made = [builders.an_amphora(id=builders.an_id(role), role=role, status=state) for role, state in states.items()]
    return builders.a_snapshot(load_balancer, amphorae=made)


def test_a_settled_load_balancer_owes_nothing() -> None:
    assert owed.owed(a_snapshot(), NOW) is None


@pytest.mark.parametrize("status", [ProvisioningStatus.PENDING_UPDATE, ProvisioningStatus.PENDING_CREATE, ProvisioningStatus.ERROR])
def test_a_complete_one_that_is_not_active_owes_an_update(status: ProvisioningStatus) -> None:
    assert owed.owed(a_snapshot(status), NOW) == jobs.UpdateLoadBalancer(load_balancer_id=ID)


def test_a_newer_generation_owes_an_update() -> None:
    assert owed.owed(a_snapshot(generation=4), NOW) == jobs.UpdateLoadBalancer(load_balancer_id=ID)


def test_a_new_one_owes_its_creation_with_the_ids_of_the_first_post() -> None:
    job = owed.owed(a_snapshot(ProvisioningStatus.PENDING_CREATE, {}, Topology.ACTIVE_STANDBY, applied=0), NOW)
    assert isinstance(job, jobs.CreateLoadBalancer)
    assert job.amphora_ids == jobs.amphora_ids(ID, Topology.ACTIVE_STANDBY)


@pytest.mark.parametrize("state", [AmphoraStatus.PENDING_CREATE, AmphoraStatus.BOOTING])
def test_an_amphora_on_its_way_is_gone_on_with(state: AmphoraStatus) -> None:
    job = owed.owed(a_snapshot(ProvisioningStatus.PENDING_CREATE, {Role.STANDALONE: state}, applied=0), NOW)
    assert isinstance(job, jobs.CreateLoadBalancer)
    assert job.amphora_ids == (builders.an_id(Role.STANDALONE),)


def test_a_lost_half_is_built_under_a_new_id_beside_the_other() -> None:
    halves = {Role.MASTER: AmphoraStatus.ERROR, Role.BACKUP: AmphoraStatus.ALLOCATED}
    job = owed.owed(a_snapshot(ProvisioningStatus.ACTIVE, halves, Topology.ACTIVE_STANDBY), NOW, new_id=lambda: "new")
    assert isinstance(job, jobs.CreateLoadBalancer)
    assert job.amphora_ids == ("new", builders.an_id(Role.BACKUP))


def test_an_id_that_waits_to_be_taken_apart_is_not_used_again() -> None:
    first = jobs.amphora_ids(ID, Topology.SINGLE)[0]
    snapshot = a_snapshot(ProvisioningStatus.ERROR, {}, applied=0)
    left = builders.an_amphora(id=first, role=Role.STANDALONE, status=AmphoraStatus.PENDING_DELETE)
    job = owed.owed(dataclasses.replace(snapshot, amphorae=(left,)), NOW, new_id=lambda: "new")
    assert isinstance(job, jobs.CreateLoadBalancer)
    assert job.amphora_ids == ("new",)


@pytest.mark.parametrize("state", [AmphoraStatus.PENDING_DELETE, AmphoraStatus.ERROR])
def test_discarded_amphorae_of_a_complete_one_are_owed_their_end(state: AmphoraStatus) -> None:
    snapshot = a_snapshot()
    left = builders.an_amphora(role=Role.STANDALONE, status=state)
    job = owed.owed(dataclasses.replace(snapshot, amphorae=(*snapshot.amphorae, left)), NOW)
    assert isinstance(job, jobs.CreateLoadBalancer)
    assert job.amphora_ids == (builders.an_id(Role.STANDALONE),)


def test_a_replacement_on_its_way_is_no_leftover() -> None:
    snapshot = a_snapshot()
    coming = builders.an_amphora(role=Role.STANDALONE, status=AmphoraStatus.BOOTING)
    assert owed.owed(dataclasses.replace(snapshot, amphorae=(*snapshot.amphorae, coming)), NOW) is None


def test_an_amphora_that_is_stopped_for_failover_still_counts() -> None:
    assert owed.owed(a_snapshot(amphorae={Role.STANDALONE: AmphoraStatus.FAILOVER_STOPPED}), NOW) is None


@pytest.mark.parametrize("amphorae", [None, {}])
def test_one_that_is_being_deleted_owes_its_deletion_whatever_else(amphorae: dict[Role, AmphoraStatus] | None) -> None:
    assert owed.owed(a_snapshot(ProvisioningStatus.PENDING_DELETE, amphorae), NOW) == jobs.DeleteLoadBalancer(load_balancer_id=ID)


def test_a_deleted_one_owes_nothing() -> None:
    assert owed.owed(a_snapshot(ProvisioningStatus.DELETED, {}), NOW) is None


@pytest.mark.parametrize("status", [ProvisioningStatus.ERROR, ProvisioningStatus.PENDING_DELETE])
def test_what_failed_is_not_owed_before_its_next_try(status: ProvisioningStatus) -> None:
    assert owed.owed(a_snapshot(status, next_try_at=LATER), NOW) is None
    assert owed.owed(a_snapshot(status, next_try_at=NOW), LATER) is not None
    assert owed.outstanding(a_snapshot(status, next_try_at=LATER)) is not None


def test_a_change_after_a_failure_is_owed_at_once() -> None:
    assert owed.owed(a_snapshot(ProvisioningStatus.PENDING_UPDATE, generation=4, next_try_at=LATER), NOW) is not None
