"""Nouns for tests: each builder makes a whole, valid object, and takes as keywords the fields that the test is about.

Ids are random unless given; `an_id("web-1")` gives the same id for the same word in every run.
"""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Sequence
from typing import Any

from controller.model import load_balancer as model
from controller.model.amphora import VRRP_PRIORITY, VRRP_ROUTER_ID, Amphora
from controller.model.network import FixedIp
from controller.model.status import AmphoraStatus, OperatingStatus, ProvisioningStatus, Role, Topology
from controller.resources import health_monitor, l7policy, l7rule, listener, load_balancer, member, nouns, pool
from controller.resources.declare import Schema

PROJECT = "b7f3c1d2e4a5468f9c0d1e2f3a4b5c6d"
VIP_SUBNET_CIDR = "198.19.10.0/24"
VIP_GATEWAY = "198.19.10.1"

_NAMES = uuid.UUID("0f1911a0-0000-4000-8000-000000000000")


def an_id(word: str | None = None) -> str:
    """An id: of this word, the same in every run; without a word, a new one."""
    return str(uuid.uuid4() if word is None else uuid.uuid5(_NAMES, word))


def _resource(schema: Schema, **fields: Any) -> dict[str, Any]:
    """What is the same for every noun, and what a client's silence means, as its declaration has it."""
    defaults: dict[str, Any] = {
        "name": "",
        "description": "",
        **_unsaid(schema),
        "id": fields.get("id") or an_id(),
        "project_id": PROJECT,
        "provisioning_status": ProvisioningStatus.ACTIVE,
        "operating_status": OperatingStatus.ONLINE,
        "generation": 1,
    }
    return defaults | fields


def _unsaid(schema: Schema) -> dict[str, Any]:
    """Attributes of the noun that clients may leave out, and what it has then."""
    found = {}
    for field in schema.fields.values():
        if (field.post or field.added) and field.attribute is not None and "." not in field.attribute:
            is_operators = field.operator is not None and field.operator.always
            value = field.operator.default if field.operator is not None and is_operators else field.default
            found[field.attribute] = tuple(value) if isinstance(value, list) else value
    return found


def a_vip(**fields: Any) -> model.Vip:
    """A VIP on `VIP_SUBNET_CIDR`."""
    first = FixedIp(fields.pop("subnet_id", an_id("vip-subnet")), fields.pop("address", "198.19.10.10"))
    defaults = {"addresses": (first,), "port_id": an_id(), "network_id": an_id("vip-network")}
    return model.Vip(**(defaults | fields))


def a_load_balancer(**fields: Any) -> model.LoadBalancer:
    """An ACTIVE load balancer at generation 1, applied."""
    defaults: dict[str, Any] = {
        "name": "lb-1",
        "provider": "amphora",
        "vip": fields.get("vip") or a_vip(),
        "applied_generation": fields.get("generation", 1),
    }
    return nouns.LoadBalancer(**_resource(load_balancer.SCHEMA, **(defaults | fields)))


def a_listener(**fields: Any) -> model.Listener:
    """An HTTP listener on port 80."""
    defaults: dict[str, Any] = {"load_balancer_id": fields.get("load_balancer_id") or an_id(), "protocol": "HTTP", "protocol_port": 80}
    return nouns.Listener(**_resource(listener.SCHEMA, **(defaults | fields)))


def a_pool(**fields: Any) -> model.Pool:
    """An HTTP pool, round robin."""
    defaults: dict[str, Any] = {
        "load_balancer_id": fields.get("load_balancer_id") or an_id(),
        "protocol": "HTTP",
        "lb_algorithm": "ROUND_ROBIN",
    }
    return nouns.Pool(**_resource(pool.SCHEMA, **(defaults | fields)))


def a_member(**fields: Any) -> model.Member:
    """A member of weight 1 on 198.19.10.101:80, without a monitor's verdict."""
    defaults: dict[str, Any] = {
        "pool_id": fields.get("pool_id") or an_id(),
        "address": "198.19.10.101",
        "protocol_port": 80,
        "operating_status": OperatingStatus.NO_MONITOR,
        "vnic_type": "normal",
    }
    return nouns.Member(**_resource(member.SCHEMA, **(defaults | fields)))


def a_health_monitor(**fields: Any) -> model.HealthMonitor:
    """An HTTP monitor: GET / each second expecting 200 (fields of HTTP are None for other types)."""
    kind = fields.get("type", "HTTP")
    defaults: dict[str, Any] = {
        "pool_id": fields.get("pool_id") or an_id(),
        "type": kind,
        "delay": 1,
        "timeout": 1,
        "max_retries": 2,
        "max_retries_down": 2,
    }
    if kind in ("HTTP", "HTTPS"):
        defaults |= {"http_method": "GET", "url_path": "/", "expected_codes": "200"}
    return nouns.HealthMonitor(**_resource(health_monitor.SCHEMA, **(defaults | fields)))


def an_l7policy(**fields: Any) -> model.L7Policy:
    """A policy that rejects, at position 1."""
    defaults: dict[str, Any] = {
        "load_balancer_id": fields.get("load_balancer_id") or an_id(),
        "listener_id": fields.get("listener_id") or an_id(),
        "action": "REJECT",
        "position": 1,
    }
    return nouns.L7Policy(**_resource(l7policy.SCHEMA, **(defaults | fields)))


