"""`figlina dev`: up, down and what comes between, with stand-ins for the four processes; the real ones have tests of their own."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator

import pytest

from controller.dev import instance, settings
from controller.drivers.compute import interface
from controller.embedded import bridge, linux, namespace
from tests.functional import mariadb, postgresql
from tests.ports import free_port

pytestmark = [pytest.mark.integration, pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it makes network namespaces")]

MODULES = dict.fromkeys(settings.CONTROLLER_PROCESSES, "tests.integration.stand_in_process") | {"api": "tests.integration.stand_in_api"}
CHECKOUT = pathlib.Path(__file__).parents[2]


def eventually(condition: Callable[[], bool], within: float = 60.0) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


@pytest.fixture
def dev(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[instance.Instance]:
    monkeypatch.setenv("PYTHONPATH", str(CHECKOUT))
    chosen = settings.Settings(prefix=f"figlina-t{os.getpid()}-{uuid.uuid4().hex[:6]}", api_port=free_port())
    made = instance.Instance(tmp_path / "state", chosen, modules=MODULES)
    try:
        yield made
    finally:
        made.down()


def figlina(dev: instance.Instance, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "controller.cmd.figlina", "dev", "--state", str(dev.state), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def boot(dev: instance.Instance, amphora_id: str = "aaaaaaaa-0000-4000-8000-000000000001") -> interface.Instance:
    """A machine as a worker would make it, with an agent that only sleeps."""
    agent = dev.state.parent / "agent"
    agent.write_text("#!/bin/sh\nexec sleep 600\n")
    agent.chmod(0o755)
    compute = namespace.NamespaceCompute(
        state_path=dev.state / "embedded", namespace_prefix=dev.settings.prefix, agent_command=[str(agent)]
    )
    ports = [dev.network.ensure_management_port(amphora_id)]
    return compute.boot(interface.BootRequest(amphora_id=amphora_id, name="amphora", files={}, ports=ports))


def test_up_brings_everything_up_and_down_leaves_nothing(dev: instance.Instance) -> None:
    dev.up()
    status = dev.status()
    assert all(len(status["processes"][name]) >= 1 for name in settings.PROCESSES)
    marks = [linux.ProcessMark.of(pid) for pids in status["processes"].values() for pid in pids]
    machine = boot(dev)
    eventually(lambda: len(dev.compute.pids(machine.amphora_id)) >= 3)
    marks += [linux.ProcessMark.of(pid) for pid in dev.compute.pids(machine.amphora_id)]
    dev.down()
    assert not any(mark and mark.alive for mark in marks)
    assert linux.namespaces(dev.settings.prefix) == []
    assert not dev.state.exists()
    dev.down()


NESTED_AGENT = """\
#!/bin/sh
ip netns add haproxy
while ! ip link set eth1 netns haproxy 2>/dev/null; do sleep 0.1; done
exec ip netns exec haproxy sleep 600
"""


@pytest.mark.slow
def test_down_removes_forty_machines_whose_networks_die_with_them(dev: instance.Instance) -> None:
    """The kernel takes an inner namespace, and with it one end of a cable, away while we take the other: four rounds of forty."""
    agent = dev.state.parent / "agent"
    agent.write_text(NESTED_AGENT)
    agent.chmod(0o755)
    compute = namespace.NamespaceCompute(
        state_path=dev.state / "embedded", namespace_prefix=dev.settings.prefix, agent_command=[str(agent)]
    )
    for _ in range(4):
        life = instance.Instance(dev.state, dev.settings, modules=MODULES)
        life.network.install()
        private = life.network.network_named(bridge.TENANT_NETWORK)
        for number in range(40):
            amphora_id = str(uuid.uuid4())
            ports = [life.network.ensure_management_port(amphora_id)]
            ports.append(life.network.create_port(f"inner-{number}-{amphora_id}", private.id, private.subnet_ids[0]))
            compute.boot(interface.BootRequest(amphora_id=amphora_id, name="amphora", files={}, ports=ports))
        life.down()
        assert linux.namespaces(dev.settings.prefix) == []
        assert not dev.state.exists()


def test_what_can_not_be_removed_keeps_nothing_else_and_is_told(dev: instance.Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    dev.up()
    machines = [boot(dev, f"aaaaaaaa-0000-4000-8000-00000000000{number}").amphora_id for number in range(1, 4)]
    delete = dev.compute.delete

    def resist(amphora_id: str) -> None:
        if amphora_id == machines[1]:
            raise linux.CommandFailed(["ip"], "RTNETLINK answers: Device or resource busy")
        delete(amphora_id)

    monkeypatch.setattr(dev.compute, "delete", resist)
    with pytest.raises(instance.DevError, match=f"repeat the command:\nmachine {machines[1]}: .*busy"):
        dev.down()
    assert [machine.amphora_id for machine in dev.compute.list_ours()] == [machines[1]]
    monkeypatch.setattr(dev.compute, "delete", delete)
    dev.down()
    assert linux.namespaces(dev.settings.prefix) == []


def test_status_is_what_scripts_rely_on(dev: instance.Instance) -> None:
    dev.up()
    machine = boot(dev)
    done = figlina(dev, "status", "--json")
    assert done.returncode == 0, done.stderr
    status = json.loads(done.stdout)
    networks = {"network_id", "subnet_id", "public_network_id", "client_namespace", "outside_namespace"}
    assert set(status) == {"api", "network_api", *networks, "web", "processes", "datagrams", "amphorae"}
    assert status["api"] == f"http://127.0.0.1:{dev.settings.api_port}"
    assert set(status["web"]) == {"web-1", "web-2", "web-3", "web-4"}
    assert set(status["web"]["web-1"]) == {"address", "http", "https"}
    assert set(status["processes"]) == {"api", "worker", "health_manager", "housekeeping"}
    (amphora,) = status["amphorae"]
    assert set(amphora) == {"id", "load_balancer_id", "role", "namespace", "pids", "datagrams"}
    assert amphora["id"] == machine.amphora_id
    assert (status["datagrams"], amphora["datagrams"]) == ("nftables", None)
    assert linux.namespace_exists(amphora["namespace"])
    assert linux.namespace_exists(status["client_namespace"])
    assert linux.namespace_exists(status["outside_namespace"])
    shown = figlina(dev, "status")
    assert shown.returncode == 0
    assert "UDP and SCTP" in shown.stdout
    assert "by nftables" in shown.stdout


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mariadb", "postgresql"])
def test_an_instance_lives_on_another_database(
    dev: instance.Instance, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Up, a row of an amphora in its status, a status while the database is away, and down; with the real processes."""
    with {"mariadb": mariadb, "postgresql": postgresql}[kind].server() as server:
        options = {"database.connection": server % {"mariadb": "test", "postgresql": "postgres"}[kind]}
        made = instance.Instance(dev.state, dataclasses.replace(dev.settings, options=options))
        made.up()
        machine = boot(made)
        assert [(one["id"], one["load_balancer_id"]) for one in made.status()["amphorae"]] == [(machine.amphora_id, None)]
        assert "can't be asked" not in figlina(dev, "status").stderr
        assert not (dev.state / "figlina.db").exists()
    done = figlina(dev, "status")
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)
    assert "can't be asked which amphora is whose" in done.stderr
    assert machine.amphora_id in done.stdout
    assert figlina(dev, "down").returncode == 0
    assert linux.namespaces(dev.settings.prefix) == []


