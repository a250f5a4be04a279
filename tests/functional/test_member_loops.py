"""A member that is its own load balancer gets no request, whenever and however it became so, and people are told."""

from __future__ import annotations

import copy
import dataclasses

import pytest

from controller.db import tables
from controller.health_manager import verdict
from controller.housekeeping import comparison, loops
from controller.model import load_balancer as model
from controller.model.heartbeat import PoolReport
from controller.model.status import OperatingStatus, Topology
from controller.tasks import networks
from tests import builders
from tests.functional import flow_site
from tests.functional.test_comparison import compares, work_off
from tests.unit.controller.health_manager.test_verdict import a_report

FLOATING = "203.0.113.77"


def built(site: flow_site.Site, topology: Topology = Topology.SINGLE) -> str:
    """One with two members: a server, and one at an address that will be a floating IP."""
    load_balancer_id = site.built(topology)
    pool_id = site.snapshot(load_balancer_id).pools[0].id
    site.accept(load_balancer_id, flow_site.a_member(pool_id, "198.51.100.9"), flow_site.a_member(pool_id, FLOATING))
    site.succeed(flow_site.an_update(load_balancer_id))
    return load_balancer_id


def configurations(site: flow_site.Site, load_balancer_id: str) -> list[str]:
    running = [site.amphora.running(one.id, load_balancer_id) for one in site.snapshot(load_balancer_id).amphorae]
    return [str(one and one.programs.get("haproxy")) for one in running]


def housekeep(site: flow_site.Site) -> int:
    """Look, and do what is posted; how many jobs that were."""
    compares(site).compare(lambda: True)
    return work_off(site)


def faults(site: flow_site.Site, load_balancer_id: str) -> dict[str, str]:
    with site.db.read() as tx:
        return {key: fault.code for key, fault in tx.faults.of_load_balancer(load_balancer_id).items()}


def the_member(site: flow_site.Site, load_balancer_id: str, address: str) -> model.Member:
    (member,) = [one for one in site.snapshot(load_balancer_id).members if one.address == address]
    return member


@pytest.mark.parametrize("topology", list(Topology))
def test_a_floating_ip_that_comes_to_the_vip_takes_the_member_there_out_until_it_goes(site: flow_site.Site, topology: Topology) -> None:
    load_balancer_id = built(site, topology)
    assert housekeep(site) == 0
    assert all(FLOATING in text for text in configurations(site, load_balancer_id))
    port_id = site.snapshot(load_balancer_id).load_balancer.vip.port_id
    site.network.give_floating(port_id, FLOATING)
    assert housekeep(site) == 1
    assert not any(FLOATING in text for text in configurations(site, load_balancer_id))
    assert all("198.51.100.9" in text for text in configurations(site, load_balancer_id))
    member_id = the_member(site, load_balancer_id, FLOATING).id
    for _ in range(3):
        assert housekeep(site) == 0, "it was told and mended already"
        assert faults(site, load_balancer_id) == {member_id: loops.CODE}
    site.accept(load_balancer_id, flow_site.a_member(site.snapshot(load_balancer_id).pools[0].id, "198.51.100.10"))
    site.succeed(flow_site.an_update(load_balancer_id))
    assert not any(FLOATING in text for text in configurations(site, load_balancer_id)), "the next push brought it back"
    assert faults(site, load_balancer_id) == {member_id: loops.CODE}, "the next settlement took the warning away"
    site.network.give_floating(port_id)
    assert housekeep(site) == 1
    assert all(FLOATING in text for text in configurations(site, load_balancer_id))
    assert faults(site, load_balancer_id) == {}
    told = [code for code in site.events(load_balancer_id) if code in (loops.CODE, loops.OVER)]
    assert sorted(told) == [loops.CODE, loops.OVER]
    assert comparison.CODE not in site.events(load_balancer_id)
    assert "recovered" not in site.events(load_balancer_id), "nothing had failed"


