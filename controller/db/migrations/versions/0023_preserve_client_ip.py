"""Pools whose members see the addresses of clients"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    """Go forward. Nobody has asked for it yet."""
    with op.batch_alter_table("pools", schema=None) as batch_op:
        batch_op.add_column(sa.Column("preserve_client_ip", sa.Boolean(), nullable=True))
