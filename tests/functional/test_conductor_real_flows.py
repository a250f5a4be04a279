"""The conductor with the real flows, on a cloud of fakes."""

from __future__ import annotations

import contextlib
import pathlib
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from controller import jobs
from controller.flows import catalog
from controller.jobs import wakeup
from controller.model.status import ProvisioningStatus, Topology
from controller.worker import conductor
from tests.functional import flow_site


@contextlib.contextmanager
def working(site: flow_site.Site, folder: pathlib.Path, poll_interval: float = 0.2) -> Iterator[None]:
    options = conductor.Options(
        host="test", poll_interval=poll_interval, retry_backoff=0.3, retry_backoff_max=0.5, wakeup_directory=str(folder / "bells")
    )
    worker = conductor.Conductor(site.services, catalog, options)
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        yield
    finally:
        worker.stop()
        thread.join(timeout=20)
        assert not thread.is_alive()


def eventually(is_so: Callable[[], object], within: float = 60.0) -> None:
    end = time.monotonic() + within
    while not is_so():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def post(site: flow_site.Site, job: jobs.Job) -> None:
    with site.db.begin() as tx:
        tx.jobs.post(job)


def is_quiet(site: flow_site.Site) -> bool:
    with site.db.read() as tx:
        return not tx.jobs.page(1) and not tx.flow_records.page(1)


@pytest.mark.parametrize("topology", list(Topology))
def test_a_load_balancer_is_created_changed_and_deleted(site: flow_site.Site, tmp_path: pathlib.Path, topology: Topology) -> None:
    load_balancer_id = site.accept_load_balancer(topology)
    site.accept_tree(load_balancer_id)
    post(site, flow_site.a_create(load_balancer_id, topology))
    with working(site, tmp_path):
        eventually(lambda: site.state(load_balancer_id) is ProvisioningStatus.ACTIVE and is_quiet(site))
        assert set(site.amphorae(load_balancer_id)) == set(topology.roles)
        for _ in range(20):
            site.accept(load_balancer_id)
            post(site, jobs.UpdateLoadBalancer(load_balancer_id=load_balancer_id))
        eventually(lambda: site.state(load_balancer_id) is ProvisioningStatus.ACTIVE and is_quiet(site))
        newest = site.snapshot(load_balancer_id)
        assert newest.load_balancer.applied_generation == newest.generation
        site.accept_delete(load_balancer_id)
        post(site, jobs.DeleteLoadBalancer(load_balancer_id=load_balancer_id))
        eventually(lambda: site.state(load_balancer_id) is ProvisioningStatus.DELETED and is_quiet(site))


def test_the_first_heartbeat_wakes_the_flow_that_waits_for_it(site: flow_site.Site, tmp_path: pathlib.Path) -> None:
    site.beats_at_boot = False
    load_balancer_id = site.accept_load_balancer()
    post(site, flow_site.a_create(load_balancer_id, Topology.SINGLE))
    with working(site, tmp_path, poll_interval=40.0):
        wakeup.ring(str(tmp_path / "bells"))
        with site.db.read() as tx:
            (job,) = tx.jobs.page(1)
        eventually(lambda: _parked(site, job["id"]))
        (amphora,) = site.snapshot(load_balancer_id).amphorae
        site.beat(amphora.id)
        with site.db.begin() as tx:
            tx.jobs.wake(load_balancer_id)
        wakeup.ring(str(tmp_path / "bells"))
        eventually(lambda: site.state(load_balancer_id) is ProvisioningStatus.ACTIVE, within=20)


def _parked(site: flow_site.Site, job_id: str) -> bool:
    with site.db.read() as tx:
        found = [row for row in tx.jobs.page(1000) if row["id"] == job_id]
    return [(row["owner"], row["attempts"]) for row in found] == [(None, 1)]


def test_a_load_balancer_that_is_deleted_while_it_boots_is_gone_and_so_is_its_machine(site: flow_site.Site, tmp_path: pathlib.Path) -> None:
    site.beats_at_boot = False
    load_balancer_id = site.accept_load_balancer()
    post(site, flow_site.a_create(load_balancer_id, Topology.SINGLE))
    with working(site, tmp_path):
        eventually(lambda: site.snapshot(load_balancer_id).amphorae)
        site.accept_delete(load_balancer_id)
        post(site, jobs.DeleteLoadBalancer(load_balancer_id=load_balancer_id))
        eventually(lambda: site.state(load_balancer_id) is ProvisioningStatus.DELETED and is_quiet(site))
    assert not list(site.compute.list_ours())
