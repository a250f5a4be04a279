"""Ports towards members are written down"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Go forward. What is plugged is looked up and written down as each load balancer changes next."""
    with op.batch_alter_table("amphorae", schema=None) as batch_op:
        batch_op.add_column(sa.Column("member_ports", sa.JSON(), nullable=True))
