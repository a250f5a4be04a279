"""Several changes that are one transaction: all of it is stored, or nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from controller import exceptions
from controller.changes import listeners, load_balancers, members, pools
from controller.changes.asking import Asking
from controller.model.status import ProvisioningStatus
from controller.resources import listener, member, pool
from tests.functional.changes.conftest import PROJECT, Site, Tree, plant, wanted

STRICT = {"is_strict": True, "mutable": (ProvisioningStatus.ACTIVE,), "removable": (ProvisioningStatus.ACTIVE, ProvisioningStatus.ERROR)}


def _member(asking: Asking, pool_id: str, address: str = "10.0.0.2") -> None:
    members.create(asking, pool_id, wanted(member.SCHEMA, address=address, protocol_port=80))


@pytest.mark.parametrize("settings", [{}, STRICT])
def test_a_load_balancer_takes_children_in_the_block_that_made_it(site: Site, settings: dict[str, object]) -> None:
    mine = site.asking(settings=settings)
    with load_balancers.looked(mine, [site.load_balancer()]) as (seen,), mine.together() as block:
        made = plant(block, site, seen)
        assert site.rings == 0
        with block.read() as tx:
            assert tx.pools.get(made.pool.id).member_ids == (made.member.id,), "a block sees what it has done"
    assert site.rings == 1
    assert site.ports() == 1
    assert [len(rows) for table, rows in site.rows().items() if table in ("load_balancers", "listeners", "members", "l7rules")] == [1] * 4


def test_if_one_change_is_refused_nothing_of_the_block_is_there(site: Site) -> None:
    def change() -> None:
        mine, wanted = site.asking(), [site.load_balancer(), site.load_balancer()]
        with load_balancers.looked(mine, wanted) as (first, second), mine.together() as block:
            made = plant(block, site, first)
            load_balancers.create(block, wanted[1], seen=second)
            _member(block, made.pool.id, made.member.address)

    before = site.rows()
    with pytest.raises(exceptions.Conflict):
        change()
    assert (site.rows(), site.rings) == (before, 0)
    assert len(site.network.script.calls_of("allocate_vip")) == 2
    assert site.ports() == 0, "the ports of both VIPs are given back"


def test_a_block_that_breaks_gives_back_what_it_can(site: Site) -> None:
    """A port that can't be given back is left to housekeeping; the error that ended the block comes out."""

    def change() -> None:
        mine, wanted = site.asking(), [site.load_balancer(), site.load_balancer()]
        with load_balancers.looked(mine, wanted) as seen, mine.together() as block:
            for values, one in zip(wanted, seen, strict=True):
                load_balancers.create(block, values, seen=one)
            raise KeyboardInterrupt

    site.network.script.fail_next("deallocate_vip", exceptions.Transient("the network service is away"))
    with pytest.raises(KeyboardInterrupt):
        change()
    assert site.rows()["load_balancers"] == []
    assert len(site.network.script.calls_of("deallocate_vip")) == 2


def test_load_balancers_that_are_one_too_many_for_a_quota_take_no_ports(site: Site) -> None:
    """The others' ports are given back, and for those that follow nobody is asked."""
    with site.asking().write() as tx:
        tx.quotas.put(PROJECT, {"load_balancer": 2})
    with pytest.raises(exceptions.QuotaExceeded), load_balancers.looked(site.asking(), [site.load_balancer() for _ in range(9)]):
        pass
    assert (len(site.network.script.calls_of("allocate_vip")), site.ports()) == (2, 0)


@pytest.mark.parametrize("noun", ["load balancer", "member", "listener"])
def test_a_block_does_not_ask_outside_what_was_not_looked_at_before(site: Site, tree: Tree, noun: str) -> None:
    """It is a mistake of ours, which would let everybody wait who writes."""
    tls = {"loadbalancer_id": tree.load_balancer.id, "protocol": "TERMINATED_HTTPS", "protocol_port": 443}
    server = {"address": "10.0.0.2", "protocol_port": 80, "subnet_id": site.network.subnet_id}
    forgetful: dict[str, Callable[[Any], Any]] = {
        "load balancer": lambda block: load_balancers.create(block, site.load_balancer()),
        "member": lambda block: members.create(block, tree.pool.id, wanted(member.SCHEMA, **server)),
        "listener": lambda block: listeners.create(block, wanted(listener.SCHEMA, **tls, default_tls_container_ref="https://a/b")),
    }
    before = site.rows()
    with pytest.raises(RuntimeError, match="look before"), site.asking().together() as block:
        forgetful[noun](block)
    assert site.rows() == before


def test_a_strict_block_changes_nothing_that_others_are_changing(site: Site, tree: Tree) -> None:
    """Only what the block itself began to change takes further changes in it."""
    other = plant(site.asking(), site)  # under way
    strict = site.asking(settings=STRICT)

    def change(block: Asking) -> None:
        _member(block, tree.pool.id, "10.0.0.2")
        _member(block, tree.pool.id, "10.0.0.3")
        _member(block, other.pool.id)

    with pytest.raises(exceptions.Immutable), strict.together() as block:
        change(block)
    with pytest.raises(exceptions.Immutable):
        _member(strict, other.pool.id)


def test_changes_of_one_load_balancer_raise_its_generation_each_and_leave_one_job(site: Site, tree: Tree) -> None:
    before, rings = site.generation(tree.load_balancer.id), site.rings
    with site.asking().together() as block:
        for host in range(2, 7):
            _member(block, tree.pool.id, f"10.0.0.{host}")
    assert site.generation(tree.load_balancer.id) == before + 5
    assert len(site.rows()["jobs"]) == 1
    assert site.rings == rings + 1


def test_a_block_that_only_looks_rings_for_nobody(site: Site, tree: Tree) -> None:
    rings = site.rings
    with site.asking().together() as block, block.read() as tx:
        assert tx.load_balancers.get(tree.load_balancer.id)
    assert site.rings == rings


def test_a_block_knows_rules_between_its_changes(site: Site, tree: Tree) -> None:
    """A pool that the block made can't hang below a listener of another protocol that it made."""

    def change(block: Asking) -> None:
        plain = wanted(listener.SCHEMA, loadbalancer_id=tree.load_balancer.id, protocol="HTTP", protocol_port=81)
        made = listeners.create(block, plain)
        pools.create(block, wanted(pool.SCHEMA, listener_id=made.id, protocol="TCP", lb_algorithm="ROUND_ROBIN"))

    with pytest.raises(exceptions.RuleBroken), site.asking().together() as block:
        change(block)
    with site.asking().read() as tx:
        assert len(tx.listeners.of_load_balancer(tree.load_balancer.id)) == 1
