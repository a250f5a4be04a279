"""Load balancers (`loadbalancer`), and those with everything below them in one body."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from controller.resources import fields, health_monitor, kinds, l7policy, l7rule, listener, member, pool
from controller.resources.declare import Field, Schema
from controller.resources.fields import Operator, also, loosened

_PATH = "load_balancer.loadbalancer"


def _nested(schema: Schema, leave_out: Sequence[str], *more: Field, optional: Sequence[str] = ()) -> Schema:
    """The schema of an object that stands inside another one: it does not name its parents, and may hold children."""
    own = [field for field in schema.fields.values() if field.name not in leave_out and field.post]
    names = {field.name for field in more}
    kept = [loosened(field) if field.name in optional else field for field in own if field.name not in names]
    return Schema(name=schema.name, fields=[*kept, *more], shows_fault=False)


def _below(name: str, kind: kinds.Parser, about: str, default: Any = None) -> Field:
    """Objects below the one in hand, in the body that makes it."""
    return Field(name, kind, about, default=default, column=None, attribute=None)


_MEMBER = _nested(member.SCHEMA, ["project_id"])
_HEALTH_MONITOR = _nested(health_monitor.SCHEMA, ["project_id", "pool_id"])
NESTED_POOL = _nested(
    pool.SCHEMA,
    ["project_id", "listener_id", "loadbalancer_id"],
    _below("members", _MEMBER.nested_list("members"), "The members of the pool.", []),
    _below("healthmonitor", _HEALTH_MONITOR.nested("healthmonitor"), "The health monitor of the pool."),
    optional=["protocol", "lb_algorithm"],  # a pool with nothing but a name refers to one that is defined elsewhere in the body
)
_SPLIT = l7policy.split_schema(
    Field("pool_name", kinds.name, "A pool that is defined elsewhere in the body.", required=True), f"{_PATH}.listeners.l7policies.split"
)
_L7RULE = _nested(l7rule.SCHEMA, ["project_id"])
_L7POLICY = _nested(
    l7policy.SCHEMA,
    ["project_id", "listener_id", "redirect_pool_id"],
    _below("split", _SPLIT.nested(f"{_PATH}.listeners.l7policies.split"), l7policy.ABOUT_SPLIT),
    _below(
        "redirect_pool",
        NESTED_POOL.nested(f"{_PATH}.listeners.l7policies.redirect_pool"),
        "The pool that gets the request, for REDIRECT_TO_POOL; with nothing but its name, if it is defined elsewhere in the body.",
    ),
    _below("rules", _L7RULE.nested_list("rules"), "The rules of the policy.", []),
)
_LISTENER = _nested(
    listener.SCHEMA,
    ["project_id", "loadbalancer_id"],
    _below(
        "default_pool",
        NESTED_POOL.nested(f"{_PATH}.listeners.default_pool"),
        "The pool that gets what no L7 policy sends elsewhere; with nothing but its name, if it is defined elsewhere in the body.",
    ),
    _below("l7policies", _L7POLICY.nested_list(f"{_PATH}.listeners.l7policies"), "Its L7 policies, in their order.", []),
)

_ADDITIONAL_VIP = Schema(
    name="additional_vips",
    shows_fault=False,
    fields=[
        Field("subnet_id", kinds.uuid, "A subnet of the VIP's network, on which no other VIP is.", required=True),
        Field("ip_address", kinds.ip_address, "The address; null: a free one of the subnet."),
        Field("port_id", kinds.uuid, "A port of the network service that has the address."),
    ],
)

ACCESS_LOG = Schema(
    name="access_log",
    shows_fault=False,
    fields=[
        Field("protocol", kinds.one_of("UDP", "TCP", "TLS"), "How lines are sent: as syslog over UDP, TCP or TLS.", required=True),
        Field("address", kinds.ip_address, "Where somebody takes them, reached by way of the VIP's subnet.", required=True),
        Field("port", kinds.integer(1, 65535, example=514), "The port at that address.", required=True),
        Field("ca_tls_container_ref", kinds.reference, "For TLS: the authority that signs the target's certificate, in the secret store."),
        Field("host_name", kinds.host_name, "For TLS: for which name that certificate must be; null: any of the authority's will do."),
    ],
)

SCHEMA = Schema(
    name="loadbalancer",
    collection="loadbalancers",
    argument="load_balancer",
    fields=[
        *fields.common(),
        Field(
            "provider",
            kinds.text(64, example="amphora"),
            "Who serves it: one of those that GET /v2/lbaas/providers lists; null: the operator's choice.",
            operator=Operator(
                group="api_settings",
                option="default_provider_driver",
                default="amphora",
                help="The provider of load balancers that name none.",
                always=False,  # a flavor, or an availability zone, may name one
            ),
            filled=True,
            put=False,
            lbaasv2=also(),
        ),
        Field(
            "vip_address",
            kinds.ip_address,
            "The address that clients connect to; null: a free one of the subnet.",
            filled=True,
            put=False,
            attribute="vip.address",
            lbaasv2=also(),
        ),
        Field(
            "vip_port_id",
            kinds.uuid,
            "The port of the network service that has the address; null: a new one.",
            filled=True,
            put=False,
            attribute="vip.port_id",
            lbaasv2=also(post=False),
        ),
        Field(
            "vip_subnet_id",
            kinds.uuid,
            "The subnet of the address. One of this, vip_network_id and vip_port_id must be given.",
            example=kinds.uuid.example,
            filled=True,
            put=False,
            attribute="vip.subnet_id",
            lbaasv2=also(),
        ),
        Field(
            "vip_network_id",
            kinds.uuid,
            "The network of the address.",
            filled=True,
            put=False,
            attribute="vip.network_id",
            lbaasv2=also(hidden=True),
        ),
        Field(
            "vip_qos_policy_id",
            kinds.uuid,
            "The QoS policy of the network service that bounds the traffic of the VIP.",
            blank="",
            attribute="vip.qos_policy_id",
        ),
        Field(
            "vip_sg_ids",
            kinds.list_of(kinds.uuid, unique=True),
            "Security groups that say who may reach the VIP, in place of the listeners' ports and allowed_cidrs.",
            default=[],
            attribute="vip.sg_ids",
        ),
        fields.vnic_type("vip_vnic_type", "How the port of the VIP is made: normal, or direct for SR-IOV.", attribute="vip.vnic_type"),
        Field(
            "additional_vips",
            _ADDITIONAL_VIP.nested_list(f"{_PATH}.additional_vips"),
            "More addresses that clients connect to, each on another subnet of the VIP's network.",
            default=[],
            put=False,
            attribute="vip.additional",
        ),
        Field("flavor_id", kinds.uuid, "The flavor of load balancer that was chosen.", put=False, lbaasv2=also()),
        Field("availability_zone", about="The availability zone, by its name.", put=False),
        Field(
            "listeners",
            _LISTENER.nested_list(f"{_PATH}.listeners"),
            "Its listeners. A POST may hold them whole, with everything below them.",
            default=[],
            put=False,
            column=None,
            attribute="listener_ids",
            show=kinds.ids,
            lbaasv2=also(post=False),
        ),
        Field(
            "pools",
            NESTED_POOL.nested_list(f"{_PATH}.pools"),
            "Its pools. A POST may hold them whole; listeners and L7 policies then name them.",
            default=[],
            put=False,
            column=None,
            attribute="pool_ids",
            show=kinds.ids,
            lbaasv2=also(post=False),
        ),
        Field(
            "access_log",
            ACCESS_LOG.nested(f"{_PATH}.access_log"),
            "Where a line of JSON is sent for each request of HTTP and each connection of TCP that has ended. null: nowhere.",
            show=kinds.as_given,
            added=True,
        ),
    ],
)
