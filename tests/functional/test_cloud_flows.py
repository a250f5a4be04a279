"""The real flows with the drivers `nova` and `neutron`, before a simulated cloud: what they ask of it, and what they leave there."""

from __future__ import annotations

import collections
import functools
import re
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from amphora_agent.protocol import rest
from controller import exceptions, jobs
from controller import services as services_module
from controller.db import tables
from controller.drivers.amphora import interface as agents
from controller.drivers.ca import fake as fake_ca
from controller.drivers.compute import glance, interface, nova
from controller.housekeeping import orphans
from controller.model.amphora import Amphora
from controller.model.network import VipRequest, WantedAddress
from controller.model.status import ProvisioningStatus, Topology
from tests.contract import openstack_cloud
from tests.functional import flow_site
from tests.functional.test_comparison import compares, posted

Calls = dict[str, int]
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
CREATE = flow_site.step_names(flow_site.a_create("any", Topology.ACTIVE_STANDBY))
DELETE = flow_site.step_names(flow_site.a_deletion("any"))


class BeatingNova(nova.NovaCompute):
    """Its machines are heard as soon as they are ordered."""

    heard: Callable[[str], None]

    def boot(self, request: interface.BootRequest) -> interface.Instance:
        made = super().boot(request)
        self.heard(request.amphora_id)
        return made


