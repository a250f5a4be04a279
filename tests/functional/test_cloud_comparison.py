"""What somebody changed in Nova and Neutron behind our back, on ports and groups that are still there: it is told and written again."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from controller import jobs
from controller.db import tables
from controller.drivers.network import remembered
from controller.model.status import ProvisioningStatus, Topology
from tests import simulated
from tests.contract.openstack_network import ask
from tests.functional import flow_site
from tests.functional.test_cloud_flows import CloudSite
from tests.functional.test_comparison import compares, posted
from tests.functional.test_guards import are_held, guards
from tests.functional.test_member_networks import accept, work

Breaks = Callable[[CloudSite, str], str]
"""Changes something of a load balancer, and returns what is said of it."""


@pytest.fixture
def site() -> Iterator[CloudSite]:
    made = CloudSite()
    yield made
    made.close()


def _port(site: CloudSite, kind: str) -> str:
    rows = site.cloud.services.network.ports.values()
    return str(next(row["id"] for row in rows if row["name"].startswith(f"octavia-lb-{kind}-")))


def _put(site: CloudSite, port_id: str, **values: object) -> None:
    ask(site.cloud.admin, "PUT", f"/ports/{port_id}", {"port": values})


def a_vrrp_port_without_groups(site: CloudSite, _: str) -> str:
    _put(site, _port(site, "vrrp"), security_groups=[])
    return "are not the VIP port's"


def a_half_that_does_not_hear_the_other(site: CloudSite, load_balancer_id: str) -> str:
    """Only the group of a pair's halves is taken off; alone, there is none."""
    port_id = _port(site, "vrrp")
    vip = site.snapshot(load_balancer_id).load_balancer.vip
    _put(site, port_id, security_groups=sorted(site.network.security_groups_of(vip.port_id) or ()))
    return "are not the VIP port's"


def a_port_that_may_not_bear_the_vip(site: CloudSite, _: str) -> str:
    _put(site, _port(site, "vrrp"), allowed_address_pairs=[])
    return "may not bear the VIP"


def a_vrrp_port_that_is_switched_off(site: CloudSite, _: str) -> str:
    _put(site, _port(site, "vrrp"), admin_state_up=False)
    return "is switched off"


def a_member_port_that_is_switched_off(site: CloudSite, _: str) -> str:
    _put(site, _port(site, "member"), admin_state_up=False)
    return "is switched off"


def a_member_port_that_was_taken_out_of_its_machine(site: CloudSite, _: str) -> str:
    unplug(site, _port(site, "member"))
    return "towards members is not in its machine any more"


def unplug(site: CloudSite, port_id: str) -> None:
    """`openstack server remove port`: the port stays, with its address."""
    server_id = site.cloud.services.network.ports[port_id]["device_id"]
    site.compute.detach_port(server_id, site.network.get_port(port_id))


def a_group_that_its_tenant_put_on_the_vip(site: CloudSite, load_balancer_id: str) -> str:
    """By Neutron's own API, as the guide of LBaaS v2 has it; it decides on every port that bears the VIP."""
    theirs = site.cloud.create_security_group("theirs")
    _put(site, site.snapshot(load_balancer_id).load_balancer.vip.port_id, security_groups=[theirs])
    return "are not the VIP port's"


def a_vrrp_port_without_the_qos_policy(site: CloudSite, _: str) -> str:
    _put(site, _port(site, "vrrp"), qos_policy_id=None)
    return "the QoS policy of the port"


def another_qos_policy_on_the_vip_port(site: CloudSite, load_balancer_id: str) -> str:
    _put(site, site.snapshot(load_balancer_id).load_balancer.vip.port_id, qos_policy_id=site.cloud.create_qos_policy())
    return "the QoS policy of the port"


def the_server_group(site: CloudSite, _: str) -> str:
    site.cloud.services.compute.groups.clear()
    return "the server group of its machines is gone"


BREAKS: list[Breaks] = [
    a_vrrp_port_without_groups,
    a_half_that_does_not_hear_the_other,
    a_port_that_may_not_bear_the_vip,
    a_vrrp_port_that_is_switched_off,
    a_member_port_that_is_switched_off,
    a_member_port_that_was_taken_out_of_its_machine,
    a_group_that_its_tenant_put_on_the_vip,
    a_vrrp_port_without_the_qos_policy,
    another_qos_policy_on_the_vip_port,
    the_server_group,
]
ONLY_OF_PAIRS = {a_half_that_does_not_hear_the_other, the_server_group}


def built(site: CloudSite, topology: Topology) -> str:
    load_balancer_id = site.built(topology)
    compute = site.cloud.services.compute
    for name in [one["name"] for one in compute.servers.values()]:
        site.cloud.eventually(lambda name=name: compute.named(name)[0]["status"] == "ACTIVE")  # type: ignore[misc]
    (subnet_id,) = site.cloud.a_network("198.18.9.0/24").subnet_ids
    site.accept(load_balancer_id, flow_site.a_member(site.snapshot(load_balancer_id).pools[0].id, "198.18.9.9", subnet_id=subnet_id))
    site.accept_qos(load_balancer_id, site.cloud.create_qos_policy())
    site.succeed(flow_site.an_update(load_balancer_id))
    assert housekeep(site) == 0
    return load_balancer_id


