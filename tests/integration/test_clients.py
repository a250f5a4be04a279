"""The two clients against everything: what they wait for is what a person would wait for."""

from __future__ import annotations

import os

import pytest
from openstack import connection

from tests.functional.api.test_clients_cli import Shell
from tests.integration.site import Site

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]


@pytest.fixture
def shell(site: Site, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """The command line of somebody who has only the API's address."""
    for name in [name for name in os.environ if name.startswith("OS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(site.folder))
    return Shell(site.machine.settings.api_url)


def test_openstacksdk_makes_everything_in_one_call_and_waits_until_it_serves(site: Site) -> None:
    proxy = connection.Connection(auth_type="none", auth={"endpoint": site.machine.settings.api_url}).load_balancer
    pool = {
        "name": "back", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN",
        "members": [{"address": site.web["web-1"], "protocol_port": 80}],
        "healthmonitor": {"type": "HTTP", "delay": 1, "timeout": 1, "max_retries": 1},
    }  # fmt: skip
    rule = {"type": "PATH", "compare_type": "STARTS_WITH", "value": "/gone"}
    listener = {"protocol": "HTTP", "protocol_port": 80, "default_pool": pool, "l7policies": [{"action": "REJECT", "rules": [rule]}]}
    made = proxy.create_load_balancer(name="sdk", vip_subnet_id=site.subnet_id, listeners=[listener])
    proxy.wait_for_load_balancer(made.id, interval=0.2, wait=60)
    assert site.fetch(made.vip_address) == "web-1"
    assert site.fetch(made.vip_address, path="/gone") != "web-1"
    other = proxy.create_member(made.pools[0]["id"], address=site.web["web-2"], protocol_port=80)
    proxy.wait_for_status(other, "ACTIVE", attribute="provisioning_status", interval=0.2, wait=60)
    assert {site.fetch(made.vip_address) for _ in range(20)} == {"web-1", "web-2"}
    proxy.delete_load_balancer(made.id, cascade=True)
    proxy.wait_for_delete(made, interval=0.2, wait=60)


def test_the_command_line_waits_for_each_step(site: Site, shell: Shell) -> None:
    made = shell("create", "--name", "cli", "--vip-subnet-id", site.subnet_id, "--wait")
    assert made["provisioning_status"] == "ACTIVE"
    shell("listener", "create", "--name", "front", "--protocol", "HTTP", "--protocol-port", "80", "--wait", "cli")
    shell("pool", "create", "--name", "back", "--protocol", "HTTP", "--lb-algorithm", "ROUND_ROBIN", "--listener", "front", "--wait")
    shell("member", "create", "--address", site.web["web-2"], "--protocol-port", "80", "--wait", "back")
    assert site.fetch(made["vip_address"]) == "web-2"
    [before] = [one["id"] for one in shell("amphora", "list", "--loadbalancer", "cli")]
    shell.silently("failover", "--wait", "cli")
    [after] = [one["id"] for one in shell("amphora", "list", "--loadbalancer", "cli", "--status", "ALLOCATED")]
    assert before != after
    assert site.fetch(made["vip_address"]) == "web-2"
    shell.silently("delete", "--cascade", "--wait", "cli")
    assert shell("list", "--name", "cli") == []
