"""Addresses and ids of the embedded network."""

from __future__ import annotations

import json
import pathlib
import sqlite3
from collections.abc import Iterator

import pytest

from controller import exceptions
from controller.embedded import contents as module
from controller.embedded import inventory, network, networking
from controller.embedded.contents import Contents
from controller.model.network import AccessRule, VipRequest
from controller.model.order import Order
from tests import recorded


@pytest.fixture
def contents(tmp_path: pathlib.Path) -> Iterator[Contents]:
    with inventory.Inventory(tmp_path / "network.db").change() as made:
        made.add_network("private", "br-private")
        made.add_subnet("private", "private-subnet", "192.0.2.0/29", gateway_ip="192.0.2.1")
        yield made


NETWORK = module.network_id("private")
SUBNET = module.subnet_id("private", "private-subnet")


def add(contents: Contents, address: str | None = None) -> str:
    return contents.add_port("p", NETWORK, [(SUBNET, address)], {}).fixed_ips[0].ip_address


def test_addresses_come_in_order_and_spare_network_gateway_and_broadcast(contents: Contents) -> None:
    assert [add(contents) for _ in range(5)] == [f"192.0.2.{place}" for place in range(2, 7)]
    with pytest.raises(exceptions.InvalidRequest, match="no free address"):
        add(contents)


def test_a_freed_address_rests_until_the_others_were_used(contents: Contents) -> None:
    first = contents.add_port("p", NETWORK, [(SUBNET, None)], {})
    contents.delete_ports([first.id])
    assert [add(contents) for _ in range(5)] == ["192.0.2.3", "192.0.2.4", "192.0.2.5", "192.0.2.6", "192.0.2.2"]


def test_an_address_has_the_same_mac_each_time_and_another_one_elsewhere(contents: Contents) -> None:
    first = contents.add_port("p", NETWORK, [(SUBNET, "192.0.2.4")], {})
    contents.delete_ports([first.id])
    assert contents.add_port("p", NETWORK, [(SUBNET, "192.0.2.4")], {}).mac_address == first.mac_address
    assert module.mac_for("another network", "192.0.2.4") != first.mac_address
    assert first.mac_address.startswith("02:")  # locally administered, unicast


@pytest.mark.parametrize("address", ["192.0.2.1", "192.0.2.0", "192.0.2.7", "198.51.100.4"])
def test_the_gateway_and_what_is_no_hosts_address_are_refused(contents: Contents, address: str) -> None:
    with pytest.raises((exceptions.InvalidRequest, exceptions.Conflict)):
        add(contents, address)


def test_ids_of_networks_follow_from_their_names() -> None:
    assert module.network_id("private") == NETWORK
    assert module.network_id("other") != NETWORK


def test_an_ipv6_subnet_gives_ipv6_addresses(contents: Contents) -> None:
    subnet = contents.add_subnet("private", "six", "2001:db8::/64")
    assert contents.add_port("p", NETWORK, [(subnet, None)], {}).fixed_ips[0].ip_address == "2001:db8::1"
    assert contents.subnet(subnet).ip_version == 6


def test_a_change_that_fails_leaves_nothing(tmp_path: pathlib.Path) -> None:
    books = inventory.Inventory(tmp_path / "network.db")

    def change() -> None:
        with books.change() as contents:
            contents.add_network("private", "br-private")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        change()
    with books.read() as contents, pytest.raises(exceptions.NotFound):
        contents.network(NETWORK)


@pytest.fixture
def older(tmp_path: pathlib.Path) -> network.EmbeddedNetwork:
    """The inventory that a figlina left which wrote its SQL itself: one of everything."""
    with sqlite3.connect(tmp_path / "network.db") as connection:
        connection.executescript(recorded.INVENTORY.read_text())
    connection.close()
    return network.EmbeddedNetwork(inventory.Inventory(tmp_path / "network.db"), module.network_id("management"))


LOAD_BALANCER, AMPHORA = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"


