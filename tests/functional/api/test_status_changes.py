"""Whatever changes a status tells when, and what becomes ACTIVE says at once how it is, as far as that is known without looking."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from controller.db import tables
from controller.health_manager import verdict
from controller.model.heartbeat import Report
from controller.model.status import OperatingStatus
from tests import databases
from tests.functional import flow_site
from tests.functional.api.worked_site import Worked

_STATUSES = ("provisioning_status", "operating_status", "status")
_DATED = [table for table in tables.metadata.sorted_tables if "updated_at" in table.c and any(name in table.c for name in _STATUSES)]
_MONITOR = {"type": "HTTP", "delay": 5, "timeout": 3, "max_retries": 2}


def _watch(table: sa.Table) -> str:
    """A trigger that refuses each change of a status which leaves the time as it was."""
    differs = " OR ".join(f"NEW.{name} IS NOT OLD.{name}" for name in _STATUSES if name in table.c)
    return (
        f"CREATE TRIGGER watch_{table.name} AFTER UPDATE ON {table.name} FOR EACH ROW "
        f"WHEN ({differs}) AND NEW.updated_at IS OLD.updated_at "
        f"BEGIN SELECT RAISE(ABORT, 'a status in {table.name} changed, and updated_at did not'); END"
    )


@pytest.fixture
def watched(site: flow_site.Site) -> Worked:
    """An API with its worker, over tables that refuse a status without its time."""
    if databases.KIND != "sqlite":
        pytest.skip("the trigger is SQLite's")
    with site.db.engine.begin() as connection:
        for table in _DATED:
            connection.exec_driver_sql(_watch(table))
    return Worked(site)


class Tree:
    """A load balancer with one object of each kind; paths and keys of each, those first that stand above the others."""

    def __init__(self, worked: Worked) -> None:
        self.worked = worked
        self.id = worked.load_balancer()["id"]
        pool = worked.pool(loadbalancer_id=self.id)["id"]
        listener = worked.listener(self.id, default_pool_id=pool)["id"]
        member = worked.member(pool)["id"]
        monitor = worked.monitor(pool)["id"]
        policy = worked.create("l7policy", "/l7policies", listener_id=listener, action="REJECT")["id"]
        rule = worked.create("rule", f"/l7policies/{policy}/rules", type="PATH", compare_type="STARTS_WITH", value="/a")["id"]
        self.paths = {
            "loadbalancer": f"/loadbalancers/{self.id}",
            "listener": f"/listeners/{listener}",
            "pool": f"/pools/{pool}",
            "member": f"/pools/{pool}/members/{member}",
            "healthmonitor": f"/healthmonitors/{monitor}",
            "l7policy": f"/l7policies/{policy}",
            "rule": f"/l7policies/{policy}/rules/{rule}",
        }

    def views(self) -> dict[str, Any]:
        """Each object as the API shows it."""
        return {key: self.worked.get(key, path) for key, path in self.paths.items()}

    def switch(self, key: str, up: bool) -> None:
        """Change one object's `admin_state_up`, and let the worker do it."""
        self.worked.ok("PUT", self.paths[key], {key: {"admin_state_up": up}})
        self.worked.work()

    def beat(self, status: OperatingStatus) -> None:
        """What heartbeats make of every object; those that nobody can see at work are ONLINE, whatever becomes of the others."""
        snapshot = self.worked.site.snapshot(self.id)
        kinds = {
            "load_balancer": [snapshot.load_balancer],
            "listener": snapshot.listeners,
            "pool": snapshot.pools,
            "member": snapshot.members,
            "health_monitor": snapshot.health_monitors,
            "l7policy": snapshot.l7policies,
            "l7rule": snapshot.l7rules,
        }
        with self.worked.db.begin() as tx:
            told = dict.fromkeys(("health_monitor", "l7policy", "l7rule"), OperatingStatus.ONLINE)
            tx.health.set_operating_statuses({kind: {one.id: told.get(kind, status) for one in some} for kind, some in kinds.items()})


def test_tables_with_statuses_are_all_of_them_dated() -> None:
    assert {table.name for table in _DATED} == {
        "load_balancers", "listeners", "pools", "members", "health_monitors", "l7policies", "l7rules", "amphorae"
    }  # fmt: skip


