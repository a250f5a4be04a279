"""What functional tests share."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import pytest

from tests.functional import flow_site


@pytest.fixture
def site(tmp_path: pathlib.Path) -> Iterator[flow_site.Site]:
    """A database and a fake cloud, with a worker that does one job when it is told."""
    made = flow_site.Site(tmp_path)
    yield made
    made.close()
