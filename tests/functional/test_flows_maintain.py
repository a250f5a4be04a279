"""An agent's own configuration reaches it, whatever dies on the way, and never says anything about what the amphora serves."""

from __future__ import annotations

import pathlib

import pytest

from amphora_agent.protocol import heartbeat
from controller import exceptions, jobs
from controller.flows import catalog
from controller.model.status import AmphoraStatus, ProvisioningStatus, Role, Topology
from controller.worker.engine import Outcome
from tests.functional import flow_site

STEPS = flow_site.step_names(jobs.ConfigureAmphora(load_balancer_id="any", amphora_id="any"))


def a_job(site: flow_site.Site, load_balancer_id: str, role: Role = Role.STANDALONE) -> jobs.ConfigureAmphora:
    return jobs.ConfigureAmphora(load_balancer_id=load_balancer_id, amphora_id=site.amphorae(load_balancer_id)[role])


def is_told(site: flow_site.Site, amphora_id: str) -> bool:
    config = site.amphora.configurations.get(amphora_id)
    key = heartbeat.derive_key(site.services.settings.deployment_key, amphora_id).hex()
    settings = site.services.settings
    return config is not None and (config.health_managers, config.heartbeat_key, config.heartbeat_interval) == (
        settings.health_managers,
        key,
        settings.heartbeat_interval,
    )


def test_one_amphora_of_a_pair_is_told_and_the_load_balancer_stays_as_it_is(site: flow_site.Site) -> None:
    load_balancer_id = site.built(Topology.ACTIVE_STANDBY)
    job = a_job(site, load_balancer_id, Role.BACKUP)
    before = site.snapshot(load_balancer_id).load_balancer
    pushes = site.amphora.pushes.total()
    site.succeed(job)
    assert is_told(site, job.amphora_id)
    assert not is_told(site, site.amphorae(load_balancer_id)[Role.MASTER])
    assert (site.snapshot(load_balancer_id).load_balancer, site.amphora.pushes.total()) == (before, pushes)
    assert site.events(load_balancer_id)[0] == "agent_configured"


@pytest.mark.parametrize("in_the_middle", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_a_worker_that_dies_at_a_step_leaves_it_to_the_next_one(site: flow_site.Site, step: str, in_the_middle: bool) -> None:
    load_balancer_id = site.built()
    job = a_job(site, load_balancer_id)
    result = site.work(job, "job", flow_site.dying(step, in_the_middle))
    assert result is not None
    assert result.outcome is Outcome.LOST
    result = site.work(job, "job")
    assert result is not None
    assert result.outcome is Outcome.SUCCEEDED
    assert is_told(site, job.amphora_id)
    assert site.is_whole(load_balancer_id)


def test_a_silent_agent_is_told_later_and_its_load_balancer_is_not_in_error(site: flow_site.Site, tmp_path: pathlib.Path) -> None:
    load_balancer_id = site.built()
    job = a_job(site, load_balancer_id)
    site.amphora.be_silent(amphora_id=job.amphora_id, calls=2)
    with flow_site.working(site, tmp_path) as post:
        post(job)
        flow_site.eventually(lambda: is_told(site, job.amphora_id))
        flow_site.eventually(lambda: "agent_configured" in site.events(load_balancer_id))
    load_balancer = site.snapshot(load_balancer_id).load_balancer
    assert (load_balancer.provisioning_status, load_balancer.failures) == (ProvisioningStatus.ACTIVE, 0)
    assert site.events(load_balancer_id).count("agent_not_configured") == 1


def test_changes_of_the_load_balancer_go_on_beside_it(site: flow_site.Site, tmp_path: pathlib.Path) -> None:
    load_balancer_id = site.built()
    job = a_job(site, load_balancer_id)
    site.accept(load_balancer_id, flow_site.a_listener(8080))
    with flow_site.working(site, tmp_path) as post:
        post(job)
        post(flow_site.an_update(load_balancer_id))
        flow_site.eventually(lambda: is_told(site, job.amphora_id) and site.is_whole(load_balancer_id))
    assert site.snapshot(load_balancer_id).load_balancer.failures == 0


@pytest.mark.parametrize("state", [AmphoraStatus.ERROR, AmphoraStatus.PENDING_DELETE])
def test_one_that_was_given_up_is_told_nothing(site: flow_site.Site, state: AmphoraStatus) -> None:
    load_balancer_id = site.built()
    job = a_job(site, load_balancer_id)
    with site.db.begin() as tx:
        tx.amphorae.set_status([job.amphora_id], state)
    assert catalog.admit(site.snapshot(load_balancer_id), job) is None


def test_a_refusal_is_an_event_with_the_agents_words(site: flow_site.Site) -> None:
    load_balancer_id = site.built()
    job = a_job(site, load_balancer_id)
    refusal = exceptions.AmphoraRefused(job.amphora_id, "there is no /1/config")
    site.work(job, spoil=flow_site.before("Configure", lambda: _refuse(site, refusal)))
    assert site.events(load_balancer_id)[0] == "agent_not_configured"


def _refuse(site: flow_site.Site, error: Exception) -> None:
    def configure(*_: object, **__: object) -> None:
        raise error

    site.amphora.configure = configure  # type: ignore[method-assign]
