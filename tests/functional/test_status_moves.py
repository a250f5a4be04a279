"""The tables of `model.status` against what happens: all flows are run, with each of their steps failing and dying, and so is all else that
writes a status. Triggers in the database note each status that follows another one. Nothing may happen that is not in the tables, and
nothing may be in them that never happens.
"""

from __future__ import annotations

import contextlib
import datetime
import itertools
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from controller import exceptions, jobs
from controller.db import tables
from controller.db.database import Transaction
from controller.housekeeping import orphans
from controller.model import status
from controller.model.status import AmphoraStatus, OperatingStatus, ProvisioningStatus, Topology
from tests import databases
from tests.functional import flow_site

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(databases.KIND != "sqlite", reason="the triggers that note each write are SQLite's"),
]

Seen = dict[str, set[tuple[str | None, str | None]]]
"""By table and column: which value followed which one. None: there was no row before, or is none after."""

CHILDREN = {
    "listeners": tables.listeners,
    "pools": tables.pools,
    "members": tables.members,
    "health_monitors": tables.health_monitors,
    "l7policies": tables.l7policies,
    "l7rules": tables.l7rules,
}
REFUSED = exceptions.ConfigRefused("HAProxy refuses it", "line 1")


def _watch(site: flow_site.Site) -> None:
    """Note each change of a status in a table of its own, whoever makes it and however."""
    columns = [(name, column) for name in ("load_balancers", *CHILDREN) for column in ("provisioning_status", "operating_status")]
    with site.db.begin() as tx:
        tx.connection.exec_driver_sql("CREATE TABLE noted (place TEXT, old TEXT, new TEXT)")
        for name, column in [*columns, ("amphorae", "status")]:
            said = f"INSERT INTO noted VALUES ('{name}.{column}', {{}}, {{}}); END"
            for event, when, values in (
                ("UPDATE", f"WHEN OLD.{column} <> NEW.{column}", (f"OLD.{column}", f"NEW.{column}")),
                ("INSERT", "", ("NULL", f"NEW.{column}")),
                ("DELETE", "", (f"OLD.{column}", "NULL")),
            ):
                trigger = f"CREATE TRIGGER {name}_{column}_{event} AFTER {event} ON {name} {when} BEGIN {said.format(*values)}"
                tx.connection.exec_driver_sql(trigger)


def _noted(site: flow_site.Site) -> Seen:
    found: Seen = {}
    with site.db.read() as tx:
        for place, old, new in tx.connection.exec_driver_sql("SELECT DISTINCT place, old, new FROM noted"):
            found.setdefault(place, set()).add((old, new))
    return found


@contextlib.contextmanager
def by_hand(site: flow_site.Site) -> Iterator[Transaction]:
    """What a person does to the database, and no program of ours: it is not noted."""
    with site.db.begin() as tx:
        before = tx.connection.exec_driver_sql("SELECT coalesce(max(rowid), 0) FROM noted").scalar()
        yield tx
        tx.connection.exec_driver_sql(f"DELETE FROM noted WHERE rowid > {before}")


# What the API does


def _new(load_balancer_id: str, generation: int, **values: Any) -> dict[str, Any]:
    now = datetime.datetime.now(datetime.UTC)
    common = {"id": str(uuid.uuid4()), "project_id": flow_site.PROJECT, "load_balancer_id": load_balancer_id}
    return common | {"operating_status": OperatingStatus.OFFLINE, "generation": generation, "created_at": now} | values


_PORTS = itertools.count(2000)


def add_one_of_each(site: flow_site.Site, load_balancer_id: str) -> dict[str, str]:
    """A child of each kind; their ids."""
    port = next(_PORTS)
    with site.db.begin() as tx:
        at = tx.load_balancers.advance(load_balancer_id)
        pool = _new(load_balancer_id, at, protocol="HTTP", lb_algorithm="ROUND_ROBIN")
        listener = _new(load_balancer_id, at, **flow_site.a_listener(port, default_pool_id=pool["id"])[1])
        policy = _new(load_balancer_id, at, listener_id=listener["id"], action="REJECT", position=1)
        rule = _new(load_balancer_id, at, l7policy_id=policy["id"], type="PATH", compare_type="STARTS_WITH", value="/a")
        member = _new(load_balancer_id, at, pool_id=pool["id"], address="198.19.10.7", protocol_port=port)
        monitor = _new(load_balancer_id, at, pool_id=pool["id"], type="TCP", delay=5, timeout=3, max_retries=2, max_retries_down=3)
        new = {"pools": pool, "listeners": listener, "l7policies": policy, "l7rules": rule, "members": member, "health_monitors": monitor}
        for kind, row in new.items():
            getattr(tx, kind).add([row])
    return {kind: row["id"] for kind, row in new.items()}


