"""What functional tests share."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import pytest

from controller.db import database
from tests.functional import flow_site, hostile_reports, mariadb, postgresql, small_flows


@pytest.fixture
def site() -> Iterator[flow_site.Site]:
    """A database and a fake cloud, with a worker that does one job when it is told."""
    made = flow_site.Site()
    yield made
    made.close()


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """A PostgreSQL server for the whole run."""
    with postgresql.server() as url:
        yield url


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[str]:
    """A MariaDB server for the whole run."""
    with mariadb.server() as url:
        yield url


_DATABASES = {"postgresql": "postgres", "mariadb": "test"}
"""Where tables may be made on a server, by its kind."""


@pytest.fixture(params=["sqlite", *(pytest.param(kind, marks=pytest.mark.slow) for kind in _DATABASES)])
def database_url(request: pytest.FixtureRequest) -> str | None:
    """Where an empty database may be made: None for SQLite in the test's folder. To start and ask the servers is not for quick runs."""
    if request.param == "sqlite":
        return None
    return str(request.getfixturevalue(f"{request.param}_server")) % _DATABASES[request.param]


@pytest.fixture
def database_of_each_kind(tmp_path: pathlib.Path, database_url: str | None) -> Iterator[database.Database]:
    """An empty one."""
    made = small_flows.new_database(tmp_path, database_url)
    yield made
    made.close()


@pytest.fixture
def db(tmp_path: pathlib.Path) -> Iterator[database.Database]:
    """An empty database, of SQLite where a module has no other."""
    made = small_flows.new_database(tmp_path)
    yield made
    made.close()


@pytest.fixture
def manager(db: database.Database) -> hostile_reports.Manager:
    """A health manager without threads."""
    return hostile_reports.Manager(db)
