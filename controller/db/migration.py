"""The schema's history (Alembic): upgrade, current, and a new revision from what the tables say."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Iterator

import sqlalchemy as sa
from alembic import autogenerate, command, util
from alembic import config as alembic_config
from alembic.runtime import migration
from alembic.script import ScriptDirectory

from controller import exceptions
from controller.db import tables

_SCRIPTS = pathlib.Path(__file__).parent / "migrations"


class Schema:
    """The schema of one database."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._config = alembic_config.Config()
        self._config.set_main_option("script_location", str(_SCRIPTS))
        self._config.attributes["url"] = url

    def upgrade(self, revision: str = "head") -> None:
        """Bring the schema forward to a revision; being there already is fine.

        :raises Misconfigured: the database does not answer, its driver is not installed, or there is no such revision.
        """
        try:
            with self._explained():
                command.upgrade(self._config, revision)
        except util.CommandError as error:
            raise exceptions.Misconfigured(f"{error}: this program knows revisions up to {self.newest()}") from error

    def current(self) -> str | None:
        """The revision that the database has; None if it has none.

        :raises Misconfigured: it does not answer, or its driver is not installed; the message says so.
        """
        with self._explained():
            engine = sa.create_engine(self._url)
            try:
                with engine.connect() as connection:
                    return migration.MigrationContext.configure(connection).get_current_revision()
            finally:
                engine.dispose()

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sa.exc.ArgumentError as error:
            words = f"[database] connection is no URL of SQLAlchemy, such as sqlite:////var/lib/figlina/figlina.sqlite: {error}"
            raise exceptions.Misconfigured(words) from error
        except (sa.exc.SQLAlchemyError, ImportError) as error:
            said = getattr(error, "orig", None) or error
            raise exceptions.Misconfigured(f"the database {self.where} does not answer, or refuses: {said}") from error

    @property
    def where(self) -> str:
        """The database's address, without its password."""
        return sa.make_url(self._url).render_as_string()

    def existing(self) -> str | None:
        """The same as `current`, of a database that has to exist already: an SQLite file is not made by looking.

        :raises Misconfigured: it does not answer, or its driver is not installed; the message says so.
        """
        with self._explained():
            url = sa.make_url(self._url)
        if url.get_backend_name() == "sqlite" and not pathlib.Path(str(url.database)).is_file():
            raise exceptions.Misconfigured(f"there is no database {url.database}")
        return self.current()

    def newest(self) -> str | None:
        """The newest revision that this program knows."""
        return ScriptDirectory.from_config(self._config).get_current_head()

    def new_revision(self, message: str) -> str:
        """Write a revision that brings this database to what the tables say; returns its path."""
        script = command.revision(self._config, message=message, autogenerate=True)
        if script is None or isinstance(script, list):
            raise RuntimeError("alembic wrote no single revision")
        return str(script.path)

    def differences(self) -> list[object]:
        """What the database lacks or has too much of, compared with the tables; empty if they agree."""
        engine = sa.create_engine(self._url)
        try:
            with engine.connect() as connection:
                context = migration.MigrationContext.configure(connection, opts={"compare_type": True})
                return list(autogenerate.compare_metadata(context, tables.metadata))
        finally:
            engine.dispose()
