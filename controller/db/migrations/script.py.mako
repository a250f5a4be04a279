"""${message}"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from controller.db import columns

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    """Go forward."""
    ${upgrades if upgrades else "pass"}
