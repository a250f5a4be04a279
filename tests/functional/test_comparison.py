"""What somebody deletes behind our back is noticed, told, and mended: each kind of thing that a row explains."""

from __future__ import annotations

import dataclasses
import datetime
import ipaddress
import time
import uuid
from collections.abc import Callable

import pytest

from controller import exceptions, jobs, render
from controller.db import rows, tables
from controller.db.repositories import paging
from controller.drivers.network import fake as network
from controller.housekeeping import comparison
from controller.model.network import AccessRule
from controller.model.status import ProvisioningStatus, Role, Topology
from controller.resources import load_balancer
from tests.functional import flow_site

Lose = Callable[[flow_site.Site, str], None]


def _delete_port(site: flow_site.Site, port_id: str) -> None:
    """As an administrator of the network does."""
    site.network.delete_port(port_id)


def the_vip_port(site: flow_site.Site, load_balancer_id: str) -> None:
    _delete_port(site, site.snapshot(load_balancer_id).load_balancer.vip.port_id)


def _port_of_amphora(site: flow_site.Site, load_balancer_id: str, kind: str) -> None:
    amphora_id = next(iter(site.amphorae(load_balancer_id).values()))
    (port,) = [one for one in site.network.list_ours() if (one.device_id, one.name) == (amphora_id, f"octavia-lb-{kind}-{amphora_id}")]
    _delete_port(site, port.id)


def a_vrrp_port(site: flow_site.Site, load_balancer_id: str) -> None:
    _port_of_amphora(site, load_balancer_id, "vrrp")


def a_management_port(site: flow_site.Site, load_balancer_id: str) -> None:
    _port_of_amphora(site, load_balancer_id, "management")


def _move_port(site: flow_site.Site, port_id: str) -> None:
    """To an address that nobody has."""
    fixed, *_ = site.network.get_port(port_id).fixed_ips
    site.network.move_port(port_id, str(ipaddress.ip_address(fixed.ip_address) + 4000))


def the_address_of_the_vip_port(site: flow_site.Site, load_balancer_id: str) -> None:
    _move_port(site, site.snapshot(load_balancer_id).load_balancer.vip.port_id)


def the_last_address_of_the_vip_port(site: flow_site.Site, load_balancer_id: str) -> None:
    """The additional one of a pair."""
    vip = site.snapshot(load_balancer_id).load_balancer.vip
    site.network.take_address(vip.port_id, vip.addresses[-1].ip_address)


def the_last_address_of_a_vrrp_port(site: flow_site.Site, load_balancer_id: str) -> None:
    """On the subnet of the additional VIP, in a pair."""
    amphora = site.snapshot(load_balancer_id).amphorae[0]
    last = amphora.additional_vrrp_ips[-1].ip_address if amphora.additional_vrrp_ips else str(amphora.vrrp_ip)
    site.network.take_address(str(amphora.vrrp_port_id), last)


def the_address_of_a_vrrp_port(site: flow_site.Site, load_balancer_id: str) -> None:
    _move_port(site, str(site.snapshot(load_balancer_id).amphorae[0].vrrp_port_id))


def the_address_of_a_management_port(site: flow_site.Site, load_balancer_id: str) -> None:
    _move_port(site, str(site.snapshot(load_balancer_id).amphorae[0].management_port_id))


def a_port_towards_members(site: flow_site.Site, load_balancer_id: str) -> None:
    _port_of_amphora(site, load_balancer_id, "member")


def a_machine(site: flow_site.Site, load_balancer_id: str) -> None:
    site.compute.delete(next(iter(site.amphorae(load_balancer_id).values())))


def a_machine_that_was_stopped(site: flow_site.Site, load_balancer_id: str) -> None:
    site.compute.kill(next(iter(site.amphorae(load_balancer_id).values())))


def a_machine_that_is_in_error(site: flow_site.Site, load_balancer_id: str) -> None:
    site.compute.fail(next(iter(site.amphorae(load_balancer_id).values())), "the host is on fire")


