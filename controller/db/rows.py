"""From rows to the nouns of `model`, and nothing else."""

from __future__ import annotations

import dataclasses
import datetime
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from controller.db import tables
from controller.model import amphora as amphora_model
from controller.model import load_balancer as model
from controller.model import status
from controller.resources import nouns

Row = Mapping[str, Any]


def _resource(row: Row, tags: Sequence[str], fault: model.Fault | None) -> dict[str, Any]:
    return {
        "id": row["id"],
        "project_id": row["project_id"],
        "name": row["name"],
        "description": row["description"],
        "admin_state_up": row["admin_state_up"],
        "provisioning_status": status.ProvisioningStatus(row["provisioning_status"]),
        "operating_status": status.OperatingStatus(row["operating_status"]),
        "generation": row["generation"],
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
        "tags": tuple(tags),
        "fault": fault,
    }


def _own(noun: Any, table: sa.Table, row: Row) -> dict[str, Any]:
    """The attributes of a noun that stand in columns of their names, lists as tuples: a new one of this kind needs no line here."""
    return {name: tuple(row[name]) if isinstance(row[name], list) else row[name] for name in _shared(noun, table)}


@functools.cache
def _shared(noun: Any, table: sa.Table) -> tuple[str, ...]:
    inherited = {field.name for field in dataclasses.fields(model.Resource)}
    return tuple(field.name for field in dataclasses.fields(noun) if field.name not in inherited and field.name in table.c)


def load_balancer(
    row: Row,
    tags: Sequence[str] = (),
    fault: model.Fault | None = None,
    listener_ids: Sequence[str] = (),
    pool_ids: Sequence[str] = (),
) -> model.LoadBalancer:
    """A load balancer; tags, fault and the ids of its children come from their own tables."""
    others = {
        "next_try_at": _time(row["next_try_at"] or None),
        "topology": status.Topology(row["topology"]),
        "additional_vips": tuple(model.AdditionalVip(**one) for one in row["additional_vips"]),
    }
    return nouns.LoadBalancer(
        **_resource(row, tags, fault),
        **(_own(nouns.LoadBalancer, tables.load_balancers, row) | others),
        vip=model.Vip(
            address=row["vip_address"],
            port_id=row["vip_port_id"],
            subnet_id=row["vip_subnet_id"],
            network_id=row["vip_network_id"],
            qos_policy_id=row["vip_qos_policy_id"],
            sg_ids=tuple(row["vip_sg_ids"]),
            vnic_type=row["vip_vnic_type"],
            port_is_ours=row["vip_port_is_ours"],
        ),
        listener_ids=tuple(listener_ids),
        pool_ids=tuple(pool_ids),
    )


def listener(row: Row, tags: Sequence[str] = (), fault: model.Fault | None = None, l7policy_ids: Sequence[str] = ()) -> model.Listener:
    """A listener; the ids of its policies come from their own table."""
    return nouns.Listener(
        **_resource(row, tags, fault),
        **_own(nouns.Listener, tables.listeners, row),
        l7policy_ids=tuple(l7policy_ids),
    )


def pool(
    row: Row,
    tags: Sequence[str] = (),
    fault: model.Fault | None = None,
    listener_ids: Sequence[str] = (),
    member_ids: Sequence[str] = (),
    health_monitor_id: str | None = None,
) -> model.Pool:
    """A pool; the ids of what surrounds it come from their own tables."""
    persistence = row["session_persistence"]
    whole = None if persistence is None else model.SessionPersistence(**persistence)
    return nouns.Pool(
        **_resource(row, tags, fault),
        **(_own(nouns.Pool, tables.pools, row) | {"session_persistence": whole}),
        listener_ids=tuple(listener_ids),
        member_ids=tuple(member_ids),
        health_monitor_id=health_monitor_id,
    )


def member(row: Row, tags: Sequence[str] = (), fault: model.Fault | None = None) -> model.Member:
    """A member."""
    return nouns.Member(
        **_resource(row, tags, fault),
        **_own(nouns.Member, tables.members, row),
    )


def health_monitor(row: Row, tags: Sequence[str] = (), fault: model.Fault | None = None) -> model.HealthMonitor:
    """A health monitor."""
    return nouns.HealthMonitor(
        **_resource(row, tags, fault),
        **_own(nouns.HealthMonitor, tables.health_monitors, row),
    )


def l7policy(row: Row, tags: Sequence[str] = (), fault: model.Fault | None = None, rule_ids: Sequence[str] = ()) -> model.L7Policy:
    """An L7 policy; the ids of its rules come from their own table."""
    return nouns.L7Policy(
        **_resource(row, tags, fault),
        **_own(nouns.L7Policy, tables.l7policies, row),
        rule_ids=tuple(rule_ids),
    )


def l7rule(row: Row, tags: Sequence[str] = (), fault: model.Fault | None = None) -> model.L7Rule:
    """An L7 rule."""
    return nouns.L7Rule(
        **_resource(row, tags, fault),
        **_own(nouns.L7Rule, tables.l7rules, row),
    )


def fault(row: Row) -> model.Fault:
    """Why an object is in ERROR."""
    return model.Fault(
        code=row["code"],
        message=row["message"],
        step=row["step"],
        request_id=row["request_id"],
        occurred_at=row["occurred_at"],
        next_try_at=row["next_try_at"],
    )


def amphora(row: Row) -> amphora_model.Amphora:
    """An amphora, of a row of `amphorae` joined with `amphora_health`."""
    return amphora_model.Amphora(
        id=row["id"],
        load_balancer_id=row["load_balancer_id"],
        status=status.AmphoraStatus(row["status"]),
        role=None if row["role"] is None else status.Role(row["role"]),
        compute_id=row["compute_id"],
        management_address=row["management_address"],
        management_port_id=row["management_port_id"],
        vrrp_ip=row["vrrp_ip"],
        vrrp_port_id=row["vrrp_port_id"],
        vrrp_mac=row["vrrp_mac"],
        ha_ip=row["ha_ip"],
        ha_port_id=row["ha_port_id"],
        vrrp_interface=row["vrrp_interface"],
        vrrp_id=row["vrrp_id"],
        vrrp_priority=row["vrrp_priority"],
        cert_expiration=row["cert_expiration"],
        cert_busy=row["cert_busy"],
        cert_failures=row["cert_failures"],
        cached_zone=row["cached_zone"],
        image_id=row["image_id"],
        compute_flavor=row["compute_flavor"],
        applied_generation=row["applied_generation"],
        confirmed_hash=row["confirmed_hash"],
        first_heartbeat_at=_time(row["first_heartbeat_at"]),
        last_heartbeat_at=_time(row["last_heartbeat_at"]),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def _time(seconds: float | None) -> datetime.datetime | None:
    return None if seconds is None else datetime.datetime.fromtimestamp(seconds, datetime.UTC)
