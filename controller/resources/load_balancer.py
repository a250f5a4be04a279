"""Load balancers (`loadbalancer`), and those with everything below them in one body."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from controller.resources import declare, health_monitor, kinds, l7policy, l7rule, listener, member, pool
from controller.resources.declare import Field, Schema

_PATH = "load_balancer.loadbalancer"


def _nested(schema: Schema, leave_out: Sequence[str], *more: Field, optional: Sequence[str] = ()) -> Schema:
    """The schema of an object that stands inside another one: it does not name its parents, and may hold children."""
    fields = [field for field in schema.fields.values() if field.name not in leave_out and field.post]
    names = {field.name for field in more}
    loosened = [declare.loosened(field) if field.name in optional else field for field in fields if field.name not in names]
    return Schema(name=schema.name, collection=schema.collection, argument=schema.argument, fields=[*loosened, *more], shows_fault=False)


def _as_objects(values: Sequence[Any]) -> list[dict[str, Any]]:
    return [dataclasses.asdict(value) for value in values]


_MEMBER = _nested(member.SCHEMA, ["project_id"])
_HEALTH_MONITOR = _nested(health_monitor.SCHEMA, ["project_id", "pool_id"])
NESTED_POOL = _nested(
    pool.SCHEMA,
    ["project_id", "listener_id", "loadbalancer_id"],
    Field(name="members", kind=_MEMBER.nested_list("members"), default=[], column=None, attribute=None),
    Field(name="healthmonitor", kind=_HEALTH_MONITOR.nested("healthmonitor"), column=None, attribute=None),
    optional=["protocol", "lb_algorithm"],  # a pool with nothing but a name refers to one that is defined elsewhere in the body
)
_L7RULE = _nested(l7rule.SCHEMA, ["project_id"])
_L7POLICY = _nested(
    l7policy.SCHEMA,
    ["project_id", "listener_id", "redirect_pool_id"],
    Field(name="redirect_pool", kind=NESTED_POOL.nested(f"{_PATH}.listeners.l7policies.redirect_pool"), column=None, attribute=None),
    Field(name="rules", kind=_L7RULE.nested_list("rules"), default=[], column=None, attribute=None),
)
_LISTENER = _nested(
    listener.SCHEMA,
    ["project_id", "loadbalancer_id"],
    Field(
        name="default_pool",
        kind=NESTED_POOL.nested(f"{_PATH}.listeners.default_pool"),
        column=None,
        attribute=None,
    ),
    Field(name="l7policies", kind=_L7POLICY.nested_list(f"{_PATH}.listeners.l7policies"), default=[], column=None, attribute=None),
)

_ADDITIONAL_VIP = Schema(
    name="additional_vips",
    collection="",
    argument="",
    shows_fault=False,
    fields=[
        Field(name="subnet_id", kind=kinds.uuid, required=True),
        Field(name="ip_address", kind=kinds.ip_address),
        Field(name="port_id", kind=kinds.uuid),
    ],
)

SCHEMA = Schema(
    name="loadbalancer",
    collection="loadbalancers",
    argument="load_balancer",
    fields=[
        *declare.common(),
        Field(name="provider", kind=kinds.text(64), put=False),
        Field(name="vip_address", kind=kinds.ip_address, put=False, attribute="vip.address"),
        Field(name="vip_port_id", kind=kinds.uuid, put=False, attribute="vip.port_id"),
        Field(name="vip_subnet_id", kind=kinds.uuid, put=False, attribute="vip.subnet_id"),
        Field(name="vip_network_id", kind=kinds.uuid, put=False, attribute="vip.network_id"),
        Field(name="vip_qos_policy_id", kind=kinds.uuid, blank="", attribute="vip.qos_policy_id", supported=declare.NOTHING),
        Field(name="vip_sg_ids", kind=kinds.list_of(kinds.uuid, unique=True), default=[], attribute="vip.sg_ids"),
        declare.read_only("vip_vnic_type", attribute="vip.vnic_type"),
        Field(
            name="additional_vips",
            kind=_ADDITIONAL_VIP.nested_list(f"{_PATH}.additional_vips"),
            default=[],
            put=False,
            show=_as_objects,
            supported=declare.NOTHING,
        ),
        Field(name="flavor_id", kind=kinds.uuid, put=False),
        Field(name="availability_zone", put=False),
        Field(
            name="listeners",
            kind=_LISTENER.nested_list(f"{_PATH}.listeners"),
            default=[],
            put=False,
            column=None,
            attribute="listener_ids",
            show=declare.ids,
        ),
        Field(
            name="pools",
            kind=NESTED_POOL.nested_list(f"{_PATH}.pools"),
            default=[],
            put=False,
            column=None,
            attribute="pool_ids",
            show=declare.ids,
        ),
    ],
)
