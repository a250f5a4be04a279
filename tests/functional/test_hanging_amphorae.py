"""Amphorae that take a request and never answer hold up their own load balancers, and no other one's changes, creation, failover or end."""

from __future__ import annotations

import pathlib
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from controller import exceptions, jobs
from controller.db import tables
from controller.health_manager import watcher
from controller.model import amphora as amphora_model
from controller.model.status import ProvisioningStatus, Role, Topology
from controller.tasks import push
from tests.functional import flow_site

HANGING = 40
"""More than a worker of these tests has places, and more than the health manager would need to call the network broken."""


class Hanging:
    """Amphorae that hang, by id, until they are let go."""

    def __init__(self, site: flow_site.Site, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: set[str] = set()
        self.amphora_ids: set[str] = set()
        self.released = threading.Event()
        for name in ("apply", "remove", "configure", "renew", "info"):
            monkeypatch.setattr(site.amphora, name, self._hanging(getattr(site.amphora, name)))

    def _hanging(self, call: Any) -> Any:
        def asked(amphora: amphora_model.Amphora, *rest: Any, **named: Any) -> Any:
            if amphora.id in self.amphora_ids:
                self.asked.add(amphora.id)
                if not self.released.wait(named.get("timeout")):
                    raise exceptions.AmphoraUnreachable(amphora.id, "connected, but no answer in time")
            return call(amphora, *rest, **named)

        return asked


@pytest.fixture
def hanging(site: flow_site.Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hanging]:
    made = Hanging(site, monkeypatch)
    yield made
    made.released.set()


def a_change(site: flow_site.Site, load_balancer_id: str) -> jobs.Job:
    site.accept(load_balancer_id, flow_site.a_member(site.snapshot(load_balancer_id).pools[0].id, "198.19.30.1"))
    return flow_site.an_update(load_balancer_id)


def a_failover(site: flow_site.Site, load_balancer_id: str) -> jobs.FailoverAmphora:
    (amphora_id,) = site.amphorae(load_balancer_id).values()
    replacement_id = str(uuid.uuid4())
    return jobs.FailoverAmphora(
        load_balancer_id=load_balancer_id, amphora_id=amphora_id, role=Role.STANDALONE, replacement_id=replacement_id
    )


@pytest.mark.lengthy
def test_forty_hanging_amphorae_hold_up_nobody_else(
    site: flow_site.Site, hanging: Hanging, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(push, "_TOO_SLOW", 1.0)  # for the two that somebody replaces though they beat
    stuck = [site.built() for _ in range(HANGING)]
    changed, replaced, deleted = (site.built() for _ in range(3))
    hanging.amphora_ids = {amphora_id for one in stuck for amphora_id in site.amphorae(one).values()}
    with flow_site.working(site, tmp_path) as post:
        for one in stuck:
            post(a_change(site, one))
        flow_site.eventually(lambda: hanging.asked == hanging.amphora_ids)

        post(a_change(site, changed))
        flow_site.eventually(lambda: site.is_settled(changed))
        made = site.accept_load_balancer()
        post(flow_site.a_create(made, Topology.SINGLE))
        flow_site.eventually(lambda: site.is_settled(made))
        failover = a_failover(site, replaced)
        post(failover)
        flow_site.eventually(lambda: set(site.amphorae(replaced).values()) == {failover.replacement_id} and site.is_settled(replaced))
        site.accept_delete(deleted)
        post(jobs.DeleteLoadBalancer(load_balancer_id=deleted))
        flow_site.eventually(lambda: site.state(deleted) is ProvisioningStatus.DELETED)

        assert {site.state(one) for one in stuck} == {ProvisioningStatus.PENDING_UPDATE}  # they still hang
        with site.db.begin() as tx:  # ... until they are found dead, or an operator has had enough
            silent = {amphora_id for one in stuck[4:] for amphora_id in site.amphorae(one).values()}
            of_silent = sa.update(tables.amphora_health).where(tables.amphora_health.c.amphora_id.in_(silent))
            tx.connection.execute(of_silent.values(last_heartbeat_at=time.time() - 120))
            assert all(watcher.post_failover(tx, amphora_id, "silent") for amphora_id in silent)
        for one in stuck[:2]:
            site.accept_delete(one)
            post(jobs.DeleteLoadBalancer(load_balancer_id=one))
        for one in stuck[2:4]:
            post(an_operators_failover(site, one))
        flow_site.eventually(lambda: all(site.state(one) is ProvisioningStatus.DELETED for one in stuck[:2]))
        flow_site.eventually(lambda: all(site.is_settled(one) for one in stuck[2:]))
    assert not {amphora_id for one in stuck[2:] for amphora_id in site.amphorae(one).values()} & hanging.amphora_ids


def an_operators_failover(site: flow_site.Site, load_balancer_id: str) -> jobs.FailoverLoadBalancer:
    return jobs.FailoverLoadBalancer(
        load_balancer_id=load_balancer_id,
        topology=Topology.SINGLE,
        replacement_ids=(str(uuid.uuid4()),),
        amphora_ids=tuple(site.amphorae(load_balancer_id).values()),
    )
