"""A whole Figlina per test module."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Generator, Iterator

import pytest

from tests.integration.dual import Dual
from tests.integration.site import COMPUTE, Site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Site]:
    """An instance of its own; a module chooses `TOPOLOGY`, `OPTIONS` and `COMPUTE` by naming them."""
    if os.geteuid() != 0:
        pytest.skip("needs root: it makes network namespaces")
    topology = getattr(request.module, "TOPOLOGY", "SINGLE")
    options = getattr(request.module, "OPTIONS", {})
    compute = getattr(request.module, "COMPUTE", COMPUTE)
    made = Site(pathlib.Path(tmp_path_factory.mktemp("site")), topology, options, compute)
    try:
        made.up()
        yield made
    finally:
        made.down()


@pytest.fixture(scope="module")
def dual(site: Site) -> Iterator[Dual]:
    """The same with tenants' networks of both versions of IP."""
    made = Dual(site)
    try:
        made.build()
        yield made
    finally:
        made.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add to a failure what every process of the site wrote last, and what its threads are doing."""
    report = yield
    site = getattr(item, "funcargs", {}).get("site")
    if report.failed and isinstance(site, Site):
        report.sections += site.last_words()
    return report
