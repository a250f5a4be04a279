"""`openstack loadbalancer ...` of python-octaviaclient, unmodified, in its own process: what an operator types."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

from tests.functional.api.conftest import Api

pytestmark = pytest.mark.slow
_OPENSTACK = pathlib.Path(sys.executable).with_name("openstack")


class Shell:
    """Runs commands against one address, with no authentication and no other service than ours."""

    def __init__(self, address: str, home: pathlib.Path) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("OS_")}
        self._environment = kept | {"OS_AUTH_TYPE": "none", "OS_ENDPOINT": address, "HOME": str(home)}

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """The finished command."""
        command = [str(_OPENSTACK), "loadbalancer", *words]
        return subprocess.run(command, env=self._environment, capture_output=True, text=True, timeout=60, check=False)

    def __call__(self, *words: str) -> Any:
        """What a command that shows something shows."""
        done = self.run(*words, "-f", "json")
        assert done.returncode == 0, (words, done.stderr)
        return json.loads(done.stdout)

    def silently(self, *words: str) -> str:
        """A command that shows nothing, or that has one format only."""
        done = self.run(*words)
        assert done.returncode == 0, (words, done.stderr)
        return done.stdout


@pytest.fixture(scope="module")
def shell(served: tuple[Api, str], tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A shell of somebody who has only our address."""
    return Shell(served[1], tmp_path_factory.mktemp("home"))


def test_an_operator_builds_changes_and_removes_everything(served: tuple[Api, str], shell: Shell) -> None:
    api = served[0]
    subnet = api.network.subnet_id
    assert shell("create", "--name", "web", "--vip-subnet-id", subnet, "--tag", "blue")["provisioning_status"] == "PENDING_CREATE"
    assert [item["name"] for item in shell("list", "--tags", "blue")] == ["web"]
    shell.silently("set", "--description", "shop", "web")
    assert shell("show", "web")["description"] == "shop"
    assert json.loads(shell.silently("status", "show", "web"))["loadbalancer"]["name"] == "web"
    assert shell("stats", "show", "web")["total_connections"] == 0

    shell("listener", "create", "--name", "front", "--protocol", "HTTP", "--protocol-port", "80", "web")
    shell.silently("listener", "set", "--connection-limit", "50", "front")
    assert shell("listener", "show", "front")["connection_limit"] == 50
    shell.silently("listener", "unset", "--connection-limit", "front")
    assert shell("listener", "show", "front")["connection_limit"] == -1
    assert len(shell("listener", "list", "--loadbalancer", "web")) == 1
    assert shell("listener", "stats", "show", "front")["bytes_in"] == 0

    pool = shell("pool", "create", "--name", "back", "--protocol", "HTTP", "--lb-algorithm", "ROUND_ROBIN", "--listener", "front",
                 "--session-persistence", "type=APP_COOKIE,cookie_name=session")  # fmt: skip
    assert pool["session_persistence"]["cookie_name"] == "session"
    shell.silently("pool", "set", "--lb-algorithm", "LEAST_CONNECTIONS", "back")
    shell.silently("pool", "unset", "--session-persistence", "back")
    assert shell("pool", "show", "back")["session_persistence"] is None
    assert len(shell("pool", "list")) == 1

    shell("member", "create", "--name", "m-1", "--address", "10.0.0.1", "--protocol-port", "80", "--subnet-id", subnet, "back")
    shell.silently("member", "set", "--weight", "0", "back", "m-1")
    assert shell("member", "show", "back", "m-1")["weight"] == 0
    assert len(shell("member", "list", "back")) == 1

    shell("healthmonitor", "create", "--name", "probe", "--type", "HTTP", "--delay", "5", "--timeout", "3", "--max-retries", "2", "back")
    shell.silently("healthmonitor", "set", "--url-path", "/health", "probe")
    assert shell("healthmonitor", "show", "probe")["url_path"] == "/health"
    assert len(shell("healthmonitor", "list")) == 1

    api.settle()
    shell.silently("failover", "web")
    assert shell("show", "web")["provisioning_status"] == "PENDING_UPDATE"
    shell.silently("healthmonitor", "delete", "probe")
    shell.silently("member", "delete", "back", "m-1")
    shell.silently("pool", "delete", "back")
    shell.silently("listener", "delete", "front")
    shell.silently("delete", "--cascade", "web")
    api.settle()
    assert shell("list", "--name", "web") == []


def test_the_operator_reads_our_sentence(served: tuple[Api, str], shell: Shell) -> None:
    done = shell.run("listener", "show", "no-such-listener")
    assert done.returncode != 0
    assert "no-such-listener" in done.stderr
    done = shell.run("create", "--name", "x", "--vip-subnet-id", served[0].network.subnet_id, "--provider", "f5")
    assert done.returncode != 0
    assert "Provider 'f5' is not enabled." in done.stderr


def test_providers_and_amphorae_are_listed(shell: Shell) -> None:
    assert {item["name"] for item in shell("provider", "list")} == {"amphora", "octavia"}
    assert shell("amphora", "list") == []


def test_the_command_line_waits_until_the_work_is_done(served: tuple[Api, str], shell: Shell) -> None:
    api = served[0]
    created: dict[str, Any] = {}

    def create() -> None:
        created.update(shell("create", "--name", "waited-for", "--vip-subnet-id", api.network.subnet_id, "--wait"))

    waiting = threading.Thread(target=create)
    waiting.start()
    deadline = time.monotonic() + 30
    while not api.ok("GET", "/loadbalancers?name=waited-for")["loadbalancers"] and time.monotonic() < deadline:
        time.sleep(0.05)
    api.settle()
    waiting.join(30)
    assert created["provisioning_status"] == "ACTIVE"
