"""Slow start of pools, rate limits of listeners"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

_COLUMNS = (("listeners", "rate_limit", sa.JSON()), ("pools", "slow_start", sa.Integer()))


def upgrade() -> None:
    """Go forward. Nobody has asked for either yet."""
    for table, name, kind in _COLUMNS:
        with op.batch_alter_table(table, schema=None) as batch_op:
            batch_op.add_column(sa.Column(name, kind, nullable=True))
