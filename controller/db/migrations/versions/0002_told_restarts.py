"""How many restarts of an amphora's programs were told"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = '0002'
down_revision = '0001'


def upgrade() -> None:
    """Go forward."""
    with op.batch_alter_table('amphora_health', schema=None) as batch_op:
        batch_op.add_column(sa.Column('told_restarts', sa.String(length=255), nullable=True))
