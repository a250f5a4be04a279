"""What decides whether virtual machines are emulated: a stand-in for QEMU speaks as its BIOS does, or breaks off."""

from __future__ import annotations

import os
import pathlib

import pytest

from controller.embedded import qemu

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
