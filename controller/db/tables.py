"""The tables. Columns bear the names of the API; engines: SQLite, MariaDB/MySQL, PostgreSQL, so nothing here that one of them refuses.

Times that people see are UTC datetimes; times that machines compare (leases, heartbeats, next tries) are doubles, seconds since the epoch.
"""

from __future__ import annotations

import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class UtcDateTime(sa.types.TypeDecorator[datetime.datetime]):
    """An aware UTC datetime, stored without a zone and with microseconds."""

    impl = sa.DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        """MySQL drops microseconds unless told otherwise."""
        return dialect.type_descriptor(mysql.DATETIME(fsp=6) if dialect.name in ("mysql", "mariadb") else sa.DateTime())

    def process_bind_param(self, value: datetime.datetime | None, dialect: sa.Dialect) -> datetime.datetime | None:
        """Store UTC."""
        return None if value is None else value.astimezone(datetime.UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime.datetime | None, dialect: sa.Dialect) -> datetime.datetime | None:
        """Say that it is UTC."""
        return None if value is None else value.replace(tzinfo=datetime.UTC)


def _id() -> sa.Column[str]:
    return sa.Column("id", sa.String(36), primary_key=True)


def _load_balancer_id(**kwargs: Any) -> sa.Column[str]:
    return sa.Column("load_balancer_id", sa.String(36), sa.ForeignKey("load_balancers.id"), index=True, **kwargs)


def _resource() -> list[sa.Column[Any]]:
    """What every resource of a project has (`model.Resource`)."""
    return [
        _id(),
        sa.Column("project_id", sa.String(36), nullable=False),
        sa.Column("name", sa.String(255), nullable=False, default=""),
        sa.Column("description", sa.String(255), nullable=False, default=""),
        sa.Column("admin_state_up", sa.Boolean, nullable=False, default=True),
        sa.Column("provisioning_status", sa.String(16), nullable=False),
        sa.Column("operating_status", sa.String(16), nullable=False),
        sa.Column("generation", sa.BigInteger, nullable=False, default=0),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("updated_at", UtcDateTime),
    ]


def _tls_options() -> list[sa.Column[Any]]:
    """How TLS is spoken, where it is."""
    return [
        sa.Column("tls_ciphers", sa.String(2048)),
        sa.Column("tls_versions", sa.JSON(none_as_null=True)),
        sa.Column("alpn_protocols", sa.JSON(none_as_null=True)),
    ]


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


load_balancers = sa.Table(
    "load_balancers",
    metadata,
    *_resource(),
    sa.Column("applied_generation", sa.BigInteger, nullable=False, default=0),
    sa.Column("provider", sa.String(64), nullable=False),
    sa.Column("topology", sa.String(16), nullable=False),
    sa.Column("flavor_id", sa.String(36)),
    sa.Column("availability_zone", sa.String(255)),
    sa.Column("vip_address", sa.String(64), nullable=False),
    sa.Column("vip_port_id", sa.String(36), nullable=False),
    sa.Column("vip_subnet_id", sa.String(36), nullable=False),
    sa.Column("vip_network_id", sa.String(36), nullable=False),
    sa.Column("vip_qos_policy_id", sa.String(36)),
    sa.Column("vip_sg_ids", sa.JSON, nullable=False, default=list),
    sa.Column("vip_vnic_type", sa.String(16), nullable=False, default="normal"),
    sa.Column("vip_port_is_ours", sa.Boolean, nullable=False, default=True),
    sa.Column("vip_generation", sa.BigInteger, nullable=False, default=0),  # when the tenant's own security groups last changed; 0: never
    sa.Column("additional_vips", sa.JSON, nullable=False, default=list),  # each the fields of `model.AdditionalVip`
    # The lease: who may change this load balancer's amphorae now. The token rises with each taking; a stale owner's writes fail on it.
    sa.Column("lease_owner", sa.String(255)),
    sa.Column("lease_token", sa.BigInteger, nullable=False, default=0),
    sa.Column("lease_expires_at", sa.Double, nullable=False, default=0.0),
    sa.Column("order_floor", sa.BigInteger, nullable=False, default=0),  # tokens seen outside that this database never gave: stay above
    # Retries with capped back-off after failures: how often in a row, and when next.
    sa.Column("failures", sa.Integer, nullable=False, default=0),
    sa.Column("next_try_at", sa.Double, nullable=False, default=0.0),
    sa.Column("deleted_at", sa.Double),
    sa.Index(None, "project_id", "created_at", "id"),
    sa.Index(None, "created_at", "id"),
    sa.Index(None, "name"),  # command lines ask for the id of a name
    sa.Index(None, "provisioning_status", "next_try_at"),
)

pools = sa.Table(
    "pools",
    metadata,
    *_resource(),
    _load_balancer_id(nullable=False),
    sa.Column("protocol", sa.String(16), nullable=False),
    sa.Column("lb_algorithm", sa.String(32), nullable=False),
    sa.Column("session_persistence", sa.JSON(none_as_null=True)),  # the four fields of `model.SessionPersistence`
    sa.Column("tls_enabled", sa.Boolean, nullable=False, default=False),
    sa.Column("tls_container_ref", sa.String(255)),
    sa.Column("ca_tls_container_ref", sa.String(255)),
    sa.Column("crl_container_ref", sa.String(255)),
    *_tls_options(),
    sa.Index(None, "project_id", "created_at", "id"),
)

