"""Rows of the inventory as documents of the Networking API; a list costs the same number of statements whatever its length."""

import collections
import functools
import ipaddress
from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa

from controller import exceptions
from controller.embedded import networking, tables
from controller.embedded.contents import Contents
from controller.embedded.networking import Document
from controller.embedded.rows import Row
from controller.model.network import NORMAL

ROUTER_INTERFACE, ROUTER_GATEWAY, FLOATING_OWNER = "network:router_interface", "network:router_gateway", "network:floatingip"
_hidden = sa.select(tables.networks.c.id).where(tables.networks.c.hidden)


@functools.cache
def _statement(kind: str, one: bool) -> sa.Select[Any]:
    table, visible, _ = _KINDS[kind]
    found = sa.select(table).where(visible).order_by(sa.literal_column(f"{table.name}.rowid"))
    return found.where(table.c.id == sa.bindparam("only")) if one else found


def documents(contents: Contents, kind: str, only: str | None = None) -> list[Document]:
    """All documents of a kind, oldest first, or the one with an id."""
    found = contents.rows.run(_statement(kind, only is not None), **({} if only is None else {"only": only})).all()
    return _KINDS[kind][2](contents, found, only)


def document(contents: Contents, kind: str, object_id: str) -> Document:
    """:raises NotFound: there is none."""
    for found in documents(contents, kind, object_id):
        return found
    raise exceptions.NotFound(networking.NAMES[kind], object_id)


def _by(contents: Contents, table: sa.Table, key: str, only: str | None, **equal: Any) -> dict[str, list[Row]]:
    """The rows of a table by one of its columns; those of one thing `only`, if it is named."""
    found: dict[str, list[Row]] = collections.defaultdict(list)
    for row in contents.rows.all(table, **equal, **({} if only is None else {key: only})):
        found[getattr(row, key)].append(row)
    return found


def _standard(row: Row, columns: str = "", none: str = "", empty: str = "", blank: str = "", **more: Any) -> Document:
    """What every document has; the row's columns of the same names; attributes that are null, an empty list or an empty string; and more.

    What the row's details say wins over these.
    """
    details, known = dict(row.details), row._mapping
    created = details.pop("created_at", "2020-01-01T00:00:00Z")
    updated = details.pop("updated_at", created)
    project = more.pop("owner", known.get("project_id")) or ""
    shown = {"id": row.id, "tenant_id": project, "project_id": project, "description": "", "tags": [], "revision_number": 0}
    shown |= {name: known[name] for name in ("name", *columns.split()) if name in known}
    shown |= dict.fromkeys(none.split()) | {name: [] for name in empty.split()} | dict.fromkeys(blank.split(), "")
    return {**shown, **more, **details, "created_at": created, "updated_at": updated}


def _networks(contents: Contents, rows: Sequence[Row], only: str | None) -> list[Document]:
    subnets = _by(contents, tables.subnets, "network_id", only)
    return [
        _standard(
            row,
            "shared mtu",
            none="ipv4_address_scope ipv6_address_scope qos_policy_id",
            empty="availability_zone_hints availability_zones",
            blank="dns_domain",
            admin_state_up=True,
            status="ACTIVE",
            subnets=[subnet.id for subnet in subnets[row.id]],
            port_security_enabled=True,
            is_default=False,
        )
        | {"router:external": row.external}
        for row in rows
    ]


