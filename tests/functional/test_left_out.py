"""Who is left out for a secret is so over failovers, failed pushes and upgrades: by what is written down, never by how it is said."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from controller import exceptions, jobs
from controller.db import tables
from controller.housekeeping import tenant_certificates
from controller.model import load_balancer as model
from controller.model import status
from controller.model.status import ProvisioningStatus
from controller.worker import engine
from tests import builders
from tests.functional import flow_site
from tests.functional.test_served_before import NAMING, Served, Store

ONE_OF_EACH = [("listener", "default_tls_container_ref"), ("pool", "tls_container_ref"), ("access_log", "ca_tls_container_ref")]
NOBODY_KNOWS = exceptions.Misconfigured("nobody knows")


class Asked(Store):
    """Counts how often it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.questions = 0

    def _find(self, project_id: str, reference: str) -> Any:
        self.questions += 1
        return super()._find(project_id, reference)


@pytest.fixture
def store(site: flow_site.Site) -> Asked:
    made = Asked()
    site.services.made["secrets"] = made
    return made


def fail_over(served: Served, spoil: flow_site.Spoil = lambda _: None) -> None:
    """Replace its one amphora; the worker dies where it is spoiled, and another one goes on."""
    [serving] = [one for one in served.site.snapshot(served.id).amphorae if one.status in status.SERVING]
    new, role = builders.an_id(), status.Role.STANDALONE
    job = jobs.FailoverAmphora(load_balancer_id=served.id, amphora_id=serving.id, replacement_id=new, role=role)
    job_id = builders.an_id()
    result = served.site.work(job, job_id, spoil)
    if result is not None and result.outcome is engine.Outcome.LOST:
        served.site.work(job, job_id)


def left_out(served: Served, store: Asked, word: str, name: str) -> str:
    """Change it to a secret of which there is no copy, while the store is away, and push; the sentence that its fault says."""
    served.forget_copies(served.put(word, name))
    store.away = True
    served.update()
    return served.site.faults(served.id)[served.object_id(word)].message


def written_by_an_older_release(site: flow_site.Site) -> None:
    """The sentence is there, with the generation in the name of its step, and nothing else."""
    with site.db.begin() as tx:
        tx.connection.execute(sa.update(tables.faults).values(left_out_of=None, lacks=None))


@pytest.mark.parametrize("has_failed", [True, flow_site.NOT_QUICK])
@pytest.mark.parametrize(("word", "name"), NAMING)
def test_no_failover_asks_for_what_something_is_left_out_for(
    site: flow_site.Site, store: Asked, word: str, name: str, has_failed: bool
) -> None:
    """Not even after a push that failed, of which the load balancer says something else."""
    served = Served(site, store)
    said = left_out(served, store, word, name)
    if has_failed:
        site.accept(served.id, flow_site.a_listener(9000))
        site.work(flow_site.an_update(served.id), spoil=flow_site.failing(["Push"], NOBODY_KNOWS))
        assert site.faults(served.id)[served.id].code == NOBODY_KNOWS.code
    asked = store.questions
    for _ in range(2):
        fail_over(served)
        assert site.faults(served.id)[served.object_id(word)].message == said
    assert store.questions == asked
    assert served.told(served.object_id(word)) == [said], "told once"


def test_what_else_is_wrong_with_a_load_balancer_does_not_hide_what_its_access_log_lacks(site: flow_site.Site, store: Asked) -> None:
    served = Served(site, store)
    left_out(served, store, "access_log", "ca_tls_container_ref")
    with site.db.begin() as tx:
        tx.faults.put(served.id, [served.id], model.Fault(code="replaced_in_vain", message="look at it"))
    tenant_certificates.TenantCertificates(site.db, lambda: store, lambda: None, warning=0, page_size=10).look(lambda: True)
    with site.db.begin() as tx:
        posted = set(tx.connection.execute(sa.select(tables.jobs.c.kind)).scalars())
        tx.connection.execute(sa.delete(tables.jobs))
    assert jobs.RepairLoadBalancer.kind in posted, "it is tried again"
    asked = store.questions
    fail_over(served)
    assert store.questions == asked
    store.away = False
    site.succeed(jobs.RepairLoadBalancer(load_balancer_id=served.id))
    with site.db.read() as tx:
        assert not tx.faults.left_out(served.id)
    assert not site.faults(served.id)


def test_how_it_is_said_decides_nothing(site: flow_site.Site, store: Asked) -> None:
    """Another release says it in other words."""
    served = Served(site, store)
    left_out(served, store, "listener", "default_tls_container_ref")
    with site.db.begin() as tx:
        tx.connection.execute(sa.update(tables.faults).values(message="in other words", step="in another step"))
    asked = store.questions
    fail_over(served)
    assert (store.questions, served.status_of(served.listener)) == (asked, ProvisioningStatus.ERROR)
    assert "the secret store does not answer" in site.faults(served.id)[served.listener].message


@pytest.mark.parametrize(("word", "name"), ONE_OF_EACH)
def test_what_an_older_release_left_out_is_asked_for_once_more_and_then_known(
    site: flow_site.Site, store: Asked, word: str, name: str
) -> None:
    served = Served(site, store)
    said = left_out(served, store, word, name)
    written_by_an_older_release(site)
    asked = store.questions
    for _ in range(2):
        fail_over(served)
        assert store.questions == asked + 1
        assert site.faults(served.id)[served.object_id(word)].message == said
    assert served.kept_before() == [served.object_id(word)]


@pytest.mark.parametrize(("word", "name"), ONE_OF_EACH[:2])
def test_a_failover_that_an_older_release_has_pushed_settles_nothing_that_it_left_out(
    site: flow_site.Site, store: Asked, word: str, name: str
) -> None:
    """Its worker was stopped for the upgrade after the push, and one of ours goes on from there."""
    served = Served(site, store)
    served.forget_copies(served.put(word, name))
    store.away = True

    def die() -> None:
        written_by_an_older_release(site)
        raise exceptions.StaleLease("(the worker died here)")

    fail_over(served, flow_site.before("DeletePredecessors STANDALONE", die))
    assert served.status_of(served.object_id(word)) is ProvisioningStatus.ERROR
    assert not served.is_in({"listener": "max-age=77", "pool": "balance leastconn"}[word])
    assert served.kept_before() == [served.object_id(word)]


def test_who_is_switched_off_is_left_out_no_more_whoever_has_left_it_out(site: flow_site.Site, store: Asked) -> None:
    """No push that follows needs a secret, so none of them looks who is left out."""
    served = Served(site, store)
    left_out(served, store, "listener", "default_tls_container_ref")
    written_by_an_older_release(site)
    for word in ("listener", "pool"):
        served.change(word, admin_state_up=False)
    served.change("access_log", protocol="UDP", ca_tls_container_ref=None, host_name=None)
    asked = store.questions
    served.update()
    assert store.questions == asked
    assert served.status_of(served.listener) is ProvisioningStatus.ACTIVE
    assert not site.faults(served.id)
