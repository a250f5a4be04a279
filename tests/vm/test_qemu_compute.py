"""Compute `qemu` with guests that do as they like, on the bridges of the embedded network."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from controller import exceptions
from controller.embedded import qemu
from controller.model.network import Port
from tests.contract import cloud as clouds
from tests.contract.embedded_cloud import QemuCloud

pytestmark = [pytest.mark.vm, pytest.mark.timeout(300)]
TALKER, SLEEPER = bytes.fromhex("baf803 b078 ee ebfd"), bytes.fromhex("fa f4")
"""mov dx, 0x3f8; mov al, 'x'; again: out dx, al; jmp again: for ever on the first serial port. And: cli; hlt. Both are deaf."""
KEPT = 2 * 512 * 1024


@pytest.fixture(params=[SLEEPER])
def cloud(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Iterator[QemuCloud]:
    """Its guest is a boot sector of a few bytes."""
    if os.geteuid() != 0 or shutil.which("qemu-system-x86_64") is None:
        pytest.skip("needs root and QEMU: scripts/install-system-packages image")
    (tmp_path / "disk").write_bytes((request.param.ljust(510, b"\0") + b"\x55\xaa").ljust(1024 * 1024, b"\0"))
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", tmp_path / "disk", tmp_path / "image"], check=True)
    made = QemuCloud(tmp_path, tmp_path / "image")
    try:
        yield made
    finally:
        made.close()


def a_port(cloud: QemuCloud, amphora_id: str) -> Port:
    network = cloud.a_network("198.18.7.0/28")
    return cloud.network.ensure_member_port(amphora_id, network.id, network.subnet_ids)


@pytest.mark.parametrize("cloud", [TALKER], indirect=True)
def test_a_guest_that_talks_for_ever_does_not_fill_the_disk(cloud: QemuCloud) -> None:
    machine = cloud.boot(clouds.new_id())
    folder = cloud.file.parent / "amphorae" / machine.id
    now, before = folder / "console.log", folder / "console.log.1"
    seen: set[Any] = set()

    def began_anew() -> bool:
        with contextlib.suppress(FileNotFoundError):  # one becomes the other while it is looked at
            assert sum(path.stat().st_size for path in (before, now)) <= KEPT
            seen.add(before.stat().st_mtime_ns)
        return len(seen) >= 3

    cloud.patience = 120.0
    cloud.eventually(began_anew)
    assert before.read_bytes().endswith(b"x" * 1000)
    pids = cloud.compute.pids(machine.id)
    cloud.compute.delete(machine.id)
    cloud.eventually(lambda: not any(pathlib.Path(f"/proc/{pid}").exists() for pid in pids))


def test_a_card_that_the_guest_does_not_let_go_of_is_not_taken_for_plugged(cloud: QemuCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qemu, "_LET_GO", 0.2)
    monkeypatch.setattr(qemu, "_LET_GO_BEFORE_PLUGGING", 0.2)
    machine = cloud.boot(clouds.new_id())
    port = a_port(cloud, machine.id)
    cloud.compute.attach_port(machine.id, port)
    cloud.compute.attach_port(machine.id, port)
    cloud.compute.detach_port(machine.id, port)
    with pytest.raises(exceptions.Transient, match="does not let go"):
        cloud.compute.attach_port(machine.id, port)


def test_a_machine_that_is_full_of_cards_says_so(cloud: QemuCloud) -> None:
    machine = cloud.boot(clouds.new_id())
    network = cloud.a_network("198.18.7.0/24")
    refused = None
    for port in [cloud.create_port(network.id) for _ in range(32)]:
        try:
            cloud.compute.attach_port(machine.id, port)
        except exceptions.ComputeFault as exc:
            refused = exc
            break
    assert "no room for another network card" in str(refused)