def housekeep(site: CloudSite, does: Callable[[jobs.Job], object] | None = None) -> int:
    """Look, and do what is posted; how many jobs that were. Without `does`, each has to succeed."""
    compares(site).compare(lambda: True)
    waiting = posted(site)
    with site.db.begin() as tx:
        tx.connection.execute(tables.jobs.delete())
    for job in waiting:
        (does or site.succeed)(job)
    return len(waiting)


def books(site: CloudSite, load_balancer_id: str) -> list[tuple[object, ...]]:
    """What matters of the ports that bear the VIP or lead to members, and how many groups of servers there are."""
    rows = [row for row in site.cloud.services.network.ports.values() if "octavia-lb-" in row["name"]]
    of_vip = site.snapshot(load_balancer_id).load_balancer.vip.port_id
    found: list[tuple[object, ...]] = []
    for row in sorted(rows, key=lambda row: str(row["name"])):
        groups = [] if row["id"] == of_vip else sorted(row["security_groups"])
        pairs = [pair["ip_address"] for pair in row["allowed_address_pairs"]]
        found.append((row["name"], row["admin_state_up"], groups, pairs, row["qos_policy_id"], row["device_id"]))
    return [*found, (len(site.cloud.services.compute.groups),)]


@pytest.mark.parametrize("topology", list(Topology))
@pytest.mark.parametrize("breaks", BREAKS, ids=lambda breaks: breaks.__name__)
def test_what_was_changed_is_told_and_written_again(site: CloudSite, topology: Topology, breaks: Breaks) -> None:
    if topology is Topology.SINGLE and breaks in ONLY_OF_PAIRS:
        pytest.skip("one amphora has no group of its own")
    load_balancer_id = built(site, topology)
    before = books(site, load_balancer_id)
    words = breaks(site, load_balancer_id)
    assert books(site, load_balancer_id) != before or breaks is a_group_that_its_tenant_put_on_the_vip
    assert housekeep(site) == 1
    with site.db.read() as tx:
        told = [row["message"] for row in tx.faults.events(load_balancer_id) if row["code"] == "lost_outside"]
    assert 1 <= len(told) <= len(topology.roles), "one for each port"
    assert all(words in one for one in told), told
    assert site.state(load_balancer_id) is ProvisioningStatus.ACTIVE
    if breaks is a_group_that_its_tenant_put_on_the_vip:
        vip = site.snapshot(load_balancer_id).load_balancer.vip
        rows = [row for row in site.cloud.services.network.ports.values() if row["name"].startswith("octavia-lb-vrrp-")]
        assert all(set(row["security_groups"]) >= (site.network.security_groups_of(vip.port_id) or {"none"}) for row in rows)
        assert {len(row["security_groups"]) for row in rows} == {len(topology.roles)}, "a pair's have that of the halves beside it"
    else:
        assert books(site, load_balancer_id) == before
    assert housekeep(site) == 0, "once is enough"


@pytest.mark.parametrize("topology", list(Topology))
def test_a_vip_port_that_its_tenant_lets_be_reached_by_all_is_reached_still(site: CloudSite, topology: Topology) -> None:
    """They have switched its port security off, which takes its groups away: the ports of amphorae, which have it on, keep theirs."""
    load_balancer_id = built(site, topology)
    before = books(site, load_balancer_id)
    _put(site, site.snapshot(load_balancer_id).load_balancer.vip.port_id, security_groups=[], port_security_enabled=False)
    assert housekeep(site) == 0
    assert books(site, load_balancer_id) == before


@pytest.mark.parametrize("topology", list(Topology))
def test_a_vrrp_port_that_loses_its_port_security_is_guarded_in_its_amphora(site: CloudSite, topology: Topology) -> None:
    """No group holds on it any more. A VIP port that has it or not is nobody's guard: no machine ever has it."""
    load_balancer_id = built(site, topology)
    ports = [str(one.vrrp_port_id) for one in site.snapshot(load_balancer_id).amphorae]
    assert guards(site, load_balancer_id) == [None] * len(ports)
    for port_id in ports:
        _put(site, port_id, security_groups=[], allowed_address_pairs=[], port_security_enabled=False)
    assert housekeep(site) == 1
    assert are_held(site, load_balancer_id)
    with site.db.read() as tx:
        told = [row["message"] for row in tx.faults.events(load_balancer_id) if row["code"] == "lost_outside"]
    assert sorted(words.split()[3] for words in told) == sorted(ports)
    assert housekeep(site) == 0, "once is enough"
    for port_id in ports:
        _put(site, port_id, port_security_enabled=True)
    assert housekeep(site) == 1, "its groups, and that it may bear the VIP"
    assert are_held(site, load_balancer_id), "groups hold as well"
    assert housekeep(site) == 0


