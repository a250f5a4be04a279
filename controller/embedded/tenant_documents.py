"""Rows of the inventory as documents of the Networking API; a list costs the same number of statements whatever its length."""

from __future__ import annotations

import collections
import ipaddress
import json
import sqlite3
from collections.abc import Callable, Iterable
from typing import Any

from controller import exceptions
from controller.embedded import networking
from controller.embedded.inventory import Contents
from controller.embedded.networking import Document

NAMES = {
    networking.NETWORK: "Network",
    networking.SUBNET: "Subnet",
    networking.SUBNET_POOL: "SubnetPool",
    networking.PORT: "Port",
    networking.ROUTER: "Router",
    networking.SECURITY_GROUP: "SecurityGroup",
    networking.SECURITY_GROUP_RULE: "SecurityGroupRule",
    networking.FLOATING_IP: "FloatingIP",
}
TABLES = {
    networking.NETWORK: "networks",
    networking.SUBNET: "subnets",
    networking.SUBNET_POOL: "subnetpools",
    networking.PORT: "ports",
    networking.ROUTER: "routers",
    networking.SECURITY_GROUP: "security_groups",
    networking.SECURITY_GROUP_RULE: "security_group_rules",
    networking.FLOATING_IP: "floating_ips",
}
ROUTER_INTERFACE, ROUTER_GATEWAY, FLOATING_OWNER = "network:router_interface", "network:router_gateway", "network:floatingip"
_VISIBLE = {
    networking.NETWORK: "NOT t.hidden",
    networking.SUBNET: "t.network_id NOT IN (SELECT id FROM networks WHERE hidden)",
    networking.PORT: "t.network_id NOT IN (SELECT id FROM networks WHERE hidden)",
}


def documents(contents: Contents, kind: str, only: str | None = None) -> list[Document]:
    """All documents of a kind, oldest first, or the one with an id."""
    condition = _VISIBLE.get(kind, "1") + (" AND t.id = ?" if only is not None else "")
    cursor = contents.db.execute(
        f"SELECT * FROM {TABLES[kind]} t WHERE {condition} ORDER BY t.rowid",  # noqa: S608
        () if only is None else (only,),
    )
    names = [column[0] for column in cursor.description]
    rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    return _SHAPES[kind](contents, rows, only)


def document(contents: Contents, kind: str, object_id: str) -> Document:
    """:raises NotFound: there is none."""
    for found in documents(contents, kind, object_id):
        return found
    raise exceptions.NotFound(NAMES[kind], object_id)


def gathered(contents: Contents, query: str, *values: Any) -> dict[str, list[Any]]:
    """The rows of a query by their first column; a row of two columns is its second one."""
    found: dict[str, list[Any]] = collections.defaultdict(list)
    for key, *rest in contents.db.execute(query, values):
        found[key].append(rest[0] if len(rest) == 1 else rest)
    return found


def _standard(row: dict[str, Any], **more: Any) -> Document:
    """What every document has; `more` are the attributes of its kind, and what else its details say wins over their defaults."""
    details = json.loads(row["details"])
    created = details.pop("created_at", "2020-01-01T00:00:00Z")
    updated = details.pop("updated_at", created)
    project = row.get("project_id") or ""
    shown = {"id": row["id"], "tenant_id": project, "project_id": project, "description": "", "tags": [], "revision_number": 0}
    if "name" in row:
        shown["name"] = row["name"]
    return {**shown, **more, **details, "created_at": created, "updated_at": updated}


def _networks(contents: Contents, rows: list[dict[str, Any]], only: str | None) -> list[Document]:
    subnets = gathered(contents, "SELECT network_id, id FROM subnets WHERE coalesce(?, network_id) = network_id ORDER BY rowid", only)
    return [
        _standard(
            row,
            admin_state_up=True,
            status="ACTIVE",
            subnets=subnets[row["id"]],
            shared=bool(row["shared"]),
            mtu=row["mtu"],
            availability_zone_hints=[],
            availability_zones=[],
            ipv4_address_scope=None,
            ipv6_address_scope=None,
            port_security_enabled=True,
            is_default=False,
            qos_policy_id=None,
            dns_domain="",
        )
        | {"router:external": bool(row["external"])}
        for row in rows
    ]


