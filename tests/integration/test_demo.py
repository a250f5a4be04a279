"""The README's demo, as a new user runs it."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]


def _left_behind() -> set[str]:
    names = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout.split()
    folders = {str(path) for path in pathlib.Path("/tmp").glob("figlina-demo-*")}
    return {name for name in names if name.startswith("figlina-demo")} | folders


def test_every_step_of_the_demo_is_observed_and_nothing_is_left_behind() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: it makes network namespaces")
    command = [str(pathlib.Path(sys.executable).with_name("figlina")), "demo"]
    links = subprocess.run(["ip", "-brief", "link"], capture_output=True, text=True, check=True).stdout
    finished = subprocess.run(command, capture_output=True, text=True, timeout=150, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "Every step was observed" in finished.stdout
    assert not _left_behind()
    assert subprocess.run(["ip", "-brief", "link"], capture_output=True, text=True, check=True).stdout == links
