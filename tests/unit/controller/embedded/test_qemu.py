"""What decides whether virtual machines are emulated, and whether one runs: a stand-in for QEMU speaks as its BIOS and monitor do."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import socket
import threading
from collections.abc import Iterator

import pytest

from controller.drivers.compute.interface import BootRequest, Instance, InstanceStatus
from controller.embedded import linux, qemu
from controller.model import network

END = "No bootable device.\\n"


@pytest.fixture
def accelerators(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """A folder with a program for each accelerator: what QEMU does with it."""
    program = tmp_path / "qemu-system-x86_64"
    program.write_text(f'#!/bin/sh\nexec sh "{tmp_path}/$2"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(os, "access", lambda *_: True)
    (tmp_path / "tcg").write_text(f"printf SeaBIOS; printf '{END}'; exec sleep 30")
    qemu.has_kvm.cache_clear()
    return tmp_path


@pytest.mark.lengthy
@pytest.mark.parametrize(
    ("does", "expected"),
    [
        (f"printf S; sleep 0.05; printf eaBIOS; sleep 0.05; printf '{END}'; exec sleep 30", True),
        (f"printf SeaBIOS; printf '{END}'", True),
        ("printf SeaBIOS; exec sleep 30", False),
        (f"printf SeaBIOS; sleep 4; printf '{END}'; exec sleep 30", False),
        ("printf SeaBIOS", False),
        ("exit 1", False),
        ("exec sleep 30", False),
    ],
)
def test_kvm_is_taken_where_it_carries_a_bios_to_its_end_as_fast_as_emulation(
    accelerators: pathlib.Path, does: str, expected: bool
) -> None:
    (accelerators / "kvm").write_text(does)
    assert qemu.has_kvm() is expected


def test_a_qemu_that_does_not_work_at_all_has_no_kvm(accelerators: pathlib.Path) -> None:
    (accelerators / "kvm").write_text(f"printf '{END}'; exec sleep 30")
    (accelerators / "tcg").write_text("exit 1")
    assert not qemu.has_kvm()


def test_a_machine_that_is_emulated_keeps_little_of_what_was_translated(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """QEMU's own limit is 1 GiB of the host's memory, and a reset of the machine goes by all of it."""
    monkeypatch.setattr(qemu, "has_kvm", lambda: False)
    attachment = network.Attachment(bridge="b", namespace="n")
    port = network.Port(id="p1", name="", network_id="n", mac_address="02:00:00:00:00:01", mtu=1500, fixed_ips=(), attachment=attachment)
    (tmp_path / "machine.json").write_text('{"flavor": "small"}')
    request = BootRequest(amphora_id="a1", name="amphora-a1", files={}, ports=[port])
    words = qemu.QemuCompute(state_path=tmp_path, image=tmp_path / "image")._command(tmp_path, request)
    (accelerator,) = (words[at + 1] for at, word in enumerate(words) if word == "-accel")
    assert int(accelerator.removeprefix("tcg,tb-size=")) <= 128


@contextlib.contextmanager
def a_machine(folder: pathlib.Path, state: str | None) -> Iterator[None]:
    """A process that lives, whose monitor says that the machine is in this state; None: it takes connections, and says nothing."""
    folder.mkdir(parents=True)
    (mark,) = linux.marks([os.getpid()])
    (folder / "process.stat").write_text(pathlib.Path(f"/proc/{mark.pid}/stat").read_text())
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "monitor"))
        listening.listen()
        thread = threading.Thread(target=_answers, args=(listening, state))
        thread.start()
        yield
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


def _answers(listening: socket.socket, state: str | None) -> None:
    while True:
        try:
            heard, _ = listening.accept()
        except OSError:
            return
        with heard, heard.makefile("rwb") as lines:
            if state is None:
                lines.readline()
                continue
            answers: tuple[dict[str, object], ...] = (
                {"QMP": {}},
                {"return": {}},
                {"return": {"running": state == "running", "status": state}},
            )
            for answer in answers:
                lines.write(json.dumps(answer).encode() + b"\n")
                lines.flush()
                lines.readline()


def _seen(tmp_path: pathlib.Path, state: str | None) -> Instance:
    driver = qemu.QemuCompute(state_path=tmp_path, image=tmp_path / "image")
    with a_machine(tmp_path / "amphorae" / "a1", state):
        return driver.get("a1")


@pytest.mark.parametrize("state", ["internal-error", "guest-panicked", "io-error", "paused", "shutdown"])
def test_a_machine_that_qemu_has_stopped_is_in_error_though_its_process_lives(tmp_path: pathlib.Path, state: str) -> None:
    seen = _seen(tmp_path, state)
    assert (seen.status, seen.fault) == (InstanceStatus.ERROR, f"QEMU has stopped it ({state})")


@pytest.mark.parametrize("state", ["running", "prelaunch", "suspended", None])
def test_a_machine_of_which_the_monitor_says_nothing_bad_runs(
    tmp_path: pathlib.Path, state: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qemu, "_STATE_PATIENCE", 0.2)
    assert _seen(tmp_path, state).status is InstanceStatus.ACTIVE
