"""The tables of the inventory. Files are older than programs: a column may be added here, with a default, and none changes its meaning."""

import functools
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

metadata = sa.MetaData()


def _text(name: str, **more: Any) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False, **more)


def _number(name: str, default: int | None = None, **more: Any) -> sa.Column[int]:
    return sa.Column(name, sa.Integer, nullable=False, server_default=None if default is None else str(default), **more)


def _flag(name: str, default: int = 0) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean, nullable=False, server_default=str(default))


def _of(name: str, table: str, on_delete: str | None = None, nullable: bool = False, **more: Any) -> sa.Column[Any]:
    return sa.Column(name, sa.Text, sa.ForeignKey(f"{table}.id", ondelete=on_delete), nullable=nullable, **more)


def _maybe(name: str) -> sa.Column[str | None]:
    return sa.Column(name, sa.Text)


def _things(name: str, kind: str, *columns: Any) -> sa.Table:
    """A table of things with an id, in the words of clients a `kind`; `details` are what nothing but their readers need."""
    details = sa.Column("details", sa.JSON, nullable=False, server_default="{}")
    return sa.Table(name, metadata, sa.Column("id", sa.Text, primary_key=True), *columns, details, info={"kind": kind})


def _links(name: str, *columns: Any) -> sa.Table:
    return sa.Table(name, metadata, *columns, sqlite_with_rowid=False)


_owner, _name = functools.partial(_maybe, "project_id"), functools.partial(_text, "name")
_flags = [_flag("shared", 1), _flag("external"), _flag("hidden")]
networks = _things("networks", "Network", _name(), _text("bridge", unique=True), _number("mtu"), _owner(), *_flags)
_range = [_of("network_id", "networks", "CASCADE"), _text("cidr"), _maybe("gateway_ip"), _number("cursor", 0)]
subnets = _things("subnets", "Subnet", _name(), *_range, _owner())
_device = [_text("device_id", server_default=""), _text("device_owner", server_default="")]
_use = [_text("kind", server_default=""), _maybe("load_balancer_id"), _flag("secured")]
ports = _things("ports", "Port", _name(), _of("network_id", "networks"), _text("mac_address"), *_device, _owner(), *_use)
_address = [_of("subnet_id", "subnets", primary_key=True), _text("ip_address", primary_key=True)]
fixed_ips = _links("fixed_ips", _of("port_id", "ports", "CASCADE"), *_address)
_of_port = functools.partial(_of, "port_id", "ports", "CASCADE", primary_key=True)
allowed_addresses = _links("allowed_addresses", _of_port(), _text("ip_address", primary_key=True))
_pair = [_text("load_balancer_id", primary_key=True), _text("protocol", primary_key=True)]
pair_rules = _links("pair_rules", *_pair, _number("port", primary_key=True), _text("cidr", primary_key=True))
security_groups = _things("security_groups", "SecurityGroup", _name(), _text("project_id"))
_match = [_maybe("protocol"), sa.Column("port_min", sa.Integer), sa.Column("port_max", sa.Integer), _maybe("prefix")]
_group = functools.partial(_of, table="security_groups")
_remote = _group("remote_group_id", on_delete="CASCADE", nullable=True)
_way = [_group("security_group_id", on_delete="CASCADE"), _text("direction"), _text("ethertype")]
rules = _things("security_group_rules", "SecurityGroupRule", *_way, *_match, _remote)
port_groups = _links("port_groups", _of_port(), _group("security_group_id", primary_key=True))
routers = _things("routers", "Router", _name(), _owner())
_order: list[Any] = [sa.Column("number", sa.Integer, primary_key=True), _text("load_balancer_id", unique=True), _number("token")]
orders = sa.Table("orders", metadata, *_order, sqlite_autoincrement=True)
_public = [_of("own_port_id", "ports", unique=True), _text("address"), _of("network_id", "networks")]
_leads_to = [_of("router_id", "routers", nullable=True), _of("port_id", "ports", nullable=True), _maybe("fixed_address")]
floating_ips = _things("floating_ips", "FloatingIP", _owner(), *_public, *_leads_to)

for _index, *_columns in (
    ("subnets_by_network", subnets.c.network_id),
    ("ports_by_name", ports.c.name, ports.c.kind),
    ("ports_by_device", ports.c.device_id, ports.c.kind),
    ("ports_by_load_balancer", ports.c.load_balancer_id),
    ("ports_by_network", ports.c.network_id),
    ("ports_by_mac", ports.c.mac_address),
    ("fixed_ips_by_port", fixed_ips.c.port_id),
    ("fixed_ips_by_address", fixed_ips.c.ip_address),
    ("allowed_by_address", allowed_addresses.c.ip_address),
    ("security_groups_by_project", security_groups.c.project_id, security_groups.c.name),
    ("rules_by_group", rules.c.security_group_id),
    ("rules_by_remote_group", rules.c.remote_group_id),
    ("ports_by_group", port_groups.c.security_group_id),
    ("floating_ips_by_port", floating_ips.c.port_id),
    ("floating_ips_by_router", floating_ips.c.router_id),
):
    sa.Index(_index, *_columns)

_makers: list[Any] = []
for _one in metadata.sorted_tables:
    _makers += [CreateTable(_one, if_not_exists=True), *(CreateIndex(index, if_not_exists=True) for index in _one.indexes)]
SCHEMA = [str(maker.compile(dialect=sqlite.dialect())) for maker in _makers]
"""The statements that make what of it is not there."""
