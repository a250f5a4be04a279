"""Bells: Unix sockets in a folder."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import subprocess
import sys
import threading
import time

from controller.jobs import wakeup


def test_everybody_in_the_folder_hears_a_ring(tmp_path: pathlib.Path) -> None:
    bells = [wakeup.Bell(str(tmp_path)) for _ in range(3)]
    assert wakeup.ring(str(tmp_path)) == 3
    assert [bell.wait(5) for bell in bells] == [True] * 3
    assert [bell.wait(0) for bell in bells] == [False] * 3
    for bell in bells:
        bell.close()
    assert not list(tmp_path.iterdir())


def test_many_rings_count_as_one_and_never_block(tmp_path: pathlib.Path) -> None:
    bell = wakeup.Bell(str(tmp_path))
    for _ in range(5000):
        assert wakeup.ring(str(tmp_path)) == 1
        bell.ring()
    assert bell.wait(0)
    assert not bell.wait(0)
    bell.close()


def test_the_bell_of_a_dead_worker_is_taken_down(tmp_path: pathlib.Path) -> None:
    bell = wakeup.Bell(str(tmp_path))
    os.rename(bell.path, tmp_path / "dead.bell")
    bell.close()
    assert wakeup.ring(str(tmp_path)) == 0
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there_is_no_trouble(tmp_path: pathlib.Path) -> None:
    assert wakeup.ring(str(tmp_path / "nowhere")) == 0
    assert wakeup.ring("") == 0


def test_a_bell_whose_folder_was_cleared_hangs_again(tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "bells"
    bell = wakeup.Bell(str(folder))
    shutil.rmtree(folder)
    folder.touch()  # and for a while not even that is possible
    assert not bell.wait(0)
    bell.ring()
    assert bell.wait(5)
    folder.unlink()
    assert not bell.wait(0)
    assert wakeup.ring(str(folder)) == 1
    assert bell.wait(5)
    bell.close()
    assert not list(folder.iterdir())


def test_other_files_are_left_alone(tmp_path: pathlib.Path) -> None:
    (tmp_path / "notes").touch()
    assert wakeup.ring(str(tmp_path)) == 0
    assert (tmp_path / "notes").exists()


def test_a_folder_with_a_long_name_works(tmp_path: pathlib.Path) -> None:
    folder = tmp_path / ("long-" * 40)
    bell = wakeup.Bell(str(folder))
    assert wakeup.ring(str(folder)) == 1
    assert bell.wait(5)
    bell.close()


def test_a_bell_without_a_folder_is_rung_by_its_own_process() -> None:
    bell = wakeup.Bell()
    timer = threading.Timer(0.1, bell.ring)
    began = time.monotonic()
    timer.start()
    assert bell.wait(20)
    assert time.monotonic() - began < 10
    bell.close()
    assert not bell.wait(0)


_IN_VAIN = """
import sys
from controller.jobs import wakeup
from tests import descriptors
for spare in range(3):  # for the folder, the socket, and the list of what hangs there
    with descriptors.none_left(spare):
        rung = wakeup.ring(sys.argv[1])
    print(spare, rung)
print("afterwards", wakeup.ring(sys.argv[1]))
"""


def test_who_has_no_descriptor_left_rings_in_vain_and_goes_on(tmp_path: pathlib.Path) -> None:
    bell = wakeup.Bell(str(tmp_path))
    done = subprocess.run([sys.executable, "-c", _IN_VAIN, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["0 0", "1 0", "2 0", "afterwards 1"]
    assert done.stderr.count("were not woken") == 3
    assert bell.wait(5)
    bell.close()


def test_a_bell_waits_whatever_the_number_of_its_descriptor(tmp_path: pathlib.Path) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(1024):
            stack.callback(os.close, os.dup(0))
        bell = wakeup.Bell(str(tmp_path))
        bell.ring()
        assert bell.wait(5)
        assert wakeup.ring(str(tmp_path)) == 1
        assert bell.wait(5)
        bell.close()