def a_machine_that_was_rebuilt(site: flow_site.Site, load_balancer_id: str) -> None:
    site.compute.rebuild(next(iter(site.amphorae(load_balancer_id).values())), "somebody-elses-image")


MACHINES: dict[Callable[[flow_site.Site, str], None], str] = {
    a_machine_that_was_stopped: "which was stopped",
    a_machine_that_is_in_error: "the host is on fire",
    a_machine_that_was_rebuilt: "rebuilt from the image somebody-elses-image",
}


def the_access_rules(site: flow_site.Site, load_balancer_id: str) -> None:
    site.network.delete_vip_access(load_balancer_id)


def a_foreign_access_rule(site: flow_site.Site, load_balancer_id: str) -> None:
    """Not deleted but added: the VIP is open to whom nobody let in."""
    vip = site.snapshot(load_balancer_id).load_balancer.vip
    known = site.network.vip_access(load_balancer_id)
    site.network.set_vip_access(load_balancer_id, vip, [*known, AccessRule("tcp", 22)])


THINGS: list[Lose] = [
    the_vip_port,
    the_address_of_the_vip_port,
    the_last_address_of_the_vip_port,
    the_address_of_a_vrrp_port,
    the_last_address_of_a_vrrp_port,
    the_address_of_a_management_port,
    a_vrrp_port,
    a_management_port,
    a_port_towards_members,
    a_machine,
    *MACHINES,
    the_access_rules,
    a_foreign_access_rule,
]


def built(site: flow_site.Site, topology: Topology) -> str:
    load_balancer_id = site.built(topology)
    site.network.create_network("members")
    subnet_id = site.network.create_subnet("members", "members-subnet", "10.77.0.0/24")
    snapshot = site.snapshot(load_balancer_id)
    cidrs = (tables.listeners, {"id": snapshot.listeners[0].id, "allowed_cidrs": ["10.0.0.7/8", "198.51.100.0/24"]})
    site.accept(load_balancer_id, flow_site.a_member(snapshot.pools[0].id, "10.77.0.9", subnet_id=subnet_id), cidrs)
    site.succeed(flow_site.an_update(load_balancer_id))
    return load_balancer_id


def compares(site: flow_site.Site) -> comparison.Comparison:
    settings = render.Settings()
    known = site.services.networks
    return comparison.Comparison(
        site.db, site.compute, site.network, known, lambda: None, peer_port=settings.peer_port, page_size=10, failovers_per_hour=50
    )


def posted(site: flow_site.Site) -> list[jobs.Job]:
    with site.db.read() as tx:
        return [jobs.load(row["kind"], row["details"]) for row in tx.jobs.page(100)]


def work_off(site: flow_site.Site) -> int:
    """Do what was posted; how many jobs that were."""
    waiting = posted(site)
    with site.db.begin() as tx:
        tx.connection.execute(tables.jobs.delete())
    for job in waiting:
        site.succeed(job)
    return len(waiting)


def facts(site: flow_site.Site, load_balancer_id: str) -> tuple[object, ...]:
    snapshot = site.snapshot(load_balancer_id)
    ports = sorted(port.device_id for port in site.network.list_ours())
    with site.db.read() as tx:
        views = tx.load_balancers.views(paging.EVERYTHING, load_balancer.SCHEMA)
    (view,) = [one for one in views if one["id"] == load_balancer_id]
    assert {one["port_id"] for one in view["additional_vips"]} <= {view["vip_port_id"]}, "a list shows the port that there is"
    return snapshot.load_balancer.vip.addresses, len(ports), site.network.vip_access(load_balancer_id) and True


