"""What tells keepalived whether HAProxy runs: the script itself, by a real shell."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest

from amphora_agent import haproxy


def _succeeds(pid_file: pathlib.Path) -> bool:
    return subprocess.run(["sh", "-c", haproxy.alive_script(pid_file)], check=False).returncode == 0


def test_a_process_that_runs_is_alive(tmp_path: pathlib.Path) -> None:
    (tmp_path / "pid").write_text(f"{os.getpid()}\n")
    assert _succeeds(tmp_path / "pid")


@pytest.mark.parametrize("zombie", [True, False])
def test_one_that_died_is_not(tmp_path: pathlib.Path, zombie: bool) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.read()  # closed when it ends
    if zombie:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    else:
        process.wait()
    (tmp_path / "pid").write_text(f"{process.pid}\n")
    assert not _succeeds(tmp_path / "pid")
    process.wait()


def test_one_that_is_not_to_run_keeps_no_half_of_a_pair_from_serving(tmp_path: pathlib.Path) -> None:
    assert _succeeds(tmp_path / "pid")