def test_a_new_row_bears_no_status_in_which_nobody_sees_such_an_object(site: flow_site.Site) -> None:
    one = site.built()
    pool_id = add_one_of_each(site, one)["pools"]
    row = _new(one, 9, pool_id=pool_id, type="TCP", delay=5, timeout=3, max_retries=2, operating_status=OperatingStatus.DRAINING)
    with pytest.raises(ValueError, match="no row of health_monitors is ever DRAINING"), site.db.begin() as tx:
        tx.health_monitors.add([row])


def change(site: flow_site.Site, load_balancer_id: str, children: dict[str, str]) -> None:
    with site.db.begin() as tx:
        at = tx.load_balancers.advance(load_balancer_id)
        for kind, child in children.items():
            getattr(tx, kind).change(child, {}, at)
        tx.members.change_many([{"id": children["members"], "name": "again"}], at)


def delete(site: flow_site.Site, load_balancer_id: str, children: dict[str, str]) -> None:
    with site.db.begin() as tx:
        at = tx.load_balancers.advance(load_balancer_id)
        for kind, child in children.items():
            getattr(tx, kind).mark_deleted(child, at)


def delete_all(site: flow_site.Site, load_balancer_id: str) -> None:
    """A load balancer, with everything below it."""
    with site.db.begin() as tx:
        at = tx.load_balancers.delete(load_balancer_id)
        for kind in CHILDREN:
            getattr(tx, kind).mark_deleted_with(load_balancer_id, at)


def refused(site: flow_site.Site, load_balancer_id: str) -> None:
    """The newest state can't be applied."""
    result = site.work(flow_site.an_update(load_balancer_id), spoil=flow_site.failing(["Push"], REFUSED))
    assert result is not None


# What happens in the life of what is below a load balancer


def _children_live(site: flow_site.Site) -> None:
    one = site.built()
    children = add_one_of_each(site, one)
    site.settle(one)
    for _ in range(2):  # changed while it is ACTIVE, PENDING_UPDATE and ERROR
        change(site, one, children)
        change(site, one, children)
        refused(site, one)
    site.settle(one)
    change(site, one, children)
    site.settle(one)
    delete(site, one, children)
    site.settle(one)


def _children_are_deleted_in_any_state(site: flow_site.Site) -> None:
    one = site.built()
    new = add_one_of_each(site, one)
    delete(site, one, new)
    site.settle(one)
    failed = add_one_of_each(site, one)
    refused(site, one)
    delete(site, one, failed)
    site.settle(one)
    changed = add_one_of_each(site, one)
    change(site, one, changed)
    site.settle(one)
    change(site, one, changed)
    delete(site, one, changed)
    refused(site, one)  # a deletion that fails stays one
    site.settle(one)


# ... of load balancers


def _load_balancers_are_deleted_in_any_state(site: flow_site.Site) -> None:
    new, failed, changed, active = site.accept_load_balancer(), site.accept_load_balancer(), site.accept_load_balancer(), site.built()
    site.work(flow_site.a_create(failed, Topology.SINGLE), spoil=flow_site.failing(["PlugPorts STANDALONE"], REFUSED))
    meanwhile = flow_site.before("Settle", lambda: add_one_of_each(site, changed))
    site.work(flow_site.a_create(changed, Topology.SINGLE), spoil=meanwhile)
    for one in (new, failed, changed, active):
        delete_all(site, one)
        site.work(flow_site.a_deletion(one), spoil=flow_site.failing(["DeleteVip"], REFUSED))
        site.settle(one)
    with site.db.begin() as tx:
        assert tx.housekeeping.purge_load_balancers(time.time() + 1, 100)
        assert tx.housekeeping.purge_amphorae(time.time() + 1, 100)