def test_an_inventory_of_an_older_figlina_tells_what_it_told(older: network.EmbeddedNetwork) -> None:
    assert older.vip_access(LOAD_BALANCER) == {
        AccessRule("tcp", 80),
        AccessRule("tcp", 443, "192.0.2.0/24"),
        AccessRule("vrrp", None, "198.19.64.9/32", True),
    }
    ours = {port.name: [fixed.ip_address for fixed in port.fixed_ips] for port in older.list_ours()}
    assert ours == {
        f"octavia-lb-{LOAD_BALANCER}": ["198.19.64.2"],
        f"octavia-lb-management-{AMPHORA}": ["198.19.0.1"],
        f"octavia-lb-vrrp-{AMPHORA}": ["198.19.64.3"],
        f"octavia-lb-member-{AMPHORA}": ["10.20.0.2"],
    }
    told = json.loads(recorded.INVENTORY.with_name("network-documents.json").read_text())
    assert told.pop("subnetpool"), "what of it we know no more is passed over"
    assert {kind: older.tenants.all(kind) for kind in networking.COLLECTIONS.values()} == told
    for kind, documents in told.items():
        assert [older.tenants.shown(kind, one["id"]) for one in documents] == documents


def test_an_inventory_of_an_older_figlina_goes_on(older: network.EmbeddedNetwork) -> None:
    request = VipRequest(network_id=module.network_id("private"))
    again = older.allocate_vip(LOAD_BALANCER, "p", request)
    assert again.address == "198.19.64.2"
    with pytest.raises(exceptions.StaleOrder):
        older.set_vip_access(LOAD_BALANCER, again, [], order=Order(LOAD_BALANCER, 3))
    assert older.allocate_vip("another", "p", request).address == "198.19.64.5"
    older.set_vip_access(LOAD_BALANCER, again, [AccessRule("tcp", 443, "192.0.2.0/24")], order=Order(LOAD_BALANCER, 4))
    older.delete_amphora_ports(AMPHORA)
    older.deallocate_vip(LOAD_BALANCER, again)
    assert [port.name for port in older.list_ours()] == ["octavia-lb-another"]
    (floating,) = older.tenants.all(networking.FLOATING_IP)
    assert (floating["port_id"], floating["status"]) == (None, "DOWN")


_OTHERS = ["ports RENAME COLUMN kind TO later", "networks RENAME COLUMN mtu TO later", "ports RENAME TO later"]


@pytest.mark.parametrize(("change", "opened"), [*((one, True) for one in _OTHERS), *((one, False) for one in _OTHERS[:2])])
def test_an_inventory_of_another_version_is_told_as_that(tmp_path: pathlib.Path, change: str, opened: bool) -> None:
    path = tmp_path / "network.db"
    books = inventory.Inventory(path)
    with books.change() as contents:
        contents.add_network("private", "br-private")
    other = sqlite3.connect(path)
    other.execute(f"ALTER TABLE {change}")
    other.close()
    books = books if opened else inventory.Inventory(path)
    for use in (books.read, books.change):
        with pytest.raises(inventory.InventoryOfAnotherVersion, match=f"{path} .*another version.*: no such") as told, use() as contents:
            (contents.network(NETWORK), contents.plugs())
        assert "another version" in told.value.for_clients
        assert "busy" not in str(told.value) + told.value.for_clients
        assert str(tmp_path) not in told.value.for_clients
        assert isinstance(told.value, exceptions.Transient)


def test_a_new_inventory_has_the_columns_and_keys_of_an_older_one(older: network.EmbeddedNetwork, tmp_path: pathlib.Path) -> None:
    older.list_ours()
    with inventory.Inventory(tmp_path / "new.db").read():
        pass
    described = []
    for name in ("network.db", "new.db"):
        with sqlite3.connect(tmp_path / name) as connection:
            names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'").fetchall()
            described.append({table: _described(connection, table) for (table,) in names})
        connection.close()
    assert described[0].pop("subnetpools")
    assert described[0] == described[1]


def _described(connection: sqlite3.Connection, table: str) -> dict[str, set[tuple[object, ...]]]:
    """Place, name, default and place in the key of each column; foreign keys; indexes."""
    columns = connection.execute(f"SELECT cid, name, trim(dflt_value, ''''), pk FROM pragma_table_info('{table}')")
    keys = connection.execute(f'SELECT "from", "table", "to", on_delete FROM pragma_foreign_key_list(\'{table}\')')
    indexes = connection.execute(
        'SELECT group_concat(column), uniq FROM (SELECT l.name AS name, l."unique" AS uniq, i.name AS column '
        f"FROM pragma_index_list('{table}') l, pragma_index_info(l.name) i WHERE l.origin != 'pk' ORDER BY l.name, i.seqno) GROUP BY name"
    )
    return {"columns": set(columns), "keys": set(keys), "indexes": set(indexes)}
