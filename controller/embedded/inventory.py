"""What exists in the embedded network: networks, subnets, ports, addresses and security groups, in one SQLite file.

API and worker processes use it at once: every change is one short `BEGIN IMMEDIATE` transaction. `":memory:"` gives one for this process
alone, which is what the fake network driver stands on.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import ipaddress
import json
import os
import pathlib
import sqlite3
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from controller import deadlines, exceptions
from controller.model.network import AccessRule, Attachment, FixedIp, HostRoute, Network, Port, SecurityGroup, Subnet
from controller.model.order import Order

SCHEMA = """
CREATE TABLE IF NOT EXISTS networks (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, bridge TEXT NOT NULL UNIQUE, mtu INTEGER NOT NULL, project_id TEXT,
    shared INTEGER NOT NULL DEFAULT 1, external INTEGER NOT NULL DEFAULT 0, hidden INTEGER NOT NULL DEFAULT 0,
    details TEXT NOT NULL DEFAULT '{}');
CREATE TABLE IF NOT EXISTS subnets (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, network_id TEXT NOT NULL REFERENCES networks(id) ON DELETE CASCADE,
    cidr TEXT NOT NULL, gateway_ip TEXT, cursor INTEGER NOT NULL DEFAULT 0, project_id TEXT, details TEXT NOT NULL DEFAULT '{}');
CREATE INDEX IF NOT EXISTS subnets_by_network ON subnets (network_id);
CREATE TABLE IF NOT EXISTS subnetpools (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, project_id TEXT, ip_version INTEGER NOT NULL, prefixes TEXT NOT NULL,
    shared INTEGER NOT NULL DEFAULT 0, is_default INTEGER NOT NULL DEFAULT 0, details TEXT NOT NULL DEFAULT '{}');
CREATE TABLE IF NOT EXISTS ports (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, network_id TEXT NOT NULL REFERENCES networks(id), mac_address TEXT NOT NULL,
    device_id TEXT NOT NULL DEFAULT '', device_owner TEXT NOT NULL DEFAULT '', project_id TEXT,
    kind TEXT NOT NULL DEFAULT '', load_balancer_id TEXT, secured INTEGER NOT NULL DEFAULT 0, details TEXT NOT NULL DEFAULT '{}');