# ... of all flows, and of amphorae


def _one_run(site: flow_site.Site, topology: Topology, kind: str, spoil: flow_site.Spoil) -> None:
    one = site.accept_load_balancer(topology)
    job = _job(site, one, topology, kind)
    if kind != jobs.CreateLoadBalancer.kind:
        site.succeed(flow_site.a_create(one, topology))
        job = _job(site, one, topology, kind)
        if kind == jobs.UpdateLoadBalancer.kind:
            add_one_of_each(site, one)
        if kind == jobs.DeleteLoadBalancer.kind:
            delete_all(site, one)
    job_id = str(uuid.uuid4())
    site.work(job, job_id, spoil)
    site.work(job, job_id)
    site.settle(one)
    if kind != jobs.DeleteLoadBalancer.kind:
        delete_all(site, one)
        site.settle(one)
    assert site.state(one) is ProvisioningStatus.DELETED


def _job(site: flow_site.Site, load_balancer_id: str, topology: Topology, kind: str) -> jobs.Job:
    serving = {} if load_balancer_id == "lb" else site.amphorae(load_balancer_id)
    role, amphora_id = topology.roles[0], serving.get(topology.roles[0], "amphora")
    fresh = tuple(str(uuid.uuid4()) for _ in topology.roles)
    found: dict[str, Callable[[], jobs.Job]] = {
        jobs.CreateLoadBalancer.kind: lambda: flow_site.a_create(load_balancer_id, topology),
        jobs.UpdateLoadBalancer.kind: lambda: flow_site.an_update(load_balancer_id),
        jobs.RepairLoadBalancer.kind: lambda: jobs.RepairLoadBalancer(load_balancer_id=load_balancer_id),
        jobs.DeleteLoadBalancer.kind: lambda: flow_site.a_deletion(load_balancer_id),
        jobs.ConfigureAmphora.kind: lambda: jobs.ConfigureAmphora(load_balancer_id=load_balancer_id, amphora_id=amphora_id),
        jobs.RenewCertificate.kind: lambda: jobs.RenewCertificate(load_balancer_id=load_balancer_id, amphora_id=amphora_id),
        jobs.FailoverAmphora.kind: lambda: jobs.FailoverAmphora(
            load_balancer_id=load_balancer_id, amphora_id=amphora_id, replacement_id=fresh[0], role=role
        ),
        jobs.FailoverLoadBalancer.kind: lambda: jobs.FailoverLoadBalancer(
            load_balancer_id=load_balancer_id, topology=topology, replacement_ids=fresh
        ),
    }
    return found[kind]()


def _amphorae_are_found_dead(site: flow_site.Site) -> None:
    for stopped in (False, True):
        one = site.built()
        if stopped:
            with by_hand(site) as tx:
                mine = tables.amphorae.c.load_balancer_id == one
                tx.connection.execute(sa.update(tables.amphorae).where(mine).values(status=AmphoraStatus.FAILOVER_STOPPED))
        site.amphora.be_silent()
        site.work(_job(site, one, Topology.SINGLE, jobs.FailoverAmphora.kind))
        site.amphora.recover()
        site.settle(one)
        delete_all(site, one)
        site.settle(one)
    one = site.built()
    with by_hand(site) as tx:
        tx.connection.execute(sa.update(tables.amphorae).where(tables.amphorae.c.load_balancer_id == one).values(status="FAILOVER_STOPPED"))
    delete_all(site, one)
    site.settle(one)


def _nobody_goes_on_with_an_amphora(site: flow_site.Site) -> None:
    """One that was written down, one that boots; then the load balancer of another one is gone."""
    site.beats_at_boot = False
    written, boots = site.accept_load_balancer(), site.accept_load_balancer()
    site.work(flow_site.a_create(written, Topology.SINGLE), spoil=flow_site.dying("PlugPorts STANDALONE", False))
    site.work(flow_site.a_create(boots, Topology.SINGLE))
    late = time.time() + 3600
    with site.db.begin() as tx:
        given_up = tx.housekeeping.give_up_amphorae(datetime.datetime.fromtimestamp(late, datetime.UTC), late, 100)
    assert {written, boots} <= set(given_up)
    site.beats_at_boot = True
    for one in (written, boots):
        site.settle(one)
    bereft = site.built()
    with by_hand(site) as tx:
        gone = sa.update(tables.load_balancers).where(tables.load_balancers.c.id == bereft)
        tx.connection.execute(gone.values(provisioning_status=ProvisioningStatus.DELETED))
        long_ago = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
        tx.connection.execute(sa.update(tables.amphorae).where(tables.amphorae.c.load_balancer_id == bereft).values(updated_at=long_ago))
    collector = orphans.Orphans(site.db, site.compute, site.network, grace=0.0)
    for _ in range(3):
        collector.collect(lambda: True)
    with site.db.read() as tx:
        assert not tx.amphorae.of_load_balancer(bereft)


