"""Every call of every method of the driver `neutron` fails in every way: nothing is made twice or left, and the next try succeeds."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import flask
import pytest

from controller import exceptions
from controller.drivers.network import neutron
from controller.model import load_balancer as model
from controller.model.network import AccessRule, VipRequest
from controller.openstack import cloud as openstack
from tests import builders, simulated
from tests.contract import openstack_cloud
from tests.contract.cloud import new_id

PATIENCE = 0.4  # seconds; what does not answer takes longer


@dataclasses.dataclass
class World:
    """A load balancer and its amphora, as far as the network knows them."""

    services: simulated.SimulatedCloud
    network: neutron.NeutronNetwork
    hasty: neutron.NeutronNetwork  # waits for no answer longer than PATIENCE
    project_id: str
    network_id: str
    subnet_ids: list[str]
    other: str
    tenants_group: str
    policy: str
    load_balancer_id: str = dataclasses.field(default_factory=new_id)
    amphora_id: str = dataclasses.field(default_factory=new_id)
    second_id: str = dataclasses.field(default_factory=new_id)
    adopted: str | None = None
    vip: model.Vip | None = None

    def allocate(self) -> model.Vip:
        where = VipRequest(port_id=self.adopted) if self.adopted else VipRequest(network_id=self.network_id, subnet_id=self.subnet_ids[0])
        self.vip = self.network.allocate_vip(self.load_balancer_id, self.project_id, where)
        return self.vip

    def pair(self, *more: AccessRule) -> tuple[AccessRule, ...]:
        return (AccessRule("tcp", 80), AccessRule("vrrp", None, "198.18.7.9/32", True), *more)

    def books(self) -> list[str]:
        """What is there of ours, with nothing in it that differs from run to run."""
        names = {self.load_balancer_id: "LB", self.amphora_id: "A1", self.second_id: "A2"} | ({self.adopted: "P"} if self.adopted else {})
        groups = self.services.network.rows["security-groups"]
        called = {key: group["name"] for key, group in groups.items()}
        ports = [
            {name: row[name] for name in ("name", "project_id", "device_id", "device_owner", "description")}
            | {"groups": sorted(called[one] for one in row["security_groups"]), "pairs": len(row["allowed_address_pairs"])}
            | {"subnets": sorted(one["subnet_id"] for one in row["fixed_ips"]), "limited": row["qos_policy_id"] is not None}
            for row in self.services.network.ports.values()
            if row["id"] == self.adopted or "octavia" in row["name"]
        ]
        rules = [
            (group["name"], sorted(map(_said, self.services.network.rules_of(group["id"]))))
            for group in groups.values()
            if group["name"].startswith("lb-")
        ]
        told = [str(one) for one in (*ports, *rules) if any(one_id in str(one) for one_id in names)]
        return sorted(re.sub("|".join(names), lambda found: names[found[0]], one) for one in told)


def _said(rule: dict[str, Any]) -> str:
    return str([rule[name] for name in ("direction", "ethertype", "protocol", "port_range_min", "remote_ip_prefix")])


@pytest.fixture(scope="module")
def simulation() -> Iterator[openstack_cloud.Simulated]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(openstack, "_PAUSE", 0.01)
        cloud = openstack_cloud.Simulated()
        yield cloud
        cloud.services.faults.clear()
        cloud.close()


@pytest.fixture
def world(simulation: openstack_cloud.Simulated) -> World:
    services = simulation.services
    services.faults.clear()
    conf = openstack_cloud.configuration(simulated.access(services))
    asked, hastily = (openstack.Cloud(openstack._connection(conf), patience) for patience in (60.0, PATIENCE))
    made = simulation.a_network("198.18.7.0/24")
    subnets = [*made.subnet_ids, simulation.create_subnet(made.id, "198.18.9.0/24")]
    network, hasty = (neutron.NeutronNetwork(one, [services.network.management_network]) for one in (asked, hastily))
    assert asked.project_id == hastily.project_id
    other, group, policy = simulation.create_network(), simulation.create_security_group("theirs"), simulation.create_qos_policy()
    return World(services, network, hasty, simulation.project_id, made.id, subnets, other, group, policy)


def _release(world: World) -> None:
    for port in world.network.member_ports(world.amphora_id):
        world.network.release_member_port(port.id, world.subnet_ids[:1])


Step = Callable[[World], object]

# Each method with what comes before it: (what has to be there, what is tried)
METHODS: dict[str, tuple[list[Step], Step]] = {
    "allocate_vip": ([], World.allocate),
    "adopt": ([lambda w: _tenants_port(w)], World.allocate),
    "ensure_management_port": ([], lambda w: w.network.ensure_management_port(w.amphora_id)),
    "ensure_vrrp_port": ([World.allocate], lambda w: w.network.ensure_vrrp_port(w.amphora_id, w.load_balancer_id, _vip(w))),
    "ensure_member_port": ([], lambda w: w.network.ensure_member_port(w.amphora_id, w.network_id, w.subnet_ids[:1])),
    "ensure_member_port again": (
        [lambda w: w.network.ensure_member_port(w.amphora_id, w.network_id, w.subnet_ids[:1])],
        lambda w: w.network.ensure_member_port(w.amphora_id, w.network_id, w.subnet_ids),
    ),
    "release_member_port": (
        [lambda w: w.network.ensure_member_port(w.amphora_id, w.network_id, w.subnet_ids)],
        _release,
    ),
    "set_vip_access": ([World.allocate, lambda w: _plug(w)], lambda w: w.network.set_vip_access(w.load_balancer_id, _vip(w), w.pair())),
    "set_vip_access again": (
        [World.allocate, lambda w: _plug(w), lambda w: w.network.set_vip_access(w.load_balancer_id, _vip(w), w.pair())],
        lambda w: w.network.set_vip_access(w.load_balancer_id, _vip(w), w.pair(AccessRule("udp", 53))[1:]),
    ),
    "set_vip_access of a group that is gone": (
        [World.allocate, lambda w: _plug(w), lambda w: w.network.delete_vip_access(w.load_balancer_id)],
        lambda w: w.network.set_vip_access(w.load_balancer_id, _vip(w), w.pair()),
    ),
    "set_vip_security_groups": (
        [World.allocate, lambda w: _plug(w)],
        lambda w: w.network.set_vip_security_groups(w.load_balancer_id, _vip(w), [w.tenants_group]),
    ),
    "set_vip_qos": (
        [World.allocate, lambda w: _plug(w)],
        lambda w: w.network.set_vip_qos(w.load_balancer_id, dataclasses.replace(_vip(w), qos_policy_id=w.policy)),
    ),
    "delete_amphora_ports": ([World.allocate, lambda w: _plug(w)], lambda w: w.network.delete_amphora_ports(w.amphora_id)),
    "delete_vip_access": ([World.allocate, lambda w: _plug(w)], lambda w: w.network.delete_vip_access(w.load_balancer_id)),
    "deallocate_vip": ([World.allocate], lambda w: w.network.deallocate_vip(w.load_balancer_id, _vip(w))),
    "give back": ([lambda w: _tenants_port(w), World.allocate], lambda w: w.network.deallocate_vip(w.load_balancer_id, _vip(w))),
}


def _vip(world: World) -> model.Vip:
    assert world.vip is not None
    return world.vip


def _plug(world: World) -> None:
    for amphora_id in (world.amphora_id, world.second_id):
        world.network.ensure_vrrp_port(amphora_id, world.load_balancer_id, _vip(world))


def _tenants_port(world: World) -> None:
    body = {"name": "mine", "network_id": world.network_id, "project_id": world.project_id, "security_groups": [world.tenants_group]}
    world.adopted = str(world.services.network.add("ports", **body, fixed_ips=[{"subnet_id": world.subnet_ids[0]}])["id"])


def _neutron(status: int, kind: str) -> Callable[[], flask.Response]:
    def answer() -> flask.Response:
        response = flask.jsonify({"NeutronError": {"type": kind, "message": f"Injected {kind}.", "detail": ""}})
        response.status_code = status
        return response

    return answer


_NO_ANSWER = "no answer in time, though it was done"
FAULTS: dict[str, tuple[Callable[[], flask.Response], bool]] = {
    "lost after it was done": (simulated.reset, True),
    "500 after it was done": (simulated.refusal(500, "Internal Server Error"), True),
    "500": (_neutron(500, "HTTPInternalServerError"), False),
    "503": (simulated.refusal(503, "Service Unavailable"), False),
    "429": (simulated.refusal(429, "Too many requests", headers={"Retry-After": "0"}), False),
    "reset": (simulated.reset, False),
    "stale data": (_neutron(409, "StaleDataError"), False),
    _NO_ANSWER: (simulated.silence(PATIENCE * 2), True),
}


def _run(
    world: World, before: list[Step], step: Step, fault: tuple[Callable[[], flask.Response], bool] | None, skip: int
) -> list[Exception]:
    """Do it, as often as it takes; what it raised meanwhile."""
    for one in before:
        one(world)
    if fault is not None:
        world.services.faults.append(simulated.Fault("", "", fault[0], after=fault[1], skip=skip))
    silent = fault == FAULTS[_NO_ANSWER]
    patient, world.network = world.network, world.hasty if silent else world.network
    raised: list[Exception] = []
    while len(raised) < (10 if silent else 3):  # on a slow machine even an answer may come too late
        try:
            step(world)
        except exceptions.ControllerError as error:
            raised.append(error)
        else:
            world.network = patient
            return raised
    raise AssertionError(raised)


def _calls_of(world: World, before: list[Step], step: Step) -> int:
    for one in before:
        one(world)
    first = len(world.services.asked)
    step(world)
    return len(world.services.asked) - first


# Each call meets one of those that did nothing, in turn.
_NOT_DONE = [name for name, (_, done) in FAULTS.items() if not done]


@pytest.mark.slow
@pytest.mark.parametrize("fault", [*(name for name, (_, done) in FAULTS.items() if done), "not done"])
@pytest.mark.parametrize("method", METHODS)
def test_whatever_call_fails_the_next_try_comes_to_the_same(world: World, method: str, fault: str) -> None:
    before, step = METHODS[method]
    calls = _calls_of(world, before, step)
    expected = world.books()
    turn = list(METHODS).index(method)
    for skip in range(calls):
        not_done = _NOT_DONE[(turn + skip) % len(_NOT_DONE)]
        again = dataclasses.replace(world, load_balancer_id=new_id(), amphora_id=new_id(), second_id=new_id(), adopted=None, vip=None)
        raised = _run(again, before, step, FAULTS[not_done if fault == "not done" else fault], skip)
        assert all(isinstance(error, exceptions.Transient) for error in raised), (skip, not_done, raised)
        assert again.books() == expected, (skip, not_done, raised)
        _clean_up(again)
    _clean_up(world)


def _clean_up(world: World) -> None:
    world.services.faults.clear()
    for amphora_id in (world.amphora_id, world.second_id):
        world.network.delete_amphora_ports(amphora_id)
    left = [port for port in world.network.list_ours() if port.device_id == f"lb-{world.load_balancer_id}"]
    for port in left:  # as housekeeping does, whose rows know nothing of it
        fixed = port.fixed_ips[0]
        vip = model.Vip(addresses=(fixed,), port_id=port.id, network_id=port.network_id)
        world.network.deallocate_vip(world.load_balancer_id, vip)
    world.network.delete_vip_access(world.load_balancer_id)
    assert [one for one in world.books() if "'mine'" not in one] == []


_REFUSALS = [400, 401, 403, 404, 409, 413]


@pytest.mark.slow
@pytest.mark.parametrize("turn", range(3))
@pytest.mark.parametrize("method", METHODS)
def test_a_refusal_is_told_in_the_words_of_the_service_and_leaves_nothing(world: World, method: str, turn: int) -> None:
    """Each call of each method meets three of the six, and each of the six meets every second call."""
    before, step = METHODS[method]
    calls = _calls_of(world, before, step)
    _clean_up(world)
    for skip in range(calls):
        again = dataclasses.replace(world, load_balancer_id=new_id(), amphora_id=new_id(), second_id=new_id(), adopted=None, vip=None)
        for one in before:
            one(again)
        status = _REFUSALS[2 * turn + skip % 2]
        again.services.faults.append(simulated.Fault("", "", _neutron(status, "Odd"), skip=skip, times=10**6))
        error = _refusal_of(again, step)
        assert error is None or "Injected Odd" in str(error) or isinstance(error, exceptions.NotFound | exceptions.Misconfigured), error
        _clean_up(again)


def _serve(world: World) -> None:
    """A pair whose halves hear each other, and clients' port is open."""
    world.allocate()
    _plug(world)
    world.network.set_vip_access(world.load_balancer_id, _vip(world), world.pair())