class CloudSite(flow_site.Site):
    """A site whose drivers ask `cloud`."""

    def __init__(self) -> None:
        super().__init__()
        self.services.close()
        self.cloud = openstack_cloud.Simulated()
        machines = BeatingNova.from_conf(self.cloud.conf)
        assert isinstance(machines, BeatingNova)
        machines.heard = self.beat
        self.subnet_id = self.cloud.a_network("198.19.0.0/16").subnet_ids[0]
        self.cloud.network.subnet_id = self.subnet_id  # type: ignore[attr-defined]
        self.before = self.held()
        settings = services_module.Settings(
            deployment_key=b"a deployment's key",
            health_managers=(("198.19.0.2", 5555),),
            image_tag=self.cloud.image_tag,
            compute_flavor=self.cloud.flavor,
        )
        self.compute, self.network = machines, self.cloud.network  # type: ignore[assignment]
        self.told: collections.Counter[str] = collections.Counter()  # what agents were asked for
        for name in agents.AmphoraDriver.__abstractmethods__:
            setattr(self.amphora, name, self._noting(name, getattr(self.amphora, name)))
        self.services = services_module.Services(
            self.db, machines, self.cloud.network, self.amphora, fake_ca.FakeCertificateAuthority(), settings=settings
        )

    def _noting(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def ask(*arguments: Any, **named: Any) -> Any:
            self.told[name] += 1
            return real(*arguments, **named)

        return ask

    def close(self) -> None:
        super().close()
        self.cloud.close()

    def _additional(self, topology: Topology) -> tuple[WantedAddress, ...]:
        return ()  # a pair's calls are counted with one VIP

    def held(self) -> collections.Counter[str]:
        """How many of each thing there are in the cloud, but for each project's `default` group; servers that are going are waited for."""
        compute, network = self.cloud.services.compute, self.cloud.services.network
        self.cloud.eventually(lambda: not compute.going())
        there = {name: len([one for one in rows.values() if one.get("name") != "default"]) for name, rows in network.rows.items()}
        there.pop("security-group-rules")  # which go with their groups
        return collections.Counter(servers=len(compute.servers), server_groups=len(compute.groups), **there)

    def told_by(self, does: Callable[[], object]) -> tuple[Calls, Calls]:
        """How often this asks the cloud what, and the agents."""
        self.told.clear()
        return self.asked(does), dict(self.told)

    def asked(self, does: Callable[[], object]) -> Calls:
        """How often this asks what."""
        before, read_before = len(self.cloud.services.asked), len(self.cloud.services.reads)
        does()
        again = [what for what, times in collections.Counter(self.cloud.services.reads[read_before:]).items() if times > 1]
        changing = "/security-groups|/ports.*VIP.of"  # the groups of a load balancer, and the ports that bear its VIP
        assert [what for what in again if not re.search(changing, what)] == [], "only what was written since is read again"
        calls = [f"{method} {_ID.sub('ID', path)}" for method, path in self.cloud.services.asked[before:]]
        return dict(collections.Counter(calls))


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[CloudSite]:
    monkeypatch.setattr(glance, "_TRUE_FOR", 600.0)  # a busy machine may take longer than usual from one job to the next
    made = CloudSite()
    yield made
    made.close()


@pytest.mark.parametrize("topology", list(Topology))
def test_a_life_asks_for_nothing_twice_and_leaves_nothing(site: CloudSite, topology: Topology) -> None:
    halves = len(topology.roles)
    load_balancer_id = site.accept_load_balancer(topology)
    site.accept_tree(load_balancer_id)
    create, of_agents = site.told_by(lambda: site.succeed(flow_site.a_create(load_balancer_id, topology)))
    assert of_agents == {"apply": halves}
    assert site.state(load_balancer_id) is ProvisioningStatus.ACTIVE
    pool_id = site.snapshot(load_balancer_id).pools[0].id
    site.accept(load_balancer_id, flow_site.a_member(pool_id, "198.19.20.77"))
    change, of_agents = site.told_by(lambda: site.succeed(flow_site.an_update(load_balancer_id)))
    assert of_agents == {"apply": halves}
    site.accept(load_balancer_id, flow_site.a_listener(8443))
    update, of_agents = site.told_by(lambda: site.succeed(flow_site.an_update(load_balancer_id)))
    assert of_agents == {"apply": halves}
    (role, lost) = next(iter(site.amphorae(load_balancer_id).items()))
    assert role is not None
    job = jobs.FailoverAmphora(load_balancer_id=load_balancer_id, amphora_id=lost, replacement_id=str(uuid.uuid4()), role=role)
    failover, of_agents = site.told_by(lambda: site.succeed(job))
    assert of_agents == {"info": halves, "apply": 1 + halves, "remove": 2}, "it is tried without the VIP, which is let go of first"
    site.accept_delete(load_balancer_id)
    delete, of_agents = site.told_by(lambda: site.succeed(flow_site.a_deletion(load_balancer_id)))
    assert of_agents == {}, "a dead one delays nothing"
    assert change == {}, "a change of members is between us and the agents"
    assert update == {"GET /security-groups": 1, "POST /security-group-rules": 1}, "a port is opened"
    look, make, end = "GET /servers/detail", "POST /servers", "DELETE /servers/ID"
    groups = {"GET /os-server-groups": 1} if halves == 2 else {}
    made = {"POST /os-server-groups": 1} if halves == 2 else {}
    assert machines(create) == {look: halves, "GET /images": 1, make: halves, **groups, **made}
    assert machines(failover) == {look: 2, make: 1, end: 1, **groups}, "the image was asked for just now"
    assert machines(delete) == {look: halves, end: halves, **groups, **({"DELETE /os-server-groups/ID": 1} if groups else {})}
    pair = halves == 2
    assert ports_and_groups(create) == {
        "POST /ports": 2 * halves,  # of management, and for VRRP
        "GET /networks": 2,  # for their MTU, once each
        "GET /subnets/ID": 2,
        "GET /ports": halves + pair,  # what of an amphora is there already; who bears the VIP
        "GET /security-groups": 1,
        "POST /security-group-rules": 1 + pair,
    } | ({"POST /security-groups": 1, "PUT /ports/ID": 2} if pair else {})
    assert ports_and_groups(failover) == {
        "POST /ports": 2,
        "GET /ports": 2 + pair,
        "GET /security-groups": 1 + 2 * pair,
        "DELETE /ports/ID": 2,
    } | ({"POST /security-group-rules": 1, "DELETE /security-group-rules/ID": 2} if pair else {})
    assert ports_and_groups(delete) == {
        "GET /ports": halves + 1,
        "DELETE /ports/ID": 2 * halves + 1,
        "GET /security-groups": 1,
        "DELETE /security-groups/ID": 1 + pair,
    }
    assert site.held() == site.before


@pytest.mark.parametrize("topology", list(Topology))
def test_members_on_another_network_ask_for_nothing_once_it_is_plugged(site: CloudSite, topology: Topology) -> None:
    load_balancer_id = site.built(topology)
    (subnet_id,) = site.cloud.a_network("198.18.9.0/24").subnet_ids
    pool_id = site.snapshot(load_balancer_id).pools[0].id

    def put(place: int) -> None:
        site.accept(load_balancer_id, flow_site.a_member(pool_id, f"198.18.9.{place}", subnet_id=subnet_id))
        site.succeed(flow_site.an_update(load_balancer_id))

    plug, *changes = [site.asked(functools.partial(put, place)) for place in (10, 11, 12)]
    assert plug["POST /servers/ID/os-interface"] == plug["POST /ports"] == len(topology.roles)
    assert changes == [{}, {}], "a change of members is between us and the agents"
    assert [len(site.cloud.network.member_ports(one)) for one in site.amphorae(load_balancer_id).values()] == [1] * len(topology.roles)


@pytest.mark.parametrize("topology", list(Topology))
def test_a_network_that_is_plugged_again_soon_comes_by_a_card_of_its_own(site: CloudSite, topology: Topology) -> None:
    """Nova has taken the order to unplug it, and the guest has the former card still: an agent goes by MAC addresses."""
    load_balancer_id = site.built(topology)
    compute, pool_id = site.cloud.services.compute, site.snapshot(load_balancer_id).pools[0].id
    (subnet_id,) = site.cloud.a_network("198.18.9.0/24").subnet_ids
    machines_of = [f"amphora-{one}" for one in site.amphorae(load_balancer_id).values()]
    for name in machines_of:
        site.cloud.eventually(lambda name=name: compute.named(name)[0]["status"] == "ACTIVE")  # type: ignore[misc]
    compute.detach_time = 600.0

    def put(place: int) -> list[str]:
        """The MAC addresses of the ports towards members."""
        site.accept(load_balancer_id, flow_site.a_member(pool_id, f"198.18.9.{place}", subnet_id=subnet_id))
        site.succeed(flow_site.an_update(load_balancer_id))
        return [port.mac_address for one in site.amphorae(load_balancer_id).values() for port in site.network.member_ports(one)]

    def remove() -> None:
        (member_id,) = (one.id for one in site.snapshot(load_balancer_id).members if one.subnet_id == subnet_id)
        site.accept(load_balancer_id, flow_site.gone(tables.members, member_id))
        site.succeed(flow_site.an_update(load_balancer_id))

    former = put(10)
    remove()
    new = put(11)
    assert len(new) == len(former) == len(machines_of)
    for name, mac, before in zip(machines_of, new, former, strict=True):
        assert compute.cards(name).count(before) == 1, "still there"
        assert compute.cards(name).count(mac) == 1, "there is one of which the agent can be sure"


@pytest.mark.parametrize("topology", list(Topology))
def test_a_card_that_somebody_unplugged_is_plugged_again_when_an_amphora_lacks_it(
    site: CloudSite, topology: Topology, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row says that it is plugged, so a change of members asks nobody; each next try would be refused alike, for good."""
    load_balancer_id = site.built(topology)
    compute, pool_id = site.cloud.services.compute, site.snapshot(load_balancer_id).pools[0].id
    (subnet_id,) = site.cloud.a_network("198.18.9.0/24").subnet_ids
    for one in site.amphorae(load_balancer_id).values():
        site.cloud.eventually(lambda one=one: compute.named(f"amphora-{one}")[0]["status"] == "ACTIVE")  # type: ignore[misc]
    site.accept(load_balancer_id, flow_site.a_member(pool_id, "198.18.9.10", subnet_id=subnet_id))
    site.succeed(flow_site.an_update(load_balancer_id))
    lost = next(iter(site.amphorae(load_balancer_id).values()))
    (port,), (server,) = site.network.member_ports(lost), compute.named(f"amphora-{lost}")
    site.compute.detach_port(server["id"], port)
    apply = site.amphora.apply

    def applies(amphora: Amphora, wanted: rest.WantedState, *arguments: Any, **named: Any) -> Any:
        """As an agent does it: a card has to be there."""
        if missing := {nic.mac for nic in wanted.interfaces}.difference(compute.cards(f"amphora-{amphora.id}")):
            raise exceptions.CardMissing(amphora.id, f"no interface with MAC {missing} appeared")
        return apply(amphora, wanted, *arguments, **named)

    monkeypatch.setattr(site.amphora, "apply", applies)
    site.accept(load_balancer_id, flow_site.a_member(pool_id, "198.18.9.11", subnet_id=subnet_id))
    site.work(flow_site.an_update(load_balancer_id))
    assert site.state(load_balancer_id) is ProvisioningStatus.ERROR
    site.succeed(flow_site.an_update(load_balancer_id))
    assert site.state(load_balancer_id) is ProvisioningStatus.ACTIVE
    assert port.mac_address in compute.cards(f"amphora-{lost}")


@pytest.mark.parametrize("detach_time", [0.0, 600.0], ids=["unplugged-at-once", "still-unplugging"])
@pytest.mark.parametrize("dies", ["before-detach", "before-deletion", "after-deletion"])
@pytest.mark.parametrize("topology", list(Topology))
def test_a_network_is_wanted_again_after_a_death_as_it_was_given_back(
    site: CloudSite, topology: Topology, dies: str, detach_time: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the former worker began to unplug is no port to go on with: Nova calls it plugged until it is gone."""
    load_balancer_id = site.built(topology)
    compute, pool_id = site.cloud.services.compute, site.snapshot(load_balancer_id).pools[0].id
    (subnet_id,) = site.cloud.a_network("198.18.9.0/24").subnet_ids
    site.before = site.held()
    machines_of = {one: f"amphora-{one}" for one in site.amphorae(load_balancer_id).values()}
    for name in machines_of.values():
        site.cloud.eventually(lambda name=name: compute.named(name)[0]["status"] == "ACTIVE")  # type: ignore[misc]
    site.accept(load_balancer_id, flow_site.a_member(pool_id, "198.18.9.10", subnet_id=subnet_id))
    site.succeed(flow_site.an_update(load_balancer_id))
    compute.detach_time = detach_time
    with monkeypatch.context() as patch:
        _dies(site, dies, patch)
        _removes_members(site, load_balancer_id, subnet_id)
    site.accept(load_balancer_id, flow_site.a_member(pool_id, "198.18.9.11", subnet_id=subnet_id))
    site.settle(load_balancer_id)
    assert site.state(load_balancer_id) is ProvisioningStatus.ACTIVE
    for amphora_id, name in machines_of.items():
        (port,) = site.network.member_ports(amphora_id)
        assert compute.cards(name).count(port.mac_address) == 1
        assert compute.stays_plugged(name, port.id)
        running = site.amphora.running(amphora_id, load_balancer_id)
        assert running is not None
        assert port.mac_address in [nic.mac for nic in running.interfaces]
    assert site.asked(lambda: _changes_a_member(site, load_balancer_id)) == {}, "nothing is looked for any more"
    _removes_members(site, load_balancer_id, subnet_id)
    assert site.held() == site.before


def _dies(site: CloudSite, when: str, patch: pytest.MonkeyPatch) -> None:
    driver, name = (site.compute, "detach_port") if when == "before-detach" else (site.network, "release_member_port")
    real = getattr(driver, name)

    def does_and_dies(*arguments: object, **named: object) -> None:
        if when == "after-deletion":
            real(*arguments, **named)
        raise exceptions.StaleLease("(the worker died here)")

    patch.setattr(driver, name, does_and_dies)


def _removes_members(site: CloudSite, load_balancer_id: str, subnet_id: str) -> None:
    there = [one.id for one in site.snapshot(load_balancer_id).members if one.subnet_id == subnet_id]
    site.accept(load_balancer_id, *(flow_site.gone(tables.members, one) for one in there))
    site.work(flow_site.an_update(load_balancer_id))


def _changes_a_member(site: CloudSite, load_balancer_id: str) -> None:
    site.accept(load_balancer_id, (tables.members, {"id": site.snapshot(load_balancer_id).members[0].id, "weight": 7}))
    site.succeed(flow_site.an_update(load_balancer_id))


def ports_and_groups(calls: Calls) -> Calls:
    """Those of Neutron."""
    return {what: times for what, times in calls.items() if what not in machines(calls)}


def machines(calls: Calls) -> Calls:
    """Those of Nova and Glance."""
    return {what: times for what, times in calls.items() if what.split("/")[1] in ("servers", "images", "os-server-groups")}


@pytest.mark.parametrize("in_the_middle", [flow_site.NOT_QUICK, True])
@pytest.mark.parametrize("step", [*CREATE, *DELETE])
def test_whenever_the_worker_dies_nothing_is_left_in_the_cloud(site: CloudSite, step: str, in_the_middle: bool) -> None:
    load_balancer_id = site.accept_load_balancer(Topology.ACTIVE_STANDBY)
    site.accept_tree(load_balancer_id)
    site.work(flow_site.a_create(load_balancer_id, Topology.ACTIVE_STANDBY), spoil=flow_site.dying(step, in_the_middle))
    site.settle(load_balancer_id)
    assert site.state(load_balancer_id) is ProvisioningStatus.ACTIVE
    held = site.held()
    assert (held["servers"] - site.before["servers"], held["server_groups"] - site.before["server_groups"]) == (2, 1)
    site.accept_delete(load_balancer_id)
    site.work(flow_site.a_deletion(load_balancer_id), spoil=flow_site.dying(step, in_the_middle))
    site.settle(load_balancer_id)
    assert site.held() == site.before


def test_a_server_that_somebody_renamed_goes_with_its_load_balancer(site: CloudSite) -> None:
    before, load_balancer_id = site.held(), site.built(Topology.SINGLE)
    _rename(site)
    site.accept_delete(load_balancer_id)
    site.succeed(flow_site.a_deletion(load_balancer_id))
    assert site.held() == before


def test_a_server_that_lost_its_tag_is_found_and_goes_with_its_load_balancer(site: CloudSite) -> None:
    before, load_balancer_id = site.held(), site.built(Topology.SINGLE)
    (server,) = site.cloud.services.compute.servers.values()
    (amphora_id,) = site.amphorae(load_balancer_id).values()
    server["tags"] = ["another deployment"]
    assert site.compute.find(amphora_id) is None, "a copy of this one, whose rows have the same ids, would not take it"
    server["tags"] = []
    found = site.compute.find(amphora_id)
    assert found is not None
    assert site.compute.boot(site.cloud.a_request(amphora_id)).id == found.id == server["id"]
    site.accept_delete(load_balancer_id)
    site.succeed(flow_site.a_deletion(load_balancer_id))
    assert site.held() == before


def test_an_orphan_is_said_to_be_deleted_when_it_is(site: CloudSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """A renamed server that no row explains; Nova is slow to begin with its deletion."""
    lost = str(uuid.uuid4())
    site.accept_load_balancer(Topology.SINGLE)  # in a database that knows none, nothing is an orphan
    site.compute.boot(site.cloud.a_request(lost))
    _rename(site)
    collector = orphans.Orphans(site.db, site.compute, site.network, grace=0.0)
    with monkeypatch.context() as patch:
        patch.setattr(site.cloud.services.compute, "delete_time", 600.0)
        patch.setattr(nova, "_is_gone", lambda server: False)
        for _ in range(3):
            collector.collect(lambda: True)
        assert _told_of_orphans(site) == []
    site.cloud.services.compute.remove("renamed-by-an-operator")
    site.compute.boot(site.cloud.a_request(lost))
    _rename(site)
    for _ in range(3):
        collector.collect(lambda: True)
    assert _told_of_orphans(site) == [("amphora", lost)]
    assert site.compute.find(lost) is None


def _rename_all(site: CloudSite) -> None:
    """Servers, ports and groups of ours, and the VIP port."""
    _rename(site)
    rows = site.cloud.services.network.rows
    for one in (*rows["ports"].values(), *(group for group in rows["security-groups"].values() if group["name"] != "default")):
        one["name"] = "renamed-by-an-operator"


@pytest.mark.parametrize("topology", list(Topology))
def test_all_that_somebody_renamed_goes_on_and_goes_with_its_load_balancer(site: CloudSite, topology: Topology) -> None:
    site.cloud.services.compute.build_time = 0.0  # a successor that is heard is built, and takes a port
    (subnet_id,) = site.cloud.a_network("198.18.9.0/24").subnet_ids
    before, load_balancer_id = site.held(), site.built(topology)
    pool_id = site.snapshot(load_balancer_id).pools[0].id
    site.accept(load_balancer_id, flow_site.a_member(pool_id, "198.18.9.10", subnet_id=subnet_id))
    site.succeed(flow_site.an_update(load_balancer_id))
    held = site.held()
    _rename_all(site)
    compares(site).compare(lambda: True)
    assert posted(site) == [], "nothing is missing"
    site.accept(load_balancer_id, flow_site.a_listener(8443))
    site.succeed(flow_site.an_update(load_balancer_id))
    site.succeed(jobs.RepairLoadBalancer(load_balancer_id=load_balancer_id))
    assert site.held() == held, "nothing was made a second time"
    assert {80, 8443} <= {rule.port for rule in site.network.vip_access(load_balancer_id)}
    (role, lost), *_ = site.amphorae(load_balancer_id).items()
    assert role is not None
    site.succeed(jobs.FailoverAmphora(load_balancer_id=load_balancer_id, amphora_id=lost, replacement_id=str(uuid.uuid4()), role=role))
    assert site.held() == held, "what the former amphora had is gone"
    _rename_all(site)
    site.accept_delete(load_balancer_id)
    site.succeed(flow_site.a_deletion(load_balancer_id))
    assert site.held() == before


def test_a_port_that_was_renamed_before_its_answer_came_is_not_made_again(site: CloudSite) -> None:
    amphora_id, member_network = str(uuid.uuid4()), site.cloud.a_network("198.18.9.0/24")
    made = [site.cloud.network.ensure_management_port(amphora_id).id]
    made.append(site.cloud.network.ensure_member_port(amphora_id, member_network.id, member_network.subnet_ids).id)
    _rename_all(site)
    assert site.cloud.network.ensure_management_port(amphora_id).id == made[0]
    assert site.cloud.network.ensure_member_port(amphora_id, member_network.id, member_network.subnet_ids).id == made[1]
    assert [one.id for one in site.cloud.network.member_ports(amphora_id)] == made[1:]


def test_renamed_ports_and_groups_that_no_row_explains_are_orphans(site: CloudSite) -> None:
    site.accept_load_balancer(Topology.SINGLE)  # in a database that knows none, nothing is an orphan
    before, lost, balancer = site.held(), str(uuid.uuid4()), str(uuid.uuid4())
    site.cloud.network.ensure_management_port(lost)
    site.cloud.network.allocate_vip(balancer, site.cloud.project_id, VipRequest(subnet_id=site.subnet_id))
    _rename_all(site)
    collector = orphans.Orphans(site.db, site.compute, site.network, grace=0.0)
    for _ in range(2):
        collector.collect(lambda: True)
    assert sorted(_told_of_orphans(site)) == sorted([("amphora", lost), ("load_balancer", balancer)])
    assert site.held() == before


def _rename(site: CloudSite) -> None:
    for server in site.cloud.services.compute.servers.values():
        server["name"] = "renamed-by-an-operator"


def _told_of_orphans(site: CloudSite) -> list[tuple[str, str]]:
    with site.db.read() as tx:
        rows = tx.connection.execute(sa.select(tables.events).where(tables.events.c.code == "orphan")).mappings()
        return [(row["object_type"], row["object_id"]) for row in rows]


def test_a_group_whose_load_balancer_was_never_stored_is_an_orphan(site: CloudSite) -> None:
    """An API that died between the group and the rows, after its VIP port was given back."""
    living, lost = site.accept_load_balancer(Topology.SINGLE), str(uuid.uuid4())
    vip = site.cloud.network.allocate_vip(living, site.cloud.project_id, VipRequest(subnet_id=site.subnet_id))
    left = site.cloud.network.allocate_vip(lost, site.cloud.project_id, VipRequest(subnet_id=site.subnet_id))
    site.cloud.delete_port(left.port_id)
    collector = orphans.Orphans(site.db, site.compute, site.network, grace=0.0)
    assert set(site.network.list_vip_groups()) == {living, lost}
    for _ in range(2):
        collector.collect(lambda: True)
    assert set(site.network.list_vip_groups()) == {living}
    site.cloud.network.deallocate_vip(living, vip)