def an_l7rule(**fields: Any) -> model.L7Rule:
    """A rule that is met by paths that begin with /api."""
    defaults: dict[str, Any] = {
        "l7policy_id": fields.get("l7policy_id") or an_id(),
        "type": "PATH",
        "compare_type": "STARTS_WITH",
        "value": "/api",
    }
    return nouns.L7Rule(**_resource(l7rule.SCHEMA, **(defaults | fields)))


def an_amphora(**fields: Any) -> Amphora:
    """An ALLOCATED amphora, plugged and heard of; `role` decides its VRRP values."""
    role = fields.get("role", Role.STANDALONE)
    number = {Role.STANDALONE: 21, Role.MASTER: 22, Role.BACKUP: 23}.get(role, 24)
    paired = role in (Role.MASTER, Role.BACKUP)
    defaults: dict[str, Any] = {
        "id": fields.get("id") or an_id(),
        "load_balancer_id": fields.get("load_balancer_id") or an_id(),
        "status": AmphoraStatus.ALLOCATED,
        "role": role,
        "compute_id": an_id(),
        "management_address": f"198.19.0.{number}",
        "management_port_id": an_id(),
        "vrrp_ip": f"198.19.10.{number}",
        "vrrp_port_id": an_id(),
        "vrrp_mac": f"fa:16:3e:00:10:{number:02x}",
        "ha_ip": "198.19.10.10",
        "ha_port_id": an_id(),
        "vrrp_interface": "eth1",
        "vrrp_id": VRRP_ROUTER_ID if paired else None,
        "vrrp_priority": VRRP_PRIORITY.get(role),
    }
    return Amphora(**(defaults | fields))


def a_snapshot(
    load_balancer: model.LoadBalancer | None = None,
    *,
    listeners: Sequence[model.Listener] = (),
    pools: Sequence[model.Pool] = (),
    members: Sequence[model.Member] = (),
    health_monitors: Sequence[model.HealthMonitor] = (),
    l7policies: Sequence[model.L7Policy] = (),
    l7rules: Sequence[model.L7Rule] = (),
    amphorae: Sequence[Amphora] | None = None,
) -> model.Snapshot:
    """A snapshot of these objects, made to belong to each other as rows of one database would (parents' id lists, load balancer ids).

    Without `amphorae` it has those of the load balancer's topology.
    """
    owner = load_balancer or a_load_balancer()
    if amphorae is None:
        amphorae = [an_amphora(id=an_id(f"{owner.id}-{role}"), role=role, ha_ip=owner.vip.address) for role in owner.topology.roles]
    default_pools = {listener.id: listener.default_pool_id for listener in listeners}
    return model.Snapshot(
        load_balancer=dataclasses.replace(
            owner, listener_ids=tuple(item.id for item in listeners), pool_ids=tuple(item.id for item in pools)
        ),
        listeners=tuple(dataclasses.replace(listener, load_balancer_id=owner.id) for listener in listeners),
        pools=tuple(
            dataclasses.replace(
                pool,
                load_balancer_id=owner.id,
                listener_ids=tuple(listener_id for listener_id, pool_id in default_pools.items() if pool_id == pool.id),
                member_ids=tuple(member.id for member in members if member.pool_id == pool.id),
                health_monitor_id=next((monitor.id for monitor in health_monitors if monitor.pool_id == pool.id), None),
            )
            for pool in pools
        ),
        members=tuple(members),
        health_monitors=tuple(health_monitors),
        l7policies=tuple(dataclasses.replace(policy, load_balancer_id=owner.id) for policy in l7policies),
        l7rules=tuple(l7rules),
        amphorae=tuple(dataclasses.replace(amphora, load_balancer_id=owner.id) for amphora in amphorae),
    )


def a_serving_snapshot(
    *,
    listeners: int = 1,
    members: int = 2,
    protocol: str = "HTTP",
    topology: Topology = Topology.SINGLE,
    monitor: str | None = None,
    word: str | None = None,
    **fields: Any,
) -> model.Snapshot:
    """A whole load balancer: `listeners` listeners from port 80 on, each with a pool of its own of `members` members and perhaps a monitor.

    With a `word`, every id is the same in every run. Further keywords are fields of the load balancer.
    """
    name = word or an_id()
    all_listeners, pools, all_members, monitors = [], [], [], []
    for i in range(listeners):
        pool_id = an_id(f"{name}-pool-{i}")
        all_listeners.append(a_listener(id=an_id(f"{name}-listener-{i}"), protocol=protocol, protocol_port=80 + i, default_pool_id=pool_id))
        pools.append(a_pool(id=pool_id, protocol=protocol))
        for k in range(members):
            address = f"198.19.{20 + k // 250}.{1 + k % 250}"
            all_members.append(a_member(id=an_id(f"{name}-member-{i}-{k}"), pool_id=pool_id, address=address, protocol_port=8000 + i))
        if monitor is not None:
            monitors.append(a_health_monitor(id=an_id(f"{name}-monitor-{i}"), pool_id=pool_id, type=monitor))
    owner = a_load_balancer(**({"id": an_id(f"{name}-load-balancer"), "topology": topology} | fields))
    return a_snapshot(owner, listeners=all_listeners, pools=pools, members=all_members, health_monitors=monitors)
