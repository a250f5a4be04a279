"""Health monitors that ask by gRPC"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    """Go forward. Nobody has asked for any yet."""
    with op.batch_alter_table("health_monitors", schema=None) as batch_op:
        batch_op.add_column(sa.Column("grpc_service", sa.String(100), nullable=True))
