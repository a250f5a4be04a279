"""What may reach a VIP, as it was set last, is written down"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    """Go forward. Of load balancers of before, housekeeping's comparison or their next push writes it."""
    with op.batch_alter_table("load_balancers", schema=None) as batch_op:
        batch_op.add_column(sa.Column("access_hash", sa.String(64), nullable=True))
        batch_op.add_column(sa.Column("access_generation", sa.BigInteger(), nullable=False, server_default="0"))
