"""What every compute driver promises. The same suite runs on the fake and on namespaces of this machine."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import shutil
import signal
import stat
import subprocess
import uuid
from collections.abc import Iterator

import pytest

from controller import exceptions
from controller.dev.client import eventually
from controller.drivers.compute import fake, interface
from controller.drivers.network import fake as fake_network
from controller.drivers.network import interface as network_interface
from controller.embedded import bridge, namespace

AGENT = '#!/bin/sh\ntouch "$4/started"\nexec sleep 600\n'  # called as: --config FILE --state-directory DIR --run-directory DIR


@dataclasses.dataclass
class Cloud:
    """A compute driver with the network driver that fits it."""

    compute: interface.ComputeDriver
    network: network_interface.NetworkDriver
    name: str = ""

    def request(self, amphora_id: str) -> interface.BootRequest:
        return interface.BootRequest(
            amphora_id=amphora_id,
            name=f"amphora-{amphora_id}",
            files={"/etc/figlina/agent.json": b"{}", "/etc/figlina/certs/server.pem": b"secret"},
            ports=[self.network.ensure_management_port(amphora_id)],
            zone="nova",
        )


@pytest.fixture
def fake_cloud() -> Iterator[Cloud]:
    name = f"contract-{uuid.uuid4()}"
    yield Cloud(fake.FakeCompute(name), fake_network.FakeNetwork(name), name)
    fake.FakeCompute.forget(name)
    fake_network.FakeNetwork.forget(name)


@pytest.fixture
def namespace_cloud(tmp_path: pathlib.Path) -> Iterator[Cloud]:
    if os.geteuid() != 0:
        pytest.skip("needs root: it makes network namespaces")
    prefix = f"figlina-t{os.getpid()}-{uuid.uuid4().hex[:6]}"
    agent = tmp_path / "agent"
    agent.write_text(AGENT)
    agent.chmod(agent.stat().st_mode | stat.S_IXUSR)
    network = bridge.BridgeNetwork(
        state_path=tmp_path, namespace_prefix=prefix, management_cidr="198.19.0.0/20", private_cidr="198.19.64.0/20"
    )
    compute = namespace.NamespaceCompute(state_path=tmp_path, namespace_prefix=prefix, agent_command=[str(agent)])
    try:
        network.install()
        yield Cloud(compute, network)
    finally:
        for machine in compute.list_ours():
            compute.delete(machine.amphora_id)
        network.remove()


@pytest.fixture(params=["fake", pytest.param("namespace", marks=pytest.mark.integration)])
def cloud(request: pytest.FixtureRequest) -> Cloud:
    made: Cloud = request.getfixturevalue(f"{request.param}_cloud")
    return made


@pytest.fixture
def amphora_id() -> str:
    return str(uuid.uuid4())


def test_a_booted_machine_is_found_by_its_id_and_by_its_amphora(cloud: Cloud, amphora_id: str) -> None:
    request = cloud.request(amphora_id)
    machine = cloud.compute.boot(request)
    assert machine.amphora_id == amphora_id
    assert machine.status == interface.InstanceStatus.ACTIVE
    assert machine.zone == "nova"
    assert machine.management_address == request.ports[0].fixed_ips[0].ip_address
    assert cloud.compute.get(machine.id) == machine
    assert cloud.compute.find(amphora_id) == machine
    assert list(cloud.compute.list_ours()) == [machine]


def test_booting_twice_gives_the_first_machine(cloud: Cloud, amphora_id: str) -> None:
    request = cloud.request(amphora_id)
    assert cloud.compute.boot(request) == cloud.compute.boot(request)
    assert len(list(cloud.compute.list_ours())) == 1


def test_a_machine_that_nobody_made_is_not_found(cloud: Cloud, amphora_id: str) -> None:
    assert cloud.compute.find(amphora_id) is None
    with pytest.raises(exceptions.NotFound):
        cloud.compute.get(amphora_id)


def test_deleting_leaves_nothing_and_may_be_repeated(cloud: Cloud, amphora_id: str) -> None:
    machine = cloud.compute.boot(cloud.request(amphora_id))
    cloud.compute.delete(amphora_id)
    cloud.compute.delete(amphora_id)
    assert cloud.compute.find(amphora_id) is None
    assert list(cloud.compute.list_ours()) == []
    with pytest.raises(exceptions.NotFound):
        cloud.compute.get(machine.id)


def test_deleting_one_machine_leaves_the_other(cloud: Cloud, amphora_id: str) -> None:
    other = str(uuid.uuid4())
    cloud.compute.boot(cloud.request(amphora_id))
    cloud.compute.boot(cloud.request(other))
    cloud.compute.delete(amphora_id)
    assert [machine.amphora_id for machine in cloud.compute.list_ours()] == [other]


def test_a_port_is_plugged_and_unplugged_any_number_of_times(cloud: Cloud, amphora_id: str) -> None:
    machine = cloud.compute.boot(cloud.request(amphora_id))
    port = cloud.network.ensure_management_port("another-" + amphora_id)
    for _ in range(2):
        cloud.compute.attach_port(machine.id, port)
        cloud.compute.attach_port(machine.id, port)
        cloud.compute.detach_port(machine.id, port)
        cloud.compute.detach_port(machine.id, port)
    assert cloud.compute.get(machine.id).status == interface.InstanceStatus.ACTIVE


def test_unplugging_from_a_machine_that_is_gone_is_fine_but_plugging_is_not(cloud: Cloud, amphora_id: str) -> None:
    machine = cloud.compute.boot(cloud.request(amphora_id))
    port = cloud.network.ensure_management_port("another-" + amphora_id)
    cloud.compute.delete(amphora_id)
    cloud.compute.detach_port(machine.id, port)
    with pytest.raises(exceptions.NotFound):
        cloud.compute.attach_port(machine.id, port)


def test_what_exists_can_be_named_and_what_does_not_is_not_found(cloud: Cloud) -> None:
    flavor = "namespace" if isinstance(cloud.compute, namespace.NamespaceCompute) else "small"
    cloud.compute.check_flavor(flavor)
    cloud.compute.check_image_tag("amphora")
    cloud.compute.check_zone("nova")
    for check in (cloud.compute.check_flavor, cloud.compute.check_image_tag, cloud.compute.check_zone):
        with pytest.raises(exceptions.NotFound, match="no-such-thing not found"):
            check("no-such-thing")


def test_a_machine_that_somebody_deleted_is_not_found_by_its_amphora(cloud: Cloud, amphora_id: str) -> None:
    """What housekeeping's comparison asks; another one made in its place is found again."""
    machine = cloud.compute.boot(cloud.request(amphora_id))
    other = cloud.compute.boot(cloud.request(str(uuid.uuid4())))
    delete_behind_our_back(cloud, amphora_id)
    assert cloud.compute.find(amphora_id) is None
    assert cloud.compute.find(other.amphora_id) == other
    with pytest.raises(exceptions.NotFound):
        cloud.compute.get(machine.id)
    assert list(cloud.compute.list_ours()) == [other]
    cloud.compute.delete(amphora_id)
    assert cloud.compute.boot(cloud.request(amphora_id)).amphora_id == amphora_id
    found = cloud.compute.find(amphora_id)
    assert found is not None
    assert found.status == interface.InstanceStatus.ACTIVE


def delete_behind_our_back(cloud: Cloud, amphora_id: str) -> None:
    """As by an administrator with a shell: the processes, the namespace, the folder; the far ends of cables go with them."""
    if not isinstance(cloud.compute, namespace.NamespaceCompute):
        fake.FakeCompute(cloud.name).delete(amphora_id)
        return
    for pid in reversed(cloud.compute.pids(amphora_id)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    eventually(lambda: cloud.compute.pids(amphora_id) == [], 10)
    subprocess.run(["ip", "netns", "delete", cloud.compute.namespace_of(amphora_id)], check=True)
    shutil.rmtree(cloud.compute._folder(amphora_id))