def _lose_vip(world: World) -> None:
    del world.services.network.ports[_vip(world).port_id]


def _bare_vip(world: World) -> None:
    """The port is there by an earlier try, without its group yet."""
    world.services.network.ports[_vip(world).port_id]["security_groups"] = []


def _lose_group(world: World) -> None:
    """Somebody took the listeners' group off all ports, and deleted it; that of the pair is there."""
    network = world.services.network
    (lost,) = (key for key, row in network.rows["security-groups"].items() if row["name"] == f"lb-{world.load_balancer_id}")
    for port in network.ports.values():
        port["security_groups"] = [one for one in port["security_groups"] if one != lost]
    del network.rows["security-groups"][lost]


def _allocate_again(world: World) -> None:
    """As housekeeping does."""
    vip = _vip(world)
    where = VipRequest(network_id=vip.network_id, subnet_id=vip.subnet_id, address=vip.address)
    world.network.allocate_vip(world.load_balancer_id, world.project_id, where)


# Each method that undoes what it did if it fails, while a load balancer serves.
SERVING: dict[str, tuple[list[Step], Step]] = {
    "the VIP port is lost": ([_serve, _lose_vip], _allocate_again),
    "the VIP port is there without its group": ([_serve, _bare_vip], _allocate_again),
    "the VIP port and the listeners' group are lost": ([_serve, _lose_group, _lose_vip], _allocate_again),
    "the VIP port is there, and the listeners' group is lost": ([_serve, _lose_group, _bare_vip], _allocate_again),
    "a tenant's port": ([_tenants_port, _serve], World.allocate),
    "a tenant's port whose group is lost": ([_tenants_port, _serve, _lose_group], World.allocate),
}


