"""What every network driver that keeps orders promises: what comes by a lost lease changes nothing. On the fake and on real bridges."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from controller import exceptions
from controller.embedded import local
from controller.model.network import AccessRule, Network
from controller.model.order import Order
from tests.contract.test_network_driver import PROJECT, bridge_network, fake_network, network, new_id, on, private

__all__ = ["bridge_network", "fake_network", "network", "private"]

WIDE, NARROW = AccessRule("tcp", 80), AccessRule("tcp", 80, "203.0.113.7/32")


def test_a_late_write_changes_nothing(network: local.LocalNetwork, private: Network) -> None:
    load_balancer_id, amphora_id = new_id(), new_id()
    vip = network.allocate_vip(load_balancer_id, PROJECT, on(private))
    version = network.get_subnet(private.subnet_ids[0]).ip_version
    narrow = NARROW if version == 4 else AccessRule("tcp", 80, "2001:db8::7/128")
    late, newest = Order(load_balancer_id, 4), Order(load_balancer_id, 5)
    network.ensure_vrrp_port(amphora_id, load_balancer_id, vip, order=newest)
    member_port = network.ensure_member_port(amphora_id, private.id, private.subnet_ids, order=newest)
    network.set_vip_access(load_balancer_id, vip, [narrow], order=newest)
    ports = {port.id for port in network.list_ours()}
    writes: list[Callable[[], object]] = [
        lambda: network.set_vip_access(load_balancer_id, vip, [WIDE], order=late),
        lambda: network.set_vip_access(load_balancer_id, vip, [narrow], order=late),
        lambda: network.set_vip_security_groups(load_balancer_id, vip, [], order=late),
        lambda: network.delete_vip_access(load_balancer_id, order=late),
        lambda: network.deallocate_vip(load_balancer_id, vip, order=late),
        lambda: network.ensure_management_port(new_id(), order=late),
        lambda: network.ensure_vrrp_port(new_id(), load_balancer_id, vip, order=late),
        lambda: network.ensure_member_port(new_id(), private.id, private.subnet_ids, order=late),
        lambda: network.release_member_port(member_port.id, order=late),
        lambda: network.delete_amphora_ports(amphora_id, order=late),
    ]
    for write in writes:
        with pytest.raises(exceptions.StaleOrder) as refusal:
            write()
        assert refusal.value.token == 5
    assert network.vip_access(load_balancer_id) == {narrow}
    assert {port.id for port in network.list_ours()} == ports


def test_an_order_counts_though_there_was_nothing_to_change(network: local.LocalNetwork, private: Network) -> None:
    """Who finds everything as it should be has looked at the newest rows all the same."""
    load_balancer_id = new_id()
    vip = network.allocate_vip(load_balancer_id, PROJECT, on(private))
    network.set_vip_access(load_balancer_id, vip, [WIDE], order=Order(load_balancer_id, 1))
    network.set_vip_access(load_balancer_id, vip, [WIDE], order=Order(load_balancer_id, 2))
    with pytest.raises(exceptions.StaleOrder):
        network.set_vip_access(load_balancer_id, vip, [], order=Order(load_balancer_id, 1))


def test_orders_of_one_load_balancer_say_nothing_of_another(network: local.LocalNetwork, private: Network) -> None:
    one, other = new_id(), new_id()
    network.set_vip_access(one, network.allocate_vip(one, PROJECT, on(private)), [WIDE], order=Order(one, 9))
    network.set_vip_access(other, network.allocate_vip(other, PROJECT, on(private)), [WIDE], order=Order(other, 1))
    assert network.vip_access(other) == {WIDE}


def test_a_released_member_port_is_gone_and_may_be_released_again(network: local.LocalNetwork, private: Network) -> None:
    amphora_id = new_id()
    port = network.ensure_member_port(amphora_id, private.id, private.subnet_ids)
    network.release_member_port(port.id, private.subnet_ids)
    assert [one.id for one in network.member_ports(amphora_id)] == [port.id]
    for _ in range(2):
        network.release_member_port(port.id)
        assert network.member_ports(amphora_id) == []
