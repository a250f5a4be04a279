"""Renewals of certificates"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Go forward."""
    with op.batch_alter_table("amphorae", schema=None) as batch_op:
        batch_op.add_column(sa.Column("cert_trust", sa.String(length=64), nullable=True))
        batch_op.add_column(sa.Column("cert_renew_at", sa.Double(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("cert_failures", sa.Integer(), nullable=False, server_default="0"))
        batch_op.create_index(batch_op.f("ix_amphorae_cert_renew_at"), ["cert_renew_at"], unique=False)
