"""Exact comparisons on MariaDB and MySQL

Their default collations take `a` for `A`, and their FLOAT has single precision: 1.1 is not 1.1."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Go forward."""
    with op.batch_alter_table("health_monitors", schema=None) as batch_op:
        batch_op.alter_column("http_version", existing_type=sa.Float(), type_=sa.Double(), existing_nullable=True)
    connection = op.get_bind()
    if connection.dialect.name not in ("mysql", "mariadb"):
        return
    quoted = connection.dialect.identifier_preparer.quote
    database = connection.exec_driver_sql("SELECT DATABASE()").scalar_one()
    op.execute(f"ALTER DATABASE {quoted(database)} CHARACTER SET utf8mb4 COLLATE utf8mb4_bin")
    inspector = sa.inspect(connection)
    names = inspector.get_table_names()
    keys = [(name, key) for name in names for key in inspector.get_foreign_keys(name)]
    for name, key in keys:  # MariaDB changes no column that one of these names
        op.drop_constraint(str(key["name"]), name, type_="foreignkey")
    for name in names:
        op.execute(f"ALTER TABLE {quoted(name)} CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_bin")
    for name, key in keys:
        columns = key["constrained_columns"], key["referred_columns"]
        op.create_foreign_key(key["name"], name, key["referred_table"], *columns, ondelete=key["options"].get("ondelete"))
