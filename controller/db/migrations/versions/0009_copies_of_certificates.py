"""Copies of tenants' certificates"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from controller.db.columns import UtcDateTime

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Go forward."""
    op.create_table(
        "tenant_certificates",
        *(sa.Column(name, sa.String(length), primary_key=True) for name, length in (("load_balancer_id", 36), ("reference", 255), ("kind", 16))),
        sa.Column("name", sa.String(68), nullable=False),
        sa.Column("content", sa.LargeBinary(1_000_000), nullable=False),
        sa.Column("not_after", UtcDateTime()),
        sa.Column("read_for", sa.BigInteger, nullable=False),
        sa.Column("asked_for", sa.BigInteger, nullable=False),
        sa.Column("is_registered", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("load_balancer_id", "reference", "kind", name=op.f("pk_tenant_certificates")),
    )
