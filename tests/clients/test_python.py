"""openstacksdk and the calls below `openstack loadbalancer`, unmodified: all that they show of each resource is what the API said."""

from __future__ import annotations

from typing import Any

import pytest
from openstack import connection

from tests.clients.conftest import Cloud
from tests.clients.days import PATHS, Client, Day
from tests.clients.python import OctaviaClient, Sdk
from tests.clients.shapes import Stage

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]  # the first run installs Keystone, maybe on a busy machine


@pytest.fixture(scope="module")
def connected(cloud: Cloud) -> connection.Connection:
    given = {name: value for name, value in cloud.environment().items() if name.startswith("OS_")}
    words: dict[str, Any] = {name.removeprefix("OS_").lower(): value for name, value in given.items()}
    return connection.Connection(**words)


@pytest.mark.parametrize("full", [False, True], ids=["with what is required", "with all that it can say"])
@pytest.mark.parametrize("name", ["openstacksdk", "python-octaviaclient"])
def test_a_day_of_a_python_client(cloud: Cloud, connected: connection.Connection, name: str, full: bool) -> None:
    client: Client = Sdk(connected) if name == "openstacksdk" else OctaviaClient(connected, cloud.recorder.url)
    cloud.recorder.forget()
    day = Day(client, cloud.recorder, cloud.subnet_id, cloud.site.web["web-1"])
    day.live(full)
    assert not day.faults, "\n".join(day.faults)
    assert day.seen == {(noun, stage) for noun in PATHS for stage in Stage}
