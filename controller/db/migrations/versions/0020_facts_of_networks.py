"""What amphorae are told of networks is written down"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    """Go forward. Of load balancers of before, housekeeping's comparison or their next push writes it."""
    with op.batch_alter_table("load_balancers", schema=None) as batch_op:
        batch_op.add_column(sa.Column("network_facts", sa.JSON(), nullable=True))
