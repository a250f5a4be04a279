"""What the packet filter is told about ports and access rules."""

from __future__ import annotations

import pytest

from controller.drivers.network import bridge_filter, bridge_inventory, interface, local

PORT = interface.Port(id="6f2b8c54-9a0e", name="", network_id="n", mac_address="02:00:00:00:00:01", mtu=1500, fixed_ips=())
TAP = '"tap6f2b8c549a0"'


@pytest.mark.parametrize(
    ("rule", "elements"),
    [
        (interface.AccessRule("tcp", 80), {("open", f"{TAP} . 6 . 80")}),
        (interface.AccessRule("udp", 53, "0.0.0.0/0"), {("open", f"{TAP} . 17 . 53")}),
        (interface.AccessRule("sctp", 9, "192.0.2.0/24"), {("open_from4", f"{TAP} . 132 . 9 . 192.0.2.0/24")}),
        (interface.AccessRule("tcp", 443, "2001:db8::/32"), {("open_from6", f"{TAP} . 6 . 443 . 2001:db8::/32")}),
        (interface.AccessRule("vrrp", None), {("vrrp_from4", f"{TAP} . 0.0.0.0/0"), ("vrrp_from6", f"{TAP} . ::/0")}),
        (interface.AccessRule("vrrp", None, "192.0.2.7/32"), {("vrrp_from4", f"{TAP} . 192.0.2.7/32")}),
    ],
    ids=str,
)
def test_each_access_rule_opens_what_it_says(rule: interface.AccessRule, elements: set[bridge_filter.Element]) -> None:
    assert bridge_filter.access_elements(PORT, [rule]) == elements


def test_what_goes_is_added_first_so_that_its_deletion_can_not_fail() -> None:
    script = bridge_filter.change_script([("open", "old")], [("open", "new")])
    assert script.splitlines() == [
        "add element bridge figlina open { old }",
        "delete element bridge figlina open { old }",
        "add element bridge figlina open { new }",
    ]


def test_a_link_local_address_follows_from_the_mac() -> None:
    assert bridge_filter.link_local("02:7e:f6:c9:cb:32") == "fe80::7e:f6ff:fec9:cb32"


def test_a_vrrp_port_may_send_from_its_own_address_and_from_the_vip() -> None:
    inventory = bridge_inventory.Inventory(":memory:", None)
    with inventory.change() as contents:
        network = contents.add_network("private", "br-private")
        subnet = contents.add_subnet("private", "private-subnet", "192.0.2.0/24")
        port = contents.add_port("vrrp", network, [(subnet, "192.0.2.9")], kind=local.VRRP, device_id="a", load_balancer_id="lb")
        contents.allow_address(port.id, "192.0.2.50")
        contents.set_access_rules("lb", [interface.AccessRule("tcp", 80)])
        elements = bridge_filter.port_elements(contents, port)
    senders = {text.rpartition(" ")[2] for name, text in elements if name == "senders4"}
    assert senders == {"192.0.2.9", "192.0.2.50"}
    assert {name for name, _ in elements} == {"guarded", "closed", "macs", "senders4", "senders6", "open"}
