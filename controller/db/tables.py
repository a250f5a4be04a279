"""The tables. Columns bear the names of the API; engines: SQLite, MariaDB/MySQL, PostgreSQL, so nothing here that one of them refuses.

What clients write stands in columns that follow from the declarations of fields (`columns.of`); here stand those that only we write, and
those that are keys.

Times that people see are UTC datetimes; times that machines compare (leases, heartbeats, next tries) are doubles, seconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from controller.db import columns
from controller.db.columns import UtcDateTime
from controller.model import quota
from controller.resources import choice, health_monitor, l7policy, l7rule, listener, load_balancer, member, pool
from controller.resources.declare import Schema

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _id() -> sa.Column[str]:
    return sa.Column("id", sa.String(36), primary_key=True)


def _load_balancer_id(**kwargs: Any) -> sa.Column[str]:
    return sa.Column("load_balancer_id", sa.String(36), sa.ForeignKey("load_balancers.id"), index=True, **kwargs)


def _resource() -> list[sa.Column[Any]]:
    """What every resource of a project has (`model.Resource`), whether its clients may say it or not."""
    declared = load_balancer.SCHEMA.fields
    return [
        _id(),
        sa.Column("project_id", sa.String(36), nullable=False),
        *(columns.column(declared[name]) for name in ("name", "description", "admin_state_up")),
        sa.Column("provisioning_status", sa.String(16), nullable=False),
        sa.Column("operating_status", sa.String(16), nullable=False),
        sa.Column("generation", sa.BigInteger, nullable=False, default=0),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("updated_at", UtcDateTime),
    ]


def _resources(name: str, schema: Schema, *own: sa.Column[Any] | sa.Index) -> sa.Table:
    """The table of a resource of a project: what all of them have, its `own` columns, and one for each other field that clients write."""
    said = [*_resource(), *(item for item in own if isinstance(item, sa.Column))]
    declared = columns.of(schema, without={column.name for column in said})
    return sa.Table(name, metadata, *_resource(), *declared, *own, sa.Index(None, "project_id", "created_at", "id"))


def _fault() -> list[sa.Column[Any]]:
    """What happened, in words (`model.Fault`)."""
    return [
        sa.Column("code", sa.String(64), nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("step", sa.String(255)),
        sa.Column("request_id", sa.String(64)),
        sa.Column("occurred_at", UtcDateTime, nullable=False),
        sa.Column("next_try_at", UtcDateTime),
    ]


load_balancers = _resources(
    "load_balancers",
    load_balancer.SCHEMA,
    sa.Column("applied_generation", sa.BigInteger, nullable=False, default=0),
    sa.Column("topology", sa.String(16), nullable=False),
    sa.Column("vip_vnic_type", sa.String(16), nullable=False, default="normal"),
    sa.Column("vip_port_is_ours", sa.Boolean, nullable=False, default=True),
    sa.Column("vip_generation", sa.BigInteger, nullable=False, default=0),  # when the tenant's own security groups last changed; 0: never
    sa.Column("qos_generation", sa.BigInteger, nullable=False, default=0),  # when the API last named the VIP's QoS policy; 0: it never did
    # The lease: who may change this load balancer's amphorae now. The token rises with each taking; a stale owner's writes fail on it.
    sa.Column("lease_owner", sa.String(255)),
    sa.Column("lease_token", sa.BigInteger, nullable=False, default=0),
    sa.Column("lease_expires_at", sa.Double, nullable=False, default=0.0),
    sa.Column("order_floor", sa.BigInteger, nullable=False, default=0),  # tokens seen outside that this database never gave: stay above
    # Retries with capped back-off after failures: how often in a row, and when next.
    sa.Column("failures", sa.Integer, nullable=False, default=0),
    sa.Column("next_try_at", sa.Double, nullable=False, default=0.0),
    sa.Column("deleted_at", sa.Double),
    sa.Index(None, "created_at", "id"),
    sa.Index(None, "name"),  # command lines ask for the id of a name
    sa.Index(None, "provisioning_status", "next_try_at"),
)

pools = _resources("pools", pool.SCHEMA, _load_balancer_id(nullable=False))

listeners = _resources(
    "listeners",
    listener.SCHEMA,
    _load_balancer_id(nullable=False),
    sa.Column("default_pool_id", sa.String(36), sa.ForeignKey("pools.id"), index=True),
)

members = _resources(
    "members",
    member.SCHEMA,
    _load_balancer_id(nullable=False),
    sa.Column("pool_id", sa.String(36), sa.ForeignKey("pools.id"), nullable=False, index=True),
    sa.Column("vnic_type", sa.String(16), nullable=False, default="normal"),
)

health_monitors = _resources(
    "health_monitors",
    health_monitor.SCHEMA,
    _load_balancer_id(nullable=False),
    sa.Column("pool_id", sa.String(36), sa.ForeignKey("pools.id"), nullable=False, index=True),
)

l7policies = _resources(
    "l7policies",  # positions count from 1, without gaps among those of a listener that are not being deleted
    l7policy.SCHEMA,
    _load_balancer_id(nullable=False),
    sa.Column("listener_id", sa.String(36), sa.ForeignKey("listeners.id"), nullable=False, index=True),
    sa.Column("redirect_pool_id", sa.String(36), sa.ForeignKey("pools.id"), index=True),
)

l7rules = _resources(
    "l7rules",
    l7rule.SCHEMA,
    _load_balancer_id(nullable=False),
    sa.Column("l7policy_id", sa.String(36), sa.ForeignKey("l7policies.id"), nullable=False, index=True),
)

RESOURCES: Mapping[str, sa.Table] = {
    "load_balancer": load_balancers,
    "member": members,
    "health_monitor": health_monitors,
    "l7rule": l7rules,
    "l7policy": l7policies,
    "listener": listeners,
    "pool": pools,
}
"""What projects have, by its kind. Whoever writes to several writes to them in this order: those that point to others come before them."""

CHILDREN: Mapping[str, sa.Table] = {kind: table for kind, table in RESOURCES.items() if kind != "load_balancer"}
"""What is below a load balancer."""

quotas = sa.Table(
    "quotas",  # limits of a project, null: the operator's default; the row is also what counts of one project wait for
    metadata,
    sa.Column("project_id", sa.String(36), primary_key=True),
    *(sa.Column(kind, sa.Integer) for kind in quota.KINDS),
    sa.Column("is_set", sa.Boolean, nullable=False, default=False),  # an operator wrote it, so lists show it
    sa.Column("locked", sa.BigInteger, nullable=False, default=0),  # written by whoever counts, so that others wait
)


def _choice_profile(data: str) -> list[sa.Column[Any]]:
    """What a flavor or an availability zone means to a provider."""
    return [
        _id(),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("provider_name", sa.String(64), nullable=False),
        sa.Column(data, sa.Text, nullable=False),  # a JSON object
        sa.Column("created_at", UtcDateTime, nullable=False),
    ]


flavor_profiles = sa.Table("flavor_profiles", metadata, *_choice_profile("flavor_data"))

flavors = sa.Table(
    "flavors",
    metadata,
    _id(),
    sa.Column("name", sa.String(255), nullable=False, unique=True),
    *columns.of(choice.FLAVOR, without=("name", "flavor_profile_id")),
    sa.Column("flavor_profile_id", sa.String(36), sa.ForeignKey("flavor_profiles.id"), nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
)

availability_zone_profiles = sa.Table("availability_zone_profiles", metadata, *_choice_profile("availability_zone_data"))

availability_zones = sa.Table(
    "availability_zones",
    metadata,
    sa.Column("name", sa.String(255), primary_key=True),
    *columns.of(choice.AVAILABILITY_ZONE, without=("name", "availability_zone_profile_id")),
    sa.Column("availability_zone_profile_id", sa.String(36), sa.ForeignKey("availability_zone_profiles.id"), nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
)

tags = sa.Table(
    "tags",
    metadata,
    sa.Column("resource_id", sa.String(36), primary_key=True),
    sa.Column("tag", sa.String(255), primary_key=True),
    sa.Index(None, "tag"),
)

faults = sa.Table(
    "faults",  # why an object is in ERROR now: `model.Fault`; gone when it is ACTIVE again
    metadata,
    sa.Column("object_id", sa.String(36), primary_key=True),
    sa.Column("load_balancer_id", sa.String(36), index=True),
    *_fault(),
)

events = sa.Table(
    "events",  # what happened to a load balancer, in sentences; appended, and never changed but for the next try, which is known last
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("load_balancer_id", sa.String(36)),
    sa.Column("object_type", sa.String(32), nullable=False),
    sa.Column("object_id", sa.String(36), nullable=False),
    *_fault(),
    sa.Index(None, "load_balancer_id", "id"),
)

amphorae = sa.Table(
    "amphorae",
    metadata,
    _id(),
    sa.Column("load_balancer_id", sa.String(36), index=True),
    sa.Column("status", sa.String(32), nullable=False, index=True),
    sa.Column("role", sa.String(16)),
    sa.Column("compute_id", sa.String(255)),
    sa.Column("management_address", sa.String(64)),
    sa.Column("management_port_id", sa.String(36)),
    sa.Column("vrrp_ip", sa.String(64)),
    sa.Column("additional_vrrp_ips", sa.JSON(none_as_null=True)),  # on the subnets of additional VIPs; null: it was made without any
    sa.Column("vrrp_port_id", sa.String(36)),
    sa.Column("vrrp_mac", sa.String(17)),
    sa.Column("ha_ip", sa.String(64)),
    sa.Column("ha_port_id", sa.String(36)),
    sa.Column("vrrp_interface", sa.String(16)),
    sa.Column("vrrp_id", sa.Integer),
    sa.Column("vrrp_priority", sa.Integer),
    sa.Column("cert_expiration", UtcDateTime),
    sa.Column("cert_busy", sa.Boolean, nullable=False, default=False),
    sa.Column("cert_trust", sa.String(64)),  # `CertificateAuthority.trust` when the certificate was given
    sa.Column("cert_renew_at", sa.Double, nullable=False, default=0.0, index=True),
    sa.Column("cert_failures", sa.Integer, nullable=False, default=0),  # renewals that failed in a row
    sa.Column("cached_zone", sa.String(255)),
    sa.Column("image_id", sa.String(36)),
    sa.Column("compute_flavor", sa.String(255)),
    sa.Column("member_ports", sa.JSON(none_as_null=True)),  # what is plugged towards members; null: nobody has written it down
    sa.Column("applied_generation", sa.BigInteger, nullable=False, default=0),
    sa.Column("confirmed_hash", sa.String(64)),  # of the state in its last receipt; null: not known, so reports are not compared with it
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("updated_at", UtcDateTime),
    sa.Column("deleted_at", sa.Double),
    sa.Index(None, "created_at", "id"),
)

amphora_health = sa.Table(
    "amphora_health",  # narrow, because it is written all the time
    metadata,
    sa.Column("amphora_id", sa.String(36), primary_key=True),
    sa.Column("first_heartbeat_at", sa.Double),
    sa.Column("last_heartbeat_at", sa.Double),
    sa.Column("told_restarts", sa.String(255)),  # how many restarts of its programs were told: `health_manager/restarts.py`
    sa.Index(None, "last_heartbeat_at"),
)

replacements = sa.Table(
    "replacements",  # of amphorae that beat, for what they or their peers reported: each role once in a while, whoever lies
    metadata,
    sa.Column("load_balancer_id", sa.String(36), primary_key=True),
    sa.Column("role", sa.String(16), primary_key=True),
    sa.Column("replaced_at", sa.Double, nullable=False),
    sa.Column("told_at", sa.Double, nullable=False, default=0.0),  # when it was said that this did not help
)

listener_statistics = sa.Table(
    "listener_statistics",  # absolute counters of one amphora; rows of deleted amphorae stay, so that sums never fall
    metadata,
    sa.Column("listener_id", sa.String(36), primary_key=True),
    sa.Column("amphora_id", sa.String(36), primary_key=True),
    sa.Column("load_balancer_id", sa.String(36), nullable=False, index=True),
    sa.Column("bytes_in", sa.BigInteger, nullable=False, default=0),
    sa.Column("bytes_out", sa.BigInteger, nullable=False, default=0),
    sa.Column("active_connections", sa.BigInteger, nullable=False, default=0),
    sa.Column("total_connections", sa.BigInteger, nullable=False, default=0),
    sa.Column("request_errors", sa.BigInteger, nullable=False, default=0),
)

jobs = sa.Table(
    "jobs",  # hints for workers; the rows above are the truth
    metadata,
    _id(),
    sa.Column("kind", sa.String(64), nullable=False),
    sa.Column("load_balancer_id", sa.String(36), index=True),
    sa.Column("subject", sa.String(128), nullable=False),  # at most one waiting job per subject: see `jobs.Job.subject`
    sa.Column("details", sa.JSON, nullable=False),  # the job's dataclass; under 16 KiB
    sa.Column("request_id", sa.String(64)),
    sa.Column("priority", sa.Integer, nullable=False, default=0),
    sa.Column("owner", sa.String(255)),
    sa.Column("claim_token", sa.BigInteger, nullable=False, default=0),
    sa.Column("claim_expires_at", sa.Double, nullable=False, default=0.0),
    sa.Column("available_at", sa.Double, nullable=False, default=0.0),  # not to be claimed before
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("posted_at", sa.Double, nullable=False),
    sa.Index(None, "priority", "available_at"),  # what is due, in order, without sorting
    sa.Index(None, "subject"),
)

leaders = sa.Table(
    "leaders",  # which process of those that stand by is the active one
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("owner", sa.String(255), nullable=False),
    sa.Column("expires_at", sa.Double, nullable=False),
)

flow_records = sa.Table(
    "flow_records",  # how far a job's flow has come; deleted together with its job
    metadata,
    sa.Column("job_id", sa.String(36), primary_key=True),
    sa.Column("definition", sa.String(64), nullable=False),  # of job and steps: a record that no longer fits is not resumed
    sa.Column("token", sa.BigInteger, nullable=False, default=0),  # the lease's token of the last writer: older ones can't write any more
    sa.Column("data", sa.LargeBinary(65535), nullable=False),  # JSON; under 16 KiB
    sa.Column("written_at", sa.Double, nullable=False),
)

tenant_certificates = sa.Table(
    "tenant_certificates",  # encrypted copies of what load balancers use of the secret store; no key: they outlive deleted load balancers
    metadata,
    sa.Column("load_balancer_id", sa.String(36), primary_key=True),
    sa.Column("reference", sa.String(255), primary_key=True),
    sa.Column("kind", sa.String(16), primary_key=True),  # as what it was read (`model.tls.Kind`)
    sa.Column("name", sa.String(68), nullable=False),  # its hash, and `.pem`
    sa.Column("content", sa.LargeBinary(1_000_000), nullable=False),  # as HAProxy reads it, encrypted
    sa.Column("not_after", UtcDateTime),
    sa.Column("read_for", sa.BigInteger, nullable=False),  # the generation for which it was read, and the newest that wants it read anew
    sa.Column("asked_for", sa.BigInteger, nullable=False),
    sa.Column("is_registered", sa.Boolean, nullable=False),  # the secret store knows that it is used
)
