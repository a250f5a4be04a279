"""Machines made of namespaces: what a boot leaves when its maker dies, how a machine dies, and what is left of it."""

from __future__ import annotations

import contextlib
import itertools
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence

import pytest

from controller import exceptions
from controller.drivers.compute import interface
from controller.embedded import bridge, linux, namespace
from controller.model.network import Port

pytestmark = [pytest.mark.integration, pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it makes network namespaces")]

AGENT = """\
#!/bin/sh
echo $$ >> "$4/starts"
readlink /proc/self/ns/net > "$4/net"
ls /run > "$4/run"
cat /proc/sys/kernel/hostname > "$4/hostname"
ip netns add haproxy
sleep 600 &
exec sleep 601
"""


class Machines:
    """A compute driver on a network of its own."""

    def __init__(self, state: pathlib.Path, prefix: str) -> None:
        self.state = state
        self.prefix = prefix
        agent = state / "agent"
        agent.write_text(AGENT)
        agent.chmod(0o755)
        self.network = bridge.BridgeNetwork(
            state_path=state, namespace_prefix=prefix, management_cidr="198.19.0.0/20", private_cidr="198.19.64.0/20"
        )
        self.network.install()
        self.compute = self.driver(linux.Host())

    def driver(self, host: linux.Host) -> namespace.NamespaceCompute:
        return namespace.NamespaceCompute(
            state_path=self.state, namespace_prefix=self.prefix, agent_command=[str(self.state / "agent")], host=host
        )

    def request(self, amphora_id: str) -> interface.BootRequest:
        return interface.BootRequest(
            amphora_id=amphora_id,
            name=f"amphora-{amphora_id}",
            files={"/etc/figlina/agent.json": b"{}", "/etc/figlina/certs/server.pem": b"secret"},
            ports=[self.network.ensure_management_port(amphora_id), self.network.ensure_member_port(amphora_id, self.private, [])],
        )

    @property
    def private(self) -> str:
        return self.network.network_named("private").id

    def folder(self, amphora_id: str) -> pathlib.Path:
        return self.state / "amphorae" / amphora_id

    def close(self) -> None:
        for machine in self.compute.list_ours():
            self.compute.delete(machine.amphora_id)
        self.network.remove()


@pytest.fixture
def machines(tmp_path: pathlib.Path) -> Iterator[Machines]:
    made = Machines(tmp_path, f"figlina-t{os.getpid()}-{uuid.uuid4().hex[:6]}")
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def amphora_id() -> str:
    return str(uuid.uuid4())


def eventually(condition: Callable[[], bool], within: float = 60.0) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def started(machines: Machines, amphora_id: str, times: int = 1) -> bool:
    path = machines.folder(amphora_id) / "state" / "starts"
    return path.exists() and len(path.read_text().split()) >= times


def test_the_agent_runs_in_namespaces_of_its_own_with_its_files(machines: Machines, amphora_id: str) -> None:
    machines.compute.boot(machines.request(amphora_id))
    inside = machines.folder(amphora_id) / "state"
    eventually(lambda: (inside / "hostname").exists() and (inside / "hostname").read_text() != "")
    assert (inside / "hostname").read_text().strip() == f"amphora-{amphora_id}"
    assert set((inside / "run").read_text().split()) <= {"netns", "mount"}  # nothing of the host's
    assert (inside / "net").read_text().strip() != os.readlink("/proc/self/ns/net")
    files = machines.folder(amphora_id) / "files/etc/figlina"
    assert (files / "certs/server.pem").read_bytes() == b"secret"
    assert (files / "certs/server.pem").stat().st_mode & 0o077 == 0


def test_namespaces_that_the_agent_makes_stay_inside(machines: Machines, amphora_id: str) -> None:
    before = set(linux.namespaces("haproxy"))
    machines.compute.boot(machines.request(amphora_id))
    eventually(lambda: len(machines.compute.pids(amphora_id)) >= 4)
    assert set(linux.namespaces("haproxy")) == before


def test_each_port_is_an_interface_with_its_mac(machines: Machines, amphora_id: str) -> None:
    request = machines.request(amphora_id)
    machines.compute.boot(request)
    links = linux.Host().run(["ip", "-n", machines.compute.namespace_of(amphora_id), "-brief", "link", "show"])
    rows = {line.split()[0].partition("@")[0]: line.split()[2] for line in links.splitlines()}
    assert rows["eth0"] == request.ports[0].mac_address
    assert rows["eth1"] == request.ports[1].mac_address


def test_an_agent_that_dies_is_started_again(machines: Machines, amphora_id: str) -> None:
    machines.compute.boot(machines.request(amphora_id))
    eventually(lambda: len(machines.compute.pids(amphora_id)) >= 4)
    os.kill(machines.compute.pids(amphora_id)[2], signal.SIGKILL)
    eventually(lambda: started(machines, amphora_id, times=2))
    assert machines.compute.get(amphora_id).status == interface.InstanceStatus.ACTIVE


@pytest.mark.parametrize("victim", [0, 1], ids=["outermost process", "process 1"])
def test_killing_one_of_the_two_first_processes_is_the_death_of_the_machine(machines: Machines, amphora_id: str, victim: int) -> None:
    request = machines.request(amphora_id)
    machines.compute.boot(request)
    eventually(lambda: len(machines.compute.pids(amphora_id)) >= 4)
    marks = [linux.ProcessMark.of(pid) for pid in machines.compute.pids(amphora_id)]
    os.kill(machines.compute.pids(amphora_id)[victim], signal.SIGKILL)
    eventually(lambda: not any(mark and mark.alive for mark in marks))
    assert machines.compute.get(amphora_id).status == interface.InstanceStatus.SHUTOFF
    assert machines.compute.pids(amphora_id) == []
    assert machines.compute.boot(request).status == interface.InstanceStatus.SHUTOFF  # a dead machine is found, not made anew
    machines.compute.delete(amphora_id)
    assert not machines.folder(amphora_id).exists()


def test_a_machine_that_talks_for_ever_does_not_fill_the_disk(machines: Machines, amphora_id: str) -> None:
    (machines.state / "agent").write_text("#!/bin/sh\nyes a line of thirty-one characters\n")
    machines.compute.boot(machines.request(amphora_id))
    now, before = (machines.folder(amphora_id) / name for name in ("console.log", "console.log.1"))
    seen = set()

    def began_anew() -> bool:
        with contextlib.suppress(FileNotFoundError):  # one becomes the other while it is looked at
            assert sum(path.stat().st_size for path in (before, now)) <= 2**20
            seen.add(before.stat().st_mtime_ns)
        return len(seen) >= 3

    eventually(began_anew, 60.0)
    assert b"a line of thirty-one characters\n" in before.read_bytes()


def test_what_a_machine_said_last_can_be_read_when_it_is_dead_and_nobody_waits_for_more(machines: Machines, amphora_id: str) -> None:
    (machines.state / "agent").write_text("#!/bin/sh\necho its last words\nexec sleep 600\n")
    machines.compute.boot(machines.request(amphora_id))
    console = machines.folder(amphora_id) / "console.log"
    eventually(lambda: b"its last words" in console.read_bytes())
    readers = [one for one in _processes() if str(machines.folder(amphora_id)) == one[1]]
    os.kill(machines.compute.pids(amphora_id)[0], signal.SIGKILL)
    eventually(lambda: not any(pathlib.Path(f"/proc/{pid}").exists() for pid, _ in readers))
    assert len(readers) >= 3
    assert b"its last words" in console.read_bytes()


def _processes() -> list[tuple[str, str]]:
    """Ids of processes, and their working directories."""
    found = []
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            found.append((folder.name, str((folder / "cwd").readlink())))
    return found


def test_deleting_leaves_no_process_interface_namespace_or_file(machines: Machines, amphora_id: str) -> None:
    machines.compute.boot(machines.request(amphora_id))
    eventually(lambda: len(machines.compute.pids(amphora_id)) >= 4)
    marks = [linux.ProcessMark.of(pid) for pid in machines.compute.pids(amphora_id)]
    machines.compute.delete(amphora_id)
    assert not any(mark and mark.alive for mark in marks)
    assert linux.namespaces(f"{machines.prefix}-amp-") == []
    assert "tap" not in linux.Host().run(["ip", "-n", machines.network.namespace, "-brief", "link", "show"])
    assert list((machines.state / "amphorae").iterdir()) == []


def test_a_machine_whose_folder_was_removed_is_found_and_deleted_all_the_same(machines: Machines, amphora_id: str) -> None:
    machines.compute.boot(machines.request(amphora_id))
    eventually(lambda: len(machines.compute.pids(amphora_id)) >= 4)
    marks = [linux.ProcessMark.of(pid) for pid in machines.compute.pids(amphora_id)]
    shutil.rmtree(machines.folder(amphora_id))
    assert [machine.amphora_id for machine in machines.compute.list_ours()] == [amphora_id]
    machines.compute.delete(amphora_id)
    assert not any(mark and mark.alive for mark in marks)
    assert list(machines.compute.list_ours()) == []


def test_a_process_id_that_is_used_again_is_not_taken_for_the_machine(machines: Machines, amphora_id: str) -> None:
    machines.compute.boot(machines.request(amphora_id))
    record = machines.folder(amphora_id) / "process.stat"
    process = linux.recorded(record)
    assert process is not None
    fields = pathlib.Path("/proc/self/stat").read_text()
    started_at = fields.rpartition(") ")[2].split()[19]
    record.write_text(fields.replace(f" {started_at} ", f" {int(started_at) - 1} "))
    assert machines.compute.get(amphora_id).status == interface.InstanceStatus.SHUTOFF
    machines.compute.delete(amphora_id)  # would have killed this very test
    process.send(signal.SIGKILL)


class Killed(BaseException):
    """The worker was killed."""


class MortalHost(linux.Host):
    """A host whose worker dies before its n-th command, or after the first line of it if it is a batch."""

    def __init__(self, commands: int, halfway: bool) -> None:
        self._left = commands
        self._halfway = halfway

    def run(self, argv: Sequence[str], text: str = "") -> str:
        if self._left == 0:
            if self._halfway and "-batch" in argv:
                super().run(argv, text.splitlines(keepends=True)[0])
            raise Killed
        self._left -= 1
        return super().run(argv, text)


def plugged(machines: Machines, port: Port) -> bool:
    """Whether the port's cable reaches its bridge."""
    assert port.attachment is not None
    links = linux.Host().run(["ip", "-n", machines.network.namespace, "-brief", "link", "show", "master", port.attachment.bridge, "up"])
    return f"{linux.cable_name(port.id)}@" in links


@pytest.mark.parametrize("halfway", [False, True], ids=["before-a-command", "within-a-batch"])
def test_a_boot_or_deletion_that_died_anywhere_is_completed_by_the_next(machines: Machines, amphora_id: str, halfway: bool) -> None:
    request = machines.request(amphora_id)
    for action in ("boot", "delete"):
        for commands in itertools.count():
            if action == "delete":
                machines.compute.boot(request)
            driver = machines.driver(MortalHost(commands, halfway))
            try:
                driver.boot(request) if action == "boot" else driver.delete(amphora_id)
            except Killed:
                survived = False
            else:
                survived = True
            if action == "boot":
                assert machines.compute.boot(request).status == interface.InstanceStatus.ACTIVE
                assert len(machines.compute.pids(amphora_id)) >= 1
                assert all(plugged(machines, port) for port in request.ports)
            machines.compute.delete(amphora_id)
            assert machines.compute.find(amphora_id) is None
            assert linux.namespaces(f"{machines.prefix}-amp-") == []
            if survived:
                break
        assert commands > 1


def test_a_machine_outlives_the_process_that_booted_it(machines: Machines, amphora_id: str) -> None:
    machines.network.ensure_management_port(amphora_id)
    program = f"""
import os, pathlib, signal
from controller.drivers.compute import interface
from controller.embedded import bridge, namespace
state = pathlib.Path({str(machines.state)!r})
network = bridge.BridgeNetwork(
    state_path=state, namespace_prefix={machines.prefix!r}, management_cidr="198.19.0.0/20", private_cidr="198.19.64.0/20")
compute = namespace.NamespaceCompute(state_path=state, namespace_prefix={machines.prefix!r}, agent_command=[str(state / "agent")])
compute.boot(interface.BootRequest(
    amphora_id={amphora_id!r}, name="amphora", files={{}}, ports=[network.ensure_management_port({amphora_id!r})]))
os.killpg(0, signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", program], start_new_session=True, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    assert machines.compute.get(amphora_id).status == interface.InstanceStatus.ACTIVE
    eventually(lambda: started(machines, amphora_id))


def test_boots_of_one_amphora_at_the_same_time_make_one_machine(machines: Machines, amphora_id: str) -> None:
    request = machines.request(amphora_id)
    threads = [threading.Thread(target=machines.compute.boot, args=[request]) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    eventually(lambda: len(machines.compute.pids(amphora_id)) >= 4)
    assert len((machines.folder(amphora_id) / "state/starts").read_text().split()) == 1


def test_ten_amphorae_boot_side_by_side(machines: Machines) -> None:
    ids = [str(uuid.uuid4()) for _ in range(10)]
    requests = [machines.request(amphora_id) for amphora_id in ids]
    threads = [threading.Thread(target=machines.compute.boot, args=[request]) for request in requests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert {machine.amphora_id for machine in machines.compute.list_ours()} == set(ids)
    assert all(machine.status == interface.InstanceStatus.ACTIVE for machine in machines.compute.list_ours())


def test_an_id_that_is_a_path_is_nobodys(machines: Machines) -> None:
    with pytest.raises(exceptions.NotFound):
        machines.compute.get("../../etc")
