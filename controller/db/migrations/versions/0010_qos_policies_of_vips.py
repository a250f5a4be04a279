"""When the QoS policy of a VIP last changed"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Go forward; until now no load balancer could have a policy."""
    with op.batch_alter_table("load_balancers") as table:
        table.add_column(sa.Column("qos_generation", sa.BigInteger(), nullable=False, server_default="0"))