@pytest.mark.parametrize("topology", list(Topology))
@pytest.mark.parametrize("lose", THINGS, ids=lambda lose: lose.__name__)
def test_what_was_deleted_behind_our_back_is_told_and_mended(site: flow_site.Site, topology: Topology, lose: Lose) -> None:
    load_balancer_id = built(site, topology)
    before = facts(site, load_balancer_id)
    housekeeping = compares(site)
    housekeeping.compare(lambda: True)
    assert (posted(site), comparison.CODE in site.events(load_balancer_id)) == ([], False), "nothing is missing yet"
    lose(site, load_balancer_id)
    housekeeping.compare(lambda: True)
    assert comparison.CODE in site.events(load_balancer_id)
    with site.db.read() as tx:
        assert MACHINES.get(lose, "") in "".join(row["message"] for row in tx.faults.events(load_balancer_id))
    assert posted(site)
    for job in posted(site):
        site.work(job)
    with site.db.begin() as tx:
        tx.connection.execute(tables.jobs.delete())
    site.settle(load_balancer_id)
    assert facts(site, load_balancer_id) == before
    told = site.events(load_balancer_id).count(comparison.CODE)
    housekeeping.compare(lambda: True)
    assert (posted(site), site.events(load_balancer_id).count(comparison.CODE)) == ([], told), "it is not mended"
    vip = site.snapshot(load_balancer_id).load_balancer.vip
    assert site.network.get_port(vip.port_id).fixed_ips[0].ip_address == vip.address


@pytest.mark.parametrize("topology", list(Topology))
def test_what_is_missing_on_a_list_alone_is_not_missing(site: flow_site.Site, topology: Topology, monkeypatch: pytest.MonkeyPatch) -> None:
    """Services leave out of their lists what they can't see at the moment."""
    load_balancer_id = built(site, topology)
    monkeypatch.setattr(site.network, "listed", lambda _: network.FakeNetwork())
    monkeypatch.setattr(site.compute, "list_ours", list)
    compares(site).compare(lambda: True)
    assert (posted(site), comparison.CODE in site.events(load_balancer_id)) == ([], False)
    a_machine(site, load_balancer_id)
    compares(site).compare(lambda: True)
    assert comparison.CODE in site.events(load_balancer_id)


