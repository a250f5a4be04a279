"""`openstack loadbalancer ...` of python-octaviaclient, unmodified, over HTTP: every command that it has. (In this process: a hundred
starts of Python would take a minute.)
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import json
import logging
import os
import threading
import time
import uuid
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from openstackclient import shell as client
from osc_lib import clientmanager

from controller.db import rows, tables
from controller.embedded import networking
from tests.builders import PROJECT
from tests.functional.api.conftest import Api

pytestmark = pytest.mark.slow
COMMANDS = {entry.name.replace("_", " ") for entry in importlib.metadata.entry_points(group="openstack.load_balancer.v2")}


class Shell:
    """Runs commands against one address, with no authentication and no other service than ours; `typed` are those that succeeded."""

    def __init__(self, address: str = "", *, cloud: str = "") -> None:
        """Or a cloud of `clouds.yaml`, in whose catalogue we are."""
        self._options = ["--os-cloud", cloud] if cloud else ["--os-auth-type", "none", "--os-endpoint", address]
        self.typed: set[str] = set()

    def run(self, *words: str) -> tuple[int, str, str]:
        """The status, the output and the complaints of a command."""
        out, complaints = io.StringIO(), io.StringIO()
        with _left_alone(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(complaints):  # one command prints
            _forget_others()
            typed = client.OpenStackShell()
            typed.stdout, typed.stderr = out, complaints
            status = typed.run([*self._options, "loadbalancer", *words])
        if status == 0:
            self.typed |= {command for command in COMMANDS if f"loadbalancer {' '.join(words)} ".startswith(f"{command} ")}
        return int(status), out.getvalue(), complaints.getvalue()

    def __call__(self, *words: str) -> Any:
        """What a command that shows something shows."""
        return json.loads(self.silently(*words, "-f", "json"))

    def silently(self, *words: str) -> str:
        """A command that shows nothing, or that has one format only."""
        status, out, complaints = self.run(*words)
        assert status == 0, (words, complaints)
        return out


def _forget_others() -> None:
    """The client keeps its connections with its class, so that a process would go on asking the first address that it was given."""
    for kept in vars(clientmanager.ClientManager).values():
        if hasattr(kept, "_handle"):
            kept._handle = None


@contextlib.contextmanager
def _left_alone() -> Iterator[None]:
    """The client takes the process for its own."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    with warnings.catch_warnings():
        try:
            yield
        finally:
            root.handlers[:] = handlers
            root.setLevel(level)


