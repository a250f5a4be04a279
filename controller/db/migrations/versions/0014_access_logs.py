"""Access logs of load balancers"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Go forward. Nobody has asked for any yet."""
    with op.batch_alter_table("load_balancers", schema=None) as batch_op:
        batch_op.add_column(sa.Column("access_log", sa.JSON(), nullable=True))
