"""Pools (`pool`)."""

from __future__ import annotations

from typing import Any

from controller.model import protocols
from controller.refusals import Refusal
from controller.resources import fields, json_schema, kinds, tls
from controller.resources.declare import Field, Schema
from controller.resources.fields import also, read_only, related

ALGORITHMS = ("LEAST_CONNECTIONS", "ROUND_ROBIN", "SOURCE_IP", "SOURCE_IP_PORT")


PERSISTENCE = Schema(
    name="session_persistence",
    shows_fault=False,
    fields=[
        Field(
            "type",
            kinds.one_of("SOURCE_IP", "HTTP_COOKIE", "APP_COOKIE"),
            "By what a client is known: its address, a cookie that is added to answers, or a cookie that the members set.",
            required=True,
        ),
        Field("cookie_name", kinds.token, "The name of the cookie that members set, for APP_COOKIE.", refusal=Refusal.SESSION_PERSISTENCE),
        Field(
            "persistence_timeout",
            kinds.integer(0, 2147483647, example=360),
            "Seconds without a packet after which a client is forgotten; for UDP and SCTP.",
        ),
        Field("persistence_granularity", kinds.netmask, "The mask of addresses that count as one client; for UDP and SCTP."),
    ],
)


def _persistence(value: Any) -> dict[str, Any]:
    """The keys that were given; which of them must be, and with which pool, is a rule across fields."""
    return PERSISTENCE.updated(value, "pool_.pool.session_persistence")


def _persistence_of_lbaasv2(value: Any) -> dict[str, Any] | None:
    """Nothing, or an object with a type and perhaps the name of a cookie."""
    if value == {}:
        return None
    if not isinstance(value, dict) or set(value) - {"type", "cookie_name"}:
        raise kinds.Reject("Value should be an object with type and cookie_name")
    return value


_PERSISTENCE = kinds.Described(_persistence, json_schema.for_put(PERSISTENCE), example={"type": "HTTP_COOKIE"})


SCHEMA = Schema(
    name="pool",
    collection="pools",
    argument="pool_",
    fields=[
        *fields.common(project=False),
        Field(
            "listener_id",
            kinds.uuid,
            "The listener of which it becomes the default pool.",
            put=False,
            column=None,
            attribute=None,
            lbaasv2=also(),
        ),
        Field(
            "loadbalancer_id",
            kinds.uuid,
            "The load balancer that it belongs to. One of this and of listener_id must be given.",
            example=kinds.uuid.example,
            put=False,
            column="load_balancer_id",
            attribute=None,
            filter_alias="load_balancer_id",
            lbaasv2=also(),
        ),
        related("listeners", "listener_ids", "The listeners that use it."),
        related("loadbalancers", "load_balancer_id", "The load balancer that it belongs to, as a list of one.", kinds.one_id),
        related("members", "member_ids", "The members of the pool."),
        read_only(
            "healthmonitor_id",
            about="Its health monitor; only there if it has one.",
            example=kinds.uuid.example,
            column=None,
            attribute="health_monitor_id",
            lbaasv2=also(),
        ),
        Field(
            "protocol",
            kinds.one_of(*protocols.OF_POOLS),
            "What is spoken with members. PROXY and PROXYV2 tell them the address of the client before its own words.",
            required=True,
            put=False,
            lbaasv2=also(kind=kinds.one_of(*protocols.OF_POOLS_IN_LBAASV2)),
        ),
        Field(
            "lb_algorithm",
            kinds.one_of(*ALGORITHMS),
            "How the member of a new connection is chosen.",
            example="ROUND_ROBIN",
            required=True,
            lbaasv2=also(kind=kinds.one_of("ROUND_ROBIN", "LEAST_CONNECTIONS", "SOURCE_IP")),
        ),
        Field(
            "session_persistence",
            _PERSISTENCE,
            "How a client is kept on one member; null: it is not.",
            show=kinds.as_given,
            lbaasv2=also(kind=_persistence_of_lbaasv2),
        ),
        Field("tls_enabled", kinds.boolean, "Whether TLS is spoken with the members.", default=False),
        Field(
            "tls_container_ref", kinds.reference, "The certificate that is shown to members, with its key: a reference to the secret store."
        ),
        Field(
            "ca_tls_container_ref", kinds.reference, "The authority that signs certificates of members: a reference to the secret store."
        ),
        Field(
            "crl_container_ref", kinds.reference, "The list of certificates of members that are revoked: a reference to the secret store."
        ),
        *tls.fields("pool", "members"),
        Field(
            "slow_start",
            kinds.integer(1, 86400, example=30),
            "Seconds over which a member that comes up is given more and more requests, until it has its share; null: it has it at once.",
            added=True,
        ),
        Field(
            "drain_timeout",
            kinds.integer(1, 86400, example=300),
            "Seconds for which a member that is removed, switched off or given weight 0 finishes what it has begun; "
            "then its connections are cut. null: as long as they last.",
            added=True,
        ),
        Field(
            "preserve_client_ip",
            kinds.boolean,
            "Whether members of a UDP or SCTP pool see the addresses of clients, instead of the load balancer's. Their answers must then "
            "come back by way of the load balancer: routes of the members to their clients lead there. null, false: they do not.",
            added=True,
        ),
        fields.certificate_end("the certificates that are shown to members (tls_container_ref)"),
    ],
)


def view(pool: Any) -> dict[str, Any]:
    """A pool; the key of its monitor is there only if it has one."""
    shown = SCHEMA.view(pool)
    if shown["healthmonitor_id"] is None:
        del shown["healthmonitor_id"]
    return shown
