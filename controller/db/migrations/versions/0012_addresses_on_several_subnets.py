"""Addresses of VRRP ports on the subnets of additional VIPs"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Go forward."""
    with op.batch_alter_table("amphorae") as batch_op:
        batch_op.add_column(sa.Column("additional_vrrp_ips", sa.JSON(), nullable=True))