@pytest.mark.parametrize("fault", ["503", "409", "lost after it was done"])
@pytest.mark.parametrize("situation", SERVING)
def test_what_fails_takes_nothing_away_that_it_did_not_make(world: World, situation: str, fault: str) -> None:
    """A call that fails for good, and the next ones, which undo what was done, succeed."""
    before, step = SERVING[situation]
    calls = _calls_of(world, before, step)
    _clean_up(world)
    answer = _neutron(409, "Odd") if fault == "409" else FAULTS[fault][0]
    for skip in range(calls):
        again = dataclasses.replace(world, load_balancer_id=new_id(), amphora_id=new_id(), second_id=new_id(), adopted=None, vip=None)
        for one in before:
            one(again)
        held = again.books()
        again.services.faults.append(simulated.Fault("", "", answer, skip=skip, times=3, after=FAULTS.get(fault, (None, False))[1]))
        with contextlib.suppress(exceptions.ControllerError):
            step(again)
        again.services.faults.clear()
        assert not _missing(held, again.books()), (skip, fault)
        step(again)
        assert not _missing(held, again.books()), "the next try goes well"
        _clean_up(again)


def _missing(held: list[str], now: list[str]) -> list[str]:
    """What is not there any more; a port that has its group again is."""
    mended = {one: one.replace("'groups': [", "'groups': ['lb-LB', ").replace(", ]", "]") for one in held}
    return [one for one in held if one not in now and mended[one] not in now]


