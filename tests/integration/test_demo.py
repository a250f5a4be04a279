"""The README's demo, as a new user runs it."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
import tempfile

import pytest

pytestmark = [pytest.mark.integration]


def _left_behind() -> set[str]:
    names = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout.split()
    folders = {str(path) for path in pathlib.Path(tempfile.gettempdir()).glob("figlina-demo-*")}
    return {name for name in names if name.startswith("figlina-demo")} | folders


def _started_until(words: str) -> subprocess.Popen[str]:
    """A demo, in a process group of its own as in a terminal, that has said this."""
    command = [str(pathlib.Path(sys.executable).with_name("figlina")), "demo"]
    demo = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, process_group=0)
    assert demo.stdout is not None
    assert any(words in line for line in demo.stdout), f"the demo ended before it said {words!r}"
    return demo


def test_a_demo_that_was_killed_is_taken_away_by_the_next_one_which_leaves_nothing_when_it_is_interrupted() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: it makes network namespaces")
    before = _left_behind()
    killed = _started_until("accepted")
    killed.kill()
    killed.communicate(timeout=30)
    assert _left_behind() - before
    interrupted = _started_until("is drained")
    os.killpg(interrupted.pid, signal.SIGINT)
    said = [next(interrupted.stdout or iter(())) for _ in range(3)]
    os.killpg(interrupted.pid, signal.SIGINT)  # whoever presses twice does not want to be left with half of it
    said += [interrupted.communicate(timeout=60)[0]]
    assert "Interrupted" in "".join(said)
    assert interrupted.returncode == 1
    assert not _left_behind() - before


def test_every_step_of_the_demo_is_observed_and_nothing_is_left_behind() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: it makes network namespaces")
    command = [str(pathlib.Path(sys.executable).with_name("figlina")), "demo"]
    before = _left_behind()
    links = subprocess.run(["ip", "-brief", "link"], capture_output=True, text=True, check=True).stdout
    finished = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "Every step was observed" in finished.stdout
    assert not _left_behind() - before
    assert subprocess.run(["ip", "-brief", "link"], capture_output=True, text=True, check=True).stdout == links