def test_the_client_reaches_every_web_server_over_http_and_https(dev: instance.Instance) -> None:
    dev.up()
    for name, web in dev.status()["web"].items():
        for url in (web["http"], web["https"]):
            done = figlina(dev, "exec", "client", "--", "curl", "--silent", "--insecure", "--max-time", "20", url)
            assert done.stdout == f"{name}\n"
        code = ["--output", "/dev/null", "--write-out", "%{http_code}"]
        done = figlina(dev, "exec", "client", "--", "curl", "--silent", "--max-time", "20", *code, web["http"] + "health")
        assert done.stdout == "200"


def test_up_again_touches_nothing_that_runs(dev: instance.Instance) -> None:
    dev.up()
    before = dev.status()
    machine = boot(dev)
    dev.up()
    after = dev.status()
    assert after["processes"] == before["processes"]
    assert [amphora["id"] for amphora in after["amphorae"]] == [machine.amphora_id]
    assert after["amphorae"][0]["pids"]


def test_up_with_other_options_restarts_what_reads_them_and_nothing_else(dev: instance.Instance) -> None:
    dev.up()
    before, web = dev.status()["processes"], dev.processes.pids("web-1")
    changed = instance.choose(dev.state, {"topology": "ACTIVE_STANDBY", "options": {"api_settings.threads": "3"}})
    instance.Instance(dev.state, changed.settings, modules=MODULES).up()
    after = dev.status()["processes"]
    assert all(after[name] and not set(after[name]) & set(before[name]) for name in settings.PROCESSES)
    assert dev.processes.pids("web-1") == web
    written = (dev.state / "figlina.conf").read_text()
    assert "loadbalancer_topology = ACTIVE_STANDBY" in written
    assert "threads = 3" in written


@pytest.mark.parametrize("name", [*settings.PROCESSES, "web-1"])
def test_a_killed_process_stays_dead_until_it_is_restarted(dev: instance.Instance, name: str) -> None:
    dev.up()
    (pid,) = dev.processes.pids(name)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: dev.processes.pids(name) == [])
    dev.restart(name)
    (new,) = dev.processes.pids(name)
    assert new != pid


def test_stop_and_start_of_a_web_server(dev: instance.Instance) -> None:
    dev.up()
    dev.stop("web-2")
    assert dev.processes.pids("web-2") == []
    assert dev.start("web-2")
    assert not dev.start("web-2")


def test_down_works_when_records_and_state_are_lost(dev: instance.Instance) -> None:
    dev.up()
    machine = boot(dev)
    marks = [linux.ProcessMark.of(pid) for pid in (*dev.processes.pids("api"), *dev.compute.pids(machine.amphora_id))]
    assert len(marks) >= 2
    shutil.rmtree(dev.state)
    dev.down()
    assert linux.namespaces(dev.settings.prefix) == []
    assert not any(mark and mark.alive for mark in marks)


