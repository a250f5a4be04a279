"""The first schema

Revision: 0001
After:
"""

from __future__ import annotations

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


def upgrade() -> None:
    """Go forward."""
    _schema.create_all(op.get_bind())


def downgrade() -> None:
    """Go back."""
    _schema.drop_all(op.get_bind())


def _resource() -> list[sa.schema.SchemaItem]:
    """What every resource of a project had."""
    return [
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("project_id", sa.String(36), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("description", sa.String(255), nullable=False),
        sa.Column("admin_state_up", sa.Boolean, nullable=False),
        sa.Column("provisioning_status", sa.String(16), nullable=False),
        sa.Column("operating_status", sa.String(16), nullable=False),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("created_at", columns.UtcDateTime, nullable=False),
        sa.Column("updated_at", columns.UtcDateTime),
        sa.Index(None, "project_id", "created_at", "id"),
    ]


sa.Table(
    "amphora_health",
    _schema,
    sa.Column("amphora_id", sa.String(36), primary_key=True),
    sa.Column("first_heartbeat_at", sa.Double),
    sa.Column("last_heartbeat_at", sa.Double, index=True),
)
sa.Table(
    "amphorae",
    _schema,
    sa.Column("id", sa.String(36), primary_key=True),
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
    sa.Column("cert_expiration", columns.UtcDateTime),
    sa.Column("cert_busy", sa.Boolean, nullable=False),
    sa.Column("cached_zone", sa.String(255)),
    sa.Column("image_id", sa.String(36)),
    sa.Column("compute_flavor", sa.String(255)),
    sa.Column("applied_generation", sa.BigInteger, nullable=False),
    sa.Column("created_at", columns.UtcDateTime, nullable=False),
    sa.Column("updated_at", columns.UtcDateTime),
    sa.Column("deleted_at", sa.Double),
    sa.Index(None, "created_at", "id"),
)
sa.Table(
    "availability_zone_profiles",
    _schema,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("provider_name", sa.String(64), nullable=False),
    sa.Column("availability_zone_data", sa.Text, nullable=False),
    sa.Column("created_at", columns.UtcDateTime, nullable=False),
)
sa.Table(
    "events",
    _schema,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("load_balancer_id", sa.String(36)),
    sa.Column("object_type", sa.String(32), nullable=False),
    sa.Column("object_id", sa.String(36), nullable=False),
    sa.Column("code", sa.String(64), nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("step", sa.String(255)),
    sa.Column("request_id", sa.String(64)),
    sa.Column("occurred_at", columns.UtcDateTime, nullable=False),
    sa.Column("next_try_at", columns.UtcDateTime),
    sa.Index(None, "load_balancer_id", "id"),
)
sa.Table(
    "faults",
    _schema,
    sa.Column("object_id", sa.String(36), primary_key=True),
    sa.Column("load_balancer_id", sa.String(36), index=True),
    sa.Column("code", sa.String(64), nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("step", sa.String(255)),
    sa.Column("request_id", sa.String(64)),
    sa.Column("occurred_at", columns.UtcDateTime, nullable=False),
    sa.Column("next_try_at", columns.UtcDateTime),
)
sa.Table(
    "flavor_profiles",
    _schema,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("provider_name", sa.String(64), nullable=False),
    sa.Column("flavor_data", sa.Text, nullable=False),
    sa.Column("created_at", columns.UtcDateTime, nullable=False),
)
sa.Table(
    "flow_records",
    _schema,
    sa.Column("job_id", sa.String(36), primary_key=True),
    sa.Column("definition", sa.String(64), nullable=False),
    sa.Column("token", sa.BigInteger, nullable=False),
    sa.Column("data", sa.LargeBinary(65535), nullable=False),
    sa.Column("written_at", sa.Double, nullable=False),
)
sa.Table(
    "jobs",
    _schema,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("kind", sa.String(64), nullable=False),
    sa.Column("load_balancer_id", sa.String(36), index=True),
    sa.Column("subject", sa.String(128), nullable=False, index=True),
    sa.Column("details", sa.JSON, nullable=False),
    sa.Column("request_id", sa.String(64)),
    sa.Column("priority", sa.Integer, nullable=False),
    sa.Column("owner", sa.String(255)),
    sa.Column("claim_token", sa.BigInteger, nullable=False),
    sa.Column("claim_expires_at", sa.Double, nullable=False),
    sa.Column("available_at", sa.Double, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("posted_at", sa.Double, nullable=False),
    sa.Index(None, "priority", "available_at"),
)
sa.Table(
    "leaders",
    _schema,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("owner", sa.String(255), nullable=False),
    sa.Column("expires_at", sa.Double, nullable=False),
)
sa.Table(
    "listener_statistics",
    _schema,
    sa.Column("listener_id", sa.String(36), primary_key=True),
    sa.Column("amphora_id", sa.String(36), primary_key=True),
    sa.Column("load_balancer_id", sa.String(36), nullable=False, index=True),
    sa.Column("bytes_in", sa.BigInteger, nullable=False),
    sa.Column("bytes_out", sa.BigInteger, nullable=False),
    sa.Column("active_connections", sa.BigInteger, nullable=False),
    sa.Column("total_connections", sa.BigInteger, nullable=False),
    sa.Column("request_errors", sa.BigInteger, nullable=False),
)
sa.Table(
    "load_balancers",
    _schema,
    *_resource(),
    sa.Column("applied_generation", sa.BigInteger, nullable=False),
    sa.Column("provider", sa.String(64), nullable=False),
    sa.Column("topology", sa.String(16), nullable=False),
    sa.Column("flavor_id", sa.String(36)),
    sa.Column("availability_zone", sa.String(255)),
    sa.Column("vip_address", sa.String(64), nullable=False),
    sa.Column("vip_port_id", sa.String(36), nullable=False),
    sa.Column("vip_subnet_id", sa.String(36), nullable=False),
    sa.Column("vip_network_id", sa.String(36), nullable=False),
    sa.Column("vip_qos_policy_id", sa.String(36)),
    sa.Column("vip_sg_ids", sa.JSON, nullable=False),
    sa.Column("vip_vnic_type", sa.String(16), nullable=False),
    sa.Column("vip_port_is_ours", sa.Boolean, nullable=False),
    sa.Column("vip_generation", sa.BigInteger, nullable=False),
    sa.Column("additional_vips", sa.JSON, nullable=False),
    sa.Column("lease_owner", sa.String(255)),
    sa.Column("lease_token", sa.BigInteger, nullable=False),
    sa.Column("lease_expires_at", sa.Double, nullable=False),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("next_try_at", sa.Double, nullable=False),
    sa.Column("deleted_at", sa.Double),
    sa.Index(None, "name"),
    sa.Index(None, "created_at", "id"),
    sa.Index(None, "provisioning_status", "next_try_at"),
)
sa.Table(
    "quotas",
    _schema,
    sa.Column("project_id", sa.String(36), primary_key=True),
    sa.Column("load_balancer", sa.Integer),
    sa.Column("listener", sa.Integer),
    sa.Column("pool", sa.Integer),
    sa.Column("member", sa.Integer),
    sa.Column("health_monitor", sa.Integer),
    sa.Column("l7policy", sa.Integer),
    sa.Column("l7rule", sa.Integer),
    sa.Column("is_set", sa.Boolean, nullable=False),
    sa.Column("locked", sa.BigInteger, nullable=False),
)
sa.Table(
    "tags",
    _schema,
    sa.Column("resource_id", sa.String(36), primary_key=True),
    sa.Column("tag", sa.String(255), primary_key=True, index=True),
)
sa.Table(
    "availability_zones",
    _schema,
    sa.Column("name", sa.String(255), primary_key=True),
    sa.Column("description", sa.String(255), nullable=False),
    sa.Column("enabled", sa.Boolean, nullable=False),
    sa.Column("availability_zone_profile_id", sa.String(36), sa.ForeignKey("availability_zone_profiles.id"), nullable=False),
    sa.Column("created_at", columns.UtcDateTime, nullable=False),
)
sa.Table(
    "flavors",
    _schema,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("name", sa.String(255), nullable=False, unique=True),
    sa.Column("description", sa.String(255), nullable=False),
    sa.Column("enabled", sa.Boolean, nullable=False),
    sa.Column("flavor_profile_id", sa.String(36), sa.ForeignKey("flavor_profiles.id"), nullable=False),
    sa.Column("created_at", columns.UtcDateTime, nullable=False),
)
sa.Table(
    "pools",
    _schema,
    *_resource(),
    sa.Column("load_balancer_id", sa.String(36), sa.ForeignKey("load_balancers.id"), nullable=False, index=True),
    sa.Column("protocol", sa.String(16), nullable=False),
    sa.Column("lb_algorithm", sa.String(32), nullable=False),
    sa.Column("session_persistence", sa.JSON(none_as_null=True)),
    sa.Column("tls_enabled", sa.Boolean, nullable=False),
    sa.Column("tls_container_ref", sa.String(255)),
    sa.Column("ca_tls_container_ref", sa.String(255)),
    sa.Column("crl_container_ref", sa.String(255)),
    sa.Column("tls_ciphers", sa.String(2048)),
    sa.Column("tls_versions", sa.JSON(none_as_null=True)),
    sa.Column("alpn_protocols", sa.JSON(none_as_null=True)),
)
sa.Table(
    "health_monitors",
    _schema,
    *_resource(),
    sa.Column("load_balancer_id", sa.String(36), sa.ForeignKey("load_balancers.id"), nullable=False, index=True),
    sa.Column("pool_id", sa.String(36), sa.ForeignKey("pools.id"), nullable=False, index=True),
    sa.Column("type", sa.String(16), nullable=False),
    sa.Column("delay", sa.Integer, nullable=False),
    sa.Column("timeout", sa.Integer, nullable=False),
    sa.Column("max_retries", sa.Integer, nullable=False),
    sa.Column("max_retries_down", sa.Integer, nullable=False),
    sa.Column("http_method", sa.String(16)),
    sa.Column("url_path", sa.String(2048)),
    sa.Column("expected_codes", sa.String(255)),
    sa.Column("http_version", sa.Float),
    sa.Column("domain_name", sa.String(255)),
)
sa.Table(
    "listeners",
    _schema,
    *_resource(),
    sa.Column("load_balancer_id", sa.String(36), sa.ForeignKey("load_balancers.id"), nullable=False, index=True),
    sa.Column("protocol", sa.String(32), nullable=False),
    sa.Column("protocol_port", sa.Integer, nullable=False),
    sa.Column("connection_limit", sa.Integer, nullable=False),
    sa.Column("default_pool_id", sa.String(36), sa.ForeignKey("pools.id"), index=True),
    sa.Column("insert_headers", sa.JSON, nullable=False),
    sa.Column("timeout_client_data", sa.Integer, nullable=False),
    sa.Column("timeout_member_connect", sa.Integer, nullable=False),
    sa.Column("timeout_member_data", sa.Integer, nullable=False),
    sa.Column("timeout_tcp_inspect", sa.Integer, nullable=False),
    sa.Column("allowed_cidrs", sa.JSON, nullable=False),
    sa.Column("default_tls_container_ref", sa.String(255)),
    sa.Column("sni_container_refs", sa.JSON, nullable=False),
    sa.Column("client_ca_tls_container_ref", sa.String(255)),
    sa.Column("client_authentication", sa.String(16), nullable=False),
    sa.Column("client_crl_container_ref", sa.String(255)),
    sa.Column("tls_ciphers", sa.String(2048)),
    sa.Column("tls_versions", sa.JSON(none_as_null=True)),
    sa.Column("alpn_protocols", sa.JSON(none_as_null=True)),
    sa.Column("hsts_max_age", sa.Integer),
    sa.Column("hsts_include_subdomains", sa.Boolean, nullable=False),
    sa.Column("hsts_preload", sa.Boolean, nullable=False),
)
sa.Table(
    "members",
    _schema,
    *_resource(),
    sa.Column("load_balancer_id", sa.String(36), sa.ForeignKey("load_balancers.id"), nullable=False, index=True),
    sa.Column("pool_id", sa.String(36), sa.ForeignKey("pools.id"), nullable=False, index=True),
    sa.Column("address", sa.String(64), nullable=False),
    sa.Column("protocol_port", sa.Integer, nullable=False),
    sa.Column("weight", sa.Integer, nullable=False),
    sa.Column("backup", sa.Boolean, nullable=False),
    sa.Column("subnet_id", sa.String(36)),
    sa.Column("monitor_address", sa.String(64)),
    sa.Column("monitor_port", sa.Integer),
    sa.Column("vnic_type", sa.String(16), nullable=False),
)
sa.Table(
    "l7policies",
    _schema,
    *_resource(),
    sa.Column("load_balancer_id", sa.String(36), sa.ForeignKey("load_balancers.id"), nullable=False, index=True),
    sa.Column("listener_id", sa.String(36), sa.ForeignKey("listeners.id"), nullable=False, index=True),
    sa.Column("action", sa.String(32), nullable=False),
    sa.Column("redirect_pool_id", sa.String(36), sa.ForeignKey("pools.id"), index=True),
    sa.Column("redirect_url", sa.String(2048)),
    sa.Column("redirect_prefix", sa.String(2048)),
    sa.Column("redirect_http_code", sa.Integer),
    sa.Column("position", sa.Integer, nullable=False),
)
sa.Table(
    "l7rules",
    _schema,
    *_resource(),
    sa.Column("load_balancer_id", sa.String(36), sa.ForeignKey("load_balancers.id"), nullable=False, index=True),
    sa.Column("l7policy_id", sa.String(36), sa.ForeignKey("l7policies.id"), nullable=False, index=True),
    sa.Column("type", sa.String(32), nullable=False),
    sa.Column("compare_type", sa.String(16), nullable=False),
    sa.Column("key", sa.String(255)),
    sa.Column("value", sa.String(255), nullable=False),
    sa.Column("invert", sa.Boolean, nullable=False),
)
