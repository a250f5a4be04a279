"""Orders, and what amphorae confirmed"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Go forward."""
    with op.batch_alter_table("load_balancers", schema=None) as batch_op:
        batch_op.add_column(sa.Column("order_floor", sa.BigInteger(), nullable=False, server_default="0"))
    with op.batch_alter_table("amphorae", schema=None) as batch_op:
        batch_op.add_column(sa.Column("confirmed_hash", sa.String(length=64), nullable=True))
