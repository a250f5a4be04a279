"""What the fakes of compute and network can be told."""

from __future__ import annotations

import uuid

import pytest

from controller import exceptions
from controller.drivers.compute import fake, interface
from controller.model.network import VipRequest
from tests import fake_network


@pytest.fixture
def cloud() -> str:
    return f"unit-{uuid.uuid4()}"


def request(amphora_id: str = "a-1") -> interface.BootRequest:
    return interface.BootRequest(amphora_id=amphora_id, name=f"amphora-{amphora_id}", files={}, ports=[])


def test_the_next_calls_fail_as_told_and_do_nothing(cloud: str) -> None:
    compute = fake.FakeCompute(cloud)
    compute.script.fail_next("boot", exceptions.ComputeFault("No valid host"), times=2)
    for _ in range(2):
        with pytest.raises(exceptions.ComputeFault, match="No valid host"):
            compute.boot(request())
    assert list(compute.list_ours()) == []
    booted = compute.boot(request())
    assert booted.status == interface.InstanceStatus.BUILD, "as clouds answer"
    assert compute.get(booted.id).status == interface.InstanceStatus.ACTIVE
    assert len(compute.script.calls_of("boot")) == 3


def test_two_drivers_of_one_cloud_see_the_same(cloud: str) -> None:
    machine = fake.FakeCompute(cloud).boot(request())
    assert fake.FakeCompute(cloud).get(machine.id) == fake.FakeCompute(cloud).find("a-1")
    assert fake.FakeCompute(cloud).get(machine.id).id == machine.id
    assert fake.FakeCompute(cloud + "-other").find("a-1") is None
    port = fake_network.FakeNetwork(cloud).ensure_management_port("a-1")
    assert fake_network.FakeNetwork(cloud).get_port(port.id) == port


def test_a_forgotten_cloud_is_empty(cloud: str) -> None:
    fake.FakeCompute(cloud).boot(request())
    fake_network.FakeNetwork(cloud).ensure_management_port("a-1")
    fake.FakeCompute.forget(cloud)
    fake_network.FakeNetwork.forget(cloud)
    assert list(fake.FakeCompute(cloud).list_ours()) == []
    assert list(fake_network.FakeNetwork(cloud).list_ours()) == []


def test_on_boot_is_called_once_per_machine(cloud: str) -> None:
    heard: list[str] = []
    compute = fake.FakeCompute(cloud, on_boot=lambda machine, asked: heard.append(machine.amphora_id))
    compute.boot(request())
    compute.boot(request())
    assert heard == ["a-1"]


def test_a_killed_machine_exists_and_does_not_run(cloud: str) -> None:
    compute = fake.FakeCompute(cloud)
    machine = compute.boot(request())
    compute.kill("a-1")
    assert compute.get(machine.id).status == interface.InstanceStatus.SHUTOFF


def test_a_network_that_does_not_answer_is_told_by_its_script(cloud: str) -> None:
    network = fake_network.FakeNetwork(cloud)
    network.script.fail_next("allocate_vip", exceptions.Transient("no answer"))
    asked = VipRequest(network_id=network.network_id)
    with pytest.raises(exceptions.Transient):
        network.allocate_vip("lb-1", "p", asked)
    assert network.allocate_vip("lb-1", "p", asked).port_is_ours