def _subnets(contents: Contents, rows: list[dict[str, Any]], only: str | None) -> list[Document]:
    del contents, only
    return [
        _standard(
            row,
            network_id=row["network_id"],
            cidr=row["cidr"],
            ip_version=ipaddress.ip_network(row["cidr"]).version,
            gateway_ip=row["gateway_ip"],
            allocation_pools=_pools(row["cidr"], row["gateway_ip"]),
            host_routes=[],
            dns_nameservers=[],
            enable_dhcp=False,
            ipv6_ra_mode=None,
            ipv6_address_mode=None,
            subnetpool_id=None,
            segment_id=None,
            service_types=[],
            dns_publish_fixed_ip=False,
        )
        for row in rows
    ]


def _pools(cidr: str, gateway_ip: str | None) -> list[dict[str, str]]:
    """Every address of a subnet but those that nobody can have, as one range or two."""
    network = ipaddress.ip_network(cidr)
    first, last = int(network[0]), int(network[-1])
    if network.num_addresses > 2:
        first, last = first + 1, last - (network.version == 4)
    gateway = int(ipaddress.ip_address(gateway_ip)) if gateway_ip else first - 1
    ends = [(first, min(gateway - 1, last)), (max(gateway + 1, first), last)] if first <= gateway <= last else [(first, last)]
    return [
        {"start": str(network[start - int(network[0])]), "end": str(network[end - int(network[0])])} for start, end in ends if start <= end
    ]


def _subnet_pools(contents: Contents, rows: list[dict[str, Any]], only: str | None) -> list[Document]:
    del contents, only
    return [
        _standard(
            row,
            ip_version=row["ip_version"],
            prefixes=json.loads(row["prefixes"]),
            shared=bool(row["shared"]),
            is_default=bool(row["is_default"]),
            default_quota=None,
            address_scope_id=None,
        )
        for row in rows
    ]


def _ports(contents: Contents, rows: list[dict[str, Any]], only: str | None) -> list[Document]:
    addresses = gathered(contents, "SELECT port_id, subnet_id, ip_address FROM fixed_ips WHERE coalesce(?, port_id) = port_id", only)
    allowed = gathered(contents, "SELECT port_id, ip_address FROM allowed_addresses WHERE coalesce(?, port_id) = port_id", only)
    groups = gathered(contents, "SELECT port_id, security_group_id FROM port_groups WHERE coalesce(?, port_id) = port_id", only)
    return [
        _standard(
            row,
            network_id=row["network_id"],
            mac_address=row["mac_address"],
            admin_state_up=True,
            status="ACTIVE" if row["device_id"] else "DOWN",
            device_id=row["device_id"],
            device_owner=row["device_owner"],
            fixed_ips=[{"subnet_id": subnet, "ip_address": address} for subnet, address in addresses[row["id"]]],
            allowed_address_pairs=[{"ip_address": address, "mac_address": row["mac_address"]} for address in allowed[row["id"]]],
            security_groups=groups[row["id"]],
            port_security_enabled=bool(row["secured"] or row["kind"]),
            extra_dhcp_opts=[],
            dns_name="",
            dns_domain="",
            dns_assignment=[],
            qos_policy_id=None,
            qos_network_policy_id=None,
            propagate_uplink_status=False,
            ip_allocation="immediate",
            resource_request=None,
        )
        | {
            "binding:vnic_type": "normal",
            "binding:host_id": "",
            "binding:profile": {},
            "binding:vif_type": "bridge" if row["device_id"] else "unbound",
            "binding:vif_details": {},
        }
        for row in rows
    ]


def _security_groups(contents: Contents, rows: list[dict[str, Any]], only: str | None) -> list[Document]:
    query = "SELECT t.*, g.project_id FROM security_group_rules t JOIN security_groups g ON g.id = t.security_group_id"
    cursor = contents.db.execute(f"{query} WHERE coalesce(?, g.id) = g.id ORDER BY t.rowid", (only,))
    rules = collections.defaultdict(list)
    for row in _named(cursor):
        rules[row["security_group_id"]].append(_rule(row))
    return [_standard(row, stateful=True, shared=False, security_group_rules=rules[row["id"]]) for row in rows]


