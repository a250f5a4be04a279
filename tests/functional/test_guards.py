"""A VIP without port security: no group holds its access list, so amphorae do, from their beginning or once somebody knows."""

from __future__ import annotations

import dataclasses
import ipaddress
import uuid
from collections.abc import Collection

import pytest

from amphora_agent.protocol import rest
from controller import jobs, render
from controller.db import tables
from controller.model import access
from controller.model.status import SERVING, ProvisioningStatus, Topology
from tests.functional import flow_site
from tests.functional.test_comparison import compares, posted, work_off
from tests.functional.test_member_networks import Asked

FRIENDS = ["198.51.100.0/24", "2001:db8:1::/64"]
TOPOLOGIES = pytest.mark.parametrize("topology", list(Topology))


def built(site: flow_site.Site, topology: Topology, secured: bool) -> str:
    site.network.change_network(site.network.network_id, port_security_enabled=secured)
    return site.built(topology)


def listed(site: flow_site.Site, load_balancer_id: str, cidrs: Collection[str] = FRIENDS) -> None:
    """Give its listener this list."""
    listener_id = site.snapshot(load_balancer_id).listeners[0].id
    site.accept(load_balancer_id, (tables.listeners, {"id": listener_id, "allowed_cidrs": list(cidrs)}))


def guards(site: flow_site.Site, load_balancer_id: str) -> list[tuple[rest.Admission, ...] | None]:
    """What each amphora that serves was told to admit by the VIP's NIC."""
    found = []
    for amphora in site.snapshot(load_balancer_id).amphorae:
        if amphora.status in SERVING:
            running = site.amphora.running(amphora.id, load_balancer_id)
            assert running is not None
            found.append(running.interfaces[0].admits)
    return found


def are_held(site: flow_site.Site, load_balancer_id: str) -> bool:
    """Whether every amphora admits what the groups would."""
    rules = access.rules(site.snapshot(load_balancer_id), render.Settings().peer_port)
    wanted = {(one.protocol, one.port, one.cidr and str(ipaddress.ip_network(one.cidr, strict=False))) for one in rules}
    found = guards(site, load_balancer_id)
    return bool(found) and all(one is not None and set(map(dataclasses.astuple, one)) == wanted for one in found)


def vrrp_ports(site: flow_site.Site, load_balancer_id: str) -> list[str]:
    return [str(one.vrrp_port_id) for one in site.snapshot(load_balancer_id).amphorae if one.status in SERVING]


@TOPOLOGIES
def test_on_a_network_without_port_security_amphorae_hold_the_list_themselves(site: flow_site.Site, topology: Topology) -> None:
    """From the first push on, over changes and failovers; a change of members asks nobody."""
    load_balancer_id = built(site, topology, secured=False)
    assert are_held(site, load_balancer_id)
    for cidrs in (FRIENDS, FRIENDS[:1], [], FRIENDS):
        listed(site, load_balancer_id, cidrs)
        site.succeed(flow_site.an_update(load_balancer_id))
        assert are_held(site, load_balancer_id)
    fresh = tuple(str(uuid.uuid4()) for _ in topology.roles)
    site.succeed(jobs.FailoverLoadBalancer(load_balancer_id=load_balancer_id, topology=topology, replacement_ids=fresh))
    assert are_held(site, load_balancer_id)
    site.network.change_network(site.network.network_id, port_security_enabled=True)  # of ports that are there it says nothing
    compares(site).compare(lambda: True)
    assert work_off(site) == 0
    assert are_held(site, load_balancer_id)


@TOPOLOGIES
def test_a_change_asks_nobody_of_amphorae_that_are_known(site: flow_site.Site, topology: Topology, monkeypatch: pytest.MonkeyPatch) -> None:
    for secured in (True, False):
        load_balancer_id = built(site, topology, secured)
        asked = Asked(site, monkeypatch)
        listed(site, load_balancer_id)
        site.succeed(flow_site.an_update(load_balancer_id))
        assert "get_port" not in asked.calls()
        assert (are_held(site, load_balancer_id), guards(site, load_balancer_id)[0] is None) == (not secured, secured)


