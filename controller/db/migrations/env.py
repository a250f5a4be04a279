"""How Alembic connects: to the URL that `controller.db.migration` gives it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context

from controller.db import tables


def run() -> None:
    """Run the migrations in one transaction; SQLite alters tables by copying them."""
    engine = sa.create_engine(context.config.attributes["url"], poolclass=sa.pool.NullPool)
    with engine.connect() as connection:
        context.configure(
            connection=connection,
            target_metadata=tables.metadata,
            compare_type=True,
            render_as_batch=connection.dialect.name == "sqlite",
            user_module_prefix="columns.",
        )
        with context.begin_transaction():
            context.run_migrations()
    engine.dispose()


run()
