"""When the first certificate of a listener, or of a pool, ends"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from controller.db.columns import UtcDateTime

revision = "0016"
down_revision = "0015"

_LISTENERS = sa.table(
    "listeners",
    *(sa.column(name) for name in ("id", "load_balancer_id", "protocol", "default_tls_container_ref")),
    sa.column("sni_container_refs", sa.JSON()),
    sa.column("certificate_expires_at", UtcDateTime()),
)
_POOLS = sa.table(
    "pools",
    *(sa.column(name) for name in ("id", "load_balancer_id", "tls_container_ref")),
    sa.column("certificate_expires_at", UtcDateTime()),
)
_COPIES = sa.table(
    "tenant_certificates",
    *(sa.column(name) for name in ("load_balancer_id", "reference", "kind")),
    sa.column("not_after", UtcDateTime()),
)


def upgrade() -> None:
    """Go forward. What is known of certificates is shown at once, not when they are read next."""
    for table in ("listeners", "pools"):
        with op.batch_alter_table(table, schema=None) as batch_op:
            batch_op.add_column(sa.Column("certificate_expires_at", UtcDateTime(), nullable=True))
    connection = op.get_bind()
    copies = connection.execute(sa.select(_COPIES).where(_COPIES.c.kind == "bundle", _COPIES.c.not_after.is_not(None))).all()
    ends = {(copy.load_balancer_id, copy.reference): copy.not_after for copy in copies}
    for row in connection.execute(sa.select(_LISTENERS).where(_LISTENERS.c.protocol == "TERMINATED_HTTPS")).all():
        _tell(connection, _LISTENERS, row, (row.default_tls_container_ref, *(row.sni_container_refs or ())), ends)
    for row in connection.execute(sa.select(_POOLS).where(_POOLS.c.tls_container_ref.is_not(None))).all():
        _tell(connection, _POOLS, row, (row.tls_container_ref,), ends)


def _tell(connection, table, row, references, ends) -> None:  # type: ignore[no-untyped-def]
    known = [ends[row.load_balancer_id, one] for one in references if (row.load_balancer_id, one) in ends]
    if known:
        connection.execute(sa.update(table).where(table.c.id == row.id).values(certificate_expires_at=min(known)))
