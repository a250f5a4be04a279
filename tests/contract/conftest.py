"""The clouds that the contracts of network and compute drivers are tested on."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator

import pytest

from controller.drivers.amphora import fake
from controller.drivers.ca import fake as fake_ca
from tests.contract import agent_stand_in, embedded_cloud, fake_cloud, openstack_cloud
from tests.contract import cloud as clouds
from tests.vm.conftest import image_folder  # noqa: F401  (a fixture)

CLOUDS = ["fake", pytest.param("embedded", marks=pytest.mark.integration)]
OPENSTACKS = ["simulated", pytest.param("openstack", marks=[pytest.mark.cloud, pytest.mark.timeout(900)])]


@pytest.fixture(params=CLOUDS)
def cloud(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Iterator[clouds.Cloud]:
    """Another cloud is another parameter."""
    made = _made(request, tmp_path)
    try:
        yield made
    finally:
        made.close()


def _made(request: pytest.FixtureRequest, folder: pathlib.Path) -> clouds.Cloud:
    match request.param:
        case "fake":
            return fake_cloud.FakeCloud()
        case "simulated":
            return openstack_cloud.Simulated()
        case "openstack" if (reason := openstack_cloud.why_not()) is not None:
            pytest.skip(reason)
        case "openstack":
            return openstack_cloud.Real()
    if os.geteuid() != 0:
        pytest.skip("needs root: it makes network namespaces")
    if request.param == "qemu":
        return embedded_cloud.QemuCloud(folder, request.getfixturevalue("image_folder") / "amphora.qcow2")
    return embedded_cloud.EmbeddedCloud(folder)


@pytest.fixture
def authority() -> fake_ca.FakeCertificateAuthority:
    """Who signs what the agent and its controller show."""
    return fake_ca.FakeCertificateAuthority()


@pytest.fixture
def agent(authority: fake_ca.FakeCertificateAuthority, tmp_path: pathlib.Path) -> Iterator[agent_stand_in.AgentStandIn]:
    """One that answers as an amphora's does, on this machine."""
    stand_in = agent_stand_in.AgentStandIn(authority, agent_stand_in.an_amphora_here(), fake.FakeAmphora(), tmp_path)
    stand_in.start()
    yield stand_in
    stand_in.stop()
