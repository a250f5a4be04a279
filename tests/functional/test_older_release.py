"""What workers of an older release left on the board is read and done by this one: rows and records as that release wrote them."""

from __future__ import annotations

import json
import pathlib
import time
import uuid
from typing import Any

import pytest
import sqlalchemy as sa

from controller import jobs
from controller.db import tables
from controller.model.status import ProvisioningStatus, Topology
from tests.functional import flow_site
from tests.functional.test_comparison import compares, posted
from tests.functional.test_conductor_real_flows import eventually, is_quiet, working
from tests.functional.test_flows_given_back import away, built, member_ports

ROWS: dict[str, dict[str, Any]] = json.loads((pathlib.Path(__file__).parents[1] / "recorded" / "old_jobs.json").read_text())["rows"]
"""By kind of job: the row of the board, and the record of its flow, whose worker died before the last step. Of commit a3d14de."""


def leave(site: flow_site.Site, load_balancer_id: str, kind: str) -> None:
    """Write the row and the record, with the ids of this load balancer in place of those."""
    amphorae = list(site.amphorae(load_balancer_id).values())
    text = json.dumps(ROWS[kind]).replace("{load balancer}", load_balancer_id).replace("{amphora}", amphorae[0])
    for place, amphora_id in enumerate(amphorae):
        text = text.replace(f"{{amphora {place}}}", amphora_id)
    left, job_id = json.loads(text), str(uuid.uuid4())
    record = {"job_id": job_id, "definition": left["record"]["definition"], "token": 1, "written_at": time.time()}
    with site.db.begin() as tx:
        tx.connection.execute(sa.delete(tables.flow_records))  # those of the flows that the test itself ran
        row = {"id": job_id, "load_balancer_id": load_balancer_id, "request_id": "req-1", "posted_at": time.time(), **left["job"]}
        tx.connection.execute(sa.insert(tables.jobs).values(row))
        data = json.dumps(left["record"]["data"]).encode()
        tx.connection.execute(sa.insert(tables.flow_records).values(**record, data=data))


@pytest.mark.parametrize("kind", ROWS)
def test_a_job_that_an_older_release_began_is_done(site: flow_site.Site, tmp_path: pathlib.Path, kind: str) -> None:
    load_balancer_id = site.built(Topology.ACTIVE_STANDBY)
    before = set(site.amphorae(load_balancer_id).values())
    if kind == jobs.DeleteLoadBalancer.kind:
        site.accept_delete(load_balancer_id)
    else:
        site.accept(load_balancer_id, flow_site.a_listener(8080))
    leave(site, load_balancer_id, kind)
    done = ProvisioningStatus.DELETED if kind == jobs.DeleteLoadBalancer.kind else ProvisioningStatus.ACTIVE
    with working(site, tmp_path):
        if kind == jobs.ConfigureAmphora.kind:  # settles nothing: the update is owed still
            eventually(lambda: is_quiet(site))
            site.settle(load_balancer_id)
        eventually(lambda: site.state(load_balancer_id) is done and is_quiet(site))
    if done is ProvisioningStatus.DELETED:
        assert not list(site.compute.list_ours())
        return
    assert site.is_whole(load_balancer_id)
    replaced = {kind: 0, jobs.FailoverAmphora.kind: 1, jobs.FailoverLoadBalancer.kind: 2}[kind]
    assert len(before - set(site.amphorae(load_balancer_id).values())) == replaced


@pytest.mark.parametrize("topology", list(Topology))
def test_an_update_that_an_older_release_began_takes_ports_back_which_it_would_have_left(
    site: flow_site.Site, tmp_path: pathlib.Path, topology: Topology
) -> None:
    """Its flow had no such step. Its record says that all was done but the settlement."""
    load_balancer_id, _ = built(site, topology)
    for member_id in away(site, load_balancer_id):
        site.accept(load_balancer_id, flow_site.gone(tables.members, member_id))
    leave(site, load_balancer_id, jobs.UpdateLoadBalancer.kind)
    with working(site, tmp_path):
        eventually(lambda: site.state(load_balancer_id) is ProvisioningStatus.ACTIVE and is_quiet(site))
    assert member_ports(site, load_balancer_id) == []


@pytest.mark.parametrize("topology", list(Topology))
@pytest.mark.parametrize("subnets", [1, 2])
def test_ports_and_addresses_that_an_older_release_left_are_found_and_taken_back(
    site: flow_site.Site, topology: Topology, subnets: int
) -> None:
    """The deletion of their members is settled, so that no update has a reason to look at them."""
    load_balancer_id, made = built(site, topology, subnets)
    (member_id, *_) = away(site, load_balancer_id)
    with site.db.begin() as tx:
        tx.connection.execute(sa.delete(tables.members).where(tables.members.c.id == member_id))
    site.accept(load_balancer_id, flow_site.a_listener(8080))
    site.succeed(flow_site.an_update(load_balancer_id))
    assert member_ports(site, load_balancer_id) == [set(made)] * len(topology.roles), "an update without a reason asks nobody"
    compares(site).compare(lambda: True)
    for job in posted(site):
        site.succeed(job)
    assert member_ports(site, load_balancer_id) == ([set(made[1:])] * len(topology.roles) if subnets > 1 else [])
    with site.db.begin() as tx:
        tx.connection.execute(tables.jobs.delete())
    told = site.events(load_balancer_id)
    compares(site).compare(lambda: True)
    assert (posted(site), site.events(load_balancer_id)) == ([], told)
