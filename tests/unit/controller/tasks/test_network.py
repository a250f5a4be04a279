"""What may reach a VIP, and which networks of members an amphora needs."""

from __future__ import annotations

import dataclasses
import pathlib

import pytest

from controller import exceptions
from controller.drivers.network import remembered
from controller.model import access
from controller.model.network import AccessRule, Subnet
from controller.model.status import AmphoraStatus, ProvisioningStatus, Role, Topology
from controller.tasks import networks, push
from tests import builders


def rules(topology: Topology = Topology.SINGLE, **listener: object) -> set[AccessRule]:
    snapshot = builders.a_snapshot(builders.a_load_balancer(topology=topology), listeners=[builders.a_listener(**listener)])
    return set(access.rules(snapshot, peer_port=1025))


@pytest.mark.parametrize(("protocol", "transport"), [("HTTP", "tcp"), ("TCP", "tcp"), ("HTTPS", "tcp"), ("UDP", "udp"), ("SCTP", "sctp")])
def test_a_listener_opens_its_port(protocol: str, transport: str) -> None:
    assert rules(protocol=protocol, protocol_port=81) == {AccessRule(transport, 81)}


def test_allowed_cidrs_are_one_rule_each() -> None:
    cidrs = ("198.51.100.0/24", "203.0.113.0/24")
    assert rules(allowed_cidrs=cidrs) == {AccessRule("tcp", 80, cidr) for cidr in cidrs}


def test_a_listener_that_is_being_deleted_opens_nothing() -> None:
    assert rules(provisioning_status=ProvisioningStatus.PENDING_DELETE) == set()


def test_the_halves_of_a_pair_may_speak_with_each_other_and_nobody_else_with_them() -> None:
    statuses = {"10.0.0.3": AmphoraStatus.ALLOCATED, "fd00::4": AmphoraStatus.BOOTING, "10.0.0.5": AmphoraStatus.PENDING_DELETE}
    amphorae = [builders.an_amphora(vrrp_ip=address, status=found) for address, found in statuses.items()]
    amphorae.append(builders.an_amphora(vrrp_ip=None, status=AmphoraStatus.BOOTING))
    snapshot = builders.a_snapshot(builders.a_load_balancer(topology=Topology.ACTIVE_STANDBY), amphorae=amphorae)
    halves = ("10.0.0.3/32", "fd00::4/128")
    said = [("vrrp", None), ("tcp", 1025)]
    own = {AccessRule(protocol, port, half, between_amphorae=True) for half in halves for protocol, port in said}
    assert set(access.rules(snapshot, peer_port=1025)) == own


class Subnets(remembered.RememberedNetworks):
    """Subnet `s-<network>-<anything>` lies on network `<network>`; there is no subnet `s-gone`."""

    def __init__(self) -> None:
        pass

    def subnet(self, subnet_id: str) -> Subnet:
        if subnet_id == "s-gone":
            raise exceptions.NotFound("Subnet", subnet_id)
        return Subnet(id=subnet_id, name="", network_id=subnet_id.split("-")[1], cidr="10.0.0.0/24", ip_version=4)


def of_members(*subnet_ids: str | None) -> dict[str, tuple[str, ...]]:
    vip = builders.a_vip(subnet_id="s-vip-1", network_id="vip")
    pool = builders.a_pool()
    members = [builders.a_member(pool_id=pool.id, subnet_id=subnet_id) for subnet_id in subnet_ids]
    return dict(networks.of_members(builders.a_snapshot(builders.a_load_balancer(vip=vip), pools=[pool], members=members), Subnets()))


def test_members_without_a_subnet_or_on_the_vip_s_network_need_no_port() -> None:
    assert of_members(None, "s-vip-1", "s-vip-2") == {}


def test_a_network_is_named_once_with_all_its_subnets_in_the_order_of_the_members() -> None:
    found = of_members("s-b-1", "s-a-1", "s-b-2", "s-b-1")
    assert list(found.items()) == [("b", ("s-b-1", "s-b-2")), ("a", ("s-a-1",))]


def test_a_subnet_that_is_gone_is_passed_over() -> None:
    assert of_members("s-gone", "s-a-1") == {"a": ("s-a-1",)}


def test_a_joining_amphora_takes_the_place_of_the_one_with_its_role() -> None:
    old = builders.an_amphora(role=Role.MASTER)
    half = builders.an_amphora(role=Role.BACKUP)
    new = builders.an_amphora(role=Role.MASTER, status=AmphoraStatus.BOOTING)
    dead = builders.an_amphora(role=Role.BACKUP, status=AmphoraStatus.ERROR)
    snapshot = builders.a_snapshot(builders.a_load_balancer(topology=Topology.ACTIVE_STANDBY), amphorae=[old, half, new, dead])
    ids = {one.id for one in push.targets(snapshot, [new.id])}
    assert ids == {half.id, new.id}
    assert {one.id for one in push.targets(snapshot)} == {old.id, half.id}


def test_networks_are_asked_for_once_in_a_while(tmp_path: pathlib.Path) -> None:
    asked: list[str] = []

    class Network:
        def get_subnet(self, subnet_id: str) -> Subnet:
            asked.append(subnet_id)
            return dataclasses.replace(Subnets().subnet("s-a-1"), id=subnet_id)

    time = [0.0]
    known = remembered.RememberedNetworks(Network(), keep=30.0, clock=lambda: time[0])  # type: ignore[arg-type]
    for moment in (0.0, 29.0, 31.0):
        time[0] = moment
        assert known.subnet("s").id == "s"
    assert len(asked) == 2