CREATE INDEX IF NOT EXISTS ports_by_name ON ports (name, kind);
CREATE INDEX IF NOT EXISTS ports_by_device ON ports (device_id, kind);
CREATE INDEX IF NOT EXISTS ports_by_load_balancer ON ports (load_balancer_id);
CREATE INDEX IF NOT EXISTS ports_by_network ON ports (network_id);
CREATE INDEX IF NOT EXISTS ports_by_mac ON ports (mac_address);
CREATE TABLE IF NOT EXISTS fixed_ips (
    port_id TEXT NOT NULL REFERENCES ports(id) ON DELETE CASCADE, subnet_id TEXT NOT NULL REFERENCES subnets(id),
    ip_address TEXT NOT NULL, PRIMARY KEY (subnet_id, ip_address)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS fixed_ips_by_port ON fixed_ips (port_id);
CREATE INDEX IF NOT EXISTS fixed_ips_by_address ON fixed_ips (ip_address);
CREATE TABLE IF NOT EXISTS allowed_addresses (
    port_id TEXT NOT NULL REFERENCES ports(id) ON DELETE CASCADE, ip_address TEXT NOT NULL,
    PRIMARY KEY (port_id, ip_address)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS allowed_by_address ON allowed_addresses (ip_address);
CREATE TABLE IF NOT EXISTS pair_rules (
    load_balancer_id TEXT NOT NULL, protocol TEXT NOT NULL, port INTEGER NOT NULL, cidr TEXT NOT NULL,
    PRIMARY KEY (load_balancer_id, protocol, port, cidr)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS security_groups (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, project_id TEXT NOT NULL, details TEXT NOT NULL DEFAULT '{}');
CREATE INDEX IF NOT EXISTS security_groups_by_project ON security_groups (project_id, name);
CREATE TABLE IF NOT EXISTS security_group_rules (
    id TEXT PRIMARY KEY, security_group_id TEXT NOT NULL REFERENCES security_groups(id) ON DELETE CASCADE, direction TEXT NOT NULL,
    ethertype TEXT NOT NULL, protocol TEXT, port_min INTEGER, port_max INTEGER, prefix TEXT,
    remote_group_id TEXT REFERENCES security_groups(id) ON DELETE CASCADE, details TEXT NOT NULL DEFAULT '{}');
CREATE INDEX IF NOT EXISTS rules_by_group ON security_group_rules (security_group_id);
CREATE INDEX IF NOT EXISTS rules_by_remote_group ON security_group_rules (remote_group_id);
CREATE TABLE IF NOT EXISTS port_groups (
    port_id TEXT NOT NULL REFERENCES ports(id) ON DELETE CASCADE, security_group_id TEXT NOT NULL REFERENCES security_groups(id),
    PRIMARY KEY (port_id, security_group_id)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS ports_by_group ON port_groups (security_group_id);
CREATE TABLE IF NOT EXISTS routers (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, project_id TEXT, details TEXT NOT NULL DEFAULT '{}');
CREATE TABLE IF NOT EXISTS orders (
    number INTEGER PRIMARY KEY AUTOINCREMENT, load_balancer_id TEXT NOT NULL UNIQUE, token INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS floating_ips (
    id TEXT PRIMARY KEY, project_id TEXT, own_port_id TEXT NOT NULL UNIQUE REFERENCES ports(id), address TEXT NOT NULL,
    network_id TEXT NOT NULL REFERENCES networks(id), router_id TEXT REFERENCES routers(id), port_id TEXT REFERENCES ports(id),
    fixed_address TEXT, details TEXT NOT NULL DEFAULT '{}');
CREATE INDEX IF NOT EXISTS floating_ips_by_port ON floating_ips (port_id);
CREATE INDEX IF NOT EXISTS floating_ips_by_router ON floating_ips (router_id);
"""
_NAMESPACE = uuid.UUID("6f2b8c54-9a0e-4f3a-8f0e-0c5d3c1a7f11")
_PATIENCE = 30.0
"""Seconds that a change waits for another one, if nobody is waiting for it."""
_PORT_COLUMNS = "p.id, p.name, p.network_id, p.mac_address, p.device_id, p.device_owner, p.project_id, n.mtu, n.bridge"


_ORDERS_KEPT = 50_000
"""So many orders later a worker that stands still may come back after its load balancer was deleted, and is refused."""


def network_id(name: str) -> str:
    """The id of a network follows from its name, so that an embedded cloud built anew has the ids that scripts know."""
    return str(uuid.uuid5(_NAMESPACE, f"network/{name}"))


def subnet_id(network_name: str, name: str) -> str:
    """The id of a subnet follows from its network's name and its own."""
    return str(uuid.uuid5(_NAMESPACE, f"subnet/{network_name}/{name}"))


def mac_for(network: str, address: str) -> str:
    """A locally administered MAC that follows from the address: when an address is used again, no neighbour's ARP entry is wrong."""
    digest = hashlib.sha256(f"{network}/{address}".encode()).digest()
    return ":".join(["02", *(f"{byte:02x}" for byte in digest[:5])])


class InventoryAway(exceptions.Transient):
    """The inventory can't be read or changed now; the message is the operator's."""

    @property
    def for_clients(self) -> str:
        """Not its path."""
        return "The network's inventory is busy or away, so nothing was done. Please repeat the request."


class Inventory:
    """Opens the file, and hands out transactions."""

    def __init__(self, path: str | pathlib.Path, namespace: str | None) -> None:
        self._path = str(path)
        self._namespace = namespace
        self._threads = threading.local()
        self._lock = threading.RLock() if self._path == ":memory:" else None
        self._only = self._connect() if self._lock else None
        self.guard: Callable[[Contents], contextlib.AbstractContextManager[None]] = lambda contents: contextlib.nullcontext()
        """Surrounds every change, its commit included."""

    def _connect(self) -> sqlite3.Connection:
        if self._lock is None:
            pathlib.Path(self._path).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        connection = sqlite3.connect(self._path, timeout=deadlines.left(_PATIENCE), isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.executescript(SCHEMA)
        return connection

    def _connection(self) -> sqlite3.Connection:
        """One per thread and process: a connection must not be carried over a fork.

        :raises Transient: the file can't be opened.
        """
        if self._only is not None:
            return self._only
        owner, connection = getattr(self._threads, "held", (0, None))
        if connection is None or owner != os.getpid():
            with self._told("can't be opened"):
                connection = self._connect()
            self._threads.held = (os.getpid(), connection)
        return connection

    @contextlib.contextmanager
    def read(self) -> Iterator[Contents]:
        """Look without locking anybody out."""
        with self._lock or contextlib.nullcontext(), self._told("can't be read"):
            yield Contents(self._connection(), self._namespace)

    @contextlib.contextmanager
    def change(self) -> Iterator[Contents]:
        """One transaction: all of it happens, or nothing.

        :raises Transient: another process held the file too long.
        """
        with self._lock or contextlib.nullcontext():
            connection = self._connection()
            with self._told("is busy"):
                connection.execute(f"PRAGMA busy_timeout = {int(deadlines.left(_PATIENCE) * 1000)}")
                connection.execute("BEGIN IMMEDIATE")
            contents = Contents(connection, self._namespace)
            with self._told("can't be changed"):
                try:
                    with self.guard(contents), self._all_or_nothing(connection):
                        yield contents
                except BaseException:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                    raise

    @contextlib.contextmanager
    def _all_or_nothing(self, connection: sqlite3.Connection) -> Iterator[None]:
        try:
            yield
        except BaseException:
            if connection.in_transaction:  # a full disk ends it by itself
                connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")

    @contextlib.contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """:raises InventoryAway: the file is locked, its disk is full, or it can't be reached."""
        try:
            yield
        except (sqlite3.OperationalError, OSError) as exc:
            raise InventoryAway(f"the network inventory {self._path} {what}: {exc}") from exc


class Contents:
    """Queries and changes within one transaction."""

    def __init__(self, connection: sqlite3.Connection, namespace: str | None) -> None:
        self._db = connection
        self._namespace = namespace

    @property
    def db(self) -> sqlite3.Connection:
        """For the modules that keep the nouns of the Networking API, within this transaction."""
        return self._db

    # Networks and subnets

    def add_network(self, name: str, bridge: str, mtu: int = 1500, *, external: bool = False, hidden: bool = False) -> str:
        """Make a network that everybody may use, unless it is hidden; there already is fine."""
        values = (network_id(name), name, bridge, mtu, not hidden and not external, external, hidden, _born())
        columns = "id, name, bridge, mtu, shared, external, hidden, details"
        self._db.execute(f"INSERT OR IGNORE INTO networks ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)  # noqa: S608
        return network_id(name)

    def add_subnet(self, network_name: str, name: str, cidr: str, gateway_ip: str | None = None) -> str:
        """Make a subnet; there already is fine."""
        made = subnet_id(network_name, name)
        values = (made, name, network_id(network_name), str(ipaddress.ip_network(cidr)), gateway_ip, _born())
        columns = "id, name, network_id, cidr, gateway_ip, details"
        self._db.execute(f"INSERT OR IGNORE INTO subnets ({columns}) VALUES (?, ?, ?, ?, ?, ?)", values)  # noqa: S608
        return made

    def network(self, wanted: str) -> Network:
        """:raises NotFound: no such network."""
        row = self._db.execute("SELECT id, name, mtu, project_id, shared FROM networks WHERE id = ?", (wanted,)).fetchone()
        if row is None:
            raise exceptions.NotFound("Network", wanted)
        subnets = self._db.execute("SELECT id FROM subnets WHERE network_id = ? ORDER BY rowid", (wanted,)).fetchall()
        subnet_ids = tuple(found for (found,) in subnets)
        return Network(id=row[0], name=row[1], mtu=row[2], subnet_ids=subnet_ids, project_id=row[3], shared=bool(row[4]))

    def subnet(self, wanted: str) -> Subnet:
        """:raises NotFound: no such subnet."""
        columns = "id, name, network_id, cidr, gateway_ip, project_id, details"
        row = self._db.execute(f"SELECT {columns} FROM subnets WHERE id = ?", (wanted,)).fetchone()  # noqa: S608
        if row is None:
            raise exceptions.NotFound("Subnet", wanted)
        routes = json.loads(row[6]).get("host_routes", ())
        return Subnet(
            id=row[0],
            name=row[1],
            network_id=row[2],
            cidr=row[3],
            ip_version=ipaddress.ip_network(row[3]).version,
            gateway_ip=row[4],
            host_routes=tuple(HostRoute(route["destination"], route["nexthop"]) for route in routes),
            project_id=row[5],
        )

    def bridges(self) -> list[str]:
        """The bridge of every network."""
        return [bridge for (bridge,) in self._db.execute("SELECT bridge FROM networks ORDER BY bridge")]

    # Ports

    def port(self, wanted: str) -> Port:
        """:raises NotFound: no such port."""
        for port in self._ports("p.id = ?", wanted):
            return port
        raise exceptions.NotFound("Port", wanted)

    def find_port(self, name: str, kind: str) -> Port | None:
        """The port of a kind with this name."""
        return next(iter(self._ports("p.name = ? AND p.kind = ?", name, kind)), None)

    def ports_of_device(self, device_id: str, kinds: Sequence[str]) -> list[Port]:
        """Ports of an amphora or load balancer, of these kinds only."""
        marks = ", ".join("?" * len(kinds))
        return self._ports(f"p.device_id = ? AND p.kind IN ({marks})", device_id, *kinds)

    def ports_of_load_balancer(self, load_balancer_id: str, kind: str) -> list[Port]:
        """Ports of one kind that serve a load balancer."""
        return self._ports("p.load_balancer_id = ? AND p.kind = ?", load_balancer_id, kind)

    def ports_in_service(self, kinds: Sequence[str]) -> list[Port]:
        """Every port of these kinds, and every one that a tenant lent to a load balancer."""
        return self._ports(f"p.kind IN ({', '.join('?' * len(kinds))}) OR p.load_balancer_id IS NOT NULL", *kinds)

    def kind_of(self, port_id: str) -> tuple[str, str | None]:
        """What a port is for, and the load balancer that it serves."""
        row = self._db.execute("SELECT kind, load_balancer_id FROM ports WHERE id = ?", (port_id,)).fetchone()
        return (row[0], row[1]) if row else ("", None)

    def _ports(self, condition: str, *values: str) -> list[Port]:
        query = f"SELECT {_PORT_COLUMNS} FROM ports p JOIN networks n ON n.id = p.network_id WHERE {condition} ORDER BY p.rowid"  # noqa: S608
        return [self._port(row) for row in self._db.execute(query, values).fetchall()]

    def _port(self, row: tuple[str, str, str, str, str, str, str | None, int, str]) -> Port:
        addresses = self._db.execute("SELECT subnet_id, ip_address FROM fixed_ips WHERE port_id = ?", (row[0],)).fetchall()
        return Port(
            id=row[0],
            name=row[1],
            network_id=row[2],
            mac_address=row[3],
            mtu=row[7],
            fixed_ips=tuple(FixedIp(subnet, address) for subnet, address in addresses),
            device_id=row[4],
            device_owner=row[5],
            project_id=row[6],
            attachment=Attachment(row[8], self._namespace) if self._namespace else None,
        )

    def add_port(
        self,
        name: str,
        network: str,
        addresses: Sequence[tuple[str, str | None]],
        *,
        kind: str = "",
        device_id: str = "",
        device_owner: str = "",
        project_id: str | None = None,
        load_balancer_id: str | None = None,
        gateway: bool = False,
    ) -> Port:
        """Make a port with one address per (subnet id, wanted address or None); only a `gateway` may have a gateway's address.

        :raises NotFound: a subnet does not exist.
        :raises Conflict: a wanted address is taken.
        :raises InvalidRequest: a wanted address is outside its subnet.
        :raises SubnetFull: a subnet has no address left.
        """
        made = str(uuid.uuid4())
        values = (made, name, network, "", device_id, device_owner, project_id, kind, load_balancer_id, _born())
        columns = "id, name, network_id, mac_address, device_id, device_owner, project_id, kind, load_balancer_id, details"
        self._db.execute(f"INSERT INTO ports ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values)  # noqa: S608
        taken = [self._take(made, self.subnet(subnet), wanted, gateway) for subnet, wanted in addresses]
        mac = mac_for(network, taken[0] if taken else made)
        if self._db.execute("SELECT 1 FROM ports WHERE network_id = ? AND mac_address = ?", (network, mac)).fetchone():
            mac = mac_for(network, made)  # a port that gave this address back keeps its MAC
        self._db.execute("UPDATE ports SET mac_address = ? WHERE id = ?", (mac, made))
        return self.port(made)

    def set_device(self, port_id: str, device_id: str, device_owner: str) -> None:
        """Say who uses a port; empty strings release it."""
        self._db.execute("UPDATE ports SET device_id = ?, device_owner = ? WHERE id = ?", (device_id, device_owner, port_id))

    def lend_to(self, port_id: str, load_balancer_id: str | None) -> None:
        """Say which load balancer has its VIP on a tenant's port; None: it gave the port back."""
        self._db.execute("UPDATE ports SET load_balancer_id = ? WHERE id = ?", (load_balancer_id, port_id))

    def delete_port(self, port_id: str) -> None:
        """Delete a port and free its addresses; gone already is fine."""
        self._db.execute("DELETE FROM ports WHERE id = ?", (port_id,))

    # Addresses

    def take(self, port_id: str, subnet_id: str, wanted: str | None = None) -> str:
        """Give a port another address.

        :raises NotFound: no such subnet; :raises Conflict: the wanted one is taken; :raises InvalidRequest: it is no such, or none is left.
        """
        return self._take(port_id, self.subnet(subnet_id), wanted)

    def give_back(self, port_id: str, fixed: FixedIp) -> None:
        """Take an address from a port; its MAC stays."""
        values = (port_id, fixed.subnet_id, fixed.ip_address)
        self._db.execute("DELETE FROM fixed_ips WHERE port_id = ? AND subnet_id = ? AND ip_address = ?", values)

    def free_addresses(self, wanted: str) -> int:
        """How many ports a subnet has room for.

        :raises NotFound: no such subnet.
        """
        subnet = self.subnet(wanted)
        size = ipaddress.ip_network(subnet.cidr).num_addresses
        (used,) = self._db.execute("SELECT count(*) FROM fixed_ips WHERE subnet_id = ?", (wanted,)).fetchone()
        return max(0, int(size - (2 if size > 2 else 0) - (subnet.gateway_ip is not None) - used))

    def _take(self, port_id: str, subnet: Subnet, wanted: str | None, gateway: bool = False) -> str:
        if wanted is None:
            return self._take_next(port_id, subnet)
        cidr = ipaddress.ip_network(subnet.cidr)
        address = ipaddress.ip_address(wanted)
        if address not in cidr or _is_reserved(address, cidr):
            raise exceptions.AddressNotOnSubnet(wanted, subnet.id, subnet.cidr)
        if (str(address) == subnet.gateway_ip and not gateway) or not self._insert(port_id, subnet.id, str(address)):
            raise exceptions.AddressInUse(f"The address {wanted} of subnet {subnet.id} is in use.")
        return str(address)

    def _take_next(self, port_id: str, subnet: Subnet) -> str:
        """The next address after the one given out last, so that an address rests for a while before it is used again."""
        cidr = ipaddress.ip_network(subnet.cidr)
        cursor, details = self._db.execute("SELECT cursor, details FROM subnets WHERE id = ?", (subnet.id,)).fetchone()
        (used,) = self._db.execute("SELECT count(*) FROM fixed_ips WHERE subnet_id = ?", (subnet.id,)).fetchone()
        pools = _Pools(cidr, json.loads(details).get("allocation_pools"))
        tries = min(pools.size, used + 4)  # beside the used ones: network, broadcast, gateway, and one that is free
        for offset in range(1, tries + 1):
            place = (cursor + offset) % pools.size
            address = pools[place]
            if _is_reserved(address, cidr) or str(address) == subnet.gateway_ip:
                continue
            if self._insert(port_id, subnet.id, str(address)):
                self._db.execute("UPDATE subnets SET cursor = ? WHERE id = ?", (place, subnet.id))
                return str(address)
        raise exceptions.SubnetFull(subnet.id, subnet.cidr)

    def _insert(self, port_id: str, subnet: str, address: str) -> bool:
        try:
            self._db.execute("INSERT INTO fixed_ips (port_id, subnet_id, ip_address) VALUES (?, ?, ?)", (port_id, subnet, address))
        except sqlite3.IntegrityError:
            return False
        return True

    def allow_address(self, port_id: str, address: str) -> None:
        """Let a port send from an address that is not its own (the VIP)."""
        self._db.execute("INSERT OR IGNORE INTO allowed_addresses VALUES (?, ?)", (port_id, address))

    def allowed_addresses(self, port_id: str) -> list[str]:
        """Addresses beside its own from which a port may send."""
        return [address for (address,) in self._db.execute("SELECT ip_address FROM allowed_addresses WHERE port_id = ?", (port_id,))]

    # Orders of workers

    def followed(self, load_balancer_id: str) -> int:
        """The highest token of a load balancer's lease by which anything was changed here; 0: none."""
        row = self._db.execute("SELECT token FROM orders WHERE load_balancer_id = ?", (load_balancer_id,)).fetchone()
        return int(row[0]) if row else 0

    def follow(self, order: Order) -> None:
        """Keep a token.

        :raises StaleOrder: a newer order was followed.
        """
        seen = self.followed(order.load_balancer_id)
        if order.token < seen:
            raise exceptions.StaleOrder("the network", token=seen)
        if order.token > seen:
            values = (order.load_balancer_id, order.token)
            self._db.execute("INSERT OR REPLACE INTO orders (load_balancer_id, token) VALUES (?, ?)", values)

    def forget_old_orders(self) -> None:
        """Those of load balancers of which nothing is left since long ago."""
        living = "SELECT load_balancer_id FROM ports WHERE load_balancer_id IS NOT NULL"
        old = "number < (SELECT max(number) FROM orders) - ?"
        self._db.execute(f"DELETE FROM orders WHERE {old} AND load_balancer_id NOT IN ({living})", (_ORDERS_KEPT,))  # noqa: S608

    # Security groups of tenants

    def security_group(self, wanted: str) -> SecurityGroup:
        """:raises NotFound: no such group."""
        row = self._db.execute("SELECT id, name, project_id FROM security_groups WHERE id = ?", (wanted,)).fetchone()
        if row is None:
            raise exceptions.NotFound("SecurityGroup", wanted)
        return SecurityGroup(*row)

    def groups_of(self, port_id: str) -> list[str]:
        """The ids of a port's security groups."""
        query = "SELECT security_group_id FROM port_groups WHERE port_id = ? ORDER BY security_group_id"
        return [found for (found,) in self._db.execute(query, (port_id,))]

    def group_rules(self, group_id: str) -> list[dict[str, Any]] | None:
        """The rules of a security group, in their order; None if there is no such group."""
        if self._db.execute("SELECT 1 FROM security_groups WHERE id = ?", (group_id,)).fetchone() is None:
            return None
        columns = ("id", "direction", "ethertype", "protocol", "port_min", "port_max", "prefix", "remote_group_id")
        query = f"SELECT {', '.join(columns)} FROM security_group_rules WHERE security_group_id = ? ORDER BY rowid"  # noqa: S608
        return [dict(zip(columns, row, strict=True)) for row in self._db.execute(query, (group_id,))]

    def all_groups(self) -> list[str]:
        """The id of every security group."""
        return [found for (found,) in self._db.execute("SELECT id FROM security_groups ORDER BY rowid")]

    def is_secured(self, port_id: str) -> bool:
        """Whether a tenant's port is filtered by its security groups."""
        return bool(self._db.execute("SELECT secured FROM ports WHERE id = ? AND secured", (port_id,)).fetchone())

    def filtered_ports(self) -> list[str]:
        """The id of every port of which the filter has to know: amphorae's, secured ones, members of groups."""
        query = "SELECT id FROM ports WHERE kind NOT IN ('', 'vip') OR secured UNION SELECT port_id FROM port_groups"
        return [found for (found,) in self._db.execute(query)]

    def is_member(self, group_id: str, address: str) -> bool:
        """Does any port of a group have this address, or may send from it?"""
        return any(
            self._db.execute(
                f"SELECT 1 FROM {table} a JOIN port_groups g ON g.port_id = a.port_id "  # noqa: S608
                "WHERE a.ip_address = ? AND g.security_group_id = ?",
                (address, group_id),
            ).fetchone()
            for table in ("fixed_ips", "allowed_addresses")
        )

    def set_groups(self, port_id: str, group_ids: Iterable[str]) -> None:
        """Exactly these, from now on.

        :raises NotFound: one does not exist.
        """
        wanted = {self.security_group(found).id for found in group_ids}
        self._db.execute("DELETE FROM port_groups WHERE port_id = ?", (port_id,))
        self._db.executemany("INSERT INTO port_groups VALUES (?, ?)", [(port_id, found) for found in sorted(wanted)])

    def groups_of_vips(self, load_balancer_id: str) -> set[str]:
        """The security groups that lie on the VIP ports of a load balancer, whoever made these ports."""
        query = "SELECT g.security_group_id FROM port_groups g JOIN ports p ON p.id = g.port_id "
        query += "WHERE p.load_balancer_id = ? AND p.kind IN ('', 'vip')"
        return {found for (found,) in self._db.execute(query, (load_balancer_id,))}

    # What the halves of a pair tell each other

    def pair_rules(self, load_balancer_id: str) -> frozenset[AccessRule]:
        """What the amphorae of a load balancer take from each other."""
        rows = self._db.execute("SELECT protocol, port, cidr FROM pair_rules WHERE load_balancer_id = ?", (load_balancer_id,))
        return frozenset(AccessRule(protocol, port or None, cidr or None, True) for protocol, port, cidr in rows)

    def set_pair_rules(self, load_balancer_id: str, rules: Iterable[AccessRule]) -> None:
        """Exactly these, from now on."""
        self._db.execute("DELETE FROM pair_rules WHERE load_balancer_id = ?", (load_balancer_id,))
        values = [(load_balancer_id, rule.protocol, rule.port or 0, rule.cidr or "") for rule in set(rules)]
        self._db.executemany("INSERT INTO pair_rules VALUES (?, ?, ?, ?)", values)


def now() -> str:
    """The time, as the Networking API writes it."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _born() -> str:
    return json.dumps({"created_at": now()})


class _Pools:
    """The addresses that a subnet gives out by itself, numbered: all of it, or the pools that were asked for."""

    def __init__(self, cidr: ipaddress.IPv4Network | ipaddress.IPv6Network, pools: Sequence[Mapping[str, str]] | None) -> None:
        ends = [(pool["start"], pool["end"]) for pool in pools or ()] or [(str(cidr[0]), str(cidr[-1]))]
        self._address = ipaddress.IPv4Address if cidr.version == 4 else ipaddress.IPv6Address
        self._ranges = [range(int(self._address(first)), int(self._address(last)) + 1) for first, last in ends]
        self.size = sum(found.stop - found.start for found in self._ranges)

    def __getitem__(self, place: int) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
        for found in self._ranges:
            size = found.stop - found.start
            if place < size:
                return self._address(found.start + place)
            place -= size
        raise IndexError(place)


def _is_reserved(address: ipaddress.IPv4Address | ipaddress.IPv6Address, cidr: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
    return address in (cidr.network_address, cidr.broadcast_address) and cidr.num_addresses > 2
