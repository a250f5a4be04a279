"""What was given outside is taken back: ports and addresses towards members, by whatever way the last of them goes."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import pytest

from controller import jobs
from controller.db import tables
from controller.model.status import ProvisioningStatus, Role, Topology
from tests import fake_network
from tests.functional import flow_site

Goes = Callable[[flow_site.Site, str], None]


def member_ports(site: flow_site.Site, load_balancer_id: str) -> list[set[str]]:
    """The subnets of each port on the network of members; every amphora's in turn."""
    found = []
    for amphora_id in site.amphorae(load_balancer_id).values():
        ports = site.network.member_ports(amphora_id)
        plugged = {port.id for machine in site.compute.list_ours() for port in site.compute.plugged(machine.id)}
        assert {port.id for port in ports} <= plugged
        found += [{fixed.subnet_id for fixed in port.fixed_ips} for port in ports]
    return found


def built(site: flow_site.Site, topology: Topology, subnets: int = 1) -> tuple[str, list[str]]:
    load_balancer_id = site.built(topology)
    site.network.create_network("members")
    made = [site.network.create_subnet("members", f"members-{number}", f"10.77.{number}.0/24") for number in range(subnets)]
    pool_id = site.snapshot(load_balancer_id).pools[0].id
    rows = [flow_site.a_member(pool_id, f"10.77.{number}.9", subnet_id=one) for number, one in enumerate(made)]
    site.accept(load_balancer_id, *rows)
    site.succeed(flow_site.an_update(load_balancer_id))
    assert member_ports(site, load_balancer_id) == [set(made)] * len(topology.roles)
    return load_balancer_id, made


def away(site: flow_site.Site, load_balancer_id: str) -> list[str]:
    return [one.id for one in site.snapshot(load_balancer_id).members if one.subnet_id]


def alone(site: flow_site.Site, load_balancer_id: str) -> None:
    for member_id in away(site, load_balancer_id):
        site.accept(load_balancer_id, flow_site.gone(tables.members, member_id))
        site.succeed(flow_site.an_update(load_balancer_id))


def in_a_batch(site: flow_site.Site, load_balancer_id: str) -> None:
    """All members are replaced by one on the VIP's own subnet."""
    snapshot = site.snapshot(load_balancer_id)
    leaving = [flow_site.gone(tables.members, one.id) for one in snapshot.members]
    site.accept(load_balancer_id, *leaving, flow_site.a_member(snapshot.pools[0].id, "198.19.10.150"))
    site.succeed(flow_site.an_update(load_balancer_id))


def with_their_pool(site: flow_site.Site, load_balancer_id: str) -> None:
    site.accept(load_balancer_id, flow_site.gone(tables.pools, site.snapshot(load_balancer_id).pools[0].id))
    site.succeed(flow_site.an_update(load_balancer_id))


def with_everything(site: flow_site.Site, load_balancer_id: str) -> None:
    snapshot = site.snapshot(load_balancer_id)
    named = [(tables.listeners, snapshot.listeners), (tables.pools, snapshot.pools), (tables.members, snapshot.members)]
    site.accept(load_balancer_id, *(flow_site.gone(table, one.id) for table, some in named for one in some))
    site.succeed(flow_site.an_update(load_balancer_id))


def with_a_failover_instead_of_the_update(site: flow_site.Site, load_balancer_id: str) -> None:
    site.accept(load_balancer_id, *(flow_site.gone(tables.members, one) for one in away(site, load_balancer_id)))
    role, old = next(iter(site.amphorae(load_balancer_id).items()))
    assert role is not None
    site.succeed(jobs.FailoverAmphora(load_balancer_id=load_balancer_id, amphora_id=old, replacement_id=str(uuid.uuid4()), role=role))


def after_an_agent_was_silent(site: flow_site.Site, load_balancer_id: str) -> None:
    site.accept(load_balancer_id, *(flow_site.gone(tables.members, one) for one in away(site, load_balancer_id)))
    site.amphora.be_silent(calls=1)
    site.work(flow_site.an_update(load_balancer_id))
    assert site.state(load_balancer_id) is ProvisioningStatus.ERROR
    assert any(member_ports(site, load_balancer_id)), "what an amphora may still use was taken"
    site.succeed(flow_site.an_update(load_balancer_id))


WAYS: list[Goes] = [
    alone,
    in_a_batch,
    with_their_pool,
    with_everything,
    with_a_failover_instead_of_the_update,
    after_an_agent_was_silent,
]