def _what_was_begun_is_undone(site: flow_site.Site) -> None:
    will_not_boot = exceptions.ComputeFault("its machine went to ERROR")
    one = site.accept_load_balancer()
    site.work(flow_site.a_create(one, Topology.SINGLE), spoil=flow_site.failing(["AwaitFirstHeartbeats"], will_not_boot))
    site.settle(one)
    failover = _job(site, one, Topology.SINGLE, jobs.FailoverAmphora.kind)
    site.work(failover, spoil=flow_site.failing(["AwaitFirstHeartbeats"], will_not_boot))
    site.settle(one)


SCENES: tuple[Callable[[flow_site.Site], None], ...] = (
    _children_live,
    _children_are_deleted_in_any_state,
    _load_balancers_are_deleted_in_any_state,
    _what_was_begun_is_undone,
    _amphorae_are_found_dead,
    _nobody_goes_on_with_an_amphora,
)


@contextlib.contextmanager
def watched() -> Iterator[flow_site.Site]:
    site = flow_site.Site()
    try:
        _watch(site)
        yield site
    finally:
        site.close()


@pytest.fixture(scope="module")
def seen() -> Seen:
    with watched() as site:
        for scene in SCENES:
            scene(site)
        return _noted(site)


def _told(moves: set[tuple[str | None, str | None]]) -> list[str]:
    return sorted(f"{old or '(new)'} -> {new or '(removed)'}" for old, new in moves)


def _outside(seen: Seen) -> dict[str, list[str]]:
    """What happened and is not in the tables."""
    return {
        place: odd for place, life in PLACES.items() if (odd := _told(seen.get(place, set()) - {(row.old, row.new) for row in life.rows}))
    }


PLACES: dict[str, status.Transitions[Any]] = {
    "load_balancers.provisioning_status": status.LOAD_BALANCER,
    **{f"{name}.provisioning_status": status.CHILD for name in CHILDREN},
    "amphorae.status": status.AMPHORA,
}


@pytest.mark.parametrize("place", list(PLACES))
def test_what_happens_is_what_the_table_says(seen: Seen, place: str) -> None:
    assert not _outside(seen), "this happened, and is not in the table"
    wanted = {(row.old, row.new) for row in PLACES[place].rows}
    assert _told(wanted - seen[place]) == [], "this is in the table, and never happened"


@pytest.mark.parametrize("topology", list(Topology))
@pytest.mark.parametrize("kind", list(jobs.KINDS))
def test_a_flow_does_nothing_else_wherever_it_fails_or_dies(kind: str, topology: Topology) -> None:
    spoils = [lambda step: flow_site.failing([step], REFUSED)]
    if topology is Topology.SINGLE:
        spoils += [lambda step: flow_site.failing([step], REFUSED, after=True), lambda step: flow_site.dying(step, True)]
    with watched() as site:
        for step, spoil in itertools.product(flow_site.step_names(_job(site, "lb", topology, kind)), spoils):
            _one_run(site, topology, kind, spoil(step))
        found = _noted(site)
    assert found["load_balancers.provisioning_status"]
    assert not _outside(found)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("load_balancers", "load_balancer"),
        ("l7policies", "l7policy"),
        *[(one, one[:-1]) for one in ("listeners", "pools", "members", "health_monitors", "l7rules")],
    ],
)
def test_only_what_is_ever_seen_of_an_object_is_said_of_it(seen: Seen, name: str, kind: str) -> None:
    said = {new for _, new in seen[f"{name}.operating_status"] if new is not None}
    assert said
    assert said <= status.OPERATING[kind]
