"""How Alembic connects: to the URL that `controller.db.migration` gives it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context
from alembic.autogenerate import rewriter
from alembic.operations import ops

from controller.db import tables

writing = rewriter.Rewriter()


@writing.rewrites(ops.AddColumnOp)
def give_rows_of_before_the_default(_context: object, _revision: object, op: ops.AddColumnOp) -> ops.AddColumnOp:
    """A new column that is never null needs a value in the rows that there are: the field's default, if that is a word or a number."""
    default = getattr(op.column.default, "arg", None)
    if not op.column.nullable and isinstance(default, bool | int | float | str):
        op.column.server_default = sa.DefaultClause(sa.text(str(default).lower()) if isinstance(default, bool) else str(default))
    return op


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
            process_revision_directives=writing,
        )
        with context.begin_transaction():
            context.run_migrations()
    engine.dispose()


run()
