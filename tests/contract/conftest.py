"""The clouds that the contracts of network and compute drivers are tested on."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator

import pytest

from tests.contract import cloud as clouds
from tests.contract import embedded_cloud, fake_cloud
from tests.vm.conftest import image_folder  # noqa: F401  (a fixture)

CLOUDS = ["fake", pytest.param("embedded", marks=pytest.mark.integration)]


@pytest.fixture(params=CLOUDS)
def cloud(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Iterator[clouds.Cloud]:
    """Another cloud is another parameter."""
    if request.param != "fake" and os.geteuid() != 0:
        pytest.skip("needs root: it makes network namespaces")
    made: clouds.Cloud = fake_cloud.FakeCloud()
    if request.param == "embedded":
        made = embedded_cloud.EmbeddedCloud(tmp_path)
    elif request.param == "qemu":
        made = embedded_cloud.QemuCloud(tmp_path, request.getfixturevalue("image_folder") / "amphora.qcow2")
    try:
        yield made
    finally:
        made.close()