def _named(cursor: sqlite3.Cursor) -> Iterable[dict[str, Any]]:
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _rules(contents: Contents, rows: list[dict[str, Any]], only: str | None) -> list[Document]:
    projects = dict(
        contents.db.execute(
            "SELECT r.id, g.project_id FROM security_group_rules r JOIN security_groups g ON g.id = r.security_group_id "
            "WHERE coalesce(?, r.id) = r.id",
            (only,),
        ).fetchall()
    )
    return [_rule({**row, "project_id": projects[row["id"]]}) for row in rows]


def _rule(row: dict[str, Any]) -> Document:
    return _standard(
        row,
        security_group_id=row["security_group_id"],
        direction=row["direction"],
        ethertype=row["ethertype"],
        protocol=row["protocol"],
        port_range_min=row["port_min"],
        port_range_max=row["port_max"],
        remote_ip_prefix=row["prefix"],
        normalized_cidr=row["prefix"],
        remote_group_id=row["remote_group_id"],
        remote_address_group_id=None,
    )


def _routers(contents: Contents, rows: list[dict[str, Any]], only: str | None) -> list[Document]:
    query = (
        "SELECT p.device_id, p.network_id, f.subnet_id, f.ip_address FROM ports p LEFT JOIN fixed_ips f ON f.port_id = p.id "
        "WHERE p.device_owner = ? AND coalesce(?, p.device_id) = p.device_id"
    )
    gateways = gathered(contents, query, ROUTER_GATEWAY, only)
    return [
        _standard(
            row,
            admin_state_up=True,
            status="ACTIVE",
            external_gateway_info=_gateway(gateways[row["id"]]),
            routes=[],
            ha=False,
            distributed=False,
            availability_zone_hints=[],
            availability_zones=[],
            flavor_id=None,
        )
        for row in rows
    ]


def _gateway(found: list[Any]) -> dict[str, Any] | None:
    if not found:
        return None
    fixed = [{"subnet_id": subnet, "ip_address": address} for _, subnet, address in found if address]
    return {"network_id": found[0][0], "enable_snat": True, "external_fixed_ips": fixed}


def _floating_ips(contents: Contents, rows: list[dict[str, Any]], only: str | None) -> list[Document]:
    query = (
        "SELECT f.id, p.name, p.network_id, p.mac_address, p.device_id, p.device_owner "
        "FROM floating_ips f JOIN ports p ON p.id = f.port_id "
        "WHERE coalesce(?, f.id) = f.id"
    )
    ports = gathered(contents, query, only)
    return [
        _standard(
            row,
            floating_ip_address=row["address"],
            floating_network_id=row["network_id"],
            router_id=row["router_id"],
            port_id=row["port_id"],
            fixed_ip_address=row["fixed_address"],
            status="ACTIVE" if row["port_id"] else "DOWN",
            port_details=_port_details(ports[row["id"]]),
            port_forwardings=[],
            dns_name="",
            dns_domain="",
            qos_policy_id=None,
        )
        for row in rows
    ]


def _port_details(found: list[Any]) -> dict[str, Any] | None:
    if not found:
        return None
    names = ("name", "network_id", "mac_address", "device_id", "device_owner")
    return {**dict(zip(names, found[0], strict=True)), "status": "ACTIVE", "admin_state_up": True}


_SHAPES: dict[str, Callable[[Contents, list[dict[str, Any]], str | None], list[Document]]] = {
    networking.NETWORK: _networks,
    networking.SUBNET: _subnets,
    networking.SUBNET_POOL: _subnet_pools,
    networking.PORT: _ports,
    networking.ROUTER: _routers,
    networking.SECURITY_GROUP: _security_groups,
    networking.SECURITY_GROUP_RULE: _rules,
    networking.FLOATING_IP: _floating_ips,
}
