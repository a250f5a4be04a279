"""When an amphora was replaced for what it, or its peer, reported"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Go forward."""
    op.create_table(
        "replacements",
        sa.Column("load_balancer_id", sa.String(length=36), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("replaced_at", sa.Double(), nullable=False),
        sa.Column("told_at", sa.Double(), nullable=False, server_default="0"),
        sa.PrimaryKeyConstraint("load_balancer_id", "role", name=op.f("pk_replacements")),
    )
