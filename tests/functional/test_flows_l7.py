"""L7 policies and their rules on the way from their rows to the amphorae and back: they settle, fail and vanish like any other child."""

from __future__ import annotations

import dataclasses
import uuid
from typing import Any

import sqlalchemy as sa

from controller.db import recent, tables
from controller.model import load_balancer as model
from controller.model.status import OperatingStatus, ProvisioningStatus
from tests.functional import flow_site

Row = tuple[sa.Table, dict[str, Any]]
_ACTIVE = ProvisioningStatus.ACTIVE


def _policy(listener_id: str, pool_id: str | None, new_id: str, position: int = 1) -> Row:
    action = "REJECT" if pool_id is None else "REDIRECT_TO_POOL"
    values = {"new_id": new_id, "listener_id": listener_id, "action": action, "redirect_pool_id": pool_id, "position": position}
    return tables.l7policies, values


def _rule(policy_id: str, value: str) -> Row:
    return tables.l7rules, {"l7policy_id": policy_id, "type": "PATH", "compare_type": "STARTS_WITH", "value": value}


def _with_policies(site: flow_site.Site) -> tuple[str, str, str]:
    """A load balancer with a policy that redirects to a pool of its own and one that rejects; its id, the policy's and the pool's."""
    load_balancer_id = site.built()
    listener = site.snapshot(load_balancer_id).listeners[0].id
    pool, redirect, reject = (str(uuid.uuid4()) for _ in range(3))
    site.accept(
        load_balancer_id,
        (tables.pools, {"new_id": pool, "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"}),
        flow_site.a_member(pool, "198.19.10.150"),
        _policy(listener, pool, redirect),
        _policy(listener, None, reject, position=2),
        _rule(redirect, "/api"),
        _rule(reject, "/secret"),
    )
    return load_balancer_id, redirect, pool


def _text(site: flow_site.Site, load_balancer_id: str) -> str:
    (amphora,) = site.amphorae(load_balancer_id).values()
    running = site.amphora.running(amphora, load_balancer_id)
    assert running is not None
    return running.programs.get("haproxy") or ""


def _states(snapshot: model.Snapshot) -> set[ProvisioningStatus]:
    return {one.provisioning_status for one in (*snapshot.l7policies, *snapshot.l7rules)}


def test_policies_become_active_and_vanish_with_their_rules_and_tags(site: flow_site.Site) -> None:
    load_balancer_id, redirect, pool = _with_policies(site)
    site.succeed(flow_site.an_update(load_balancer_id))
    assert _states(site.snapshot(load_balancer_id)) == {_ACTIVE}
    text = _text(site, load_balancer_id)
    assert ("'/api'" in text, "'/secret'" in text, f"backend {pool}:" in text) == (True, True, True)
    with site.db.begin() as tx:
        tx.connection.execute(tables.tags.insert().values(resource_id=redirect, tag="blue"))
        tx.connection.execute(tables.l7policy_pools.insert().values(l7policy_id=redirect, pool_id=pool))
    site.accept(load_balancer_id, flow_site.gone(tables.l7policies, redirect), flow_site.gone(tables.pools, pool))
    site.succeed(flow_site.an_update(load_balancer_id))
    after = site.snapshot(load_balancer_id)
    assert ([one.action for one in after.l7policies], [one.value for one in after.l7rules]) == (["REJECT"], ["/secret"])
    assert pool not in _text(site, load_balancer_id)
    with site.db.read() as tx:
        assert tx.connection.execute(tables.tags.select()).first() is None
        assert tx.connection.execute(tables.l7policy_pools.select()).first() is None
    site.accept(load_balancer_id, flow_site.gone(tables.listeners, after.listeners[0].id))
    site.succeed(flow_site.an_update(load_balancer_id))
    after = site.snapshot(load_balancer_id)
    assert (after.listeners, after.l7policies, after.l7rules) == ((), (), ())
    assert site.is_whole(load_balancer_id)


def test_a_pool_that_goes_leaves_its_policy_without_one(site: flow_site.Site) -> None:
    load_balancer_id, redirect, pool = _with_policies(site)
    site.settle(load_balancer_id)
    kept = recent.RecentSnapshots(site.db)
    kept.get(load_balancer_id)
    site.accept(load_balancer_id, flow_site.gone(tables.pools, pool))  # the API refuses that; a row must not stop a flow for ever
    site.settle(load_balancer_id)
    (found,) = [one for one in site.snapshot(load_balancer_id).l7policies if one.id == redirect]
    assert found.redirect_pool_id is None
    assert _wanted(kept.get(load_balancer_id)) == _wanted(site.snapshot(load_balancer_id))
    assert site.is_whole(load_balancer_id)


def test_a_refused_configuration_is_the_fault_of_what_was_new(site: flow_site.Site) -> None:
    load_balancer_id, _, _ = _with_policies(site)
    site.amphora.refuse("unknown keyword")
    site.work(flow_site.an_update(load_balancer_id))
    snapshot = site.snapshot(load_balancer_id)
    assert _states(snapshot) == {ProvisioningStatus.ERROR}
    assert {one.id for one in (*snapshot.l7policies, *snapshot.l7rules)} < site.faults(load_balancer_id).keys()
    assert "'/api'" not in _text(site, load_balancer_id)
    site.accept(load_balancer_id, (tables.l7rules, {"id": snapshot.l7rules[0].id, "value": "/better"}))
    site.settle(load_balancer_id)
    assert _states(site.snapshot(load_balancer_id)) == {_ACTIVE}
    assert site.is_whole(load_balancer_id)


def test_a_deleted_load_balancer_leaves_no_policies_behind(site: flow_site.Site) -> None:
    load_balancer_id, _, _ = _with_policies(site)
    site.settle(load_balancer_id)
    site.accept_delete(load_balancer_id)
    site.succeed(flow_site.a_deletion(load_balancer_id))
    with site.db.read() as tx:
        for table in (tables.l7rules, tables.l7policies, tables.listeners, tables.pools):
            assert tx.connection.execute(table.select()).first() is None
    assert site.leaks() == []


def test_what_is_remembered_follows_policies(site: flow_site.Site) -> None:
    load_balancer_id, redirect, _ = _with_policies(site)
    kept = recent.RecentSnapshots(site.db)
    kept.get(load_balancer_id)
    first = site.snapshot(load_balancer_id)
    listener, rule = first.listeners[0].id, first.l7rules[1].id
    new = str(uuid.uuid4())
    for settled_in_between in (False, True):
        for change in (
            [_policy(listener, None, new, position=3), _rule(new, "/new")],
            [(tables.l7policies, {"id": redirect, "position": 3})],
            [(tables.l7rules, {"id": rule, "value": "/other"})],
            [flow_site.gone(tables.l7policies, new)],
        ):
            site.accept(load_balancer_id, *[(table, dict(values)) for table, values in change])
            if settled_in_between:
                site.settle(load_balancer_id)
            assert _wanted(kept.get(load_balancer_id)) == _wanted(site.snapshot(load_balancer_id))
        site.settle(load_balancer_id)


def _wanted(snapshot: model.Snapshot) -> list[model.Resource]:
    """Policies and rules without their statuses and the times of these, which may be older."""
    return [
        dataclasses.replace(one, provisioning_status=_ACTIVE, operating_status=OperatingStatus.OFFLINE, updated_at=None)
        for one in (*snapshot.l7policies, *snapshot.l7rules)
    ]
