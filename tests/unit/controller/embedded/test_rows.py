"""The inventory's statements, by SQLite's driver and by SQLAlchemy, which is asked where somebody counts them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest
import sqlalchemy as sa

from controller.embedded import scratch, tables
from controller.model.network import Port, VipRequest
from tests import databases

BALANCER, AMPHORAE = "00000000-0000-4000-8000-00000000001b", ("a1", "a2")


@contextlib.contextmanager
def _counted(network: scratch.ScratchNetwork) -> Iterator[list[str]]:
    with databases.counted(network.inventory._database()) as statements:
        yield statements


def _pair(network: scratch.ScratchNetwork) -> list[Port]:
    """What a pair needs: a VIP, and two ports for each half."""
    with network.inventory.read() as contents:
        subnet = next(row for row in contents.rows.all(tables.subnets) if row.name == "private-subnet")
    vip = network.allocate_vip(BALANCER, "p", VipRequest(subnet_id=subnet.id))
    for amphora in AMPHORAE:
        network.ensure_management_port(amphora)
        network.ensure_vrrp_port(amphora, BALANCER, vip)
    return list(network.list_ours())


def _seen(port: Port) -> tuple[Any, ...]:
    return port.name, port.mac_address, port.fixed_ips, port.device_id, port.device_owner, port.mtu, port.project_id


def test_both_ways_make_and_find_the_same() -> None:
    direct, counted = scratch.ScratchNetwork(), scratch.ScratchNetwork()
    made = _pair(direct)
    with _counted(counted) as statements:
        told = _pair(counted)
    assert len(statements) > 50
    assert [_seen(port) for port in made] == [_seen(port) for port in told]
    assert [_seen(direct.get_port(port.id)) for port in made] == [_seen(port) for port in made]
    for network in (direct, counted):
        network.delete_amphora_ports("a1")
        network.deallocate_vip(BALANCER, mock.Mock(port_id=next(port.id for port in network.list_ours() if "-lb-0" in port.name)))
    assert [port.name for port in direct.list_ours()] == [port.name for port in counted.list_ours()]


def test_a_pair_takes_few_statements() -> None:
    network = scratch.ScratchNetwork()
    with _counted(network) as statements:
        _pair(network)
    assert len(statements) <= 89, "\n".join(statements)


def test_the_driver_is_asked_for_all_of_it() -> None:
    network = scratch.ScratchNetwork()
    with mock.patch.object(sa.Connection, "execute", side_effect=AssertionError("SQLAlchemy was asked")):
        ports = _pair(network)
        assert network.get_port(ports[0].id) == ports[0]


@pytest.mark.parametrize("values", [[], ["a1"], ["a1", "a2"], ["a1", "a2", "none"]], ids=len)
def test_a_column_is_compared_with_any_of_some_values(values: list[str]) -> None:
    network = scratch.ScratchNetwork()
    _pair(network)
    with network.inventory.change() as contents:
        assert {row.device_id for row in contents.rows.all(tables.ports, device_id=values)} == set(values) & set(AMPHORAE)
        contents.rows.set(tables.ports, {"device_id": values}, device_owner="changed")
        assert contents.rows.count(tables.ports, device_owner="changed") == 2 * len(set(values) & set(AMPHORAE))
        contents.rows.delete(tables.ports, device_id=values)
        assert contents.rows.count(tables.ports, device_id=["a1", "a2"]) == 4 - 2 * len(set(values) & set(AMPHORAE))


def test_a_port_gets_a_mac_of_its_own_where_another_kept_that_of_its_address() -> None:
    network = scratch.ScratchNetwork()
    port = _pair(network)[0]
    with network.inventory.change() as contents:
        contents.give_back(port.id, port.fixed_ips[0])
        made = contents.add_port("again", port.network_id, [(port.fixed_ips[0].subnet_id, port.fixed_ips[0].ip_address)], {})
    assert made.fixed_ips == port.fixed_ips
    assert made.mac_address != network.get_port(port.id).mac_address