def _refusal_of(world: World, step: Step) -> exceptions.ControllerError | None:
    """None: it did not need what was refused, or that was gone already."""
    try:
        step(world)
    except exceptions.ControllerError as error:
        return error
    return None


def test_a_request_that_is_carried_out_late_makes_no_second_port(world: World) -> None:
    """Two workers at once: the one that was given up, and its successor."""
    vip = world.allocate()
    found: list[str] = []

    def ensure() -> None:
        found.append(world.network.ensure_vrrp_port(world.amphora_id, world.load_balancer_id, vip).id)

    threads = [threading.Thread(target=ensure) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    name = f"octavia-lb-vrrp-{world.amphora_id}"
    assert [row["id"] for row in world.services.network.ports.values() if row["name"] == name] == [*dict.fromkeys(found)]
    assert len(found) == 6
    _clean_up(world)


def test_a_half_that_has_the_address_of_a_former_one_hears_the_other(world: World) -> None:
    vip = world.allocate()
    _plug(world)
    former = world.network.ensure_vrrp_port(world.amphora_id, world.load_balancer_id, vip)
    address = former.fixed_ips[0].ip_address
    rules = (AccessRule("tcp", 80), AccessRule("vrrp", None, f"{address}/32", True))
    world.network.set_vip_access(world.load_balancer_id, vip, rules)
    del world.services.network.ports[former.id]
    successor = world.network.ensure_vrrp_port(world.amphora_id, world.load_balancer_id, vip)
    assert successor.fixed_ips[0].ip_address == address
    world.network.set_vip_access(world.load_balancer_id, vip, rules)
    groups = world.services.network.rows["security-groups"]
    carried = {groups[one]["name"] for one in world.services.network.ports[successor.id]["security_groups"]}
    assert carried == {f"lb-{world.load_balancer_id}", f"lb-{world.load_balancer_id}-amphorae"}
    _clean_up(world)


# What the cloud says, in our words


def test_quota_is_told_as_quota_and_no_group_is_left(world: World) -> None:
    world.services.network.port_quota = 0
    try:
        with pytest.raises(exceptions.QuotaExceeded, match=r"Quota exceeded for resources: \['port'\].*raise the quota"):
            world.allocate()
    finally:
        world.services.network.port_quota = None
    assert world.books() == []


def test_a_port_that_is_there_is_found_though_the_quota_is_met(world: World) -> None:
    made = world.network.ensure_management_port(world.amphora_id)
    world.services.network.port_quota = 0
    try:
        assert world.network.ensure_management_port(world.amphora_id) == made
    finally:
        world.services.network.port_quota = None
    _clean_up(world)


def test_a_mac_address_that_somebody_else_has_is_passed_over(world: World) -> None:
    made = world.network.ensure_member_port(world.amphora_id, world.network_id, world.subnet_ids[:1])
    world.services.network.ports[made.id] |= {"name": "somebody's", "project_id": world.project_id}
    again = world.network.ensure_member_port(world.amphora_id, world.network_id, world.subnet_ids[:1])
    assert again.mac_address != made.mac_address
    del world.services.network.ports[made.id]
    _clean_up(world)


def test_a_plug_has_a_mac_address_of_its_own_that_is_the_same_for_all_who_make_it(world: World) -> None:
    """A former one's card may still be in the machine; two workers at the same plug make one port."""

    def made(plug: str) -> str:
        port = world.network.ensure_member_port(world.amphora_id, world.network_id, world.subnet_ids[:1], plug=plug)
        again = world.network.ensure_member_port(world.amphora_id, world.network_id, world.subnet_ids[:1], plug="while it is there")
        assert again == port
        world.network.release_member_port(port.id)
        return port.mac_address

    first, second, once_more = made("member 1"), made("member 2"), made("member 1")
    assert first == once_more != second
    _clean_up(world)


def test_ports_of_a_network_without_port_security_have_no_groups_and_no_pairs(world: World) -> None:
    assert world.network.get_network(world.network_id).port_security_enabled
    world.services.network.rows["networks"][world.network_id]["port_security_enabled"] = False
    vip = world.allocate()
    assert not world.network.get_network(world.network_id).port_security_enabled
    assert not world.network.get_port(vip.port_id).port_security_enabled
    _plug(world)
    world.network.set_vip_access(world.load_balancer_id, vip, world.pair())
    world.network.set_vip_security_groups(world.load_balancer_id, vip, [])
    ports = [row for row in world.services.network.ports.values() if row["network_id"] == world.network_id]
    assert len(ports) == 3
    assert all((row["port_security_enabled"], row["security_groups"], row["allowed_address_pairs"]) == (False, [], []) for row in ports)
    tenants = dataclasses.replace(vip, sg_ids=(world.tenants_group,))
    with pytest.raises(exceptions.InvalidRequest, match="Port security must be enabled"):
        world.network.set_vip_security_groups(world.load_balancer_id, tenants, [world.tenants_group])
    _clean_up(world)


def test_a_management_network_that_gives_no_address_is_named(world: World) -> None:
    """It has no subnet (any more), or only such as Neutron takes addresses of once it knows the host."""
    bare = world.services.add("networks", name="bare", project_id=world.project_id)["id"]
    with pytest.raises(exceptions.Misconfigured, match=f"management network {bare} got no address: the network needs a subnet"):
        world.network.ensure_management_port(world.amphora_id, bare)
    world.network.delete_amphora_ports(world.amphora_id)
    _clean_up(world)


def test_lists_that_come_in_pages_are_read_to_their_end(world: World) -> None:
    for amphora_id in (ids := [new_id() for _ in range(7)]):
        world.network.ensure_management_port(amphora_id)
    world.services.network.page = 2
    try:
        assert {port.device_id for port in world.network.list_ours()} >= set(ids)
    finally:
        world.services.network.page = None
    for amphora_id in ids:
        world.network.delete_amphora_ports(amphora_id)


def test_lists_of_which_no_id_is_needed_come_in_pages_too(world: World) -> None:
    """The next page is asked for by the last id of the one before."""
    vip = world.allocate()
    addresses = {f"203.0.113.{number}" for number in (1, 2, 3)}
    for address in addresses:
        world.services.network.add("floatingips", port_id=vip.port_id, floating_ip_address=address, project_id=world.project_id)
    for load_balancer_id in (several := [world.load_balancer_id, new_id(), new_id()]):
        world.network._groups.make(load_balancer_id)
    world.services.network.page = 1
    try:
        assert world.network.floating_addresses(vip.port_id) == addresses
        assert set(world.network.list_vip_groups()) >= set(several)
    finally:
        world.services.network.page = None
        world.services.network.rows["floatingips"].clear()
    for load_balancer_id in several:
        world.network.delete_vip_access(load_balancer_id)
    _clean_up(world)


def test_a_neutron_without_routers_has_no_floating_ips(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world.services.network, "has_routers", False)
    vip = world.allocate()
    assert world.network.floating_addresses(vip.port_id) == frozenset()
    listed = world.network.listed([builders.a_snapshot(load_balancer=builders.a_load_balancer(id=world.load_balancer_id, vip=vip))])
    assert listed.floating_addresses(vip.port_id) == frozenset()
    assert listed.get_port(vip.port_id).id == vip.port_id
    _clean_up(world)


def test_a_port_that_somebody_takes_just_now_is_not_adopted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    _tenants_port(world)
    row = world.services.network.ports[str(world.adopted)]
    read = neutron.NeutronNetwork._port_row

    def meanwhile(self: neutron.NeutronNetwork, port_id: str) -> Any:
        found = read(self, port_id)
        row.update(device_id="somebody", revision_number=row["revision_number"] + 1)
        return found

    monkeypatch.setattr(neutron.NeutronNetwork, "_port_row", meanwhile)
    with pytest.raises(exceptions.InvalidRequest, match=f"{world.adopted} is in use by somebody"):
        world.allocate()
    assert row["device_id"] == "somebody"


def test_a_group_whose_port_was_never_made_is_told(world: World) -> None:
    """A worker that died in between left it."""
    world.network._groups.make(world.load_balancer_id)
    assert world.load_balancer_id in world.network.list_vip_groups()
    _clean_up(world)
    assert world.load_balancer_id not in world.network.list_vip_groups()


def test_a_port_of_an_amphora_is_the_amphoras_while_a_machine_has_it(world: World) -> None:
    made = world.network.ensure_management_port(world.amphora_id)
    world.services.network.bind(made.id, "id-of-the-server", "nova")
    found = world.network.get_port(made.id)
    assert (found.device_id, found.device_owner) == (world.amphora_id, "compute:nova")
    assert world.network.ensure_management_port(world.amphora_id).id == made.id
    world.services.network.unbind(made.id)
    assert made.id in {port.id for port in world.network.list_ours() if port.device_id == world.amphora_id}
    _clean_up(world)


@pytest.mark.parametrize("adopts", [False, True])
def test_what_another_deployment_made_in_the_same_project_is_theirs(world: World, adopts: bool) -> None:
    """An Octavia names its ports and groups alike, too, and writes nothing of ours into their descriptions."""
    if adopts:
        _tenants_port(world)
    vip = world.allocate()
    world.network.ensure_vrrp_port(world.amphora_id, world.load_balancer_id, vip)
    world.network.ensure_management_port(world.amphora_id)
    theirs = {world.load_balancer_id, world.amphora_id}
    other = neutron.NeutronNetwork(
        openstack.Cloud(openstack._connection(openstack_cloud.configuration(simulated.access(world.services))), 60.0),
        deployment="other",
    )
    for network, seen in ((world.network, theirs), (other, set())):
        assert {port.device_id.removeprefix("lb-") for port in network.list_ours()} & theirs == seen
        assert set(network.list_vip_groups()) & theirs == seen & {world.load_balancer_id}
