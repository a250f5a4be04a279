"""`make demo-vm`: the main job with virtual machines, told and observed from the client's side."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.vm, pytest.mark.slow, pytest.mark.timeout(900)]


def test_the_story_is_observed_with_virtual_machines(image_folder: pathlib.Path) -> None:
    command = [
        str(pathlib.Path(sys.executable).with_name("figlina")),
        "demo",
        "--compute",
        "qemu",
        "--image",
        str(image_folder / "amphora.qcow2"),
    ]
    told = subprocess.run(command, capture_output=True, text=True, timeout=800, check=False, env={**os.environ, "COLUMNS": "200"})
    assert told.returncode == 0, told.stdout[-6000:] + told.stderr[-2000:]
    assert "in a virtual machine" in told.stdout
    assert "Every step was observed" in told.stdout
