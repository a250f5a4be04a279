"""Members on other networks than the VIP's: what is plugged stays plugged without a word to the cloud, by whichever worker."""

from __future__ import annotations

import dataclasses
import ipaddress
import time
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from controller import exceptions, jobs, services
from controller.db import tables
from controller.drivers.network import remembered
from controller.model.network import HostRoute
from controller.model.status import ProvisioningStatus, Topology
from tests.functional import flow_site
from tests.functional.test_comparison import compares, posted, work_off
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


def test_a_member_at_a_floating_ip_is_left_out_by_what_the_last_comparison_saw(
    site: flow_site.Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One outside its own subnet, or without one: a router may bring it back to the VIP."""
    load_balancer_id, (subnet_id,) = built(site, Topology.SINGLE)
    snapshot = site.snapshot(load_balancer_id)
    site.network.give_floating(snapshot.load_balancer.vip.port_id, "203.0.113.7", "203.0.113.8")
    compares(site).compare(lambda: True)
    assert posted(site) == []
    asked = Asked(site, monkeypatch)
    pool_id = snapshot.pools[0].id
    for address, subnet in (("203.0.113.7", None), ("203.0.113.8", subnet_id)):
        site.accept(load_balancer_id, flow_site.a_member(pool_id, address, subnet_id=subnet))
        work(site, load_balancer_id, False)
        assert address not in served(site, load_balancer_id)
    assert asked.calls() == []
    site.network.give_floating(snapshot.load_balancer.vip.port_id)
    compares(site).compare(lambda: True)
    assert work_off(site) == 1
    assert {"203.0.113.7", "203.0.113.8"} <= served(site, load_balancer_id)


# What is written down of networks


def forget(site: flow_site.Site, keep: float = 30.0) -> None:
    """As in a process that begins; with `keep` of 0, all that it hears is old at once."""
    site.network.remembered = site.services.networks = remembered.RememberedNetworks(site.network, keep)


class NetworkService:
    """It answers, refuses or hangs, and is asked what is in `asked`."""

    def __init__(self, site: flow_site.Site, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[str] = []
        self.how = "answers"
        for name in ("get_network", "get_subnet", "floating_addresses", "member_ports", "ensure_member_port", "set_vip_access"):
            monkeypatch.setattr(site.network, name, self._noting(name, getattr(site.network, name)))

    def _noting(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def ask(*arguments: Any, **named: Any) -> Any:
            self.asked.append(name)
            if self.how == "answers":
                return real(*arguments, **named)
            time.sleep(0.2 if self.how == "hangs" else 0.0)
            raise exceptions.Transient("Neutron answered 503" if self.how == "refuses" else "Neutron did not answer in time")

        return ask


def accept(site: flow_site.Site, load_balancer_id: str, change: tuple[sa.Table, dict[str, Any]]) -> None:
    """As the API does: the listeners that use the pool are stamped as well, for clients look at their states."""
    generation = site.accept(load_balancer_id, change)
    with site.db.begin() as tx:
        tx.listeners.touch_users(site.snapshot(load_balancer_id).pools[0].id, generation)


def a_change(site: flow_site.Site, load_balancer_id: str, kind: str, subnet_id: str) -> tuple[sa.Table, dict[str, Any]]:
    snapshot = site.snapshot(load_balancer_id)
    vip = ipaddress.ip_address(snapshot.load_balancer.vip.address)
    address, subnet = {"inside": (str(vip + 9), None), "routed": ("203.0.113.9", None), "plugged": ("10.77.0.44", subnet_id)}.get(
        kind, ("", None)
    )
    if kind == "weight":
        return tables.members, {"id": snapshot.members[0].id, "weight": 7}
    return flow_site.a_member(snapshot.pools[0].id, address, subnet_id=subnet)


@pytest.mark.parametrize("how", ["answers", "refuses", "hangs"])
@pytest.mark.parametrize("memory", ["warm", "expired", "fresh"])
@pytest.mark.parametrize("kind", ["weight", "inside", "routed", "plugged"])
def test_no_change_of_a_member_asks_a_network_service_however_it_fares(
    site: flow_site.Site, kind: str, memory: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget(site, 0.0 if memory == "expired" else 600.0)
    load_balancer_id, (subnet_id,) = built(site, Topology.ACTIVE_STANDBY)
    if memory == "fresh":
        forget(site)
    service = NetworkService(site, monkeypatch)
    service.how = how
    changed = a_change(site, load_balancer_id, kind, subnet_id)
    accept(site, load_balancer_id, changed)
    work(site, load_balancer_id, by_another=memory == "fresh")
    assert service.asked == []
    assert changed[1].get("address", "10.77.0.9") in served(site, load_balancer_id)


def of_an_older_release(site: flow_site.Site, load_balancer_id: str) -> None:
    """It wrote nothing down."""
    with site.db.begin() as tx:
        tx.connection.execute(tables.load_balancers.update().values(network_facts=None, access_hash=None, access_generation=0))


@pytest.mark.parametrize("kind", ["weight", "inside", "routed", "plugged"])
def test_what_a_worker_heard_long_ago_is_good_while_nobody_answers(
    site: flow_site.Site, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget(site, 0.0)
    load_balancer_id, (subnet_id,) = built(site, Topology.SINGLE)
    of_an_older_release(site, load_balancer_id)
    service = NetworkService(site, monkeypatch)
    service.how = "refuses"
    site.accept(load_balancer_id, a_change(site, load_balancer_id, kind, subnet_id))
    work(site, load_balancer_id, by_another=False)
    assert "floating_addresses" in service.asked
    service.how, service.asked = "answers", []
    site.accept(load_balancer_id, flow_site.a_listener(8080))
    work(site, load_balancer_id, by_another=False)
    assert service.asked == ["set_vip_access", "floating_addresses"], "a port opens; what nobody could look at is looked at now"


def test_a_worker_that_knows_nothing_says_so_and_tries_again(site: flow_site.Site, monkeypatch: pytest.MonkeyPatch) -> None:
    load_balancer_id, (subnet_id,) = built(site, Topology.SINGLE)
    of_an_older_release(site, load_balancer_id)
    forget(site)
    service = NetworkService(site, monkeypatch)
    service.how = "refuses"
    accept(site, load_balancer_id, a_change(site, load_balancer_id, "weight", subnet_id))
    site.work(flow_site.an_update(load_balancer_id))
    assert site.state(load_balancer_id) is ProvisioningStatus.ERROR
    assert "Neutron answered 503" in site.faults(load_balancer_id)[load_balancer_id].message
    service.how = "answers"
    site.settle(load_balancer_id)
    assert site.state(load_balancer_id) is ProvisioningStatus.ACTIVE
    forget(site)
    service.how, service.asked = "refuses", []
    site.accept(load_balancer_id, a_change(site, load_balancer_id, "plugged", subnet_id))
    work(site, load_balancer_id, by_another=True)
    assert service.asked == []


def test_a_comparison_writes_down_what_an_older_release_has_not(site: flow_site.Site, monkeypatch: pytest.MonkeyPatch) -> None:
    load_balancer_id, (subnet_id,) = built(site, Topology.SINGLE)
    of_an_older_release(site, load_balancer_id)
    compares(site).compare(lambda: True)
    assert posted(site) == []
    forget(site)
    service = NetworkService(site, monkeypatch)
    service.how = "hangs"
    for kind in ("weight", "routed", "plugged"):
        site.accept(load_balancer_id, a_change(site, load_balancer_id, kind, subnet_id))
        work(site, load_balancer_id, by_another=True)
    assert service.asked == []


@pytest.mark.parametrize("topology", list(Topology))
@pytest.mark.parametrize(
    "fields", [{"gateway_ip": "10.99.0.1"}, {"host_routes": (HostRoute("192.0.2.0/24", "10.99.0.1"),)}], ids=["gateway", "routes"]
)
@pytest.mark.parametrize("whose", ["vip", "members"])
def test_a_subnet_that_changes_reaches_amphorae_by_the_next_comparison(
    site: flow_site.Site, whose: str, fields: dict[str, Any], topology: Topology
) -> None:
    load_balancer_id, (subnet_id,) = built(site, topology)
    if whose == "members" and "gateway_ip" in fields:
        pytest.skip("amphorae go by the gateway of the VIP's subnet alone")
    site.network.change_subnet(site.network.subnet_id if whose == "vip" else subnet_id, **fields)
    site.network.remembered = remembered.RememberedNetworks(site.network)  # that of housekeeping; the worker's is as it was
    looks = dataclasses.replace(compares(site), known=site.network.remembered)
    looks.compare(lambda: True)
    assert work_off(site) == 1
    for amphora_id in site.amphorae(load_balancer_id).values():
        running = site.amphora.running(amphora_id, load_balancer_id)
        assert running is not None
        assert "10.99.0.1" in str(running.interfaces)
    looks.compare(lambda: True)
    assert posted(site) == [], "once is enough"
    assert [code for code in site.events(load_balancer_id) if code == "lost_outside"] == ["lost_outside"]


def test_another_mtu_reaches_amphorae_by_the_next_comparison(site: flow_site.Site) -> None:
    load_balancer_id, _ = built(site, Topology.SINGLE)
    site.network.change_network(site.snapshot(load_balancer_id).load_balancer.vip.network_id, mtu=1234)
    forget(site)
    compares(site).compare(lambda: True)
    assert work_off(site) == 1
    (amphora_id,) = site.amphorae(load_balancer_id).values()
    running = site.amphora.running(amphora_id, load_balancer_id)
    assert running is not None
    assert 1234 in [one.mtu for one in running.interfaces]
