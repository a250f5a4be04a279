"""What of the secret store an object is left out for, and of which generation"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    """Go forward. Of what is left out now, nothing but a sentence is known: it is asked for once more."""
    with op.batch_alter_table("faults", schema=None) as batch_op:
        batch_op.add_column(sa.Column("left_out_of", sa.BigInteger(), nullable=True))
        batch_op.add_column(sa.Column("lacks", sa.JSON(), nullable=True))