@TOPOLOGIES
def test_port_security_that_goes_behind_our_back_is_noticed_and_its_coming_opens_nothing(site: flow_site.Site, topology: Topology) -> None:
    load_balancer_id = built(site, topology, secured=True)
    listed(site, load_balancer_id)
    site.succeed(flow_site.an_update(load_balancer_id))
    assert set(guards(site, load_balancer_id)) == {None}
    housekeeping = compares(site)
    for is_on in (False, True, False):
        for port_id in vrrp_ports(site, load_balancer_id):
            site.network.secure_port(port_id, is_on)
        housekeeping.compare(lambda: True)
        told = site.events(load_balancer_id).count("lost_outside")
        work_off(site)
        assert told == len(topology.roles), "once for each"
        assert are_held(site, load_balancer_id), "groups and guard may hold both"
    with site.db.read() as tx:
        assert all(
            "has no port security any more" in one["message"] for one in tx.faults.events(load_balancer_id) if one["code"] == "lost_outside"
        )


@TOPOLOGIES
def test_a_repair_for_whatever_reason_sees_that_groups_hold_no_more(site: flow_site.Site, topology: Topology) -> None:
    load_balancer_id = built(site, topology, secured=True)
    for port_id in vrrp_ports(site, load_balancer_id):
        site.network.secure_port(port_id, False)
    site.succeed(jobs.RepairLoadBalancer(load_balancer_id=load_balancer_id))
    assert are_held(site, load_balancer_id)


def forget(site: flow_site.Site) -> None:
    """As rows are that an older release wrote."""
    with site.db.begin() as tx:
        tx.connection.execute(tables.amphorae.update().values(guards_itself=None))


@TOPOLOGIES
@pytest.mark.parametrize("secured", [False, True], ids=["open", "secured"])
def test_of_amphorae_of_an_older_release_the_network_is_asked_once_there_is_a_list(
    site: flow_site.Site, topology: Topology, secured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_balancer_id = built(site, topology, secured)
    forget(site)
    asked = Asked(site, monkeypatch)
    site.accept(load_balancer_id, flow_site.a_listener(8080))
    site.succeed(flow_site.an_update(load_balancer_id))
    assert set(guards(site, load_balancer_id)) == {None}, "their images may know of no guard, and there is nothing to be held"
    assert "get_port" not in asked.calls()
    for times in (len(topology.roles), 0):
        asked = Asked(site, monkeypatch)
        listed(site, load_balancer_id)
        site.succeed(flow_site.an_update(load_balancer_id))
        assert asked.calls().count("get_port") == times
        assert (are_held(site, load_balancer_id), guards(site, load_balancer_id)[0] is None) == (not secured, secured)


@TOPOLOGIES
def test_amphorae_of_an_older_release_that_hold_no_list_are_replaced(site: flow_site.Site, topology: Topology) -> None:
    load_balancer_id = built(site, topology, secured=False)
    forget(site)
    compares(site).compare(lambda: True)
    assert posted(site) == [], "there is no list yet"
    listed(site, load_balancer_id)
    site.succeed(flow_site.an_update(load_balancer_id))
    forget(site)
    before = set(site.amphorae(load_balancer_id).values())
    compares(site).compare(lambda: True)
    work_off(site)
    assert not before & set(site.amphorae(load_balancer_id).values())
    assert are_held(site, load_balancer_id)
    assert site.state(load_balancer_id) is ProvisioningStatus.ACTIVE


@TOPOLOGIES
def test_a_network_of_members_without_port_security_lets_in_answers_alone(site: flow_site.Site, topology: Topology) -> None:
    """Whoever is there could ask the VIP by that NIC. It stays as it was plugged, whatever becomes of the port."""
    load_balancer_id = built(site, topology, secured=False)
    site.network.change_network(site.network.create_network("storage"), port_security_enabled=False)
    subnet_id = site.network.create_subnet("storage", "storage-subnet", "10.99.0.0/24")
    pool_id = site.snapshot(load_balancer_id).pools[0].id
    site.accept(load_balancer_id, flow_site.a_member(pool_id, "10.99.0.7", subnet_id=subnet_id))
    for job in (flow_site.an_update(load_balancer_id), jobs.RepairLoadBalancer(load_balancer_id=load_balancer_id)):
        site.succeed(job)
        for amphora_id in site.amphorae(load_balancer_id).values():
            running = site.amphora.running(amphora_id, load_balancer_id)
            assert running is not None
            assert [one.admits for one in running.interfaces[1:]] == [()]
            for port in site.network.member_ports(amphora_id):
                site.network.secure_port(port.id, True)