@pytest.fixture(scope="module")
def shell(served: tuple[Api, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A shell of somebody who has only our address."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("OS_")]:
            patch.delenv(name)
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        yield Shell(served[1])


@pytest.fixture(scope="module")
def web(served: tuple[Api, str], shell: Shell) -> str:
    """A load balancer with a listener `front`, its pool `back` and a second pool `other`."""
    subnet = served[0].network.subnet_id
    made = shell("create", "--name", "web", "--vip-subnet-id", subnet, "--tag", "blue", "--tag", "new")
    assert made["provisioning_status"] == "PENDING_CREATE"
    shell("listener", "create", "--name", "front", "--protocol", "HTTP", "--protocol-port", "80", "web")
    pool = shell("pool", "create", "--name", "back", "--protocol", "HTTP", "--lb-algorithm", "ROUND_ROBIN", "--listener", "front",
                 "--session-persistence", "type=APP_COOKIE,cookie_name=session")  # fmt: skip
    assert pool["session_persistence"]["cookie_name"] == "session"
    shell("pool", "create", "--name", "other", "--protocol", "HTTP", "--lb-algorithm", "SOURCE_IP", "--loadbalancer", "web")
    return str(made["id"])


def test_load_balancers(served: tuple[Api, str], shell: Shell, web: str) -> None:
    assert [item["name"] for item in shell("list", "--tags", "blue")] == ["web"]
    assert [item["name"] for item in shell("list", "--any-tags", "blue,red")] == ["web"]
    assert shell("list", "--not-tags", "blue,new") == []
    shell.silently("set", "--description", "shop", "--tag", "green", "web")
    assert (shell("show", "web")["description"], shell("show", web)["tags"]) == ("shop", ["blue", "green", "new"])
    shell.silently("unset", "--description", "--tag", "green", "web")
    assert (shell("show", "web")["description"], shell("show", web)["tags"]) == ("", ["blue", "new"])
    assert json.loads(shell.silently("status", "show", "web"))["loadbalancer"]["name"] == "web"
    assert shell("stats", "show", "web")["total_connections"] == 0
    served[0].settle()
    shell.silently("failover", "web")
    assert shell("show", "web")["provisioning_status"] == "PENDING_UPDATE"
    served[0].settle()


def test_a_load_balancer_with_vips_on_two_subnets(served: tuple[Api, str], shell: Shell) -> None:
    network: Any = served[0].network  # the embedded one
    network_id = network.get_subnet(network.subnet_id).network_id
    values = {"name": "six", "network_id": network_id, "cidr": "2001:db8::/64", "project_id": PROJECT}
    six = network.tenants.create(networking.SUBNET, values)["id"]
    wanted = f"subnet-id={six},ip-address=2001:db8::5"
    made = shell("create", "--name", "dual", "--vip-subnet-id", network.subnet_id, "--additional-vip", wanted)
    shown = shell("show", "dual")["additional_vips"]
    assert all(word in str(shown) for word in (six, "2001:db8::5", made["vip_port_id"]))


def test_listeners(shell: Shell, web: str) -> None:
    shell.silently("listener", "set", "--connection-limit", "50", "--allowed-cidr", "10.0.0.0/8", "front")
    assert shell("listener", "show", "front")["connection_limit"] == 50
    shell.silently("listener", "unset", "--connection-limit", "--allowed-cidrs", "front")
    shown = shell("listener", "show", "front")
    assert (shown["connection_limit"], shown["allowed_cidrs"]) == (-1, None)
    assert [item["name"] for item in shell("listener", "list", "--loadbalancer", web)] == ["front"]
    assert shell("listener", "stats", "show", "front")["bytes_in"] == 0


def test_pools_and_their_members(served: tuple[Api, str], shell: Shell, web: str) -> None:
    shell.silently("pool", "set", "--lb-algorithm", "LEAST_CONNECTIONS", "back")
    shell.silently("pool", "unset", "--session-persistence", "back")
    assert shell("pool", "show", "back")["session_persistence"] is None
    assert {item["name"] for item in shell("pool", "list", "--loadbalancer", web)} == {"back", "other"}
    subnet = served[0].network.subnet_id
    shell("member", "create", "--name", "m-1", "--address", "10.0.0.1", "--protocol-port", "80", "--subnet-id", subnet, "back")
    shell.silently("member", "set", "--weight", "0", "--monitor-port", "81", "back", "m-1")
    assert shell("member", "show", "back", "m-1")["weight"] == 0
    shell.silently("member", "unset", "--weight", "--monitor-port", "back", "m-1")
    shown = shell("member", "show", "back", "m-1")
    assert (shown["weight"], shown["monitor_port"]) == (1, None)
    assert [item["name"] for item in shell("member", "list", "back")] == ["m-1"]
    shell.silently("member", "delete", "back", "m-1")


def test_health_monitors(shell: Shell, web: str) -> None:
    shell("healthmonitor", "create", "--name", "probe", "--type", "HTTP", "--delay", "5", "--timeout", "3", "--max-retries", "2", "other")
    shell.silently("healthmonitor", "set", "--url-path", "/health", "probe")
    assert shell("healthmonitor", "show", "probe")["url_path"] == "/health"
    shell.silently("healthmonitor", "unset", "--url-path", "probe")
    assert shell("healthmonitor", "show", "probe")["url_path"] == "/"
    assert [item["name"] for item in shell("healthmonitor", "list")] == ["probe"]
    shell.silently("healthmonitor", "delete", "probe")


def test_l7_policies_and_rules(shell: Shell, web: str) -> None:
    made = shell("l7policy", "create", "--name", "away", "--action", "REDIRECT_TO_URL", "--redirect-url", "http://example.org/", "front")
    assert (made["position"], made["redirect_http_code"]) == (1, 302)
    shell.silently("l7policy", "set", "--action", "REDIRECT_TO_POOL", "--redirect-pool", "other", "--description", "x", "away")
    shell.silently("l7policy", "unset", "--description", "away")
    shown = shell("l7policy", "show", "away")
    assert (shown["redirect_url"], shown["description"]) == (None, "")
    assert [item["name"] for item in shell("l7policy", "list", "--listener", "front")] == ["away"]
    wanted = ("--type", "HEADER", "--key", "X-Shop", "--compare-type", "EQUAL_TO", "--value", "old")
    rule = shell("l7rule", "create", *wanted, "--invert", "away")["id"]
    shell.silently("l7rule", "set", "--value", "new", "away", rule)
    shell.silently("l7rule", "unset", "--invert", "away", rule)
    shown = shell("l7rule", "show", "away", rule)
    assert (shown["value"], shown["invert"]) == ("new", False)
    assert [item["id"] for item in shell("l7rule", "list", "away")] == [rule]
    shell.silently("l7rule", "delete", "away", rule)
    shell.silently("l7policy", "delete", "away")


def test_flavors_and_availability_zones(shell: Shell) -> None:
    data = json.dumps({"loadbalancer_topology": "SINGLE"})
    for thing, option in (("flavor", "--flavor-data"), ("availabilityzone", "--availability-zone-data")):
        profile = f"{thing}profile"
        shell(profile, "create", "--name", "p-1", "--provider", "amphora", option, data if thing == "flavor" else "{}")
        shell.silently(profile, "set", "--name", "p-2", "p-1")
        assert shell(profile, "show", "p-2")["provider_name"] == "amphora"
        shell(thing, "create", "--name", "t-1", f"--{profile}", "p-2", "--description", "x")
        shell.silently(thing, "set", "--disable", "t-1")
        shell.silently(thing, "unset", "--description", "t-1")
        shown = shell(thing, "show", "t-1")
        assert (shown["enabled"], shown["description"]) == (False, "")
        assert [item["name"] for item in shell(thing, "list")] == ["t-1"]
        assert [item["name"] for item in shell(profile, "list")] == ["p-2"]
        shell.silently(thing, "delete", "t-1")
        shell.silently(profile, "delete", "p-2")


def test_quotas(shell: Shell) -> None:
    project = "non-uuid"  # the only project that the client does not ask the identity service for
    assert shell("quota", "defaults", "show")["load_balancer"] == -1
    assert shell("quota", "set", "--loadbalancer", "7", "--l7rule", "8", project)["load_balancer"] == 7
    shell.silently("quota", "unset", "--loadbalancer", project)
    shown = shell("quota", "show", project)
    assert (shown["load_balancer"], shown["l7rule"]) == (-1, 8)
    assert [item["project_id"] for item in shell("quota", "list")] == [project]
    shell.silently("quota", "reset", project)
    assert shell("quota", "show", project)["l7rule"] == -1


def test_providers(shell: Shell) -> None:
    assert {item["name"] for item in shell("provider", "list")} == {"amphora", "octavia"}
    described = shell("provider", "capability", "list", "amphora")
    assert {item["type"] for item in described} == {"flavor", "availability_zone"}


def test_amphorae(served: tuple[Api, str], shell: Shell, web: str) -> None:
    api = served[0]
    amphora, broken = str(uuid.uuid4()), str(uuid.uuid4())
    common = {"load_balancer_id": web, "created_at": rows.now(), "role": "STANDALONE"}
    api.write(sa.insert(tables.amphorae).values(id=amphora, status="ALLOCATED", **common))
    api.write(sa.insert(tables.amphorae).values(id=broken, status="ERROR", **common))
    listener = shell("listener", "show", "front")["id"]
    counted = {"load_balancer_id": web, "listener_id": listener, "bytes_in": 5}
    api.write(sa.insert(tables.listener_statistics).values(amphora_id=amphora, **counted))
    api.settle()
    assert {item["id"] for item in shell("amphora", "list", "--loadbalancer", "web")} == {amphora, broken}
    assert shell("amphora", "show", amphora)["status"] == "ALLOCATED"
    assert shell("amphora", "stats", "show", amphora)["bytes_in"] == 5
    shell.silently("amphora", "configure", amphora)
    shell.silently("amphora", "failover", amphora)
    api.settle()
    shell.silently("amphora", "delete", broken)
    api.write(sa.delete(tables.amphorae))


def test_the_command_line_waits_until_the_work_is_done(served: tuple[Api, str], shell: Shell) -> None:
    api = served[0]

    def work() -> None:
        deadline = time.monotonic() + 30
        while not api.ok("GET", "/loadbalancers?name=waited-for")["loadbalancers"] and time.monotonic() < deadline:
            time.sleep(0.02)
        api.settle()

    worker = threading.Thread(target=work)
    worker.start()
    created = shell("create", "--name", "waited-for", "--vip-subnet-id", api.network.subnet_id, "--wait")
    worker.join(30)
    assert created["provisioning_status"] == "ACTIVE"


def test_the_operator_reads_our_sentence(served: tuple[Api, str], shell: Shell) -> None:
    status, _out, complaints = shell.run("listener", "show", "no-such-listener")
    assert status != 0
    assert "no-such-listener" in complaints
    status, _out, complaints = shell.run("create", "--name", "x", "--vip-subnet-id", served[0].network.subnet_id, "--provider", "f5")
    assert status != 0
    assert "Provider 'f5' is not enabled." in complaints


def test_all_of_it_can_be_taken_down_again_and_no_command_was_left_out(served: tuple[Api, str], shell: Shell, web: str) -> None:
    shell.silently("pool", "delete", "back")
    shell.silently("listener", "delete", "front")
    shell.silently("delete", "--cascade", "web")
    served[0].settle()
    assert shell("list", "--name", "web") == []
    assert shell.typed == COMMANDS
