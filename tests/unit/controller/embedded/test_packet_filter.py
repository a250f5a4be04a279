"""What the packet filter is told about ports and access rules."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import pytest

from controller.embedded import contents as module
from controller.embedded import filter_parts, inventory, networking, packet_filter, scratch
from controller.embedded.contents import Contents
from controller.model.network import AccessRule, Port, VipRequest


@pytest.mark.parametrize(
    ("rules", "accepted"),
    [
        ([AccessRule("tcp", 1025, "2001:db8::7/128")], ["ip6 saddr 2001:db8::7/128 meta l4proto 6 th dport 1025"]),
        ([AccessRule("vrrp", None)], ["meta l4proto 112"]),
        ([AccessRule("vrrp", None, "192.0.2.7/32")], ["ip saddr 192.0.2.7/32 meta l4proto 112"]),
        ([], []),
    ],
    ids=str,
)
def test_a_port_admits_its_own_kind_then_what_its_groups_say_and_answers(rules: list[AccessRule], accepted: list[str]) -> None:
    jumps = ("jump sgi_a_b", "goto answers_only")
    assert packet_filter.admitting(rules, ["a-b"]) == (*(f"{match} accept" for match in accepted), *jumps)


@pytest.fixture
def contents(tmp_path: pathlib.Path) -> Iterator[Contents]:
    with inventory.Inventory(tmp_path / "network.db").change() as made:
        made.add_network("private", "br-private")
        made.add_subnet("private", "private-subnet", "192.0.2.0/24")
        yield made


def add(contents: Contents, kind: str) -> Port:
    network, subnet = module.network_id("private"), module.subnet_id("private", "private-subnet")
    return contents.add_port("p", network, [(subnet, "192.0.2.9")], {"kind": kind, "device_id": "a", "load_balancer_id": "lb"})


def test_what_goes_is_added_first_so_that_its_deletion_can_not_fail(contents: Contents) -> None:
    port = add(contents, module.VRRP)
    lines = filter_parts.script(packet_filter.TABLE, packet_filter.part(contents, [port.id]), filter_parts.Part()).splitlines()
    for index, line in enumerate(lines):
        if line.startswith("delete "):
            assert line.replace("delete", "add", 1) in lines[:index]


def test_a_link_local_address_follows_from_the_mac() -> None:
    assert packet_filter.link_local("02:7e:f6:c9:cb:32") == "fe80::7e:f6ff:fec9:cb32"


def test_a_vrrp_port_may_send_from_its_own_address_and_from_the_vip(contents: Contents) -> None:
    port = add(contents, module.VRRP)
    contents.allow_address(port.id, "192.0.2.50")
    contents.set_pair_rules("lb", [AccessRule("vrrp", None, "192.0.2.10/32")])
    script = packet_filter.port_script(contents, port.id)
    (senders,) = [line for line in script.splitlines() if " senders4 " in line]
    assert "192.0.2.9" in senders
    assert "192.0.2.50" in senders
    assert "ip saddr 192.0.2.10/32 meta l4proto 112 accept" in script


def test_a_member_port_gets_answers_only_whatever_is_open_on_the_vip(contents: Contents) -> None:
    port = add(contents, module.MEMBER)
    contents.set_pair_rules("lb", [AccessRule("vrrp", None)])
    script = packet_filter.port_script(contents, port.id)
    assert "accept" not in script
    assert "goto answers_only" in script


def test_where_port_security_is_off_amphorae_may_send_in_anybodys_name() -> None:
    """As their VIP's port says, and the network of members; a tenant's port is as its network, too."""
    cloud, parts = scratch.ScratchNetwork(), {}
    for name, secured in (("open", False), ("guarded", True)):
        named = {"name": name, "project_id": "p", "shared": False, "router:external": False, "mtu": 1500}
        network = cloud.tenants.create(networking.NETWORK, {**named, "port_security_enabled": secured})["id"]
        subnet = cloud.tenants.create(networking.SUBNET, {"name": name, "project_id": "p", "network_id": network, "cidr": "192.0.2.0/24"})
        vip = cloud.allocate_vip(f"lb-{name}", "p", VipRequest(network_id=network, subnet_id=subnet["id"]))
        ports = [cloud.ensure_vrrp_port(f"a-{name}", f"lb-{name}", vip), cloud.ensure_member_port(f"a-{name}", network, [subnet["id"]])]
        ports += [cloud.get_port(vip.port_id), cloud.get_port(_tenants_port(cloud, network, subnet["id"]))]
        assert {one.port_security_enabled for one in ports} == {cloud.get_network(network).port_security_enabled} == {secured}
        with cloud.inventory.read() as contents:
            parts[name] = packet_filter.part(contents, [one.id for one in ports])
    assert parts["open"] == filter_parts.Part()
    assert len(parts["guarded"].chains) == 4, "one of the VRRP port, one of that to members, two of the tenant's"


def _tenants_port(cloud: scratch.ScratchNetwork, network: str, subnet: str) -> str:
    values = {"name": "own", "project_id": "p", "network_id": network, "fixed_ips": [{"subnet_id": subnet}]}
    return str(cloud.tenants.create(networking.PORT, values)["id"])


def test_a_management_port_is_isolated_from_its_neighbours(contents: Contents) -> None:
    script = packet_filter.port_script(contents, add(contents, module.MANAGEMENT).id)
    assert " isolated " in script
    assert "closed" not in script