@pytest.mark.parametrize("kind", ["management", "vrrp"])
@pytest.mark.parametrize("topology", list(Topology))
def test_an_amphora_whose_port_was_taken_out_of_its_machine_is_replaced(site: CloudSite, topology: Topology, kind: str) -> None:
    """The port is there with its address, and the agent goes on saying that all is well: clients would get no answer, for good."""
    load_balancer_id = built(site, topology)
    before, port_id = set(site.amphorae(load_balancer_id).values()), _port(site, kind)
    site.cloud.services.compute.build_time = 0.0  # a successor that is heard is built, and takes a port
    unplug(site, port_id)
    assert housekeep(site) == 1
    now = set(site.amphorae(load_balancer_id).values())
    assert len(before - now) == len(now - before) == 1
    assert port_id not in site.cloud.services.network.ports
    with site.db.read() as tx:
        (told,) = [row["message"] for row in tx.faults.events(load_balancer_id) if row["code"] == "lost_outside"]
    assert f"port {port_id}, which is not in its machine any more" in told
    compute = site.cloud.services.compute
    for one in now:
        site.cloud.eventually(lambda one=one: compute.named(f"amphora-{one}")[0]["status"] == "ACTIVE")  # type: ignore[misc]
    assert housekeep(site) == 0, "once is enough"


@pytest.mark.parametrize("topology", list(Topology))
def test_a_vip_port_that_cant_be_made_again_yet_costs_the_others_nothing(site: CloudSite, topology: Topology) -> None:
    """Clients' rules and those between the halves stay while the network service has a bad moment; the next look mends it."""
    load_balancer_id = built(site, topology)
    lost = site.snapshot(load_balancer_id).load_balancer.vip.port_id
    ask(site.cloud.admin, "DELETE", f"/ports/{lost}")
    before = books(site, load_balancer_id)
    site.cloud.services.fail("PUT", "/ports/", simulated.refusal(503, "Service Unavailable"), times=3)
    housekeep(site, site.work)
    assert books(site, load_balancer_id) == before
    assert site.network.vip_access(load_balancer_id)
    housekeep(site)
    assert site.snapshot(load_balancer_id).load_balancer.vip.port_id != lost
    assert site.state(load_balancer_id) is ProvisioningStatus.ACTIVE
    assert housekeep(site) == 0


def test_a_cloud_without_routers_is_compared_too(site: CloudSite) -> None:
    """Its Neutron knows no floating IPs: a member that might be at one is served, and what was changed is found."""
    site.cloud.services.network.has_routers = False
    load_balancer_id = built(site, Topology.SINGLE)
    words = a_vrrp_port_that_is_switched_off(site, load_balancer_id)
    assert housekeep(site) == 1
    with site.db.read() as tx:
        assert any(words in row["message"] for row in tx.faults.events(load_balancer_id))


def forget(site: CloudSite) -> None:
    site.network.remembered = site.services.networks = remembered.RememberedNetworks(site.network)


def test_after_a_comparison_no_change_of_a_member_asks_the_cloud_anything(site: CloudSite) -> None:
    load_balancer_id = built(site, Topology.ACTIVE_STANDBY)
    pool_id = site.snapshot(load_balancer_id).pools[0].id
    (plugged,) = {one.subnet_id for one in site.snapshot(load_balancer_id).members} - {None}
    first = next(one.id for one in site.snapshot(load_balancer_id).members)
    changes = [
        (tables.members, {"id": first, "weight": 7}),
        flow_site.a_member(pool_id, "198.19.20.77"),
        flow_site.a_member(pool_id, "203.0.113.9"),
        flow_site.a_member(pool_id, "198.18.9.77", subnet_id=plugged),
        flow_site.gone(tables.members, first),
    ]
    for change in changes:
        forget(site)
        accept(site, load_balancer_id, change)
        assert site.asked(lambda: work(site, load_balancer_id, by_another=True)) == {}, change


@pytest.mark.lengthy
def test_many_load_balancers_are_compared_by_as_few_calls_as_one(site: CloudSite) -> None:
    """Lists of what belongs to a page; each thing by itself only where they show a difference."""

    def asked() -> dict[str, int]:
        forget(site)  # as half a minute later
        return site.asked(lambda: compares(site).compare(lambda: True))

    built(site, Topology.ACTIVE_STANDBY)
    compare = {
        "GET /servers/detail": 1,
        "GET /os-server-groups": 1,
        "GET /ports": 2,  # VIPs by their ids, all others by their names
        "GET /security-groups": 1,
        "GET /floatingips": 1,
        "GET /networks": 1,
        "GET /subnets": 1,
    }
    assert asked() == compare
    for topology in (Topology.SINGLE, Topology.SINGLE, Topology.ACTIVE_STANDBY):
        site.built(topology)
    assert asked() == compare
    assert posted(site) == []
