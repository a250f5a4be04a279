"""Error pages of listeners, fixed responses of L7 policies, bounded drains of pools"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"

_COLUMNS = (("listeners", "error_page", sa.JSON()), ("l7policies", "fixed_response", sa.JSON()), ("pools", "drain_timeout", sa.Integer()))


def upgrade() -> None:
    """Go forward. Nobody has asked for any of them yet."""
    for table, name, kind in _COLUMNS:
        with op.batch_alter_table(table, schema=None) as batch_op:
            batch_op.add_column(sa.Column(name, kind, nullable=True))
