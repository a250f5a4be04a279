"""What functional tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.functional import flow_site, postgresql


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


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str | None:
    """Where an empty database may be made: None for SQLite in the test's folder."""
    return None if request.param == "sqlite" else str(request.getfixturevalue("postgresql_server")) % "postgres"