def _subnets(contents: Contents, rows: Sequence[Row], only: str | None) -> list[Document]:
    return [
        _standard(
            row,
            "network_id cidr gateway_ip",
            none="ipv6_ra_mode ipv6_address_mode subnetpool_id segment_id",
            empty="host_routes dns_nameservers service_types",
            ip_version=ipaddress.ip_network(row.cidr).version,
            allocation_pools=_pools(row.cidr, row.gateway_ip),
            enable_dhcp=False,
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


def _ports(contents: Contents, rows: Sequence[Row], only: str | None) -> list[Document]:
    addresses = _by(contents, tables.fixed_ips, "port_id", only)
    allowed = _by(contents, tables.allowed_addresses, "port_id", only)
    groups = _by(contents, tables.port_groups, "port_id", only)
    return [
        {
            "binding:vnic_type": NORMAL,
            "binding:host_id": "",
            "binding:profile": {},
            "binding:vif_type": "bridge" if row.device_id else "unbound",
            "binding:vif_details": {},
        }
        | _standard(
            row,
            "network_id mac_address device_id device_owner",
            none="qos_policy_id qos_network_policy_id resource_request",
            empty="extra_dhcp_opts dns_assignment",
            blank="dns_name dns_domain",
            admin_state_up=True,
            status="ACTIVE" if row.device_id else "DOWN",
            fixed_ips=[{"subnet_id": one.subnet_id, "ip_address": one.ip_address} for one in addresses[row.id]],
            allowed_address_pairs=[{"ip_address": one.ip_address, "mac_address": row.mac_address} for one in allowed[row.id]],
            security_groups=[one.security_group_id for one in groups[row.id]],
            port_security_enabled=bool(row.secured or row.kind),
            propagate_uplink_status=False,
            ip_allocation="immediate",
        )
        for row in rows
    ]


def _security_groups(contents: Contents, rows: Sequence[Row], only: str | None) -> list[Document]:
    of = _by(contents, tables.rules, "security_group_id", only)
    return [
        _standard(row, stateful=True, shared=False, security_group_rules=[_rule(one, row.project_id) for one in of[row.id]]) for row in rows
    ]


def _rules(contents: Contents, rows: Sequence[Row], only: str | None) -> list[Document]:
    groups = {row.security_group_id for row in rows} if only is not None else None
    found = contents.rows.all(tables.security_groups, **({} if groups is None else {"id": groups}))
    projects = {group.id: group.project_id for group in found}
    return [_rule(row, projects[row.security_group_id]) for row in rows]


def _rule(row: Row, owner: str) -> Document:
    return _standard(
        row,
        "security_group_id direction ethertype protocol remote_group_id",
        none="remote_address_group_id",
        owner=owner,
        port_range_min=row.port_min,
        port_range_max=row.port_max,
        remote_ip_prefix=row.prefix,
        normalized_cidr=row.prefix,
    )


def _routers(contents: Contents, rows: Sequence[Row], only: str | None) -> list[Document]:
    gateways = _by(contents, tables.ports, "device_id", only, device_owner=ROUTER_GATEWAY)
    addresses = _by(contents, tables.fixed_ips, "port_id", None, port_id=[port.id for ports in gateways.values() for port in ports])
    return [
        _standard(
            row,
            none="flavor_id",
            empty="routes availability_zone_hints availability_zones",
            admin_state_up=True,
            status="ACTIVE",
            external_gateway_info=_gateway(gateways[row.id], addresses),
            ha=False,
            distributed=False,
        )
        for row in rows
    ]


def _gateway(ports: Sequence[Row], addresses: dict[str, list[Row]]) -> dict[str, Any] | None:
    for port in ports:
        fixed = [{"subnet_id": one.subnet_id, "ip_address": one.ip_address} for one in addresses[port.id]]
        return {"network_id": port.network_id, "enable_snat": True, "external_fixed_ips": fixed}
    return None


def _floating_ips(contents: Contents, rows: Sequence[Row], only: str | None) -> list[Document]:
    leads_to = [row.port_id for row in rows if row.port_id]
    ports = {port.id: port for port in contents.rows.all(tables.ports, id=leads_to)}
    up = {"status": "ACTIVE", "admin_state_up": True}
    return [
        _standard(
            row,
            "router_id port_id",
            none="qos_policy_id",
            empty="port_forwardings",
            blank="dns_name dns_domain",
            floating_ip_address=row.address,
            floating_network_id=row.network_id,
            fixed_ip_address=row.fixed_address,
            status="ACTIVE" if row.port_id else "DOWN",
            port_details={name: ports[row.port_id]._mapping[name] for name in _PORT_DETAILS} | up if row.port_id else None,
        )
        for row in rows
    ]


_PORT_DETAILS = ("name", "network_id", "mac_address", "device_id", "device_owner")
_Shape = Callable[[Contents, Sequence[Row], str | None], list[Document]]
_KINDS: dict[str, tuple[sa.Table, sa.ColumnElement[bool], _Shape]] = {
    networking.NETWORK: (tables.networks, ~tables.networks.c.hidden, _networks),
    networking.SUBNET: (tables.subnets, tables.subnets.c.network_id.not_in(_hidden), _subnets),
    networking.PORT: (tables.ports, tables.ports.c.network_id.not_in(_hidden), _ports),
    networking.ROUTER: (tables.routers, sa.true(), _routers),
    networking.SECURITY_GROUP: (tables.security_groups, sa.true(), _security_groups),
    networking.SECURITY_GROUP_RULE: (tables.rules, sa.true(), _rules),
    networking.FLOATING_IP: (tables.floating_ips, sa.true(), _floating_ips),
}
"""The table of a kind, which of its rows anybody may see, and what makes documents of them."""
