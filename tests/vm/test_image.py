"""The image, in QEMU: it boots from every firmware, is configured by its drive, serves, survives a reboot, and obeys the power button."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import pytest

from amphora_agent import system
from amphora_agent.protocol import rest
from tests.integration.agent_amphora import config, eventually
from tests.vm import machine as vm

pytestmark = [pytest.mark.vm, pytest.mark.timeout(600)]
SECOND_MAC, SECOND, SECOND_OUTSIDE = "02:f1:00:00:00:03", "198.19.252.2/24", "198.19.252.1/24"


@pytest.fixture(scope="module")
def machine(image_folder: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[vm.Machine]:
    with vm.running(tmp_path_factory.mktemp("vm"), image_folder) as made:
        yield made


def test_it_serves_in_256_mib_and_beats(machine: vm.Machine) -> None:
    beats = machine.beats()
    server = machine.web(8001)
    assert machine.apply(1, config(f"m1 {server} weight 1")) in ("reload", "restart", "start")
    assert eventually(lambda: machine.fetch(), within=30) == "8001"
    report = beats.report(lambda found: bool(found.get("listeners")), within=60)
    assert report["listeners"]
    status, about = machine.call("GET", rest.INFO_PATH)
    assert status == 200
    assert b"haproxy" in about.lower()


def test_nothing_secret_is_on_the_console(machine: vm.Machine) -> None:
    said = machine.log()
    assert "Serving on" in said
    assert machine.key.hex() not in said
    assert "PRIVATE KEY" not in said
    assert "login" not in said


def test_a_card_that_is_plugged_later_is_found_by_its_mac(machine: vm.Machine) -> None:
    machine.hot_plug("ten2", SECOND_MAC, SECOND_OUTSIDE)
    usual = machine.wanted(2, None).interfaces[0]
    second = rest.Interface(mac=SECOND_MAC, name="eth2", mtu=1400, addresses=(SECOND,))
    server = machine.web(8002)
    machine.apply(2, config(f"m1 {server} weight 1"), interfaces=(usual, second))
    assert eventually(lambda: machine.fetch(), within=30) == "8002"
    assert _answers(machine, SECOND.partition("/")[0])


def _answers(machine: vm.Machine, address: str) -> bool:
    system.run(["ip", "netns", "exec", machine.outside, "ping", "-c", "1", "-W", "5", address])
    return True


def test_it_serves_again_after_a_reset_without_anybody_telling_it(machine: vm.Machine) -> None:
    machine.tell("system_reset")
    eventually(lambda: machine.call("GET", "/")[0] == 200, within=240)
    assert eventually(lambda: machine.fetch(), within=30) == "8002"
    status, held = machine.call("GET", rest.load_balancer_path(machine.load_balancer_id))
    assert status == 200
    assert rest.Receipt.parse(held).generation == 2


def test_the_power_button_switches_it_off(machine: vm.Machine) -> None:
    machine.tell("system_powerdown")
    assert machine.ended(60), machine.log()[-2000:]


@pytest.mark.parametrize(
    "hardware",
    [vm.Hardware(firmware="uefi"), vm.Hardware(firmware="kernel"), vm.Hardware(disk="scsi"), vm.Hardware(drive="vfat")],
    ids=lambda hardware: f"{hardware.firmware}-{hardware.disk}-{hardware.drive}",
)
def test_it_boots_on_other_hardware(image_folder: pathlib.Path, tmp_path: pathlib.Path, hardware: vm.Hardware) -> None:
    with vm.running(tmp_path / "vm", image_folder, hardware) as made:
        assert made.call("GET", "/")[0] == 200
