"""Addresses of VRRP ports on the subnets of additional VIPs

Revision: 0012
After: 0011
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    with op.batch_alter_table("amphorae") as batch_op:
        batch_op.add_column(sa.Column("additional_vrrp_ips", sa.JSON(), nullable=True))


def downgrade() -> None:
    """Go back."""
    with op.batch_alter_table("amphorae") as batch_op:
        batch_op.drop_column("additional_vrrp_ips")