def test_lists_that_were_read_before_a_change_are_not_believed(site: flow_site.Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A half is replaced between the lists and the look at its load balancer: it is left to the next round."""
    load_balancer_id = built(site, Topology.ACTIVE_STANDBY)
    (role, lost), *_ = site.amphorae(load_balancer_id).items()
    assert role is not None

    def replaced(_: object) -> network.FakeNetwork:
        job = jobs.FailoverAmphora(load_balancer_id=load_balancer_id, amphora_id=lost, replacement_id=str(uuid.uuid4()), role=Role(role))
        site.succeed(job)
        return network.FakeNetwork()

    monkeypatch.setattr(site.network, "listed", replaced)
    compares(site).compare(lambda: True)
    assert lost not in site.amphorae(load_balancer_id).values()
    assert (posted(site), comparison.CODE in site.events(load_balancer_id)) == ([], False)


@pytest.mark.parametrize(("service", "which"), [("network", "listed"), ("compute", "list_ours")])
def test_what_no_list_tells_is_asked_for_by_itself(site: flow_site.Site, monkeypatch: pytest.MonkeyPatch, service: str, which: str) -> None:
    """A list may fail for ever: where a cell of Nova is down, or for a thing of one load balancer on the page."""
    load_balancer_id = built(site, Topology.SINGLE)

    def fails(*_: object) -> None:
        raise exceptions.Transient("the service gives no lists")

    monkeypatch.setattr(getattr(site, service), which, fails)
    housekeeping = compares(site)
    housekeeping.compare(lambda: True)
    assert (posted(site), comparison.CODE in site.events(load_balancer_id)) == ([], False)
    a_machine(site, load_balancer_id)
    housekeeping.compare(lambda: True)
    assert comparison.CODE in site.events(load_balancer_id)


def test_services_that_answer_nothing_are_asked_for_few_and_nothing_is_passed_over(
    site: flow_site.Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each question may last a minute. Those that are left come first in the next round."""
    several = sorted(built(site, Topology.SINGLE) for _ in range(5))
    for load_balancer_id in several:
        a_machine(site, load_balancer_id)
    asked: list[object] = []

    def fails(*what: object) -> None:
        asked.append(what)
        raise exceptions.Transient("the network service does not answer")

    housekeeping = compares(site)
    with monkeypatch.context() as away:
        away.setattr(site.network, "listed", fails)
        away.setattr(site.network, "get_port", fails)
        housekeeping.compare(lambda: True)
    assert len(asked) == 1 + 3
    assert posted(site) == []
    housekeeping.compare(lambda: True)
    assert {job.load_balancer_id for job in posted(site)} == set(several[3:])
    housekeeping.compare(lambda: True)
    assert {job.load_balancer_id for job in posted(site)} == set(several)


def test_machines_are_listed_once_for_all_pages(site: flow_site.Site, monkeypatch: pytest.MonkeyPatch) -> None:
    several = sorted(built(site, Topology.SINGLE) for _ in range(3))
    listed, list_ours = [], site.compute.list_ours

    def counted() -> object:
        listed.append("list")
        return list_ours()

    monkeypatch.setattr(site.compute, "list_ours", counted)
    housekeeping = dataclasses.replace(compares(site), page_size=1)
    housekeeping.compare(lambda: True)
    a_machine(site, several[-1])  # which the list has
    for rounds in (1, 2):
        while housekeeping._cursor:
            housekeeping.compare(lambda: True)
        assert listed == ["list"] * rounds
        housekeeping.compare(lambda: True)
    assert comparison.CODE in site.events(several[-1]), "in the second round at the latest"


@pytest.mark.parametrize("halves", [1, 2])
def test_amphorae_without_addresses_on_the_subnets_of_additional_vips_are_replaced(site: flow_site.Site, halves: int) -> None:
    """A worker that does not know of additional VIPs has built them."""
    load_balancer_id = built(site, Topology.ACTIVE_STANDBY)
    old = [one.id for one in site.snapshot(load_balancer_id).amphorae[:halves]]
    with site.db.begin() as tx:
        for amphora_id in old:
            tx.amphorae.update(amphora_id, additional_vrrp_ips=None)
    compares(site).compare(lambda: True)
    assert len(posted(site)) == halves
    for job in posted(site):
        site.work(job)
    with site.db.begin() as tx:
        tx.connection.execute(tables.jobs.delete())
    site.settle(load_balancer_id)
    assert site.state(load_balancer_id) is ProvisioningStatus.ACTIVE
    serving = set(site.amphorae(load_balancer_id).values())
    assert (len(serving), serving & set(old)) == (2, set())
    assert all(len(one.additional_vrrp_ips) == 1 for one in site.snapshot(load_balancer_id).amphorae if one.id in serving)


def test_the_zone_that_the_compute_service_chose_is_shown(site: flow_site.Site) -> None:
    load_balancer_id = built(site, Topology.SINGLE)
    (amphora,) = site.snapshot(load_balancer_id).amphorae
    assert amphora.cached_zone is None
    site.compute.move(amphora.id, "west")
    compares(site).compare(lambda: True)
    assert site.snapshot(load_balancer_id).amphorae[0].cached_zone == "west"
    assert (posted(site), comparison.CODE in site.events(load_balancer_id)) == ([], False)


@pytest.mark.parametrize("topology", list(Topology))
@pytest.mark.parametrize("lose", [the_vip_port, a_vrrp_port, a_management_port, a_machine], ids=lambda lose: lose.__name__)
def test_what_is_lost_of_one_in_error_is_told_and_mended_too(site: flow_site.Site, topology: Topology, lose: Lose) -> None:
    """Its next try waits on the board, and would fail again for want of what is lost, or not look at it."""
    load_balancer_id = built(site, topology)
    before = facts(site, load_balancer_id)
    site.amphora.refuse("unknown keyword", times=100)
    site.accept(load_balancer_id, flow_site.a_listener(8080))
    site.work(flow_site.an_update(load_balancer_id))
    assert site.state(load_balancer_id) is ProvisioningStatus.ERROR
    with site.db.begin() as tx:
        tx.jobs.post(flow_site.an_update(load_balancer_id), available_at=time.time() + 600)
    housekeeping = compares(site)
    known = len(posted(site))
    housekeeping.compare(lambda: True)
    assert (len(posted(site)), comparison.CODE in site.events(load_balancer_id)) == (known, False), "nothing is missing yet"
    lose(site, load_balancer_id)
    housekeeping.compare(lambda: True)
    assert comparison.CODE in site.events(load_balancer_id)
    assert len(posted(site)) > known
    site.amphora.recover()
    for job in posted(site):
        site.work(job)
    with site.db.begin() as tx:
        tx.connection.execute(tables.jobs.delete())
        tx.connection.execute(tables.load_balancers.update().values(next_try_at=0.0))
    site.settle(load_balancer_id)
    assert site.state(load_balancer_id) is ProvisioningStatus.ACTIVE
    assert facts(site, load_balancer_id) == before


def test_one_in_error_whose_vip_can_not_be_made_again_is_told_once_and_tried_no_oftener_than_before(site: flow_site.Site) -> None:
    load_balancer_id = built(site, Topology.SINGLE)
    vip = site.snapshot(load_balancer_id).load_balancer.vip
    the_vip_port(site, load_balancer_id)
    site.network.create_port("thief", vip.network_id, vip.subnet_id, vip.address)
    site.amphora.refuse("unknown keyword", times=100)
    site.accept(load_balancer_id, flow_site.a_listener(8080))
    site.work(flow_site.an_update(load_balancer_id))
    assert site.state(load_balancer_id) is ProvisioningStatus.ERROR
    housekeeping = compares(site)
    for _ in range(5):
        housekeeping.compare(lambda: True)
    assert posted(site) == []
    assert site.events(load_balancer_id).count(comparison.CODE) == 1


def test_a_job_of_one_in_error_that_has_begun_is_left_alone(site: flow_site.Site) -> None:
    load_balancer_id = built(site, Topology.SINGLE)
    site.amphora.refuse("unknown keyword")
    site.accept(load_balancer_id, flow_site.a_listener(8080))
    site.work(flow_site.an_update(load_balancer_id))
    with site.db.begin() as tx:
        tx.jobs.post(flow_site.an_update(load_balancer_id))
        tx.connection.execute(tables.jobs.update().values(attempts=1, available_at=time.time() + 600))  # it waits for a heartbeat
    a_machine(site, load_balancer_id)
    compares(site).compare(lambda: True)
    assert comparison.CODE not in site.events(load_balancer_id)


@pytest.mark.parametrize("topology", list(Topology))
def test_a_group_that_the_api_was_asked_for_comes_back_and_one_of_the_tenants_own_stays(site: flow_site.Site, topology: Topology) -> None:
    load_balancer_id = built(site, topology)
    wanted, own = (site.network.create_security_group(name, flow_site.PROJECT) for name in ("wanted", "own"))
    site.accept(load_balancer_id, (tables.load_balancers, {"id": load_balancer_id, "vip_sg_ids": [wanted]}))
    site.succeed(flow_site.an_update(load_balancer_id))
    vip = site.snapshot(load_balancer_id).load_balancer.vip
    site.network.set_vip_security_groups(load_balancer_id, vip, [wanted, own])
    housekeeping = compares(site)
    housekeeping.compare(lambda: True)
    assert (posted(site), comparison.CODE in site.events(load_balancer_id)) == ([], False), "what a tenant adds is theirs"
    site.network.set_vip_security_groups(load_balancer_id, vip, [own])
    housekeeping.compare(lambda: True)
    assert comparison.CODE in site.events(load_balancer_id)
    for job in posted(site):
        site.work(job)
    assert wanted in (site.network.security_groups_of(vip.port_id) or ())


def test_nothing_is_compared_while_a_worker_is_at_it(site: flow_site.Site) -> None:
    load_balancer_id = built(site, Topology.SINGLE)
    a_machine(site, load_balancer_id)
    with site.db.begin() as tx:
        assert tx.leases.take(load_balancer_id, "a worker", 60.0) is not None
    compares(site).compare(lambda: True)
    assert posted(site) == []


def test_nothing_is_compared_while_a_job_waits(site: flow_site.Site) -> None:
    """Such as a failover that waits for the successor's heartbeat: its rows are there, what may reach the VIP is not written yet."""
    load_balancer_id = built(site, Topology.ACTIVE_STANDBY)
    a_foreign_access_rule(site, load_balancer_id)
    with site.db.begin() as tx:
        tx.jobs.post(flow_site.an_update(load_balancer_id))
    compares(site).compare(lambda: True)
    assert [job.kind for job in posted(site)] == [flow_site.an_update(load_balancer_id).kind]
    assert comparison.CODE not in site.events(load_balancer_id)


def test_a_vip_whose_address_was_taken_meanwhile_is_told_once_and_why(site: flow_site.Site) -> None:
    load_balancer_id = built(site, Topology.SINGLE)
    vip = site.snapshot(load_balancer_id).load_balancer.vip
    the_vip_port(site, load_balancer_id)
    site.network.create_port("thief", vip.network_id, vip.subnet_id, vip.address)
    housekeeping = compares(site)
    for _ in range(3):
        housekeeping.compare(lambda: True)
        with site.db.begin() as tx:
            tx.connection.execute(tables.jobs.delete())
    assert site.events(load_balancer_id).count(comparison.CODE) == 1
    with site.db.read() as tx:
        (said,) = [row["message"] for row in tx.faults.events(load_balancer_id) if row["code"] == comparison.CODE]
    assert "is in use" in said
    assert site.amphorae(load_balancer_id).keys() == {Role.STANDALONE}


def test_a_page_is_looked_at_in_a_round_and_all_in_some(site: flow_site.Site) -> None:
    several = [site.built() for _ in range(3)]
    for load_balancer_id in several:
        a_machine(site, load_balancer_id)
    housekeeping = compares(site)
    housekeeping.page_size = 1
    found = []
    for _ in range(4):
        housekeeping.compare(lambda: True)
        found.append(len(posted(site)))
    assert found[:3] == [1, 2, 3]


@pytest.mark.slow
def test_answers_that_are_wrong_fail_over_no_fleet(site: flow_site.Site) -> None:
    """Two hundred machines that a service says it does not know: the limit holds over pages and rounds, until its hour is over."""
    for load_balancer_id in (several := [site.built() for _ in range(200)]):
        a_machine(site, load_balancer_id)
    housekeeping = dataclasses.replace(compares(site), page_size=60, failovers_per_hour=7)
    for turn in range(9):  # two rounds of four pages, and some
        if turn == 5:  # another process goes on
            housekeeping = dataclasses.replace(housekeeping)
        housekeeping.compare(lambda: True)
    assert [job.kind for job in posted(site)] == [jobs.FailoverAmphora.kind] * 7
    assert sum(comparison.CODE in site.events(one) for one in several) == 7, "of the others it is not said that they are replaced"
    with site.db.read() as tx:
        told = tx.connection.execute(tables.events.select().where(tables.events.c.code == comparison.WAITING)).all()
    assert len(told) == 2, "once by each process"
    assert "compare_failovers_per_hour" in told[0].message
    earlier = rows.now() - datetime.timedelta(seconds=3600)
    with site.db.begin() as tx:
        tx.connection.execute(tables.events.update().where(tables.events.c.code == comparison.CODE).values(occurred_at=earlier))
    for _ in range(8):
        housekeeping.compare(lambda: True)
    assert len(posted(site)) == 14


def test_what_can_be_mended_without_a_replacement_is_not_held_up_by_the_limit(site: flow_site.Site) -> None:
    first, second = built(site, Topology.ACTIVE_STANDBY), built(site, Topology.SINGLE)
    housekeeping = dataclasses.replace(compares(site), failovers_per_hour=0)
    a_machine(site, first)
    the_access_rules(site, first)
    a_foreign_access_rule(site, second)
    the_vip_port(site, first)
    housekeeping.compare(lambda: True)
    assert {job.kind for job in posted(site)} == {jobs.RepairLoadBalancer.kind}
    assert len(posted(site)) == 2


def test_an_address_that_comes_by_itself_is_not_surplus_and_one_without_any_other_is(site: flow_site.Site) -> None:
    """Each port of a network has an address on its subnets with SLAAC, asked for or not."""
    load_balancer_id = built(site, Topology.SINGLE)
    network_id = site.network.create_network("members")
    automatic = site.network.create_subnet("members", "automatic", "fd00:77::/64")
    (amphora,) = site.snapshot(load_balancer_id).amphorae
    site.network.ensure_member_port(amphora.id, network_id, [automatic])
    housekeeping = compares(site)
    housekeeping.compare(lambda: True)
    assert [job.kind for job in posted(site)] == [jobs.RepairLoadBalancer.kind], "it is surplus as long as it is like any other"
    with site.db.begin() as tx:
        tx.connection.execute(tables.jobs.delete())
    site.network.change_subnet(automatic, is_automatic=True)
    site.services.networks.__init__(site.network)  # type: ignore[misc]
    told = site.events(load_balancer_id).count(comparison.CODE)
    for _ in range(3):
        housekeeping.compare(lambda: True)
    assert (posted(site), site.events(load_balancer_id).count(comparison.CODE)) == ([], told)
    calls = len(site.network.script.calls_of("release_member_port"))
    site.succeed(jobs.RepairLoadBalancer(load_balancer_id=load_balancer_id))
    assert len(site.network.script.calls_of("release_member_port")) == calls, "nor does a repair take back what would come again"
    members = (
        tables.members,
        {"id": site.snapshot(load_balancer_id).members[-1].id, "provisioning_status": ProvisioningStatus.PENDING_DELETE},
    )
    site.accept(load_balancer_id, members)
    site.succeed(flow_site.an_update(load_balancer_id))
    assert site.network.member_ports(amphora.id) == []


def test_load_balancers_whose_packets_were_let_through_or_dropped_otherwise_are_told(
    site: flow_site.Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network mends its filter by itself, once in a round of pages; only the event is housekeeping's. No repair is needed."""
    several = sorted(site.built() for _ in range(3))
    asked: list[frozenset[str]] = []

    def mend_filter() -> frozenset[str]:
        asked.append(frozenset() if asked else frozenset({several[1], "nobody's"}))
        return asked[-1]

    monkeypatch.setattr(site.network, "mend_filter", mend_filter, raising=False)
    housekeeping = compares(site)
    housekeeping.page_size = 2
    for rounds in (1, 1, 2):
        housekeeping.compare(lambda: True)
        assert len(asked) == rounds, "a page in the middle asks for nothing"
    told = {one: site.events(one).count(comparison.CODE) for one in several}
    assert told == {several[0]: 0, several[1]: 1, several[2]: 0}
    assert posted(site) == []


def test_a_filter_that_can_not_be_compared_keeps_no_row_from_being_compared(site: flow_site.Site, monkeypatch: pytest.MonkeyPatch) -> None:
    load_balancer_id = built(site, Topology.SINGLE)
    a_machine(site, load_balancer_id)

    def mend_filter() -> frozenset[str]:
        raise exceptions.Transient("the kernel does not answer")

    monkeypatch.setattr(site.network, "mend_filter", mend_filter, raising=False)
    compares(site).compare(lambda: True)
    assert len(posted(site)) == 1


def test_an_address_that_somebody_else_has_by_now_is_told_once_and_worked_on_by_nobody(site: flow_site.Site) -> None:
    load_balancer_id = built(site, Topology.SINGLE)
    vip = site.snapshot(load_balancer_id).load_balancer.vip
    the_address_of_the_vip_port(site, load_balancer_id)
    thief = site.network.create_port("thief", vip.network_id, vip.subnet_id, vip.address)
    housekeeping = compares(site)
    for _ in range(3):
        housekeeping.compare(lambda: True)
    assert posted(site) == []
    assert site.events(load_balancer_id).count(comparison.CODE) == 1
    site.network.delete_port(thief.id)
    housekeeping.compare(lambda: True)
    assert [fixed.ip_address for fixed in site.network.get_port(vip.port_id).fixed_ips] == [vip.address]
