"""Which process is a program's: those that execute themselves anew, as masters of HAProxy do at each reload, stay found."""

from __future__ import annotations

import pathlib
import subprocess
import threading
from collections.abc import Iterator

import pytest

from amphora_agent import system


@pytest.fixture
def restless(tmp_path: pathlib.Path) -> Iterator[tuple[subprocess.Popen[bytes], pathlib.Path]]:
    """A process that executes itself all the time, and the pid file that is its argument."""
    program, file = tmp_path / "again", tmp_path / "pid"
    program.write_text('#!/bin/sh\nexec "$0" "$@"\n')
    program.chmod(0o755)
    with subprocess.Popen([program, file]) as process:
        file.write_text(f"{process.pid}\n")
        try:
            yield process, file
        finally:
            process.kill()


def test_a_program_that_executes_itself_anew_is_found_each_time(restless: tuple[subprocess.Popen[bytes], pathlib.Path]) -> None:
    process, file = restless
    assert {system.pid_from_file(file, str(file)) for _ in range(400)} == {process.pid}
    assert {tuple(system.processes_with_argument(str(file))) for _ in range(20)} == {(process.pid,)}


def test_one_that_ended_and_one_that_is_another_are_not(restless: tuple[subprocess.Popen[bytes], pathlib.Path]) -> None:
    process, file = restless
    assert system.pid_from_file(file, f"{file}.else") is None
    process.kill()
    process.wait()
    assert system.pid_from_file(file, str(file)) is None
    file.unlink()
    assert system.pid_from_file(file, str(file)) is None


def test_a_file_that_is_just_written_is_looked_at_again(restless: tuple[subprocess.Popen[bytes], pathlib.Path]) -> None:
    process, file = restless
    file.write_text("")
    later = threading.Timer(0.02, file.write_text, (f"{process.pid}\n",))
    later.start()
    assert system.pid_from_file(file, str(file)) == process.pid
    later.join()
    file.write_text("")
    assert system.pid_from_file(file, str(file)) is None, "it stays empty"
