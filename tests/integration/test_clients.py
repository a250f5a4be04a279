"""The two clients against everything, in the embedded cloud."""

from __future__ import annotations

import os

import pytest
from openstack import connection

from tests.functional.api.test_clients_cli import Shell
from tests.integration.site import Site
from tests.walks import clients

pytestmark = [pytest.mark.integration]


@pytest.fixture
def shell(site: Site, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """The command line of somebody who has only the API's address."""
    for name in [name for name in os.environ if name.startswith("OS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(site.folder))
    return Shell(site.machine.settings.api_url)


def test_openstacksdk_makes_everything_in_one_call_and_waits_until_it_serves(site: Site) -> None:
    proxy = connection.Connection(auth_type="none", auth={"endpoint": site.machine.settings.api_url}).load_balancer
    clients.openstacksdk(proxy, site.place)


def test_the_command_line_waits_for_each_step(site: Site, shell: Shell) -> None:
    clients.command_line(shell, shell, site.place)