@pytest.mark.parametrize("topology", list(Topology))
@pytest.mark.parametrize("goes", WAYS, ids=lambda goes: goes.__name__)
def test_ports_towards_members_go_with_the_last_of_them(site: flow_site.Site, topology: Topology, goes: Goes) -> None:
    load_balancer_id, _ = built(site, topology)
    goes(site, load_balancer_id)
    assert member_ports(site, load_balancer_id) == []
    assert site.is_whole(load_balancer_id)


@pytest.mark.parametrize("topology", list(Topology))
def test_of_two_subnets_on_one_port_the_address_that_nobody_asks_for_goes(site: flow_site.Site, topology: Topology) -> None:
    load_balancer_id, (first, second) = built(site, topology, subnets=2)
    leaving = next(one for one in site.snapshot(load_balancer_id).members if one.subnet_id == first)
    site.accept(load_balancer_id, flow_site.gone(tables.members, leaving.id))
    site.succeed(flow_site.an_update(load_balancer_id))
    assert member_ports(site, load_balancer_id) == [{second}] * len(topology.roles)
    running = site.amphora.running(next(iter(site.amphorae(load_balancer_id).values())), load_balancer_id)
    assert running is not None
    assert [address.startswith("10.77.1.") for nic in running.interfaces[1:] for address in nic.addresses] == [True]


def test_a_member_that_is_switched_off_keeps_its_way(site: flow_site.Site) -> None:
    load_balancer_id, subnets = built(site, Topology.SINGLE)
    (member_id,) = away(site, load_balancer_id)
    site.accept(load_balancer_id, (tables.members, {"id": member_id, "admin_state_up": False}))
    site.succeed(flow_site.an_update(load_balancer_id))
    assert member_ports(site, load_balancer_id) == [set(subnets)]


def test_an_address_that_was_given_back_and_given_out_again_has_another_mac(site: flow_site.Site) -> None:
    network_id = site.network.create_network("members")
    subnets = [site.network.create_subnet("members", f"members-{number}", f"10.77.{number}.0/24") for number in range(2)]
    port = site.network.ensure_member_port("a1", network_id, subnets)
    freed = port.fixed_ips[0]
    site.network.release_member_port(port.id, [one.subnet_id for one in port.fixed_ips[1:]])
    again = site.network.create_port("p", network_id, freed.subnet_id, freed.ip_address)
    assert site.network.get_port(port.id).mac_address != again.mac_address


@pytest.mark.parametrize("topology", list(Topology))
def test_nothing_of_a_load_balancer_is_left_in_the_networks_books(site: flow_site.Site, topology: Topology) -> None:
    site.network.create_network("members")
    subnet_id = site.network.create_subnet("members", "members-subnet", "10.77.0.0/24")
    site.network.create_subnet(fake_network.TENANT_NETWORK, "six", "2001:db8::/64")  # that of a pair's additional VIP
    before = site.network.books()
    load_balancer_id = site.built(topology)
    pool_id = site.snapshot(load_balancer_id).pools[0].id
    site.accept(load_balancer_id, flow_site.a_member(pool_id, "10.77.0.9", subnet_id=subnet_id))
    site.succeed(flow_site.an_update(load_balancer_id))
    roles = topology.roles
    replacements = tuple(str(uuid.uuid4()) for _ in roles)
    site.succeed(jobs.FailoverLoadBalancer(load_balancer_id=load_balancer_id, topology=topology, replacement_ids=replacements))
    assert site.network.books() != before
    site.accept_delete(load_balancer_id)
    site.succeed(flow_site.a_deletion(load_balancer_id))
    assert site.network.books() == before


def test_two_failovers_that_were_asked_for_at_once_replace_the_same_amphora_once(site: flow_site.Site) -> None:
    load_balancer_id = site.built()
    old = site.amphorae(load_balancer_id)[Role.STANDALONE]
    for _ in range(2):
        job = jobs.FailoverLoadBalancer(
            load_balancer_id=load_balancer_id, topology=Topology.SINGLE, replacement_ids=(str(uuid.uuid4()),), amphora_ids=(old,)
        )
        site.work(job)
    assert site.events(load_balancer_id).count("replaced") == 1
    assert site.is_whole(load_balancer_id)


def test_a_failover_on_a_full_subnet_says_so_by_its_code(site: flow_site.Site) -> None:
    load_balancer_id = site.built()
    old = site.amphorae(load_balancer_id)[Role.STANDALONE]
    site.network.change_subnet(site.network.subnet_id, cidr="172.16.0.0/30", gateway_ip=None)
    job = jobs.FailoverAmphora(load_balancer_id=load_balancer_id, amphora_id=old, replacement_id=str(uuid.uuid4()), role=Role.STANDALONE)
    result = site.work(job)
    assert result is not None
    assert result.code == "subnet_full"
    assert site.faults(load_balancer_id)[load_balancer_id].code == "subnet_full"
