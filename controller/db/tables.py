"""The tables. Columns bear the names of the API; engines: SQLite, MariaDB/MySQL, PostgreSQL, so nothing here that one of them refuses.

What clients write stands in columns that follow from the declarations of fields (`columns.of`); here stand those that only we write, and
those that are keys.

Times that people see are UTC datetimes; times that machines compare (leases, heartbeats, next tries) are doubles, seconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from amphora_agent.protocol import heartbeat
from controller.db import columns
from controller.db.columns import UtcDateTime
from controller.model import quota
from controller.resources import amphora, health_monitor, l7policy, l7rule, listener, load_balancer, member, offering, pool
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


def _of(name: str, whose: str, **more: Any) -> sa.Column[str]:
    return sa.Column(name, sa.String(36), sa.ForeignKey(whose), index=True, **more)


def _maybe(kind: Any, names: str) -> list[sa.Column[Any]]:
    """Columns of one kind that may be null."""
    return [sa.Column(name, kind) for name in names.split()]


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


def _below(name: str, schema: Schema, *own: sa.Column[Any]) -> sa.Table:
    """The same below a load balancer."""
    return _resources(name, schema, _of("load_balancer_id", "load_balancers.id", nullable=False), *own)


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


def _certificate_end() -> sa.Column[Any]:
    """Written whenever a copy of a certificate is kept, or other certificates are named (`TenantCertificates.tell_ends`)."""
    return sa.Column("certificate_expires_at", UtcDateTime)


load_balancers = _resources(
    "load_balancers",
    load_balancer.SCHEMA,
    sa.Column("applied_generation", sa.BigInteger, nullable=False, default=0),
    sa.Column("topology", sa.String(16), nullable=False),
    columns.column(load_balancer.SCHEMA.fields["vip_vnic_type"]),
    sa.Column("vip_port_is_ours", sa.Boolean, nullable=False, default=True),
    sa.Column("vip_generation", sa.BigInteger, nullable=False, default=0),  # when the tenant's own security groups last changed; 0: never
    sa.Column("qos_generation", sa.BigInteger, nullable=False, default=0),  # when the API last named the VIP's QoS policy; 0: it never did
    sa.Column("network_facts", sa.JSON(none_as_null=True)),  # what amphorae are told of networks; null: nobody has written it down
    sa.Column("access_hash", sa.String(64)),  # of what may reach the VIP, as it was set last; null: not known, or it is being set
    sa.Column("access_generation", sa.BigInteger, nullable=False, default=0),  # settled last by a release that writes `access_hash`
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

pools = _below("pools", pool.SCHEMA, _certificate_end())

listeners = _below(
    "listeners",
    listener.SCHEMA,
    _of("default_pool_id", "pools.id"),
    _certificate_end(),
)

members = _below(
    "members",
    member.SCHEMA,
    _of("pool_id", "pools.id", nullable=False),
    columns.column(member.SCHEMA.fields["vnic_type"]),
)

health_monitors = _below(
    "health_monitors",
    health_monitor.SCHEMA,
    _of("pool_id", "pools.id", nullable=False),
)

l7policies = _below(
    "l7policies",  # positions count from 1, without gaps among those of a listener that are not being deleted
    l7policy.SCHEMA,
    _of("listener_id", "listeners.id", nullable=False),
    _of("redirect_pool_id", "pools.id"),
)

l7policy_pools = sa.Table(
    "l7policy_pools",  # the pools that a policy splits requests between; their weights stand in the policy's row
    metadata,
    sa.Column("l7policy_id", sa.String(36), sa.ForeignKey("l7policies.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("pool_id", sa.String(36), sa.ForeignKey("pools.id", ondelete="CASCADE"), primary_key=True, index=True),
)

l7rules = _below(
    "l7rules",
    l7rule.SCHEMA,
    _of("l7policy_id", "l7policies.id", nullable=False),
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


def _offerings(schema: Schema, *key: sa.Column[str]) -> tuple[sa.Table, sa.Table]:
    """Flavors or availability zones, and the profiles that say what they mean to a provider."""
    what, profile_id = schema.name, f"{schema.name}_profile_id"
    profiles = sa.Table(
        f"{what}_profiles",
        metadata,
        _id(),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("provider_name", sa.String(64), nullable=False),
        sa.Column(f"{what}_data", sa.Text, nullable=False),  # a JSON object
        sa.Column("created_at", UtcDateTime, nullable=False),
    )
    points = sa.Column(profile_id, sa.String(36), sa.ForeignKey(profiles.c.id), nullable=False)
    own = [*key, *columns.of(schema, without=("name", profile_id)), points, sa.Column("created_at", UtcDateTime, nullable=False)]
    return sa.Table(f"{what}s", metadata, *own), profiles


flavors, flavor_profiles = _offerings(offering.FLAVOR, _id(), sa.Column("name", sa.String(255), nullable=False, unique=True))
availability_zones, availability_zone_profiles = _offerings(offering.AVAILABILITY_ZONE, sa.Column("name", sa.String(255), primary_key=True))

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
    sa.Column("left_out_of", sa.BigInteger),  # the generation that was pushed without it; null: none, or an older release wrote it
    sa.Column("lacks", sa.JSON(none_as_null=True)),  # what of the secret store it is left out for (`model.tls.Lack`)
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
    *_maybe(sa.String(16), "role vrrp_interface"),
    *_maybe(sa.String(255), "compute_id cached_zone compute_flavor"),
    *_maybe(sa.String(64), "management_address vrrp_ip ha_ip"),
    *_maybe(sa.String(36), "management_port_id vrrp_port_id ha_port_id image_id"),
    sa.Column("additional_vrrp_ips", sa.JSON(none_as_null=True)),  # on the subnets of additional VIPs; null: it was made without any
    sa.Column("vrrp_mac", sa.String(17)),
    sa.Column("guards_itself", sa.Boolean),  # what may reach the VIP, for want of port security; null: nobody has looked at its port
    *_maybe(sa.Integer, "vrrp_id vrrp_priority"),
    sa.Column("cert_expiration", UtcDateTime),
    columns.column(amphora.SCHEMA.fields["cert_busy"]),
    sa.Column("cert_trust", sa.String(64)),  # `CertificateAuthority.trust` when the certificate was given
    sa.Column("cert_renew_at", sa.Double, nullable=False, default=0.0, index=True),
    sa.Column("cert_failures", sa.Integer, nullable=False, default=0),  # renewals that failed in a row
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
    *_maybe(sa.Double, "first_heartbeat_at last_heartbeat_at"),
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
    # absolute counters of one amphora. So that what tenants see never falls, one row has the sum of purged ones, and one that of deleted
    # listeners, with the load balancer's id in the place of theirs
    "listener_statistics",
    metadata,
    sa.Column("listener_id", sa.String(36), primary_key=True),
    sa.Column("amphora_id", sa.String(36), primary_key=True),
    sa.Column("load_balancer_id", sa.String(36), nullable=False, index=True),
    *(sa.Column(name, sa.BigInteger, nullable=False, default=0) for name in heartbeat.COUNTERS),
)

member_statistics = sa.Table(
    "member_statistics",  # absolute counters of pools and members that one amphora has, and in one row the sums of purged ones
    metadata,
    sa.Column("amphora_id", sa.String(36), primary_key=True),  # of the sums: the load balancer's
    sa.Column("load_balancer_id", sa.String(36), nullable=False, index=True),
    sa.Column("counts", sa.LargeBinary(16_000_000), nullable=False),  # as in heartbeats: ids of 16 bytes, each before its five numbers
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

served_before = sa.Table(
    "served_before",  # what an object was before a change named secrets, which may not be read yet; gone when the change is applied
    metadata,
    sa.Column("object_id", sa.String(36), primary_key=True),
    sa.Column("load_balancer_id", sa.String(36), nullable=False, index=True),
    sa.Column("generation", sa.BigInteger, nullable=False),  # of the newest such change
    sa.Column("fields", sa.JSON, nullable=False),  # by column, what clients can change
)
