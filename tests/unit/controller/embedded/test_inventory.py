"""Addresses and ids of the embedded network."""

from __future__ import annotations

import pytest

from controller import exceptions
from controller.embedded import inventory


@pytest.fixture
def contents() -> inventory.Contents:
    books = inventory.Inventory(":memory:", None)
    with books.change() as made:
        made.add_network("private", "br-private")
        made.add_subnet("private", "private-subnet", "192.0.2.0/29", gateway_ip="192.0.2.1")
        return made


NETWORK = inventory.network_id("private")
SUBNET = inventory.subnet_id("private", "private-subnet")


def add(contents: inventory.Contents, address: str | None = None) -> str:
    return contents.add_port("p", NETWORK, [(SUBNET, address)]).fixed_ips[0].ip_address


def test_addresses_come_in_order_and_spare_network_gateway_and_broadcast(contents: inventory.Contents) -> None:
    assert [add(contents) for _ in range(5)] == [f"192.0.2.{place}" for place in range(2, 7)]
    with pytest.raises(exceptions.InvalidRequest, match="no free address"):
        add(contents)


def test_a_freed_address_rests_until_the_others_were_used(contents: inventory.Contents) -> None:
    first = contents.add_port("p", NETWORK, [(SUBNET, None)])
    contents.delete_port(first.id)
    assert [add(contents) for _ in range(5)] == ["192.0.2.3", "192.0.2.4", "192.0.2.5", "192.0.2.6", "192.0.2.2"]


def test_an_address_has_the_same_mac_each_time_and_another_one_elsewhere(contents: inventory.Contents) -> None:
    first = contents.add_port("p", NETWORK, [(SUBNET, "192.0.2.4")])
    contents.delete_port(first.id)
    assert contents.add_port("p", NETWORK, [(SUBNET, "192.0.2.4")]).mac_address == first.mac_address
    assert inventory.mac_for("another network", "192.0.2.4") != first.mac_address
    assert first.mac_address.startswith("02:")  # locally administered, unicast


@pytest.mark.parametrize("address", ["192.0.2.1", "192.0.2.0", "192.0.2.7", "198.51.100.4"])
def test_the_gateway_and_what_is_no_hosts_address_are_refused(contents: inventory.Contents, address: str) -> None:
    with pytest.raises((exceptions.InvalidRequest, exceptions.Conflict)):
        add(contents, address)


def test_ids_of_networks_follow_from_their_names() -> None:
    assert inventory.network_id("private") == NETWORK
    assert inventory.network_id("other") != NETWORK


def test_an_ipv6_subnet_gives_ipv6_addresses(contents: inventory.Contents) -> None:
    subnet = contents.add_subnet("private", "six", "2001:db8::/64")
    assert contents.add_port("p", NETWORK, [(subnet, None)]).fixed_ips[0].ip_address == "2001:db8::1"
    assert contents.subnet(subnet).ip_version == 6


def test_a_change_that_fails_leaves_nothing() -> None:
    books = inventory.Inventory(":memory:", None)

    def change() -> None:
        with books.change() as contents:
            contents.add_network("private", "br-private")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        change()
    with books.read() as contents, pytest.raises(exceptions.NotFound):
        contents.network(NETWORK)
