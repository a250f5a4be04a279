"""openstacksdk and `openstack loadbalancer` against everything: what they wait for is what a person would wait for."""

from __future__ import annotations

from typing import Any

from tests.functional.api.test_clients_cli import Shell
from tests.walks.place import Place


def openstacksdk(proxy: Any, place: Place) -> None:
    """Make everything in one call, and wait until it serves."""
    pool = {
        "name": "back", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN",
        "members": [{"address": place.web["web-1"], "protocol_port": 80}],
        "healthmonitor": {"type": "HTTP", "delay": 1, "timeout": 1, "max_retries": 1},
    }  # fmt: skip
    rule = {"type": "PATH", "compare_type": "STARTS_WITH", "value": "/gone"}
    listener = {"protocol": "HTTP", "protocol_port": 80, "default_pool": pool, "l7policies": [{"action": "REJECT", "rules": [rule]}]}
    made = proxy.create_load_balancer(name="sdk", vip_subnet_id=place.subnet_id, listeners=[listener])
    proxy.wait_for_load_balancer(made.id, interval=0.2, wait=place.patience)
    assert place.fetch(made.vip_address) == "web-1"
    assert place.fetch(made.vip_address, "/gone") != "web-1"
    other = proxy.create_member(made.pools[0]["id"], address=place.web["web-2"], protocol_port=80)
    proxy.wait_for_status(other, "ACTIVE", attribute="provisioning_status", interval=0.2, wait=place.patience)
    assert {place.fetch(made.vip_address) for _ in range(20)} == {"web-1", "web-2"}
    proxy.delete_load_balancer(made.id, cascade=True)
    proxy.wait_for_delete(made, interval=0.2, wait=place.patience)


def command_line(shell: Shell, operator: Shell, place: Place) -> None:
    """Wait for each step. Amphorae and failovers are for operators."""
    made = shell("create", "--name", "cli", "--vip-subnet-id", place.subnet_id, "--wait")
    assert made["provisioning_status"] == "ACTIVE"
    shell("listener", "create", "--name", "front", "--protocol", "HTTP", "--protocol-port", "80", "--wait", "cli")
    shell("pool", "create", "--name", "back", "--protocol", "HTTP", "--lb-algorithm", "ROUND_ROBIN", "--listener", "front", "--wait")
    shell("member", "create", "--address", place.web["web-2"], "--protocol-port", "80", "--wait", "back")
    assert place.fetch(made["vip_address"]) == "web-2"
    [before] = [one["id"] for one in operator("amphora", "list", "--loadbalancer", made["id"])]
    operator.silently("failover", "--wait", made["id"])
    [after] = [one["id"] for one in operator("amphora", "list", "--loadbalancer", made["id"], "--status", "ALLOCATED")]
    assert before != after
    assert place.fetch(made["vip_address"]) == "web-2"
    shell.silently("delete", "--cascade", "--wait", "cli")
    assert shell("list", "--name", "cli") == []
