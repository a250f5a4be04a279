"""The flows under the real conductor: many writes at once, an amphora lost on the way, everything by itself."""

from __future__ import annotations

import contextlib
import pathlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures

from controller import jobs
from controller.db import tables
from controller.flows import catalog
from controller.jobs import wakeup
from controller.model.status import ProvisioningStatus, Role, Topology
from controller.worker import conductor
from tests.functional import flow_site


@contextlib.contextmanager
def working(site: flow_site.Site, folder: pathlib.Path) -> Iterator[Callable[[jobs.Job], None]]:
    """A worker at work; yields what posts a job and rings."""
    bell = str(folder / "bell")
    options = conductor.Options(
        host="test", max_workers=4, poll_interval=0.2, claim_expiry=10.0, retry_backoff=0.1, retry_backoff_max=0.4, wakeup_directory=bell
    )
    worker = conductor.Conductor(site.services, catalog, options)
    thread = threading.Thread(target=worker.run)
    thread.start()

    def post(job: jobs.Job) -> None:
        with site.db.begin() as tx:
            tx.jobs.post(job, request_id="req-1")
        wakeup.ring(bell)

    try:
        yield post
    finally:
        worker.stop()
        thread.join(timeout=30)
        assert not thread.is_alive()


def eventually(is_so: Callable[[], bool], within: float = 60.0) -> None:
    end = time.monotonic() + within
    while not is_so():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def test_a_hundred_concurrent_writes_cost_a_few_pushes_and_all_are_applied(site: flow_site.Site, tmp_path: pathlib.Path) -> None:
    load_balancer_id = site.built()
    pool_id = site.snapshot(load_balancer_id).pools[0].id
    site.amphora.pushes.clear()
    with working(site, tmp_path) as post:

        def write(number: int) -> None:
            site.accept(load_balancer_id, flow_site.a_member(pool_id, f"198.19.30.{number + 1}"))
            post(flow_site.an_update(load_balancer_id))

        with futures.ThreadPoolExecutor(100) as clients:
            list(clients.map(write, range(100)))
        eventually(lambda: site.is_whole(load_balancer_id))
    assert site.amphora.pushes.total() <= 10
    assert {one.provisioning_status for one in site.snapshot(load_balancer_id).members} == {ProvisioningStatus.ACTIVE}
    running = site.amphora.running(site.amphorae(load_balancer_id)[Role.STANDALONE], load_balancer_id)
    assert running is not None
    assert running.haproxy_config is not None
    assert all(f"198.19.30.{number + 1}:" in running.haproxy_config for number in range(100))


def test_a_whole_life_needs_nobody(site: flow_site.Site, tmp_path: pathlib.Path) -> None:
    load_balancer_id = site.accept_load_balancer(Topology.ACTIVE_STANDBY)
    with working(site, tmp_path) as post:
        post(flow_site.a_create(load_balancer_id, Topology.ACTIVE_STANDBY))
        site.accept_tree(load_balancer_id)
        post(flow_site.an_update(load_balancer_id))
        eventually(lambda: site.is_whole(load_balancer_id))
        site.accept_delete(load_balancer_id)
        post(flow_site.a_deletion(load_balancer_id))
        eventually(lambda: site.state(load_balancer_id) is ProvisioningStatus.DELETED)
    assert list(site.compute.list_ours()) == []
    assert list(site.network.list_ours()) == []


def test_an_amphora_lost_during_an_update_is_replaced_and_the_update_applied(site: flow_site.Site, tmp_path: pathlib.Path) -> None:
    load_balancer_id = site.built(Topology.ACTIVE_STANDBY)
    lost = site.amphorae(load_balancer_id)[Role.MASTER]
    site.compute.kill(lost)
    site.amphora.die(lost)
    site.amphora.be_silent(amphora_id=lost, calls=1000)
    with working(site, tmp_path) as post:
        site.accept(load_balancer_id, flow_site.a_listener(8080))
        post(flow_site.an_update(load_balancer_id))
        eventually(lambda: site.state(load_balancer_id) is ProvisioningStatus.ERROR)
        failover = jobs.FailoverAmphora(
            load_balancer_id=load_balancer_id, amphora_id=lost, replacement_id="8e0c8f0a-2c5c-4b3a-9a44-0b5a3c1d2e3f", role=Role.MASTER
        )
        post(failover)  # as the health manager does when it has noticed
        eventually(lambda: site.is_whole(load_balancer_id))
    assert site.amphorae(load_balancer_id)[Role.MASTER] == failover.replacement_id


def test_a_refused_change_is_tried_again_and_heals_when_it_is_mended(site: flow_site.Site, tmp_path: pathlib.Path) -> None:
    load_balancer_id = site.built()
    site.amphora.refuse("unknown keyword", times=2)
    with working(site, tmp_path) as post:
        site.accept(load_balancer_id, flow_site.a_listener(8080))
        post(flow_site.an_update(load_balancer_id))
        eventually(lambda: site.state(load_balancer_id) is ProvisioningStatus.ERROR)
        fault = site.faults(load_balancer_id)[load_balancer_id]
        assert "unknown keyword" in fault.message
        eventually(lambda: site.is_whole(load_balancer_id))


def test_a_deletion_during_the_wait_for_a_machine_ends_it(site: flow_site.Site, tmp_path: pathlib.Path) -> None:
    load_balancer_id = site.accept_load_balancer()
    site.beats_at_boot = False
    with working(site, tmp_path) as post:
        post(flow_site.a_create(load_balancer_id, Topology.SINGLE))
        eventually(lambda: len(list(site.compute.list_ours())) == 1)
        site.accept_delete(load_balancer_id)
        post(flow_site.a_deletion(load_balancer_id))
        eventually(lambda: site.state(load_balancer_id) is ProvisioningStatus.DELETED)

        def board_is_empty() -> bool:
            with site.db.read() as tx:
                return not tx.connection.execute(tables.jobs.select()).all()

        eventually(board_is_empty)
    assert list(site.compute.list_ours()) == []
    assert list(site.network.list_ours()) == []
