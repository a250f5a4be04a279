"""The clouds that the contracts of network and compute drivers are tested on."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator

import pytest

from tests.contract import cloud as clouds
from tests.contract import embedded_cloud, fake_cloud


@pytest.fixture(params=["fake", pytest.param("embedded", marks=pytest.mark.integration)])
def cloud(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Iterator[clouds.Cloud]:
    """Another cloud is another parameter."""
    if request.param == "embedded" and os.geteuid() != 0:
        pytest.skip("needs root: it makes network namespaces")
    made = embedded_cloud.EmbeddedCloud(tmp_path) if request.param == "embedded" else fake_cloud.FakeCloud()
    try:
        yield made
    finally:
        made.close()
