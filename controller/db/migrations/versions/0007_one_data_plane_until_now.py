"""Load balancers whose provider had any name are the amphora provider's

Until now `enabled_provider_drivers` took every name, and the same amphorae served them all. From now on a name is that of a provider that
is installed, and other providers' load balancers are left to them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_KNOWN = ("amphora", "octavia")


def upgrade() -> None:
    """Go forward."""
    for table, column in (("load_balancers", "provider"), ("flavor_profiles", "provider_name"), ("availability_zone_profiles", "provider_name")):
        named = sa.table(table, sa.column(column))
        op.execute(named.update().where(named.c[column].not_in(_KNOWN)).values({column: "amphora"}))
