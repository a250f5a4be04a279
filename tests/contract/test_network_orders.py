"""What every network driver that keeps orders promises: what comes by a lost lease changes nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from controller import exceptions
from controller.model.network import AccessRule, Network
from controller.model.order import Order
from tests.contract.cloud import Cloud, new_id
from tests.contract.conftest import CLOUDS, OPENSTACKS
from tests.contract.test_network_driver import access, on, private

__all__ = ["private"]

pytestmark = pytest.mark.parametrize("cloud", [*CLOUDS, *OPENSTACKS], indirect=True)

WIDE, NARROW = AccessRule("tcp", 80), AccessRule("tcp", 80, "203.0.113.7/32")


@pytest.fixture
def orderly(cloud: Cloud) -> Cloud:
    if not cloud.keeps_orders:
        pytest.skip("this service has no place where an order could be kept")
    return cloud


def test_a_late_write_changes_nothing(orderly: Cloud, private: Network) -> None:
    load_balancer_id, amphora_id = new_id(), new_id()
    vip = orderly.network.allocate_vip(load_balancer_id, orderly.project_id, on(private))
    version = orderly.network.get_subnet(private.subnet_ids[0]).ip_version
    narrow = NARROW if version == 4 else AccessRule("tcp", 80, "2001:db8::7/128")
    late, newest = Order(load_balancer_id, 4), Order(load_balancer_id, 5)
    orderly.network.ensure_vrrp_port(amphora_id, load_balancer_id, vip, order=newest)
    member_port = orderly.network.ensure_member_port(amphora_id, private.id, private.subnet_ids, order=newest)
    orderly.network.set_vip_access(load_balancer_id, vip, [narrow], order=newest)
    ports = {port.id for port in orderly.ours(f"lb-{load_balancer_id}", amphora_id)}
    writes: list[Callable[[], object]] = [
        lambda: orderly.network.set_vip_access(load_balancer_id, vip, [WIDE], order=late),
        lambda: orderly.network.set_vip_access(load_balancer_id, vip, [narrow], order=late),
        lambda: orderly.network.set_vip_security_groups(load_balancer_id, vip, [], order=late),
        lambda: orderly.network.delete_vip_access(load_balancer_id, order=late),
        lambda: orderly.network.restore_vip_address(load_balancer_id, vip, order=late),
        lambda: orderly.network.deallocate_vip(load_balancer_id, vip, order=late),
        lambda: orderly.network.ensure_management_port(new_id(), order=late),
        lambda: orderly.network.ensure_vrrp_port(new_id(), load_balancer_id, vip, order=late),
        lambda: orderly.network.ensure_member_port(new_id(), private.id, private.subnet_ids, order=late),
        lambda: orderly.network.release_member_port(member_port.id, order=late),
        lambda: orderly.network.delete_amphora_ports(amphora_id, order=late),
    ]
    for write in writes:
        with pytest.raises(exceptions.StaleOrder) as refusal:
            write()
        assert refusal.value.token == 5
    assert access(orderly, load_balancer_id) == {narrow}
    assert {port.id for port in orderly.ours(f"lb-{load_balancer_id}", amphora_id)} == ports


def test_an_order_counts_though_there_was_nothing_to_change(orderly: Cloud, private: Network) -> None:
    """Who finds everything as it should be has looked at the newest rows all the same."""
    load_balancer_id = new_id()
    vip = orderly.network.allocate_vip(load_balancer_id, orderly.project_id, on(private))
    orderly.network.set_vip_access(load_balancer_id, vip, [WIDE], order=Order(load_balancer_id, 1))
    orderly.network.set_vip_access(load_balancer_id, vip, [WIDE], order=Order(load_balancer_id, 2))
    with pytest.raises(exceptions.StaleOrder):
        orderly.network.set_vip_access(load_balancer_id, vip, [], order=Order(load_balancer_id, 1))


def test_orders_of_one_load_balancer_say_nothing_of_another(orderly: Cloud, private: Network) -> None:
    for load_balancer_id, token in ((first := new_id(), 9), (other := new_id(), 1)):
        vip = orderly.network.allocate_vip(load_balancer_id, orderly.project_id, on(private))
        orderly.network.set_vip_access(load_balancer_id, vip, [WIDE], order=Order(load_balancer_id, token))
    assert access(orderly, first) == access(orderly, other) == {WIDE}
