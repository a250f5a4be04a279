"""The user's guide of LBaaS v2 in the embedded cloud; then the commands that it leaves out."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.site import Site
from tests.neutron_command import Neutron
from tests.walks import guide

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]  # the first run installs the old client, maybe on a busy machine


@pytest.fixture(scope="module")
def walk(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[guide.Walk]:
    """With the address that `figlina dev status` names."""
    address = site.machine.status()["network_api"]
    hurried = Neutron(address, tmp_path_factory.mktemp("home"), hurry=True)
    yield guide.Walk(site.place, Neutron(address, tmp_path_factory.mktemp("home")), hurried, operator=hurried)
    hurried.close()


def test_every_command_of_the_guide_does_in_order_what_it_says(walk: guide.Walk) -> None:
    walk.every_command_of_the_guide()


def test_the_other_commands_of_lbaas_v2_work_too(walk: guide.Walk) -> None:
    walk.the_other_commands()
