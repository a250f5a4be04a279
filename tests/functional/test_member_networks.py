"""Members on other networks than the VIP's: what is plugged stays plugged without a word to the cloud, by whichever worker."""

from __future__ import annotations

import pytest

from controller import exceptions, jobs, services
from controller.db import tables
from controller.model.status import ProvisioningStatus, Topology
from tests.functional import flow_site
from tests.functional.test_flows_given_back import away, built, member_ports

FACTS = {"get_network", "get_subnet"}
"""What each process looks up anew once in half a minute."""


class Asked:
    """What the cloud was asked since, but for facts; the worker's compute service is away if the test says so."""

    def __init__(self, site: flow_site.Site, monkeypatch: pytest.MonkeyPatch) -> None:
        self._site = site
        self._first = [len(one.script.calls) for one in (site.compute, site.network)]
        self._floating: list[str] = []
        real = site.network.floating_addresses

        def noted(port_id: str) -> frozenset[str]:
            self._floating.append("floating_addresses")
            return real(port_id)

        monkeypatch.setattr(site.network, "floating_addresses", noted)

    def calls(self) -> list[str]:
        logs = zip((self._site.compute.script, self._site.network.script), self._first, strict=True)
        return [name for one, first in logs for name, _ in one.calls[first:] if name not in FACTS] + self._floating


def another_worker(site: flow_site.Site) -> services.Services:
    """It remembers nothing."""
    one = site.services
    return services.Services(one.db, one.compute, one.network, one.amphora, one.ca, settings=one.settings)


def work(site: flow_site.Site, load_balancer_id: str, by_another: bool) -> None:
    by = another_worker(site) if by_another else site.services
    site.work(flow_site.an_update(load_balancer_id), services=by)
    if by_another:
        by.close()
    assert site.state(load_balancer_id) is ProvisioningStatus.ACTIVE, site.faults(load_balancer_id)


def served(site: flow_site.Site, load_balancer_id: str) -> set[str]:
    """Addresses of the members that every amphora runs."""
    found = []
    for amphora_id in site.amphorae(load_balancer_id).values():
        running = site.amphora.running(amphora_id, load_balancer_id)
        assert running is not None
        found.append({one.address for one in site.snapshot(load_balancer_id).members if one.address in running.programs["haproxy"]})
        assert len(running.interfaces) == 2, "the interface towards the members"
    assert all(one == found[0] for one in found)
    return found[0]