listeners = sa.Table(
    "listeners",
    metadata,
    *_resource(),
    _load_balancer_id(nullable=False),
    sa.Column("protocol", sa.String(32), nullable=False),
    sa.Column("protocol_port", sa.Integer, nullable=False),
    sa.Column("connection_limit", sa.Integer, nullable=False, default=-1),
    sa.Column("default_pool_id", sa.String(36), sa.ForeignKey("pools.id"), index=True),
    sa.Column("insert_headers", sa.JSON, nullable=False, default=dict),
    sa.Column("timeout_client_data", sa.Integer, nullable=False),
    sa.Column("timeout_member_connect", sa.Integer, nullable=False),
    sa.Column("timeout_member_data", sa.Integer, nullable=False),
    sa.Column("timeout_tcp_inspect", sa.Integer, nullable=False),
    sa.Column("allowed_cidrs", sa.JSON, nullable=False, default=list),
    sa.Column("default_tls_container_ref", sa.String(255)),
    sa.Column("sni_container_refs", sa.JSON, nullable=False, default=list),
    sa.Column("client_ca_tls_container_ref", sa.String(255)),
    sa.Column("client_authentication", sa.String(16), nullable=False, default="NONE"),
    sa.Column("client_crl_container_ref", sa.String(255)),
    *_tls_options(),
    sa.Column("hsts_max_age", sa.Integer),
    sa.Column("hsts_include_subdomains", sa.Boolean, nullable=False, default=False),
    sa.Column("hsts_preload", sa.Boolean, nullable=False, default=False),
    sa.Index(None, "project_id", "created_at", "id"),
)

members = sa.Table(
    "members",
    metadata,
    *_resource(),
    _load_balancer_id(nullable=False),
    sa.Column("pool_id", sa.String(36), sa.ForeignKey("pools.id"), nullable=False, index=True),
    sa.Column("address", sa.String(64), nullable=False),
    sa.Column("protocol_port", sa.Integer, nullable=False),
    sa.Column("weight", sa.Integer, nullable=False, default=1),
    sa.Column("backup", sa.Boolean, nullable=False, default=False),
    sa.Column("subnet_id", sa.String(36)),
    sa.Column("monitor_address", sa.String(64)),
    sa.Column("monitor_port", sa.Integer),
    sa.Column("vnic_type", sa.String(16), nullable=False, default="normal"),
    sa.Index(None, "project_id", "created_at", "id"),
)

health_monitors = sa.Table(
    "health_monitors",
    metadata,
    *_resource(),
    _load_balancer_id(nullable=False),
    sa.Column("pool_id", sa.String(36), sa.ForeignKey("pools.id"), nullable=False, index=True),
    sa.Column("type", sa.String(16), nullable=False),
    sa.Column("delay", sa.Integer, nullable=False),
    sa.Column("timeout", sa.Integer, nullable=False),
    sa.Column("max_retries", sa.Integer, nullable=False),
    sa.Column("max_retries_down", sa.Integer, nullable=False),
    sa.Column("http_method", sa.String(16)),
    sa.Column("url_path", sa.String(2048)),
    sa.Column("expected_codes", sa.String(255)),
    sa.Column("http_version", sa.Double),
    sa.Column("domain_name", sa.String(255)),
    sa.Index(None, "project_id", "created_at", "id"),
)

l7policies = sa.Table(
    "l7policies",
    metadata,
    *_resource(),
    _load_balancer_id(nullable=False),
    sa.Column("listener_id", sa.String(36), sa.ForeignKey("listeners.id"), nullable=False, index=True),
    sa.Column("action", sa.String(32), nullable=False),
    sa.Column("redirect_pool_id", sa.String(36), sa.ForeignKey("pools.id"), index=True),
    sa.Column("redirect_url", sa.String(2048)),
    sa.Column("redirect_prefix", sa.String(2048)),
    sa.Column("redirect_http_code", sa.Integer),
    sa.Column("position", sa.Integer, nullable=False),  # from 1, without gaps among those of a listener that are not being deleted
    sa.Index(None, "project_id", "created_at", "id"),
)

l7rules = sa.Table(
    "l7rules",
    metadata,
    *_resource(),
    _load_balancer_id(nullable=False),
    sa.Column("l7policy_id", sa.String(36), sa.ForeignKey("l7policies.id"), nullable=False, index=True),
    sa.Column("type", sa.String(32), nullable=False),
    sa.Column("compare_type", sa.String(16), nullable=False),
    sa.Column("key", sa.String(255)),
    sa.Column("value", sa.String(255), nullable=False),
    sa.Column("invert", sa.Boolean, nullable=False, default=False),
    sa.Index(None, "project_id", "created_at", "id"),
)

quotas = sa.Table(
    "quotas",  # limits of a project, null: the operator's default; the row is also what counts of one project wait for
    metadata,
    sa.Column("project_id", sa.String(36), primary_key=True),
    *(sa.Column(kind, sa.Integer) for kind in ("load_balancer", "listener", "pool", "member", "health_monitor", "l7policy", "l7rule")),
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
    sa.Column("description", sa.String(255), nullable=False, default=""),
    sa.Column("enabled", sa.Boolean, nullable=False, default=True),
    sa.Column("flavor_profile_id", sa.String(36), sa.ForeignKey("flavor_profiles.id"), nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
)

availability_zone_profiles = sa.Table("availability_zone_profiles", metadata, *_choice_profile("availability_zone_data"))

availability_zones = sa.Table(
    "availability_zones",
    metadata,
    sa.Column("name", sa.String(255), primary_key=True),
    sa.Column("description", sa.String(255), nullable=False, default=""),
    sa.Column("enabled", sa.Boolean, nullable=False, default=True),
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
