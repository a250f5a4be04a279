"""What is counted on pools and members is kept"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    """Go forward. Amphorae of older images count nothing of it."""
    op.create_table(
        "member_statistics",
        sa.Column("amphora_id", sa.String(36), nullable=False),
        sa.Column("load_balancer_id", sa.String(36), nullable=False),
        sa.Column("counts", sa.LargeBinary(16_000_000), nullable=False),
        sa.PrimaryKeyConstraint("amphora_id", name=op.f("pk_member_statistics")),
    )
    with op.batch_alter_table("member_statistics", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_member_statistics_load_balancer_id"), ["load_balancer_id"], unique=False)