@pytest.mark.parametrize("by_another", [False, True], ids=["the-same-worker", "another-worker"])
@pytest.mark.parametrize("topology", list(Topology))
def test_members_on_a_plugged_network_change_without_a_call(
    site: flow_site.Site, topology: Topology, by_another: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_balancer_id, (subnet_id,) = built(site, topology)
    pool_id = site.snapshot(load_balancer_id).pools[0].id
    routed = [one.id for one in site.snapshot(load_balancer_id).members if not one.subnet_id]  # may be at a floating IP
    site.accept(load_balancer_id, *(flow_site.gone(tables.members, one) for one in routed))
    work(site, load_balancer_id, by_another)
    asked = Asked(site, monkeypatch)
    away_too = exceptions.Transient("the compute service is away")
    site.compute.script.fail_next("attach_port", away_too, times=100)
    for last in (40, 41):
        site.accept(load_balancer_id, flow_site.a_member(pool_id, f"10.77.0.{last}", subnet_id=subnet_id))
        work(site, load_balancer_id, by_another)
    first = next(one for one in site.snapshot(load_balancer_id).members if one.address == "10.77.0.40")
    site.accept(load_balancer_id, (tables.members, {"id": first.id, "weight": 7}))
    work(site, load_balancer_id, by_another)
    site.accept(load_balancer_id, flow_site.gone(tables.members, first.id))
    work(site, load_balancer_id, by_another)
    site.accept(load_balancer_id, flow_site.a_listener(8080))
    work(site, load_balancer_id, by_another)
    assert [one for one in asked.calls() if one != "set_vip_access"] == [], "a listener opens its port"
    assert {"10.77.0.9", "10.77.0.41"} <= served(site, load_balancer_id)
    assert "10.77.0.40" not in served(site, load_balancer_id)


@pytest.mark.parametrize("topology", list(Topology))
def test_a_network_that_was_given_back_is_plugged_again(site: flow_site.Site, topology: Topology) -> None:
    load_balancer_id, (subnet_id,) = built(site, topology)
    pool_id = site.snapshot(load_balancer_id).pools[0].id
    for _ in range(2):
        for member_id in away(site, load_balancer_id):
            site.accept(load_balancer_id, flow_site.gone(tables.members, member_id))
        work(site, load_balancer_id, False)
        assert member_ports(site, load_balancer_id) == []
        site.accept(load_balancer_id, flow_site.a_member(pool_id, "10.77.0.9", subnet_id=subnet_id))
        work(site, load_balancer_id, True)
        assert member_ports(site, load_balancer_id) == [{subnet_id}] * len(topology.roles)
        assert "10.77.0.9" in served(site, load_balancer_id)


def test_a_second_subnet_of_a_plugged_network_gets_its_address(site: flow_site.Site) -> None:
    load_balancer_id, (first,) = built(site, Topology.SINGLE)
    second = site.network.create_subnet("members", "members-too", "10.78.0.0/24")
    site.accept(load_balancer_id, flow_site.a_member(site.snapshot(load_balancer_id).pools[0].id, "10.78.0.9", subnet_id=second))
    work(site, load_balancer_id, False)
    assert member_ports(site, load_balancer_id) == [{first, second}]


@pytest.mark.parametrize("dies_after", ["attach_port", "detach_port", "release_member_port"])
def test_a_death_beside_a_plug_leaves_no_wrong_note(site: flow_site.Site, dies_after: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was plugged and not written down is plugged again; what is written down is there."""
    load_balancer_id, (subnet_id,) = built(site, Topology.SINGLE)
    pool_id = site.snapshot(load_balancer_id).pools[0].id
    if dies_after == "attach_port":
        site.network.create_network("more")
        more = site.network.create_subnet("more", "more-subnet", "10.79.0.0/24")
        site.accept(load_balancer_id, flow_site.a_member(pool_id, "10.79.0.9", subnet_id=more))
    else:
        site.accept(load_balancer_id, *(flow_site.gone(tables.members, one) for one in away(site, load_balancer_id)))
    driver = site.network if dies_after == "release_member_port" else site.compute
    real = getattr(driver, dies_after)

    def does_and_dies(*arguments: object, **named: object) -> None:
        real(*arguments, **named)
        raise exceptions.ComputeFault("killed")

    with monkeypatch.context() as patch:
        patch.setattr(driver, dies_after, does_and_dies)
        site.work(flow_site.an_update(load_balancer_id))
    assert site.state(load_balancer_id) is ProvisioningStatus.ERROR
    for address, subnet in (("10.77.0.50", subnet_id),):
        site.accept(load_balancer_id, flow_site.a_member(pool_id, address, subnet_id=subnet))
    site.settle(load_balancer_id)
    assert site.state(load_balancer_id) is ProvisioningStatus.ACTIVE
    networks = len(site.network.member_ports(site.amphorae(load_balancer_id).popitem()[1]))
    assert networks == (2 if dies_after == "attach_port" else 1)
    member_ports(site, load_balancer_id)  # asserts that what is there is plugged
    (running,) = [site.amphora.running(one, load_balancer_id) for one in site.amphorae(load_balancer_id).values()]
    assert running is not None
    assert len(running.interfaces) == 1 + networks


def test_a_repair_takes_no_note_for_granted(site: flow_site.Site) -> None:
    load_balancer_id, (subnet_id,) = built(site, Topology.SINGLE)
    (amphora_id,) = site.amphorae(load_balancer_id).values()
    (port,) = site.network.member_ports(amphora_id)
    (machine,) = site.compute.list_ours()
    site.compute.detach_port(machine.id, port)
    site.network.release_member_port(port.id)
    site.succeed(jobs.RepairLoadBalancer(load_balancer_id=load_balancer_id))
    assert member_ports(site, load_balancer_id) == [{subnet_id}]


def test_a_member_that_may_be_at_a_floating_ip_is_looked_at(site: flow_site.Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """One outside its own subnet, or without one: a router may bring it back to the VIP."""
    load_balancer_id, (subnet_id,) = built(site, Topology.SINGLE)
    snapshot = site.snapshot(load_balancer_id)
    site.network.give_floating(snapshot.load_balancer.vip.port_id, "203.0.113.7", "203.0.113.8")
    site.accept(load_balancer_id, *(flow_site.gone(tables.members, one.id) for one in snapshot.members if not one.subnet_id))
    work(site, load_balancer_id, False)
    asked = Asked(site, monkeypatch)
    pool_id = snapshot.pools[0].id
    for address, subnet in (("203.0.113.7", None), ("203.0.113.8", subnet_id)):
        site.accept(load_balancer_id, flow_site.a_member(pool_id, address, subnet_id=subnet))
        work(site, load_balancer_id, False)
        assert address not in served(site, load_balancer_id)
    assert asked.calls() == ["floating_addresses"] * 2
