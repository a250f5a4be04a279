"""Amphorae whose VRRP port has no port security"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    """Go forward. Of those that are there nobody knows it: whoever has to asks the network service."""
    with op.batch_alter_table("amphorae", schema=None) as batch_op:
        batch_op.add_column(sa.Column("guards_itself", sa.Boolean(), nullable=True))