def test_a_member_that_was_stored_at_the_vip_before_that_was_refused_is_left_out_and_told(site: flow_site.Site) -> None:
    load_balancer_id = built(site)
    vip = site.snapshot(load_balancer_id).load_balancer.vip.address
    site.accept(load_balancer_id, (tables.members, {"id": the_member(site, load_balancer_id, FLOATING).id, "address": vip}))
    site.succeed(flow_site.an_update(load_balancer_id))
    (text,) = configurations(site, load_balancer_id)
    assert f" {vip}:" not in "".join(line for line in text.splitlines() if line.strip().startswith("server "))
    housekeep(site)
    assert faults(site, load_balancer_id) == {the_member(site, load_balancer_id, vip).id: loops.CODE}
    site.accept(load_balancer_id, (tables.members, {"id": the_member(site, load_balancer_id, vip).id, "address": "198.51.100.11"}))
    site.succeed(flow_site.an_update(load_balancer_id))
    housekeep(site)
    assert faults(site, load_balancer_id) == {}


@pytest.mark.parametrize(
    ("address", "is_loop"),
    [
        ("192.0.2.7", True),
        ("192.0.2.8", False),
        ("::ffff:192.0.2.7", True),
        ("64:ff9b::c000:207", True),
        ("2001:db8::7", True),
        ("2001:DB8:0:0::7", True),
        ("2001:db8::8", False),
        ("no address", False),
        ("", False),
        (":", False),
    ],
)
def test_every_spelling_of_an_address_of_its_own_is_a_loop(address: str, is_loop: bool) -> None:
    owner = builders.a_load_balancer(vip=builders.a_vip(address="192.0.2.7"))
    snapshot = builders.a_snapshot(owner, members=[builders.a_member(address=address)])
    assert bool(snapshot.loops(["2001:db8::7"])) is is_loop


def test_a_member_that_is_left_out_is_in_error(site: flow_site.Site) -> None:
    snapshot = site.snapshot(built(site))
    report = a_report(snapshot)
    (key,) = report.pools
    left_out = the_member(site, snapshot.load_balancer.id, FLOATING).id
    words = {member: word for member, word in report.pools[key].members.items() if member != left_out}
    report.pools[key] = PoolReport(status="UP", members=words)  # type: ignore[index]
    (amphora,) = snapshot.amphorae
    found = verdict.operating_statuses(snapshot, {amphora.id: report}, ())
    assert found.members[left_out] is OperatingStatus.ERROR
    assert OperatingStatus.ERROR not in {status for member, status in found.members.items() if member != left_out}


def test_a_floating_ip_that_a_list_alone_lacks_or_has_changes_nothing(site: flow_site.Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was said stands, and no request is sent round and round for it."""
    load_balancer_id = built(site)
    port_id = site.snapshot(load_balancer_id).load_balancer.vip.port_id

    def as_listed(*addresses: str) -> None:
        seen = copy.copy(site.network)
        seen.floating_addresses = lambda port_id: frozenset(addresses)  # type: ignore[method-assign]
        monkeypatch.setattr(site.network, "listed", lambda _: seen)

    as_listed(FLOATING)
    assert (housekeep(site), faults(site, load_balancer_id)) == (0, {})
    site.network.give_floating(port_id, FLOATING)
    assert housekeep(site) == 1
    told, events = faults(site, load_balancer_id), site.events(load_balancer_id)
    assert loops.CODE in told.values()
    as_listed()
    assert (housekeep(site), faults(site, load_balancer_id), site.events(load_balancer_id)) == (0, told, events)


def test_no_floating_ip_is_asked_for_where_all_members_are_on_the_vips_subnet(
    site: flow_site.Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = site.snapshot(built(site))
    known = site.services.networks
    asked: list[str] = []

    def floating(port_id: str) -> frozenset[str]:
        asked.append(port_id)
        return frozenset({FLOATING})

    monkeypatch.setattr(site.network, "floating_addresses", floating)
    assert networks.floating(snapshot, site.network, known) == (FLOATING,)
    near = snapshot.load_balancer.vip.address.rpartition(".")[0] + ".200"
    inside = dataclasses.replace(snapshot, members=tuple(dataclasses.replace(one, address=near) for one in snapshot.members))
    assert networks.floating(inside, site.network, known) == ()
    assert asked == [snapshot.load_balancer.vip.port_id]