@pytest.mark.lengthy
def test_a_time_is_told_whenever_a_status_changes(watched: Worked) -> None:
    tree = Tree(watched)
    assert {key: view["updated_at"] for key, view in tree.views().items()} == dict.fromkeys(tree.paths)
    watched.work()
    seen = tree.views()
    assert all(view["provisioning_status"] == "ACTIVE" and view["updated_at"] >= view["created_at"] for view in seen.values())
    tree.beat(OperatingStatus.ERROR)
    for key, path in tree.paths.items():
        watched.ok("PUT", path, {key: {"admin_state_up": False}})
        pending = watched.get(key, path)
        watched.work()
        settled = watched.get(key, path)
        assert (pending["provisioning_status"], settled["provisioning_status"]) == ("PENDING_UPDATE", "ACTIVE")
        assert seen[key]["updated_at"] < pending["updated_at"] < settled["updated_at"]
    watched.ok("PUT", f"{tree.paths['pool']}/members", {"members": [{"address": "10.0.0.1", "protocol_port": 80, "weight": 2}]}, 202)
    watched.site.amphora.refuse("unknown keyword")
    watched.work()
    failed = watched.get("loadbalancer", tree.paths["loadbalancer"])
    assert (failed["provisioning_status"], failed["updated_at"] > seen["loadbalancer"]["updated_at"]) == ("ERROR", True)
    (amphora,) = watched.ok("GET", f"//v2/octavia/amphorae?loadbalancer_id={tree.id}")["amphorae"]
    assert amphora["updated_at"] is not None
    watched.site.settle(tree.id)
    watched.ok("PUT", f"/loadbalancers/{tree.id}/failover", status=202)
    watched.work()
    for key in ("rule", "l7policy", "healthmonitor", "member", "listener", "pool"):
        watched.ok("DELETE", tree.paths[key], status=204)
        assert watched.get(key, tree.paths[key])["updated_at"] > seen[key]["updated_at"]
        watched.work()
        assert watched.send("GET", tree.paths[key]).status_code == 404
    watched.ok("DELETE", tree.paths["loadbalancer"], status=204)
    watched.work()


@pytest.mark.parametrize("off", [None, "loadbalancer", "listener", "pool", "member", "healthmonitor", "l7policy", "rule"])
@pytest.mark.parametrize("beaten", [OperatingStatus.ONLINE, OperatingStatus.ERROR])
def test_what_needs_no_look_is_true_with_the_settlement(watched: Worked, off: str | None, beaten: OperatingStatus) -> None:
    """Whatever a report that knows the generation would say of objects that it can't see is what they say when they are ACTIVE."""
    tree = Tree(watched)
    watched.work()
    _agrees(watched, tree)
    assert {tree.views()[key]["operating_status"] for key in ("healthmonitor", "l7policy", "rule")} == {"ONLINE"}
    if off is None:
        return
    tree.beat(beaten)
    tree.switch(off, up=False)
    assert tree.views()[off]["operating_status"] == "OFFLINE"
    _agrees(watched, tree)
    tree.switch(off, up=True)
    _agrees(watched, tree)


def _agrees(worked: Worked, tree: Tree) -> None:
    snapshot = worked.site.snapshot(tree.id)
    silent = Report(generation=snapshot.generation, config_hash="", listeners={}, pools={})
    found = verdict.operating_statuses(snapshot, {one.id: silent for one in snapshot.amphorae}, ())
    below = {**found.listeners, **found.pools, **found.members, **found.health_monitors, **found.l7policies, **found.l7rules}
    shown = {view["id"]: view for view in tree.views().values()}
    off = not shown[tree.id]["admin_state_up"]
    if off:
        assert {view["operating_status"] for view in shown.values()} == {"OFFLINE"}
    for object_id in (*found.health_monitors, *found.l7policies, *found.l7rules):
        assert shown[object_id]["operating_status"] == below[object_id]
    for view in shown.values():
        if not view["admin_state_up"]:
            assert view["operating_status"] == "OFFLINE"


@pytest.mark.parametrize("how", ["deleted", "switched off"])
def test_members_have_no_monitor_as_soon_as_it_is_gone(watched: Worked, how: str) -> None:
    tree = Tree(watched)
    pool = tree.paths["pool"].rpartition("/")[2]
    drained, off = (watched.member(pool, f"10.0.0.{n}", **more)["id"] for n, more in ((2, {"weight": 0}), (3, {"admin_state_up": False})))
    watched.work()
    tree.beat(OperatingStatus.ERROR)
    with watched.db.begin() as tx:
        tx.health.set_operating_statuses({"member": {drained: OperatingStatus.DRAINING, off: OperatingStatus.OFFLINE}})
    if how == "deleted":
        watched.ok("DELETE", tree.paths["healthmonitor"], status=204)
        watched.work()
    else:
        tree.switch("healthmonitor", up=False)
    found = {one["address"]: one["operating_status"] for one in watched.ok("GET", f"{tree.paths['pool']}/members")["members"]}
    assert found == {"10.0.0.1": "NO_MONITOR", "10.0.0.2": "DRAINING", "10.0.0.3": "OFFLINE"}
