"""A whole Figlina per test module."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator

import pytest

from tests.integration.site import Site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Site]:
    """An instance of its own; a module chooses `TOPOLOGY` and `OPTIONS` by naming them."""
    if os.geteuid() != 0:
        pytest.skip("needs root: it makes network namespaces")
    topology = getattr(request.module, "TOPOLOGY", "SINGLE")
    options = getattr(request.module, "OPTIONS", {})
    made = Site(pathlib.Path(tmp_path_factory.mktemp("site")), topology, options)
    try:
        made.up()
        yield made
    finally:
        if request.session.testsfailed:
            _keep_logs(made)
        made.down()


def _keep_logs(site: Site) -> None:
    """Print the end of every log, so that a failure in continuous integration can be understood."""
    for name in ("api", "worker", "health_manager", "housekeeping"):
        print(f"--- {name}\n{site.log(name)[-6000:]}")
    for console in sorted(site.folder.glob("embedded/amphorae/*/console.log")):
        print(f"--- amphora {console.parent.name}\n{console.read_text(errors='replace')[-3000:]}")
