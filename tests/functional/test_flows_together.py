"""The flows under the real conductor: many writes at once, an amphora lost on the way, everything by itself."""

from __future__ import annotations

import pathlib
from concurrent import futures

import pytest

from controller import jobs
from controller.db import tables
from controller.model.status import ProvisioningStatus, Role, Topology
from tests.functional import flow_site


def test_a_hundred_concurrent_writes_cost_a_few_pushes_and_all_are_applied(site: flow_site.Site, tmp_path: pathlib.Path) -> None:
    load_balancer_id = site.built()
    pool_id = site.snapshot(load_balancer_id).pools[0].id
    site.amphora.pushes.clear()
    with flow_site.working(site, tmp_path) as post:

        def write(number: int) -> None:
            site.accept(load_balancer_id, flow_site.a_member(pool_id, f"198.19.30.{number + 1}"))
            post(flow_site.an_update(load_balancer_id))

        with futures.ThreadPoolExecutor(100) as clients:
            list(clients.map(write, range(100)))
        flow_site.eventually(lambda: site.is_whole(load_balancer_id))
    assert site.amphora.pushes.total() <= 10
    assert {one.provisioning_status for one in site.snapshot(load_balancer_id).members} == {ProvisioningStatus.ACTIVE}
    running = site.amphora.running(site.amphorae(load_balancer_id)[Role.STANDALONE], load_balancer_id)
    assert running is not None
    assert "haproxy" in running.programs
    assert all(f"198.19.30.{number + 1}:" in running.programs["haproxy"] for number in range(100))


def test_a_whole_life_needs_nobody(site: flow_site.Site, tmp_path: pathlib.Path) -> None:
    load_balancer_id = site.accept_load_balancer(Topology.ACTIVE_STANDBY)
    with flow_site.working(site, tmp_path) as post:
        post(flow_site.a_create(load_balancer_id, Topology.ACTIVE_STANDBY))
        site.accept_tree(load_balancer_id)
        post(flow_site.an_update(load_balancer_id))
        flow_site.eventually(lambda: site.is_whole(load_balancer_id))
        site.accept_delete(load_balancer_id)
        post(flow_site.a_deletion(load_balancer_id))
        flow_site.eventually(lambda: site.state(load_balancer_id) is ProvisioningStatus.DELETED)
    assert list(site.compute.list_ours()) == []
    assert list(site.network.list_ours()) == []


@pytest.mark.lengthy
def test_an_amphora_lost_during_an_update_is_replaced_and_the_update_applied(site: flow_site.Site, tmp_path: pathlib.Path) -> None:
    load_balancer_id = site.built(Topology.ACTIVE_STANDBY)
    lost = site.amphorae(load_balancer_id)[Role.MASTER]
    site.compute.kill(lost)
    site.amphora.die(lost)
    site.amphora.be_silent(amphora_id=lost, calls=1000)
    with flow_site.working(site, tmp_path) as post:
        site.accept(load_balancer_id, flow_site.a_listener(8080))
        post(flow_site.an_update(load_balancer_id))
        flow_site.eventually(lambda: site.state(load_balancer_id) is ProvisioningStatus.ERROR)
        failover = jobs.FailoverAmphora(
            load_balancer_id=load_balancer_id, amphora_id=lost, replacement_id="8e0c8f0a-2c5c-4b3a-9a44-0b5a3c1d2e3f", role=Role.MASTER
        )
        post(failover)  # as the health manager does when it has noticed
        flow_site.eventually(lambda: site.is_whole(load_balancer_id))
    assert site.amphorae(load_balancer_id)[Role.MASTER] == failover.replacement_id


def test_a_refused_change_is_tried_again_and_heals_when_it_is_mended(site: flow_site.Site, tmp_path: pathlib.Path) -> None:
    load_balancer_id = site.built()
    site.amphora.refuse("unknown keyword", times=1000)
    with flow_site.working(site, tmp_path) as post:
        site.accept(load_balancer_id, flow_site.a_listener(8080))
        post(flow_site.an_update(load_balancer_id))
        flow_site.eventually(lambda: site.state(load_balancer_id) is ProvisioningStatus.ERROR)
        fault = site.faults(load_balancer_id)[load_balancer_id]
        assert "unknown keyword" in fault.message
        site.amphora.recover()
        flow_site.eventually(lambda: site.is_whole(load_balancer_id))


def test_a_deletion_during_the_wait_for_a_machine_ends_it(site: flow_site.Site, tmp_path: pathlib.Path) -> None:
    load_balancer_id = site.accept_load_balancer()
    site.beats_at_boot = False
    with flow_site.working(site, tmp_path) as post:
        post(flow_site.a_create(load_balancer_id, Topology.SINGLE))
        flow_site.eventually(lambda: len(list(site.compute.list_ours())) == 1)
        site.accept_delete(load_balancer_id)
        post(flow_site.a_deletion(load_balancer_id))
        flow_site.eventually(lambda: site.state(load_balancer_id) is ProvisioningStatus.DELETED)

        def board_is_empty() -> bool:
            with site.db.read() as tx:
                return not tx.connection.execute(tables.jobs.select()).all()

        flow_site.eventually(board_is_empty)
    assert list(site.compute.list_ours()) == []
    assert list(site.network.list_ours()) == []
