"""The first schema"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from controller.db import columns

revision = "0001"
down_revision = None

_names = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}
_schema = sa.MetaData(naming_convention=_names)
_WORD, _ID, _TEXT = sa.String(16), sa.String(36), sa.String(255)


def upgrade() -> None:
    """Go forward."""
    _schema.create_all(op.get_bind())


def _id() -> sa.Column[str]:
    return sa.Column("id", _ID, primary_key=True)


def _of(name: str, other: str, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, _ID, sa.ForeignKey(other), nullable=nullable, index=True)


def _needed(kind: Any, names: str) -> list[sa.Column[Any]]:
    """Columns of one kind that are never null."""
    return [sa.Column(name, kind, nullable=False) for name in names.split()]


def _maybe(kind: Any, names: str) -> list[sa.Column[Any]]:
    """Columns of one kind that may be null."""
    return [sa.Column(name, kind) for name in names.split()]


def _resource() -> list[sa.schema.SchemaItem]:
    """What every resource of a project had."""
    own = [*_needed(_ID, "project_id"), *_needed(_TEXT, "name description"), *_needed(sa.Boolean, "admin_state_up")]
    state = [*_needed(_WORD, "provisioning_status operating_status"), *_needed(sa.BigInteger, "generation")]
    times = [*_needed(columns.UtcDateTime, "created_at"), *_maybe(columns.UtcDateTime, "updated_at")]
    return [_id(), *own, *state, *times, sa.Index(None, "project_id", "created_at", "id")]


def _below() -> list[sa.schema.SchemaItem]:
    """The same below a load balancer."""
    return [*_resource(), _of("load_balancer_id", "load_balancers.id")]


def _fault() -> list[sa.Column[Any]]:
    """What happened, in words."""
    said = [*_needed(sa.String(64), "code"), *_needed(sa.Text, "message"), *_maybe(_TEXT, "step"), *_maybe(sa.String(64), "request_id")]
    return [*said, *_needed(columns.UtcDateTime, "occurred_at"), *_maybe(columns.UtcDateTime, "next_try_at")]


sa.Table(
    "amphora_health",
    _schema,
    sa.Column("amphora_id", _ID, primary_key=True),
    *_maybe(sa.Double, "first_heartbeat_at"),
    sa.Column("last_heartbeat_at", sa.Double, index=True),
)
sa.Table(
    "amphorae",
    _schema,
    _id(),
    sa.Column("load_balancer_id", _ID, index=True),
    sa.Column("status", sa.String(32), nullable=False, index=True),
    *_maybe(_WORD, "role vrrp_interface"),
    *_maybe(_TEXT, "compute_id cached_zone compute_flavor"),
    *_maybe(sa.String(64), "management_address vrrp_ip ha_ip"),
    *_maybe(_ID, "management_port_id vrrp_port_id ha_port_id image_id"),
    *_maybe(sa.String(17), "vrrp_mac"),
    *_maybe(sa.Integer, "vrrp_id vrrp_priority"),
    *_maybe(columns.UtcDateTime, "cert_expiration updated_at"),
    *_needed(sa.Boolean, "cert_busy"),
    *_needed(sa.BigInteger, "applied_generation"),
    *_needed(columns.UtcDateTime, "created_at"),
    *_maybe(sa.Double, "deleted_at"),
    sa.Index(None, "created_at", "id"),
)
for _choice in ("availability_zone", "flavor"):
    sa.Table(
        f"{_choice}_profiles",
        _schema,
        _id(),
        *_needed(_TEXT, "name"),
        *_needed(sa.String(64), "provider_name"),
        *_needed(sa.Text, f"{_choice}_data"),
        *_needed(columns.UtcDateTime, "created_at"),
    )
sa.Table(
    "events",
    _schema,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    *_maybe(_ID, "load_balancer_id"),
    *_needed(sa.String(32), "object_type"),
    *_needed(_ID, "object_id"),
    sa.Index(None, "load_balancer_id", "id"),
    *_fault(),
)
sa.Table(
    "faults",
    _schema,
    sa.Column("object_id", _ID, primary_key=True),
    sa.Column("load_balancer_id", _ID, index=True),
    *_fault(),
)
sa.Table(
    "flow_records",
    _schema,
    sa.Column("job_id", _ID, primary_key=True),
    *_needed(sa.String(64), "definition"),
    *_needed(sa.BigInteger, "token"),
    *_needed(sa.LargeBinary(65535), "data"),
    *_needed(sa.Double, "written_at"),
)
sa.Table(
    "jobs",
    _schema,
    _id(),
    *_needed(sa.String(64), "kind"),
    sa.Column("load_balancer_id", _ID, index=True),
    sa.Column("subject", sa.String(128), nullable=False, index=True),
    *_needed(sa.JSON, "details"),
    *_maybe(sa.String(64), "request_id"),
    *_needed(sa.Integer, "priority attempts"),
    *_maybe(_TEXT, "owner"),
    *_needed(sa.BigInteger, "claim_token"),
    *_needed(sa.Double, "claim_expires_at available_at posted_at"),
    sa.Index(None, "priority", "available_at"),
)
sa.Table(
    "leaders",
    _schema,
    sa.Column("name", sa.String(64), primary_key=True),
    *_needed(_TEXT, "owner"),
    *_needed(sa.Double, "expires_at"),
)
sa.Table(
    "listener_statistics",
    _schema,
    sa.Column("listener_id", _ID, primary_key=True),
    sa.Column("amphora_id", _ID, primary_key=True),
    sa.Column("load_balancer_id", _ID, nullable=False, index=True),
    *_needed(sa.BigInteger, "bytes_in bytes_out active_connections total_connections request_errors"),
)
sa.Table(
    "load_balancers",
    _schema,
    *_resource(),
    *_needed(sa.BigInteger, "applied_generation vip_generation lease_token"),
    *_needed(sa.String(64), "provider vip_address"),
    *_needed(_WORD, "topology vip_vnic_type"),
    *_maybe(_ID, "flavor_id vip_qos_policy_id"),
    *_maybe(_TEXT, "availability_zone lease_owner"),
    *_needed(_ID, "vip_port_id vip_subnet_id vip_network_id"),
    *_needed(sa.JSON, "vip_sg_ids additional_vips"),
    *_needed(sa.Boolean, "vip_port_is_ours"),
    *_needed(sa.Double, "lease_expires_at next_try_at"),
    *_needed(sa.Integer, "failures"),
    *_maybe(sa.Double, "deleted_at"),
    sa.Index(None, "name"),
    sa.Index(None, "created_at", "id"),
    sa.Index(None, "provisioning_status", "next_try_at"),
)
sa.Table(
    "quotas",
    _schema,
    sa.Column("project_id", _ID, primary_key=True),
    *_maybe(sa.Integer, "load_balancer listener pool member health_monitor l7policy l7rule"),
    *_needed(sa.Boolean, "is_set"),
    *_needed(sa.BigInteger, "locked"),
)
sa.Table(
    "tags",
    _schema,
    sa.Column("resource_id", _ID, primary_key=True),
    sa.Column("tag", _TEXT, primary_key=True, index=True),
)
sa.Table(
    "availability_zones",
    _schema,
    sa.Column("name", _TEXT, primary_key=True),
    *_needed(_TEXT, "description"),
    *_needed(sa.Boolean, "enabled"),
    sa.Column("availability_zone_profile_id", _ID, sa.ForeignKey("availability_zone_profiles.id"), nullable=False),
    *_needed(columns.UtcDateTime, "created_at"),
)
sa.Table(
    "flavors",
    _schema,
    _id(),
    sa.Column("name", _TEXT, nullable=False, unique=True),
    *_needed(_TEXT, "description"),
    *_needed(sa.Boolean, "enabled"),
    sa.Column("flavor_profile_id", _ID, sa.ForeignKey("flavor_profiles.id"), nullable=False),
    *_needed(columns.UtcDateTime, "created_at"),
)
sa.Table(
    "pools",
    _schema,
    *_below(),
    *_needed(_WORD, "protocol"),
    *_needed(sa.String(32), "lb_algorithm"),
    *_maybe(sa.JSON(none_as_null=True), "session_persistence tls_versions alpn_protocols"),
    *_needed(sa.Boolean, "tls_enabled"),
    *_maybe(_TEXT, "tls_container_ref ca_tls_container_ref crl_container_ref"),
    *_maybe(sa.String(2048), "tls_ciphers"),
)
sa.Table(
    "health_monitors",
    _schema,
    *_below(),
    _of("pool_id", "pools.id"),
    *_needed(_WORD, "type"),
    *_needed(sa.Integer, "delay timeout max_retries max_retries_down"),
    *_maybe(_WORD, "http_method"),
    *_maybe(sa.String(2048), "url_path"),
    *_maybe(_TEXT, "expected_codes domain_name"),
    *_maybe(sa.Float, "http_version"),
)
sa.Table(
    "listeners",
    _schema,
    *_below(),
    *_needed(sa.String(32), "protocol"),
    *_needed(sa.Integer, "protocol_port connection_limit timeout_client_data timeout_member_connect timeout_member_data timeout_tcp_inspect"),
    _of("default_pool_id", "pools.id", nullable=True),
    *_needed(sa.JSON, "insert_headers allowed_cidrs sni_container_refs"),
    *_maybe(_TEXT, "default_tls_container_ref client_ca_tls_container_ref client_crl_container_ref"),
    *_needed(_WORD, "client_authentication"),
    *_maybe(sa.String(2048), "tls_ciphers"),
    *_maybe(sa.JSON(none_as_null=True), "tls_versions alpn_protocols"),
    *_maybe(sa.Integer, "hsts_max_age"),
    *_needed(sa.Boolean, "hsts_include_subdomains hsts_preload"),
)
sa.Table(
    "members",
    _schema,
    *_below(),
    _of("pool_id", "pools.id"),
    *_needed(sa.String(64), "address"),
    *_needed(sa.Integer, "protocol_port weight"),
    *_needed(sa.Boolean, "backup"),
    *_maybe(_ID, "subnet_id"),
    *_maybe(sa.String(64), "monitor_address"),
    *_maybe(sa.Integer, "monitor_port"),
    *_needed(_WORD, "vnic_type"),
)
sa.Table(
    "l7policies",
    _schema,
    *_below(),
    _of("listener_id", "listeners.id"),
    *_needed(sa.String(32), "action"),
    _of("redirect_pool_id", "pools.id", nullable=True),
    *_maybe(sa.String(2048), "redirect_url redirect_prefix"),
    *_maybe(sa.Integer, "redirect_http_code"),
    *_needed(sa.Integer, "position"),
)
sa.Table(
    "l7rules",
    _schema,
    *_below(),
    _of("l7policy_id", "l7policies.id"),
    *_needed(sa.String(32), "type"),
    *_needed(_WORD, "compare_type"),
    *_maybe(_TEXT, "key"),
    *_needed(_TEXT, "value"),
    *_needed(sa.Boolean, "invert"),
)