def test_another_folder_does_not_take_names_that_are_in_use(dev: instance.Instance, tmp_path: pathlib.Path) -> None:
    dev.up()
    other = instance.Instance(tmp_path / "other", dev.settings, modules=MODULES)
    with pytest.raises(instance.DevError, match="--prefix"):
        other.up()
    other.down()
    assert dev.status()["processes"]["api"]


def test_an_api_port_in_use_is_refused_before_anything_is_made(dev: instance.Instance) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", dev.settings.api_port))
        other.listen()
        with pytest.raises(instance.DevError, match="--api-port"):
            dev.up()
    assert linux.namespaces(dev.settings.prefix) == []


def test_an_api_that_runs_does_not_move_to_a_port_in_use(dev: instance.Instance) -> None:
    dev.up()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        done = figlina(dev, "up", "--api-port", str(other.getsockname()[1]))
    assert (done.returncode, "is in use" in done.stderr) == (1, True)
    assert dev.api_answers()


def test_names_that_a_lost_instance_left_are_taken_over(dev: instance.Instance, tmp_path: pathlib.Path) -> None:
    dev.up()
    shutil.rmtree(dev.state)
    heir = instance.Instance(tmp_path / "heir", dev.settings, modules=MODULES)
    heir.up()
    assert heir.status()["processes"]["api"]
    heir.down()
    assert linux.namespaces(dev.settings.prefix) == []


def test_two_instances_live_side_by_side_with_the_same_addresses(dev: instance.Instance, tmp_path: pathlib.Path) -> None:
    dev.up()
    second = settings.Settings(prefix=dev.settings.prefix + "-b", api_port=free_port())
    other = instance.Instance(tmp_path / "other", second, modules=MODULES)
    try:
        other.up()
        assert other.status()["web"] == dev.status()["web"]
    finally:
        other.down()
    assert all(dev.status()["processes"].values())
    assert linux.namespace_exists(dev.settings.namespace("client"))


def test_an_api_that_dies_at_once_is_told_with_its_last_words(dev: instance.Instance) -> None:
    broken = instance.Instance(dev.state, dev.settings, modules={**MODULES, "api": "there.is.no.such.module"})
    with pytest.raises(instance.DevError, match="No module named"):
        broken.up()


def test_the_machines_own_network_is_not_touched(dev: instance.Instance) -> None:
    def own() -> list[str]:
        host = linux.Host()
        return [
            host.run(["ip", "-brief", "address"]),
            host.run(["ip", "route", "show", "table", "all"]),
            host.run(["nft", "--stateless", "list", "ruleset"]),  # the counters of others go on meanwhile
        ]

    before = own()
    dev.up()
    boot(dev)
    assert own() == before


def test_exec_reaches_the_inside_of_an_amphora_and_names_what_there_is(dev: instance.Instance) -> None:
    dev.up()
    machine = boot(dev)
    eventually(lambda: len(dev.compute.pids(machine.amphora_id)) >= 3)
    done = figlina(dev, "exec", machine.amphora_id, "--", "cat", "/proc/sys/kernel/hostname")
    assert done.stdout == "amphora\n"
    for nobody in ("nobody", "../web", "amphora\n"):
        assert "figlina dev: there is no machine" in figlina(dev, "exec", nobody, "--", "true").stderr
    assert figlina(dev, "exec", "client", "--", "sh", "-c", "exit 7").returncode == 7


def test_the_api_listens_on_the_loopback_of_the_machine(dev: instance.Instance) -> None:
    dev.up()
    with urllib.request.urlopen(dev.settings.api_url, timeout=10) as answer:
        assert answer.status == 200


def test_a_command_without_an_instance_says_what_to_do(tmp_path: pathlib.Path) -> None:
    state = ["--state", str(tmp_path / "none")]
    for words in ([*state, "status"], ["status", *state]):  # where the folder is named makes no difference
        command = [sys.executable, "-m", "controller.cmd.figlina", "dev", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 1
        assert f"nothing is up in {tmp_path / 'none'}: figlina dev up" in done.stderr


def test_the_configured_controller_address_is_on_the_management_network(dev: instance.Instance) -> None:
    dev.up()
    shown = linux.Host().run(["ip", "-n", dev.settings.namespace("controller"), "-brief", "address"])
    assert dev.settings.controller_address in shown
    assert dev.network.network_named(bridge.MANAGEMENT_NETWORK).id


def test_up_refuses_a_folder_of_somebody_else(tmp_path: pathlib.Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(instance.DevError, match="not empty"):
        instance.Instance(tmp_path, settings.Settings(prefix="figlina-tf"), modules=MODULES).up()
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_down_leaves_files_that_are_not_ours(dev: instance.Instance) -> None:
    dev.up()
    (dev.state / "notes.txt").write_text("mine")
    dev.down()
    assert [path.name for path in dev.state.iterdir()] == ["notes.txt"]
    (dev.state / "notes.txt").unlink()
