"""What tells keepalived whether HAProxy runs: the script itself, by a real shell."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import threading

import pytest

from amphora_agent import haproxy


def _succeeds(folder: pathlib.Path) -> bool:
    return subprocess.run(["sh", "-c", haproxy.alive_script(folder / "cfg", folder / "pid")], check=False).returncode == 0


def test_a_process_that_runs_is_alive(tmp_path: pathlib.Path) -> None:
    (tmp_path / "cfg").touch()
    (tmp_path / "pid").write_text(f"{os.getpid()}\n")
    assert _succeeds(tmp_path)


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
    (tmp_path / "cfg").touch()
    assert not _succeeds(tmp_path)
    process.wait()


def test_one_that_is_not_to_run_keeps_no_half_of_a_pair_from_serving(tmp_path: pathlib.Path) -> None:
    assert _succeeds(tmp_path)


@pytest.mark.parametrize("content", [None, ""])
def test_one_that_died_before_it_wrote_its_pid_is_not_alive(tmp_path: pathlib.Path, content: str | None) -> None:
    (tmp_path / "cfg").touch()
    if content is not None:
        (tmp_path / "pid").write_text(content)
    assert not _succeeds(tmp_path)


@pytest.mark.parametrize("there", [True, False])
def test_one_that_is_about_to_write_its_pid_is_alive(tmp_path: pathlib.Path, there: bool) -> None:
    (tmp_path / "cfg").touch()
    if there:
        (tmp_path / "pid").touch()
    timer = threading.Timer(1.0, lambda: (tmp_path / "pid").write_text(f"{os.getpid()}\n"))
    timer.start()
    assert _succeeds(tmp_path)
    timer.join()
