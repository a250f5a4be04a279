"""What objects were before they were changed to secrets that may not be read yet"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    """Go forward. Of changes that were accepted before, nothing is known."""
    op.create_table(
        "served_before",
        sa.Column("object_id", sa.String(36), nullable=False),
        sa.Column("load_balancer_id", sa.String(36), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("fields", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("object_id", name=op.f("pk_served_before")),
    )
    with op.batch_alter_table("served_before", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_served_before_load_balancer_id"), ["load_balancer_id"], unique=False)
