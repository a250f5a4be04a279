"""What becomes of a job when its turn has come."""

from __future__ import annotations

import dataclasses

import pytest

from controller import jobs
from controller.flows import catalog
from controller.model import load_balancer as model
from controller.model.status import AmphoraStatus, ProvisioningStatus, Role, Topology
from tests import builders

ID = builders.an_id("load balancer")
OLD = builders.an_id("old")
UPDATE = jobs.UpdateLoadBalancer(load_balancer_id=ID)
DELETE = jobs.DeleteLoadBalancer(load_balancer_id=ID)
CREATE = jobs.CreateLoadBalancer(load_balancer_id=ID, topology=Topology.SINGLE, amphora_ids=(builders.an_id("first"),))
FAILOVER = jobs.FailoverAmphora(load_balancer_id=ID, amphora_id=OLD, replacement_id=builders.an_id("new"), role=Role.STANDALONE)
CONFIGURE = jobs.ConfigureAmphora(load_balancer_id=ID, amphora_id=OLD)
RENEW = jobs.RenewCertificate(load_balancer_id=ID, amphora_id=OLD)
WHOLE = jobs.FailoverLoadBalancer(load_balancer_id=ID, topology=Topology.SINGLE, replacement_ids=(builders.an_id("new"),))


def a_snapshot(
    provisioning_status: ProvisioningStatus = ProvisioningStatus.ACTIVE, state: AmphoraStatus | None = AmphoraStatus.ALLOCATED
) -> model.Snapshot:
    amphorae = [] if state is None else [builders.an_amphora(id=OLD, role=Role.STANDALONE, status=state)]
    return builders.a_snapshot(builders.a_load_balancer(id=ID, provisioning_status=provisioning_status), amphorae=amphorae)


@pytest.mark.parametrize("job", [CREATE, UPDATE, FAILOVER, WHOLE, CONFIGURE, RENEW, DELETE])
def test_any_job_of_one_that_is_being_deleted_deletes_it(job: jobs.Job) -> None:
    assert catalog.admit(a_snapshot(ProvisioningStatus.PENDING_DELETE), job) == DELETE


@pytest.mark.parametrize("job", [CREATE, UPDATE, FAILOVER, WHOLE, CONFIGURE, RENEW, DELETE])
def test_no_job_of_a_deleted_one_is_done(job: jobs.Job) -> None:
    assert catalog.admit(a_snapshot(ProvisioningStatus.DELETED, None), job) is None


@pytest.mark.parametrize("job", [CREATE, UPDATE, DELETE])
def test_what_has_been_settled_is_not_done_again(job: jobs.Job) -> None:
    assert catalog.admit(a_snapshot(), job) is None


def test_the_creation_of_a_complete_one_is_an_update() -> None:
    assert catalog.admit(a_snapshot(ProvisioningStatus.PENDING_UPDATE), CREATE) == UPDATE


def test_the_update_of_one_without_its_amphora_is_a_creation() -> None:
    assert isinstance(catalog.admit(a_snapshot(ProvisioningStatus.PENDING_UPDATE, None), UPDATE), jobs.CreateLoadBalancer)


@pytest.mark.parametrize("job", [FAILOVER, WHOLE])
@pytest.mark.parametrize("provisioning_status", [ProvisioningStatus.ACTIVE, ProvisioningStatus.PENDING_UPDATE, ProvisioningStatus.ERROR])
def test_a_failover_stands_while_there_is_something_to_replace(job: jobs.Job, provisioning_status: ProvisioningStatus) -> None:
    assert catalog.admit(a_snapshot(provisioning_status), job) == job


@pytest.mark.parametrize("job", [FAILOVER, WHOLE])
def test_the_failover_of_one_found_dead_is_the_creation_of_its_successor(job: jobs.Job) -> None:
    assert isinstance(catalog.admit(a_snapshot(state=AmphoraStatus.ERROR), job), jobs.CreateLoadBalancer)


@pytest.mark.parametrize("job", [FAILOVER, WHOLE])
def test_a_failover_that_is_over_is_not_done_again(job: jobs.Job) -> None:
    new = builders.an_amphora(id=builders.an_id("new"), role=Role.STANDALONE)
    assert catalog.admit(dataclasses.replace(a_snapshot(), amphorae=(new,)), job) is None


def test_the_amphora_of_another_role_is_not_replaced() -> None:
    assert catalog.admit(a_snapshot(), dataclasses.replace(FAILOVER, role=Role.MASTER)) is None


@pytest.mark.parametrize("provisioning_status", [ProvisioningStatus.ACTIVE, ProvisioningStatus.PENDING_UPDATE, ProvisioningStatus.ERROR])
def test_an_amphora_that_lives_is_configured_whatever_else_is_owed(provisioning_status: ProvisioningStatus) -> None:
    assert catalog.admit(a_snapshot(provisioning_status), CONFIGURE) == CONFIGURE
    assert catalog.admit(a_snapshot(provisioning_status, AmphoraStatus.BOOTING), CONFIGURE) == CONFIGURE
    assert catalog.admit(a_snapshot(provisioning_status, AmphoraStatus.ERROR), CONFIGURE) is None
    assert catalog.admit(a_snapshot(provisioning_status, None), CONFIGURE) is None


@pytest.mark.parametrize("provisioning_status", [ProvisioningStatus.ACTIVE, ProvisioningStatus.PENDING_UPDATE, ProvisioningStatus.ERROR])
def test_an_amphora_that_serves_is_given_a_new_certificate_whatever_else_is_owed(provisioning_status: ProvisioningStatus) -> None:
    assert catalog.admit(a_snapshot(provisioning_status), RENEW) == RENEW
    assert catalog.admit(a_snapshot(provisioning_status, AmphoraStatus.FAILOVER_STOPPED), RENEW) == RENEW
    assert catalog.admit(a_snapshot(provisioning_status, AmphoraStatus.ERROR), RENEW) != RENEW


def test_every_kind_of_job_has_a_flow() -> None:
    by_hand = {jobs.UpdateLoadBalancer, jobs.RepairLoadBalancer}  # theirs take what was seen of the load balancer, too
    assert catalog._FLOWS.keys() | by_hand == set(jobs.KINDS.values())
