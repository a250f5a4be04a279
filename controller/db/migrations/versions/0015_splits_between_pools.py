"""L7 policies that split requests between pools"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Go forward. Nobody has asked for any yet."""
    op.create_table(
        "l7policy_pools",
        sa.Column("l7policy_id", sa.String(36), nullable=False),
        sa.Column("pool_id", sa.String(36), nullable=False),
        sa.ForeignKeyConstraint(["l7policy_id"], ["l7policies.id"], name=op.f("fk_l7policy_pools_l7policy_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["pool_id"], ["pools.id"], name=op.f("fk_l7policy_pools_pool_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("l7policy_id", "pool_id", name=op.f("pk_l7policy_pools")),
    )
    with op.batch_alter_table("l7policy_pools", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_l7policy_pools_pool_id"), ["pool_id"], unique=False)
    with op.batch_alter_table("l7policies", schema=None) as batch_op:
        batch_op.add_column(sa.Column("split", sa.JSON(), nullable=True))
